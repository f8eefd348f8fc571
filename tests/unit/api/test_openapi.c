// SPDX-License-Identifier: Apache-2.0
#include "api/openapi.h"
#include "api/points.h"
#include "api/resources.h"
#include "api/transfer.h"
#include "tests/unit/api/api_test.h"

static const struct api_operation_document operations[] = {
    {"POST PUT", "/v1/transfer", &api_transfer_table, "image/png multipart/form-data application/json",
     "image/png application/json", "Carry \"samples\"", "More about it"},
    {"POST", "/v1/generate", &api_transfer_table, "application/json", "image/png application/octet-stream",
     "Draw", NULL},
    {"GET", "/v1/models/{name}", NULL, "", "application/json", "Show a model", NULL},
    {"GET", "/metrics", NULL, "", "text/plain", "Counters", NULL},
    {"PUT", "/v1/models/{name}", &api_exact_table, "application/json application/octet-stream",
     "application/json", "Store a model", NULL},
    {"DELETE", "/v1/models/{name}", NULL, "", "", "Forget a model", NULL},
    {"POST", "/v1/models/{name}/trace", &api_trace_table, "application/json", "application/json", "Trace",
     NULL},
    {"PUT", "/v1/datasets/{name}", &api_dataset_table, "application/octet-stream", "application/json",
     "Store", ""},
    {"GET", "/", NULL, NULL, "text/html application/json", NULL, NULL},
};
enum { COUNT = sizeof operations / sizeof operations[0] };

static json_t *document(void)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    assert_int_equal(api_openapi_render(operations, COUNT, "1.2.3", &out), EFM_OK);
    json_t *json = json_of(&out);
    efm_buffer_release(&out);
    return json;
}

static json_t *at(json_t *json, const char *const *names)
{
    for (; *names != NULL; names++) {
        json = json_object_get(json, *names);
        if (json == NULL)
            fail_msg("there is no %s", *names);
    }
    return json;
}
#define AT(json, ...) at(json, (const char *const[]){__VA_ARGS__, NULL})

static json_t *parameter(json_t *operation, const char *name)
{
    json_t *list = json_object_get(operation, "parameters"), *item;
    size_t index;
    json_array_foreach(list, index, item) if (strcmp(text_at(item, "name"), name) == 0) return item;
    fail_msg("no parameter %s", name);
    return NULL;
}

static void every_operation_is_there_once(void **state)
{
    (void)state;
    json_t *json = document(), *paths = json_object_get(json, "paths"), *item, *operation;
    const char *path, *method;
    char seen[2000] = " ";
    size_t count = 0;
    assert_string_equal(text_at(json, "openapi"), "3.1.0");
    assert_string_equal(text_at(json_object_get(json, "info"), "version"), "1.2.3");
    assert_int_equal(json_object_size(paths), 7);
    json_object_foreach(paths, path, item) json_object_foreach(item, method, operation)
    {
        char id[200];
        if (strcmp(method, "parameters") == 0)
            continue;
        snprintf(id, sizeof id, " %s ", text_at(operation, "operationId"));
        assert_null(strstr(seen, id));
        strncpy(seen + strlen(seen), id + 1, sizeof seen - strlen(seen) - 1);
        assert_int_equal(json_array_size(json_object_get(operation, "tags")), 1);
        AT(operation, "responses", "default");
        AT(operation, "responses", "4XX");
        count++;
    }
    assert_int_equal(count, 10);
    assert_string_equal(text_at(AT(paths, "/v1/models/{name}/trace", "post"), "operationId"),
                        "post_v1_models_name_trace");
    assert_string_equal(text_at(AT(paths, "/", "get"), "operationId"), "get");
    assert_string_equal(text_at(AT(paths, "/v1/transfer", "post"), "description"), "More about it");
    assert_string_equal(text_at(AT(paths, "/v1/transfer", "post"), "summary"), "Carry \"samples\"");
    json_decref(json);
}

static void parameters_come_from_the_tables(void **state)
{
    (void)state;
    json_t *json = document(), *post = AT(json, "paths", "/v1/transfer", "post");
    assert_int_equal(json_array_size(json_object_get(post, "parameters")), api_transfer_table.count);
    json_t *seed = AT(parameter(post, "seed"), "schema");
    assert_string_equal(text_at(seed, "type"), "integer");
    assert_int_equal(json_integer_value(json_object_get(seed, "maximum")), 9007199254740991);
    assert_null(json_object_get(seed, "default"));
    assert_non_null(strstr(text_at(parameter(post, "seed"), "description"), "When absent: a fresh one"));
    json_t *quality = AT(parameter(post, "quality"), "schema");
    assert_int_equal(json_integer_value(json_object_get(quality, "default")), 90);
    assert_int_equal(json_integer_value(json_object_get(quality, "minimum")), 1);
    json_t *tolerance = AT(parameter(post, "tolerance"), "schema");
    assert_string_equal(text_at(tolerance, "type"), "number");
    assert_true(json_real_value(json_object_get(tolerance, "minimum")) == 1e-8);
    json_t *direction = AT(parameter(post, "direction"), "schema");
    assert_string_equal(text_at(direction, "default"), "forward");
    assert_int_equal(json_array_size(json_object_get(direction, "enum")), 3);
    assert_string_equal(text_at(parameter(post, "direction"), "in"), "query");
    assert_non_null(text_at(AT(parameter(post, "model"), "schema"), "pattern"));
    json_t *name = json_array_get(AT(json, "paths", "/v1/models/{name}", "parameters"), 0);
    assert_string_equal(text_at(name, "name"), "name");
    assert_string_equal(text_at(name, "in"), "path");
    assert_true(json_is_true(json_object_get(name, "required")));
    json_decref(json);
}

static void bodies_and_answers(void **state)
{
    (void)state;
    json_t *json = document(), *paths = json_object_get(json, "paths");
    json_t *transfer = AT(paths, "/v1/transfer", "put");
    AT(transfer, "requestBody", "content", "image/png", "schema");
    AT(transfer, "requestBody", "content", "application/json", "schema", "properties", "steps");
    AT(transfer, "requestBody", "content", "application/json", "schema", "properties", "vectors");
    AT(transfer, "requestBody", "content", "multipart/form-data", "schema", "properties", "image");
    json_t *trace = AT(paths, "/v1/models/{name}/trace", "post");
    AT(trace, "requestBody", "content", "application/json", "schema", "properties", "starts");
    assert_true(json_is_true(AT(transfer, "requestBody", "required")));
    AT(transfer, "responses", "200", "content", "image/png");
    assert_null(json_object_get(json_object_get(transfer, "responses"), "201"));
    assert_true(json_is_false(AT(paths, "/v1/generate", "post", "requestBody", "required")));
    AT(paths, "/v1/generate", "post", "responses", "200", "content", "application/octet-stream");
    AT(paths, "/v1/models/{name}", "put", "responses", "201", "content", "application/json");
    AT(paths, "/v1/models/{name}", "delete", "responses", "204");
    assert_null(json_object_get(AT(paths, "/v1/models/{name}", "delete", "responses", "204"), "content"));
    assert_null(json_object_get(AT(paths, "/v1/models/{name}", "get"), "requestBody"));
    json_t *problem = AT(json, "components", "schemas", "Problem", "properties");
    assert_int_equal(json_array_size(AT(problem, "code", "enum")), API_P_COUNT - 1);
    AT(json, "components", "responses", "Problem", "content", "application/problem+json");
    json_decref(json);
}

static void no_room_is_told(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(5000);
    assert_int_equal(api_openapi_render(operations, COUNT, "1", &out), EFM_E_LIMIT);
    efm_buffer_release(&out);
}

int main(int argument_count, char **arguments)
{
    if (argument_count > 1) { /* the document itself, for linters: test_openapi FILE */
        struct efm_buffer out = efm_buffer_limited(1 << 20);
        FILE *file = fopen(arguments[1], "wb");
        bool good = file != NULL && api_openapi_render(operations, COUNT, "1.2.3", &out) == EFM_OK &&
                    fwrite(out.data, 1, out.size, file) == out.size;
        efm_buffer_release(&out);
        return file != NULL && fclose(file) == 0 && good ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_there_once),
        cmocka_unit_test(parameters_come_from_the_tables),
        cmocka_unit_test(bodies_and_answers),
        cmocka_unit_test(no_room_is_told),
    };
    return cmocka_run_group_tests_name("api/openapi", tests, NULL, NULL);
}
