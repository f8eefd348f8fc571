// SPDX-License-Identifier: Apache-2.0
// The training worker: a job that waits becomes the model that core makes of the same spec, interrupted or not; and every
// other end that a training can come to.
#include "server/jobs/train_worker.h"

#include "api/train.h"
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "core/base/team.h"
#include "server/clock.h"
#include "server/config.h"
#include "server/engine/registry.h"
#include "server/jobs/train_internal.h"
#include "server/metrics.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Seconds that nothing here needs, even under a sanitizer on a busy machine. */
static const double LONG = 120;

static const char NOISE[] = "{\"toy\": \"gaussian\", \"dimension\": 2, \"count\": 200, \"seed\": 3}";
static const char ROLL[] = "{\"toy\": \"swiss_roll\", \"count\": 300, \"seed\": 4}";
#define SMALL                                                                                                \
    "\"network\": {\"hidden\": 16, \"hidden2\": 16, \"embedding\": 8}, \"batch\": 16, \"charges\": 64"
static const char SHORT[] =
    "{\"source\": \"noise\", \"target\": \"roll\", \"steps\": 40, \"seed\": 6, " SMALL "}";
static const char LONGER[] =
    "{\"source\": \"noise\", \"target\": \"roll\", \"steps\": 1500, \"seed\": 7, " SMALL "}";
static const char ENDLESS[] =
    "{\"source\": \"noise\", \"target\": \"roll\", \"steps\": 1000000000, \"seed\": 8, " SMALL "}";
/* diverges in its second step */
static const char WILD[] = "{\"source\": \"noise\", \"target\": \"roll\", \"steps\": 2000, \"batch\": 16, "
                           "\"learning_rate\": 10, \"warmup\": 0, \"clip\": 0, \"schedule\": \"constant\", "
                           "\"network\": {\"hidden\": 16, \"hidden2\": 16}}";

static struct {
    struct srv_config config;
    struct srv_service service;
    struct srv_train_worker *worker;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t changes; /* under the mutex */
    char watched[API_JOB_ID_SIZE];
    atomic_bool stop_at_checkpoint; /* of the watched job */
    atomic_bool poison;             /* steps after a checkpoint of the watched job are not finite */
} world = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the world ---- */

static bool blob_is_there(const char *id, const char *name)
{
    struct srv_blob *blob = NULL;
    struct efm_error error = {0};
    char key[SRV_BLOB_KEY];
    srv_jobs_blob_key(id, name, key);
    const bool there = srv_blobs_open(world.service.blobs, key, &blob, &error) == EFM_OK;
    srv_blob_close(blob);
    return there;
}

enum efm_status __real_efm_trainer_step(struct efm_trainer *trainer, struct efm_trainer_report *report,
                                        struct efm_error *error);
enum efm_status __wrap_efm_trainer_step(struct efm_trainer *trainer, struct efm_trainer_report *report,
                                        struct efm_error *error);
enum efm_status __wrap_efm_trainer_step(struct efm_trainer *trainer, struct efm_trainer_report *report,
                                        struct efm_error *error)
{
    if (atomic_load(&world.poison) && blob_is_there(world.watched, "checkpoint"))
        return efm_error_set(error, EFM_E_NUMERIC, "the loss is not finite at step 9");
    return __real_efm_trainer_step(trainer, report, error);
}

static atomic_bool starved; /* once there is no memory for a job that is to be begun */

void *__real_efm_allocate_array(size_t count, size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    if (size == sizeof(struct srv_train_job) && atomic_exchange(&starved, false))
        return NULL;
    return __real_efm_allocate_array(count, size);
}

static void on_changed(void *context, const char *id)
{
    (void)context;
    srv_train_worker_notice(world.worker, id);
    if (atomic_load(&world.stop_at_checkpoint) && strcmp(id, world.watched) == 0 &&
        blob_is_there(id, "checkpoint"))
        srv_train_worker_stop(world.worker);
    pthread_mutex_lock(&world.mutex);
    world.changes++;
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.mutex);
}

static void on_submitted(void *context, const char *group)
{
    (void)context;
    (void)group;
    srv_train_worker_wake(world.worker);
}

static void open_world(void)
{
    struct efm_error error = {0};
    struct srv_service *service = &world.service;
    *service = (struct srv_service){.config = &world.config, .limits = api_limits_default()};
    world.config.dataset_quota = 1 << 30;
    if (!srv_condition_init(&world.changed) || srv_metrics_create(&service->metrics, &error) != EFM_OK ||
        srv_store_open_sqlite(&service->store, NULL, &error) != EFM_OK ||
        srv_blobs_open_memory(&service->blobs, &error) != EFM_OK ||
        srv_previews_create(&service->previews, &error) != EFM_OK)
        fail_msg("%s", error.message);
    const struct srv_registry_options options = {.store = service->store,
                                                 .blobs = service->blobs,
                                                 .max_models = 16,
                                                 .max_datasets = 16,
                                                 .memory_budget = 1 << 30,
                                                 .dataset_quota = 1 << 30,
                                                 .precision = EFM_PRECISION_F32};
    if (srv_registry_create(&service->registry, &options, service->metrics, NULL, &error) != EFM_OK)
        fail_msg("%s", error.message);
    srv_registry_restore(service->registry);
    const struct srv_jobs_options jobs = {.store = service->store,
                                          .blobs = service->blobs,
                                          .replica = "here",
                                          .max_waiting = 16,
                                          .max_finished = 16,
                                          .ttl = 1000};
    if (srv_jobs_create(&service->jobs, &jobs, service->metrics, NULL, &error) != EFM_OK)
        fail_msg("%s", error.message);
}

/* Who listens finds the worker there. */
static void start_worker(size_t threads, double checkpoint_seconds)
{
    const struct srv_jobs_listener listener = {NULL, on_changed, on_submitted};
    struct efm_error error = {0};
    srv_jobs_listen(world.service.jobs, NULL);
    const struct srv_train_worker_options options = {
        .service = &world.service, .threads = threads, .checkpoint_seconds = checkpoint_seconds};
    if (srv_train_worker_create(&world.worker, &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
    srv_jobs_listen(world.service.jobs, &listener);
}

/* A worker on its way out may still be told of changes. */
static void end_worker(void)
{
    srv_train_worker_destroy(world.worker);
    world.worker = NULL;
}

static int set_up(void **state)
{
    (void)state;
    atomic_store(&world.stop_at_checkpoint, false);
    atomic_store(&world.poison, false);
    world.watched[0] = '\0';
    open_world();
    return 0;
}

static int tear_down(void **state)
{
    struct srv_service *service = &world.service;
    (void)state;
    end_worker();
    srv_jobs_destroy(service->jobs);
    srv_registry_destroy(service->registry);
    srv_previews_destroy(service->previews);
    srv_blobs_close(service->blobs);
    srv_store_close(service->store);
    srv_metrics_destroy(service->metrics);
    pthread_cond_destroy(&world.changed);
    return 0;
}

/* ---- jobs ---- */

/* Both plates are datasets with these bytes; NULL: the job has none. */
static void submit(const char *spec, const char *model, const char *source, const char *target)
{
    struct api_job job = {.kind = "train", .spec = efm_copy_string(spec)};
    struct api_problem problem = {0};
    struct srv_job_input inputs[2];
    struct srv_submission submission = {.job = &job, .inputs = inputs};
    const char *const bytes[] = {source, target}, *const names[] = {"source", "target"};
    assert_non_null(job.spec);
    for (size_t i = 0; i < 2; i++) {
        if (bytes[i] != NULL)
            inputs[submission.input_count++] = (struct srv_job_input){
                .name = names[i], .bytes = (const uint8_t *)bytes[i], .size = strlen(bytes[i])};
    }
    snprintf(job.model, sizeof job.model, "%s", model);
    if (!srv_jobs_submit(world.service.jobs, &submission, &problem))
        fail_msg("%s", problem.detail);
    memcpy(world.watched, job.id, sizeof world.watched);
    api_job_release(&job);
}

static void get(const char *id, struct api_job *job)
{
    struct api_problem problem = {0};
    *job = (struct api_job){.kind = ""};
    if (!srv_jobs_get(world.service.jobs, id, job, &problem))
        fail_msg("%s", problem.detail);
}

static bool has_ended(const struct api_job *job)
{
    return api_job_state_ended(job->state);
}

static bool has_steps(const struct api_job *job)
{
    return job->step > 0 || has_ended(job);
}

/* The job, to be released, once it is so. */
static void wait_until(const char *id, bool (*is_so)(const struct api_job *job), struct api_job *job)
{
    const double until = srv_clock() + LONG;
    for (;;) {
        pthread_mutex_lock(&world.mutex);
        const uint64_t seen = world.changes;
        pthread_mutex_unlock(&world.mutex);
        get(id, job);
        if (is_so(job))
            return;
        api_job_release(job);
        pthread_mutex_lock(&world.mutex);
        while (world.changes == seen && srv_clock() < until)
            srv_condition_wait(&world.changed, &world.mutex, until);
        const bool late = world.changes == seen;
        pthread_mutex_unlock(&world.mutex);
        if (late)
            fail_msg("nothing happens to the job %s", id);
    }
}

static void expect_end(enum api_job_state state, const char *code, const char *pointer)
{
    struct api_job job;
    wait_until(world.watched, has_ended, &job);
    if (job.state != state || strcmp(job.error_code, code) != 0)
        fail_msg("%s: %s: %s", api_job_state_word(job.state), job.error_code, job.error_message);
    assert_string_equal(job.error_pointer, pointer);
    assert_int_equal(job.error_message[0] != '\0', state == API_JOB_FAILED);
    assert_true(job.finished > 0);
    api_job_release(&job);
}

/* ---- what core makes of it ---- */

static struct efm_dataset *read_dataset(const struct api_train *train, const char *text)
{
    struct efm_dataset_options options;
    struct efm_dataset *dataset = NULL;
    struct efm_error error = {0};
    api_train_dataset_options(train, &options);
    if (efm_dataset_read(&dataset, (const uint8_t *)text, strlen(text), &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return dataset;
}

static void train_directly(const char *text, struct efm_buffer *file)
{
    struct api_problem problem = {0};
    struct efm_error error = {0};
    struct api_train train;
    struct efm_trainer_spec spec;
    struct efm_team *team = NULL;
    struct efm_trainer *trainer = NULL;
    struct efm_model *model = NULL;
    json_t *object = api_json_parse((const uint8_t *)text, strlen(text), &problem);
    if (object == NULL || !api_train_read(&train, object, API_TRAIN_STORED, NULL, &problem))
        fail_msg("%s", problem.detail);
    json_decref(object);
    struct efm_dataset *source = read_dataset(&train, NOISE), *target = read_dataset(&train, ROLL);
    if (!api_train_complete(&train, efm_dataset_shape(target), &spec, &problem))
        fail_msg("%s", problem.detail);
    assert_int_equal(efm_team_create(&team, 1, &error), EFM_OK);
    if (efm_trainer_create(&trainer, &spec, source, target, team, &error) != EFM_OK)
        fail_msg("%s", error.message);
    while (efm_trainer_step_count(trainer) < spec.steps)
        assert_int_equal(__real_efm_trainer_step(trainer, NULL, &error), EFM_OK);
    const struct efm_trainer_names names = {.source = train.plates[EFM_SOURCE].name,
                                            .target = train.plates[EFM_TARGET].name,
                                            .bf16 = train.values.weights == API_TRAIN_BF16};
    *file = efm_buffer_limited(1 << 20);
    assert_int_equal(efm_trainer_model(trainer, &names, &model, &error), EFM_OK);
    assert_int_equal(efm_model_save(model, file, &error), EFM_OK);
    efm_model_unref(model);
    efm_trainer_destroy(trainer);
    efm_team_destroy(team);
    efm_dataset_unref(source);
    efm_dataset_unref(target);
    api_train_release(&train);
}

/* The registry keeps the bytes that core makes, and all say so. */
static void expect_model_of_core(const char *name, const char *spec)
{
    struct efm_buffer file;
    struct srv_model_facts facts = {0};
    struct srv_blob *blob = NULL;
    struct efm_error error = {0};
    struct api_job job;
    char sha256[65];
    train_directly(spec, &file);
    efm_sha256_hex(file.data, file.size, sha256);
    assert_true(srv_registry_model_facts(world.service.registry, name, &facts));
    assert_string_equal(facts.sha256, sha256);
    assert_string_equal(facts.trained_by, world.watched);
    assert_int_equal(srv_blobs_open(world.service.blobs, facts.blob, &blob, &error), EFM_OK);
    assert_int_equal(srv_blob_size(blob), file.size);
    assert_memory_equal(srv_blob_map(blob, &error), file.data, file.size);
    srv_blob_close(blob);
    get(world.watched, &job);
    assert_string_equal(job.model_sha256, sha256);
    assert_int_equal(job.step, job.total_steps);
    api_job_release(&job);
    srv_model_facts_release(&facts);
    efm_buffer_release(&file);
}

static void expect_no_model(const char *name)
{
    struct srv_model_facts facts = {0};
    assert_false(srv_registry_model_facts(world.service.registry, name, &facts));
}

/* ---- tests ---- */

static void a_waiting_job_becomes_the_model_of_core(void **state)
{
    (void)state;
    submit(SHORT, "before", NOISE, ROLL); // nobody is there yet
    start_worker(1, 60);
    expect_end(API_JOB_SUCCEEDED, "", "");
    expect_model_of_core("before", SHORT);
    assert_false(blob_is_there(world.watched, "source"));
    assert_false(blob_is_there(world.watched, "target"));
    assert_false(blob_is_there(world.watched, "checkpoint"));
    submit(SHORT, "woken", NOISE, ROLL);
    expect_end(API_JOB_SUCCEEDED, "", "");
    expect_model_of_core("woken", SHORT);
}

static void one_that_was_stopped_goes_on_to_the_same_bytes(void **state)
{
    struct api_job job;
    (void)state;
    submit(LONGER, "resumed", NOISE, ROLL);
    atomic_store(&world.stop_at_checkpoint, true);
    start_worker(1, 0.01);
    end_worker(); // waits for its end
    // it may have been asked to stop before it had begun
    for (int lives = 0; lives < 50 && !blob_is_there(world.watched, "checkpoint"); lives++) {
        const double until = srv_clock() + LONG;
        start_worker(1, 0.01);
        pthread_mutex_lock(&world.mutex);
        while (!blob_is_there(world.watched, "checkpoint") && srv_clock() < until)
            srv_condition_wait(&world.changed, &world.mutex, until);
        pthread_mutex_unlock(&world.mutex);
        end_worker();
    }
    get(world.watched, &job);
    assert_int_equal(job.state, API_JOB_QUEUED);
    assert_true(job.checkpoint_step > 0 && job.checkpoint_step < job.total_steps);
    assert_int_equal(job.total_steps, 1500);
    api_job_release(&job);
    assert_true(blob_is_there(world.watched, "checkpoint"));
    expect_no_model("resumed");
    atomic_store(&world.stop_at_checkpoint, false);
    start_worker(2, 0.05); // another number of threads changes nothing
    expect_end(API_JOB_SUCCEEDED, "", "");
    expect_model_of_core("resumed", LONGER);
}

static void one_that_is_not_finite_fails(void **state)
{
    struct api_job job;
    (void)state;
    start_worker(1, 0.01);
    submit(WILD, "wild", NOISE, ROLL);
    expect_end(API_JOB_FAILED, "numeric", "");
    get(world.watched, &job);
    assert_non_null(strstr(job.error_message, "not finite"));
    api_job_release(&job);
    expect_no_model("wild");
}

static void what_was_good_before_it_stays(void **state)
{
    struct api_job job;
    (void)state;
    atomic_store(&world.poison, true);
    submit(ENDLESS, "poisoned", NOISE, ROLL);
    start_worker(1, 0.01);
    expect_end(API_JOB_FAILED, "numeric", "");
    get(world.watched, &job);
    assert_string_equal(job.error_message, "the loss is not finite at step 9");
    assert_true(job.checkpoint_step > 0);
    api_job_release(&job);
    assert_true(blob_is_there(world.watched, "checkpoint"));
    expect_no_model("poisoned");
}

static void what_cannot_be_read_fails(void **state)
{
    (void)state;
    start_worker(1, 60);
    submit(SHORT, "a", "this is no dataset", ROLL);
    expect_end(API_JOB_FAILED, "invalid_dataset", "/source");
    submit(SHORT, "b", NOISE, "{\"toy\": \"swiss_roll\", \"count\": 0}");
    expect_end(API_JOB_FAILED, "invalid_dataset", "/target");
    submit(SHORT, "c", NOISE, "{\"toy\": \"gaussian\", \"dimension\": 3, \"count\": 50}");
    expect_end(API_JOB_FAILED, "shape_mismatch", "/image");
    submit("{\"source\": 7}", "d", NOISE, ROLL);
    expect_end(API_JOB_FAILED, "invalid_parameter", "/source");
    submit(SHORT, "e", NOISE, ROLL); // and the worker goes on
    expect_end(API_JOB_SUCCEEDED, "", "");
}

static void a_dataset_that_is_gone_fails(void **state)
{
    struct api_job job;
    (void)state;
    start_worker(1, 60);
    submit(SHORT, "a", NULL, ROLL);
    wait_until(world.watched, has_ended, &job);
    assert_int_equal(job.state, API_JOB_FAILED);
    assert_string_equal(job.error_pointer, "/source");
    assert_non_null(strstr(job.error_message, "there is no blob"));
    api_job_release(&job);
}

static bool count_event(void *context, const struct api_event *event)
{
    *(int *)context += strcmp(event->data, "{\"status\":\"queued\"}") == 0;
    return true;
}

/* It does not wait for its lease to run out. */
static void one_without_memory_waits_again(void **state)
{
    struct api_problem problem = {0};
    int queued = 0;
    (void)state;
    atomic_store(&starved, true);
    submit(SHORT, "starved", NOISE, ROLL);
    start_worker(1, 60);
    expect_end(API_JOB_SUCCEEDED, "", "");
    assert_false(atomic_load(&starved));
    assert_true(srv_jobs_events(world.service.jobs, world.watched, 0, 100, count_event, &queued, &problem));
    assert_int_equal(queued, 2);
    expect_model_of_core("starved", SHORT);
}

static void a_cancelled_one_ends(void **state)
{
    struct api_job job, answer = {.kind = ""};
    struct api_problem problem = {0};
    (void)state;
    start_worker(1, 0.05);
    submit(ENDLESS, "endless", NOISE, ROLL);
    wait_until(world.watched, has_steps, &job);
    assert_int_equal(job.state, API_JOB_RUNNING);
    api_job_release(&job);
    assert_true(srv_jobs_cancel(world.service.jobs, world.watched, &answer, &problem));
    api_job_release(&answer);
    expect_end(API_JOB_CANCELLED, "", "");
    expect_no_model("endless");
    assert_false(blob_is_there(world.watched, "source"));
    assert_false(blob_is_there(world.watched, "checkpoint"));
    submit(SHORT, "endless", NOISE, ROLL); // its name is free
    expect_end(API_JOB_SUCCEEDED, "", "");
    expect_model_of_core("endless", SHORT);
}

#define LIVED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVED(a_waiting_job_becomes_the_model_of_core),
        LIVED(one_that_was_stopped_goes_on_to_the_same_bytes),
        LIVED(one_that_is_not_finite_fails),
        LIVED(what_was_good_before_it_stays),
        LIVED(what_cannot_be_read_fails),
        LIVED(a_dataset_that_is_gone_fails),
        LIVED(one_without_memory_waits_again),
        LIVED(a_cancelled_one_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
