/* options.h - the command line of `efmd train`. Threads: pure. */
#ifndef SRV_TRAIN_OPTIONS_H
#define SRV_TRAIN_OPTIONS_H

#include "api/parameters.h"
#include "core/base/buffer.h"

struct srv_train_options {
    const char *spec, *out, *steps; /* borrowed from the arguments; NULL: not given */
    double checkpoint_seconds;
    uint64_t threads; /* 0: as the spec says, or all cores */
    uint64_t samples;
    bool samples_given; /* else what the shape asks for */
    bool resume, overwrite, quiet, print_spec, help;
};

/* `arguments` begin behind the word train. EFM_E_ARGUMENT with a message that names the option. */
EFM_MUST_CHECK enum efm_status srv_train_options_read(struct srv_train_options *options, int argument_count,
                                                      char *const *arguments, struct efm_error *error);

void srv_train_options_help(struct efm_buffer *out);

#endif
