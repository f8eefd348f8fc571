// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/data/chaos.h"
#include "tests/unit/data/zips.h"

#include "core/data/npy.h"
#include "core/data/stream_check.h"

#include <dirent.h>

static const struct efm_stream_limits wide = {
    .max_count = 1 << 20, .max_bytes = 1 << 30, .max_decoded = 1 << 30};

/* Feeds exact copies of pieces; how many bytes went in before it failed, `size` when only the end failed. */
static size_t feed(struct efm_stream_check *check, const uint8_t *bytes, size_t size, size_t piece,
                   struct efm_error *error)
{
    for (size_t at = 0, next; at < size; at += next) {
        next = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(next);
        assert_non_null(copy);
        memcpy(copy, bytes + at, next);
        enum efm_status status = efm_stream_check_feed(check, copy, next, error);
        free(copy);
        if (status != EFM_OK)
            return at + next;
    }
    (void)!efm_stream_check_finish(check, error);
    return size;
}

static enum efm_status check_bytes(const void *bytes, size_t size, size_t piece,
                                   const struct efm_stream_limits *limits, size_t *fed,
                                   struct efm_error *error)
{
    struct efm_stream_check *check = NULL;
    struct efm_error again = {0};
    efm_error_clear(error);
    assert_int_equal(efm_stream_check_create(&check, limits, error), EFM_OK);
    *fed = feed(check, bytes, size, piece, error);
    /* after a failure it stays with it, whatever comes */
    if (error->status != EFM_OK) {
        assert_int_equal(efm_stream_check_feed(check, (const uint8_t *)"x", 1, &again), error->status);
        assert_string_equal(again.message, error->message);
        assert_int_equal(efm_stream_check_finish(check, NULL), error->status);
        assert_non_null(strstr(error->message, "at byte "));
    }
    efm_stream_check_destroy(check);
    return error->status;
}

static const size_t pieces[] = {1, 7, 512, 65536};
enum { PIECES = sizeof pieces / sizeof pieces[0] };

static void assert_passes(const void *bytes, size_t size, const char *format)
{
    for (size_t i = 0; i < PIECES; i++) {
        struct efm_stream_check *check = NULL;
        struct efm_error error = {0};
        assert_int_equal(efm_stream_check_create(&check, &wide, &error), EFM_OK);
        assert_string_equal(efm_stream_check_format(check), "");
        feed(check, bytes, size, pieces[i], &error);
        if (error.status != EFM_OK)
            fail_msg("%s in pieces of %zu: %s", format, pieces[i], error.message);
        assert_string_equal(efm_stream_check_format(check), format);
        efm_stream_check_destroy(check);
    }
}

/* A file that the reader takes passes, plain and packed, in whatever pieces; cut short it does not. */
static void assert_good(const struct efm_buffer *file, const char *format)
{
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    struct efm_buffer packed = new_buffer();
    if (read_bytes(&dataset, file->data, file->size, NULL, &error) != EFM_OK)
        fail_msg("%s: %s", format, error.message);
    assert_string_equal(efm_dataset_format(dataset), format);
    efm_dataset_unref(dataset);
    assert_passes(file->data, file->size, format);
    append_gzip(&packed, file->data, file->size);
    assert_passes(packed.data, packed.size, format);
    size_t fed;
    for (size_t cut = 0; cut < packed.size; cut++)
        assert_int_equal(check_bytes(packed.data, cut, 4096, &wide, &fed, &error), EFM_E_FORMAT);
    efm_buffer_release(&packed);
}

static void assert_cuts_refused(const struct efm_buffer *file, size_t least)
{
    struct efm_error error = {0};
    size_t fed;
    for (size_t cut = 0; cut < least; cut++)
        for (size_t i = 0; i < 2; i++)
            if (check_bytes(file->data, cut, pieces[2 * i], &wide, &fed, &error) != EFM_E_FORMAT)
                fail_msg("cut to %zu of %zu bytes: %s", cut, file->size, error.message);
}

static void passes_idx(void **state)
{
    (void)state;
    struct efm_buffer grey = new_buffer(), rgb = new_buffer();
    efm_buffer_append(&grey, "\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\2abcd", 20);
    efm_buffer_append(&rgb, "\0\0\10\4\0\0\0\1\0\0\0\1\0\0\0\2\0\0\0\3abcdef", 26);
    assert_good(&grey, "idx");
    assert_good(&rgb, "idx");
    assert_cuts_refused(&grey, grey.size);
    efm_buffer_release(&rgb);
    efm_buffer_release(&grey);
}

static void append_npy(struct efm_buffer *out, const char *header, const void *data, size_t size)
{
    efm_buffer_append(out, "\x93NUMPY\1\0", 8);
    efm_buffer_append(out, (const uint8_t[]){(uint8_t)strlen(header), 0}, 2);
    efm_buffer_append_string(out, header);
    efm_buffer_append(out, data, size);
}

static void passes_npy(void **state)
{
    (void)state;
    const float values[12] = {0};
    const double doubles[2] = {0};
    struct efm_buffer npy = new_buffer();
    assert_int_equal(efm_npy_write_floats(&npy, values, (const size_t[]){3, 4}, 2), EFM_OK);
    assert_good(&npy, "npy");
    assert_cuts_refused(&npy, npy.size);
    npy.size = 0;
    assert_int_equal(efm_npy_write_floats(&npy, values, (const size_t[]){1, 2, 2, 3}, 4), EFM_OK);
    assert_good(&npy, "npy");
    npy.size = 0;
    append_npy(&npy, "{'descr':'<f8','fortran_order':False,'shape':(1,2)}", doubles, sizeof doubles);
    assert_good(&npy, "npy");
    efm_buffer_release(&npy);
}

/* Everything that a tar may have: folders, links, hidden files, long names both ways, old headers, empty extensions. */
static void append_full_tar(struct efm_buffer *tar)
{
    struct efm_buffer png = new_buffer();
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    append_png(&png, 3, 2, 3, 9);
    append_tar_entry(tar, "pictures/", '5', "", 0);
    append_tar_image(tar, "pictures/b.png", 3, 2, 3, 20);
    append_tar_entry(tar, "link.png", '2', "", 0);
    append_tar_entry(tar, "pictures/.hidden", '0', "x", 1);
    append_tar_entry(tar, "././@LongLink", 'L', name, sizeof name);
    append_tar_image(tar, "cut", 3, 2, 3, 1);
    append_tar_entry(tar, "PaxHeaders/cut", 'x', "20 path=a/first.png\n", 20);
    append_tar_image(tar, "cut", 3, 2, 3, 2);
    append_tar_entry(tar, "global", 'g', "13 comment=x\n", 13);
    append_tar_entry(tar, "empty", 'x', "", 0);
    append_tar_header(tar, "old.png", '\0', png.size, "");
    append_tar_data(tar, png.data, png.size);
    efm_buffer_release(&png);
}

static void passes_tar(void **state)
{
    (void)state;
    struct efm_buffer tar = new_buffer();
    append_full_tar(&tar);
    const size_t end = tar.size;
    append_tar_end(&tar);
    assert_good(&tar, "tar");
    assert_cuts_refused(&tar, end + 512);
    efm_buffer_append(&tar, "whatever follows", 16);
    assert_good(&tar, "tar");
    efm_buffer_release(&tar);
}

static void passes_zip_and_toys(void **state)
{
    (void)state;
    struct efm_buffer zip = new_buffer(), png = new_buffer(), toy = new_buffer();
    append_png(&png, 3, 2, 3, 20);
    const struct zip_member members[] = {
        {.name = "a.png", .data = png.data, .size = png.size},
        {.name = "b.png", .data = png.data, .size = png.size, .deflated = true},
    };
    append_zip(&zip, members, 2);
    assert_good(&zip, "zip");
    assert_cuts_refused(&zip, 35);
    efm_buffer_append_string(&toy, " \n{\"toy\": \"gaussian\", \"count\": 3}");
    assert_good(&toy, "toy");
    assert_cuts_refused(&toy, 3);
    toy.size = 0;
    for (int i = 0; i < 1000; i++)
        efm_buffer_append_string(&toy, " ");
    assert_cuts_refused(&toy, 1000);
    efm_buffer_append_string(&toy, "{\"toy\": \"gaussian\", \"count\": 3}");
    assert_good(&toy, "toy");
    efm_buffer_release(&toy);
    efm_buffer_release(&png);
    efm_buffer_release(&zip);
}

/* Whatever else the readers take. */
static void passes_the_corpora(void **state)
{
    (void)state;
    const char *const folders[] = {"idx", "npy", "tar", "toy", "zip", "stream_check"};
    size_t good = 0;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", TEST_CORPUS, folders[i]);
        DIR *folder = opendir(path);
        assert_non_null(folder);
        for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
            struct efm_buffer file = new_buffer();
            struct efm_dataset *dataset;
            struct efm_error error = {0};
            uint8_t chunk[4096];
            snprintf(path, sizeof path, "%s/%s/%s", TEST_CORPUS, folders[i], entry->d_name);
            FILE *stream = fopen(path, "rb");
            assert_non_null(stream);
            for (size_t got; (got = fread(chunk, 1, sizeof chunk, stream)) > 0;)
                efm_buffer_append(&file, chunk, got);
            fclose(stream);
            if (file.size > 0 && read_bytes(&dataset, file.data, file.size, NULL, &error) == EFM_OK) {
                assert_passes(file.data, file.size, efm_dataset_format(dataset));
                efm_dataset_unref(dataset);
                good++;
            }
            efm_buffer_release(&file);
        }
        closedir(folder);
    }
    assert_true(good >= 12);
}

/* ---- refused, and at which byte ---- */

/* Refused when `wanted` bytes had come one by one, and in other pieces too. */
static void assert_stopped(const void *bytes, size_t size, const struct efm_stream_limits *limits,
                           size_t wanted, enum efm_status status, const char *words)
{
    for (size_t i = 0; i < PIECES; i++) {
        struct efm_error error = {0};
        size_t fed;
        enum efm_status got = check_bytes(bytes, size, pieces[i], limits, &fed, &error);
        size_t last = (wanted + pieces[i] - 1) / pieces[i] * pieces[i];
        if (got != status || strstr(error.message, words) == NULL || fed != (last < size ? last : size))
            fail_msg("in pieces of %zu after %zu bytes: got %s: %s; expected after %zu %s: ...%s...",
                     pieces[i], fed, efm_status_name(got), error.message, wanted, efm_status_name(status),
                     words);
    }
}

static void stops_at_headers(void **state)
{
    (void)state;
    struct efm_stream_limits limits = wide;
    const char labels[] = "\0\0\10\1\0\0\0\3abc", floats[] = "\0\0\15\3\0\0\0\1\0\0\0\1\0\0\0\1....";
    const char grey[] = "\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\2abcdefgh";
    assert_stopped(labels, 11, &wide, 4, EFM_E_UNSUPPORTED, "at byte 4: IDX of one dimension holds labels");
    assert_stopped(floats, 20, &wide, 4, EFM_E_UNSUPPORTED, "type 0x0d");
    assert_stopped("\0\0\10\3\0\0\0\2\0\0\0\0\0\0\0\2abcd", 20, &wide, 16, EFM_E_FORMAT, "no samples");
    assert_stopped("\0\0\10\4\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\2abcd", 24, &wide, 20, EFM_E_UNSUPPORTED,
                   "not 2");
    assert_stopped("\0\0\10\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff....", 20, &wide, 16,
                   EFM_E_FORMAT, "more bytes than any file");
    assert_stopped(grey, 24, &wide, 21, EFM_E_FORMAT, "at byte 20: the file goes on");
    assert_stopped(grey, 19, &wide, 19, EFM_E_FORMAT, "at byte 19: the file ends before the 20 bytes");
    limits.max_count = 1;
    assert_stopped(grey, 20, &limits, 16, EFM_E_LIMIT, "2 samples are more than the 1");
    limits = wide;
    limits.max_bytes = 19;
    assert_stopped(grey, 19, &limits, 16, EFM_E_LIMIT, "promises a file of 20 bytes");

    struct efm_buffer npy = new_buffer();
    const char *const header = "{'descr':'<f4','fortran_order':False,'shape':(2,3)}";
    append_npy(&npy, header, "abcdefghijklmnopqrstuvwxyz", 26);
    assert_stopped(npy.data, npy.size, &wide, 10 + 51 + 25, EFM_E_FORMAT, "at byte 85: the file goes on");
    limits.max_bytes = 84;
    assert_stopped(npy.data, 84, &limits, 61, EFM_E_LIMIT, "promises a file of 85 bytes");
    npy.size = 0;
    append_npy(&npy, "{'descr':'<i4','fortran_order':False,'shape':(2,3)}", "", 0);
    assert_stopped(npy.data, npy.size, &wide, 61, EFM_E_UNSUPPORTED, "'<i4'");
    npy.size = 0;
    append_npy(&npy, "{'descr':'<f4','fortran_order':False,'shape':(2,)}", "12345678", 8);
    assert_stopped(npy.data, npy.size, &wide, 60, EFM_E_UNSUPPORTED, "not 1 dimensions");
    assert_stopped("\x93NUMPY\3\0v\0{....", 15, &wide, 12, EFM_E_UNSUPPORTED, "version 3.0");
    efm_buffer_release(&npy);
}

static void stops_at_other_files(void **state)
{
    (void)state;
    struct efm_buffer png = new_buffer(), text = new_buffer();
    append_png(&png, 200, 200, 3, 20);
    assert_true(png.size > 512);
    assert_stopped(png.data, png.size, &wide, 512, EFM_E_FORMAT, "single image");
    for (int i = 0; i < 100; i++)
        efm_buffer_append_string(&text, "hello, world");
    assert_stopped(text.data, text.size, &wide, 512, EFM_E_FORMAT, "none of IDX");
    assert_stopped(text.data, 100, &wide, 100, EFM_E_FORMAT, "none of IDX");
    assert_stopped("", 0, &wide, 0, EFM_E_FORMAT, "empty");
    text.size = 0;
    for (int i = 0; i < 1000; i++)
        efm_buffer_append_string(&text, " ");
    efm_buffer_append(&text, "\0{", 2);
    assert_stopped(text.data, text.size, &wide, 1001, EFM_E_FORMAT,
                   "at byte 1000: there is something else than JSON");

    text.size = 0;
    efm_buffer_append_string(&text, "{");
    char *spaces = malloc(1 << 20);
    assert_non_null(spaces);
    memset(spaces, ' ', 1 << 20);
    efm_buffer_append(&text, spaces, 1 << 20);
    free(spaces);
    struct efm_error error;
    size_t fed;
    assert_int_equal(check_bytes(text.data, text.size, 65536, &wide, &fed, &error), EFM_E_LIMIT);
    assert_int_equal(fed, text.size);
    struct efm_stream_limits limits = wide;
    limits.max_bytes = 1000;
    assert_stopped(text.data, text.size, &limits, 1001, EFM_E_LIMIT, "larger than the 1000 bytes");
    efm_buffer_release(&text);
    efm_buffer_release(&png);
}

static void stops_within_tars(void **state)
{
    (void)state;
    struct efm_stream_limits limits = wide;
    struct efm_buffer tar = new_buffer();
    append_tar_image(&tar, "a.png", 2, 2, 1, 0);
    const size_t second = tar.size; /* one block and what the picture needs */
    append_tar_image(&tar, "b.png", 2, 2, 1, 0);
    append_tar_end(&tar);
    limits.max_count = 1;
    char words[64];
    snprintf(words, sizeof words, "at byte %zu: the tar holds more than 1", second);
    assert_stopped(tar.data, tar.size, &limits, second + 512, EFM_E_LIMIT, words);
    tar.data[second]++;
    snprintf(words, sizeof words, "at byte %zu: the tar is damaged: wrong checksum", second);
    assert_stopped(tar.data, tar.size, &wide, second + 512, EFM_E_FORMAT, words);
    tar.data[second]--;
    tar.data[second + 512 + 1] ^= 0xff; /* the picture's first bytes, 16 of which are looked at */
    snprintf(words, sizeof words, "at byte %zu: b.png: not a PNG", second + 512);
    assert_stopped(tar.data, tar.size, &wide, second + 512 + 16, EFM_E_FORMAT, words);

    const struct {
        const char *name;
        char type;
        size_t size;
        enum efm_status status;
        const char *words;
    } cases[] = {
        {"../x.png", '0', 0, EFM_E_FORMAT, "leads out"},
        {"/x.png", '2', 0, EFM_E_FORMAT, "absolute"},
        {"sparse", 'S', 0, EFM_E_UNSUPPORTED, "sparse"},
        {"empty.png", '0', 0, EFM_E_FORMAT, "empty.png: not a PNG"},
        {"large.png", '0', (size_t)1 << 30, EFM_E_LIMIT, "ends past the 1073741824"},
        {"records", 'x', 65537, EFM_E_LIMIT, "longer than 65536"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tar.size = second;
        append_tar_header(&tar, cases[i].name, cases[i].type, cases[i].size, "ustar");
        append_tar_end(&tar);
        assert_stopped(tar.data, tar.size, &wide, second + 512, cases[i].status, cases[i].words);
    }
    char *name = calloc(1, 5120);
    assert_non_null(name);
    memset(name, 'n', 5119);
    tar.size = second;
    append_tar_entry(&tar, "L", 'L', name, 5120);
    assert_stopped(tar.data, tar.size, &wide, second + 512 + 4097, EFM_E_LIMIT, "4096");
    free(name);
    tar.size = second;
    append_tar_entry(&tar, "x", 'x', "9 path=a", 8);
    assert_stopped(tar.data, tar.size, &wide, second + 512 + 8, EFM_E_FORMAT, "extended header");
    tar.size = second;
    append_tar_entry(&tar, "L", 'L', "name", 5);
    append_tar_end(&tar);
    assert_stopped(tar.data, tar.size, &wide, second + 3 * 512, EFM_E_FORMAT, "after an extension");
    tar.size = 0;
    append_tar_end(&tar);
    assert_stopped(tar.data, tar.size, &wide, 512, EFM_E_FORMAT, "no images");
    efm_buffer_release(&tar);
}

static void stops_at_zips(void **state)
{
    (void)state;
    struct efm_buffer zip = new_buffer();
    struct zip_member member = {.name = "a.png", .data = "x", .size = 1, .flags = 1};
    append_zip(&zip, &member, 1);
    assert_stopped(zip.data, zip.size, &wide, 35, EFM_E_UNSUPPORTED, "a.png is encrypted");
    zip.size = 0;
    member = (struct zip_member){.name = "../a.png", .data = "x", .size = 1};
    append_zip(&zip, &member, 1);
    assert_stopped(zip.data, zip.size, &wide, 38, EFM_E_FORMAT, "leads out");
    zip.size = 0;
    append_zip(&zip, &member, 0);
    assert_stopped(zip.data, zip.size, &wide, 4, EFM_E_FORMAT, "no images");
    efm_buffer_release(&zip);
}

static void looks_into_gzip(void **state)
{
    (void)state;
    struct efm_stream_limits limits = wide;
    struct efm_error error = {0};
    struct efm_buffer packed = new_buffer(), twice = new_buffer();
    size_t fed;
    append_gzip(&packed, "\0\0\10\1\0\0\0\3abc", 11);
    append_gzip(&twice, packed.data, packed.size);
    assert_int_equal(check_bytes(packed.data, packed.size, 1, &wide, &fed, &error), EFM_E_UNSUPPORTED);
    assert_non_null(
        strstr(error.message, "at byte 4 of what it unpacks to: IDX of one dimension holds labels"));
    assert_true(fed < packed.size);
    assert_int_equal(check_bytes(twice.data, twice.size, 7, &wide, &fed, &error), EFM_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "inside a gzip"));

    /* a bomb: a tar of one entry of zeros, said to be nothing that is looked at */
    uint8_t *zeros = calloc(1, 8 << 20);
    assert_non_null(zeros);
    struct efm_buffer tar = new_buffer();
    append_tar_header(&tar, ".hidden", '0', 8 << 20, "ustar");
    efm_buffer_append(&tar, zeros, 8 << 20);
    packed.size = 0;
    append_gzip(&packed, tar.data, tar.size);
    assert_int_equal(check_bytes(packed.data, packed.size, 100, &wide, &fed, &error),
                     EFM_E_FORMAT); /* no end */
    limits.max_decoded = 1 << 20;
    assert_int_equal(check_bytes(packed.data, packed.size, 100, &limits, &fed, &error), EFM_E_LIMIT);
    assert_true(fed < 300); /* by the header */
    packed.size = 0;
    tar.size = 0;
    append_tar_image(&tar, "a.png", 2, 2, 1, 0);
    efm_buffer_append(&tar, zeros, 8 << 20);
    append_gzip(&packed, tar.data, tar.size);
    assert_int_equal(check_bytes(packed.data, packed.size, 100, &wide, &fed, &error), EFM_OK);
    assert_int_equal(check_bytes(packed.data, packed.size, 100, &limits, &fed, &error), EFM_E_LIMIT);
    assert_non_null(strstr(error.message, "unpacks to more than 1048576 bytes"));
    assert_true(fed < packed.size / 4);
    packed.data[packed.size - 8] ^= 1;
    assert_int_equal(check_bytes(packed.data, packed.size, 7, &wide, &fed, &error), EFM_E_FORMAT);
    packed.data[packed.size - 8] ^= 1;
    efm_buffer_append(&packed, "x", 1);
    assert_int_equal(check_bytes(packed.data, packed.size, 1, &wide, &fed, &error), EFM_E_FORMAT);
    assert_non_null(strstr(error.message, "follow the gzip"));
    free(zeros);
    efm_buffer_release(&tar);
    efm_buffer_release(&twice);
    efm_buffer_release(&packed);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    struct efm_buffer tar = new_buffer(), packed = new_buffer();
    append_full_tar(&tar);
    append_tar_end(&tar);
    append_gzip(&packed, tar.data, tar.size);
    enum efm_status status = EFM_E_MEMORY;
    size_t failures = 0;
    for (; status != EFM_OK && failures < 100; failures++) {
        struct efm_stream_check *check = NULL;
        struct efm_error error = {0};
        chaos_arm(failures);
        status = efm_stream_check_create(&check, &wide, &error);
        for (size_t at = 0; at < packed.size && status == EFM_OK; at += 7)
            status = efm_stream_check_feed(check, packed.data + at,
                                           packed.size - at < 7 ? packed.size - at : 7, &error);
        if (status == EFM_OK)
            status = efm_stream_check_finish(check, &error);
        chaos_disarm();
        assert_true(status == EFM_OK || (status == EFM_E_MEMORY && error.status == status));
        efm_stream_check_destroy(check);
    }
    assert_in_range(failures, 4, 99);
    efm_stream_check_destroy(NULL);
    efm_buffer_release(&packed);
    efm_buffer_release(&tar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_idx),
        cmocka_unit_test(passes_npy),
        cmocka_unit_test(passes_tar),
        cmocka_unit_test(passes_zip_and_toys),
        cmocka_unit_test(passes_the_corpora),
        cmocka_unit_test(stops_at_headers),
        cmocka_unit_test(stops_at_other_files),
        cmocka_unit_test(stops_within_tars),
        cmocka_unit_test(stops_at_zips),
        cmocka_unit_test(looks_into_gzip),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
