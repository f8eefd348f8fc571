// SPDX-License-Identifier: Apache-2.0
/* Who goes first: short, long and low works of a model, and models beside each other. */
#include "tests/unit/server/scheduler_world.h"

#include <stdlib.h>
#include <unistd.h>

static void begin(struct fixture *f, unsigned step)
{
    struct srv_scheduler_options options = plain_options();
    start(f, &options);
    atomic_store(&step_microseconds, step);
}

static void cancel_all(struct job **jobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        atomic_store(&jobs[i]->cancel, true);
    for (size_t i = 0; i < count; i++) {
        await(jobs[i]);
        drop(jobs[i]);
    }
}

static void test_small_work_passes_a_big_one(void **state)
{
    struct fixture *f = *state;
    begin(f, 100);
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
    assert_true(big->at_step >= evaluations / plain_options().batch);
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

static size_t watched_first, watched_last; /* steps that had a line of hook_job */

static void watch_hook(struct efm_line *const *lines, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < 10; j++)
            if (lines[i] == hook_lines[j]) {
                watched_last = atomic_load(&steps);
                if (watched_first == 0)
                    watched_first = watched_last;
                return;
            }
}

/* From here on; one worker. Counts steps, not what else a busy machine does between them. */
static void watch(struct job *job)
{
    for (size_t j = 0; j < 10; j++)
        hook_lines[j] = NULL;
    watched_first = watched_last = 0;
    hook_job = job;
    step_hook = watch_hook;
}

/* Twenty long works would leave a newcomer a place in every third batch. */
static void test_who_has_had_little_goes_first(void **state)
{
    enum { LONG = 20 };
    struct fixture *f = *state;
    begin(f, 300);
    struct job *jobs[LONG], *brief = make_job(f, 0, 1, 40);
    watch(brief);
    for (size_t i = 0; i < LONG; i++) {
        jobs[i] = make_job(f, 0, 8, 1000);
        submit(f, jobs[i]);
    }
    assert_true(wait_until(&steps, LONG * 128 / 8 + 50)); /* nobody passes for short any more */
    submit(f, brief);
    await(brief);
    assert_int_equal(brief->order, 1);
    assert_in_range(watched_last - watched_first, 39, 80); /* turns would take 800 */
    cancel_all(jobs, LONG);
    drop(brief);
}

/* Long works that come all at once, and say so, are no crowd of short ones for their first evaluations. */
static void test_who_says_it_is_long_goes_behind(void **state)
{
    enum { LONG = 20 };
    struct fixture *f = *state;
    begin(f, 300);
    struct job *jobs[LONG], *brief = make_job(f, 0, 1, 40);
    watch(brief);
    for (size_t i = 0; i < LONG; i++) {
        jobs[i] = make_job(f, 0, 8, 1000);
        jobs[i]->work.evaluations = 1000;
        submit(f, jobs[i]);
    }
    assert_true(wait_until(&steps, 3));
    brief->work.evaluations = 40;
    submit(f, brief);
    await(brief);
    assert_int_equal(brief->order, 1);
    assert_in_range(watched_last - watched_first, 39, 80); /* among as many short ones it would take 320 */
    cancel_all(jobs, LONG);
    drop(brief);
}

/* A stream of newcomers that could fill every batch leaves a quarter to what is under way. */
static void test_the_long_keep_a_share(void **state)
{
    struct fixture *f = *state;
    begin(f, 200);
    struct job *lasting = make_job(f, 0, 8, 200);
    submit(f, lasting);
    assert_true(wait_until(&steps, 20));
    struct job *brief[4] = {0};
    size_t made = 0;
    while (atomic_load(&lasting->completed) == 0) {
        for (size_t i = 0; i < 4; i++) {
            if (brief[i] != NULL && atomic_load(&brief[i]->completed) == 0)
                continue;
            if (brief[i] != NULL)
                drop(brief[i]);
            brief[i] = make_job(f, 0, 8, 12);
            submit(f, brief[i]);
            made++;
        }
        usleep(100);
    }
    assert_true(made > 8);
    /* 1,600 evaluations: 128 at once, then two of every eight */
    assert_in_range(lasting->at_step, 200, 20 + 4 * 200 + 200);
    for (size_t i = 0; i < 4; i++) {
        await(brief[i]);
        drop(brief[i]);
    }
    drop(lasting);
}

static void test_low_priority_comes_behind(void **state)
{
    struct fixture *f = *state;
    begin(f, 200);
    struct job *low = make_job(f, 0, 8, 300), *plain = make_job(f, 0, 8, 300);
    low->work.low_priority = true;
    watch(plain);
    submit(f, low);
    assert_true(wait_until(&steps, 5));
    submit(f, plain);
    await(plain);
    await(low);
    assert_int_equal(plain->order, 1);
    /* half a line of every eight was kept for the other */
    assert_in_range(watched_last - watched_first, 300 + 10, 300 + 40);
    drop(low);
    drop(plain);
}

/* The time of the workers is shared between models; low priority gets its sixteenth there too. */
static void test_low_priority_comes_behind_other_models(void **state)
{
    struct fixture *f = *state;
    begin(f, 400);
    struct job *low = make_job(f, 0, 8, 1000), *plain = make_job(f, 1, 8, 300);
    low->work.low_priority = true;
    watch(plain);
    submit(f, low);
    assert_true(wait_until(&steps, 5));
    submit(f, plain);
    await(plain);
    assert_int_equal(atomic_load(&low->completed), 0);
    /* by time, and a sleep is not exact: a third at most, but something */
    assert_in_range(watched_last - watched_first, 300 + 3, 300 + 100);
    atomic_store(&low->cancel, true);
    await(low);
    drop(low);
    drop(plain);
}

static void test_models_take_turns(void **state)
{
    struct fixture *f = *state;
    begin(f, 200);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_small_work_passes_a_big_one),
        TEST(test_more_works_than_places_take_turns),
        TEST(test_who_has_had_little_goes_first),
        TEST(test_who_says_it_is_long_goes_behind),
        TEST(test_the_long_keep_a_share),
        TEST(test_low_priority_comes_behind),
        TEST(test_low_priority_comes_behind_other_models),
        TEST(test_models_take_turns),
    };
    return cmocka_run_group_tests_name("server/scheduler_turns", tests, NULL, NULL);
}
