// SPDX-License-Identifier: Apache-2.0
// Models as a resource: made from datasets, listed, shown, downloaded, uploaded, replaced under load,
// deleted.
#include "tests/support/check.h"
#include "tests/support/make.h"
#include "tests/support/problem.h"
#include "tests/support/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct test_daemon server;
static const char recipe[] =
    "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"warm\",\"target\":\"cold\"}";

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

static struct test_request put(const char *path, const char *json)
{
    return (struct test_request){
        .method = "PUT", .path = path, .type = "application/json", .body = json, .size = strlen(json)};
}

static json_t *get_json(const char *path)
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.path = path}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    test_reply_release(&reply);
    return json;
}

static void made_from_two_datasets(void **state)
{
    struct test_request request = put("/v1/models/fresh", recipe);
    (void)state;
    test_expect_request(&server, &request, 201);
    test_expect_request(&server, &request, 200); // replaced
    json_t *json = get_json("/v1/models/fresh");
    assert_string_equal(json_string_value(json_object_get(json, "id")), "fresh");
    assert_string_equal(json_string_value(json_object_get(json, "object")), "model");
    assert_string_equal(json_string_value(json_object_get(json, "state")), "ready");
    assert_string_equal(json_string_value(json_object_get(json, "arch")), "exact");
    assert_string_equal(json_string_value(json_object_get(json, "field")), "chain");
    assert_string_equal(json_string_value(json_object_get(json, "map")), "chain");
    assert_true(json_number_value(json_object_get(json, "L")) > 0);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(json, "shape"), 2)), 3);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "source"), "name")), "warm");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "target"), "count")), 40);
    assert_int_equal(strlen(json_string_value(json_object_get(json, "sha256"))), 64);
    json_decref(json);
    json = get_json("/v1/models/plane");
    assert_true(json_is_true(json_object_get(json_object_get(json, "source"), "standard_normal")));
    assert_false(json_is_true(json_object_get(json_object_get(json, "target"), "standard_normal")));
    json_decref(json);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/fresh"}, 204);
    test_expect_problem(&server, &(struct test_request){.path = "/v1/models/fresh"}, 404, "unknown_model");
    test_expect_problem(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/fresh"}, 404,
                        "unknown_model");
}

static void listed_by_name(void **state)
{
    json_t *json = get_json("/v1/models");
    const json_t *data = json_object_get(json, "data");
    const char *before = "";
    bool found = false;
    (void)state;
    assert_string_equal(json_string_value(json_object_get(json, "object")), "list");
    for (size_t i = 0; i < json_array_size(data); ++i) {
        const char *id = json_string_value(json_object_get(json_array_get(data, i), "id"));
        assert_non_null(id);
        assert_true(strcmp(before, id) < 0);
        found = found || strcmp(id, "pictures") == 0;
        before = id;
    }
    assert_true(found);
    json_decref(json);
}

static void a_file_out_and_in_again(void **state)
{
    struct test_reply weights, again, one, two;
    (void)state;
    test_send(&server, &(struct test_request){.path = "/v1/models/pictures/weights"}, &weights);
    test_expect(&weights, 200, NULL);
    assert_true(weights.size > 40 * 8 * 8 * 3 * 2 * sizeof(float));
    struct test_request upload = {
        .method = "PUT", .path = "/v1/models/copy", .body = weights.body, .size = weights.size};
    test_expect_request(&server, &upload, 201);
    test_send(&server, &(struct test_request){.path = "/v1/models/copy/weights"}, &again);
    test_expect(&again, 200, NULL);
    assert_int_equal(weights.size, again.size);
    assert_memory_equal(weights.body, again.body, weights.size);
    json_t *first = get_json("/v1/models/pictures"), *second = get_json("/v1/models/copy");
    assert_string_equal(json_string_value(json_object_get(first, "sha256")),
                        json_string_value(json_object_get(second, "sha256")));
    json_decref(first);
    json_decref(second);
    test_send(
        &server,
        &(struct test_request){.method = "POST", .path = "/v1/generate?model=pictures&n=3&seed=1&format=npy"},
        &one);
    test_send(
        &server,
        &(struct test_request){.method = "POST", .path = "/v1/generate?model=copy&n=3&seed=1&format=npy"},
        &two);
    test_expect(&one, 200, NULL);
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.body, two.body, one.size);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/copy"}, 204);
    test_reply_release(&weights);
    test_reply_release(&again);
    test_reply_release(&one);
    test_reply_release(&two);
}

static void recipes_that_make_no_sense(void **state)
{
    static const struct {
        const char *json;
        int status;
        const char *code;
    } cases[] = {
        {"{\"arch\":\"exact\",\"source\":\"warm\",\"target\":\"nobody\"}", 404, "unknown_dataset"},
        {"{\"arch\":\"exact\",\"source\":\"nobody\",\"target\":\"cold\"}", 404, "unknown_dataset"},
        {"{\"arch\":\"exact\",\"source\":\"warm\",\"target\":\"normal\"}", 422, "shape_mismatch"},
        {"{\"arch\":\"exact\",\"source\":\"warm\"}", 422, "missing_parameter"},
        {"{\"arch\":\"exact\",\"source\":\"warm\",\"target\":\"cold\",\"color\":1}", 422,
         "unknown_parameter"},
        {"{\"arch\":\"magic\",\"source\":\"warm\",\"target\":\"cold\"}", 422, "invalid_parameter"},
        {"{\"arch\":\"exact\",\"source\":\"warm\",\"target\":\"cold\",\"length\":-1}", 422,
         "invalid_parameter"},
        {"{\"arch\":\"exact\",\"source\":\"warm\",\"target\":\"cold\",\"length\":\"6\"}", 422,
         "invalid_parameter"},
        {"{\"arch\":\"exact\",\"source\":\"../warm\",\"target\":\"cold\"}", 422, "invalid_parameter"},
        {"{\"arch\":\"exact\",\"source\":\"warm\",\"source\":\"cold\"}", 400, "malformed_json"},
        {"{\"arch\":", 400, "malformed_json"},
        {"", 400, "empty_body"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct test_request request = put("/v1/models/nonsense", cases[i].json);
        test_expect_problem(&server, &request, cases[i].status, cases[i].code);
    }
    test_expect_problem(&server, &(struct test_request){.path = "/v1/models/nonsense"}, 404, "unknown_model");
}

static void bad_names(void **state)
{
    static const char *const names[] = {
        ".hidden",   "-dash",
        "a%2Fb",     "..%2f..%2fetc",
        "a%20b",     "%00",
        "caf%C3%A9", "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        char path[256];
        struct test_reply reply;
        snprintf(path, sizeof path, "/v1/models/%s", names[i]);
        struct test_request request = put(path, recipe);
        test_send(&server, &request, &reply);
        if (reply.status != 422 && reply.status != 404 && reply.status != 400)
            fail_msg("%s was answered with %d", path, reply.status);
        if (reply.status == 422)
            test_check_problem(&reply, 422, "invalid_name");
        test_reply_release(&reply);
    }
}

static void replaced_and_deleted_under_load(void **state)
{
    enum { COUNT = 24 };
    struct test_request requests[COUNT];
    struct test_reply replies[COUNT];
    struct test_request make = put("/v1/models/busy", recipe);
    (void)state;
    test_expect_request(&server, &make, 201);
    for (size_t i = 0; i < COUNT; ++i) {
        requests[i] = (struct test_request){
            .method = "POST", .path = "/v1/generate?model=busy&n=8&seed=1&format=npy&solver=euler&steps=200"};
        if (i % 6 == 2)
            requests[i] = make;
        if (i == COUNT - 1)
            requests[i] = (struct test_request){.method = "DELETE", .path = "/v1/models/busy"};
    }
    test_send_all(&server, requests, COUNT, replies);
    for (size_t i = 0; i < COUNT; ++i) {
        if (requests[i].body == NULL && i + 1 < COUNT && replies[i].status == 404)
            test_check_problem(&replies[i], 404, "unknown_model"); // came after the deletion
        else if (i + 1 < COUNT && requests[i].body != NULL)
            assert_in_range(replies[i].status, 200, 201);
        else
            assert_in_range(replies[i].status, 200, 204);
        test_reply_release(&replies[i]);
    }
    test_send(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/busy"}, &replies[0]);
    test_reply_release(&replies[0]);
    assert_true(test_daemon_settles(&server, "efm_lines_in_flight", 0, 10));
}

static void deleting_a_dataset_leaves_its_models(void **state)
{
    const char *toy = "{\"toy\":\"uniform\",\"count\":20,\"dimension\":3}";
    (void)state;
    test_put_dataset(&server, "brief", toy, strlen(toy));
    test_put_model(&server, "orphan",
                   "{\"arch\":\"exact\",\"field\":\"chain\",\"map\":\"chain\",\"source\":\"brief\","
                   "\"target\":\"brief\"}");
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/datasets/brief"},
                        204);
    test_expect_request(
        &server, &(struct test_request){.method = "POST", .path = "/v1/generate?model=orphan&seed=1"}, 200);
    test_expect_request(&server, &(struct test_request){.method = "DELETE", .path = "/v1/models/orphan"},
                        204);
}

/* ---- in memory or not ---- */

static char *state_of(const char *path, char out[16])
{
    json_t *json = get_json(path);
    snprintf(out, 16, "%s", json_string_value(json_object_get(json, "state")));
    assert_int_equal(json_integer_value(json_object_get(json, "memory")) > 0, strcmp(out, "ready") == 0);
    json_decref(json);
    return out;
}

static json_t *post_json(const char *path)
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.method = "POST", .path = path}, &reply);
    test_expect(&reply, 200, "application/json");
    json_t *json = test_reply_json(&reply);
    test_reply_release(&reply);
    return json;
}

static void unloaded_and_loaded(void **state)
{
    char word[16];
    (void)state;
    json_t *json = post_json("/v1/models/pictures/unload");
    assert_string_equal(json_string_value(json_object_get(json, "state")), "unloaded");
    assert_string_equal(json_string_value(json_object_get(json, "arch")), "exact");
    json_decref(json);
    assert_true(test_daemon_metric(&server, "efm_model_loaded", "model=\"pictures\"") == 0);
    json = post_json("/v1/models/pictures/load");
    assert_string_equal(json_string_value(json_object_get(json, "state")), "ready");
    json_decref(json);
    assert_string_equal(state_of("/v1/models/pictures", word), "ready");
    test_expect_problem(&server, &(struct test_request){.method = "POST", .path = "/v1/models/nobody/load"},
                        404, "unknown_model");
    test_expect_problem(&server, &(struct test_request){.method = "POST", .path = "/v1/models/nobody/unload"},
                        404, "unknown_model");
}

static void comes_back_when_it_is_asked_for(void **state)
{
    static const struct {
        const char *path, *body;
    } requests[] = {
        {"/v1/generate?model=plane&seed=1&n=2&format=npy", NULL},
        {"/v1/transfer", "{\"model\":\"plane\",\"vector\":[1,2],\"seed\":1,\"format\":\"npy\"}"},
        {"/v1/models/plane/field", "{\"points\":[[1,2,3]]}"},
        {"/v1/models/plane/trace", "{\"starts\":[[1,2]],\"seed\":1}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; ++i) {
        struct test_reply warm, cold;
        char word[16];
        struct test_request request = {.method = "POST", .path = requests[i].path, .body = requests[i].body};
        if (request.body != NULL) {
            request.size = strlen(request.body);
            request.type = "application/json";
        }
        test_send(&server, &request, &warm);
        test_expect(&warm, 200, NULL);
        json_decref(post_json("/v1/models/plane/unload"));
        assert_string_equal(state_of("/v1/models/plane", word), "unloaded");
        test_send(&server, &request, &cold);
        test_expect(&cold, 200, NULL);
        assert_int_equal(warm.size, cold.size);
        assert_memory_equal(warm.body, cold.body, warm.size);
        assert_string_equal(state_of("/v1/models/plane", word), "ready");
        test_reply_release(&warm);
        test_reply_release(&cold);
    }
}

/* Long JSON is read by a helper, and only then is it known that the model has to be loaded. */
static void long_json_loads_too(void **state)
{
    enum { VECTORS = 60, PADDING = 300 * 1024 };
    struct efm_buffer body = efm_buffer_limited(TEST_FILE_LIMIT);
    char word[16];
    (void)state;
    efm_buffer_append_string(&body, "{\"model\":\"plane\",\"steps\":5,\"vectors\":[");
    for (size_t i = 0; i < VECTORS; ++i)
        efm_buffer_format(&body, "%s[1,%zu]", i > 0 ? "," : "", i % 7);
    for (size_t i = 0; i < PADDING; ++i)
        efm_buffer_append(&body, " ", 1);
    efm_buffer_append_string(&body, "]}");
    struct test_request request = {.method = "POST",
                                   .path = "/v1/transfer",
                                   .type = "application/json",
                                   .body = body.data,
                                   .size = body.size};
    json_decref(post_json("/v1/models/plane/unload"));
    test_expect_request(&server, &request, 200);
    assert_string_equal(state_of("/v1/models/plane", word), "ready");
    efm_buffer_release(&body);
}

static void many_wait_for_one_load(void **state)
{
    enum { COUNT = 32 };
    struct test_request requests[COUNT];
    struct test_reply replies[COUNT];
    (void)state;
    json_decref(post_json("/v1/models/pictures/unload"));
    double loads = test_daemon_metric(&server, "efm_model_loads_total", "ready");
    for (size_t i = 0; i < COUNT; ++i)
        requests[i] = (struct test_request){.method = "POST",
                                            .path = "/v1/generate?model=pictures&seed=1&format=npy&steps=5"};
    test_send_all(&server, requests, COUNT, replies);
    for (size_t i = 0; i < COUNT; ++i) {
        test_expect(&replies[i], 200, NULL);
        test_reply_release(&replies[i]);
    }
    assert_true(test_daemon_metric(&server, "efm_model_loads_total", "ready") == loads + 1);
}

/* ---- conditions and ranges ---- */

static void etag_of(const char *path, char out[128])
{
    struct test_reply reply;
    test_send(&server, &(struct test_request){.path = path}, &reply);
    test_expect(&reply, 200, NULL);
    test_reply_header(&reply, "ETag", out, 128);
    test_reply_release(&reply);
}

static int send_with(const char *method, const char *path, const char *header, const char *body)
{
    struct test_reply reply;
    struct test_request request = {.method = method, .path = path, .header = header};
    if (body != NULL) {
        request.body = body;
        request.size = strlen(body);
        request.type = "application/json";
    }
    test_send(&server, &request, &reply);
    if (reply.status == 412)
        test_check_problem(&reply, 412, "precondition_failed");
    int status = reply.status;
    test_reply_release(&reply);
    return status;
}

static void conditions(void **state)
{
    static const char path[] = "/v1/models/guarded";
    static const char other[] = "{\"arch\":\"exact\",\"source\":\"cold\",\"target\":\"warm\"}";
#define BEFORE "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER "If-Unmodified-Since: Fri, 31 Dec 9999 23:59:59 GMT"
    char etag[128], match[160], none[160], both[256];
    (void)state;
    assert_int_equal(send_with("PUT", path, "If-Match: *", recipe), 412);
    assert_int_equal(send_with("PUT", path, "If-None-Match: *", recipe), 201);
    assert_int_equal(send_with("PUT", path, "If-None-Match: *", recipe), 412);
    etag_of(path, etag);
    assert_int_equal(strlen(etag), 66);
    snprintf(match, sizeof match, "If-Match: %s", etag);
    snprintf(none, sizeof none, "If-None-Match: %s", etag);
    assert_int_equal(send_with("GET", path, none, NULL), 304);
    assert_int_equal(send_with("GET", "/v1/models/guarded/weights", none, NULL), 304);
    test_sleep(1.1); // from then on there is a date, which comes first
    snprintf(both, sizeof both, "%s\n" BEFORE, none);
    assert_int_equal(send_with("GET", path, both, NULL), 412);
    assert_int_equal(send_with("GET", "/v1/models/guarded/weights", both, NULL), 412);
    snprintf(both, sizeof both, "%s\n" AFTER, none);
    assert_int_equal(send_with("GET", path, both, NULL), 304);
    assert_int_equal(send_with("GET", "/v1/models/guarded/weights", both, NULL), 304);
    assert_int_equal(send_with("PUT", path, "If-Match: \"0123\"", other), 412);
    // a list of nothing is none, several lines are one list, and a date counts where there is no tag
    assert_int_equal(send_with("PUT", path, "If-Match;", other), 412); // sent by libcurl as "If-Match:"
    assert_int_equal(send_with("PUT", path, "If-None-Match;", other), 412);
    assert_int_equal(send_with("PUT", path, "If-None-Match: \"q\"\nIf-None-Match: *", other), 412);
    assert_int_equal(send_with("DELETE", path, "If-Match: \"q\"\nIf-Match: \"r\"", NULL), 412);
    assert_int_equal(send_with("PUT", "/v1/models/nothing", "If-Match: \"q\"\nIf-None-Match: *", other), 412);
    assert_int_equal(send_with("PUT", path, BEFORE, other), 412);
    assert_int_equal(send_with("DELETE", path, BEFORE, NULL), 412);
    assert_int_equal(
        send_with("GET", "/v1/models/guarded/weights", "If-Match: \"q\"\nRange: bytes=0-7", NULL), 412);
    snprintf(both, sizeof both, "%s\n" BEFORE, match);
    assert_int_equal(send_with("PUT", path, both, other), 200);
    assert_int_equal(send_with("PUT", path, match, other), 412);
    assert_int_equal(send_with("PUT", path, AFTER, other), 200);
    assert_int_equal(send_with("GET", path, none, NULL), 200);
    assert_int_equal(send_with("DELETE", path, match, NULL), 412);
    etag_of(path, etag);
    snprintf(match, sizeof match, "If-Match: %s", etag);
    assert_int_equal(send_with("DELETE", path, match, NULL), 204);
    assert_int_equal(send_with("DELETE", path, match, NULL), 404);
}

static void weights_in_parts(void **state)
{
    static const char path[] = "/v1/models/pictures/weights";
    struct test_reply whole, part;
    char etag[128], text[128];
    (void)state;
    test_send(&server, &(struct test_request){.path = path}, &whole);
    test_expect(&whole, 200, "application/octet-stream");
    test_reply_header(&whole, "ETag", etag, sizeof etag);
    test_send(&server, &(struct test_request){.path = path, .header = "Range: bytes=100-1099"}, &part);
    test_expect(&part, 206, NULL);
    assert_int_equal(part.size, 1000);
    assert_memory_equal(part.body, whole.body + 100, 1000);
    test_reply_header(&part, "Content-Range", text, sizeof text);
    assert_int_equal(strncmp(text, "bytes 100-1099/", 15), 0);
    test_reply_release(&part);
    test_expect_request(&server, &(struct test_request){.path = path, .header = "Range: bytes=999999999-"},
                        416);
    test_send(&server, &(struct test_request){.method = "HEAD", .path = path}, &part);
    test_expect(&part, 200, NULL);
    assert_int_equal(part.size, 0);
    assert_int_equal(strtoull(test_reply_header(&part, "Content-Length", text, sizeof text), NULL, 10),
                     whole.size);
    test_reply_release(&part);
    test_reply_release(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_from_two_datasets),
        cmocka_unit_test(listed_by_name),
        cmocka_unit_test(a_file_out_and_in_again),
        cmocka_unit_test(recipes_that_make_no_sense),
        cmocka_unit_test(bad_names),
        cmocka_unit_test(replaced_and_deleted_under_load),
        cmocka_unit_test(deleting_a_dataset_leaves_its_models),
        cmocka_unit_test(unloaded_and_loaded),
        cmocka_unit_test(comes_back_when_it_is_asked_for),
        cmocka_unit_test(long_json_loads_too),
        cmocka_unit_test(many_wait_for_one_load),
        cmocka_unit_test(conditions),
        cmocka_unit_test(weights_in_parts),
    };
    return cmocka_run_group_tests_name("http/models", tests, start, stop);
}
