// SPDX-License-Identifier: Apache-2.0
#include "core/base/team.h"

#include "tests/support/check.h"
#include "tests/unit/data/chaos.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 1000 };

/* What a loop saw: how often each index came, and which slots were inside at a time. */
struct loop {
    size_t size;
    atomic_uint seen[MOST];
    atomic_uint inside[256];
    atomic_uint wrong; /* slots out of range or used by two at once */
    size_t result[MOST];
};

static void visit(void *context, size_t index, size_t slot)
{
    struct loop *loop = context;
    if (slot >= loop->size) {
        atomic_fetch_add(&loop->wrong, 1);
        return;
    }
    if (atomic_fetch_add(&loop->inside[slot], 1) != 0)
        atomic_fetch_add(&loop->wrong, 1);
    atomic_fetch_add(&loop->seen[index], 1);
    loop->result[index] = index * index + 1;
    atomic_fetch_sub(&loop->inside[slot], 1);
}

static void run_and_check(struct efm_team *team, size_t count)
{
    struct loop *loop = calloc(1, sizeof *loop);
    assert_non_null(loop);
    loop->size = efm_team_size(team);
    efm_team_run(team, count, visit, loop);
    assert_int_equal(atomic_load(&loop->wrong), 0);
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(atomic_load(&loop->seen[i]), i < count ? 1 : 0);
        /* read without atomics: what a body wrote is visible when run has returned */
        assert_int_equal(loop->result[i], i < count ? i * i + 1 : 0);
    }
    free(loop);
}

static void every_index_comes_once(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 9; size++) {
        struct efm_team *team;
        assert_int_equal(efm_team_create(&team, size, NULL), EFM_OK);
        assert_int_equal(efm_team_size(team), size);
        const size_t counts[] = {0, 1, 2, size, size + 1, 97, MOST};
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            run_and_check(team, counts[i]);
        efm_team_destroy(team);
    }
}

static void no_team_is_the_calling_thread(void **state)
{
    (void)state;
    assert_int_equal(efm_team_size(NULL), 1);
    run_and_check(NULL, 0);
    run_and_check(NULL, MOST);
    efm_team_destroy(NULL);
}

static void add_to_sum(void *context, size_t index, size_t slot)
{
    (void)slot;
    atomic_fetch_add_explicit((atomic_size_t *)context, index, memory_order_relaxed);
}

static void a_team_runs_many_loops(void **state)
{
    (void)state;
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 3, NULL), EFM_OK);
    for (size_t round = 0; round < 2000; round++) {
        atomic_size_t sum = 0;
        size_t count = round % 7;
        efm_team_run(team, count, add_to_sum, &sum);
        assert_int_equal(atomic_load(&sum), count * (count + 1) / 2 - count);
    }
    efm_team_destroy(team);
}

/* A loop of as many pieces as threads, each waiting for all others, ends only when all run at once. */
static void meet_the_others(void *context, size_t index, size_t slot)
{
    (void)index;
    (void)slot;
    atomic_uint *waiting = context;
    atomic_fetch_sub(waiting, 1);
    while (atomic_load(waiting) > 0)
        ;
}

static void all_threads_work_at_once(void **state)
{
    (void)state;
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 2, NULL), EFM_OK);
    atomic_uint waiting = 2;
    efm_team_run(team, 2, meet_the_others, &waiting);
    efm_team_destroy(team);
}

enum { ROUNDS = 3000, MEETERS = 4 };

struct rounds {
    struct efm_meeting meeting;
    size_t come[MEETERS]; /* plain numbers: who has met may read what the others wrote before */
    atomic_size_t early;
};

static void meet_again_and_again(void *context, size_t index, size_t slot)
{
    struct rounds *rounds = context;
    unsigned round = 0;
    (void)slot;
    for (size_t i = 1; i <= ROUNDS; i++) {
        rounds->come[index] = i;
        efm_meeting_wait(&rounds->meeting, &round, MEETERS);
        for (size_t other = 0; other < MEETERS; other++)
            if (rounds->come[other] != i)
                atomic_fetch_add(&rounds->early, 1);
        if (i % 1000 == index) /* now and then somebody is late, and the others sleep */
            usleep(2000);
        efm_meeting_wait(&rounds->meeting, &round, MEETERS);
    }
}

static void nobody_leaves_a_meeting_early(void **state)
{
    static struct rounds rounds;
    struct efm_team *team;
    (void)state;
    assert_int_equal(efm_team_create(&team, MEETERS, NULL), EFM_OK);
    efm_team_run_each(team, meet_again_and_again, &rounds);
    efm_team_destroy(team);
    assert_int_equal(atomic_load(&rounds.early), 0);
    assert_int_equal(atomic_load(&rounds.meeting.asleep), 0);
    assert_int_equal(atomic_load(&rounds.meeting.arrived), 2 * ROUNDS * MEETERS);
}

static void a_team_that_never_ran_ends(void **state)
{
    (void)state;
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 4, NULL), EFM_OK);
    efm_team_destroy(team);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 257, SIZE_MAX};
    for (size_t i = 0; i < 3; i++) {
        struct efm_error error = {0};
        struct efm_team *team = (struct efm_team *)&error;
        assert_int_equal(efm_team_create(&team, sizes[i], &error), EFM_E_ARGUMENT);
        assert_null(team);
        assert_non_null(strstr(error.message, "1 to 256"));
    }
}

static void create_survives_any_failing_allocation(void **state)
{
    (void)state;
    size_t failures = 0;
    enum efm_status status = EFM_E_MEMORY;
    for (size_t n = 0; status != EFM_OK; n++) {
        struct efm_error error = {0};
        struct efm_team *team;
        chaos_arm(n);
        status = efm_team_create(&team, 2, &error);
        chaos_disarm();
        if (status != EFM_OK) {
            failures++;
            assert_int_equal(status, EFM_E_MEMORY);
            assert_int_equal(error.status, EFM_E_MEMORY);
            assert_null(team);
        }
        efm_team_destroy(team);
    }
    assert_true(failures >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_comes_once),
        cmocka_unit_test(no_team_is_the_calling_thread),
        cmocka_unit_test(a_team_runs_many_loops),
        cmocka_unit_test(all_threads_work_at_once),
        cmocka_unit_test(nobody_leaves_a_meeting_early),
        cmocka_unit_test(a_team_that_never_ran_ends),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(create_survives_any_failing_allocation),
    };
    return cmocka_run_group_tests_name("base/team", tests, NULL, NULL);
}
