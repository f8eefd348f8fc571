// SPDX-License-Identifier: Apache-2.0
/* Samples in a scratch folder, and readings that are withdrawn. */
#include "tests/unit/data/chaos.h"
#include "tests/unit/data/zips.h"

#include "core/data/npy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* ---- faults, under the names that calls have where offsets are of 64 bits ---- */

static int fallocate_failure, tmpfile_failure, write_failure; /* an errno, or 0 */

int __real_posix_fallocate64(int file, off_t offset, off_t size);
int __wrap_posix_fallocate64(int file, off_t offset, off_t size);
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
ssize_t __real_write(int file, const void *bytes, size_t size);
ssize_t __wrap_write(int file, const void *bytes, size_t size);

int __wrap_posix_fallocate64(int file, off_t offset, off_t size)
{
    return fallocate_failure != 0 ? fallocate_failure : __real_posix_fallocate64(file, offset, size);
}

int __wrap_open64(const char *path, int flags, ...)
{
    if (tmpfile_failure != 0 && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = tmpfile_failure;
        return -1;
    }
    return __real_open64(path, flags, 0600);
}

ssize_t __wrap_write(int file, const void *bytes, size_t size)
{
    if (write_failure != 0) {
        errno = write_failure;
        return -1;
    }
    return __real_write(file, bytes, size > 1000 ? size / 2 : size); /* short ones are no faults */
}

/* ---- a folder, and a file too large for memory ---- */

enum { SIDE = 512, COUNT = 260 }; /* 65 MiB */

struct world {
    char folder[32];
    uint8_t *idx;
    size_t size;
};

static int make_world(void **state)
{
    static struct world world = {.folder = "efmd-test-samples-XXXXXX"};
    const uint8_t header[16] = {0, 0, 8,         3, 0, 0, COUNT >> 8, COUNT & 255,
                                0, 0, SIDE >> 8, 0, 0, 0, SIDE >> 8,  0};
    assert_non_null(mkdtemp(world.folder));
    world.size = sizeof header + (size_t)COUNT * SIDE * SIDE;
    world.idx = malloc(world.size);
    assert_non_null(world.idx);
    memcpy(world.idx, header, sizeof header);
    for (size_t i = sizeof header; i < world.size; i++)
        world.idx[i] = (uint8_t)((i - sizeof header) / (SIDE * SIDE));
    *state = &world;
    return 0;
}

static int drop_world(void **state)
{
    struct world *world = *state;
    free(world->idx);
    return rmdir(world->folder); /* fails when something was left in it */
}

static void assert_empty(const char *folder)
{
    DIR *stream = opendir(folder);
    assert_non_null(stream);
    for (const struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream))
        assert_int_equal(entry->d_name[0], '.');
    closedir(stream);
}

static void assert_world(struct efm_dataset *dataset)
{
    float *values = malloc(SIDE * SIDE * sizeof *values), low, high;
    assert_non_null(values);
    assert_int_equal(efm_dataset_count(dataset), COUNT);
    assert_int_equal(efm_dataset_floats(dataset, 255, 1, values, NULL), EFM_OK);
    assert_true(values[0] == 1 && values[SIDE * SIDE - 1] == 1);
    efm_dataset_range(dataset, &low, &high);
    assert_true(low == -1 && high == 1);
    free(values);
}

static enum efm_status read_world(const struct world *world, struct efm_dataset **dataset,
                                  struct efm_error *error)
{
    struct efm_dataset_options options = efm_dataset_options_default();
    options.scratch = world->folder;
    *dataset = NULL;
    efm_error_clear(error);
    enum efm_status status = efm_dataset_read(dataset, world->idx, world->size, &options, error);
    assert_true(status == EFM_OK ? *dataset != NULL : *dataset == NULL && error->status == status);
    assert_empty(world->folder);
    return status;
}

static void large_ones_lie_in_the_folder(void **state)
{
    struct world *world = *state;
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    const int failures[] = {0, EOPNOTSUPP, EISDIR}; /* of O_TMPFILE: older kernels, other file systems */
    for (size_t i = 0; i < 3; i++) {
        tmpfile_failure = failures[i];
        assert_int_equal(read_world(world, &dataset, &error), EFM_OK);
        assert_world(dataset);
        assert_true(efm_dataset_bytes(dataset) < 4096);
        assert_int_equal(efm_dataset_mapped_bytes(dataset), world->size - 16);
        efm_dataset_unref(dataset);
    }
    tmpfile_failure = 0;
    struct efm_dataset_options options = efm_dataset_options_default();
    assert_int_equal(efm_dataset_read(&dataset, world->idx, world->size, &options, &error), EFM_OK);
    assert_true(efm_dataset_bytes(dataset) > world->size - 16);
    assert_int_equal(efm_dataset_mapped_bytes(dataset), 0);
    efm_dataset_unref(dataset);
}

static void small_ones_stay_in_memory(void **state)
{
    struct world *world = *state;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_error error = {0};
    struct efm_dataset *dataset = NULL;
    options.scratch = "no such folder"; /* and is never looked for */
    assert_int_equal(efm_dataset_read(&dataset, (const uint8_t *)"\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\1ab", 18,
                                      &options, &error),
                     EFM_OK);
    assert_int_equal(efm_dataset_mapped_bytes(dataset), 0);
    efm_dataset_unref(dataset);
    assert_int_equal(efm_dataset_read(&dataset, world->idx, world->size, &options, &error), EFM_E_IO);
    assert_non_null(strstr(error.message, "scratch file"));
}

static void a_full_disk_is_an_answer(void **state)
{
    struct world *world = *state;
    struct efm_error error = {0};
    struct efm_dataset *dataset;
    const int full[] = {ENOSPC, EDQUOT, EFBIG};
    for (size_t i = 0; i < 3; i++) {
        fallocate_failure = full[i];
        assert_int_equal(read_world(world, &dataset, &error), EFM_E_FULL);
        assert_non_null(strstr(error.message, "no room for 68157440 bytes"));
    }
    fallocate_failure = EIO;
    assert_int_equal(read_world(world, &dataset, &error), EFM_E_IO);
    fallocate_failure = 0;
    tmpfile_failure = EACCES;
    assert_int_equal(read_world(world, &dataset, &error), EFM_E_IO);
    tmpfile_failure = 0;
    for (size_t n = 0; n < 1; n++) { /* the dataset itself */
        chaos_arm(n);
        assert_int_equal(read_world(world, &dataset, &error), EFM_E_MEMORY);
        chaos_disarm();
    }
}

/* What a gzip file unpacks to, and the samples too. */
static void unpacked_files_lie_there_too(void **state)
{
    struct world *world = *state;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_error error = {0};
    struct efm_dataset *dataset = NULL;
    struct efm_buffer packed = efm_buffer_limited(16 << 20);
    append_gzip(&packed, world->idx, world->size);
    options.scratch = world->folder;
    assert_int_equal(efm_dataset_read(&dataset, packed.data, packed.size, &options, &error), EFM_OK);
    assert_empty(world->folder);
    assert_world(dataset);
    efm_dataset_unref(dataset);

    write_failure = ENOSPC;
    assert_int_equal(efm_dataset_read(&dataset, packed.data, packed.size, &options, &error), EFM_E_FULL);
    write_failure = 0;
    options.max_decoded_bytes = world->size - 1;
    efm_error_clear(&error);
    assert_int_equal(efm_dataset_read(&dataset, packed.data, packed.size, &options, &error), EFM_E_LIMIT);
    tmpfile_failure = EACCES;
    assert_int_equal(efm_dataset_read(&dataset, packed.data, packed.size, &options, NULL), EFM_E_IO);
    tmpfile_failure = 0;
    assert_empty(world->folder);
    efm_buffer_release(&packed);
}

/* ---- withdrawn ---- */

struct patience {
    size_t asked, most;
};

static bool go_on(void *context)
{
    struct patience *patience = context;
    return patience->asked++ < patience->most;
}

/* How often is asked until the file is read; at each of the first and at the last the reading is withdrawn. */
static size_t withdraw(const void *bytes, size_t size, struct efm_dataset_options options)
{
    struct patience patience = {.most = SIZE_MAX};
    struct efm_error error = {0};
    struct efm_dataset *dataset = NULL;
    options.go_on = go_on;
    options.go_on_context = &patience;
    if (efm_dataset_read(&dataset, bytes, size, &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
    efm_dataset_unref(dataset);
    const size_t all = patience.asked;
    for (size_t most = 0; most < all; most += most < 8 || most == all - 1 ? 1 : all - 1 - most) {
        dataset = NULL;
        patience = (struct patience){.most = most};
        efm_error_clear(&error);
        assert_int_equal(efm_dataset_read(&dataset, bytes, size, &options, &error), EFM_E_CANCELLED);
        assert_null(dataset);
        assert_int_equal(error.status, EFM_E_CANCELLED);
        assert_int_equal(patience.asked, most + 1); /* at once */
    }
    return all;
}

static void asks_between_images(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_buffer tar = new_buffer(), zip = new_buffer(), png = new_buffer();
    struct zip_member members[20];
    char names[20][8];
    append_png(&png, 3, 3, 1, 7);
    for (size_t i = 0; i < 20; i++) {
        snprintf(names[i], sizeof names[i], "%zu.png", i);
        members[i] = (struct zip_member){.name = names[i], .data = png.data, .size = png.size};
        append_tar_entry(&tar, names[i], '0', png.data, png.size);
    }
    append_tar_end(&tar);
    append_zip(&zip, members, 20);
    assert_true(withdraw(tar.data, tar.size, options) >= 20);
    assert_true(withdraw(zip.data, zip.size, options) >= 20);
    efm_buffer_release(&png);
    efm_buffer_release(&zip);
    efm_buffer_release(&tar);
}

static void asks_for_each_megabyte(void **state)
{
    (void)state;
    struct efm_dataset_options options = efm_dataset_options_default();
    const char *toy = "{\"toy\": \"uniform\", \"count\": 1000, \"dimension\": 1024}"; /* 4 MB */
    assert_true(withdraw(toy, strlen(toy), options) >= 5);

    struct efm_buffer npy = new_buffer(), idx = new_buffer(), packed = new_buffer();
    float *values = calloc(1 << 20, sizeof *values);
    assert_non_null(values);
    assert_int_equal(efm_npy_write_floats(&npy, values, (const size_t[]){1024, 1024}, 2), EFM_OK);
    assert_true(withdraw(npy.data, npy.size, options) >= 5);

    efm_buffer_append(&idx, "\0\0\10\3\0\0\0\100\0\0\1\0\0\0\1\0", 16); /* 64 of 256x256 */
    efm_buffer_append(&idx, values, 4 << 20);
    assert_true(withdraw(idx.data, idx.size, options) >= 8);
    append_gzip(&packed, idx.data, idx.size);
    assert_true(withdraw(packed.data, packed.size, options) >= 12);
    options.shape = efm_shape_image(8, 8, 1);
    assert_true(withdraw(idx.data, idx.size, options) >= 64);
    free(values);
    efm_buffer_release(&packed);
    efm_buffer_release(&idx);
    efm_buffer_release(&npy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_ones_lie_in_the_folder), cmocka_unit_test(small_ones_stay_in_memory),
        cmocka_unit_test(a_full_disk_is_an_answer),     cmocka_unit_test(unpacked_files_lie_there_too),
        cmocka_unit_test(asks_between_images),          cmocka_unit_test(asks_for_each_megabyte),
    };
    return cmocka_run_group_tests(tests, make_world, drop_world);
}
