// SPDX-License-Identifier: Apache-2.0
/* Every allocation of ours fails once, and from every one on all fail. Linked with --wrap=efm_allocate. */
#include "fixture.h"

static struct {
    int calls;
    int fail_at; /* 0: never */
    bool for_ever;
} allocator;

void *__real_efm_allocate(size_t size);
void *__wrap_efm_allocate(size_t size);

void *__wrap_efm_allocate(size_t size)
{
    int call = ++allocator.calls;
    bool fails =
        allocator.fail_at > 0 && (allocator.for_ever ? call >= allocator.fail_at : call == allocator.fail_at);
    return fails ? NULL : __real_efm_allocate(size);
}

/* Something to do that allocates; it releases what it made and says how it went. */
typedef enum efm_status work(const void *subject, struct efm_error *error);

static void fail_everywhere(work *run, const void *subject, bool may_recover)
{
    memset(&allocator, 0, sizeof allocator);
    assert_int_equal(run(subject, NULL), EFM_OK);
    int total = allocator.calls;
    assert_in_range(total, 1, 200);
    for (int for_ever = 0; for_ever < 2; for_ever++)
        for (int n = 1; n <= total; n++) {
            struct efm_error error = {0};
            allocator.calls = 0;
            allocator.fail_at = n;
            allocator.for_ever = for_ever;
            enum efm_status status = run(subject, &error);
            if (status == EFM_OK && may_recover && !for_ever)
                continue;
            if (status != EFM_E_MEMORY)
                fail_msg("allocation %d of %d: %s: %s", n, total, efm_status_name(status), error.message);
            assert_int_equal(error.status, EFM_E_MEMORY);
            assert_true(strlen(error.message) > 10);
        }
    memset(&allocator, 0, sizeof allocator);
}

struct decoding {
    struct fixture file;
    struct efm_image_options options;
};

static enum efm_status decode(const void *subject, struct efm_error *error)
{
    const struct decoding *decoding = subject;
    struct efm_image image;
    enum efm_status status =
        efm_image_decode(&image, decoding->file.bytes, decoding->file.size, &decoding->options, error);
    if (status != EFM_OK)
        assert_null(image.pixels);
    efm_image_release(&image);
    return status;
}

static void every_decode(void **state)
{
    (void)state;
    static const char *const names[] = {"rgba8.png",  "interlaced.png", "grey8.png",       "exif6.png",
                                        "exif6.jpg",  "grey.jpg",       "progressive.jpg", "exif6.webp",
                                        "lossy.webp", "alpha.webp"};
    static const struct efm_shape shapes[] = {{0}, {5, 9, 3, 135}, {5, 9, 1, 45}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
            struct decoding decoding = {fixture_read(names[i]), fixture_options()};
            decoding.options.shape = shapes[k];
            /* a PNG is read a second time when zlib could not get its window, and that may succeed */
            fail_everywhere(decode, &decoding, strstr(names[i], ".png") != NULL);
            fixture_release(&decoding.file);
        }
}

struct encoding {
    struct efm_image image;
    enum efm_image_format format;
    int quality;
};

static enum efm_status encode(const void *subject, struct efm_error *error)
{
    const struct encoding *encoding = subject;
    struct efm_image_text text[] = {{"seed", "42"}, {"model", "digits"}};
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    enum efm_status status =
        efm_image_encode(&out, &encoding->image, encoding->format, encoding->quality, text, 2, error);
    if (status != EFM_OK)
        assert_int_equal(out.size, 0);
    efm_buffer_release(&out);
    return status;
}

static void every_encode(void **state)
{
    (void)state;
    for (int format = EFM_IMAGE_PNG; format <= EFM_IMAGE_WEBP; format++)
        for (uint32_t channels = 1; channels <= 3; channels += 2)
            for (int quality = 90; quality <= 100; quality += 10) {
                struct encoding encoding = {.format = (enum efm_image_format)format, .quality = quality};
                fixture_paint(&encoding.image, 70, 90, channels);
                fail_everywhere(encode, &encoding, false);
                efm_image_release(&encoding.image);
            }
}

static enum efm_status make_grid(const void *subject, struct efm_error *error)
{
    struct efm_image grid;
    enum efm_status status = efm_image_grid(&grid, subject, 1, 0, 2, (const uint8_t[3]){0}, error);
    efm_image_release(&grid);
    return status;
}

static void every_grid(void **state)
{
    (void)state;
    struct efm_image image;
    fixture_paint(&image, 5, 4, 3);
    fail_everywhere(make_grid, &image, false);
    efm_image_release(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_decode),
        cmocka_unit_test(every_encode),
        cmocka_unit_test(every_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
