// SPDX-License-Identifier: Apache-2.0
#include "core/model/safetensors.h"
#include "tests/unit/data/chaos.h"
#include "tests/unit/model/containers.h"

#include <math.h>
#include <stdio.h>

static const uint8_t zeros[64];

/* Opens an exact copy; on success only what opening says is looked at. */
static enum efm_status open_copy(const void *bytes, size_t size, struct efm_error *error)
{
    void *block;
    struct efm_safetensors *file = NULL;
    uint8_t *copy = exact_copy(bytes, size, 0, &block);
    efm_error_clear(error);
    enum efm_status status = efm_safetensors_open(&file, copy, size, error);
    assert_true((status == EFM_OK) == (file != NULL));
    assert_int_equal(error->status, status);
    efm_safetensors_close(file);
    free(block);
    return status;
}

static void assert_header(const char *header, size_t data_size, enum efm_status wanted, const char *words)
{
    struct efm_error error = {0};
    struct efm_buffer file = make_container(header, zeros, data_size);
    enum efm_status status = open_copy(file.data, file.size, &error);
    if (status != wanted || strstr(error.message, words) == NULL)
        fail_msg("%s\ngot %s: %s; expected %s: ...%s...", header, efm_status_name(status), error.message,
                 efm_status_name(wanted), words);
    efm_buffer_release(&file);
}

static void reads_unaligned_tensors(void **state)
{
    (void)state;
    const char header[] = "{\"second\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[1,9]},"
                          "\"__metadata__\":{\"format\":\"pt\",\"key\":\"v\\u00e4lue\"},"
                          "\"empty\":{\"shape\":[3,0],\"dtype\":\"F64\",\"data_offsets\":[9,9]},"
                          "\"scalar\":{\"dtype\":\"F64\",\"data_offsets\":[9,17],\"shape\":[]},"
                          "\"first\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}   ";
    uint8_t data[17] = {7};
    const float values[2] = {1.5f, -2};
    const double pi = 3.25;
    memcpy(data + 1, values, 8);
    memcpy(data + 9, &pi, 8);
    struct efm_buffer bytes = make_container(header, data, sizeof data);
    for (size_t shift = 0; shift < 4; shift++) {
        void *block;
        struct efm_safetensors *file;
        struct efm_error error = {0};
        float floats[2];
        double number;
        uint8_t *copy = exact_copy(bytes.data, bytes.size, shift, &block);
        assert_int_equal(efm_safetensors_open(&file, copy, bytes.size, &error), EFM_OK);
        assert_int_equal(efm_safetensors_count(file), 4);
        assert_string_equal(efm_safetensors_at(file, 0)->name, "first");
        assert_string_equal(efm_safetensors_at(file, 1)->name, "second");
        assert_string_equal(efm_safetensors_at(file, 2)->name, "empty");
        assert_null(efm_safetensors_at(file, 4));
        assert_string_equal(efm_safetensors_metadata(file, "key"), "v\xc3\xa4lue");
        assert_null(efm_safetensors_metadata(file, "none"));

        const struct efm_tensor_entry *entry = efm_safetensors_find(file, "second");
        assert_true(entry->rank == 2 && entry->shape[0] == 2 && entry->shape[1] == 1 && entry->count == 2);
        assert_int_equal(efm_safetensors_floats(entry, floats, &error), EFM_OK);
        assert_memory_equal(floats, values, 8);
        entry = efm_safetensors_find(file, "scalar");
        assert_true(entry->rank == 0 && entry->count == 1 && entry->size == 8);
        assert_int_equal(efm_safetensors_doubles(entry, &number, &error), EFM_OK);
        assert_true(number == pi);
        entry = efm_safetensors_find(file, "empty");
        assert_true(entry->count == 0 && entry->size == 0);
        assert_int_equal(efm_safetensors_floats(entry, floats, &error), EFM_OK);
        entry = efm_safetensors_find(file, "first");
        assert_int_equal(efm_safetensors_floats(entry, floats, &error), EFM_E_UNSUPPORTED);
        assert_int_equal(efm_safetensors_doubles(entry, &number, NULL), EFM_E_UNSUPPORTED);
        assert_null(efm_safetensors_find(file, "third"));
        efm_safetensors_close(file);
        free(block);
    }
    efm_buffer_release(&bytes);
    efm_safetensors_close(NULL);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    struct efm_buffer bytes = make_container(header, zeros, 8);
    struct efm_error error = {0};
    assert_int_equal(open_copy(bytes.data, bytes.size, &error), EFM_OK);
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_equal(open_copy(bytes.data, size, &error), EFM_E_FORMAT);
    efm_buffer_append(&bytes, "", 1);
    assert_int_equal(open_copy(bytes.data, bytes.size, &error), EFM_E_FORMAT);
    assert_non_null(strstr(error.message, "1 bytes at the end"));
    /* a length that is right for the file but cuts or overruns the JSON */
    bytes.size--;
    for (int length = 0; length < (int)sizeof header + 7; length++) {
        bytes.data[0] = (uint8_t)length;
        if (length != (int)sizeof header - 1)
            assert_int_equal(open_copy(bytes.data, bytes.size, &error), EFM_E_FORMAT);
    }
    efm_buffer_release(&bytes);
}

static void refuses_false_places(void **state)
{
    (void)state;
    assert_header("{}", 0, EFM_OK, "");
    assert_header("{}", 1, EFM_E_FORMAT, "1 bytes at the end");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                  "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
                  12, EFM_E_FORMAT, "'b' overlaps");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                  "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
                  8, EFM_E_FORMAT, "'b' overlaps");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                  "\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}",
                  8, EFM_E_FORMAT, "'b' overlaps");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                  "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}",
                  16, EFM_E_FORMAT, "before tensor 'b' belong to none");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, EFM_E_FORMAT,
                  "before tensor 'a'");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, EFM_E_FORMAT,
                  "4 bytes at the end");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 8, EFM_E_FORMAT,
                  "outside");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, EFM_E_FORMAT,
                  "outside");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, EFM_E_FORMAT,
                  "data_offsets");
    assert_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, EFM_E_FORMAT,
                  "8 bytes where its shape needs 12");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
                  EFM_E_FORMAT, "impossible");
    assert_header("{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0,
                  EFM_E_FORMAT, "impossible");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,0]}}", 0, EFM_E_FORMAT,
                  "impossible");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1, EFM_E_FORMAT,
                  "impossible");
}

static void refuses_false_headers(void **state)
{
    (void)state;
    const char *entry = "{\"a\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    const char *others[] = {"I32", "BOOL", "F8_E4M3", "", "f32"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char header[128], words[32];
        snprintf(words, sizeof words, "'%s'", others[i]);
        snprintf(header, sizeof header, entry, others[i]);
        assert_header(header, 4, EFM_E_UNSUPPORTED, words);
    }
    assert_header("[]", 0, EFM_E_FORMAT, "not a JSON object");
    assert_header("", 0, EFM_E_FORMAT, "not a JSON object");
    assert_header(" {}", 0, EFM_E_FORMAT, "not a JSON object");
    assert_header("{}x", 0, EFM_E_FORMAT, "damaged");
    assert_header("{}{}", 0, EFM_E_FORMAT, "damaged");
    assert_header("{\"a\"", 0, EFM_E_FORMAT, "damaged");
    assert_header("{\"a\":1e999}", 0, EFM_E_FORMAT, "damaged");
    assert_header("{\"\xff\":1}", 0, EFM_E_FORMAT, "damaged");
    assert_header("{\"a\\u0000b\":1}", 0, EFM_E_FORMAT, "damaged");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                  "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                  0, EFM_E_FORMAT, "damaged");
    assert_header("{\"a\":3}", 0, EFM_E_FORMAT, "'a' is not {");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, EFM_E_FORMAT, "'a' is not {");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"offsets\":[0,0]}}", 0, EFM_E_FORMAT,
                  "no data_offsets");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0]}}", 0, EFM_E_FORMAT,
                  "no data_offsets");
    assert_header("{\"a\":{\"dtype\":1,\"shape\":[0],\"data_offsets\":[0,0]}}", 0, EFM_E_FORMAT, "no dtype");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":0,\"data_offsets\":[0,0]}}", 0, EFM_E_FORMAT,
                  "no shape");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"more\":1}}", 0,
                  EFM_E_FORMAT, "'a' is not {");
    assert_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,0],\"data_offsets\":[0,0]}}", 0,
                  EFM_E_LIMIT, "9 dimensions");
    assert_header("{\"__metadata__\":{\"a\":1}}", 0, EFM_E_FORMAT, "\"a\" is not a string");
    assert_header("{\"__metadata__\":[]}", 0, EFM_E_FORMAT, "not an object");
    assert_header("{\"__metadata__\":null}", 0, EFM_E_FORMAT, "not an object");
    assert_header("{\"a\":[[[1]]]}", 0, EFM_E_LIMIT, "nested");
}

static void refuses_huge_headers(void **state)
{
    (void)state;
    struct efm_error error = {0};
    const size_t size = ((size_t)EFM_SAFETENSORS_MAX_HEADER) + 64;
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    memset(bytes, ' ', size);
    memcpy(bytes, "\1\0\0\1\0\0\0\0{}", 10); /* one byte past the limit */
    assert_int_equal(open_copy(bytes, size, &error), EFM_E_LIMIT);
    memcpy(bytes, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    assert_int_equal(open_copy(bytes, size, &error), EFM_E_FORMAT);
    memcpy(bytes, "\0\0\0\1\0\0\0\0{\"a\":[", 14); /* as large as may be, and nothing but brackets */
    for (size_t i = 14; i + 3 < size; i += 3)
        memcpy(bytes + i, "[],", 3);
    assert_int_equal(open_copy(bytes, size, &error), EFM_E_LIMIT);
    assert_non_null(strstr(error.message, "too long"));
    for (size_t i = 14; i + 2 < size; i += 2)
        memcpy(bytes + i, "1,", 2);
    assert_int_equal(open_copy(bytes, size, &error), EFM_E_LIMIT);
    free(bytes);
}

static void finds_among_many(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct efm_tensor_entry *entries = calloc(COUNT, sizeof *entries);
    char(*names)[16] = calloc(COUNT, sizeof *names);
    struct efm_buffer out = efm_buffer_limited(1 << 24);
    struct efm_safetensors *file;
    struct efm_error error = {0};
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "%zu.weight", i * 7919 % COUNT);
        entries[i] = (struct efm_tensor_entry){
            .name = names[i], .type = EFM_TENSOR_U8, .rank = 1, .shape = {1}, .data = &zeros[0], .size = 1};
    }
    assert_int_equal(efm_safetensors_write(&out, entries, COUNT, NULL, 0, &error), EFM_OK);
    assert_int_equal(efm_safetensors_open(&file, out.data, out.size, &error), EFM_OK);
    assert_int_equal(efm_safetensors_count(file), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_string_equal(efm_safetensors_find(file, names[i])->name, names[i]);
        assert_string_equal(efm_safetensors_at(file, i)->name, names[i]);
    }
    assert_null(efm_safetensors_find(file, "1000.weight"));
    efm_safetensors_close(file);
    efm_buffer_release(&out);
    free(names);
    free(entries);
}

static void converts_floats(void **state)
{
    (void)state;
    const uint16_t halves[] = {0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff,
                               0x0001, 0x83ff, 0x0400, 0x7c00, 0xfc00};
    const double half_values[] = {0,       -0.0,     1,        -2, 65504, 0x1p-24, -1023 * 0x1p-24,
                                  0x1p-14, INFINITY, -INFINITY};
    const uint16_t brains[] = {0x3f80, 0xc040, 0x0001, 0x7f80, 0x8000, 0x7f7f, 0, 0, 0, 0};
    const double brain_values[] = {1, -3, 0x1p-133, INFINITY, -0.0, 0x1.fep127, 0, 0, 0, 0};
    struct efm_tensor_entry entry = {.name = "t", .type = EFM_TENSOR_F16, .count = 10, .size = 20};
    float floats[10];
    double doubles[10];
    for (int turn = 0; turn < 2; turn++) {
        const double *wanted = turn == 0 ? half_values : brain_values;
        entry.type = turn == 0 ? EFM_TENSOR_F16 : EFM_TENSOR_BF16;
        entry.data = (const uint8_t *)(turn == 0 ? halves : brains);
        assert_int_equal(efm_safetensors_floats(&entry, floats, NULL), EFM_OK);
        assert_int_equal(efm_safetensors_doubles(&entry, doubles, NULL), EFM_OK);
        for (int i = 0; i < 10; i++) {
            assert_true(floats[i] == (float)wanted[i] && doubles[i] == wanted[i]);
            assert_int_equal(!!signbit(floats[i]), !!signbit(wanted[i]));
        }
    }
    const uint16_t nans[10] = {0x7e00, 0xfc01};
    entry.type = EFM_TENSOR_F16;
    entry.data = (const uint8_t *)nans;
    assert_int_equal(efm_safetensors_floats(&entry, floats, NULL), EFM_OK);
    assert_true(isnan(floats[0]) && isnan(floats[1]));
    const double wide[10] = {0.1, 1e300};
    entry.type = EFM_TENSOR_F64;
    entry.data = (const uint8_t *)wide;
    assert_int_equal(efm_safetensors_floats(&entry, floats, NULL), EFM_OK);
    assert_true(floats[0] == 0.1f && isinf(floats[1]));
    assert_string_equal(efm_tensor_type_name(EFM_TENSOR_BF16), "BF16");
    assert_int_equal(efm_tensor_type_size(EFM_TENSOR_I64), 8);
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    const float values[6] = {1, 2, 3, 4, 5, 6};
    const struct efm_tensor_entry tensors[] = {
        {"w \"quoted\" \\ \n", EFM_TENSOR_F32, 2, {2, 3}, 6, (const uint8_t *)values, 24},
        {"empty", EFM_TENSOR_BF16, 1, {0}, 0, NULL, 0},
        {"\xe2\x82\xac", EFM_TENSOR_I64, 0, {0}, 1, zeros, 8},
    };
    const struct efm_metadata_entry metadata[] = {{"b", "2"}, {"a", "\t\"x\""}, {"", ""}};
    static const uint8_t block[100000];
    struct efm_buffer out = efm_buffer_limited(4096), again = efm_buffer_limited(4096);
    struct efm_safetensors *file;
    struct efm_error error = {0};
    assert_int_equal(efm_safetensors_write(&out, tensors, 3, metadata, 3, &error), EFM_OK);
    assert_int_equal(efm_safetensors_write(&again, tensors, 3, metadata, 3, &error), EFM_OK);
    assert_true(out.size == again.size && memcmp(out.data, again.data, out.size) == 0);
    assert_int_equal(out.data[0] % 8, 0); /* so the data is aligned */

    assert_int_equal(efm_safetensors_open(&file, out.data, out.size, &error), EFM_OK);
    assert_int_equal(efm_safetensors_count(file), 3);
    for (size_t i = 0; i < 3; i++) {
        const struct efm_tensor_entry *entry = efm_safetensors_find(file, tensors[i].name);
        assert_non_null(entry);
        assert_int_equal(entry->type, tensors[i].type);
        assert_int_equal(entry->rank, tensors[i].rank);
        assert_memory_equal(entry->shape, tensors[i].shape, tensors[i].rank * sizeof(uint64_t));
        assert_int_equal(entry->size, tensors[i].size);
        if (entry->size > 0)
            assert_memory_equal(entry->data, tensors[i].data, entry->size);
        assert_string_equal(efm_safetensors_metadata(file, metadata[i].key), metadata[i].value);
    }
    efm_safetensors_close(file);
    efm_buffer_release(&again);

    /* the room of what is large is taken once, and fits */
    const struct efm_tensor_entry large = {"large",      EFM_TENSOR_U8, 1,           {sizeof block},
                                           sizeof block, block,         sizeof block};
    again = efm_buffer_limited(SIZE_MAX);
    assert_int_equal(efm_safetensors_write(&again, &large, 1, NULL, 0, &error), EFM_OK);
    assert_int_equal(again.capacity, again.size);
    efm_buffer_release(&again);

    for (size_t limit = 0; limit < out.size; limit += 13) {
        again = efm_buffer_limited(limit);
        assert_int_equal(efm_safetensors_write(&again, tensors, 3, metadata, 3, &error), EFM_E_LIMIT);
        efm_buffer_release(&again);
    }
    efm_buffer_release(&out);
}

static void refuses_to_write_nonsense(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(4096);
    struct efm_tensor_entry entry = {"t", EFM_TENSOR_F32, 1, {2}, 2, zeros, 4};
    assert_int_equal(efm_safetensors_write(&out, &entry, 1, NULL, 0, NULL), EFM_E_ARGUMENT);
    entry.shape[0] = (uint64_t)1 << 62;
    assert_int_equal(efm_safetensors_write(&out, &entry, 1, NULL, 0, NULL), EFM_E_ARGUMENT);
    entry.shape[0] = 1;
    const char *bad[] = {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\x80", "\xe2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        entry.name = bad[i];
        assert_int_equal(efm_safetensors_write(&out, &entry, 1, NULL, 0, NULL), EFM_E_ARGUMENT);
        struct efm_metadata_entry metadata = {"key", bad[i]};
        entry.name = "t";
        assert_int_equal(efm_safetensors_write(&out, &entry, 1, &metadata, 1, NULL), EFM_E_ARGUMENT);
    }
    assert_int_equal(out.size, 0);
    efm_buffer_release(&out);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    struct efm_buffer bytes = make_container(header, zeros, 8);
    enum efm_status status = EFM_E_MEMORY;
    struct efm_safetensors *file = NULL;
    for (size_t n = 0; status != EFM_OK && n < 100; n++) {
        struct efm_error error = {0};
        chaos_arm(n);
        status = efm_safetensors_open(&file, bytes.data, bytes.size, &error);
        chaos_disarm();
        assert_true(status == EFM_OK || (status == EFM_E_MEMORY && file == NULL && error.status == status));
        assert_true(n > 0 || status != EFM_OK);
    }
    status = EFM_E_MEMORY;
    for (size_t n = 0; status != EFM_OK && n < 100; n++) {
        struct efm_buffer out = efm_buffer_limited(4096);
        chaos_arm(n);
        status = efm_safetensors_write(&out, efm_safetensors_at(file, 0), 1, NULL, 0, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || status == EFM_E_MEMORY);
        efm_buffer_release(&out);
    }
    efm_safetensors_close(file);
    efm_buffer_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_unaligned_tensors),   cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_false_places),      cmocka_unit_test(refuses_false_headers),
        cmocka_unit_test(refuses_huge_headers),      cmocka_unit_test(finds_among_many),
        cmocka_unit_test(converts_floats),           cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(refuses_to_write_nonsense), cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
