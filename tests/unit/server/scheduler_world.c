// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/scheduler_world.h"

#include "core/base/memory.h"
#include "core/base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CHARGES = 40 };

/* ---- what the wrapped functions see ---- */

size_t __wrap_efm_flow_step(struct efm_flow *flow, struct efm_line *const *lines, size_t count);
enum efm_status __wrap_efm_flow_create(struct efm_flow **flow, const struct efm_field *field, size_t capacity,
                                       struct efm_team *team, struct efm_error *error);
void *__real_efm_allocate_array(size_t count, size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
void __wrap_efm_flow_destroy(struct efm_flow *flow);

atomic_size_t steps, largest_batch, flows_made, flows_gone;
atomic_bool creation_fails;
atomic_uint step_microseconds;
/* set before the works are submitted */
void (*step_hook)(struct efm_line *const *lines, size_t count);

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

double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool wait_until(atomic_size_t *counter, size_t value)
{
    for (double end = now_seconds() + 20; now_seconds() < end; usleep(500))
        if (atomic_load(counter) >= value)
            return true;
    return false;
}

/* ---- a work for tests ---- */

static atomic_size_t order_count;
struct job *hook_job; /* its first lines are remembered in hook_lines */
struct efm_line *_Atomic hook_lines[10];

void start_point(uint64_t image, float *start)
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

struct srv_scheduler_options plain_options(void)
{
    return (struct srv_scheduler_options){.workers = 1,
                                          .threads_per_worker = 1,
                                          .helpers = 2,
                                          .batch = 8,
                                          .max_works = 64,
                                          .max_bytes = 1 << 20};
}

void start(struct fixture *f, const struct srv_scheduler_options *options)
{
    struct efm_error error = {0};
    assert_int_equal(srv_scheduler_create(&f->scheduler, options, f->metrics, NULL, &error), EFM_OK);
}

int setup(void **state)
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
    hook_job = NULL;
    *state = f;
    return 0;
}

int teardown(void **state)
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
double metric(struct fixture *f, const char *sample)
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

struct job *make_job(struct fixture *f, size_t model, size_t lines, uint32_t step_count)
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

struct job *make_slices(struct fixture *f, size_t model, size_t count)
{
    struct job *job = make_job(f, model, 0, 1);
    job->work.class = &slice_class;
    job->slices_wanted = count;
    return job;
}

struct job *make_helper_job(void)
{
    struct job *job = calloc(1, sizeof *job);
    job->work.class = &helper_class;
    job->work.lane = SRV_LANE_HEAVY;
    job->work.deadline = INFINITY;
    job->work.cancelled = &job->cancel;
    return job;
}

void submit(struct fixture *f, struct job *job)
{
    struct api_problem problem = {0};
    assert_true(srv_scheduler_submit(f->scheduler, &job->work, &problem));
}

enum api_problem_code refused(struct fixture *f, struct job *job, unsigned *retry_after)
{
    struct api_problem problem = {0};
    assert_false(srv_scheduler_submit(f->scheduler, &job->work, &problem));
    *retry_after = problem.retry_after;
    assert_true(strlen(problem.detail) > 0);
    return problem.code;
}

void await(struct job *job)
{
    assert_true(wait_until(&job->completed, 1));
}

void drop(struct job *job)
{
    assert_int_equal(atomic_load(&job->completed), 1);
    free(job);
}
