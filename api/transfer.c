// SPDX-License-Identifier: Apache-2.0
#include "api/lines.h"
#include "api/transfer_internal.h"

#include "core/base/memory.h"

#include <string.h>

static const char *const LAYOUTS[] = {"auto", "single", "grid", NULL};             /* enum api_layout */
static const char *const FORMATS[] = {"png", "jpeg", "webp", "json", "npy", NULL}; /* enum api_media - 1 */
static const char *const FITS[] = {"crop", "contain", "stretch", NULL};            /* enum efm_image_fit */
static const char *const PRIORITIES[] = {"normal", "low", NULL};                   /* enum api_priority */

static const struct api_parameter PARAMETERS[] = {
    {"model", API_NAME, offsetof(struct api_transfer, model),
     .fallback = "the only model, where there is just one", .help = "The model that carries the samples"},
    API_LINE_PARAMETERS(struct api_transfer),
    {"seed", API_INTEGER, offsetof(struct api_transfer, seed), .low = 0, .high = API_SEED_MAX,
     .fallback = "a fresh one, told in the answer", .help = "The same seed gives the same bytes"},
    {"n", API_INTEGER, offsetof(struct api_transfer, n), .low = 1, .high = 4096, .fallback = "1",
     .help = "Results of each input; of /generate: results"},
    {"format", API_WORD, offsetof(struct api_transfer, format), .words = FORMATS,
     .fallback = "what Accept says; png for images and json for vectors",
     .help = "Format of the answer; comes before Accept unless that refuses it"},
    {"quality", API_INTEGER, offsetof(struct api_transfer, quality), .low = 1, .high = 100, .fallback = "90",
     .help = "Of JPEG and WebP; 100 makes WebP lossless"},
    {"layout", API_WORD, offsetof(struct api_transfer, layout), .words = LAYOUTS, .fallback = "auto",
     .help = "single: one picture, grid: a sheet of pictures, auto: by the number of results"},
    {"trajectory", API_INTEGER, offsetof(struct api_transfer, trajectory), .low = 2,
     .high = EFM_FLOW_MAX_FRAMES, .fallback = "the result alone",
     .help = "Show each line as this many points, both ends included"},
    {"timeout", API_REAL, offsetof(struct api_transfer, timeout), .low = 0.001, .high = 86400,
     .fallback = "the server's own", .help = "Seconds after which the request is given up"},
    {"priority", API_WORD, offsetof(struct api_transfer, priority), .words = PRIORITIES, .fallback = "normal",
     .help = "low: behind requests of normal priority, which leave it a sixteenth of the time"},
    {"fit", API_WORD, offsetof(struct api_transfer, fit), .words = FITS, .fallback = "crop",
     .help = "How an image of other proportions is brought to the model's"},
    {"background", API_COLOUR, offsetof(struct api_transfer, background), .fallback = "black",
     .help = "What shows through transparent pixels and around a contained image"},
};

const struct api_parameter_table api_transfer_table = {PARAMETERS, sizeof PARAMETERS / sizeof PARAMETERS[0]};
_Static_assert(sizeof PARAMETERS / sizeof PARAMETERS[0] <= API_MAX_PARAMETERS, "one bit each");
_Static_assert(API_MEDIA_PNG == 1 && API_MEDIA_NPY == 5, "FORMATS follows enum api_media");

struct api_limits api_limits_default(void)
{
    return (struct api_limits){
        .max_images = 64, .image = efm_image_limits_default(), .max_reply_bytes = (size_t)256 << 20};
}

/* `format` comes before Accept unless Accept forbids it outright. */
static bool choose_media(struct api_transfer *request, const struct api_message *message,
                         struct api_problem *problem)
{
    static const enum api_media offers[] = {API_MEDIA_PNG, API_MEDIA_JPEG, API_MEDIA_WEBP, API_MEDIA_JSON,
                                            API_MEDIA_NPY};
    request->npy_type = api_accept_npy_type(message->accept);
    if (api_transfer_given(request, "format")) {
        request->media = (enum api_media)(request->format + 1);
        request->vector_media = request->media >= API_MEDIA_JSON ? request->media : API_MEDIA_NONE;
        if (!api_accept_refuses(message->accept, request->media))
            return true;
        return api_problem_set(problem, API_P_NOT_ACCEPTABLE, "/format", "is %s, but Accept refuses %s",
                               FORMATS[request->format], api_media_type(request->media));
    }
    request->media = api_accept(message->accept, offers, 5);
    request->vector_media = api_accept(message->accept, offers + 3, 2);
    if (request->media != API_MEDIA_NONE)
        return true;
    return api_problem_set(problem, API_P_NOT_ACCEPTABLE, NULL,
                           "the answer can be image/png, image/jpeg, image/webp, application/json, "
                           "application/octet-stream or application/x-npy");
}

bool api_transfer_parse(struct api_transfer *request, const struct api_message *message,
                        enum api_operation operation, const struct api_limits *limits,
                        struct api_problem *problem)
{
    *request = (struct api_transfer){.operation = operation, .limits = *limits};
    api_parameters_defaults(&api_transfer_table, request);
    bool good =
        api_parameters_from_query(&api_transfer_table, request, &request->seen, message->query, problem);
    /* Both are looked at, so that the client learns of the mistakes in both. */
    good = api_transfer_read_body(request, message, problem) && good;
    return good && choose_media(request, message, problem);
}

void api_transfer_release(struct api_transfer *request)
{
    for (size_t i = 0; i < request->input_count; i++) {
        efm_free(request->inputs[i].owned);
        efm_free(request->inputs[i].vector);
    }
    efm_free(request->inputs);
    request->inputs = NULL;
    request->input_count = 0;
}
