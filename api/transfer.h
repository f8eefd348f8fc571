/* transfer.h - POST /transfer and /generate: from bytes to a request, from landed lines to a reply.
 *
 *     api_transfer_parse(&request, &message, API_OP_TRANSFER, &problem)      names, numbers, where the inputs
 * lie api_transfer_plan(&request, model, &plan, &problem)                    against the model: options,
 * counts api_transfer_starts(&request, model, &plan, starts, &problem)          decodes the inputs to floats
 *     ... the engine follows the lines ...
 *     api_transfer_render(&request, model, &plan, &outcome, &reply, &problem)
 *
 * Parsing and planning are cheap (headers of images only) and run before admission; decoding and rendering
 * cost time and run off the event loop. Threads: a request belongs to one thread at a time. */
#ifndef API_TRANSFER_H
#define API_TRANSFER_H

#include "api/message.h"
#include "api/parameters.h"
#include "api/problem.h"
#include "core/flow/flow.h"
#include "core/image/image.h"
#include "core/model/model.h"

enum api_operation { API_OP_TRANSFER, API_OP_GENERATE };
enum api_layout { API_LAYOUT_AUTO, API_LAYOUT_SINGLE, API_LAYOUT_GRID };

struct api_limits {
    size_t max_images; /* results of one request */
    struct efm_image_limits image;
    size_t max_reply_bytes;
};
struct api_limits api_limits_default(void); /* 64 images, image.h's limits, 256 MiB */

/* One input: an image still encoded, or a vector. */
struct api_input {
    const uint8_t *bytes; /* the image file, borrowed from the body or from `owned`; NULL for a vector */
    size_t size;
    uint8_t *owned; /* decoded base64, freed with the request */
    float *vector;  /* owned [vector_length]; NULL for an image */
    size_t vector_length;
    struct efm_shape shape; /* of an NPY vector that came as [n, h, w, c]; otherwise zero */
    char pointer[32];       /* where it stood, for error messages: "/image", "/images/3", "/vectors/0" */
};

enum api_priority { API_PRIORITY_NORMAL, API_PRIORITY_LOW };

struct api_transfer {
    enum api_operation operation;
    struct api_parameters_seen seen;
    /* parameters; meaningful when given, see api_transfer_table */
    char model[API_NAME_SIZE];
    int direction, solver, variable, layout, format, fit, priority; /* words */
    uint64_t steps, seed, n, quality, trajectory;
    double tolerance, timeout; /* timeout in seconds */
    uint8_t background[3];
    /* inputs */
    struct api_input *inputs; /* owned */
    size_t input_count;
    enum api_media media;        /* of the answer, from Accept and format, if it may be an image */
    enum api_media vector_media; /* the same among JSON and NPY alone; NONE when neither is accepted */
    const char *npy_type;        /* the media type that an NPY answer bears; borrowed for ever */
    struct api_limits limits;
};

/* The parameters of both operations, for parsers and documents. */
extern const struct api_parameter_table api_transfer_table;

/* Body: raw image bytes (told by their first bytes, whatever the Content-Type says), NPY (float32/float64 [n,
 * D] or [n, h, w, c] vectors; told by its magic), multipart/form-data (image= repeatable, other fields are
 * parameters), or JSON
 * {"image": b64 | "images": [b64...] | "vector": [..] | "vectors": [[..]...], parameters...}. generate: no
 * body or JSON of parameters. Release the request in every case. */
bool api_transfer_parse(struct api_transfer *request, const struct api_message *message,
                        enum api_operation operation, const struct api_limits *limits,
                        struct api_problem *problem);
void api_transfer_release(struct api_transfer *request);

struct api_plan {
    size_t line_count; /* results = inputs * n (transfer) or n (generate) */
    size_t dimension;
    struct efm_flow_options options; /* of every line; seed filled in */
    uint64_t seed;                   /* given, or drawn by the caller as `fresh_seed` */
    enum api_layout layout;          /* decided */
    enum api_media media;            /* decided */
};

/* Checks the request against the model: combination of solver and map, vector lengths and finiteness, image
 * headers (limits, kind, at least 2x2), counts; a vector model answers in JSON or NPY only. `fresh_seed` is
 * used when none is given. steps without solver asks for fixed steps (heun where the model would adapt them),
 * tolerance without solver for error control (rk45 where it would not), variable for a solver that has one
 * (rk45 instead of arc_length); what would have no effect is refused. */
bool api_transfer_plan(const struct api_transfer *request, const struct efm_model *model, uint64_t fresh_seed,
                       struct api_plan *plan, struct api_problem *problem);

/* Start points [line_count, dimension], caller's. transfer: the decoded inputs, each n times over. generate:
 * fresh N(0, I) keyed by (seed, image) where the plate is standard normal, otherwise a charge of the plate
 * chosen by (seed, image). */
bool api_transfer_starts(const struct api_transfer *request, const struct efm_model *model,
                         const struct api_plan *plan, float *starts, struct api_problem *problem);

/* What became of the lines. Arrays are borrowed. */
struct api_outcome {
    struct efm_line *const *lines; /* [line_count], none running */
    double queue_seconds, compute_seconds;
};

/* Image answers: one picture, or a grid; with trajectory a row of frames a line. JSON: {"created"?, "model",
 * "seed", "direction", "map", "solver", "data": [{"index", "seed", "landed", "state", "evaluations",
 * "b64_json" | "vector", "frames"?: [...], "heights"?: [...]}], "timings"}. NPY: float32 [n, h, w, c] or [n,
 * D], with trajectory [n, k,
 * ...]. Headers: Efm-Model, Efm-Seed, Efm-Steps (NFE, the most of any line), Efm-Landed ("3/4"). Initialises `reply` with the limit of the request; on failure it is released again. */
bool api_transfer_render(const struct api_transfer *request, const struct efm_model *model,
                         const struct api_plan *plan, const struct api_outcome *outcome,
                         struct api_reply *reply, struct api_problem *problem);

#endif
