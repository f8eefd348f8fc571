// SPDX-License-Identifier: Apache-2.0
// What was acknowledged is there after a restart, and gives the same bytes; also after a kill.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static struct test_daemon server;

static int start(void **state)
{
    (void)state;
    test_daemon_start(&server, NULL);
    test_world_pictures(&server);
    test_world_plane(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&server);
    return 0;
}

static void get(const char *path, struct test_reply *reply)
{
    test_send(&server, &(struct test_request){.path = path}, reply);
    test_expect(reply, 200, NULL);
}

static void check_same(const char *path, const struct test_reply *before)
{
    struct test_reply after;
    get(path, &after);
    if (before->size != after.size || memcmp(before->body, after.body, after.size) != 0)
        fail_msg("%s is no longer what it was: %s", path, (const char *)after.body);
    test_reply_release(&after);
}

static void generate(const char *path, struct test_reply *reply)
{
    test_send(&server, &(struct test_request){.method = "POST", .path = path}, reply);
    test_expect(reply, 200, NULL);
}

static void a_restart_keeps_all(void **state)
{
    static const char *const paths[] = {"/v1/models",          "/v1/datasets",
                                        "/v1/models/pictures", "/v1/datasets/warm",
                                        "/v1/datasets/normal", "/v1/models/pictures/weights"};
    enum { COUNT = sizeof paths / sizeof paths[0] };
    struct test_reply before[COUNT], one, two;
    (void)state;
    for (size_t i = 0; i < COUNT; ++i)
        get(paths[i], &before[i]);
    generate("/v1/generate?model=pictures&n=3&seed=4&format=npy", &one);
    test_daemon_restart(&server, NULL);
    for (size_t i = 0; i < COUNT; ++i) {
        check_same(paths[i], &before[i]);
        test_reply_release(&before[i]);
    }
    generate("/v1/generate?model=pictures&n=3&seed=4&format=npy", &two);
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.body, two.body, one.size);
    test_reply_release(&one);
    test_reply_release(&two);
    // the stored dataset is still one that a model can be made of
    test_put_model(
        &server, "again",
        "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"warm\",\"target\":\"cold\"}");
}

static void deleted_stays_deleted(void **state)
{
    (void)state;
    test_put_model(
        &server, "gone",
        "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"warm\",\"target\":\"cold\"}");
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/gone"}, 204);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/cold"},
                        204);
    test_daemon_restart(&server, NULL);
    test_expect_problem(&server, &(struct test_request){.path = "/v1/models/gone"}, 404, "unknown_model");
    test_expect_problem(&server, &(struct test_request){.path = "/v1/datasets/cold"}, 404, "unknown_dataset");
    test_expect_request(&server, &(struct test_request){.path = "/v1/models/pictures"}, 200);
}

static void a_kill_loses_nothing_acknowledged(void **state)
{
    (void)state;
    for (int round = 0; round < 3; ++round) {
        char name[32];
        snprintf(name, sizeof name, "killed-%d", round);
        test_put_model(&server, name,
                       "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"normal\","
                       "\"target\":\"apart\",\"length\":6}");
        test_daemon_signal(&server, SIGKILL);
        int status = test_daemon_wait(&server, 10);
        assert_true(WIFSIGNALED(status));
        test_daemon_relaunch(&server, NULL);
        char path[64];
        snprintf(path, sizeof path, "/v1/models/%s", name);
        test_expect_request(&server, &(struct test_request){.path = path}, 200);
    }
}

static void a_damaged_file_does_not_stop_the_others(void **state)
{
    char path[400];
    (void)state;
    snprintf(path, sizeof path, "%s/models/broken.safetensors", server.state);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs("this is no model", file);
    assert_int_equal(fclose(file), 0);
    test_daemon_restart(&server, NULL);
    test_expect_problem(&server, &(struct test_request){.path = "/v1/models/broken"}, 404, "unknown_model");
    test_expect_request(&server, &(struct test_request){.path = "/v1/models/pictures"}, 200);
    file = fopen(path, "rb"); // left where it is, for a human to look at
    assert_non_null(file);
    fclose(file);
    // and a new model may take the name
    test_put_model(&server, "broken",
                   "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"normal\","
                   "\"target\":\"apart\",\"length\":6}");
    test_daemon_restart(&server, NULL);
    test_expect_request(&server, &(struct test_request){.path = "/v1/models/broken"}, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_keeps_all),
        cmocka_unit_test(deleted_stays_deleted),
        cmocka_unit_test(a_kill_loses_nothing_acknowledged),
        cmocka_unit_test(a_damaged_file_does_not_stop_the_others),
    };
    return cmocka_run_group_tests_name("http/persistence", tests, start, stop);
}
