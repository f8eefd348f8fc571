/* train_internal.h - what the files that read and write a training spec share. Not for other rooms. */
#ifndef API_TRAIN_INTERNAL_H
#define API_TRAIN_INTERNAL_H

#include "api/train.h"

/* api_problem_set with a pointer made of the parts "/parent" and "/name". Always false. */
bool api_train_refuse(struct api_problem *problem, enum api_problem_code code, const char *parent,
                      const char *name, const char *format, ...) EFM_PRINTF(5, 6);

/* What is wrong with a member of the object "/parent", told with the pointer to it. Always false. */
bool api_train_refuse_member(struct api_problem *problem, const char *parent,
                             const struct api_problem *of_member);

/* A plate from the value of "source" or "target" (`key`), which is released by api_train_release. */
bool api_train_read_plate(struct api_train_plate *plate, const char *key, const json_t *value,
                          struct api_problem *problem);
void api_train_render_plate(const struct api_train_plate *plate, struct efm_buffer *out);

/* "augment": a list for both plates, or one for each. Sets *same when it was one for both. */
bool api_train_read_augment(unsigned augmentation[2], bool *same, const json_t *value,
                            struct api_problem *problem);
void api_train_render_augment(const unsigned augmentation[2], struct efm_buffer *out);

#endif
