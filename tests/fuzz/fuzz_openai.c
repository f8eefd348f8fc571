// SPDX-License-Identifier: Apache-2.0
/* A query, a Content-Type and a body as requests for images of the OpenAI API, and the body as an answer to
 * the inner one. */
#include "api/openai.h"
#include "tests/fuzz/api_target.h"

#include <stdio.h>

static void parse(const struct api_message *message, enum api_operation operation)
{
    static const struct efm_shape shape = {2, 2, 3, 12};
    const struct api_limits limits = api_limits_default();
    struct api_openai_images request;
    struct api_problem problem = {0};
    bool good = api_openai_parse(&request, message, operation, &limits, &problem);
    check_verdict(good, &problem);
    if (good) {
        good = api_openai_plan(&request, "m", &shape, &problem);
        check_verdict(good, &problem);
        if (good && (request.inner.target.data[request.inner.target.size - 1] != '\0' ||
                     (operation == API_OP_TRANSFER) != (request.inner.body.size > 0)))
            abort();
    }
    api_openai_release(&request);
}

static void render(const struct api_message *message, bool json)
{
    const struct api_openai_images request = {
        .format = EFM_IMAGE_PNG, .quality = 90, .shape = {2, 2, 3, 12}, .max_reply_bytes = 1 << 20};
    struct api_reply inner, reply;
    struct api_problem problem = {0};
    api_reply_init(&inner, 1 << 20);
    snprintf(inner.content_type, sizeof inner.content_type, "application/%s", json ? "json" : "octet-stream");
    efm_buffer_append(&inner.body, message->body, message->body_size);
    const bool good = inner.body.status == EFM_OK && api_openai_render(&request, &inner, 1, &reply, &problem);
    if (good) {
        json_t *root =
            json_loadb((const char *)reply.body.data, reply.body.size, JSON_REJECT_DUPLICATES, NULL);
        if (root == NULL)
            abort();
        json_decref(root);
        api_reply_release(&reply);
    }
    api_reply_release(&inner);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target_message target;
    take_message(&target, data, size);
    parse(&target.message, API_OP_TRANSFER);
    parse(&target.message, API_OP_GENERATE);
    render(&target.message, true);
    render(&target.message, false);
    free(target.body);
    return 0;
}
