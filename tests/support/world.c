// SPDX-License-Identifier: Apache-2.0
#include "tests/support/world.h"

#include "tests/support/check.h"
#include "tests/support/make.h"

#include <stdio.h>
#include <string.h>

static void put(const struct test_daemon *daemon, const struct test_request *request)
{
    struct test_reply reply;
    test_send(daemon, request, &reply);
    if (reply.status != 201)
        test_expect(&reply, 200, NULL);
    test_reply_release(&reply);
}

void test_put_dataset(const struct test_daemon *daemon, const char *name, const void *bytes, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/datasets/%s", name);
    put(daemon, &(struct test_request){.method = "PUT", .path = path, .body = bytes, .size = size});
}

void test_put_model(const struct test_daemon *daemon, const char *name, const char *json)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/models/%s", name);
    put(daemon,
        &(struct test_request){
            .method = "PUT", .path = path, .type = "application/json", .body = json, .size = strlen(json)});
}

void test_world_pictures(const struct test_daemon *daemon)
{
    struct efm_buffer warm = efm_buffer_limited(TEST_FILE_LIMIT), cold = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_pictures_tar(&warm, 40, 8, 3, 1000);
    test_make_pictures_npy(&cold, 40, 8, 3, 2000);
    test_put_dataset(daemon, "warm", warm.data, warm.size);
    test_put_dataset(daemon, "cold", cold.data, cold.size);
    test_put_model(
        daemon, "pictures",
        "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"warm\",\"target\":\"cold\"}");
    efm_buffer_release(&warm);
    efm_buffer_release(&cold);
}

void test_world_plane(const struct test_daemon *daemon)
{
    const char *normal = "{\"toy\":\"gaussian\",\"count\":200,\"dimension\":2,\"seed\":1}";
    const char *apart =
        "{\"toy\":\"mixture\",\"count\":200,\"centers\":[[8,0],[-8,0]],\"deviation\":0.5,\"seed\":2}";
    test_put_dataset(daemon, "normal", normal, strlen(normal));
    test_put_dataset(daemon, "apart", apart, strlen(apart));
    test_put_model(daemon, "plane",
                   "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"normal\","
                   "\"target\":\"apart\",\"length\":6}");
    test_put_model(
        daemon, "wanderer",
        "{\"arch\":\"exact\",\"field\":\"superposition\",\"map\":\"stochastic\",\"source\":\"normal\","
        "\"target\":\"apart\",\"length\":6}");
}

void test_world_slow(const struct test_daemon *daemon)
{
    const char *haze = "{\"toy\":\"gaussian\",\"count\":300,\"shape\":[64,64,3],\"seed\":3}";
    const char *fog = "{\"toy\":\"uniform\",\"count\":300,\"shape\":[64,64,3],\"seed\":4}";
    test_put_dataset(daemon, "haze", haze, strlen(haze));
    test_put_dataset(daemon, "fog", fog, strlen(fog));
    test_put_model(
        daemon, "slow",
        "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"haze\",\"target\":\"fog\"}");
}
