// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include "core/image/image_internal.h"

static char colour_of(const uint8_t *pixel)
{
    bool r = pixel[0] > 128, g = pixel[1] > 128, b = pixel[2] > 128;
    return r && g && b ? 'W' : r ? 'R' : g ? 'G' : b ? 'B' : '?';
}

/* The quadrants row by row after each orientation; as stored they are red, green above blue, white. */
static const char *const turned[9] = {"", "RGBW", "GRWB", "WBGR", "BWRG", "RBGW", "BRWG", "WGBR", "GWRB"};

static void check_turned(const struct efm_image *image, int orientation)
{
    bool sideways = orientation >= 5;
    assert_int_equal(image->width > image->height, !sideways);
    char seen[5] = "";
    for (uint32_t i = 0; i < 4; i++)
        seen[i] = colour_of(
            pixel_at(image, image->width * (i % 2 * 2 + 1) / 4, image->height * (i / 2 * 2 + 1) / 4));
    assert_string_equal(seen, turned[orientation]);
}

/* Sets the orientation of the SHORT entry in a little-endian or big-endian EXIF block. */
static void patch_orientation(struct fixture *file, int orientation)
{
    static const uint8_t big[] = {0x01, 0x12, 0, 3, 0, 0, 0, 1}, little[] = {0x12, 0x01, 3, 0, 1, 0, 0, 0};
    for (size_t i = 0; i + 12 <= file->size; i++) {
        if (memcmp(file->bytes + i, big, 8) == 0) {
            file->bytes[i + 9] = (uint8_t)orientation;
            return;
        }
        if (memcmp(file->bytes + i, little, 8) == 0) {
            file->bytes[i + 8] = (uint8_t)orientation;
            return;
        }
    }
    fail_msg("there is no orientation to change");
}

static void turns_all_eight_jpegs(void **state)
{
    (void)state;
    for (int orientation = 1; orientation <= 8; orientation++) {
        struct fixture file = fixture_read("exif6.jpg");
        patch_orientation(&file, orientation);
        struct efm_image image;
        fixture_decode(&image, &file, fixture_options());
        check_turned(&image, orientation);
        efm_image_release(&image);
        fixture_release(&file);
    }
}

static void turns_all_eight_webps(void **state)
{
    (void)state;
    for (int orientation = 1; orientation <= 8; orientation++) {
        struct fixture file = fixture_read("exif6.webp");
        patch_orientation(&file, orientation);
        struct efm_image image;
        fixture_decode(&image, &file, fixture_options());
        check_turned(&image, orientation);
        efm_image_release(&image);
        fixture_release(&file);
    }
}

static void turns_png(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_decode_name(&image, "exif6.png", fixture_options());
    assert_size(&image, 4, 8, 3);
    check_turned(&image, 6);
    efm_image_release(&image);
}

static void probe_tells_the_stored_size(void **state)
{
    (void)state;
    struct fixture file = fixture_read("exif6.jpg");
    struct efm_image_info info;
    assert_int_equal(efm_image_probe(file.bytes, file.size, &info, NULL), EFM_OK);
    assert_int_equal(info.width, 32);
    assert_int_equal(info.height, 16);
    fixture_release(&file);
}

/* Wider than a strip and not a multiple of it, every pixel its own value. */
static void every_pixel_goes_to_its_place(void **state)
{
    (void)state;
    enum { W = 70, H = 41 };
    for (int orientation = 1; orientation <= 8; orientation++) {
        struct efm_image image;
        assert_int_equal(efm_image_create(&image, W, H, 3, NULL), EFM_OK);
        for (uint32_t y = 0; y < H; y++)
            for (uint32_t x = 0; x < W; x++)
                memcpy(image.pixels + (y * W + x) * 3, (uint8_t[]){(uint8_t)x, (uint8_t)y, 9}, 3);
        assert_int_equal(efm_image_turn(&image, orientation, NULL), EFM_OK);
        for (uint32_t y = 0; y < image.height; y++)
            for (uint32_t x = 0; x < image.width; x++) {
                int source[9][2] = {{0}};
                int ix = (int)x, iy = (int)y;
                memcpy(source,
                       (int[9][2]){{0, 0},
                                   {ix, iy},
                                   {W - 1 - ix, iy},
                                   {W - 1 - ix, H - 1 - iy},
                                   {ix, H - 1 - iy},
                                   {iy, ix},
                                   {iy, H - 1 - ix},
                                   {W - 1 - iy, H - 1 - ix},
                                   {W - 1 - iy, ix}},
                       sizeof source);
                assert_pixel(&image, x, y, source[orientation][0], source[orientation][1], 9, 0);
            }
        efm_image_release(&image);
    }
}

static int parse(const uint8_t *bytes, size_t size)
{
    struct fixture exact = fixture_copy(bytes, size);
    int orientation = efm_exif_orientation(exact.bytes, exact.size);
    fixture_release(&exact);
    return orientation;
}

static void parser_takes_both_byte_orders(void **state)
{
    (void)state;
    const uint8_t big[] = "MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\x04"
                          "abcd"
                          "\x01\x12\0\x03\0\0\0\x01\0\x05\0\0\0\0\0\0";
    const uint8_t little[] = "Exif\0\0II*\0\x0a\0\0\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x07\0\0\0";
    assert_int_equal(parse(big, sizeof big - 1), 5);
    assert_int_equal(parse(little, sizeof little - 1), 7);
}

static void parser_survives_damage(void **state)
{
    (void)state;
    uint8_t block[] = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x05\0\0";
    enum { SIZE = sizeof block - 1 };
    assert_int_equal(parse(block, SIZE), 5);
    for (size_t size = 0; size < SIZE; size++)
        assert_int_equal(parse(block, size), 1);
    static const struct {
        size_t at;
        uint8_t value;
    } damages[] = {{0, 'I'}, {3, 0},  {7, 0xff}, {4, 0xff}, {7, 4},
                   {13, 4},  {17, 2}, {19, 0},   {19, 9},   {18, 1}};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        uint8_t old = block[damages[i].at];
        block[damages[i].at] = damages[i].value;
        assert_int_equal(parse(block, SIZE), 1);
        block[damages[i].at] = old;
    }
    block[8] = 0xff; /* 65281 entries claimed, one is there */
    assert_int_equal(parse(block, SIZE), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_all_eight_jpegs),
        cmocka_unit_test(turns_all_eight_webps),
        cmocka_unit_test(turns_png),
        cmocka_unit_test(probe_tells_the_stored_size),
        cmocka_unit_test(every_pixel_goes_to_its_place),
        cmocka_unit_test(parser_takes_both_byte_orders),
        cmocka_unit_test(parser_survives_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
