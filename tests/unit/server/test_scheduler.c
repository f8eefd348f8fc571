// SPDX-License-Identifier: Apache-2.0
/* The scheduler with real models and lines: admission, the ends of works, faults. */
#include "core/base/memory.h"
#include "tests/unit/server/scheduler_world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* A model that is brought into memory waits for no upload, and holds up neither these nor the decoding of images. */
static void test_loads_and_others_do_not_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.helpers = 2;
    start(f, &options);
    atomic_size_t gate = 0;
    struct job *heavy[2] = {make_helper_job(), make_helper_job()};
    struct job *loads[2] = {make_helper_job(), make_helper_job()}, *light = make_job(f, 0, 2, 5);
    loads[0]->work.lane = loads[1]->work.lane = SRV_LANE_LOAD;
    heavy[0]->gate = loads[1]->gate = &gate;
    submit(f, heavy[0]);
    assert_true(wait_until(&heavy[0]->prepared, 1));
    submit(f, heavy[1]);
    submit(f, loads[0]);
    await(loads[0]);
    assert_int_equal(loads[0]->order, 1);
    submit(f, loads[1]);
    assert_true(wait_until(&loads[1]->prepared, 1));
    submit(f, light);
    await(light);
    assert_int_equal(light->order, 2);
    atomic_store(&gate, 1);
    await(heavy[0]);
    await(heavy[1]);
    await(loads[1]);
    for (size_t i = 0; i < 2; i++) {
        drop(heavy[i]);
        drop(loads[i]);
    }
    drop(light);
}

/* When all places are taken, what is beside the queue still gets in; that is bounded, too. */
static void test_a_full_queue_lets_asides_in(void **state)
{
    struct fixture *f = *state;
    struct srv_scheduler_options options = plain_options();
    options.max_works = 1;
    start(f, &options);
    atomic_size_t gate = 0;
    struct job *long_one = make_job(f, 0, 1, 1000), *other = make_job(f, 0, 1, 1);
    struct job *asides[SRV_ASIDES_MOST], *last = make_helper_job();
    atomic_store(&step_microseconds, 10000);
    submit(f, long_one);
    unsigned seconds;
    assert_int_equal(refused(f, other, &seconds), API_P_QUEUE_FULL);
    for (size_t i = 0; i < SRV_ASIDES_MOST; i++) {
        asides[i] = make_helper_job();
        asides[i]->work.lane = SRV_LANE_LIGHT;
        asides[i]->work.aside = true;
        asides[i]->gate = &gate;
        submit(f, asides[i]);
        assert_int_equal(srv_scheduler_quota(f->scheduler).left, 0);
    }
    last->work.aside = true;
    assert_int_equal(refused(f, last, &seconds), API_P_QUEUE_FULL);
    atomic_store(&gate, 1);
    for (size_t i = 0; i < SRV_ASIDES_MOST; i++) {
        await(asides[i]);
        drop(asides[i]);
    }
    submit(f, last);
    await(last);
    assert_int_equal(atomic_load(&long_one->completed), 0);
    atomic_store(&long_one->cancel, true);
    await(long_one);
    assert_int_equal(srv_scheduler_quota(f->scheduler).left, 1);
    submit(f, other);
    await(other);
    drop(last);
    drop(other);
    drop(long_one);
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
        TEST(test_cancel_within_one_step),
        TEST(test_cancel_with_several_workers),
        TEST(test_deadlines),
        TEST(test_many_models),
        TEST(test_destroy_with_work_pending),
        TEST(test_prepare_fails),
        TEST(test_allocations_fail),
        TEST(test_workspace_fails),
        TEST(test_slices_share_the_workers),
        TEST(test_heavy_work_leaves_a_helper),
        TEST(test_loads_and_others_do_not_wait_for_each_other),
        TEST(test_a_full_queue_lets_asides_in),
        TEST(test_idle_workers_let_go),
        TEST(test_lines_join_on_the_way),
        TEST(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
