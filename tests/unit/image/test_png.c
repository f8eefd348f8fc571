// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <zlib.h>

static void reads_every_grey_depth(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int levels[4];
    } cases[] = {
        {"grey1.png", {0, 0, 0, 255}},    {"grey2.png", {0, 85, 170, 255}},  {"grey4.png", {0, 85, 170, 255}},
        {"grey8.png", {0, 85, 170, 255}}, {"grey16.png", {0, 85, 170, 255}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_image image;
        fixture_decode_name(&image, cases[i].name, fixture_options());
        assert_size(&image, 8, 8, 1);
        assert_grey_quadrants(&image, cases[i].levels, 0);
        efm_image_release(&image);
    }
}

static void reads_colour_and_palettes(void **state)
{
    (void)state;
    static const char *const names[] = {"rgb8.png", "rgb16.png", "palette2.png", "palette4.png",
                                        "palette8.png"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct efm_image image;
        fixture_decode_name(&image, names[i], fixture_options());
        assert_size(&image, 8, 8, 3);
        assert_quadrants(&image, 0);
        efm_image_release(&image);
    }
}

static void reads_interlaced(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_decode_name(&image, "interlaced.png", fixture_options());
    assert_size(&image, 13, 11, 3);
    for (uint32_t y = 0; y < 11; y++)
        for (uint32_t x = 0; x < 13; x++)
            assert_pixel(&image, x, y, (int)x * 16, (int)y * 16, (int)(x * y), 0);
    efm_image_release(&image);
}

static void lays_alpha_over_background(void **state)
{
    (void)state;
    static const char *const names[] = {"rgba8.png", "rgba16.png", "palette_alpha.png"};
    struct efm_image_options options = fixture_options();
    memcpy(options.background, (uint8_t[]){0, 100, 200}, 3);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct efm_image image;
        fixture_decode_name(&image, names[i], options);
        assert_size(&image, 8, 8, 3);
        assert_pixel(&image, 1, 1, 255, 0, 0, 0);
        assert_pixel(&image, 6, 1, 0, 178, 100, 0); /* green at 128 / 255 */
        assert_pixel(&image, 1, 6, 0, 0, 255, 0);
        assert_pixel(&image, 6, 6, 0, 100, 200, 0);
        efm_image_release(&image);
    }
}

static void lays_grey_alpha_over_background(void **state)
{
    (void)state;
    static const char *const names[] = {"grey_alpha8.png", "grey_alpha16.png"};
    struct efm_image_options options = fixture_options();
    memset(options.background, 55, 3);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct efm_image image;
        fixture_decode_name(&image, names[i], options);
        assert_grey_quadrants(&image, (const int[]){0, 70, 170, 55}, 0);
        efm_image_release(&image);
    }
    /* asked for in colour, a coloured background shows its colour */
    memcpy(options.background, (uint8_t[]){0, 100, 200}, 3);
    options.shape = efm_shape_image(8, 8, 3);
    struct efm_image image;
    fixture_decode_name(&image, "grey_alpha8.png", options);
    assert_pixel(&image, 6, 6, 0, 100, 200, 0);
    assert_pixel(&image, 1, 6, 170, 170, 170, 0);
    efm_image_release(&image);
}

static void honours_transparent_keys(void **state)
{
    (void)state;
    struct efm_image image;
    struct efm_image_options options = fixture_options();
    memset(options.background, 10, 3);
    fixture_decode_name(&image, "grey_key.png", options);
    assert_grey_quadrants(&image, (const int[]){0, 85, 170, 10}, 0);
    efm_image_release(&image);
    fixture_decode_name(&image, "rgb_key.png", options);
    assert_pixel(&image, 6, 6, 10, 10, 10, 0);
    assert_pixel(&image, 1, 1, 255, 0, 0, 0);
    efm_image_release(&image);
}

static void never_inflates_texts(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_decode_name(&image, "text_bomb.png", fixture_options());
    assert_pixel(&image, 0, 0, 7, 0, 0, 0);
    efm_image_release(&image);
}

static void round_trip_is_exact(void **state)
{
    (void)state;
    static const uint32_t sides[][2] = {{1, 1}, {1, 7}, {32, 32}, {33, 5}, {200, 300}};
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++)
        for (uint32_t channels = 1; channels <= 3; channels += 2) {
            struct efm_image image, back;
            fixture_paint(&image, sides[i][0], sides[i][1], channels);
            struct fixture file = fixture_encode(&image, EFM_IMAGE_PNG, 0);
            struct fixture again = fixture_encode(&image, EFM_IMAGE_PNG, 0);
            assert_int_equal(file.size, again.size);
            assert_memory_equal(file.bytes, again.bytes, file.size);
            fixture_decode(&back, &file, fixture_options());
            assert_int_equal(fixture_difference(&image, &back), 0);
            efm_image_release(&image);
            efm_image_release(&back);
            fixture_release(&file);
            fixture_release(&again);
        }
}

static uint32_t read_be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* The value of a tEXt chunk, or NULL; checks every CRC on the way. */
static const char *find_text(const uint8_t *bytes, size_t size, const char *key, size_t *length)
{
    const char *found = NULL;
    for (size_t at = 8; at < size;) {
        size_t payload = read_be32(bytes + at);
        assert_true(payload + 12 <= size - at);
        assert_int_equal(crc32(0, bytes + at + 4, (uInt)payload + 4), read_be32(bytes + at + 8 + payload));
        const char *data = (const char *)bytes + at + 8;
        if (memcmp(bytes + at + 4, "tEXt", 4) == 0 && strcmp(data, key) == 0) {
            found = data + strlen(key) + 1;
            *length = payload - strlen(key) - 1;
        }
        at += payload + 12;
    }
    return found;
}

static void writes_texts(void **state)
{
    (void)state;
    struct efm_image image, back;
    fixture_paint(&image, 4, 4, 3);
    struct efm_image_text text[] = {{"seed", "42"}, {"model", "digits to letters"}, {"empty", ""}};
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    assert_int_equal(efm_buffer_append_string(&out, "before"), EFM_OK);
    assert_int_equal(efm_image_encode(&out, &image, EFM_IMAGE_PNG, 0, text, 3, NULL), EFM_OK);
    assert_memory_equal(out.data, "before", 6);
    size_t length = 0;
    const char *seed = find_text(out.data + 6, out.size - 6, "seed", &length);
    assert_non_null(seed);
    assert_int_equal(length, 2);
    assert_memory_equal(seed, "42", 2);
    const char *model = find_text(out.data + 6, out.size - 6, "model", &length);
    assert_non_null(model);
    assert_memory_equal(model, "digits to letters", 17);
    struct fixture file = fixture_copy(out.data + 6, out.size - 6);
    fixture_decode(&back, &file, fixture_options());
    assert_int_equal(fixture_difference(&image, &back), 0);
    fixture_release(&file);
    efm_image_release(&back);
    efm_image_release(&image);
    efm_buffer_release(&out);
}

static void refuses_bad_text_keys(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_paint(&image, 4, 4, 1);
    char long_key[81];
    memset(long_key, 'k', 80);
    long_key[80] = '\0';
    const char *const keys[] = {"", long_key, " leading", "two  spaces", "line\nbreak"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct efm_buffer out = efm_buffer_limited(1 << 20);
        struct efm_error error = {0};
        struct efm_image_text text = {keys[i], "value"};
        assert_int_equal(efm_image_encode(&out, &image, EFM_IMAGE_PNG, 0, &text, 1, &error), EFM_E_ARGUMENT);
        assert_int_equal(out.size, 0);
        efm_buffer_release(&out);
    }
    long_key[79] = '\0';
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    struct efm_image_text text = {long_key, "value"};
    assert_int_equal(efm_image_encode(&out, &image, EFM_IMAGE_PNG, 0, &text, 1, NULL), EFM_OK);
    efm_buffer_release(&out);
    efm_image_release(&image);
}

static void probe_reads_the_header(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t channels, bits;
    } cases[] = {{"grey1.png", 1, 1},    {"grey16.png", 1, 16},     {"rgb16.png", 3, 16},
                 {"palette2.png", 3, 2}, {"grey_alpha8.png", 2, 8}, {"rgba8.png", 4, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture file = fixture_read(cases[i].name);
        struct efm_image_info info;
        assert_int_equal(efm_image_probe(file.bytes, file.size, &info, NULL), EFM_OK);
        assert_int_equal(info.format, EFM_IMAGE_PNG);
        assert_int_equal(info.width, 8);
        assert_int_equal(info.height, 8);
        assert_int_equal(info.channels, cases[i].channels);
        assert_int_equal(info.bits, cases[i].bits);
        fixture_release(&file);
    }
}

static void refuses_damage(void **state)
{
    (void)state;
    struct fixture file = fixture_read("rgb8.png");
    file.bytes[file.size - 20] ^= 1; /* inside IDAT: its CRC no longer holds */
    fixture_refuse(&file, fixture_options(), EFM_E_FORMAT, "damaged");
    fixture_release(&file);
    file = fixture_read("rgb8.png");
    file.bytes[24] = 3; /* bits */
    fixture_refuse(&file, fixture_options(), EFM_E_FORMAT, "3 bits");
    fixture_release(&file);
    file = fixture_read("rgb8.png");
    memset(file.bytes + 16, 0, 4); /* width */
    fixture_refuse(&file, fixture_options(), EFM_E_FORMAT, "no pixels (0 x 8)");
    fixture_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_grey_depth),
        cmocka_unit_test(reads_colour_and_palettes),
        cmocka_unit_test(reads_interlaced),
        cmocka_unit_test(lays_alpha_over_background),
        cmocka_unit_test(lays_grey_alpha_over_background),
        cmocka_unit_test(honours_transparent_keys),
        cmocka_unit_test(never_inflates_texts),
        cmocka_unit_test(round_trip_is_exact),
        cmocka_unit_test(writes_texts),
        cmocka_unit_test(refuses_bad_text_keys),
        cmocka_unit_test(probe_reads_the_header),
        cmocka_unit_test(refuses_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
