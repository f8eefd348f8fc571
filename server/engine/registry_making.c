// SPDX-License-Identifier: Apache-2.0
/* From the bytes of a file to a model that can serve: room for it, read, counted, warm. */
#include "core/base/memory.h"
#include "core/field/learned.h"
#include "server/engine/registry_internal.h"
#include "server/engine/scheduler.h"
#include "server/engine/warm.h"

/* A worker that serves lines and points has two working spaces. */
size_t srv_registry_model_bytes(const struct srv_registry *registry, const struct efm_model *model)
{
    const struct srv_registry_options *options = &registry->options;
    const struct efm_field *field = efm_model_field(model);
    size_t threads = options->threads_per_worker, bytes;
    if (options->workers == 0 || !efm_field_is_learned(field))
        return efm_model_bytes(model);
    size_t points = srv_points_capacity(field, options->batch);
    bool fits = efm_size_add(efm_learned_field_run_bytes(field, options->batch, threads),
                             efm_learned_field_run_bytes(field, points, threads), &bytes) &&
                efm_size_multiply(bytes, options->workers, &bytes) &&
                efm_size_add(bytes, efm_model_bytes(model), &bytes);
    return fits ? bytes : SIZE_MAX;
}

/* From what was taken to what it takes. */
static bool settle_memory(struct srv_model_making *making, struct api_problem *problem)
{
    struct srv_registry *registry = making->registry;
    size_t actual = srv_registry_model_bytes(registry, making->model);
    if (actual > registry->options.memory_budget)
        return srv_registry_take_memory(registry, making->name, actual, 0, problem); /* says so */
    if (actual > making->memory &&
        !srv_registry_take_memory(registry, making->name, actual - making->memory, making->patience, problem))
        return false;
    if (actual < making->memory)
        srv_registry_give_memory(registry, making->memory - actual);
    making->memory = actual;
    return true;
}

static bool read_model(struct srv_model_making *making, struct api_problem *problem)
{
    struct srv_registry *registry = making->registry;
    struct efm_error error = {0};
    if (efm_model_load_as(&making->model, making->bytes, making->size, registry->options.memory_budget,
                          registry->options.precision, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_MODEL, NULL);
    return settle_memory(making, problem);
}

static bool charge(struct srv_model_making *making, struct api_problem *problem)
{
    if (!srv_registry_charge(making->registry, making->model, making->memory))
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the model");
    making->memory = 0; /* no longer ours to give back */
    return true;
}

static bool warm(struct srv_model_making *making, struct api_problem *problem)
{
    const struct srv_registry_options *options = &making->registry->options;
    struct efm_error error = {0};
    if (srv_warm_model(making->model, options->batch, options->threads_per_worker, &error) == EFM_OK)
        return true;
    return api_problem_from_error(problem, &error, API_P_INVALID_MODEL, NULL);
}

bool srv_registry_make_model(struct srv_model_making *making, struct api_problem *problem)
{
    struct srv_registry *registry = making->registry;
    size_t needs = making->needs < SIZE_MAX ? (size_t)making->needs : SIZE_MAX;
    if (!srv_registry_take_memory(registry, making->name, needs, making->patience, problem))
        return false;
    making->memory = needs;
    if (read_model(making, problem) && charge(making, problem) && warm(making, problem))
        return true;
    srv_registry_give_memory(registry, making->memory);
    efm_model_unref(making->model);
    making->model = NULL;
    return false;
}

char *srv_registry_describe_model(const char *name, const struct efm_model *model)
{
    struct efm_buffer about = efm_buffer_limited(SRV_RECORD_DOCUMENT / 4);
    char *text = NULL;
    api_model_describe(name, model, &about);
    if (efm_buffer_append(&about, "", 1) == EFM_OK)
        text = efm_copy_string((const char *)about.data);
    efm_buffer_release(&about);
    return text;
}
