/* oip_internal.h - what the files of the inference protocol share. Not for other rooms. */
#ifndef API_OIP_INTERNAL_H
#define API_OIP_INTERNAL_H

#include "api/oip.h"

/* The parts of a body: JSON, and tensors behind it. */
struct api_oip_body {
    const uint8_t *json, *tensors;
    size_t json_size, tensors_size;
    bool whole; /* the tensors alone, without a word on them */
};

/* Puts the input that `value`, a member of "inputs", describes into the inner request. */
bool api_oip_read_input(struct api_oip_infer *request, const json_t *value, const struct api_oip_body *body,
                        struct api_problem *problem);

/* The whole body as the input. */
bool api_oip_read_whole(struct api_oip_infer *request, const struct api_oip_body *body,
                        struct api_problem *problem);

/* Refuses all members of an object but those named (NULL-terminated). */
bool api_oip_only(const json_t *object, const char *const *names, const char *where,
                  struct api_problem *problem);

extern const char *const api_oip_output_names[]; /* by enum api_oip_output_kind */

#endif
