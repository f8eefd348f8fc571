// SPDX-License-Identifier: Apache-2.0
/* How long the queue will take: queues made by hand, with numbers that can be reckoned in the head. */
#include "server/engine/engine_internal.h"
#include "tests/support/check.h"

#include <math.h>

static const struct srv_work_class lines_class = {.operation = "transfer"};

static bool near(double value, double wanted)
{
    return fabs(value - wanted) < 1e-9 * (1 + fabs(wanted));
}

struct queue {
    struct srv_scheduler scheduler;
    struct srv_model_group groups[2];
    struct srv_work works[8];
};

/* Two models, of which an evaluation of a line takes 1 ms and 10 ms; nothing has been finished for 0.5 s. */
static void set_up(struct queue *queue, unsigned workers)
{
    *queue = (struct queue){.scheduler = {.options = {.workers = workers}, .last_finish = 99.5}};
    for (size_t i = 0; i < 2; i++)
        queue->groups[i].model = (struct efm_model *)&queue->groups[i]; /* never looked into */
    queue->groups[0].line_seconds = 0.001;
    queue->groups[1].line_seconds = 0.010;
    queue->groups[0].next = &queue->groups[1];
    queue->scheduler.first_group = &queue->groups[0];
    for (size_t i = 0; i < 8; i++)
        queue->works[i].class = &lines_class;
}

/* Puts a work of `lines` lines that need `evaluations` each, and had so many, into the group. */
static void add(struct queue *queue, size_t group, size_t lines, double evaluations, size_t had)
{
    struct srv_work *work = &queue->works[queue->scheduler.admitted++];
    work->line_count = work->running = lines;
    work->evaluations = evaluations;
    work->had = had;
    work->model = queue->groups[group].model;
    srv_work_list_append(&queue->groups[group].lines, work);
}

static double seconds(const struct queue *queue)
{
    return srv_pace_seconds(&queue->scheduler, 100);
}

static void nothing_takes_no_time(void **state)
{
    struct queue queue;
    (void)state;
    set_up(&queue, 1);
    assert_true(seconds(&queue) == 0);
}

static void evaluations_that_wait_by_the_time_of_one(void **state)
{
    struct queue queue;
    (void)state;
    set_up(&queue, 1);
    add(&queue, 0, 64, 100, 0); /* 6400 at 1 ms */
    assert_true(near(seconds(&queue), 6.4));
    add(&queue, 0, 10, 1000, 4000); /* 6000 left */
    assert_true(near(seconds(&queue), 12.4));
    add(&queue, 1, 3, 50, 50); /* 100 at 10 ms */
    assert_true(near(seconds(&queue), 13.4));
    queue.scheduler.options.workers = 2;
    assert_true(near(seconds(&queue), 6.7));
}

static void what_has_had_all_needs_one_more_a_line(void **state)
{
    struct queue queue;
    (void)state;
    set_up(&queue, 1);
    add(&queue, 1, 4, 10, 60);
    queue.works[0].running = 2;
    assert_true(near(seconds(&queue), 0.02));
}

/* Of solvers that choose their steps: as many as those before. */
static void lines_that_say_nothing_are_as_those_before(void **state)
{
    struct queue queue;
    (void)state;
    set_up(&queue, 1);
    add(&queue, 0, 10, 0, 0);
    assert_true(near(seconds(&queue), 0.5)); /* no line has ended: a finish has been overdue for so long */
    queue.groups[0].line_evaluations = 300;
    assert_true(near(seconds(&queue), 3));
}

static void what_is_not_prepared_yet_counts(void **state)
{
    struct queue queue;
    (void)state;
    set_up(&queue, 1);
    struct srv_work *work = &queue.works[0];
    *work = (struct srv_work){
        .class = &lines_class, .line_count = 2, .evaluations = 100, .model = queue.groups[1].model};
    srv_work_list_append(&queue.scheduler.waiting[SRV_LANE_LIGHT], work);
    queue.scheduler.admitted = 1;
    assert_true(near(seconds(&queue), 2));
}

static void what_is_not_known_goes_by_the_pace(void **state)
{
    struct queue queue;
    (void)state;
    set_up(&queue, 4);
    queue.scheduler.admitted = 3; /* on helpers */
    assert_true(near(seconds(&queue), 3 * 0.5));
    queue.scheduler.seconds_a_work = 2;
    assert_true(near(seconds(&queue), 6));
    queue.groups[0].line_seconds = 0; /* not measured yet */
    add(&queue, 0, 64, 100, 0);
    assert_true(near(seconds(&queue), 8));
    srv_work_list_append(&queue.scheduler.ended, &queue.works[7]); /* done, but for its answer */
    queue.scheduler.admitted++;
    assert_true(near(seconds(&queue), 8));
}

static void the_time_of_one_is_measured(void **state)
{
    struct queue queue;
    struct srv_batch batch = {.live = 10, .count = 12, .started = 5, .ended = 5.2};
    (void)state;
    set_up(&queue, 1);
    queue.groups[0].line_seconds = 0;
    srv_pace_note_batch(&queue.groups[0], &batch);
    assert_true(near(queue.groups[0].line_seconds, 0.02));
    batch.ended = 5.7;
    srv_pace_note_batch(&queue.groups[0], &batch);
    assert_true(near(queue.groups[0].line_seconds, 0.8 * 0.02 + 0.2 * 0.07));
    batch.live = 0; /* all were struck out */
    srv_pace_note_batch(&queue.groups[0], &batch);
    assert_true(near(queue.groups[0].line_seconds, 0.8 * 0.02 + 0.2 * 0.07));
    queue.works[0].submitted = 90;
    queue.works[0].first_step = 95;
    srv_pace_note_finish(&queue.scheduler, &queue.works[0], 101);
    assert_true(near(queue.scheduler.seconds_a_work, 1.5));
    queue.works[1].submitted = 101; /* never computed */
    srv_pace_note_finish(&queue.scheduler, &queue.works[1], 109);
    assert_true(near(queue.scheduler.seconds_a_work, 1.5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_takes_no_time),
        cmocka_unit_test(evaluations_that_wait_by_the_time_of_one),
        cmocka_unit_test(what_has_had_all_needs_one_more_a_line),
        cmocka_unit_test(lines_that_say_nothing_are_as_those_before),
        cmocka_unit_test(what_is_not_prepared_yet_counts),
        cmocka_unit_test(what_is_not_known_goes_by_the_pace),
        cmocka_unit_test(the_time_of_one_is_measured),
    };
    return cmocka_run_group_tests_name("server/pace", tests, NULL, NULL);
}
