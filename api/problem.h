/* problem.h - the one shape of every error: RFC 9457 problem+json.
 *
 *     return api_problem_set(problem, API_P_INVALID_PARAMETER, "/steps", "must be a whole number in 1..1000,
 * not 0");
 *
 * The body carries code, request_id and a string `error` beside the RFC's members, so that clients made for
 * other inference servers read it too. The first problem wins; further field errors are added to its list.
 * Threads: a problem belongs to one request. */
#ifndef API_PROBLEM_H
#define API_PROBLEM_H

#include "core/base/buffer.h"
#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* symbol, HTTP status, code (also the last part of `type`), title */
#define API_PROBLEM_MAP(X)                                                                                   \
    X(API_P_MALFORMED_REQUEST, 400, "malformed_request", "The request cannot be parsed")                     \
    X(API_P_MALFORMED_JSON, 400, "malformed_json", "The JSON cannot be parsed")                              \
    X(API_P_MALFORMED_MULTIPART, 400, "malformed_multipart", "The multipart form cannot be parsed")          \
    X(API_P_EMPTY_BODY, 400, "empty_body", "The request has no body")                                        \
    X(API_P_UNSUPPORTED_PARAMETER, 400, "unsupported_parameter",                                             \
      "The parameter or its value is not taken here")                                                        \
    X(API_P_UNAUTHORIZED, 401, "unauthorized", "A valid API key is needed")                                  \
    X(API_P_FORBIDDEN, 403, "forbidden", "This key, or this place, does not allow it")                       \
    X(API_P_FOREIGN_ORIGIN, 403, "foreign_origin", "Pages of this origin may not ask")                       \
    X(API_P_NOT_FOUND, 404, "not_found", "There is nothing at this path")                                    \
    X(API_P_UNKNOWN_MODEL, 404, "unknown_model", "There is no model of this name")                           \
    X(API_P_UNKNOWN_DATASET, 404, "unknown_dataset", "There is no dataset of this name")                     \
    X(API_P_UNKNOWN_JOB, 404, "unknown_job", "There is no job of this id")                                   \
    X(API_P_METHOD_NOT_ALLOWED, 405, "method_not_allowed", "The method does not apply to this path")         \
    X(API_P_NOT_ACCEPTABLE, 406, "not_acceptable", "None of the accepted media types can be made")           \
    X(API_P_REQUEST_TIMEOUT, 408, "request_timeout", "The request took too long to arrive")                  \
    X(API_P_CONFLICT, 409, "conflict", "The present state does not allow this")                              \
    X(API_P_NOT_FINISHED, 409, "not_finished", "The job has not come so far yet")                            \
    X(API_P_KEY_IN_USE, 409, "idempotency_key_in_use", "A request with this key is under way")               \
    X(API_P_GONE, 410, "gone", "It was there, and has expired or been deleted")                              \
    X(API_P_PRECONDITION_FAILED, 412, "precondition_failed", "The stored version is another one")            \
    X(API_P_BODY_TOO_LARGE, 413, "body_too_large", "The body is larger than the limit")                      \
    X(API_P_IMAGE_TOO_LARGE, 413, "image_too_large", "The image has more pixels than the limit")             \
    X(API_P_TOO_MANY_IMAGES, 413, "too_many_images", "The request asks for more images than the limit")      \
    X(API_P_QUOTA, 413, "quota_exceeded", "The quota of stored bytes is used up")                            \
    X(API_P_URI_TOO_LONG, 414, "uri_too_long", "Path and query are longer than the limit")                   \
    X(API_P_UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type",                                           \
      "The body is of a type that is not taken")                                                             \
    X(API_P_NOT_AN_IMAGE, 415, "not_an_image", "The bytes are not a PNG, JPEG or WebP image")                \
    X(API_P_UNSUPPORTED_IMAGE, 415, "unsupported_image", "This kind of image is not taken")                  \
    X(API_P_RANGE, 416, "range_not_satisfiable", "The file has no such bytes")                               \
    X(API_P_EXPECTATION, 417, "expectation_failed", "The server does not do what is expected")               \
    X(API_P_MISDIRECTED, 421, "misdirected", "The server is not asked under this name")                      \
    X(API_P_DAMAGED_IMAGE, 422, "damaged_image", "The image is truncated or damaged")                        \
    X(API_P_IMAGE_TOO_SMALL, 422, "image_too_small", "The image is too small to be meant")                   \
    X(API_P_INVALID_PARAMETER, 422, "invalid_parameter", "A parameter is out of range or of a wrong kind")   \
    X(API_P_UNKNOWN_PARAMETER, 422, "unknown_parameter", "A parameter is not known")                         \
    X(API_P_DUPLICATE_PARAMETER, 422, "duplicate_parameter", "A parameter is given twice")                   \
    X(API_P_MISSING_PARAMETER, 422, "missing_parameter", "A parameter is needed and absent")                 \
    X(API_P_INVALID_NAME, 422, "invalid_name", "The name is not allowed")                                    \
    X(API_P_NOT_FINITE, 422, "not_finite", "A number is NaN or infinite")                                    \
    X(API_P_SHAPE_MISMATCH, 422, "shape_mismatch", "The dimensions do not fit the model")                    \
    X(API_P_INVALID_NPY, 422, "invalid_npy", "The NPY array cannot be read")                                 \
    X(API_P_INVALID_DATASET, 422, "invalid_dataset", "The dataset cannot be read")                           \
    X(API_P_DATASET_TOO_LARGE, 422, "dataset_too_large", "The dataset is larger than the limit")             \
    X(API_P_INVALID_MODEL, 422, "invalid_model", "The model file cannot be read")                            \
    X(API_P_MODEL_TOO_LARGE, 422, "model_too_large", "The model is larger than the limit")                   \
    X(API_P_URL_REFUSED, 422, "url_refused", "The server does not go to this address")                       \
    X(API_P_KEY_REUSED, 422, "idempotency_key_reused", "The key was used for another request")               \
    X(API_P_QUEUE_FULL, 429, "queue_full", "Queue is full")                                                  \
    X(API_P_CLIENT_LIMIT, 429, "client_limit", "This client has too many requests under way")                \
    X(API_P_HEADERS_TOO_LARGE, 431, "headers_too_large", "The headers are more than the limit")              \
    X(API_P_INTERNAL, 500, "internal", "Something broke inside the server")                                  \
    X(API_P_DRAINING, 503, "draining", "The server is shutting down")                                        \
    X(API_P_NO_MEMORY, 503, "insufficient_memory", "There is no memory for this now")                        \
    X(API_P_STORAGE, 503, "storage_failed", "The state directory refused a write")                           \
    X(API_P_DEADLINE, 504, "deadline_exceeded", "The time allowed for the request has passed")

enum api_problem_code {
    API_P_NONE,
#define API_PROBLEM_ENUM(symbol, http, code, title) symbol,
    API_PROBLEM_MAP(API_PROBLEM_ENUM)
#undef API_PROBLEM_ENUM
        API_P_COUNT
};

enum { API_PROBLEM_FIELDS = 8 };

struct api_problem {
    enum api_problem_code code; /* API_P_NONE while all is well */
    char detail[320];
    struct {
        char pointer[72]; /* JSON pointer or "/name" of a query or form parameter */
        char detail[200];
    } fields[API_PROBLEM_FIELDS];
    size_t field_count;
    unsigned retry_after; /* seconds; 0: no Retry-After header */
    char allow[64];       /* for 405: the Allow header */
};

/* Records the problem when there is none yet; with a `pointer` also adds a field error (up to the limit).
 * Always returns false, so that a parser may `return api_problem_set(...)`. */
bool api_problem_set(struct api_problem *problem, enum api_problem_code code, const char *pointer,
                     const char *format, ...) EFM_PRINTF(4, 5);

/* Pointers that begin with `from`, a whole member, begin with `to` instead, in the detail too. */
void api_problem_move(struct api_problem *problem, const char *from, const char *to);

/* What a core error means to the client; `when_format` is the code for EFM_E_FORMAT and its relatives. */
bool api_problem_from_error(struct api_problem *problem, const struct efm_error *error,
                            enum api_problem_code when_format, const char *pointer);

int api_problem_status(enum api_problem_code code);            /* the HTTP status */
const char *api_problem_code_name(enum api_problem_code code); /* "queue_full" */
const char *api_problem_title(enum api_problem_code code);

/* Appends the JSON body. `request_id`, `trace_id` ("": none, and no member) and `instance` (the path) are
 * borrowed; control characters are escaped. */
void api_problem_render(const struct api_problem *problem, const char *request_id, const char *trace_id,
                        const char *instance, struct efm_buffer *out);

#endif
