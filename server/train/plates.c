// SPDX-License-Identifier: Apache-2.0
#include "server/train/plates.h"

#include "core/base/memory.h"
#include "core/data/subset.h"
#include "server/store/storage.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static enum efm_status fail(struct efm_error *error, const char *path, const struct efm_error *reason)
{
    return efm_error_set(error, reason->status, "%.100s: %.150s", path, reason->message);
}

static bool is_folder(int folder, const char *path)
{
    struct stat facts;
    return fstatat(folder, path, &facts, 0) == 0 && S_ISDIR(facts.st_mode);
}

/* The reader of folders takes paths only: this one leads there whatever the working directory is. */
static enum efm_status read_folder(struct efm_dataset **dataset, int folder, const char *path,
                                   const struct efm_dataset_options *options, struct efm_error *error)
{
    char whole[PATH_MAX];
    int length = path[0] == '/' ? snprintf(whole, sizeof whole, "%s", path)
                                : snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", folder, path);
    if (length < 0 || (size_t)length >= sizeof whole)
        return efm_error_set(error, EFM_E_IO, "the path is too long");
    return efm_dataset_read_folder(dataset, whole, options, error);
}

static enum efm_status read_path(struct efm_dataset **dataset, int folder, const char *path,
                                 const struct efm_dataset_options *options, struct efm_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    int64_t changed;
    if (is_folder(folder, path))
        return read_folder(dataset, folder, path, options, error);
    enum efm_status status =
        srv_storage_read(folder, path, options->max_decoded_bytes, &bytes, &size, &changed, error);
    if (status == EFM_OK)
        status = efm_dataset_read(dataset, bytes, size, options, error);
    efm_free(bytes);
    return status;
}

static enum efm_status read_labels(struct efm_labels *labels, int folder, const char *path,
                                   struct efm_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    int64_t changed;
    struct efm_error reason = {0};
    enum efm_status status = srv_storage_read(folder, path, SIZE_MAX, &bytes, &size, &changed, &reason);
    if (status == EFM_OK)
        status = efm_labels_read(labels, bytes, size, &reason);
    efm_free(bytes);
    return status == EFM_OK ? EFM_OK : fail(error, path, &reason);
}

/* Puts the part that the plate asks for in place of the whole. */
static enum efm_status select_part(struct efm_dataset **dataset, const struct api_train_plate *plate,
                                   int folder, struct efm_error *error)
{
    struct efm_labels labels = {0};
    struct efm_selection selection = {.label = plate->label, .first = plate->first, .count = plate->count};
    struct efm_dataset *part = NULL;
    enum efm_status status = EFM_OK;
    if (plate->labels == NULL && plate->first == 0 && plate->count == 0)
        return EFM_OK;
    if (plate->labels != NULL) {
        status = read_labels(&labels, folder, plate->labels, error);
        selection.labels = &labels;
    }
    if (status == EFM_OK)
        status = efm_dataset_select(&part, *dataset, &selection, error);
    efm_labels_release(&labels);
    if (status != EFM_OK)
        return status;
    efm_dataset_unref(*dataset);
    *dataset = part;
    return EFM_OK;
}

static enum efm_status read_plate(struct efm_dataset **dataset, const struct api_train_plate *plate,
                                  int folder, const struct efm_dataset_options *options,
                                  struct efm_error *error)
{
    struct efm_error reason = {0};
    enum efm_status status;
    if (plate->origin == API_TRAIN_GAUSSIAN)
        return EFM_OK;
    if (plate->origin == API_TRAIN_TOY)
        status = efm_dataset_read(dataset, (const uint8_t *)plate->toy, strlen(plate->toy), options, &reason);
    else
        status = read_path(dataset, folder, plate->path, options, &reason);
    if (status == EFM_OK)
        status = select_part(dataset, plate, folder, &reason);
    return status == EFM_OK ? EFM_OK : fail(error, plate->path != NULL ? plate->path : plate->name, &reason);
}

static void describe(const struct efm_shape *shape, char *out, size_t size)
{
    if (efm_shape_is_image(shape))
        snprintf(out, size, "images of %ux%ux%u", shape->height, shape->width, shape->channels);
    else
        snprintf(out, size, "vectors of %zu", shape->dimension);
}

enum efm_status srv_train_plates_check(struct efm_dataset *const datasets[2], struct efm_error *error)
{
    char shown[2][64];
    if (datasets[0] == NULL || datasets[1] == NULL ||
        efm_shape_equal(efm_dataset_shape(datasets[0]), efm_dataset_shape(datasets[1])))
        return EFM_OK;
    for (size_t side = 0; side < 2; side++)
        describe(efm_dataset_shape(datasets[side]), shown[side], sizeof shown[side]);
    return efm_error_set(
        error, EFM_E_SHAPE,
        "source and target differ: %s and %s; \"image\" in the spec brings images to one shape", shown[0],
        shown[1]);
}

enum efm_status srv_train_plates_read(struct efm_dataset *datasets[2], const struct api_train *train,
                                      int folder, struct efm_error *error)
{
    struct efm_dataset_options options;
    struct efm_dataset *read[2] = {0};
    enum efm_status status = EFM_OK;
    api_train_dataset_options(train, &options);
    for (size_t side = 0; side < 2 && status == EFM_OK; side++)
        status = read_plate(&read[side], &train->plates[side], folder, &options, error);
    if (status == EFM_OK)
        status = srv_train_plates_check(read, error);
    for (size_t side = 0; side < 2; side++) {
        if (status != EFM_OK)
            efm_dataset_unref(read[side]);
        else
            datasets[side] = read[side];
    }
    return status;
}

const struct efm_shape *srv_train_plates_shape(struct efm_dataset *const datasets[2])
{
    return efm_dataset_shape(datasets[EFM_SOURCE] != NULL ? datasets[EFM_SOURCE] : datasets[EFM_TARGET]);
}
