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
bool api_train_read_plate(struct api_train_plate *plate, enum api_train_places places, const char *key,
                          const json_t *value, struct api_problem *problem);
void api_train_render_plate(const struct api_train_plate *plate, struct efm_buffer *out);

/* ---- plates of API_TRAIN_STORED ---- */

/* What is wrong with the form of a URL that the daemon is to go to, as "must ..."; NULL: nothing. Never quotes it. */
const char *api_train_url_fault(const char *url);

/* "gaussian" has been dealt with: the name of a dataset, or a URL. */
bool api_train_read_stored_word(struct api_train_plate *plate, const char *key, const char *text,
                                struct api_problem *problem);
/* One of "dataset", "url", "sha256", or a member that only files have. *known is false for any other one. */
bool api_train_read_stored_member(struct api_train_plate *plate, const char *key, const char *name,
                                  const json_t *value, bool *known, struct api_problem *problem);
/* When all members are read. */
bool api_train_check_stored(const struct api_train_plate *plate, const char *key,
                            struct api_problem *problem);
/* The name of the domain where none was given. */
void api_train_name_stored(struct api_train_plate *plate, const char *key);
/* "{" and the members that are of this kind of place. */
void api_train_render_stored(const struct api_train_plate *plate, struct efm_buffer *out);

/* "augment": a list for both plates, or one for each. Sets *same when it was one for both. */
bool api_train_read_augment(unsigned augmentation[2], bool *same, const json_t *value,
                            struct api_problem *problem);
void api_train_render_augment(const unsigned augmentation[2], struct efm_buffer *out);

#endif
