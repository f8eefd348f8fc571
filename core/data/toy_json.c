// SPDX-License-Identifier: Apache-2.0
/* The JSON form of a toy; every fault of it is EFM_E_FORMAT, since here it comes from a file. */
#include "core/base/memory.h"
#include "core/base/words.h"
#include "core/data/data_internal.h"
#include "core/data/toy.h"

#include <jansson.h>
#include <string.h>

enum { MAX_JSON = 1 << 20 };

static const char *const kind_names[] = {EFM_TOY_KIND_MAP(EFM_WORD_OF)};

/* What is being read into: the spec and the centers that it borrows. */
struct reading {
    struct efm_toy_spec spec;
    bool dimension_given, shape_given;
    double *centers; /* owned */
};

static enum efm_status read_size(const char *key, const json_t *value, size_t high, size_t *out,
                                 struct efm_error *error)
{
    if (!json_is_integer(value) || json_integer_value(value) < 1)
        return efm_error_set(error, EFM_E_FORMAT, "\"%s\" of the toy is a whole number above 0", key);
    if ((uint64_t)json_integer_value(value) > high)
        return efm_error_set(error, EFM_E_LIMIT, "\"%s\" of the toy is %lld, more than %zu", key,
                             (long long)json_integer_value(value), high);
    *out = (size_t)json_integer_value(value);
    return EFM_OK;
}

static enum efm_status read_count(struct reading *reading, const char *key, const json_t *value,
                                  const struct efm_dataset_options *options, struct efm_error *error)
{
    return read_size(key, value, options->max_count, &reading->spec.count, error);
}

static enum efm_status read_dimension(struct reading *reading, const char *key, const json_t *value,
                                      const struct efm_dataset_options *options, struct efm_error *error)
{
    (void)options;
    size_t dimension = 0;
    enum efm_status status = read_size(key, value, EFM_TOY_MAX_DIMENSION, &dimension, error);
    if (status != EFM_OK)
        return status;
    if (reading->centers != NULL && dimension != reading->spec.shape.dimension)
        return efm_error_set(error, EFM_E_FORMAT, "\"dimension\" is %zu and the centers have %zu numbers",
                             dimension, reading->spec.shape.dimension);
    reading->dimension_given = true;
    reading->spec.shape = efm_shape_vector(dimension);
    return EFM_OK;
}

static enum efm_status read_shape(struct reading *reading, const char *key, const json_t *value,
                                  const struct efm_dataset_options *options, struct efm_error *error)
{
    size_t sizes[3];
    if (!json_is_array(value) || json_array_size(value) != 3)
        return efm_error_set(error, EFM_E_FORMAT, "\"shape\" of the toy is [height, width, channels]");
    for (size_t i = 0; i < 3; i++) {
        size_t high = i < 2 ? options->image_limits.max_side : 3;
        enum efm_status status = read_size(key, json_array_get(value, i), high, &sizes[i], error);
        if (status != EFM_OK)
            return status;
    }
    if (sizes[2] == 2)
        return efm_error_set(error, EFM_E_FORMAT, "\"shape\" of the toy has 1 or 3 channels, not 2");
    reading->shape_given = true;
    reading->spec.shape = efm_shape_image((uint32_t)sizes[0], (uint32_t)sizes[1], (uint32_t)sizes[2]);
    return EFM_OK;
}

static enum efm_status read_seed(struct reading *reading, const char *key, const json_t *value,
                                 const struct efm_dataset_options *options, struct efm_error *error)
{
    (void)options;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return efm_error_set(error, EFM_E_FORMAT, "\"%s\" of the toy is a whole number from 0", key);
    reading->spec.seed = (uint64_t)json_integer_value(value);
    return EFM_OK;
}

static enum efm_status fill_centers(struct reading *reading, const json_t *value, size_t dimension,
                                    struct efm_error *error)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *center = json_array_get(value, i);
        if (json_array_size(center) != dimension)
            return efm_error_set(error, EFM_E_FORMAT, "center %zu has %zu numbers and the first one %zu", i,
                                 json_array_size(center), dimension);
        for (size_t j = 0; j < dimension; j++) {
            const json_t *number = json_array_get(center, j);
            if (!json_is_number(number))
                return efm_error_set(error, EFM_E_FORMAT,
                                     "center %zu of the toy holds something that is no "
                                     "number",
                                     i);
            reading->centers[i * dimension + j] = json_number_value(number);
        }
    }
    return EFM_OK;
}

static enum efm_status read_centers(struct reading *reading, const char *key, const json_t *value,
                                    const struct efm_dataset_options *options, struct efm_error *error)
{
    (void)options;
    size_t count = json_array_size(value); /* 0 for what is no array */
    size_t dimension = json_array_size(json_array_get(value, 0));
    if (count == 0 || dimension == 0)
        return efm_error_set(error, EFM_E_FORMAT, "\"%s\" of the toy is a list of lists of numbers", key);
    if (count > EFM_TOY_MAX_CENTERS)
        return efm_error_set(error, EFM_E_LIMIT, "%zu centers are more than %d", count, EFM_TOY_MAX_CENTERS);
    if (reading->dimension_given && dimension != reading->spec.shape.dimension)
        return efm_error_set(error, EFM_E_FORMAT, "\"dimension\" is %zu and the centers have %zu numbers",
                             reading->spec.shape.dimension, dimension);
    size_t total;
    if (!efm_size_multiply(count, dimension, &total))
        return efm_error_set(error, EFM_E_LIMIT, "the centers are too many");
    reading->centers = efm_allocate_array(total, sizeof *reading->centers);
    if (reading->centers == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the centers of a toy");
    reading->spec.shape = efm_shape_vector(dimension);
    reading->spec.centers = reading->centers;
    reading->spec.center_count = count;
    return fill_centers(reading, value, dimension, error);
}

static enum efm_status read_number(const char *key, const json_t *value, double *out, struct efm_error *error)
{
    if (!json_is_number(value))
        return efm_error_set(error, EFM_E_FORMAT, "\"%s\" of the toy is a number", key);
    *out = json_number_value(value);
    return EFM_OK;
}

static enum efm_status read_deviation(struct reading *reading, const char *key, const json_t *value,
                                      const struct efm_dataset_options *options, struct efm_error *error)
{
    (void)options;
    return read_number(key, value, &reading->spec.deviation, error);
}

static enum efm_status read_noise(struct reading *reading, const char *key, const json_t *value,
                                  const struct efm_dataset_options *options, struct efm_error *error)
{
    (void)options;
    return read_number(key, value, &reading->spec.noise, error);
}

static enum efm_status read_scale(struct reading *reading, const char *key, const json_t *value,
                                  const struct efm_dataset_options *options, struct efm_error *error)
{
    (void)options;
    return read_number(key, value, &reading->spec.scale, error);
}

#define BIT(kind) (1u << (kind))
enum { EVERY_KIND = 0x1f };

/* Which key says what, and for which kinds. */
static const struct {
    const char *key;
    unsigned kinds;
    enum efm_status (*read)(struct reading *reading, const char *key, const json_t *value,
                            const struct efm_dataset_options *options, struct efm_error *error);
} members[] = {
    {"count", EVERY_KIND, read_count},
    {"seed", EVERY_KIND, read_seed},
    {"dimension", EVERY_KIND, read_dimension},
    {"shape", BIT(EFM_TOY_GAUSSIAN) | BIT(EFM_TOY_UNIFORM), read_shape},
    {"centers", BIT(EFM_TOY_MIXTURE), read_centers},
    {"deviation", BIT(EFM_TOY_MIXTURE), read_deviation},
    {"noise", BIT(EFM_TOY_SWISS_ROLL), read_noise},
    {"scale", BIT(EFM_TOY_SWISS_ROLL), read_scale},
};

static enum efm_status read_kind(const json_t *root, enum efm_toy_kind *kind, struct efm_error *error)
{
    const char *word = json_string_value(json_object_get(root, "toy"));
    if (word == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "the JSON is no toy: it has no \"toy\" with a name");
    size_t index;
    if (efm_word_find(kind_names, sizeof kind_names / sizeof kind_names[0], word, &index)) {
        *kind = (enum efm_toy_kind)index;
        return EFM_OK;
    }
    return efm_error_set(error, EFM_E_UNSUPPORTED,
                         "there is no toy '%s', only gaussian, mixture, swiss_roll, uniform, two_intervals",
                         efm_show_name(word, strlen(word)).text);
}

static enum efm_status read_members(struct reading *reading, json_t *root,
                                    const struct efm_dataset_options *options, struct efm_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "toy") == 0)
            continue;
        size_t i = 0;
        while (i < sizeof members / sizeof members[0] && strcmp(key, members[i].key) != 0)
            i++;
        if (i == sizeof members / sizeof members[0] || (members[i].kinds & BIT(reading->spec.kind)) == 0)
            return efm_error_set(error, EFM_E_FORMAT, "the toy %s knows no \"%s\"",
                                 kind_names[reading->spec.kind], efm_show_name(key, strlen(key)).text);
        enum efm_status status = members[i].read(reading, key, value, options, error);
        if (status != EFM_OK)
            return status;
    }
    if (reading->shape_given && reading->dimension_given)
        return efm_error_set(error, EFM_E_FORMAT, "a toy has a \"dimension\" or a \"shape\", not both");
    if (reading->spec.kind == EFM_TOY_MIXTURE && reading->spec.shape.dimension != 2 &&
        reading->centers == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "a mixture of dimension %zu needs \"centers\"",
                             reading->spec.shape.dimension);
    return EFM_OK;
}

static bool probe(const uint8_t *bytes, size_t size)
{
    size_t i = 0;
    while (i < size && (bytes[i] == ' ' || bytes[i] == '\n' || bytes[i] == '\r' || bytes[i] == '\t'))
        i++;
    return i < size && bytes[i] == '{';
}

static enum efm_status read_root(struct reading *reading, json_t *root,
                                 const struct efm_dataset_options *options, struct efm_error *error)
{
    struct efm_error fault = {0};
    enum efm_toy_kind kind = EFM_TOY_GAUSSIAN;
    enum efm_status status = read_kind(root, &kind, error);
    if (status != EFM_OK)
        return status;
    reading->spec = efm_toy_spec_default(kind);
    status = read_members(reading, root, options, error);
    if (status != EFM_OK)
        return status;
    /* what a caller in C got wrong is an argument; what a file got wrong is its format */
    if (efm_toy_spec_check(&reading->spec, &fault) != EFM_OK)
        return efm_error_set(error, EFM_E_FORMAT, "%s", fault.message);
    return EFM_OK;
}

/* reading->centers is the caller's to free, whatever comes of it. */
static enum efm_status read_spec(struct reading *reading, const uint8_t *bytes, size_t size,
                                 const struct efm_dataset_options *options, struct efm_error *error)
{
    json_error_t reason;
    if (size > MAX_JSON)
        return efm_error_set(error, EFM_E_LIMIT, "the JSON of a toy has at most %d bytes", MAX_JSON);
    json_t *root = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, &reason);
    if (root == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "the JSON of the toy is damaged in line %d", reason.line);
    enum efm_status status = read_root(reading, root, options, error);
    json_decref(root);
    return status;
}

static enum efm_status read_samples(struct efm_dataset **dataset, const uint8_t *bytes, size_t size,
                                    const struct efm_dataset_options *options, struct efm_error *error)
{
    struct reading reading = {0};
    enum efm_status status = read_spec(&reading, bytes, size, options, error);
    if (status == EFM_OK)
        status = efm_toy_dataset(dataset, &reading.spec, options, error);
    efm_free(reading.centers);
    return status;
}

enum efm_status efm_toy_describe(const uint8_t *json, size_t size, const struct efm_dataset_options *options,
                                 struct efm_shape *shape, size_t *count, struct efm_error *error)
{
    struct reading reading = {0};
    size_t bytes;
    enum efm_status status = read_spec(&reading, json, size, options, error);
    efm_free(reading.centers);
    if (status == EFM_OK)
        status = efm_dataset_check_shape(options, &reading.spec.shape, error);
    if (status == EFM_OK)
        status = efm_dataset_check_size(reading.spec.count, &reading.spec.shape, sizeof(float), options,
                                        &bytes, error);
    if (status != EFM_OK)
        return status;
    *shape = reading.spec.shape;
    *count = reading.spec.count;
    return EFM_OK;
}

const struct efm_dataset_reader efm_toy_reader = {"toy", probe, read_samples};
