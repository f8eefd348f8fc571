// SPDX-License-Identifier: Apache-2.0
/* The exact model: its field is the sum over the charges of two plates, so its file is the plates. */
#include "core/base/memory.h"
#include "core/model/model_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const plate_names[2] = {"source", "target"};

enum { LENGTH_SAMPLES = 10000, METADATA_COUNT = 11 };

/* ---- what a model may be ---- */

static enum efm_status check_map(enum efm_field_kind kind, enum efm_map map, struct efm_error *error)
{
    if ((unsigned)kind > EFM_FIELD_CHAIN)
        return efm_error_set(error, EFM_E_ARGUMENT, "charges make no field %s: it can only be learned",
                             efm_field_kind_name(kind));
    bool fits = kind == EFM_FIELD_CHAIN           ? map == EFM_MAP_CHAIN
                : kind == EFM_FIELD_SUPERPOSITION ? map != EFM_MAP_CHAIN
                                                  : map == EFM_MAP_FORWARD;
    if (!fits)
        return efm_error_set(error, EFM_E_ARGUMENT, "the map %s does not go with the field %s",
                             efm_map_name(map), efm_field_kind_name(kind));
    return EFM_OK;
}

/* ---- create ---- */

/* Adds a plate to the sums over which the spread is taken. */
static enum efm_status add_moments(const struct efm_dataset *dataset, float *sample, double *sum,
                                   double *squares, size_t *count, struct efm_error *error)
{
    size_t dimension = efm_dataset_shape(dataset)->dimension;
    size_t samples = efm_dataset_count(dataset);
    if (samples > LENGTH_SAMPLES)
        samples = LENGTH_SAMPLES;
    for (size_t i = 0; i < samples; i++) {
        enum efm_status status = efm_dataset_floats(dataset, i, 1, sample, error);
        if (status != EFM_OK)
            return status;
        for (size_t j = 0; j < dimension; j++) {
            sum[j] += sample[j];
            squares[j] += (double)sample[j] * sample[j];
        }
    }
    *count += samples;
    return EFM_OK;
}

/* The root of the variance of a coordinate, averaged over the coordinates. */
static enum efm_status find_deviation(const struct efm_dataset *source, const struct efm_dataset *target,
                                      double *deviation, struct efm_error *error)
{
    size_t dimension = efm_dataset_shape(source)->dimension, count = 0;
    float *sample = efm_allocate_array(dimension, sizeof *sample);
    double *sum = efm_allocate_array(dimension, sizeof *sum);
    double *squares = efm_allocate_array(dimension, sizeof *squares);
    enum efm_status status = EFM_OK;
    if (sample == NULL || sum == NULL || squares == NULL)
        status = efm_error_set(error, EFM_E_MEMORY, "no memory to measure the plates");
    if (status == EFM_OK)
        status = add_moments(source, sample, sum, squares, &count, error);
    if (status == EFM_OK)
        status = add_moments(target, sample, sum, squares, &count, error);
    double variance = 0;
    for (size_t j = 0; j < dimension && status == EFM_OK; j++) {
        double mean = sum[j] / (double)count;
        variance += fmax(squares[j] / (double)count - mean * mean, 0);
    }
    *deviation = sqrt(variance / (double)dimension);
    efm_free(squares);
    efm_free(sum);
    efm_free(sample);
    return status;
}

enum efm_status efm_model_default_length(const struct efm_dataset *source, const struct efm_dataset *target,
                                         double *length, struct efm_error *error)
{
    double deviation = 0;
    if (efm_shape_is_image(efm_dataset_shape(source))) {
        *length = 10;
        return EFM_OK;
    }
    enum efm_status status = find_deviation(source, target, &deviation, error);
    if (status != EFM_OK)
        return status;
    *length = deviation > 0 ? fmin(4 * deviation, EFM_MODEL_MAX_NUMBER) : 1;
    return EFM_OK;
}

/* The first samples of a dataset as charges. */
static enum efm_status take_charges(const struct efm_dataset *dataset, size_t max_charges, float **charges,
                                    size_t *count, struct efm_error *error)
{
    size_t dimension = efm_dataset_shape(dataset)->dimension, total;
    *count = efm_dataset_count(dataset);
    if (max_charges > 0 && *count > max_charges)
        *count = max_charges;
    *charges =
        efm_size_multiply(*count, dimension, &total) ? efm_allocate_array(total, sizeof **charges) : NULL;
    if (*charges == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a plate of %zu charges", *count);
    return efm_dataset_floats(dataset, 0, *count, *charges, error);
}

static enum efm_status create_field(struct efm_model *model, enum efm_field_kind kind, double length,
                                    const struct efm_dataset *const plates[2], size_t max_charges,
                                    struct efm_error *error)
{
    float *charges[2] = {NULL, NULL};
    size_t counts[2] = {0, 0};
    enum efm_status status = EFM_OK;
    for (int side = EFM_SOURCE; side <= EFM_TARGET && status == EFM_OK; side++)
        status = take_charges(plates[side], max_charges, &charges[side], &counts[side], error);
    if (status == EFM_OK) {
        struct efm_exact_options options = {.kind = kind, .length = length, .gamma = model->gamma};
        status = efm_exact_field_create(&model->field, charges[0], counts[0], charges[1], counts[1],
                                        model->shape.dimension, &options, error);
    }
    efm_free(charges[0]);
    efm_free(charges[1]);
    return status;
}

static enum efm_status fill(struct efm_model *model, const struct efm_exact_spec *spec,
                            const struct efm_dataset *const plates[2], const char *const names[2],
                            struct efm_error *error)
{
    model->shape = *efm_dataset_shape(plates[0]);
    model->map = spec->map;
    model->gamma = spec->gamma != 0 ? spec->gamma : efm_shape_is_image(&model->shape) ? 5 : 1e-7;
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++) {
        enum efm_status status = efm_domain_set_name(&model->domains[side], names[side], error);
        if (status != EFM_OK)
            return status;
        model->domains[side].standard_normal = efm_dataset_is_standard_normal(plates[side]);
    }
    double length = spec->length;
    enum efm_status status = check_map(spec->kind, spec->map, error);
    if (status == EFM_OK && length == 0)
        status = efm_model_default_length(plates[0], plates[1], &length, error);
    if (status == EFM_OK)
        status = efm_model_check_numbers(length, model->gamma, error);
    if (status == EFM_OK)
        status = create_field(model, spec->kind, length, plates, spec->max_charges, error);
    if (status == EFM_OK)
        status = efm_model_name(model, NULL, 0, error);
    return status;
}

static void describe_shape(const struct efm_shape *shape, char *out, size_t size)
{
    if (efm_shape_is_image(shape))
        snprintf(out, size, "images of %ux%ux%u (height, width, channels)", shape->height, shape->width,
                 shape->channels);
    else
        snprintf(out, size, "vectors of %zu numbers", shape->dimension);
}

static enum efm_status refuse_shapes(const struct efm_shape *source, const struct efm_shape *target,
                                     struct efm_error *error)
{
    char one[96], other[96];
    describe_shape(source, one, sizeof one);
    describe_shape(target, other, sizeof other);
    return efm_error_set(error, EFM_E_SHAPE, "the source holds %s and the target %s", one, other);
}

enum efm_status efm_model_create_exact(struct efm_model **model, const struct efm_exact_spec *spec,
                                       const struct efm_dataset *source, const char *source_name,
                                       const struct efm_dataset *target, const char *target_name,
                                       struct efm_error *error)
{
    const struct efm_shape *first = efm_dataset_shape(source), *second = efm_dataset_shape(target);
    if (!efm_shape_equal(first, second))
        return refuse_shapes(first, second, error);
    const struct efm_dataset *plates[2] = {source, target};
    const char *names[2] = {source_name, target_name};
    struct efm_model *made = NULL;
    enum efm_status status = efm_model_allocate(&made, &efm_exact_arch, error);
    if (status != EFM_OK)
        return status;
    status = fill(made, spec, plates, names, error);
    if (status != EFM_OK) {
        efm_model_unref(made);
        return status;
    }
    *model = made;
    return EFM_OK;
}

/* ---- save ---- */

static struct efm_tensor_entry plate_tensor(const struct efm_model *model, enum efm_plate_side side)
{
    size_t count;
    const struct efm_shape *shape = &model->shape;
    const float *charges = efm_field_charges(model->field, side, &count);
    struct efm_tensor_entry entry = {
        .name = plate_names[side],
        .type = EFM_TENSOR_F32,
        .rank = 2,
        .shape = {count, shape->dimension},
        .count = count * shape->dimension,
        .data = (const uint8_t *)charges,
        .size = count * shape->dimension * sizeof *charges,
    };
    if (efm_shape_is_image(shape)) {
        entry.rank = 4;
        entry.shape[1] = shape->height;
        entry.shape[2] = shape->width;
        entry.shape[3] = shape->channels;
    }
    return entry;
}

static enum efm_status save(const struct efm_model *model, bool header_only, struct efm_buffer *out,
                            struct efm_error *error)
{
    static const char *const truths[2] = {"false", "true"};
    char length[32], gamma[32], shape[EFM_SHAPE_TEXT];
    snprintf(length, sizeof length, "%.17g", efm_field_length(model->field));
    snprintf(gamma, sizeof gamma, "%.17g", model->gamma);
    efm_metadata_render_shape(&model->shape, shape);
    const struct efm_domain *source = &model->domains[EFM_SOURCE], *target = &model->domains[EFM_TARGET];
    const struct efm_metadata_entry metadata[METADATA_COUNT] = {
        {"efmd_version", "1"},
        {"arch", model->arch->name},
        {"field", efm_field_kind_name(efm_field_kind(model->field))},
        {"map", efm_map_name(model->map)},
        {"L", length},
        {"gamma", gamma},
        {"shape", shape},
        {"source_name", source->name},
        {"target_name", target->name},
        {"source_standard_normal", truths[source->standard_normal]},
        {"target_standard_normal", truths[target->standard_normal]},
    };
    const struct efm_tensor_entry tensors[2] = {plate_tensor(model, EFM_SOURCE),
                                                plate_tensor(model, EFM_TARGET)};
    return header_only ? efm_safetensors_write_header(out, tensors, 2, metadata, METADATA_COUNT, error)
                       : efm_safetensors_write(out, tensors, 2, metadata, METADATA_COUNT, error);
}

/* ---- load ---- */

/* A plate of the file, checked against the shape of the model; its numbers are not read yet. */
static enum efm_status find_plate(const struct efm_safetensors *file, enum efm_plate_side side,
                                  const struct efm_shape *shape, const struct efm_tensor_entry **plate,
                                  struct efm_error *error)
{
    const char *name = plate_names[side];
    const struct efm_tensor_entry *entry = efm_safetensors_find(file, name);
    if (entry == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "the model has no tensor '%s'", name);
    if (entry->type != EFM_TENSOR_F32)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the tensor '%s' is %s, not F32", name,
                             efm_tensor_type_name(entry->type));
    bool fits = efm_shape_is_image(shape)
                    ? entry->rank == 4 && entry->shape[1] == shape->height &&
                          entry->shape[2] == shape->width && entry->shape[3] == shape->channels
                    : entry->rank == 2 && entry->shape[1] == shape->dimension;
    if (!fits || entry->count == 0)
        return efm_error_set(error, EFM_E_FORMAT, "the tensor '%s' is empty or not of the model's shape",
                             name);
    *plate = entry;
    return EFM_OK;
}

static enum efm_status read_plate(const struct efm_tensor_entry *plate, float **charges,
                                  struct efm_error *error)
{
    *charges = efm_allocate_array(plate->count, sizeof **charges);
    if (*charges == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the plate '%s'", plate->name);
    enum efm_status status = efm_safetensors_floats(plate, *charges, error);
    for (size_t i = 0; i < plate->count && status == EFM_OK; i++)
        if (!isfinite((*charges)[i]))
            status = efm_error_set(error, EFM_E_NUMERIC, "value %zu of the tensor '%s' is not finite", i,
                                   plate->name);
    return status;
}

static enum efm_status load_plates(struct efm_model *model, const struct efm_safetensors *file,
                                   const struct efm_exact_options *options, size_t max_bytes,
                                   struct efm_error *error)
{
    const struct efm_tensor_entry *plates[2] = {NULL, NULL};
    float *charges[2] = {NULL, NULL};
    enum efm_status status = EFM_OK;
    for (int side = EFM_SOURCE; side <= EFM_TARGET && status == EFM_OK; side++)
        status = find_plate(file, side, &model->shape, &plates[side], error);
    if (status == EFM_OK && efm_safetensors_count(file) != 2)
        status =
            efm_error_set(error, EFM_E_FORMAT, "an exact model has 2 tensors, source and target, not %zu",
                          efm_safetensors_count(file));
    if (status != EFM_OK)
        return status;
    size_t bytes = efm_exact_field_bytes(plates[0]->shape[0], plates[1]->shape[0], model->shape.dimension);
    if (!efm_size_add(bytes, sizeof *model, &bytes) || bytes > max_bytes)
        return efm_error_set(error, EFM_E_LIMIT, "the model would take more than %zu bytes of memory",
                             max_bytes);
    for (int side = EFM_SOURCE; side <= EFM_TARGET && status == EFM_OK; side++)
        status = read_plate(plates[side], &charges[side], error);
    if (status == EFM_OK)
        status = efm_exact_field_create(&model->field, charges[0], (size_t)plates[0]->shape[0], charges[1],
                                        (size_t)plates[1]->shape[0], model->shape.dimension, options, error);
    efm_free(charges[0]);
    efm_free(charges[1]);
    return status;
}

static enum efm_status load(struct efm_model *model, const struct efm_safetensors *file, size_t max_bytes,
                            struct efm_error *error)
{
    struct efm_exact_options options = {.kind = EFM_FIELD_SUPERPOSITION};
    struct efm_error fault = {0};
    enum efm_status status = efm_metadata_kind(file, NULL, &options.kind, error);
    if (status == EFM_OK)
        status = efm_metadata_map(file, NULL, &model->map, error);
    if (status == EFM_OK)
        status = efm_metadata_number(file, "L", NULL, &options.length, error);
    if (status == EFM_OK)
        status = efm_metadata_number(file, "gamma", NULL, &options.gamma, error);
    if (status == EFM_OK)
        status = efm_metadata_shape(file, &model->shape, error);
    if (status == EFM_OK)
        status = efm_metadata_domains(file, NULL, model->domains, error);
    if (status != EFM_OK)
        return status;
    /* what a caller in C got wrong is an argument; what a file got wrong is its format */
    if (check_map(options.kind, model->map, &fault) != EFM_OK ||
        efm_model_check_numbers(options.length, options.gamma, &fault) != EFM_OK)
        return efm_error_set(error, EFM_E_FORMAT, "%s", fault.message);
    model->gamma = options.gamma;
    return load_plates(model, file, &options, max_bytes, error);
}

static size_t held_bytes(const struct efm_model *model)
{
    size_t counts[2];
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++)
        efm_field_charges(model->field, side, &counts[side]);
    return sizeof *model + efm_exact_field_bytes(counts[0], counts[1], model->shape.dimension);
}

const struct efm_model_arch efm_exact_arch = {
    .name = "exact", .load = load, .save = save, .bytes = held_bytes};
