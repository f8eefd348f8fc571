// SPDX-License-Identifier: Apache-2.0
#include "api/openai.h"

#include <inttypes.h>
#include <stdio.h>

static bool write_data(const struct api_openai_images *request, const struct api_inner_results *results,
                       struct efm_buffer *out, struct api_problem *problem)
{
    bool good = true;
    for (size_t i = 0; good && i < results->count; i++) {
        struct efm_buffer file = efm_buffer_limited(request->max_reply_bytes);
        good = api_inner_results_file(results, i, request->format, request->quality, &file, problem);
        if (good) {
            efm_buffer_append_string(out, i > 0 ? ",{\"b64_json\":\"" : "{\"b64_json\":\"");
            api_base64_encode(out, file.data, file.size);
            efm_buffer_append_string(out, "\"}");
        }
        efm_buffer_release(&file);
    }
    return good;
}

bool api_openai_render(const struct api_openai_images *request, const struct api_reply *inner,
                       int64_t created, struct api_reply *reply, struct api_problem *problem)
{
    struct api_inner_results results;
    struct efm_buffer *out = &reply->body;
    api_reply_init(reply, request->max_reply_bytes);
    snprintf(reply->content_type, sizeof reply->content_type, "application/json");
    efm_buffer_format(out, "{\"created\":%" PRId64 ",\"data\":[", created);
    bool good =
        api_inner_results_read(&results, inner, problem) && write_data(request, &results, out, problem);
    efm_buffer_format(out, "],\"output_format\":\"%s\",\"size\":\"%ux%u\",\"seed\":%" PRIu64 "}",
                      efm_image_format_name(request->format), request->shape.width, request->shape.height,
                      results.seed);
    if (good && out->status == EFM_E_LIMIT)
        good = api_problem_set(problem, API_P_TOO_MANY_IMAGES, NULL, "the answer is larger than %zu bytes",
                               out->limit);
    else if (good && out->status != EFM_OK)
        good = api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the answer");
    api_inner_headers(reply, inner);
    api_inner_results_release(&results);
    if (!good)
        api_reply_release(reply);
    return good;
}
