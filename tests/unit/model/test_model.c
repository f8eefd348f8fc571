// SPDX-License-Identifier: Apache-2.0
#include "core/base/sha256.h"
#include "core/data/toy.h"
#include "core/model/model.h"
#include "tests/unit/data/chaos.h"
#include "tests/unit/model/containers.h"

#include <math.h>
#include <stdio.h>

static struct efm_dataset *draw(enum efm_toy_kind kind, size_t count, struct efm_shape shape)
{
    struct efm_toy_spec spec = efm_toy_spec_default(kind);
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_dataset *dataset;
    spec.count = count;
    spec.shape = shape;
    assert_int_equal(efm_toy_dataset(&dataset, &spec, &options, NULL), EFM_OK);
    return dataset;
}

static struct efm_model *create(const struct efm_exact_spec *spec, struct efm_shape shape)
{
    struct efm_error error = {0};
    struct efm_model *model = NULL;
    struct efm_dataset *source = draw(EFM_TOY_GAUSSIAN, 20, shape);
    struct efm_dataset *target = draw(EFM_TOY_UNIFORM, 30, shape);
    if (efm_model_create_exact(&model, spec, source, "noise", target, "a cube", &error) != EFM_OK)
        fail_msg("%s", error.message);
    efm_dataset_unref(source);
    efm_dataset_unref(target);
    return model;
}

static struct efm_buffer save(const struct efm_model *model)
{
    struct efm_buffer out = efm_buffer_limited(1 << 24);
    assert_int_equal(efm_model_save(model, &out, NULL), EFM_OK);
    return out;
}

static enum efm_status load(struct efm_model **model, const struct efm_buffer *file, struct efm_error *error)
{
    void *block;
    *model = NULL;
    efm_error_clear(error);
    uint8_t *copy = exact_copy(file->data, file->size, 1, &block);
    enum efm_status status = efm_model_load(model, copy, file->size, 1 << 24, error);
    free(block);
    assert_true((status == EFM_OK) == (*model != NULL));
    return status;
}

/* The field at a few points of a small space, for comparing bytes. */
static void evaluate(const struct efm_field *field, float *x, double *z, double *log_norm)
{
    struct efm_field_workspace *workspace;
    float points[4 * 12];
    const double heights[4] = {0.1, 0.5, 1, 2};
    struct efm_field_values values = {.x = x, .z = z, .log_norm = log_norm};
    size_t dimension = efm_field_dimension(field);
    assert_in_range(dimension, 1, 12);
    for (size_t i = 0; i < 4 * dimension; i++)
        points[i] = sinf((float)i);
    assert_int_equal(efm_field_workspace_create(&workspace, field, 4, NULL, NULL), EFM_OK);
    efm_field_evaluate(field, workspace, points, heights, 4, &values);
    efm_field_workspace_destroy(workspace);
}

static void assert_same(const struct efm_model *a, const struct efm_model *b)
{
    float x[2][48] = {{0}};
    double z[2][4], log_norm[2][4];
    assert_true(efm_shape_equal(efm_model_shape(a), efm_model_shape(b)));
    assert_string_equal(efm_model_arch(a), efm_model_arch(b));
    assert_string_equal(efm_model_sha256(a), efm_model_sha256(b));
    assert_int_equal(efm_model_bytes(a), efm_model_bytes(b));
    assert_true(efm_model_gamma(a) == efm_model_gamma(b));
    assert_true(efm_field_length(efm_model_field(a)) == efm_field_length(efm_model_field(b)));
    assert_int_equal(efm_field_kind(efm_model_field(a)), efm_field_kind(efm_model_field(b)));
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++) {
        assert_string_equal(efm_model_domain(a, side)->name, efm_model_domain(b, side)->name);
        assert_int_equal(efm_model_domain(a, side)->standard_normal,
                         efm_model_domain(b, side)->standard_normal);
    }
    struct efm_flow_options options[2];
    efm_model_flow_options(a, &options[0]);
    efm_model_flow_options(b, &options[1]);
    assert_int_equal(options[0].map, options[1].map);
    evaluate(efm_model_field(a), x[0], z[0], log_norm[0]);
    evaluate(efm_model_field(b), x[1], z[1], log_norm[1]);
    assert_memory_equal(x[0], x[1], sizeof x[0]);
    assert_memory_equal(z[0], z[1], sizeof z[0]);
    assert_memory_equal(log_norm[0], log_norm[1], sizeof log_norm[0]);
}

static const struct efm_exact_spec specs[] = {
    {.kind = EFM_FIELD_SUPERPOSITION, .map = EFM_MAP_FORWARD},
    {.kind = EFM_FIELD_SUPERPOSITION, .map = EFM_MAP_STOCHASTIC, .length = 0.1},
    {.kind = EFM_FIELD_PER_PLATE, .map = EFM_MAP_FORWARD, .gamma = 0.3},
    {.kind = EFM_FIELD_CHAIN, .map = EFM_MAP_CHAIN, .length = 10. / 3},
};
enum { SPECS = sizeof specs / sizeof specs[0] };

static void comes_back_as_it_was(void **state)
{
    (void)state;
    const struct efm_shape shapes[] = {efm_shape_vector(1), efm_shape_vector(2), efm_shape_vector(12),
                                       efm_shape_image(2, 2, 3), efm_shape_image(3, 4, 1)};
    for (size_t i = 0; i < SPECS; i++) {
        for (size_t j = 0; j < sizeof shapes / sizeof shapes[0]; j++) {
            char sha256[65];
            struct efm_error error = {0};
            struct efm_model *again, *model = create(&specs[i], shapes[j]);
            struct efm_buffer file = save(model);
            efm_sha256_hex(file.data, file.size, sha256);
            assert_string_equal(efm_model_sha256(model), sha256);
            assert_int_equal(load(&again, &file, &error), EFM_OK);
            assert_same(model, again);
            struct efm_buffer file_again = save(again);
            assert_true(file.size == file_again.size && memcmp(file.data, file_again.data, file.size) == 0);
            assert_string_equal(efm_model_domain(again, EFM_TARGET)->name, "a cube");
            assert_true(efm_model_domain(again, EFM_SOURCE)->standard_normal);
            assert_false(efm_model_domain(again, EFM_TARGET)->standard_normal);
            efm_buffer_release(&file);
            efm_buffer_release(&file_again);
            efm_model_unref(again);
            efm_model_unref(model);
        }
    }
}

static void options_serve_its_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < SPECS; i++) {
        struct efm_model *model = create(&specs[i], efm_shape_vector(2));
        struct efm_flow_options options;
        struct efm_error error = {0};
        efm_model_flow_options(model, &options);
        assert_int_equal(options.map, specs[i].map);
        if (efm_flow_options_check(&options, efm_model_field(model), &error) != EFM_OK)
            fail_msg("spec %zu: %s", i, error.message);
        efm_model_unref(model);
    }
}

static void chooses_what_is_not_given(void **state)
{
    (void)state;
    struct efm_shape image = efm_shape_image(2, 2, 1), vector = efm_shape_vector(2);
    struct efm_exact_spec spec = {.kind = EFM_FIELD_PER_PLATE, .map = EFM_MAP_FORWARD};
    struct efm_model *model = create(&spec, image);
    assert_true(efm_model_gamma(model) == 5);
    assert_true(efm_field_length(efm_model_field(model)) == 10);
    assert_true(efm_model_bytes(model) > 50 * 4 * sizeof(float));
    efm_model_unref(model);
    model = create(&spec, vector);
    assert_true(efm_model_gamma(model) == 1e-7);
    efm_model_unref(model);

    /* means 0 and 10, no spread: each coordinate deviates by 5 */
    const float plates[2][4] = {{0, 0, 0, 0}, {10, 10, 10, 10}};
    struct efm_dataset *source, *target;
    double length = 0;
    assert_int_equal(efm_dataset_from_floats(&source, plates[0], 2, &vector, NULL), EFM_OK);
    assert_int_equal(efm_dataset_from_floats(&target, plates[1], 2, &vector, NULL), EFM_OK);
    assert_int_equal(efm_model_default_length(source, target, &length, NULL), EFM_OK);
    assert_true(fabs(length - 20) < 1e-12);
    assert_int_equal(efm_model_default_length(source, source, &length, NULL), EFM_OK);
    assert_true(length == 1);
    efm_dataset_unref(source);
    efm_dataset_unref(target);

    spec.max_charges = 7;
    model = create(&spec, vector);
    size_t count;
    efm_field_charges(efm_model_field(model), EFM_SOURCE, &count);
    assert_int_equal(count, 7);
    efm_model_unref(model);
}

static void is_shared_by_count(void **state)
{
    (void)state;
    struct efm_model *model = create(&specs[0], efm_shape_vector(2));
    struct efm_model *other = efm_model_ref(model);
    efm_model_unref(model);
    assert_string_equal(efm_model_arch(other), "exact");
    efm_model_unref(other);
    efm_model_unref(NULL);
}

static void refuses_bad_specs(void **state)
{
    (void)state;
    struct efm_shape shape = efm_shape_vector(2);
    struct efm_dataset *source = draw(EFM_TOY_GAUSSIAN, 5, shape), *target = draw(EFM_TOY_UNIFORM, 5, shape);
    struct efm_dataset *other = draw(EFM_TOY_UNIFORM, 5, efm_shape_image(1, 2, 1));
    struct efm_model *model = NULL;
    struct efm_error error = {0};
    char long_name[66];
    memset(long_name, 'n', 65);
    long_name[65] = '\0';
    const struct efm_exact_spec bad[] = {
        {.kind = EFM_FIELD_CHAIN, .map = EFM_MAP_FORWARD, .length = 1},
        {.kind = EFM_FIELD_CHAIN, .map = EFM_MAP_STOCHASTIC, .length = 1},
        {.kind = EFM_FIELD_PER_PLATE, .map = EFM_MAP_STOCHASTIC, .length = 1},
        {.kind = EFM_FIELD_PER_PLATE, .map = EFM_MAP_CHAIN, .length = 1},
        {.kind = EFM_FIELD_SUPERPOSITION, .map = EFM_MAP_CHAIN, .length = 1},
        {.map = EFM_MAP_FORWARD, .length = -1},
        {.map = EFM_MAP_FORWARD, .length = NAN},
        {.map = EFM_MAP_FORWARD, .length = INFINITY},
        {.map = EFM_MAP_FORWARD, .length = 1.1e6},
        {.map = EFM_MAP_FORWARD, .length = 1, .gamma = -1},
        {.map = EFM_MAP_FORWARD, .length = 1, .gamma = NAN},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(efm_model_create_exact(&model, &bad[i], source, "s", target, "t", NULL),
                         EFM_E_ARGUMENT);
    const char *names[] = {NULL, "", "tab\t", "\xc3\xa4", long_name};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(efm_model_create_exact(&model, specs, source, names[i], target, "t", NULL),
                         EFM_E_ARGUMENT);
        assert_int_equal(efm_model_create_exact(&model, specs, source, "s", target, names[i], NULL),
                         EFM_E_ARGUMENT);
    }
    long_name[64] = '\0'; /* as long as the name of a dataset can be */
    assert_int_equal(efm_model_create_exact(&model, specs, source, "s", other, "t", &error), EFM_E_SHAPE);
    assert_non_null(strstr(error.message, "vectors of 2 numbers and the target images of 1x2x1"));
    assert_null(model);
    assert_int_equal(efm_model_create_exact(&model, specs, source, long_name, target, "t", NULL), EFM_OK);
    assert_string_equal(efm_model_domain(model, EFM_SOURCE)->name, long_name);
    efm_model_unref(model);
    efm_dataset_unref(other);
    efm_dataset_unref(target);
    efm_dataset_unref(source);
}

#define METADATA                                                                                             \
    "\"efmd_version\":\"1\",\"arch\":\"exact\",\"field\":\"superposition\",\"map\":\"forward\",\"L\":\"6\"," \
    "\"gamma\":\"1e-7\",\"shape\":\"2\",\"source_name\":\"s\",\"target_name\":\"t\","                        \
    "\"source_standard_normal\":\"true\",\"target_standard_normal\":\"false\""
#define TENSORS                                                                                              \
    "\"source\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"                                \
    "\"target\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[16,24]}"

static const float plates[6] = {0, 1, 2, 3, 4, 5};

/* The good header with `from` replaced by `to`; "" replaces nothing. */
static struct efm_buffer variant(const char *from, const char *to)
{
    static const char good[] = "{\"__metadata__\":{\"format\":\"pt\"," METADATA "}," TENSORS "}";
    char header[2048];
    const char *place = strstr(good, from);
    assert_non_null(place);
    snprintf(header, sizeof header, "%.*s%s%s", (int)(place - good), good, to, place + strlen(from));
    return make_container(header, plates, sizeof plates);
}

static void assert_variant(const char *from, const char *to, enum efm_status wanted, const char *words)
{
    struct efm_error error = {0};
    struct efm_model *model;
    struct efm_buffer file = variant(from, to);
    enum efm_status status = load(&model, &file, &error);
    if (status != wanted || strstr(error.message, words) == NULL)
        fail_msg("%s -> %s: got %s: %s; expected %s: ...%s...", from, to, efm_status_name(status),
                 error.message, efm_status_name(wanted), words);
    efm_model_unref(model);
    efm_buffer_release(&file);
}

static void loads_files_of_others(void **state)
{
    (void)state;
    struct efm_error error = {0};
    struct efm_model *model, *again;
    struct efm_buffer file = variant("\"map\"", "\"from_the_future\":\"x\",\"map\"");
    char sha256[65];
    assert_int_equal(load(&model, &file, &error), EFM_OK);
    assert_true(efm_field_length(efm_model_field(model)) == 6);
    size_t count;
    assert_memory_equal(efm_field_charges(efm_model_field(model), EFM_SOURCE, &count), plates, 16);
    assert_int_equal(count, 2);
    /* it is named by what we save, not by how others wrote it */
    struct efm_buffer saved = save(model);
    efm_sha256_hex(saved.data, saved.size, sha256);
    assert_string_equal(efm_model_sha256(model), sha256);
    assert_int_equal(load(&again, &saved, &error), EFM_OK);
    assert_same(model, again);
    efm_model_unref(again);
    efm_model_unref(model);
    efm_buffer_release(&saved);
    efm_buffer_release(&file);
}

static void refuses_bad_metadata(void **state)
{
    (void)state;
    assert_variant("", "", EFM_OK, "");
    assert_variant("\"exact\"", "\"transformer\"", EFM_E_UNSUPPORTED,
                   "arch 'transformer' is not served by this version");
    assert_variant("\"exact\"", "\"unet\"", EFM_E_FORMAT, "no \"nf\"");
    assert_variant("\"arch\"", "\"arc\"", EFM_E_FORMAT, "no arch");
    assert_variant("\"efmd_version\":\"1\"", "\"x\":\"1\"", EFM_E_FORMAT, "no efmd_version");
    assert_variant("\"efmd_version\":\"1\"", "\"efmd_version\":\"2\"", EFM_E_UNSUPPORTED, "'2'");
    assert_variant("\"superposition\"", "\"magnetic\"", EFM_E_UNSUPPORTED, "'magnetic'");
    assert_variant("\"forward\"", "\"sideways\"", EFM_E_UNSUPPORTED, "'sideways'");
    assert_variant("\"forward\"", "\"chain\"", EFM_E_FORMAT, "does not go with");
    assert_variant("\"superposition\"", "\"chain\"", EFM_E_FORMAT, "does not go with");
    assert_variant("\"L\"", "\"l\"", EFM_E_FORMAT, "no \"L\"");
    const char *numbers[] = {"0",   "-1",    "",    " 6", "6 ",  "6x", "nan",     "inf",
                             "1e7", "1e999", "0x6", "1e", "--6", ".",  "6\\u0001"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char to[32];
        snprintf(to, sizeof to, "\"L\":\"%s\"", numbers[i]);
        assert_variant("\"L\":\"6\"", to, EFM_E_FORMAT, "L");
        snprintf(to, sizeof to, "\"gamma\":\"%s\"", numbers[i]);
        assert_variant("\"gamma\":\"1e-7\"", to, EFM_E_FORMAT, "gamma");
    }
    const char *shapes[] = {"",
                            "0",
                            "2,",
                            ",2",
                            "1,2",
                            "1,2,1,1",
                            "1,2,2",
                            "-2",
                            "2x",
                            "1,2,1,",
                            "1,0,1",
                            " 2",
                            "99999999999999999999",
                            "70000,1,1",
                            "3"};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char to[48];
        snprintf(to, sizeof to, "\"shape\":\"%s\"", shapes[i]);
        assert_variant("\"shape\":\"2\"", to, EFM_E_FORMAT, "shape");
    }
    assert_variant("\"source_name\":\"s\"", "\"source_name\":\"\"", EFM_E_FORMAT, "name");
    assert_variant("\"target_name\":\"t\"", "\"target_name\":\"\\n\"", EFM_E_FORMAT, "name");
    assert_variant("\"target_name\":\"t\"", "\"target\":\"t\"", EFM_E_FORMAT, "target_name");
    assert_variant("\"true\"", "\"yes\"", EFM_E_FORMAT, "neither true nor false");
}

static void refuses_bad_plates(void **state)
{
    (void)state;
    assert_variant("\"target\":{", "\"goal\":{", EFM_E_FORMAT, "no tensor 'target'");
    assert_variant("\"F32\",\"shape\":[2,2]", "\"F64\",\"shape\":[1,2]", EFM_E_UNSUPPORTED, "F64, not F32");
    assert_variant("[2,2]", "[4]", EFM_E_FORMAT, "not of the model's shape");
    assert_variant("[2,2]", "[4,1]", EFM_E_FORMAT, "not of the model's shape");
    assert_variant("[2,2]", "[2,2,1]", EFM_E_FORMAT, "not of the model's shape");
    assert_variant("\"shape\":\"2\"", "\"shape\":\"1,2,1\"", EFM_E_FORMAT, "not of the model's shape");
    assert_variant("[2,2],\"data_offsets\":[0,16]},\"target\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_"
                   "offsets\":[16,24]}",
                   "[3,2],\"data_offsets\":[0,24]},\"target\":{\"dtype\":\"F32\",\"shape\":[0,2],\"data_"
                   "offsets\":[24,24]}",
                   EFM_E_FORMAT, "'target' is empty");
    assert_variant("\"source\":{",
                   "\"more\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"source\":{",
                   EFM_E_FORMAT, "2 tensors");
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        struct efm_error error = {0};
        struct efm_model *model;
        struct efm_buffer file = variant("", "");
        memcpy(file.data + file.size - 8, &bad[i], 4);
        assert_int_equal(load(&model, &file, &error), EFM_E_NUMERIC);
        assert_string_equal(error.message, "value 0 of the tensor 'target' is not finite");
        efm_buffer_release(&file);
    }
}

static void refuses_truncations_and_limits(void **state)
{
    (void)state;
    struct efm_error error = {0};
    struct efm_model *loaded, *model = create(&specs[0], efm_shape_vector(1));
    struct efm_buffer file = save(model);
    size_t whole = file.size;
    for (file.size = 0; file.size < whole; file.size++)
        assert_int_equal(load(&loaded, &file, &error), EFM_E_FORMAT);
    assert_int_equal(efm_model_load(&loaded, file.data, whole, efm_model_bytes(model) - 1, NULL),
                     EFM_E_LIMIT);
    assert_int_equal(efm_model_load(&loaded, file.data, whole, efm_model_bytes(model), NULL), EFM_OK);
    efm_model_unref(loaded);
    efm_model_unref(model);
    efm_buffer_release(&file);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    struct efm_shape shape = efm_shape_image(2, 2, 3);
    struct efm_dataset *source = draw(EFM_TOY_GAUSSIAN, 5, shape), *target = draw(EFM_TOY_UNIFORM, 5, shape);
    struct efm_model *model = NULL, *loaded = NULL;
    enum efm_status status = EFM_E_MEMORY;
    size_t n = 0;
    for (; status != EFM_OK && n < 1000; n++) {
        struct efm_error error = {0};
        chaos_arm(n);
        status = efm_model_create_exact(&model, &specs[0], source, "s", target, "t", &error);
        chaos_disarm();
        assert_true(status == EFM_OK || (status == EFM_E_MEMORY && model == NULL && error.status == status));
    }
    assert_in_range(n, 8, 999);
    struct efm_buffer file = save(model);
    status = EFM_E_MEMORY;
    for (n = 0; status != EFM_OK && n < 1000; n++) {
        struct efm_error error = {0};
        chaos_arm(n);
        status = efm_model_load(&loaded, file.data, file.size, SIZE_MAX, &error);
        chaos_disarm();
        assert_true(status == EFM_OK || (status == EFM_E_MEMORY && loaded == NULL && error.status == status));
    }
    assert_in_range(n, 8, 999);
    efm_buffer_release(&file);
    efm_model_unref(loaded);
    efm_model_unref(model);
    efm_dataset_unref(target);
    efm_dataset_unref(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was),
        cmocka_unit_test(options_serve_its_field),
        cmocka_unit_test(chooses_what_is_not_given),
        cmocka_unit_test(is_shared_by_count),
        cmocka_unit_test(refuses_bad_specs),
        cmocka_unit_test(loads_files_of_others),
        cmocka_unit_test(refuses_bad_metadata),
        cmocka_unit_test(refuses_bad_plates),
        cmocka_unit_test(refuses_truncations_and_limits),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
