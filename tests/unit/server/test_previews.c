// SPDX-License-Identifier: Apache-2.0
// Pictures of a running training: who asks waits until one is drawn, with exchanges that are not there.
#include "server/jobs/previews.h"

#include "tests/unit/server/fake_exchange.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MANY = 17 };

static struct srv_previews *previews;
static struct srv_exchange exchanges[MANY];

static int start(void **state)
{
    struct efm_error error = {0};
    (void)state;
    return srv_previews_create(&previews, &error) == EFM_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    srv_previews_destroy(previews);
    for (size_t i = 0; i < MANY; i++)
        fake_release(&exchanges[i]);
    return 0;
}

static void only_the_job_that_runs_is_asked(void **state)
{
    (void)state;
    assert_false(srv_previews_ask(previews, "job_a", &exchanges[0]));
    assert_false(srv_previews_ask(previews, "", &exchanges[0]));
    srv_previews_open(previews, "job_a");
    assert_false(srv_previews_ask(previews, "job_b", &exchanges[0]));
    assert_false(exchanges[0].deferred); // still the caller's
    assert_false(srv_previews_wanted(previews));
    assert_true(srv_previews_ask(previews, "job_a", &exchanges[0]));
    assert_true(exchanges[0].deferred);
    assert_true(srv_previews_wanted(previews));
    srv_previews_give(previews, (const uint8_t *)"png", 3, 42);
    assert_false(srv_previews_wanted(previews));
}

static void all_that_wait_get_the_picture(void **state)
{
    (void)state;
    srv_previews_open(previews, "job_a");
    for (size_t i = 0; i < MANY - 1; i++)
        assert_true(srv_previews_ask(previews, "job_a", &exchanges[i]));
    assert_false(srv_previews_ask(previews, "job_a", &exchanges[MANY - 1])); // enough of them
    srv_previews_give(previews, (const uint8_t *)"png", 3, 42);
    for (size_t i = 0; i < MANY - 1; i++) {
        assert_int_equal(exchanges[i].answers, 1);
        assert_int_equal(exchanges[i].status, 200);
        assert_string_equal(exchanges[i].reply.content_type, "image/png");
        assert_string_equal(fake_header(&exchanges[i], "Efm-Step"), "42");
        assert_memory_equal(exchanges[i].reply.body.data, "png", 3);
    }
    assert_int_equal(exchanges[MANY - 1].answers, 0);
}

static void a_failure_is_told(void **state)
{
    struct api_problem problem = {0};
    (void)state;
    api_problem_set(&problem, API_P_NO_MEMORY, NULL, "none");
    srv_previews_open(previews, "job_a");
    assert_true(srv_previews_ask(previews, "job_a", &exchanges[0]));
    srv_previews_fail(previews, &problem);
    assert_int_equal(exchanges[0].problem.code, API_P_NO_MEMORY);
    assert_false(srv_previews_wanted(previews));
}

static void nobody_waits_for_a_training_that_stopped(void **state)
{
    (void)state;
    srv_previews_open(previews, "job_a");
    assert_true(srv_previews_ask(previews, "job_a", &exchanges[0]));
    srv_previews_open(previews, NULL);
    assert_int_equal(exchanges[0].problem.code, API_P_CONFLICT);
    assert_false(srv_previews_ask(previews, "job_a", &exchanges[1]));
    srv_previews_open(previews, "job_b");
    assert_true(srv_previews_ask(previews, "job_b", &exchanges[1]));
    srv_previews_destroy(previews);
    previews = NULL;
    assert_int_equal(exchanges[1].problem.code, API_P_CONFLICT);
}

#define WAITED(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WAITED(only_the_job_that_runs_is_asked),
        WAITED(all_that_wait_get_the_picture),
        WAITED(a_failure_is_told),
        WAITED(nobody_waits_for_a_training_that_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
