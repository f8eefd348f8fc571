/* train_command.h - `efmd train SPEC.json --out MODEL.safetensors`: a training in the foreground, see docs/training.md. */
#ifndef SRV_TRAIN_TRAIN_COMMAND_H
#define SRV_TRAIN_TRAIN_COMMAND_H

/* `arguments` begin behind the word train. Returns the exit status of the process: 0 done, 1 failed, 2 bad spec or options, 3
 * interrupted by SIGINT or SIGTERM with a checkpoint written. To be called before the process has other threads. */
int srv_train_command(int argument_count, char *const *arguments);

#endif
