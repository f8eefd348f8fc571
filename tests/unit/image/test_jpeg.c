// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

static void reads_baseline_progressive_and_grey(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_decode_name(&image, "rgb.jpg", fixture_options());
    assert_size(&image, 32, 16, 3);
    assert_quadrants(&image, 6);
    efm_image_release(&image);
    fixture_decode_name(&image, "progressive.jpg", fixture_options());
    assert_quadrants(&image, 12);
    efm_image_release(&image);
    fixture_decode_name(&image, "grey.jpg", fixture_options());
    assert_grey_quadrants(&image, (const int[]){76, 150, 29, 255}, 3); /* the lumas of the colours */
    efm_image_release(&image);
}

static void refuses_cmyk(void **state)
{
    (void)state;
    struct fixture file = fixture_read("cmyk.jpg");
    struct efm_image_info info;
    assert_int_equal(efm_image_probe(file.bytes, file.size, &info, NULL), EFM_OK);
    assert_true(info.cmyk);
    assert_int_equal(info.channels, 4);
    fixture_refuse(&file, fixture_options(), EFM_E_UNSUPPORTED, "CMYK");
    fixture_release(&file);
}

/* Offset of the frame header's first byte after FF C0. */
static size_t find_frame(const struct fixture *file)
{
    for (size_t i = 0; i + 10 < file->size; i++)
        if (file->bytes[i] == 0xff && file->bytes[i + 1] == 0xc0)
            return i;
    fail_msg("there is no frame header");
    return 0;
}

static void refuses_rare_kinds(void **state)
{
    (void)state;
    struct fixture file = fixture_read("rgb.jpg");
    size_t frame = find_frame(&file);
    file.bytes[frame + 4] = 12;
    fixture_refuse(&file, fixture_options(), EFM_E_UNSUPPORTED, "12 bits");
    file.bytes[frame + 4] = 8;
    file.bytes[frame + 1] = 0xc9; /* arithmetic coding */
    fixture_refuse(&file, fixture_options(), EFM_E_UNSUPPORTED, "frame type 9");
    file.bytes[frame + 1] = 0xc0;
    file.bytes[frame + 9] = 2; /* components */
    fixture_refuse(&file, fixture_options(), EFM_E_UNSUPPORTED, "2 colour components");
    fixture_release(&file);
}

static void refuses_damage(void **state)
{
    (void)state;
    struct fixture file = fixture_read("rgb.jpg");
    struct fixture cut = fixture_copy(file.bytes, file.size - 30);
    fixture_refuse(&cut, fixture_options(), EFM_E_FORMAT, "truncated");
    fixture_release(&cut);
    file.bytes[find_frame(&file) + 2] = 0xff; /* the frame header claims to be longer than the file */
    fixture_refuse(&file, fixture_options(), EFM_E_FORMAT, "truncated");
    fixture_release(&file);
}

/* The first `marker` at or after `at`. */
static size_t find_marker(const struct fixture *file, size_t at, int marker)
{
    for (; at + 1 < file->size; at++)
        if (file->bytes[at] == 0xff && file->bytes[at + 1] == marker)
            return at;
    fail_msg("there is no marker %x", (unsigned)marker);
    return 0;
}

/* A progressive file whose last scans say the first again, in full precision, `repeats` times. */
static struct fixture repeat_scans(int repeats)
{
    struct fixture file = fixture_read("progressive.jpg");
    size_t tables = find_marker(&file, 0, 0xc4);
    size_t scan = find_marker(&file, tables, 0xda);
    size_t end = find_marker(&file, scan + 2, 0xc4);
    struct efm_buffer bomb = efm_buffer_limited(1 << 20);
    assert_int_equal(efm_buffer_append(&bomb, file.bytes, file.size - 2), EFM_OK);
    size_t precision = scan + 2 + file.bytes[scan + 3] - 1;
    assert_int_equal(file.bytes[precision], 1);
    file.bytes[precision] = 0;
    for (int i = 0; i < repeats; i++)
        assert_int_equal(efm_buffer_append(&bomb, file.bytes + tables, end - tables), EFM_OK);
    assert_int_equal(efm_buffer_append(&bomb, "\xff\xd9", 2), EFM_OK);
    struct fixture many = fixture_copy(bomb.data, bomb.size);
    efm_buffer_release(&bomb);
    fixture_release(&file);
    return many;
}

static void bounds_the_scans(void **state)
{
    (void)state;
    struct fixture few = repeat_scans(10);
    struct efm_image image;
    fixture_decode(&image, &few, fixture_options());
    efm_image_release(&image);
    fixture_release(&few);
    struct fixture many = repeat_scans(60);
    fixture_refuse(&many, fixture_options(), EFM_E_LIMIT, "64 scans");
    fixture_release(&many);
}

static void round_trip_is_close(void **state)
{
    (void)state;
    for (uint32_t channels = 1; channels <= 3; channels += 2) {
        struct efm_image image, back;
        fixture_paint(&image, 37, 29, channels);
        struct fixture file = fixture_encode(&image, EFM_IMAGE_JPEG, 95);
        struct fixture again = fixture_encode(&image, EFM_IMAGE_JPEG, 95);
        struct fixture coarse = fixture_encode(&image, EFM_IMAGE_JPEG, 20);
        assert_int_equal(file.size, again.size);
        assert_memory_equal(file.bytes, again.bytes, file.size);
        assert_true(coarse.size < file.size);
        fixture_decode(&back, &file, fixture_options());
        assert_in_range(fixture_difference(&image, &back), 0, 14);
        efm_image_release(&image);
        efm_image_release(&back);
        fixture_release(&file);
        fixture_release(&again);
        fixture_release(&coarse);
    }
}

/* More than one piece of the destination manager. */
static void writes_large_files(void **state)
{
    (void)state;
    struct efm_image image, back;
    fixture_paint(&image, 300, 200, 3);
    for (size_t i = 0; i < 300 * 200 * 3; i++)
        image.pixels[i] ^= (uint8_t)(i * 2654435761u >> 24 & 63);
    struct fixture file = fixture_encode(&image, EFM_IMAGE_JPEG, 100);
    assert_true(file.size > 3 * 4096);
    fixture_decode(&back, &file, fixture_options());
    assert_in_range(fixture_difference(&image, &back), 0, 8);
    fixture_release(&file);
    efm_image_release(&image);
    efm_image_release(&back);
}

static void stops_at_the_buffer_limit(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_paint(&image, 64, 64, 3);
    for (int format = EFM_IMAGE_PNG; format <= EFM_IMAGE_WEBP; format++) {
        struct efm_buffer out = efm_buffer_limited(100);
        struct efm_error error = {0};
        assert_int_equal(efm_image_encode(&out, &image, (enum efm_image_format)format, 90, NULL, 0, &error),
                         EFM_E_LIMIT);
        assert_non_null(strstr(error.message, "100 bytes"));
        assert_int_equal(out.size, 0);
        efm_buffer_release(&out);
    }
    efm_image_release(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_baseline_progressive_and_grey),
        cmocka_unit_test(refuses_cmyk),
        cmocka_unit_test(refuses_rare_kinds),
        cmocka_unit_test(refuses_damage),
        cmocka_unit_test(bounds_the_scans),
        cmocka_unit_test(round_trip_is_close),
        cmocka_unit_test(writes_large_files),
        cmocka_unit_test(stops_at_the_buffer_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
