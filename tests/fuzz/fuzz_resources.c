// SPDX-License-Identifier: Apache-2.0
/* A query, a Content-Type and a body as the recipe of a model and as the parameters of a dataset. */
#include "api/resources.h"
#include "tests/fuzz/api_target.h"

/* What was read must be read again from the query that is made of it. */
static void check_query(const struct api_dataset_request *request)
{
    struct efm_buffer query = efm_buffer_limited(1024);
    struct api_dataset_request again;
    struct api_problem problem = {0};
    api_dataset_query(request, &query);
    if (efm_buffer_append(&query, "", 1) != EFM_OK)
        abort();
    const struct api_message message = {.method = "PUT",
                                        .path = "",
                                        .query = (const char *)query.data,
                                        .content_type = "",
                                        .accept = "",
                                        .body = (const uint8_t *)""};
    if (!api_dataset_parse(&again, &message, &problem) || again.size != request->size ||
        again.channels != request->channels || again.fit != request->fit ||
        memcmp(again.background, request->background, sizeof again.background) != 0)
        abort();
    efm_buffer_release(&query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target_message target;
    struct api_exact_request exact;
    struct efm_exact_spec spec;
    struct api_dataset_request dataset;
    struct api_problem problem = {0}, other = {0};
    bool is_weights;
    take_message(&target, data, size);
    bool good = api_model_parse(&exact, &target.message, &is_weights, &problem);
    if (good && !is_weights) {
        if (!api_name_valid(exact.source) || !api_name_valid(exact.target))
            abort();
        good = api_exact_spec(&exact, &spec, &problem);
    }
    check_verdict(good, &problem);
    good = api_dataset_parse(&dataset, &target.message, &other);
    if (good && dataset.size > 4096)
        abort();
    check_verdict(good, &other);
    if (good)
        check_query(&dataset);
    free(target.body);
    return 0;
}
