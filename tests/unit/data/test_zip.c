// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/data/chaos.h"
#include "tests/unit/data/zips.h"

#include <zip.h>

/* Grey pictures of 2x2 pixels, of which picture i has the value 10 (i + 1). */
enum { PICTURES = 3 };
static struct efm_buffer pictures[PICTURES];

static int make_pictures(void **state)
{
    (void)state;
    for (size_t i = 0; i < PICTURES; i++) {
        pictures[i] = new_buffer();
        append_png(&pictures[i], 2, 2, 1, (uint8_t)(10 * (i + 1)));
    }
    return 0;
}

static int drop_pictures(void **state)
{
    (void)state;
    for (size_t i = 0; i < PICTURES; i++)
        efm_buffer_release(&pictures[i]);
    return 0;
}

static struct zip_member picture(const char *name, size_t i)
{
    return (struct zip_member){.name = name, .data = pictures[i].data, .size = pictures[i].size};
}

/* The first float of each sample tells which picture it came from. */
static void assert_pictures(const struct efm_buffer *zip, const uint8_t *wanted, size_t count)
{
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    float floats[4];
    if (read_bytes(&dataset, zip->data, zip->size, NULL, &error) != EFM_OK)
        fail_msg("%s", error.message);
    assert_string_equal(efm_dataset_format(dataset), "zip");
    assert_int_equal(efm_dataset_count(dataset), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(efm_dataset_floats(dataset, i, 1, floats, &error), EFM_OK);
        assert_true(floats[0] == (float)(10 * (wanted[i] + 1)) / 127.5f - 1);
    }
    efm_dataset_unref(dataset);
}

static void assert_zip_refused(const struct zip_member *members, size_t count,
                               const struct efm_dataset_options *options, enum efm_status status,
                               const char *words)
{
    struct efm_buffer zip = new_buffer();
    append_zip(&zip, members, count);
    assert_refused(zip.data, zip.size, options, status, words);
    efm_buffer_release(&zip);
}

static void reads_sorted_by_name(void **state)
{
    (void)state;
    struct efm_buffer zip = new_buffer(), packed = new_buffer();
    struct zip_member members[] = {
        {.name = "pictures/", .data = "", .mode = 040755},
        picture("pictures/b.png", 1),
        picture("./pictures/a.png", 0),
        picture("pictures/c.png", 2),
        {.name = "pictures/link.png", .data = "a.png", .size = 5, .mode = 0120777},
        {.name = "pictures/.hidden", .data = "x", .size = 1},
        {.name = "pictures/._a.png", .data = "not an image", .size = 12},
        {.name = "__MACOSX/pictures/a.png", .data = "not an image", .size = 12},
    };
    members[1].deflated = members[3].deflated = true;
    members[3].mode = 0100644;
    append_zip(&zip, members, sizeof members / sizeof members[0]);
    assert_pictures(&zip, (const uint8_t[]){0, 1, 2}, 3);
    append_gzip(&packed, zip.data, zip.size);
    assert_pictures(&packed, (const uint8_t[]){0, 1, 2}, 3);
    efm_buffer_release(&packed);
    efm_buffer_release(&zip);
}

/* An archive by somebody else's hand, with a comment. */
static void reads_what_libzip_writes(void **state)
{
    (void)state;
    zip_error_t reason;
    zip_error_init(&reason);
    zip_source_t *target = zip_source_buffer_create(NULL, 0, 0, &reason);
    assert_non_null(target);
    zip_t *archive = zip_open_from_source(target, ZIP_TRUNCATE, &reason);
    assert_non_null(archive);
    zip_source_keep(target);
    for (size_t i = 0; i < PICTURES; i++) {
        char name[16];
        snprintf(name, sizeof name, "%zu.png", 9 - i);
        zip_source_t *data = zip_source_buffer(archive, pictures[i].data, pictures[i].size, 0);
        assert_true(zip_file_add(archive, name, data, 0) >= 0);
    }
    assert_int_equal(zip_set_archive_comment(archive, "digits", 6), 0);
    assert_int_equal(zip_close(archive), 0);
    struct efm_buffer file = new_buffer();
    uint8_t chunk[1024];
    zip_int64_t got;
    assert_int_equal(zip_source_open(target), 0);
    while ((got = zip_source_read(target, chunk, sizeof chunk)) > 0)
        efm_buffer_append(&file, chunk, (size_t)got);
    zip_source_close(target);
    zip_source_free(target);
    assert_pictures(&file, (const uint8_t[]){2, 1, 0}, 3);
    efm_buffer_release(&file);
}

static void refuses_names_that_lead_out(void **state)
{
    (void)state;
    const struct {
        const char *name, *words;
    } cases[] = {
        {"../x.png", "../x.png leads out"}, {"a/../../x.png", "leads out"}, {"a/..", "leads out"},
        {"/etc/passwd", "absolute"},        {"__MACOSX/../x", "leads out"}, {"", "no name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct zip_member members[] = {picture("good.png", 0), picture(cases[i].name, 1),
                                       picture("z.png", 2)};
        assert_zip_refused(members, 3, NULL, EFM_E_FORMAT, cases[i].words);
        assert_zip_refused(members + 1, 2, NULL, EFM_E_FORMAT, cases[i].words);
    }
    struct zip_member twice[] = {picture("a.png", 0), picture("./a.png", 1)};
    assert_zip_refused(twice, 2, NULL, EFM_E_FORMAT, "two files of the name a.png");
    char *name = calloc(1, 5000);
    assert_non_null(name);
    memset(name, 'n', 4999);
    struct zip_member longest[] = {picture("a.png", 0), picture(name, 1)};
    assert_zip_refused(longest, 2, NULL, EFM_E_LIMIT, "4096");
    assert_zip_refused(longest + 1, 1, NULL, EFM_E_LIMIT, "4096");
    free(name);
}

static void refuses_other_kinds(void **state)
{
    (void)state;
    struct zip_member members[] = {picture("a.png", 0), picture("b.png", 1)};
    for (size_t i = 0; i < 2; i++) {
        members[i].flags = 1;
        assert_zip_refused(members, 2, NULL, EFM_E_UNSUPPORTED,
                           i == 0 ? "a.png is encrypted" : "b.png is encrypted");
        members[i].flags = 0;
        members[i].method = 93;
        assert_zip_refused(members, 2, NULL, EFM_E_UNSUPPORTED, "compressed by method 93");
        members[i].method = 0;
    }
    struct zip_member other[] = {picture("a.png", 0), {.name = "notes\n.txt", .data = "hello", .size = 5}};
    assert_zip_refused(other, 2, NULL, EFM_E_FORMAT, "notes?.txt: not a PNG, JPEG or WebP image");
    struct zip_member none[] = {{.name = ".hidden", .data = "", .size = 0}};
    assert_zip_refused(none, 1, NULL, EFM_E_FORMAT, "no images");
    assert_zip_refused(none, 0, NULL, EFM_E_FORMAT, "no images");
}

static void refuses_damage(void **state)
{
    (void)state;
    struct efm_buffer zip = new_buffer();
    struct zip_member members[] = {picture("a.png", 0), picture("b.png", 1)};
    members[1].deflated = true;
    append_zip(&zip, members, 2);
    assert_truncations_refused(zip.data, zip.size);
    /* whatever byte is wrong, nothing worse happens than a refusal */
    for (size_t i = 0; i < zip.size; i++) {
        struct efm_error error = {0};
        struct efm_dataset *dataset;
        zip.data[i] ^= 0xff;
        if (read_bytes(&dataset, zip.data, zip.size, NULL, &error) == EFM_OK)
            efm_dataset_unref(dataset);
        zip.data[i] ^= 0xff;
    }
    efm_buffer_release(&zip);

    members[1].wrong_checksum = true;
    assert_zip_refused(members, 2, NULL, EFM_E_FORMAT, "b.png: the zip member is damaged: CRC error");
    members[1] = picture("b.png", 1);
    members[1].deflated = true;
    members[1].promised = members[1].size + 1;
    assert_zip_refused(members, 2, NULL, EFM_E_FORMAT, "b.png: ");
    members[1].deflated = false;
    assert_zip_refused(members, 2, NULL, EFM_E_FORMAT, "b.png cannot unpack");
}

static void holds_limits(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct zip_member members[] = {picture("a.png", 0), picture("b.png", 1)};
    options.max_count = 1;
    assert_zip_refused(members, 2, &options, EFM_E_LIMIT, "more than 1 images");
    options = efm_dataset_options_default();
    options.max_decoded_bytes = 7;
    assert_zip_refused(members, 2, &options, EFM_E_LIMIT, "more than 7 bytes");
    options.shape = efm_shape_vector(2);
    assert_zip_refused(members, 2, &options, EFM_E_SHAPE, "plain vectors");
}

/* Zeros that unpack to 1000 times their size: refused by what they promise, and while they are unpacked when they lie. */
static void stops_bombs(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    uint8_t *zeros = calloc(1, 8 << 20);
    assert_non_null(zeros);
    struct zip_member bomb = {.name = "bomb.png", .data = zeros, .size = 8 << 20, .deflated = true};
    options.max_decoded_bytes = 1 << 20;
    assert_zip_refused(&bomb, 1, &options, EFM_E_LIMIT, "unpacks to more than 1048576 bytes");
    bomb.promised = 100;
    assert_zip_refused(&bomb, 1, &options, EFM_E_FORMAT, "more than the 100 bytes it promises");
    bomb.promised = 257 << 20;
    assert_zip_refused(&bomb, 1, NULL, EFM_E_LIMIT, "more than 268435456");
    bomb.promised = 200 << 20;
    assert_zip_refused(&bomb, 1, NULL, EFM_E_FORMAT, "cannot unpack to 209715200 bytes");
    free(zeros);

    /* many members that share the same bytes */
    enum { SHARERS = 300 };
    struct zip_member *members = calloc(SHARERS, sizeof *members);
    char(*names)[8] = calloc(SHARERS, sizeof *names);
    uint8_t *noise = malloc(1 << 16);
    assert_true(members != NULL && names != NULL && noise != NULL);
    for (size_t i = 0; i < 1 << 16; i++)
        noise[i] = (uint8_t)(i * i >> 7);
    for (size_t i = 0; i < SHARERS; i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        members[i] = (struct zip_member){names[i], noise, 1 << 16, .place = i > 0};
    }
    options.max_decoded_bytes = 16 << 20;
    assert_zip_refused(members, SHARERS, &options, EFM_E_LIMIT, "unpacks to more than 16777216 bytes");
    free(noise);
    free(names);
    free(members);
}

/* What would make libzip take memory or time before anybody could ask. */
static void refuses_false_directories(void **state)
{
    (void)state;
    struct efm_buffer zip = new_buffer();
    struct zip_member members[] = {picture("a.png", 0)};
    append_zip(&zip, members, 1);
    memset(zip.data + zip.size - 14, 0xff, 4); /* 65535 members */
    assert_refused(zip.data, zip.size, NULL, EFM_E_FORMAT, "promises 65535 members");

    struct efm_dataset_options options = efm_dataset_options_default();
    options.max_count = 1;
    struct efm_buffer large = new_buffer(), directory = new_buffer();
    append_zip(&large, members, 1);
    size_t start = large.size - 22 - 46 - 5;
    large.size = start;
    for (size_t i = 0; i < 65538; i++)
        append_zip_entry(&directory, &members[0], pictures[0].size, 0);
    size_t place = large.size + directory.size;
    efm_buffer_append(&large, directory.data, directory.size);
    efm_buffer_append(&large, "PK\6\6", 4); /* zip64: any number of members */
    append_number(&large, 44, 8);
    append_number(&large, 45 | 45 << 16, 4);
    append_number(&large, 0, 8);
    append_number(&large, 65538, 8);
    append_number(&large, 65538, 8);
    append_number(&large, directory.size, 8);
    append_number(&large, start, 8);
    efm_buffer_append(&large, "PK\6\7\0\0\0\0", 8);
    append_number(&large, place, 8);
    append_number(&large, 1, 4);
    efm_buffer_append(&large, "PK\5\6\0\0\0\0", 8);
    append_number(&large, UINT64_MAX, 8);
    append_number(&large, UINT64_MAX, 4);
    append_number(&large, 0, 2);
    assert_refused(large.data, large.size, &options, EFM_E_LIMIT, "holds 65538 members, more than 65537");
    assert_refused(large.data, large.size, NULL, EFM_E_FORMAT,
                   "made to be slow"); /* one name again and again */
    memset(large.data + place + 32, 0xff, 7);
    assert_refused(large.data, large.size, NULL, EFM_E_FORMAT, "is too small for them");

    zip.size = 0;
    append_zip(&zip, members, 1);
    for (int i = 0; i < 8; i++)
        efm_buffer_append(&zip, zip.data + zip.size - 22, 22);
    assert_refused(zip.data, zip.size, NULL, EFM_E_FORMAT, "ends more than once");
    efm_buffer_release(&directory);
    efm_buffer_release(&large);
    efm_buffer_release(&zip);
}

/* Names that all fall into one place of the table in which libzip keeps them: half a minute for 160,000 of them. */
static void refuses_names_made_to_be_slow(void **state)
{
    (void)state;
    enum { NAMES = 2000, PAIRS = 11 };
    struct efm_buffer zip = new_buffer(), directory = new_buffer();
    struct zip_member member = picture("a.png", 0);
    append_zip(&zip, &member, 1);
    zip.size -= 22 + 46 + 5;
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < NAMES; i++) {
            char name[2 * PAIRS + 1] = {0};
            for (size_t j = 0; j < PAIRS; j++) /* 33 'E' + 'z' is 33 'F' + 'Y', and not 33 'F' + 'Z' */
                memcpy(name + 2 * j, i >> j & 1 ? "Ez" : turn == 0 ? "FY" : "FZ", 2);
            member.name = name;
            append_zip_entry(&directory, &member, member.size, 0);
        }
        const size_t before = zip.size;
        append_zip_end(&zip, &directory, NAMES);
        if (turn == 0) {
            assert_refused(zip.data, zip.size, NULL, EFM_E_FORMAT, "made to be slow");
        } else {
            struct efm_error error = {0};
            struct efm_dataset *dataset;
            assert_int_equal(read_bytes(&dataset, zip.data, zip.size, NULL, &error), EFM_OK);
            assert_int_equal(efm_dataset_count(dataset), NAMES);
            efm_dataset_unref(dataset);
        }
        zip.size = before;
        directory.size = 0;
    }
    efm_buffer_release(&directory);
    efm_buffer_release(&zip);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_buffer zip = new_buffer();
    struct zip_member members[70];
    char names[70][8];
    for (size_t i = 0; i < 70; i++) { /* enough to grow the list of names */
        snprintf(names[i], sizeof names[i], "%zu.png", i);
        members[i] = picture(names[i], i % PICTURES);
    }
    append_zip(&zip, members, 70);
    enum efm_status status = EFM_E_MEMORY;
    size_t failures = 0;
    struct efm_dataset *dataset = NULL;
    for (; status != EFM_OK && failures < 2000; failures++) {
        struct efm_error error = {0};
        dataset = NULL;
        chaos_arm(failures);
        status = efm_dataset_read(&dataset, zip.data, zip.size, &options, &error);
        chaos_disarm();
        if (status != EFM_OK && (status != EFM_E_MEMORY || error.status != status || dataset != NULL))
            fail_msg("failure %zu: %s: %s", failures, efm_status_name(status), error.message);
    }
    assert_in_range(failures, 70, 1999);
    efm_dataset_unref(dataset);
    efm_buffer_release(&zip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_sorted_by_name),
        cmocka_unit_test(reads_what_libzip_writes),
        cmocka_unit_test(refuses_names_that_lead_out),
        cmocka_unit_test(refuses_other_kinds),
        cmocka_unit_test(refuses_damage),
        cmocka_unit_test(holds_limits),
        cmocka_unit_test(stops_bombs),
        cmocka_unit_test(refuses_false_directories),
        cmocka_unit_test(refuses_names_made_to_be_slow),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_pictures, drop_pictures);
}
