// SPDX-License-Identifier: Apache-2.0
/* Bytes as JSON: what is taken is not deep and not large and says the same when it is written and read again; its members as the
 * parameters of a transfer lie within the limits of the table, from JSON as from a query; its texts as base64. And
 * the bytes as a text, which is written as a string of JSON whatever it holds. */
#include "api/json.h"
#include "api/transfer.h"
#include "core/base/memory.h"
#include "tests/fuzz/api_target.h"

#include <math.h>

enum { DEPTH = 32 };

static void fail_unless(bool good)
{
    if (!good)
        abort();
}

static void check_depth(json_t *value, size_t left)
{
    size_t index;
    const char *key;
    json_t *item;
    fail_unless(left > 0);
    if (json_is_array(value))
        json_array_foreach(value, index, item) check_depth(item, left - 1);
    if (json_is_object(value))
        json_object_foreach(value, key, item) check_depth(item, left - 1);
}

static void check_again(json_t *root)
{
    struct api_problem problem = {0};
    char *text = json_dumps(root, JSON_ENCODE_ANY | JSON_COMPACT);
    fail_unless(text != NULL);
    json_t *again = api_json_parse((const uint8_t *)text, strlen(text), &problem);
    fail_unless(again != NULL && json_equal(root, again));
    json_decref(again);
    free(text);
}

static void check_transfer(const struct api_transfer *request)
{
    const struct api_parameter_table *table = &api_transfer_table;
    if (api_parameter_given(table, &request->seen, "steps"))
        fail_unless(request->steps >= 1 && request->steps <= 1000);
    if (api_parameter_given(table, &request->seen, "tolerance"))
        fail_unless(isfinite(request->tolerance) && request->tolerance > 0);
    fail_unless(request->seed <= UINT64_C(9007199254740991) && request->n >= 1 && request->n <= 4096);
    fail_unless(request->quality >= 1 && request->quality <= 100);
    fail_unless(request->model[0] == '\0' || api_name_valid(request->model));
}

/* Every member by itself; what the table takes as text it takes from a query too. */
static void check_members(json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        struct api_transfer request = {0}, from_text = {0};
        struct api_problem problem = {0}, other = {0};
        api_parameters_defaults(&api_transfer_table, &request);
        bool good =
            api_parameter_set_json(&api_transfer_table, &request, &request.seen, key, value, &problem);
        check_verdict(good, &problem);
        if (good)
            check_transfer(&request);
        if (good && json_is_string(value))
            fail_unless(api_parameter_set(&api_transfer_table, &from_text, &from_text.seen, key,
                                          json_string_value(value), &other));
    }
}

static void check_base64(const char *text, size_t length)
{
    struct api_problem problem = {0};
    uint8_t *bytes = NULL, *again = NULL;
    size_t size, more;
    bool good = api_base64_decode(text, length, &bytes, &size, &problem, "/image");
    check_verdict(good, &problem);
    if (good) {
        struct efm_buffer out = efm_buffer_limited(length + 64);
        api_base64_encode(&out, bytes, size);
        fail_unless(out.status == EFM_OK);
        fail_unless(size == 0 ||
                    api_base64_decode((const char *)out.data, out.size, &again, &more, &problem, ""));
        fail_unless(size == 0 || (more == size && memcmp(bytes, again, size) == 0));
        efm_free(again);
        efm_buffer_release(&out);
    }
    efm_free(bytes);
}

static void check_text(const uint8_t *data, size_t size)
{
    struct efm_buffer out = efm_buffer_limited(8 * size + 64);
    char *text = malloc(size + 1);
    fail_unless(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    api_json_string(&out, text);
    fail_unless(out.status == EFM_OK);
    json_t *read =
        json_loadb((const char *)out.data, out.size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    fail_unless(json_is_string(read));
    json_decref(read);
    free(text);
    efm_buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_problem problem = {0};
    json_t *root = api_json_parse(data, size, &problem);
    check_verdict(root != NULL, &problem);
    check_text(data, size);
    check_base64((const char *)data, size);
    if (root == NULL)
        return 0;
    check_depth(root, DEPTH + 1);
    check_again(root);
    if (json_is_object(root)) {
        fail_unless(api_json_is_object(data, size));
        check_members(root);
    }
    json_decref(root);
    return 0;
}
