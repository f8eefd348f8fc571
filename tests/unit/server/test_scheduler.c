// SPDX-License-Identifier: Apache-2.0
/* The scheduler with real models and lines. efm_flow_step is wrapped, so that a test can look at every batch
 * and do something in the middle of an evaluation; efm_flow_create, so that it can fail. */
#include "server/engine/scheduler.h"

#include "core/base/memory.h"
#include "core/base/random.h"
#include "server/metrics.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { DIMENSION = 2, CHARGES = 40 };

/* ---- what the wrapped functions see ---- */

size_t __real_efm_flow_step(struct efm_flow *flow, struct efm_line *const *lines, size_t count);
size_t __wrap_efm_flow_step(struct efm_flow *flow, struct efm_line *const *lines, size_t count);
enum efm_status __real_efm_flow_create(struct efm_flow **flow, const struct efm_field *field, size_t capacity,
                                       struct efm_team *team, struct efm_error *error);
enum efm_status __wrap_efm_flow_create(struct efm_flow **flow, const struct efm_field *field, size_t capacity,
                                       struct efm_team *team, struct efm_error *error);
void *__real_efm_allocate_array(size_t count, size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
void __real_efm_flow_destroy(struct efm_flow *flow);
void __wrap_efm_flow_destroy(struct efm_flow *flow);

static atomic_size_t steps, largest_batch, flows_made, flows_gone;
static atomic_bool creation_fails;
static atomic_uint step_microseconds;
/* set before the works are submitted */
static void (*step_hook)(struct efm_line *const *lines, size_t count);

size_t __wrap_efm_flow_step(struct efm_flow *flow, struct efm_line *const *lines, size_t count)
{
    atomic_fetch_add(&steps, 1);
    if (count > atomic_load(&largest_batch))
        atomic_store(&largest_batch, count);
    if (step_hook != NULL)
        step_hook(lines, count);
    if (atomic_load(&step_microseconds) > 0)
        usleep(atomic_load(&step_microseconds));
    return __real_efm_flow_step(flow, lines, count);
}

enum efm_status __wrap_efm_flow_create(struct efm_flow **flow, const struct efm_field *field, size_t capacity,
                                       struct efm_team *team, struct efm_error *error)
{
    if (atomic_load(&creation_fails))
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a flow");
    atomic_fetch_add(&flows_made, 1);
    return __real_efm_flow_create(flow, field, capacity, team, error);
}

/* Fails once when the countdown reaches 0; it is armed at the end of prepare. */
static atomic_int allocation_countdown;

void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    if (atomic_load(&allocation_countdown) > 0 && atomic_fetch_sub(&allocation_countdown, 1) == 1)
        return NULL;
    return __real_efm_allocate_array(count, size);
}

void __wrap_efm_flow_destroy(struct efm_flow *flow)
{
    if (flow != NULL)
        atomic_fetch_add(&flows_gone, 1);
    __real_efm_flow_destroy(flow);
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool wait_until(atomic_size_t *counter, size_t value)
{
    for (double end = now_seconds() + 20; now_seconds() < end; usleep(500))
        if (atomic_load(counter) >= value)
            return true;
    return false;
}

/* ---- a work for tests ---- */

struct job {
    struct srv_work work;
    struct efm_flow_options options;
    uint64_t image;      /* of the first line */
    atomic_size_t *gate; /* prepare waits until it is > 0; NULL: none */
    bool prepare_fails;
    int failing_allocation; /* after prepare, counted from 1; 0: none */
    atomic_bool cancel;
    size_t slices_wanted;
    atomic_size_t slices_done, prepared, completed;
    size_t order;   /* 1 for the first that completed */
    size_t at_step; /* `steps` at completion */
    enum api_problem_code code;
    enum efm_line_state states[64];
    float results[64][DIMENSION];
    uint32_t evaluations[64];
};

static atomic_size_t order_count;
static struct job *hook_job; /* its first lines are remembered in hook_lines */
static struct efm_line *_Atomic hook_lines[10];

static void start_point(uint64_t image, float *start)
{
    struct efm_random random;
    efm_random_init(&random, 5, image, EFM_RANDOM_TEST);
    efm_random_fill_normal(&random, start, DIMENSION);
}

static bool prepare(struct srv_work *work, struct api_problem *problem)
{
    struct job *job = (struct job *)work;
    atomic_fetch_add(&job->prepared, 1);
    if (job->gate != NULL && !wait_until(job->gate, 1))
        return api_problem_set(problem, API_P_INTERNAL, NULL, "the gate stayed shut");
    if (job->prepare_fails)
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the lines");
    if (work->line_count == 0)
        return true;
    work->lines = efm_allocate_array(work->line_count, sizeof(struct efm_line *));
    assert_non_null(work->lines);
    for (size_t i = 0; i < work->line_count; i++) {
        float start[DIMENSION];
        start_point(job->image + i, start);
        assert_int_equal(efm_line_create(&work->lines[i], efm_model_field(work->model), &job->options, start,
                                         job->image + i, NULL),
                         EFM_OK);
        if (job == hook_job && i < 10)
            hook_lines[i] = work->lines[i];
    }
    atomic_store(&allocation_countdown, job->failing_allocation);
    return true;
}

static bool slice(struct srv_work *work, struct efm_field_workspace *workspace)
{
    struct job *job = (struct job *)work;
    assert_true(efm_field_workspace_capacity(workspace) > 0);
    if (atomic_load(&step_microseconds) > 0)
        usleep(atomic_load(&step_microseconds));
    return atomic_fetch_add(&job->slices_done, 1) + 1 >= job->slices_wanted;
}

static void complete(struct srv_work *work, const struct api_problem *problem)
{
    struct job *job = (struct job *)work;
    job->code = problem->code;
    job->order = atomic_fetch_add(&order_count, 1) + 1;
    job->at_step = atomic_load(&steps);
    for (size_t i = 0; work->lines != NULL && i < work->line_count; i++) {
        job->states[i] = efm_line_state(work->lines[i]);
        job->evaluations[i] = efm_line_evaluations(work->lines[i]);
        memcpy(job->results[i], efm_line_position(work->lines[i]), sizeof(job->results[i]));
        efm_line_destroy(work->lines[i]);
    }
    efm_free(work->lines);
    work->lines = NULL;
    efm_model_unref(work->model);
    atomic_fetch_add(&job->completed, 1);
}

static const struct srv_work_class line_class = {"transfer", prepare, NULL, complete};
static const struct srv_work_class slice_class = {"field", prepare, slice, complete};
static const struct srv_work_class helper_class = {"put", prepare, NULL, complete};

/* ---- the fixture ---- */

struct fixture {
    struct srv_metrics *metrics;
    struct srv_scheduler *scheduler;
    struct efm_model *models[6];
};

static struct efm_model *make_model(uint64_t seed)
{
    float source[CHARGES * DIMENSION], target[CHARGES * DIMENSION];
    struct efm_random random;
    efm_random_init(&random, seed, 0, EFM_RANDOM_TEST);
    efm_random_fill_normal(&random, source, CHARGES * DIMENSION);
    efm_random_fill_normal(&random, target, CHARGES * DIMENSION);
    for (size_t i = 0; i < CHARGES * DIMENSION; i++)
        target[i] = 0.5f * target[i] + 2;
    struct efm_shape shape = efm_shape_vector(DIMENSION);
    struct efm_dataset *p, *q;
    assert_int_equal(efm_dataset_from_floats(&p, source, CHARGES, &shape, NULL), EFM_OK);
    assert_int_equal(efm_dataset_from_floats(&q, target, CHARGES, &shape, NULL), EFM_OK);
    struct efm_exact_spec spec = {.kind = EFM_FIELD_CHAIN, .map = EFM_MAP_CHAIN, .length = 3};
    struct efm_model *model;
    struct efm_error error = {0};
    enum efm_status status = efm_model_create_exact(&model, &spec, p, "p", q, "q", &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, EFM_OK);
    efm_dataset_unref(p);
    efm_dataset_unref(q);
    return model;
}

static struct srv_scheduler_options plain_options(void)
{
    return (struct srv_scheduler_options){.workers = 1,
                                          .threads_per_worker = 1,
                                          .helpers = 2,
                                          .batch = 8,
                                          .max_works = 64,
                                          .max_bytes = 1 << 20};
}

static void start(struct fixture *f, const struct srv_scheduler_options *options)
{
    struct efm_error error = {0};
    assert_int_equal(srv_scheduler_create(&f->scheduler, options, f->metrics, NULL, &error), EFM_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(srv_metrics_create(&f->metrics, NULL), EFM_OK);
    for (size_t i = 0; i < 6; i++)
        f->models[i] = make_model(i + 1);
    atomic_store(&steps, 0);
    atomic_store(&largest_batch, 0);
    atomic_store(&flows_made, 0);
    atomic_store(&flows_gone, 0);
    atomic_store(&creation_fails, false);
    atomic_store(&step_microseconds, 0);
    atomic_store(&order_count, 0);
    step_hook = NULL;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    srv_scheduler_destroy(f->scheduler);
    assert_int_equal(atomic_load(&flows_made), atomic_load(&flows_gone));
    for (size_t i = 0; i < 6; i++)
        efm_model_unref(f->models[i]);
    srv_metrics_destroy(f->metrics);
    free(f);
    return 0;
}

/* The value of one sample of the metrics, 0 when it is not there. */
static double metric(struct fixture *f, const char *sample)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    srv_metrics_render(f->metrics, &out);
    efm_buffer_append(&out, "", 1);
    double value = 0;
    const char *line = (const char *)out.data;
    while (line != NULL) {
        if (strncmp(line, sample, strlen(sample)) == 0 && line[strlen(sample)] == ' ')
            value = strtod(line + strlen(sample), NULL);
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    efm_buffer_release(&out);
    return value;
}

static struct job *make_job(struct fixture *f, size_t model, size_t lines, uint32_t step_count)
{
    struct job *job = calloc(1, sizeof *job);
    job->work.class = &line_class;
    job->work.model = efm_model_ref(f->models[model]);
    snprintf(job->work.model_name, sizeof job->work.model_name, "m%zu", model);
    job->work.line_count = lines;
    job->work.bytes = 100;
    job->work.deadline = INFINITY;
    job->work.cancelled = &job->cancel;
    efm_model_flow_options(f->models[model], &job->options);
    job->options.solver = EFM_SOLVER_EULER;
    job->options.steps = step_count;
    job->options.max_evaluations = 10000;
    job->options.seed = 7;
    return job;
}

static struct job *make_slices(struct fixture *f, size_t model, size_t count)
{
    struct job *job = make_job(f, model, 0, 1);
    job->work.class = &slice_class;
    job->slices_wanted = count;
    return job;
}

static struct job *make_helper_job(void)
{
    struct job *job = calloc(1, sizeof *job);
    job->work.class = &helper_class;
    job->work.deadline = INFINITY;
    job->work.cancelled = &job->cancel;
    return job;
}

static void submit(struct fixture *f, struct job *job)
{
    struct api_problem problem = {0};
    assert_true(srv_scheduler_submit(f->scheduler, &job->work, &problem));
}

static enum api_problem_code refused(struct fixture *f, struct job *job, unsigned *retry_after)
{
    struct api_problem problem = {0};
    assert_false(srv_scheduler_submit(f->scheduler, &job->work, &problem));
    *retry_after = problem.retry_after;
    assert_true(strlen(problem.detail) > 0);
    return problem.code;
}

static void await(struct job *job)
{
    assert_true(wait_until(&job->completed, 1));
}

static void drop(struct job *job)
{
    assert_int_equal(atomic_load(&job->completed), 1);
    free(job);
}

/* ---- tests ---- */

/* What the lines give when nobody else is there and no scheduler either. */
static void follow_alone(const struct job *job, const struct efm_model *model, float (*results)[DIMENSION])
{
    struct efm_flow *flow;
    assert_int_equal(__real_efm_flow_create(&flow, efm_model_field(model), 1, NULL, NULL), EFM_OK);
    for (size_t i = 0; i < job->work.line_count; i++) {
        float at[DIMENSION];
        start_point(job->image + i, at);
        struct efm_line *line;
        assert_int_equal(
            efm_line_create(&line, efm_model_field(model), &job->options, at, job->image + i, NULL), EFM_OK);
        while (efm_line_state(line) == EFM_LINE_RUNNING)
            __real_efm_flow_step(flow, &line, 1);
        memcpy(results[i], efm_line_position(line), sizeof(results[i]));
        efm_line_destroy(line);
    }
    __real_efm_flow_destroy(flow);
}

static void check_crowd(struct fixture *f, unsigned workers, unsigned threads, size_t batch)
{
    struct srv_scheduler_options options = plain_options();
    options.workers = workers;
    options.threads_per_worker = threads;
    options.batch = batch;
    start(f, &options);
    struct job *jobs[12];
    for (size_t i = 0; i < 12; i++) {
        jobs[i] = make_job(f, i % 2, 1 + i % 5, (uint32_t)(5 + i));
        jobs[i]->image = 10 * i;
        if (i % 3 == 0)
            jobs[i]->options.solver = EFM_SOLVER_RK45;
        submit(f, jobs[i]);
    }
    for (size_t i = 0; i < 12; i++) {
        await(jobs[i]);
        assert_int_equal(jobs[i]->code, API_P_NONE);
        float alone[64][DIMENSION];
        follow_alone(jobs[i], f->models[i % 2], alone);
        assert_memory_equal(alone, jobs[i]->results, jobs[i]->work.line_count * sizeof(alone[0]));
        drop(jobs[i]);
    }
    srv_scheduler_destroy(f->scheduler);
    f->scheduler = NULL;
}

static void test_same_bytes_alone_and_in_a_crowd(void **state)
{
    struct fixture *f = *state;
    check_crowd(f, 1, 1, 64);
    check_crowd(f, 1, 2, 3);
    check_crowd(f, 3, 1, 1);
    check_crowd(f, 2, 2, 16);
    assert_true(atomic_load(&largest_batch) > 1);
    assert_int_equal((int)metric(f, "efm_lines_in_flight"), 0);
    assert_int_equal((int)metric(f, "efm_queue_requests"), 0);
    assert_int_equal((int)metric(f, "efm_queue_bytes"), 0);
    assert_true(metric(f, "efm_function_evaluations_total{model=\"m0\"}") > 0);
    assert_true(metric(f, "efm_batch_images_count") > 0);
    assert_true(metric(f, "efm_lines_total{model=\"m1\",state=\"landed\"}") > 0);
    assert_int_equal((int)metric(f, "efm_late_evaluations_total"), 0);
}

static void test_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.max_works = 4;
    options.max_bytes = 1000;
    start(f, &options);
    atomic_size_t gate = 0;
    struct job *jobs[4], *more = make_job(f, 0, 1, 3);
    unsigned retry;
    for (size_t i = 0; i < 4; i++) {
        jobs[i] = make_job(f, 0, 1, 3);
        jobs[i]->gate = &gate;
        if (i < 3)
            submit(f, jobs[i]);
    }
    more->work.bytes = 701;
    assert_int_equal(refused(f, more, &retry), API_P_QUEUE_FULL);
    assert_in_range(retry, 1, 60);
    more->work.bytes = 1001;
    assert_int_equal(refused(f, more, &retry), API_P_TOO_MANY_IMAGES);
    assert_int_equal(retry, 0);
    submit(f, jobs[3]);
    more->work.bytes = 1;
    assert_int_equal(refused(f, more, &retry), API_P_QUEUE_FULL);
    assert_in_range(retry, 1, 60);
    assert_int_equal(srv_scheduler_load(f->scheduler), 4);
    assert_int_equal((int)metric(f, "efm_queue_requests"), 4);
    assert_int_equal((int)metric(f, "efm_queue_bytes"), 400);
    assert_int_equal((int)metric(f, "efm_queue_capacity"), 4);
    assert_int_equal((int)metric(f, "efm_rejected_total{reason=\"queue_full\"}"), 1);
    assert_int_equal((int)metric(f, "efm_rejected_total{reason=\"queue_bytes\"}"), 2);
    atomic_store(&gate, 1);
    for (size_t i = 0; i < 4; i++) {
        await(jobs[i]);
        drop(jobs[i]);
    }
    submit(f, more);
    await(more);
    assert_int_equal(more->code, API_P_NONE);
    drop(more);
}

static void test_small_work_passes_a_big_one(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, 100);
    struct job *big = make_job(f, 0, 64, 60), *small = make_job(f, 0, 1, 20);
    small->image = 100;
    submit(f, big);
    assert_true(wait_until(&steps, 5));
    size_t from = atomic_load(&steps);
    submit(f, small);
    await(small);
    await(big);
    assert_int_equal(small->order, 1);
    assert_int_equal(big->order, 2);
    /* it had a place in every batch from the moment it was prepared; the slack is for slow machines */
    assert_true(small->at_step - from < 20 + 150);
    size_t evaluations = 0;
    for (size_t i = 0; i < 64; i++)
        evaluations += big->evaluations[i];
    assert_true(evaluations >= 64 * 20);
    assert_true(big->at_step >= evaluations / options.batch);
    drop(small);
    drop(big);
}

static void test_more_works_than_places_take_turns(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.batch = 2;
    start(f, &options);
    atomic_store(&step_microseconds, 200);
    struct job *jobs[7];
    for (size_t i = 0; i < 7; i++) {
        jobs[i] = make_job(f, 0, 1, 40);
        submit(f, jobs[i]);
    }
    size_t first = SIZE_MAX, last = 0;
    for (size_t i = 0; i < 7; i++) {
        await(jobs[i]);
        if (jobs[i]->at_step < first)
            first = jobs[i]->at_step;
        if (jobs[i]->at_step > last)
            last = jobs[i]->at_step;
        drop(jobs[i]);
    }
    /* 7 * 40 / 2 = 140 steps in all; served one after the other the first would be done after 40 */
    assert_true(first > 90);
    assert_in_range(last, 140, 160);
}

/* Twenty long works would leave a newcomer a place in every third batch. */
static void test_who_has_had_little_goes_first(void **state)
{
    enum { LONG = 20 };
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, 300);
    struct job *jobs[LONG];
    for (size_t i = 0; i < LONG; i++) {
        jobs[i] = make_job(f, 0, 8, 1000);
        submit(f, jobs[i]);
    }
    assert_true(wait_until(&steps, LONG * 128 / 8 + 50)); /* nobody is young any more */
    struct job *brief = make_job(f, 0, 1, 40);
    size_t from = atomic_load(&steps);
    submit(f, brief);
    await(brief);
    assert_int_equal(brief->order, 1);
    assert_in_range(brief->at_step - from, 40, 80); /* turns would take 800 */
    for (size_t i = 0; i < LONG; i++)
        atomic_store(&jobs[i]->cancel, true);
    for (size_t i = 0; i < LONG; i++) {
        await(jobs[i]);
        drop(jobs[i]);
    }
    drop(brief);
}

/* A stream of newcomers that could fill every batch leaves a quarter to what is under way. */
static void test_the_old_keep_a_share(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, 200);
    struct job *old = make_job(f, 0, 8, 200);
    submit(f, old);
    assert_true(wait_until(&steps, 20));
    struct job *young[4] = {0};
    size_t made = 0;
    while (atomic_load(&old->completed) == 0) {
        for (size_t i = 0; i < 4; i++) {
            if (young[i] != NULL && atomic_load(&young[i]->completed) == 0)
                continue;
            if (young[i] != NULL)
                drop(young[i]);
            young[i] = make_job(f, 0, 8, 12);
            submit(f, young[i]);
            made++;
        }
        usleep(100);
    }
    assert_true(made > 8);
    /* 1,600 evaluations: 128 at once, then two of every eight */
    assert_in_range(old->at_step, 200, 20 + 4 * 200 + 200);
    for (size_t i = 0; i < 4; i++) {
        await(young[i]);
        drop(young[i]);
    }
    drop(old);
}

static void test_low_priority_comes_behind(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, 200);
    struct job *low = make_job(f, 0, 8, 300), *plain = make_job(f, 0, 8, 300);
    low->work.low_priority = true;
    submit(f, low);
    assert_true(wait_until(&steps, 5));
    submit(f, plain);
    await(plain);
    await(low);
    assert_int_equal(plain->order, 1);
    /* and yet it had its sixteenth meanwhile */
    assert_true(low->at_step < 5 + 600 + 20);
    assert_in_range(plain->at_step, 300, 5 + 300 + 60);
    drop(low);
    drop(plain);
}

static size_t hook_seen; /* batches with a line of hook_job */
static size_t hook_at;   /* cancel in this one */

static void cancel_hook(struct efm_line *const *lines, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < 10; j++)
            if (lines[i] == hook_lines[j]) {
                if (++hook_seen == hook_at)
                    atomic_store(&hook_job->cancel, true);
                return;
            }
}

static void test_cancel_within_one_step(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.batch = 64;
    start(f, &options);
    struct job *victim = make_job(f, 0, 10, 500), *other = make_job(f, 0, 10, 300);
    other->image = 50;
    hook_job = victim;
    hook_seen = 0;
    hook_at = 7;
    step_hook = cancel_hook;
    atomic_store(&step_microseconds, 50);
    submit(f, other);
    assert_true(wait_until(&steps, 2));
    submit(f, victim);
    await(victim);
    await(other);
    assert_int_equal(hook_seen, 7);
    for (size_t i = 0; i < 10; i++) {
        assert_in_range(victim->evaluations[i], 1, 7);
        assert_in_range(other->evaluations[i], 300, 310);
        assert_int_equal(other->states[i], EFM_LINE_LANDED);
    }
    assert_int_not_equal(victim->code, API_P_NONE);
    assert_int_equal(other->code, API_P_NONE);
    assert_int_equal((int)metric(f, "efm_lines_cancelled_total"), 10);
    assert_int_equal((int)metric(f, "efm_late_evaluations_total"), 0);
    assert_int_equal((int)metric(f, "efm_lines_in_flight"), 0);
    step_hook = NULL;
    hook_job = NULL;
    drop(victim);
    drop(other);
}

/* Many workers hold lines of a work when it is cancelled: complete waits for all of them. */
static void test_cancel_with_several_workers(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.workers = 4;
    start(f, &options);
    atomic_store(&step_microseconds, 50);
    for (size_t round = 0; round < 30; round++) {
        struct job *victim = make_job(f, 0, 40, 1000), *other = make_job(f, 0, 4, 10);
        size_t from = atomic_load(&steps);
        submit(f, victim);
        submit(f, other);
        assert_true(wait_until(&steps, from + round));
        atomic_store(&victim->cancel, true);
        await(victim);
        await(other);
        assert_int_not_equal(victim->code, API_P_NONE);
        assert_int_equal(other->code, API_P_NONE);
        drop(victim);
        drop(other);
    }
    assert_int_equal((int)metric(f, "efm_late_evaluations_total"), 0);
    assert_int_equal((int)metric(f, "efm_lines_in_flight"), 0);
    assert_int_equal((int)metric(f, "efm_queue_requests"), 0);
}

static void test_deadlines(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.helpers = 2;
    start(f, &options);
    atomic_store(&step_microseconds, 1000);
    atomic_size_t gate = 0;
    struct job *running = make_job(f, 0, 20, 1000), *blocker = make_helper_job(),
               *waiting = make_helper_job();
    blocker->gate = &gate;
    submit(f, blocker);
    assert_true(wait_until(&blocker->prepared, 1));
    double now = now_seconds();
    running->work.deadline = now + 0.1;
    waiting->work.deadline = now + 0.1;
    submit(f, running);
    submit(f, waiting);
    await(running);
    await(waiting); /* although the only helper for heavy work is busy */
    assert_true(now_seconds() - now < 2);
    assert_int_equal(running->code, API_P_DEADLINE);
    assert_int_equal(waiting->code, API_P_DEADLINE);
    assert_int_equal(atomic_load(&waiting->prepared), 0);
    assert_true(running->evaluations[0] > 0);
    assert_int_equal((int)metric(f, "efm_cancelled_total{reason=\"deadline\"}"), 2);
    assert_int_equal((int)metric(f, "efm_late_evaluations_total"), 0);
    atomic_store(&gate, 1);
    await(blocker);
    assert_int_equal(blocker->code, API_P_NONE);
    drop(running);
    drop(waiting);
    drop(blocker);
}

static void test_many_models(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, 100);
    struct job *jobs[12];
    for (size_t i = 0; i < 12; i++) {
        jobs[i] = make_job(f, i % 6, 6, 50); /* more models than a worker has workspaces */
        jobs[i]->image = i;
        submit(f, jobs[i]);
    }
    for (size_t i = 0; i < 12; i++) {
        await(jobs[i]);
        assert_int_equal(jobs[i]->code, API_P_NONE);
        float alone[64][DIMENSION];
        follow_alone(jobs[i], f->models[i % 6], alone);
        assert_memory_equal(alone, jobs[i]->results, 6 * sizeof(alone[0]));
        drop(jobs[i]);
    }
    assert_true(atomic_load(&flows_made) < 40); /* not one a step */
}

static void test_models_take_turns(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, 200);
    struct job *big = make_job(f, 0, 64, 100), *small = make_job(f, 1, 1, 30);
    submit(f, big);
    assert_true(wait_until(&steps, 3));
    submit(f, small);
    await(small);
    assert_int_equal(small->order, 1);
    atomic_store(&big->cancel, true);
    await(big);
    drop(small);
    drop(big);
}

static void test_destroy_with_work_pending(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.workers = 2;
    start(f, &options);
    atomic_store(&step_microseconds, 500);
    struct job *jobs[20];
    for (size_t i = 0; i < 20; i++) {
        if (i % 4 == 3)
            jobs[i] = make_slices(f, i % 3, 100000);
        else
            jobs[i] = make_job(f, i % 3, 1 + i, 1000);
        submit(f, jobs[i]);
    }
    assert_true(wait_until(&steps, 4));
    srv_scheduler_drain(f->scheduler);
    struct job *late = make_job(f, 0, 1, 1);
    unsigned retry;
    assert_int_equal(refused(f, late, &retry), API_P_DRAINING);
    efm_model_unref(late->work.model);
    free(late);
    srv_scheduler_destroy(f->scheduler);
    f->scheduler = NULL;
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(atomic_load(&jobs[i]->completed), 1);
        assert_int_equal(jobs[i]->code, API_P_DRAINING);
        drop(jobs[i]);
    }
    assert_int_equal((int)metric(f, "efm_cancelled_total{reason=\"shutdown\"}"), 20);
    assert_int_equal((int)metric(f, "efm_rejected_total{reason=\"draining\"}"), 1);
    assert_int_equal((int)metric(f, "efm_late_evaluations_total"), 0);
    assert_int_equal((int)metric(f, "efm_lines_in_flight"), 0);
    assert_int_equal((int)metric(f, "efm_queue_requests"), 0);
}

static void test_prepare_fails(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    struct job *job = make_job(f, 0, 3, 5);
    job->prepare_fails = true;
    submit(f, job);
    await(job);
    assert_int_equal(job->code, API_P_NO_MEMORY);
    assert_int_equal(atomic_load(&steps), 0);
    drop(job);
}

/* The list of waiting lines, then the group of the model. */
static void test_allocations_fail(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    for (int failing = 1; failing <= 2; failing++) {
        struct job *job = make_job(f, 0, 3, 5);
        job->failing_allocation = failing;
        submit(f, job);
        await(job);
        assert_int_equal(job->code, API_P_NO_MEMORY);
        assert_int_equal(job->evaluations[0], 0);
        drop(job);
    }
    assert_int_equal((int)metric(f, "efm_lines_in_flight"), 0);
    struct job *good = make_job(f, 0, 3, 5);
    submit(f, good);
    await(good);
    assert_int_equal(good->code, API_P_NONE);
    drop(good);
}

static void test_workspace_fails(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&creation_fails, true);
    struct job *first = make_job(f, 0, 3, 5), *second = make_job(f, 0, 3, 5);
    submit(f, first);
    submit(f, second);
    await(first);
    await(second);
    assert_int_equal(first->code, API_P_NO_MEMORY);
    assert_int_equal(second->code, API_P_NO_MEMORY);
    atomic_store(&creation_fails, false);
    struct job *third = make_job(f, 0, 3, 5);
    submit(f, third);
    await(third);
    assert_int_equal(third->code, API_P_NONE);
    drop(first);
    drop(second);
    drop(third);
}

static void test_slices_share_the_workers(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, 200);
    struct job *endless = make_slices(f, 0, 1000000), *short_one = make_slices(f, 0, 5);
    struct job *lines = make_job(f, 0, 2, 20);
    submit(f, endless);
    assert_true(wait_until(&endless->slices_done, 3));
    submit(f, short_one);
    submit(f, lines);
    await(short_one);
    await(lines);
    assert_int_equal(short_one->code, API_P_NONE);
    assert_int_equal(atomic_load(&short_one->slices_done), 5);
    assert_int_equal(lines->code, API_P_NONE);
    assert_int_equal(atomic_load(&endless->completed), 0);
    atomic_store(&endless->cancel, true);
    await(endless);
    assert_int_not_equal(endless->code, API_P_NONE);
    size_t done = atomic_load(&endless->slices_done);
    usleep(5000);
    assert_int_equal(atomic_load(&endless->slices_done), done);
    assert_int_equal((int)metric(f, "efm_late_evaluations_total"), 0);
    drop(endless);
    drop(short_one);
    drop(lines);
}

/* A dataset that is being read does not keep images waiting. */
static void test_heavy_work_leaves_a_helper(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_size_t gate = 0;
    struct job *heavy[3], *light = make_job(f, 0, 2, 5);
    for (size_t i = 0; i < 3; i++) {
        heavy[i] = make_helper_job();
        heavy[i]->gate = &gate;
        submit(f, heavy[i]);
    }
    submit(f, light);
    await(light);
    assert_int_equal(light->code, API_P_NONE);
    assert_int_equal(light->order, 1);
    atomic_store(&gate, 1);
    for (size_t i = 0; i < 3; i++) {
        await(heavy[i]);
        assert_int_equal(heavy[i]->code, API_P_NONE);
        drop(heavy[i]);
    }
    drop(light);
}

/* An idle worker gives its working space back, and with it the model. */
static void test_idle_workers_let_go(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    struct job *job = make_job(f, 0, 1, 3);
    submit(f, job);
    await(job);
    drop(job);
    assert_int_equal(atomic_load(&flows_gone), 0);
    assert_true(wait_until(&flows_gone, 1));
}

static void test_lines_join_on_the_way(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, 500);
    struct job *first = make_job(f, 0, 1, 400), *second = make_job(f, 0, 1, 5);
    submit(f, first);
    assert_true(wait_until(&steps, 10));
    submit(f, second);
    await(second);
    assert_int_equal(second->order, 1);
    assert_int_equal(atomic_load(&largest_batch), 2);
    await(first);
    assert_in_range(first->evaluations[0], 400, 410);
    assert_true(first->work.first_step >= first->work.submitted);
    assert_true(first->work.finished > first->work.first_step);
    drop(first);
    drop(second);
}

static void test_bad_options(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.batch = 0;
    struct efm_error error = {0};
    assert_int_equal(srv_scheduler_create(&f->scheduler, &options, f->metrics, NULL, &error), EFM_E_ARGUMENT);
    assert_null(f->scheduler);
    srv_scheduler_destroy(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_same_bytes_alone_and_in_a_crowd),
        TEST(test_queue_is_bounded),
        TEST(test_small_work_passes_a_big_one),
        TEST(test_more_works_than_places_take_turns),
        TEST(test_who_has_had_little_goes_first),
        TEST(test_the_old_keep_a_share),
        TEST(test_low_priority_comes_behind),
        TEST(test_cancel_within_one_step),
        TEST(test_cancel_with_several_workers),
        TEST(test_deadlines),
        TEST(test_many_models),
        TEST(test_models_take_turns),
        TEST(test_destroy_with_work_pending),
        TEST(test_prepare_fails),
        TEST(test_allocations_fail),
        TEST(test_workspace_fails),
        TEST(test_slices_share_the_workers),
        TEST(test_heavy_work_leaves_a_helper),
        TEST(test_idle_workers_let_go),
        TEST(test_lines_join_on_the_way),
        TEST(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
