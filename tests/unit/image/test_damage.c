// SPDX-License-Identifier: Apache-2.0
/* Files cut at every byte, files with every byte changed, and noise. */
#include "fixture.h"

static const char *const names[] = {
    "grey1.png",  "grey16.png",      "palette_alpha.png", "interlaced.png", "rgba16.png",    "exif6.png",
    "exif6.jpg",  "progressive.jpg", "grey.jpg",          "cmyk.jpg",       "lossless.webp", "lossy.webp",
    "exif6.webp", "alpha.webp",      "animated.webp",     "bomb.png",       "bomb.jpg",      "bomb.webp",
};
enum { NAME_COUNT = sizeof names / sizeof names[0] };

static void cut_files_are_refused(void **state)
{
    (void)state;
    struct efm_image_options options = fixture_options();
    for (size_t i = 0; i < NAME_COUNT; i++) {
        struct fixture file = fixture_read(names[i]);
        for (size_t size = 0; size < file.size; size++) {
            struct fixture cut = fixture_copy(file.bytes, size);
            struct efm_image image;
            struct efm_error error = {0};
            if (efm_image_decode(&image, cut.bytes, size, &options, &error) == EFM_OK)
                fail_msg("%s cut after %zu of %zu bytes is taken", names[i], size, file.size);
            assert_true(strlen(error.message) > 10);
            assert_null(image.pixels);
            fixture_release(&cut);
        }
        fixture_release(&file);
    }
}

/* Whatever comes out of it, it is a picture or an error that says something. */
static void decode_anything(const uint8_t *bytes, size_t size)
{
    struct efm_image_options options = {.limits = {.max_side = 2048, .max_pixels = 1 << 16}};
    options.shape = efm_shape_image(5, 7, 3);
    struct efm_image image;
    struct efm_error error = {0};
    enum efm_status status = efm_image_decode(&image, bytes, size, &options, &error);
    assert_int_equal(status, error.status);
    if (status == EFM_OK) {
        assert_size(&image, 7, 5, 3);
    } else {
        assert_true(strlen(error.message) > 10);
        for (const char *letter = error.message; *letter != '\0'; letter++)
            assert_in_range(*letter, ' ', '~');
        assert_null(image.pixels);
    }
    efm_image_release(&image);
}

static void changed_bytes_do_no_harm(void **state)
{
    (void)state;
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < NAME_COUNT; i++) {
        struct fixture file = fixture_read(names[i]);
        for (size_t at = 0; at < file.size; at++)
            for (size_t k = 0; k < sizeof flips; k++) {
                file.bytes[at] ^= flips[k];
                decode_anything(file.bytes, file.size);
                file.bytes[at] ^= flips[k];
            }
        fixture_release(&file);
    }
}

static void noise_does_no_harm(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < 2000; round++) {
        uint8_t noise[256];
        for (size_t i = 0; i < sizeof noise; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            noise[i] = (uint8_t)(random >> 32);
        }
        size_t size = noise[0];
        const char *magic = round % 4 == 0   ? "\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
                            : round % 4 == 1 ? "\xff\xd8\xff\xc0"
                            : round % 4 == 2 ? "RIFF\xf0\0\0\0WEBPVP8X"
                                             : "";
        size_t length = round % 4 == 0 ? 16 : round % 4 == 1 ? 4 : round % 4 == 2 ? 16 : 0;
        memcpy(noise, magic, length);
        struct fixture file = fixture_copy(noise, size < length ? length : size);
        decode_anything(file.bytes, file.size);
        fixture_release(&file);
    }
}

static void bytes_after_the_end_are_ignored(void **state)
{
    (void)state;
    static const char *const whole[] = {"rgb8.png", "rgb.jpg", "lossless.webp"};
    for (size_t i = 0; i < 3; i++) {
        struct fixture file = fixture_read(whole[i]);
        struct fixture longer = fixture_copy(file.bytes, file.size);
        longer.bytes = realloc(longer.bytes, file.size + 100);
        assert_non_null(longer.bytes);
        memset(longer.bytes + file.size, 0x5a, 100);
        longer.size = file.size + 100;
        struct efm_image image;
        fixture_decode(&image, &longer, fixture_options());
        assert_quadrants(&image, 6);
        efm_image_release(&image);
        fixture_release(&longer);
        fixture_release(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(noise_does_no_harm),
        cmocka_unit_test(bytes_after_the_end_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
