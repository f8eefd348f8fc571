// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/data/samples.h"

/* The first float of each sample tells which picture it came from. */
static void assert_samples(const struct efm_buffer *tar, const uint8_t *values, size_t count)
{
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    enum efm_status status = read_bytes(&dataset, tar->data, tar->size, NULL, &error);
    if (status != EFM_OK)
        fail_msg("%s: %s", efm_status_name(status), error.message);
    assert_string_equal(efm_dataset_format(dataset), "tar");
    assert_int_equal(efm_dataset_count(dataset), count);
    size_t dimension = efm_dataset_shape(dataset)->dimension;
    float *floats = calloc(dimension, sizeof *floats);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(efm_dataset_floats(dataset, i, 1, floats, &error), EFM_OK);
        assert_true(floats[0] == (float)values[i] / 127.5f - 1);
    }
    free(floats);
    efm_dataset_unref(dataset);
}

static void assert_tar_refused(struct efm_buffer *tar, enum efm_status status, const char *words)
{
    append_tar_end(tar);
    assert_refused(tar->data, tar->size, NULL, status, words);
    efm_buffer_release(tar);
}

static void reads_sorted_by_name(void **state)
{
    (void)state;
    struct efm_buffer tar = new_buffer();
    append_tar_entry(&tar, "pictures/", '5', "", 0);
    append_tar_image(&tar, "pictures/b.png", 3, 2, 3, 20);
    append_tar_image(&tar, "./pictures/a.png", 3, 2, 3, 10);
    append_tar_image(&tar, "pictures/c.png", 3, 2, 3, 30);
    append_tar_entry(&tar, "link.png", '2', "", 0);
    append_tar_entry(&tar, "pictures/.hidden", '0', "x", 1);
    append_tar_entry(&tar, "pictures/._a.png", '0', "not an image", 12);
    append_tar_end(&tar);
    assert_samples(&tar, (const uint8_t[]){10, 20, 30}, 3);

    struct efm_buffer zipped = new_buffer();
    append_gzip(&zipped, tar.data, tar.size);
    assert_samples(&zipped, (const uint8_t[]){10, 20, 30}, 3);
    efm_buffer_release(&zipped);
    efm_buffer_release(&tar);
}

static void reads_old_tars(void **state)
{
    (void)state;
    struct efm_buffer tar = new_buffer(), png = new_buffer();
    append_png(&png, 2, 2, 1, 77);
    append_tar_header(&tar, "folder/", '\0', 0, "");
    append_tar_header(&tar, "folder/x.png", '\0', png.size, "");
    append_tar_data(&tar, png.data, png.size);
    append_tar_end(&tar);
    assert_samples(&tar, (const uint8_t[]){77}, 1);
    efm_buffer_release(&png);
    efm_buffer_release(&tar);
}

static void reads_long_names(void **state)
{
    (void)state;
    struct efm_buffer tar = new_buffer(), record = new_buffer();
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    append_tar_entry(&tar, "././@LongLink", 'L', name, sizeof name);
    append_tar_image(&tar, "cut", 2, 2, 1, 1);
    /* sorts before it, and would be its double if the long name were lost */
    efm_buffer_format(&record, "30 mtime=1700000000.123456789\n20 path=a/first.png\n");
    append_tar_entry(&tar, "PaxHeaders/cut", 'x', record.data, record.size);
    append_tar_image(&tar, "cut", 2, 2, 1, 2);
    append_tar_entry(&tar, "global", 'g', "13 comment=x\n", 13);
    append_tar_image(&tar, "cut", 2, 2, 1, 3);
    append_tar_end(&tar);
    assert_samples(&tar, (const uint8_t[]){2, 3, 1}, 3);
    efm_buffer_release(&record);
    efm_buffer_release(&tar);
}

static void uses_pax_sizes_and_prefixes(void **state)
{
    (void)state;
    struct efm_buffer tar = new_buffer(), png = new_buffer(), record = new_buffer();
    append_png(&png, 2, 2, 1, 5);
    efm_buffer_format(&record, "%d size=%zu\n", png.size < 100 ? 11 : 12, png.size);
    append_tar_entry(&tar, "x", 'x', record.data, record.size);
    append_tar_header(&tar, "b", '0', 0, "ustar");
    append_tar_data(&tar, png.data, png.size);
    append_tar_header(&tar, "b", '0', png.size, "ustar");
    append_tar_data(&tar, png.data, png.size);
    append_tar_end(&tar);
    assert_refused(tar.data, tar.size, NULL, EFM_E_FORMAT, "two files of the name b");

    /* the prefix makes the second b another file */
    size_t at = 512 + 512 + 512 + (png.size + 511) / 512 * 512;
    memcpy(tar.data + at + 345, "dir", 3);
    unsigned sum = 0;
    memset(tar.data + at + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += tar.data[at + i];
    snprintf((char *)tar.data + at + 148, 8, "%06o", sum);
    assert_samples(&tar, (const uint8_t[]){5, 5}, 2);
    efm_buffer_release(&record);
    efm_buffer_release(&png);
    efm_buffer_release(&tar);
}

static void refuses_names_that_lead_out(void **state)
{
    (void)state;
    const struct {
        const char *name, *words;
    } cases[] = {
        {"../x.png", "../x.png leads out"},
        {"a/../../x.png", "a/../../x.png leads out"},
        {"a/..", "a/.. leads out"},
        {"..", ".. leads out"},
        {"/etc/passwd", "/etc/passwd has an"},
        {"", "no name"},
    };
    const char types[] = {'0', '5', '2', '1'};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t j = 0; j < sizeof types; j++) {
            struct efm_buffer tar = new_buffer();
            append_tar_image(&tar, "good.png", 2, 2, 1, 0);
            append_tar_entry(&tar, cases[i].name, types[j], "", 0);
            assert_tar_refused(&tar, EFM_E_FORMAT, cases[i].words);
        }
    }
    struct efm_buffer tar = new_buffer();
    append_tar_entry(&tar, "L", 'L', "x/../../y", 10);
    append_tar_image(&tar, "good.png", 2, 2, 1, 0);
    assert_tar_refused(&tar, EFM_E_FORMAT, "x/../../y leads out");
    tar = new_buffer();
    append_tar_entry(&tar, "x", 'x', "13 path=/tmp\n", 13);
    append_tar_image(&tar, "good.png", 2, 2, 1, 0);
    assert_tar_refused(&tar, EFM_E_FORMAT, "/tmp has an absolute");

    /* two dots elsewhere are part of a name */
    tar = new_buffer();
    append_tar_image(&tar, "a..b/c...png", 2, 2, 1, 9);
    append_tar_end(&tar);
    assert_samples(&tar, (const uint8_t[]){9}, 1);
    efm_buffer_release(&tar);
}

static void refuses_damage(void **state)
{
    (void)state;
    struct efm_buffer tar = new_buffer();
    append_tar_image(&tar, "a.png", 2, 2, 1, 0);
    size_t second = tar.size;
    append_tar_image(&tar, "b.png", 2, 2, 1, 0);
    size_t end = tar.size;
    append_tar_end(&tar);
    assert_truncations_refused(tar.data, end + 511);

    tar.data[second]++;
    assert_refused(tar.data, tar.size, NULL, EFM_E_FORMAT, "wrong checksum");
    tar.data[second]--;
    tar.data[second + 512 + 45] ^= 0xff;
    assert_refused(tar.data, tar.size, NULL, EFM_E_FORMAT, "b.png: ");
    efm_buffer_release(&tar);

    tar = new_buffer();
    append_tar_header(&tar, "a.png", '0', (size_t)1 << 32, "ustar");
    assert_tar_refused(&tar, EFM_E_FORMAT, "truncated");
    tar = new_buffer();
    append_tar_entry(&tar, "L", 'L', "name", 5); /* announces nothing */
    assert_tar_refused(&tar, EFM_E_FORMAT, "truncated");
    tar = new_buffer();
    assert_tar_refused(&tar, EFM_E_FORMAT, "no images");
    tar = new_buffer();
    append_tar_entry(&tar, "S", 'S', "", 0);
    assert_tar_refused(&tar, EFM_E_UNSUPPORTED, "sparse");
}

static void refuses_bad_extensions(void **state)
{
    (void)state;
    const char *records[] = {"",           "x",           "5 a=b",     "99 path=a\n",
                             "0 path=a\n", "9 path=a",    "8 patha\n", "11 size=1x\n",
                             "999999999 ", "-3 path=a\n", "4 =\n11"};
    for (size_t i = 1; i < sizeof records / sizeof records[0]; i++) {
        struct efm_buffer tar = new_buffer();
        append_tar_entry(&tar, "x", 'x', records[i], strlen(records[i]));
        append_tar_image(&tar, "a.png", 2, 2, 1, 0);
        assert_tar_refused(&tar, EFM_E_FORMAT, "damaged");
    }
    struct efm_buffer tar = new_buffer();
    append_tar_entry(&tar, "x", 'x', "12 path=a\0b\n", 12);
    assert_tar_refused(&tar, EFM_E_FORMAT, "zero byte");
    char *large = calloc(1, 70000);
    memset(large, 'a', 69999);
    tar = new_buffer();
    append_tar_entry(&tar, "x", 'x', large, 70000);
    assert_tar_refused(&tar, EFM_E_LIMIT, "65536");
    tar = new_buffer();
    append_tar_entry(&tar, "L", 'L', large, 5000);
    assert_tar_refused(&tar, EFM_E_LIMIT, "4096");
    free(large);
}

static void refuses_other_files_and_shapes(void **state)
{
    (void)state;
    struct efm_buffer tar = new_buffer();
    append_tar_image(&tar, "a.png", 2, 2, 1, 0);
    append_tar_entry(&tar, "notes\n.txt", '0', "hello", 5);
    assert_tar_refused(&tar, EFM_E_FORMAT, "notes?.txt: not a PNG, JPEG or WebP image");
    tar = new_buffer();
    append_tar_image(&tar, "a.png", 2, 2, 1, 0);
    append_tar_image(&tar, "b.png", 2, 3, 1, 0);
    assert_tar_refused(&tar, EFM_E_SHAPE, "image 1 is 3x2x1 and the first one 2x2x1");
}

static void brings_images_to_the_wanted_shape(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    struct efm_buffer tar = new_buffer();
    append_tar_image(&tar, "a.png", 7, 5, 1, 100);
    append_tar_image(&tar, "b.png", 4, 8, 3, 200);
    append_tar_end(&tar);
    options.shape = efm_shape_image(4, 4, 3);
    assert_int_equal(read_bytes(&dataset, tar.data, tar.size, &options, &error), EFM_OK);
    assert_true(efm_shape_equal(efm_dataset_shape(dataset), &options.shape));
    assert_int_equal(efm_dataset_count(dataset), 2);
    efm_dataset_unref(dataset);

    options.max_decoded_bytes = 2 * 48 - 1;
    assert_refused(tar.data, tar.size, &options, EFM_E_LIMIT, "95 bytes");
    options.max_count = 1;
    assert_refused(tar.data, tar.size, &options, EFM_E_LIMIT, "more than 1 images");
    options = efm_dataset_options_default();
    options.image_limits.max_side = 6;
    assert_refused(tar.data, tar.size, &options, EFM_E_LIMIT, "a.png: ");
    options.shape = efm_shape_vector(2);
    assert_refused(tar.data, tar.size, &options, EFM_E_SHAPE, "plain vectors");
    efm_buffer_release(&tar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_sorted_by_name),
        cmocka_unit_test(reads_old_tars),
        cmocka_unit_test(reads_long_names),
        cmocka_unit_test(uses_pax_sizes_and_prefixes),
        cmocka_unit_test(refuses_names_that_lead_out),
        cmocka_unit_test(refuses_damage),
        cmocka_unit_test(refuses_bad_extensions),
        cmocka_unit_test(refuses_other_files_and_shapes),
        cmocka_unit_test(brings_images_to_the_wanted_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
