/* inner_request.h - a request to /v1/transfer or /v1/generate that another protocol makes, and its answer.
 *
 * Protocols of other servers are thin layers: what they ask for is said once more in our own words, so that
 * checks, admission, deadlines and bytes are the same whichever way a request came.
 *
 *     api_inner_init(&inner, limit);
 *     api_inner_target(&inner, API_OP_TRANSFER, &parameters, problem);       "/v1/transfer?model=m&seed=7"
 *     api_inner_files(&inner, files, count, problem);                        or api_inner_numbers
 *     ... it is run ...
 *     api_inner_results_read(&results, &reply, problem);
 *     api_inner_results_file(&results, 0, EFM_IMAGE_PNG, 90, &out, problem);
 *
 * Threads: plain values of one request. */
#ifndef API_INNER_REQUEST_H
#define API_INNER_REQUEST_H

#include "api/message.h"
#include "api/problem.h"
#include "api/transfer.h"

#include <jansson.h>

struct api_inner_request {
    struct efm_buffer target; /* owned; "/v1/transfer?model=m&seed=7", NUL-terminated */
    char content_type[96];    /* "" without a body */
    enum api_media media;     /* of the answer: API_MEDIA_NPY, or API_MEDIA_JSON with a PNG a result */
    struct efm_buffer body;   /* owned */
};

/* Nothing yet; numbers are asked for. The body may grow to `limit` bytes. */
void api_inner_init(struct api_inner_request *inner, size_t limit);
void api_inner_release(struct api_inner_request *inner);

/* The operation with all parameters that are given, but for those that are about the form of an answer of
 * our own: format, quality, layout. False with API_P_NO_MEMORY. */
bool api_inner_target(struct api_inner_request *inner, enum api_operation operation,
                      const struct api_transfer *parameters, struct api_problem *problem);

/* One input: a file as it came, borrowed. */
struct api_file {
    const uint8_t *bytes;
    size_t size;
};

/* A form of these images. */
bool api_inner_files(struct api_inner_request *inner, const struct api_file *files, size_t count,
                     struct api_problem *problem);

/* An NPY array of these numbers; `rank` 1..EFM_NPY_MAX_RANK, their product is the count of `values`. */
bool api_inner_numbers(struct api_inner_request *inner, const float *values, const size_t *shape, size_t rank,
                       struct api_problem *problem);

struct api_inner_results {
    size_t count;
    struct efm_shape shape; /* of one; dimension 0 where the answer does not tell */
    float *values;          /* owned, [count, shape.dimension]; NULL where the answer is JSON */
    json_t *json;           /* owned; NULL where the answer is NPY */
    uint64_t seed;
    unsigned evaluations;
    size_t landed;
};

/* Takes a 200 apart, which is borrowed for the call. False with API_P_INTERNAL for what /v1/transfer does
 * not say, or API_P_NO_MEMORY. Release in every case. */
bool api_inner_results_read(struct api_inner_results *results, const struct api_reply *reply,
                            struct api_problem *problem);
void api_inner_results_release(struct api_inner_results *results);

/* The pixels of result `index`, whose shape is an image's; release them with efm_image_release. */
bool api_inner_results_pixels(const struct api_inner_results *results, size_t index, struct efm_image *image,
                              struct api_problem *problem);

/* Appends result `index` as a file. The PNG of a JSON answer is passed on as it is. */
bool api_inner_results_file(const struct api_inner_results *results, size_t index,
                            enum efm_image_format format, int quality, struct efm_buffer *out,
                            struct api_problem *problem);

/* Copies what says how it went: the headers Efm-..., the timings and the facts. */
void api_inner_headers(struct api_reply *reply, const struct api_reply *inner);

/* The member "shape" of what api_model_describe said; false when it says nothing of the kind. */
bool api_described_shape(const char *about, struct efm_shape *shape);

#endif
