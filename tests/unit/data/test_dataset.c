// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/data/chaos.h"
#include "tests/unit/data/samples.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static void holds_floats(void **state)
{
    (void)state;
    const float values[6] = {0, 1, 2, 3, -4, 5};
    struct efm_shape shape = efm_shape_vector(2);
    struct efm_error error = {0};
    struct efm_dataset *dataset = NULL;
    float out[6] = {0}, low, high;
    assert_int_equal(efm_dataset_from_floats(&dataset, values, 3, &shape, &error), EFM_OK);
    assert_string_equal(efm_dataset_format(dataset), "floats");
    assert_int_equal(efm_dataset_count(dataset), 3);
    assert_true(efm_dataset_bytes(dataset) >= sizeof values);
    efm_dataset_range(dataset, &low, &high);
    assert_true(low == -4 && high == 5);

    assert_int_equal(efm_dataset_floats(dataset, 1, 2, out, &error), EFM_OK);
    assert_memory_equal(out, values + 2, 4 * sizeof(float));
    assert_int_equal(efm_dataset_floats(dataset, 3, 0, out, &error), EFM_OK);
    assert_int_equal(efm_dataset_floats(dataset, 2, 2, out, &error), EFM_E_ARGUMENT);
    assert_int_equal(efm_dataset_floats(dataset, 4, 0, out, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_dataset_floats(dataset, 1, SIZE_MAX, out, NULL), EFM_E_ARGUMENT);

    struct efm_dataset *shared = efm_dataset_ref(dataset);
    efm_dataset_unref(dataset);
    assert_int_equal(efm_dataset_count(shared), 3);
    efm_dataset_unref(shared);
    efm_dataset_unref(NULL);
}

static void refuses_bad_floats(void **state)
{
    (void)state;
    const float values[3] = {0, NAN, 1};
    struct efm_shape shape = efm_shape_vector(1), nothing = {0}, wrong = {1, 1, 1, 3}, two = {1, 1, 2, 2};
    struct efm_error error = {0};
    struct efm_dataset *dataset = NULL;
    assert_int_equal(efm_dataset_from_floats(&dataset, values, 3, &shape, &error), EFM_E_NUMERIC);
    assert_non_null(strstr(error.message, "value 1 "));
    assert_int_equal(efm_dataset_from_floats(&dataset, values, 0, &shape, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_dataset_from_floats(&dataset, values, 1, &nothing, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_dataset_from_floats(&dataset, values, 1, &wrong, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_dataset_from_floats(&dataset, values, 1, &two, NULL), EFM_E_ARGUMENT);
    assert_int_equal(efm_dataset_from_floats(&dataset, values, SIZE_MAX / 2, &shape, NULL), EFM_E_LIMIT);
    assert_null(dataset);
}

static void pixels_are_as_image_floats(void **state)
{
    (void)state;
    uint8_t idx[16 + 256] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 16};
    struct efm_image image = {0};
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    float ours[256], theirs[256];
    assert_int_equal(efm_image_create(&image, 16, 16, 1, &error), EFM_OK);
    for (int i = 0; i < 256; i++)
        image.pixels[i] = idx[16 + i] = (uint8_t)i;
    efm_image_to_floats(&image, theirs);
    assert_int_equal(read_bytes(&dataset, idx, sizeof idx, NULL, &error), EFM_OK);
    assert_int_equal(efm_dataset_floats(dataset, 0, 1, ours, &error), EFM_OK);
    assert_memory_equal(ours, theirs, sizeof ours);
    efm_dataset_unref(dataset);
    efm_image_release(&image);
}

static void names_what_is_no_dataset(void **state)
{
    (void)state;
    struct efm_buffer png = new_buffer();
    append_png(&png, 2, 2, 1, 0);
    assert_refused(png.data, png.size, NULL, EFM_E_FORMAT, "single image");
    efm_buffer_release(&png);
    assert_refused("PK\3\4....", 8, NULL, EFM_E_FORMAT, "zip");
    assert_refused("", 0, NULL, EFM_E_FORMAT, "empty");
    assert_refused("hello", 5, NULL, EFM_E_FORMAT, "none of");

    struct efm_dataset_options options = efm_dataset_options_default();
    options.shape = (struct efm_shape){0, 4, 3, 12};
    assert_refused("{}", 2, &options, EFM_E_ARGUMENT, "no area");
    options.shape = (struct efm_shape){4, 4, 2, 32};
    assert_refused("{}", 2, &options, EFM_E_ARGUMENT, "not 2");
}

static void write_file(const char *folder, const char *name, const void *data, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

static void remove_file(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    remove(path);
}

static void reads_folders(void **state)
{
    (void)state;
    char folder[] = "efmd-test-folder-XXXXXX", path[256];
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_error error = {0};
    struct efm_dataset *dataset = NULL;
    float values[8];
    assert_non_null(mkdtemp(folder));
    assert_int_equal(efm_dataset_read_folder(&dataset, folder, &options, &error), EFM_E_FORMAT);
    efm_error_clear(&error);

    const char *names[] = {"b.png", "a.png", ".hidden"};
    for (uint8_t i = 0; i < 2; i++) {
        struct efm_buffer png = new_buffer();
        append_png(&png, 2, 2, 1, (uint8_t)(100 - i));
        write_file(folder, names[i], png.data, png.size);
        efm_buffer_release(&png);
    }
    write_file(folder, names[2], "x", 1);
    snprintf(path, sizeof path, "%s/subfolder", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(efm_dataset_read_folder(&dataset, folder, &options, &error), EFM_OK);
    assert_string_equal(efm_dataset_format(dataset), "folder");
    assert_int_equal(efm_dataset_count(dataset), 2);
    assert_int_equal(efm_dataset_floats(dataset, 0, 2, values, &error), EFM_OK);
    assert_true(values[0] == 99 / 127.5f - 1 && values[4] == 100 / 127.5f - 1);
    efm_dataset_unref(dataset);

    /* every allocation on the way failing once */
    enum efm_status status = EFM_E_MEMORY;
    size_t failures = 0;
    for (; status != EFM_OK && failures < 1000; failures++) {
        dataset = NULL;
        chaos_arm(failures);
        status = efm_dataset_read_folder(&dataset, folder, &options, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || (status == EFM_E_MEMORY && dataset == NULL));
    }
    assert_in_range(failures, 5, 999);
    efm_dataset_unref(dataset);

    options.max_count = 1;
    assert_int_equal(efm_dataset_read_folder(&dataset, folder, &options, &error), EFM_E_LIMIT);
    options.max_count = 100;
    efm_error_clear(&error);
    write_file(folder, "notes.txt", "x", 1);
    assert_int_equal(efm_dataset_read_folder(&dataset, folder, &options, &error), EFM_E_FORMAT);
    assert_non_null(strstr(error.message, "notes.txt"));
    efm_error_clear(&error);

    rmdir(path);
    for (size_t i = 0; i < 3; i++)
        remove_file(folder, names[i]);
    remove_file(folder, "notes.txt");
    rmdir(folder);
    assert_int_equal(efm_dataset_read_folder(&dataset, folder, &options, &error), EFM_E_IO);
    assert_non_null(strstr(error.message, folder));
}

/* Reads with each allocation failing once, until none does. */
static void survive(const struct efm_buffer *file, const struct efm_dataset_options *options)
{
    enum efm_status status = EFM_E_MEMORY;
    size_t failures = 0;
    struct efm_dataset *dataset = NULL;
    for (; status != EFM_OK && failures < 2000; failures++) {
        struct efm_error error = {0};
        dataset = NULL;
        chaos_arm(failures);
        status = efm_dataset_read(&dataset, file->data, file->size, options, &error);
        chaos_disarm();
        if (status != EFM_OK && (status != EFM_E_MEMORY || error.status != status || dataset != NULL))
            fail_msg("failure %zu: %s: %s", failures, efm_status_name(status), error.message);
    }
    assert_int_equal(status, EFM_OK);
    assert_true(failures > 2);
    efm_dataset_unref(dataset);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_buffer tar = new_buffer(), zipped = new_buffer(), json = new_buffer(), idx = new_buffer();
    for (int i = 0; i < 70; i++) { /* enough to grow the list of names */
        char name[16];
        snprintf(name, sizeof name, "%d.png", i);
        append_tar_image(&tar, name, 2, 2, 1, (uint8_t)i);
    }
    append_tar_end(&tar);
    append_gzip(&zipped, tar.data, tar.size);
    survive(&tar, &options);
    survive(&zipped, &options);
    efm_buffer_append_string(&json, "{\"toy\": \"mixture\", \"centers\": [[1, 2]], \"count\": 3}");
    survive(&json, &options);
    efm_buffer_append(&idx, "\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\1ab", 18);
    survive(&idx, &options);
    options.shape = efm_shape_image(4, 4, 3);
    survive(&tar, &options);
    survive(&idx, &options);
    efm_buffer_release(&idx);
    efm_buffer_release(&json);
    efm_buffer_release(&zipped);
    efm_buffer_release(&tar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_floats),
        cmocka_unit_test(refuses_bad_floats),
        cmocka_unit_test(pixels_are_as_image_floats),
        cmocka_unit_test(names_what_is_no_dataset),
        cmocka_unit_test(reads_folders),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
