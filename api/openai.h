/* openai.h - the Images of the OpenAI API: the shapes of its requests and answers.
 *
 * images/edits is a form: image or image[], repeatable, each of which is carried; images/generations is
 * JSON. Either may come in the other's way where it needs no file. The fields: model, n, size (auto, or the
 * model's own), response_format (b64_json), output_format, output_compression, and of ours seed, steps,
 * solver, direction. prompt and user are taken and not looked at. Whatever asks for something that is not
 * done here is API_P_UNSUPPORTED_PARAMETER.
 *
 * Threads: plain values of one request. */
#ifndef API_OPENAI_H
#define API_OPENAI_H

#include "api/inner_request.h"

struct api_openai_images {
    enum api_operation operation;
    struct api_transfer parameters; /* those that both APIs have, and their defaults; no inputs */
    uint32_t fields_given;          /* bits, by index into a table of the parser's */
    char size[16];                  /* as sent; "" or "auto": any */
    enum efm_image_format format;
    bool has_compression;
    int quality;            /* of JPEG and WebP */
    struct efm_shape shape; /* of the model, after api_openai_plan */
    size_t max_reply_bytes;
    struct api_inner_request inner;
};

/* edits: API_OP_TRANSFER, generations: API_OP_GENERATE. Release the request in every case. */
bool api_openai_parse(struct api_openai_images *request, const struct api_message *message,
                      enum api_operation operation, const struct api_limits *limits,
                      struct api_problem *problem);
void api_openai_release(struct api_openai_images *request);

/* The name of the model that was asked for; NULL: none. */
const char *api_openai_model(const struct api_openai_images *request);

/* Against the model, whose samples must be images of the size that was asked for; then the inner request is
 * complete. */
bool api_openai_plan(struct api_openai_images *request, const char *model, const struct efm_shape *shape,
                     struct api_problem *problem);

/* {"created","data":[{"b64_json"}],"output_format","size","seed"}; `created` in Unix seconds. Initialises
 * `reply`; on failure it is released again. */
bool api_openai_render(const struct api_openai_images *request, const struct api_reply *inner,
                       int64_t created, struct api_reply *reply, struct api_problem *problem);

#endif
