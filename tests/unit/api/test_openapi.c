// SPDX-License-Identifier: Apache-2.0
#include "api/openapi_internal.h"
#include "api/points.h"
#include "api/resources.h"
#include "api/train.h"
#include "api/transfer.h"
#include "tests/unit/api/api_test.h"

static const struct api_operation_document operations[] = {
    {"POST PUT", "/v1/transfer", &api_transfer_table, "image/png multipart/form-data application/json",
     "image/png application/json", "Carry \"samples\"", "More about it", "infer"},
    {"POST", "/v1/generate", &api_transfer_table, "application/json", "image/png application/octet-stream",
     "Draw", NULL, "infer"},
    {"GET", "/v1/models/{name}", NULL, "", "application/json", "Show a model", NULL, "infer"},
    {"GET", "/v1/models/{name}/weights", NULL, "", "application/octet-stream", "Fetch it", NULL, "infer"},
    {"GET", "/metrics", NULL, "", "text/plain", "Counters", NULL, ""},
    {"PUT", "/v1/models/{name}", &api_exact_table, "application/json application/octet-stream",
     "application/json", "Store a model", NULL, "admin"},
    {"DELETE", "/v1/models/{name}", NULL, "", "", "Forget a model", NULL, "admin"},
    {"POST", "/v1/models/{name}/trace", &api_trace_table, "application/json", "application/json", "Trace",
     NULL, "infer"},
    {"PUT", "/v1/datasets/{name}", &api_dataset_table, "application/octet-stream application/json",
     "application/json", "Store", "", "admin"},
    {"POST", "/train", NULL, "application/json", "application/json", "Train", NULL, "admin"},
    {"GET", "/readyz", NULL, "", "application/json", "Ready", NULL, ""},
    {"GET", "/v1/other", NULL, "", "application/json", "New", NULL, "infer"},
    {"GET", "/", NULL, NULL, "text/html application/json", NULL, NULL, NULL},
};
enum { COUNT = sizeof operations / sizeof operations[0] };

static const struct api_document_options options = {.version = "1.2.3"};

static json_t *document_with(const struct api_document_options *with)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    assert_int_equal(api_openapi_render(operations, COUNT, with, &out), EFM_OK);
    json_t *json = json_of(&out);
    efm_buffer_release(&out);
    return json;
}

static json_t *document(void)
{
    return document_with(&options);
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
    json_array_foreach(list, index, item)
    {
        const char *own = json_string_value(json_object_get(item, "name"));
        if (own != NULL && strcmp(own, name) == 0)
            return item;
    }
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
    assert_int_equal(json_object_size(paths), 11);
    json_object_foreach(paths, path, item) json_object_foreach(item, method, operation)
    {
        char id[200];
        if (strcmp(method, "parameters") == 0)
            continue;
        snprintf(id, sizeof id, " %s ", text_at(operation, "operationId"));
        assert_null(strstr(seen, id));
        strncpy(seen + strlen(seen), id + 1, sizeof seen - strlen(seen) - 1);
        assert_int_equal(json_array_size(json_object_get(operation, "tags")), 1);
        AT(operation, "responses", "400");
        AT(operation, "responses", "500");
        count++;
    }
    assert_int_equal(count, 14);
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
    assert_int_equal(json_array_size(json_object_get(post, "parameters")), api_transfer_table.count + 4);
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

static void expect_ref(json_t *json, const char *wanted)
{
    assert_string_equal(text_at(json, "$ref"), wanted);
}

static void bodies_have_shapes(void **state)
{
    (void)state;
    json_t *json = document(), *paths = json_object_get(json, "paths");
    json_t *schemas = AT(json, "components", "schemas");
    json_t *body = AT(paths, "/v1/transfer", "put", "requestBody");
    assert_true(json_is_true(AT(body, "required")));
    AT(body, "content", "image/png", "schema");
    expect_ref(AT(body, "content", "application/json", "schema"), "#/components/schemas/TransferRequest");
    expect_ref(AT(body, "content", "multipart/form-data", "schema"), "#/components/schemas/TransferForm");
    json_t *request = AT(schemas, "TransferRequest");
    assert_true(json_is_false(AT(request, "additionalProperties")));
    assert_int_equal(json_object_size(AT(request, "properties")), api_transfer_table.count + 4);
    AT(request, "properties", "vectors");
    AT(schemas, "TransferForm", "properties", "image");
    AT(schemas, "TraceRequest", "properties", "starts");
    AT(schemas, "TraceRequest", "properties", "points");
    assert_true(json_is_false(AT(paths, "/v1/generate", "post", "requestBody", "required")));
    assert_null(json_object_get(AT(paths, "/v1/models/{name}", "get"), "requestBody"));
    json_decref(json);
}

static void a_training_is_described_by_its_tables(void **state)
{
    static const struct {
        const char *schema;
        const struct api_parameter_table *table;
    } cases[] = {{"TrainRequest", &api_train_table},
                 {"TrainImage", &api_train_image_table},
                 {"TrainNetwork", &api_train_network_table}};
    (void)state;
    json_t *json = document();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *properties = AT(json, "components", "schemas", cases[i].schema, "properties");
        for (size_t k = 0; k < cases[i].table->count; k++)
            assert_non_null(json_object_get(properties, cases[i].table->items[k].name));
    }
    json_t *toy = AT(json, "components", "schemas", "Toy", "properties", "toy", "enum");
    assert_int_equal(json_array_size(toy), 5); /* and no comma after the last */
    json_decref(json);
}

static void answers_have_status_shape_and_headers(void **state)
{
    (void)state;
    json_t *json = document(), *paths = json_object_get(json, "paths");
    json_t *transfer = AT(paths, "/v1/transfer", "put", "responses");
    AT(transfer, "200", "content", "image/png");
    AT(transfer, "200", "headers", "Efm-Seed");
    AT(transfer, "200", "headers", "X-Request-Id");
    expect_ref(AT(transfer, "200", "content", "application/json", "schema"),
               "#/components/schemas/TransferResult");
    expect_ref(AT(transfer, "202", "content", "application/json", "schema"), "#/components/schemas/Job");
    assert_null(json_object_get(AT(transfer, "202", "content"), "image/png"));
    AT(transfer, "202", "headers", "Location");
    assert_null(json_object_get(transfer, "201"));
    assert_null(json_object_get(transfer, "default"));
    expect_ref(AT(transfer, "429"), "#/components/responses/Problem429");
    AT(paths, "/v1/generate", "post", "responses", "200", "content", "application/octet-stream");
    json_t *model = AT(paths, "/v1/models/{name}");
    expect_ref(AT(model, "put", "responses", "201", "content", "application/json", "schema"),
               "#/components/schemas/Model");
    AT(model, "put", "responses", "412");
    AT(model, "get", "responses", "304", "headers", "ETag");
    AT(model, "get", "responses", "412"); // If-Match
    assert_null(json_object_get(AT(model, "get", "responses"), "409"));
    assert_null(json_object_get(AT(model, "delete", "responses", "204"), "content"));
    json_t *weights = AT(paths, "/v1/models/{name}/weights", "get", "responses");
    AT(weights, "206", "headers", "Content-Range");
    AT(weights, "416");
    json_t *ready = AT(paths, "/readyz", "get", "responses", "503", "content");
    expect_ref(AT(ready, "application/json", "schema"), "#/components/schemas/Health");
    expect_ref(AT(ready, "application/problem+json", "schema"), "#/components/schemas/Problem");
    json_decref(json);
}

static void an_unknown_operation_is_shown_as_it_says(void **state)
{
    (void)state;
    json_t *json = document(), *operation = AT(json, "paths", "/v1/other", "get");
    json_t *schema = AT(operation, "responses", "200", "content", "application/json", "schema");
    assert_string_equal(text_at(schema, "type"), "object");
    AT(operation, "responses", "404");
    json_decref(json);
}

static void problems_come_from_their_map(void **state)
{
    (void)state;
    json_t *json = document();
    json_t *all = AT(json, "components", "schemas", "Problem", "properties", "code", "enum");
    assert_int_equal(json_array_size(all), API_P_COUNT - 1);
    json_t *full = AT(json, "components", "responses", "Problem429");
    assert_non_null(strstr(text_at(full, "description"), "`queue_full`: Queue is full."));
    AT(full, "headers", "Retry-After");
    json_t *exact = json_array_get(AT(full, "content", "application/problem+json", "schema", "allOf"), 1);
    size_t wanted = 0;
#define TEST_COUNT(symbol, http, code, title) wanted += (http) == 429;
    API_PROBLEM_MAP(TEST_COUNT)
#undef TEST_COUNT
    assert_int_equal(json_array_size(AT(exact, "properties", "code", "enum")), wanted);
    assert_int_equal(json_integer_value(AT(exact, "properties", "status", "const")), 429);
    json_decref(json);
}

/* A server that has no keys answers whoever asks. */
static void keys_are_asked_for_by_scope(void **state)
{
    const struct api_document_options keyed = {.version = "1", .keyed = true};
    (void)state;
    json_t *json = document(), *security = AT(json, "paths", "/v1/transfer", "post", "security");
    assert_int_equal(json_array_size(security), 2);
    assert_int_equal(json_object_size(json_array_get(security, 0)), 0);
    json_decref(json);
    json = document_with(&keyed);
    security = AT(json, "paths", "/v1/models/{name}", "put", "security");
    assert_int_equal(json_array_size(security), 1);
    json_t *scope = json_array_get(AT(json_array_get(security, 0), "bearer"), 0);
    assert_string_equal(json_string_value(scope), "admin");
    AT(json, "paths", "/v1/models/{name}", "put", "responses", "401");
    AT(json, "components", "securitySchemes", "bearer");
    assert_int_equal(json_array_size(AT(json, "paths", "/metrics", "get", "security")), 0);
    assert_null(json_object_get(AT(json, "paths", "/metrics", "get", "responses"), "401"));
    json_decref(json);
}

/* ---- components ---- */

static json_t *resolve(json_t *json, const char *reference)
{
    char part[80];
    assert_int_equal(strncmp(reference, "#/", 2), 0);
    for (reference += 2; json != NULL && *reference != '\0';) {
        const size_t length = strcspn(reference, "/");
        snprintf(part, sizeof part, "%.*s", (int)length, reference);
        json = json_object_get(json, part);
        reference += length + (reference[length] == '/');
    }
    return json;
}

/* Writes down all that is referred to. */
static void check_references(json_t *root, json_t *json, struct efm_buffer *used)
{
    const char *name;
    json_t *value;
    size_t index;
    json_array_foreach(json, index, value) check_references(root, value, used);
    json_object_foreach(json, name, value)
    {
        if (strcmp(name, "$ref") == 0) {
            if (resolve(root, json_string_value(value)) == NULL)
                fail_msg("%s leads nowhere", json_string_value(value));
            efm_buffer_format(used, "%s ", json_string_value(value));
        }
        check_references(root, value, used);
    }
}

static void every_reference_leads_somewhere_and_no_component_is_idle(void **state)
{
    static const char *const places[] = {"schemas", "responses", "headers", "parameters"};
    struct efm_buffer used = efm_buffer_limited(1 << 20);
    (void)state;
    json_t *json = document(), *item;
    const char *name;
    check_references(json, json, &used);
    efm_buffer_append(&used, "", 1);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        json_object_foreach(AT(json, "components", places[i]), name, item)
        {
            char reference[128];
            snprintf(reference, sizeof reference, "#/components/%s/%s ", places[i], name);
            if (strstr((char *)used.data, reference) == NULL)
                fail_msg("nothing refers to %s", reference);
        }
    assert_null(json_object_get(AT(json, "components", "schemas"), "Images")); /* no operation answers it */
    efm_buffer_release(&used);
    json_decref(json);
}

static void quotes_and_commas(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(100);
    api_openapi_text(&out, "{'a':['b','c',],'d':1,}");
    efm_buffer_append(&out, "", 1);
    assert_string_equal((char *)out.data, "{\"a\":[\"b\",\"c\"],\"d\":1}");
    efm_buffer_release(&out);
}

static void no_room_is_told(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(5000);
    assert_int_equal(api_openapi_render(operations, COUNT, &options, &out), EFM_E_LIMIT);
    efm_buffer_release(&out);
}

int main(int argument_count, char **arguments)
{
    if (argument_count > 1) { /* the document itself, for linters: test_openapi FILE */
        struct efm_buffer out = efm_buffer_limited(1 << 20);
        FILE *file = fopen(arguments[1], "wb");
        bool good = file != NULL && api_openapi_render(operations, COUNT, &options, &out) == EFM_OK &&
                    fwrite(out.data, 1, out.size, file) == out.size;
        efm_buffer_release(&out);
        return file != NULL && fclose(file) == 0 && good ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_there_once),
        cmocka_unit_test(parameters_come_from_the_tables),
        cmocka_unit_test(bodies_have_shapes),
        cmocka_unit_test(a_training_is_described_by_its_tables),
        cmocka_unit_test(answers_have_status_shape_and_headers),
        cmocka_unit_test(an_unknown_operation_is_shown_as_it_says),
        cmocka_unit_test(problems_come_from_their_map),
        cmocka_unit_test(keys_are_asked_for_by_scope),
        cmocka_unit_test(every_reference_leads_somewhere_and_no_component_is_idle),
        cmocka_unit_test(quotes_and_commas),
        cmocka_unit_test(no_room_is_told),
    };
    return cmocka_run_group_tests_name("api/openapi", tests, NULL, NULL);
}
