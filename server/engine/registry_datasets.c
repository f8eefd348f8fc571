// SPDX-License-Identifier: Apache-2.0
/* Datasets: read from their blobs, deleted. */
#include "server/engine/registry_internal.h"

#include <stdio.h>
#include <string.h>

/* Samples in a file of their own need no memory: there as much as may be stored may also be unpacked. */
void srv_registry_limit_reading(const struct srv_registry *registry, struct efm_dataset_options *options)
{
    const uint64_t quota = registry->options.dataset_quota;
    const size_t budget = registry->options.memory_budget;
    options->image_limits = registry->options.image_limits;
    options->scratch = registry->options.scratch;
    if (options->scratch == NULL && budget < options->max_decoded_bytes)
        options->max_decoded_bytes = budget;
    if (options->scratch != NULL && quota > options->max_decoded_bytes)
        options->max_decoded_bytes = quota < SIZE_MAX ? (size_t)quota : SIZE_MAX;
}

static bool stored_options(const struct srv_dataset_facts *facts, struct efm_dataset_options *options,
                           struct api_problem *problem)
{
    struct api_dataset_request request;
    const struct api_message message = {.method = "PUT",
                                        .path = "",
                                        .query = facts->query,
                                        .content_type = "",
                                        .accept = "",
                                        .body = (const uint8_t *)""};
    if (!api_dataset_parse(&request, &message, problem))
        return false;
    api_dataset_options(&request, options);
    return true;
}

static struct efm_dataset *read_blob(struct srv_registry *registry, const struct srv_dataset_facts *facts,
                                     const struct efm_dataset_options *override, struct api_problem *problem)
{
    struct efm_dataset_options options;
    struct efm_error error = {0};
    struct srv_blob *blob = NULL;
    struct efm_dataset *dataset = NULL;
    if (override == NULL && !stored_options(facts, &options, problem))
        return NULL;
    if (override != NULL)
        options = *override;
    else
        srv_registry_limit_reading(registry, &options);
    if (srv_blobs_open(registry->options.blobs, facts->blob, &blob, &error) != EFM_OK) {
        srv_registry_store_failed(registry, &error, problem);
        return NULL;
    }
    const uint8_t *bytes = srv_blob_map(blob, &error);
    if (bytes == NULL)
        srv_registry_store_failed(registry, &error, problem);
    else if (efm_dataset_read(&dataset, bytes, (size_t)srv_blob_size(blob), &options, &error) != EFM_OK)
        api_problem_from_error(problem, &error, API_P_INVALID_DATASET, NULL);
    srv_blob_close(blob);
    return dataset;
}

/* True when the name stands for other bytes by now, or for none. */
static bool was_replaced(struct srv_registry *registry, const struct srv_dataset_facts *facts)
{
    struct srv_dataset_facts present = {0};
    bool same =
        srv_registry_dataset_facts(registry, facts->name, &present) && strcmp(present.blob, facts->blob) == 0;
    srv_dataset_facts_release(&present);
    return !same;
}

struct efm_dataset *srv_registry_read_dataset(struct srv_registry *registry, const char *name,
                                              const struct efm_dataset_options *override,
                                              struct api_problem *problem)
{
    enum { TRIES = 4 };
    struct efm_dataset *dataset = NULL;
    bool again = true;
    for (int i = 0; i < TRIES && again && dataset == NULL; i++) {
        struct srv_dataset_facts facts = {0};
        struct api_problem trouble = {0};
        if (!srv_registry_dataset_facts(registry, name, &facts)) {
            srv_registry_unknown(&registry->datasets, name, problem);
            return NULL;
        }
        dataset = read_blob(registry, &facts, override, &trouble);
        again = trouble.code == API_P_STORAGE && i + 1 < TRIES && was_replaced(registry, &facts);
        if (dataset == NULL && !again)
            *problem = trouble;
        srv_dataset_facts_release(&facts);
    }
    return dataset;
}

bool srv_registry_delete_dataset(struct srv_registry *registry, const char *name, const char *expected,
                                 struct api_problem *problem)
{
    return srv_registry_delete(registry, &registry->datasets, name, expected, problem);
}
