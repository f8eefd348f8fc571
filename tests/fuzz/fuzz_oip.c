// SPDX-License-Identifier: Apache-2.0
/* A query, the length of the JSON in place of a Content-Type, and a body as requests of the inference
 * protocol: what is accepted is a target and a body that /v1/transfer can read. */
#include "api/oip.h"
#include "tests/fuzz/api_target.h"

static void check_inner(const struct api_inner_request *inner)
{
    if (inner->target.size == 0 || inner->target.data[inner->target.size - 1] != '\0' ||
        strncmp((const char *)inner->target.data, "/v1/", 4) != 0)
        abort();
    if ((inner->content_type[0] == '\0') != (inner->body.size == 0))
        abort();
}

/* What was made of the request is read again; whatever comes of it is not a broken form or a broken array. */
static void read_again(const struct api_inner_request *inner)
{
    char target[4096];
    struct api_transfer request;
    struct api_problem problem = {0};
    const struct api_limits limits = api_limits_default();
    memcpy(target, inner->target.data, inner->target.size);
    const enum api_operation operation =
        strncmp(target, "/v1/generate", 12) == 0 ? API_OP_GENERATE : API_OP_TRANSFER;
    char *query = strchr(target, '?');
    const struct api_message message = {.method = "POST",
                                        .path = target,
                                        .query = query == NULL ? "" : query + 1,
                                        .content_type = inner->content_type,
                                        .accept = api_media_type(inner->media),
                                        .body = inner->body.data,
                                        .body_size = inner->body.size};
    bool good = api_transfer_parse(&request, &message, operation, &limits, &problem);
    if (!good && (problem.code == API_P_MALFORMED_MULTIPART || problem.code == API_P_INVALID_NPY ||
                  problem.code == API_P_UNKNOWN_PARAMETER || problem.code == API_P_MALFORMED_REQUEST))
        abort();
    api_transfer_release(&request);
}

static void parse(const struct target_message *target, const struct efm_shape *shape)
{
    struct api_oip_infer request;
    struct api_problem problem = {0};
    const struct api_limits limits = api_limits_default();
    const bool good =
        api_oip_infer_parse(&request, "m", shape, &target->message, target->type, &limits, &problem);
    check_verdict(good, &problem);
    if (good) {
        check_inner(&request.inner);
        read_again(&request.inner);
    }
    api_oip_infer_release(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct efm_shape shapes[] = {{0, 0, 0, 2}, {2, 2, 3, 12}};
    struct target_message target;
    struct api_problem index = {0}, load = {0};
    bool ready;
    take_message(&target, data, size);
    parse(&target, NULL);
    parse(&target, &shapes[0]);
    parse(&target, &shapes[1]);
    check_verdict(api_oip_index_parse(&target.message, &ready, &index), &index);
    check_verdict(api_oip_load_parse(&target.message, true, &load), &load);
    free(target.body);
    return 0;
}
