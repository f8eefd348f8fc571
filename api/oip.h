/* oip.h - the Open Inference Protocol, version 2, over HTTP: the shapes of its requests and answers.
 *
 * A model has one input and three outputs, of which those that are asked for are answered; without
 * "outputs", "output" is.
 *
 *     "input"    FP32, FP64 or FP16 [n, h, w, c] in -1..1 or [n, D] · UINT8 [n, h, w, c] ·
 *                BYTES [n]: PNG, JPEG or WebP
 *     "output"   FP32 [n, h, w, c] or [n, D]
 *     "pixels"   UINT8 [n, h, w, c]
 *     "image"    BYTES [n]: files of the parameter "format", png unless it says otherwise
 *
 * "parameters" are those of /v1/transfer but for model, which stands in the path, layout and trajectory;
 * and "operation": "transfer" or "generate" (which takes no input), "binary_data_output", and two that
 * are whole numbers, as clients of this protocol mean them: "timeout" in microseconds, and "priority", of which
 * 0 is the default and 1 the highest: both are normal, from 2 on it is low. The words do as well. In JSON the elements of BYTES are base64. With
 * the binary extension tensors follow the JSON, which Inference-Header-Content-Length measures: numbers
 * little-endian, elements of BYTES behind a length of 4 bytes. A length of 0 says that the whole body is
 * the input: an image file, or FP32 in the model's shape, called anything but JSON; parameters then stand in
 * the query.
 *
 * Threads: plain values of one request. */
#ifndef API_OIP_H
#define API_OIP_H

#include "api/inner_request.h"

#define API_OIP_LENGTH_HEADER "Inference-Header-Content-Length"
#define API_OIP_VERSION "1" /* of every model */

enum api_oip_output_kind { API_OIP_OUTPUT, API_OIP_PIXELS, API_OIP_IMAGE, API_OIP_OUTPUT_KINDS };

struct api_oip_output {
    enum api_oip_output_kind kind;
    bool binary;
};

struct api_oip_infer {
    char model[API_NAME_SIZE];
    struct efm_shape shape; /* of the model; zero when it is not known */
    json_t *id;             /* owned: a string; NULL: none */
    struct api_oip_output outputs[API_OIP_OUTPUT_KINDS];
    size_t output_count;
    enum efm_image_format format; /* of "image" */
    int quality;
    size_t max_reply_bytes;
    struct api_inner_request inner;
};

/* `shape` may be NULL: then what does not fit the model is found out later. `header_length` is the header
 * as sent, "" when absent. Release the request in every case. */
bool api_oip_infer_parse(struct api_oip_infer *request, const char *model, const struct efm_shape *shape,
                         const struct api_message *message, const char *header_length,
                         const struct api_limits *limits, struct api_problem *problem);
/* Makes a problem of the inner request one of this protocol's: its pointers are of what the client sent. */
void api_oip_infer_problem(struct api_problem *problem);
void api_oip_infer_release(struct api_oip_infer *request);

/* {"model_name","model_version","id"?,"parameters":{"seed","evaluations","landed"},"outputs":[...]} and
 * binary tensors, from the answer to the inner request, which is borrowed. Initialises `reply`; on failure
 * it is released again. */
bool api_oip_infer_render(const struct api_oip_infer *request, const struct api_reply *inner,
                          struct api_reply *reply, struct api_problem *problem);

/* {"name","versions":["1"],"platform":"efmd_safetensors",
 *  "inputs":[{"name","datatype","shape"}],"outputs":[...]} */
void api_oip_model_render(const char *name, const struct efm_shape *shape, struct efm_buffer *out);

/* {"name","version","extensions":[...]} */
void api_oip_server_render(const char *version, struct efm_buffer *out);

/* The body of /v2/repository/index: nothing, or {"ready": bool}. */
bool api_oip_index_parse(const struct api_message *message, bool *ready_only, struct api_problem *problem);

/* An item of the index: {"name","version","state","reason"}. `word` is the state of api_model_state. */
void api_oip_index_item(size_t index, const char *name, const char *word, const char *reason,
                        struct efm_buffer *out);

/* The body of load and unload: nothing, or {"parameters": {}}; of unload also "unload_dependents", which
 * changes nothing. */
bool api_oip_load_parse(const struct api_message *message, bool unload, struct api_problem *problem);

#endif
