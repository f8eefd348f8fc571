// SPDX-License-Identifier: Apache-2.0
/* A training is checked here as far as its datasets are known, so that what is wrong is said now and not
 * by a job that fails. */
#include "core/base/memory.h"
#include "core/data/toy.h"
#include "server/config.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/job_answer.h"
#include "server/engine/registry.h"
#include "server/jobs/outbound.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { BODY_MOST = 1 << 20, SPEC_MOST = 1 << 20 };

static const char *const POINTERS[2] = {[EFM_SOURCE] = "/source", [EFM_TARGET] = "/target"};
static const char *const INPUTS[2] = {[EFM_SOURCE] = "source", [EFM_TARGET] = "target"};

struct train_work {
    struct srv_job_work base;
    struct api_train_request request;
    struct api_job job;
    char blobs[2][SRV_BLOB_KEY];
    struct srv_job_input inputs[2];
    size_t input_count;
    struct efm_shape shapes[2]; /* dimension 0: not known yet */
};

/* ---- plates ---- */

/* "shape" and "count" of what clients see of a dataset. */
static bool read_about(const char *about, struct efm_shape *shape, size_t *count)
{
    json_t *object = json_loads(about, 0, NULL);
    const json_t *numbers = json_object_get(object, "shape");
    json_int_t size[3] = {0};
    const size_t rank = json_array_size(numbers);
    for (size_t i = 0; i < rank && i < 3; i++)
        size[i] = json_integer_value(json_array_get(numbers, i));
    const bool image = rank == 3 && size[0] > 0 && size[1] > 0 && size[2] > 0 && size[0] <= UINT16_MAX &&
                       size[1] <= UINT16_MAX && size[2] <= 4;
    if (image)
        *shape = efm_shape_image((uint32_t)size[0], (uint32_t)size[1], (uint32_t)size[2]);
    else if (rank == 1 && size[0] > 0)
        *shape = efm_shape_vector((size_t)size[0]);
    const json_int_t samples = json_integer_value(json_object_get(object, "count"));
    *count = samples > 0 ? (size_t)samples : 0;
    json_decref(object);
    return shape->dimension > 0;
}

/* Whether there are samples where first and count point to; negative numbers count from the end. */
static bool check_range(const struct api_train_plate *plate, size_t side, size_t count,
                        struct api_problem *problem)
{
    const int64_t total = (int64_t)count;
    if (plate->first <= total && plate->first >= -total && plate->count >= -total) {
        const int64_t first = plate->first < 0 ? total + plate->first : plate->first;
        if (plate->count > 0 ? plate->count <= total - first : total + plate->count > first)
            return true;
    }
    return api_problem_set(problem, API_P_INVALID_PARAMETER, POINTERS[side],
                           "first and count lie outside of the %zu samples of the dataset", count);
}

static bool take_dataset(struct train_work *work, size_t side, struct api_problem *problem)
{
    const struct api_train_plate *plate = &work->request.train.plates[side];
    struct srv_dataset_facts facts = {.about = NULL};
    size_t count = 0;
    if (!srv_registry_dataset_facts(work->base.base.service->registry, plate->path, &facts))
        return api_problem_set(problem, API_P_UNKNOWN_DATASET, POINTERS[side],
                               "there is no dataset named '%.64s'", plate->path);
    memcpy(work->blobs[side], facts.blob, sizeof work->blobs[side]);
    snprintf(work->job.dataset_query[side], sizeof work->job.dataset_query[side], "%s", facts.query);
    work->inputs[work->input_count++] =
        (struct srv_job_input){.name = INPUTS[side], .blob = work->blobs[side]};
    bool good = true;
    if (facts.about != NULL && read_about(facts.about, &work->shapes[side], &count))
        good = check_range(plate, side, count, problem);
    srv_dataset_facts_release(&facts);
    return good;
}

static bool take_toy(struct train_work *work, size_t side, struct api_problem *problem)
{
    const char *toy = work->request.train.plates[side].toy;
    struct efm_dataset_options options;
    struct efm_error error = {0};
    size_t count;
    api_train_dataset_options(&work->request.train, &options);
    options.max_decoded_bytes = srv_registry_room(work->base.base.service->registry);
    if (efm_toy_describe((const uint8_t *)toy, strlen(toy), &options, &work->shapes[side], &count, &error) !=
        EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_DATASET, POINTERS[side]);
    return check_range(&work->request.train.plates[side], side, count, problem);
}

static bool take_plate(struct train_work *work, size_t side, struct api_problem *problem)
{
    const struct api_train_plate *plate = &work->request.train.plates[side];
    switch (plate->origin) {
    case API_TRAIN_GAUSSIAN:
        return true;
    case API_TRAIN_DATASET:
        return take_dataset(work, side, problem);
    case API_TRAIN_TOY:
        return take_toy(work, side, problem);
    case API_TRAIN_URL:
        return srv_outbound_check(work->base.base.service->fetches, plate->path, POINTERS[side], problem);
    case API_TRAIN_PATH:
        break;
    }
    return api_problem_set(problem, API_P_INVALID_PARAMETER, POINTERS[side],
                           "must be gaussian, a dataset, a URL or a toy");
}

/* ---- the spec ---- */

/* The shape of the samples; false when a dataset that is still to be fetched decides it. */
static bool find_shape(struct train_work *work, struct efm_shape *shape, struct api_problem *problem)
{
    const struct api_train_image *image = &work->request.train.image;
    const struct efm_shape *source = &work->shapes[EFM_SOURCE], *target = &work->shapes[EFM_TARGET];
    if (image->height != 0) {
        *shape = efm_shape_image((uint32_t)image->height, (uint32_t)image->width, (uint32_t)image->channels);
        return true;
    }
    if (source->dimension > 0 && target->dimension > 0 && !efm_shape_equal(source, target))
        return api_problem_set(
            problem, API_P_SHAPE_MISMATCH, "/target",
            "samples of %u x %u x %u (%zu numbers) are not of the shape of the source, %u x %u x "
            "%u (%zu numbers); \"image\" brings both to one",
            target->height, target->width, target->channels, target->dimension, source->height, source->width,
            source->channels, source->dimension);
    *shape = source->dimension > 0 ? *source : *target;
    for (size_t side = 0; side < 2; side++) {
        if (work->request.train.plates[side].origin == API_TRAIN_URL)
            return false; // it may be of another one, which its reader will say
    }
    return shape->dimension > 0;
}

static bool keep_text(struct efm_buffer *text, char **out, struct api_problem *problem)
{
    if (efm_buffer_append(text, "", 1) != EFM_OK) {
        efm_buffer_release(text);
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the spec");
    }
    *out = (char *)text->data;
    return true;
}

static int append_text(const char *text, size_t size, void *context)
{
    return efm_buffer_append(context, text, size) == EFM_OK ? 0 : -1;
}

/* As it was sent, without what is beside the spec: for one that is completed by the worker. */
static bool keep_as_sent(struct train_work *work, struct api_problem *problem)
{
    static const char *const beside[] = {"model", "replace", "webhook", "metadata"};
    const struct api_message *message = srv_exchange_message(work->base.base.exchange);
    struct efm_buffer text = efm_buffer_limited(SPEC_MOST);
    json_t *object = api_json_parse(message->body, message->body_size, problem);
    if (object == NULL)
        return false;
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++)
        json_object_del(object, beside[i]);
    if (json_dump_callback(object, append_text, &text, JSON_COMPACT) != 0 && text.status == EFM_OK)
        text.status = EFM_E_MEMORY;
    json_decref(object);
    return keep_text(&text, &work->job.spec, problem);
}

/* As far as it is known without a batch. */
static bool check_memory(const struct train_work *work, const struct efm_trainer_spec *spec,
                         struct api_problem *problem)
{
    const size_t most = work->base.base.service->config->train_memory;
    struct efm_error error = {0};
    size_t least = 0;
    if (efm_trainer_bytes_least(spec, &least, &error) != EFM_OK)
        return api_problem_from_error(problem, &error, API_P_INVALID_PARAMETER, "/network");
    return least <= most ||
           api_problem_set(problem, API_P_MODEL_TOO_LARGE, "/network",
                           "this would take at least %zu bytes of memory, and a training has %zu", least,
                           most);
}

static bool complete_spec(struct train_work *work, struct api_problem *problem)
{
    struct api_train *train = &work->request.train;
    struct efm_shape shape = {0};
    struct efm_trainer_spec spec;
    if (!find_shape(work, &shape, problem))
        return problem->code == API_P_NONE && keep_as_sent(work, problem);
    if (!api_train_complete(train, &shape, &spec, problem) || !check_memory(work, &spec, problem))
        return false;
    struct efm_buffer text = efm_buffer_limited(SPEC_MOST);
    api_train_render(train, &text);
    work->job.seed = train->values.seed;
    work->job.total_steps = train->values.steps;
    return keep_text(&text, &work->job.spec, problem);
}

/* ---- the rest ---- */

static bool check_name(struct train_work *work, struct api_problem *problem)
{
    const struct api_train_request *request = &work->request;
    struct srv_model_facts facts = {.about = NULL};
    if (request->model[0] == '\0' || request->replace ||
        !srv_registry_model_facts(work->base.base.service->registry, request->model, &facts))
        return true;
    srv_model_facts_release(&facts);
    return api_problem_set(problem, API_P_CONFLICT, "/model",
                           "there is a model named '%.64s'; \"replace\": true puts the new one in its place",
                           request->model);
}

static bool check_request(struct train_work *work, struct api_problem *problem)
{
    struct srv_service *service = work->base.base.service;
    const struct api_train_request *request = &work->request;
    bool good = request->webhook[0] == '\0' ||
                srv_outbound_check(service->webhook_calls, request->webhook, "/webhook", problem);
    // the client learns of all its mistakes at once
    for (size_t side = 0; side < 2; side++)
        good = take_plate(work, side, problem) && good;
    return good && complete_spec(work, problem) && check_name(work, problem);
}

static bool run(struct srv_job_work *base, struct api_problem *problem)
{
    struct train_work *work = (struct train_work *)base;
    struct api_job *job = &work->job;
    if (srv_job_work_replay(base, "train", problem))
        return problem->code == API_P_NONE;
    if (!api_train_request_parse(&work->request, srv_exchange_message(base->base.exchange), problem) ||
        !check_request(work, problem))
        return false;
    snprintf(job->kind, sizeof job->kind, "train");
    snprintf(job->model, sizeof job->model, "%s", work->request.model);
    snprintf(job->webhook, sizeof job->webhook, "%s", work->request.webhook);
    job->replace = work->request.replace;
    job->metadata = work->request.metadata;
    work->request.metadata = NULL;
    return srv_job_work_accept(base, job, work->inputs, work->input_count, problem);
}

static void release(struct srv_job_work *base)
{
    struct train_work *work = (struct train_work *)base;
    api_train_request_release(&work->request);
    api_job_release(&work->job);
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    enum { PARSED = 40 }; // bytes of memory for one of JSON, at most
    static const struct srv_job_class class = {sizeof(struct train_work), run, release};
    srv_job_work_start(service, exchange, &class, PARSED * srv_exchange_message(exchange)->body_size);
}

const struct srv_endpoint srv_post_train = {
    .methods = "POST",
    .paths = {"/v1/train", "/train"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .max_body = BODY_MOST,
    .takes = "application/json",
    .gives = "application/json",
    .help =
        "Train a model on stored datasets, or on ones at URLs that the operator allows; the answer is a job",
    .detail = "The body is the spec of a training, whose source and target name a dataset or are "
              "\"gaussian\", a toy or an http(s) URL, and "
              "beside it model, the name of what comes out, replace, webhook and metadata. 202 once the job "
              "is durable; it "
              "goes on after a restart of the server by itself. Idempotency-Key makes it safe to send again. "
              "409: a model of this name is "
              "there, or is being made.",
};
