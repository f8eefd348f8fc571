// SPDX-License-Identifier: Apache-2.0
/* The exact fields against numbers computed in float64 by another program, see
 * tests/data/reference/README.md. */
#include "core/base/memory.h"
#include "core/field/field.h"
#include "core/model/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    uint8_t *bytes;
    struct efm_safetensors *file;
    float *p, *q, *points, *x;
    double *z;
    size_t m, n, count, dimension;
    double length, gamma;
};

static float *floats(struct fixture *fixture, const char *name, size_t *rows)
{
    const struct efm_tensor_entry *entry = efm_safetensors_find(fixture->file, name);
    assert_non_null(entry);
    float *values = malloc(entry->count * sizeof *values);
    assert_int_equal(efm_safetensors_floats(entry, values, NULL), EFM_OK);
    *rows = entry->shape[0];
    return values;
}

static double *doubles(struct fixture *fixture, const char *name)
{
    const struct efm_tensor_entry *entry = efm_safetensors_find(fixture->file, name);
    if (entry == NULL)
        return NULL;
    double *values = malloc(entry->count * sizeof *values);
    assert_int_equal(efm_safetensors_doubles(entry, values, NULL), EFM_OK);
    return values;
}

static void open_fixture(struct fixture *fixture, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/reference/%s.safetensors", getenv("EFMD_SOURCE_ROOT"), name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    fixture->bytes = malloc(size);
    assert_int_equal(fread(fixture->bytes, 1, size, file), size);
    fclose(file);
    assert_int_equal(efm_safetensors_open(&fixture->file, fixture->bytes, size, NULL), EFM_OK);
    fixture->p = floats(fixture, "P", &fixture->m);
    fixture->q = floats(fixture, "Q", &fixture->n);
    fixture->points = floats(fixture, "X", &fixture->count);
    const struct efm_tensor_entry *entry = efm_safetensors_find(fixture->file, "P");
    size_t d = fixture->dimension = entry->shape[1];
    fixture->length = atof(efm_safetensors_metadata(fixture->file, "L"));
    fixture->gamma = atof(efm_safetensors_metadata(fixture->file, "gamma"));
    fixture->x = malloc(fixture->count * d * sizeof *fixture->x);
    fixture->z = malloc(fixture->count * sizeof *fixture->z);
    for (size_t i = 0; i < fixture->count; i++) {
        memcpy(fixture->x + i * d, fixture->points + i * (d + 1), d * sizeof(float));
        fixture->z[i] = fixture->points[i * (d + 1) + d];
    }
}

static void close_fixture(struct fixture *fixture)
{
    efm_safetensors_close(fixture->file);
    free(fixture->bytes);
    free(fixture->p);
    free(fixture->q);
    free(fixture->points);
    free(fixture->x);
    free(fixture->z);
}

/* Largest difference over largest expected value, of the vectors and of the log norms. */
static void compare(struct fixture *fixture, enum efm_field_kind kind, enum efm_exact_path path,
                    const char *direction_name, const char *log_norm_name, const char *label)
{
    size_t d = fixture->dimension, n = fixture->count;
    double *direction = doubles(fixture, direction_name);
    double *log_norm = log_norm_name == NULL ? NULL : doubles(fixture, log_norm_name);
    if (direction == NULL || (path == EFM_EXACT_LOW && d > EFM_EXACT_LOW_DIMENSION)) {
        free(direction);
        free(log_norm);
        return;
    }
    struct efm_exact_options options = {kind, path, fixture->length, fixture->gamma, 12};
    struct efm_field *field;
    struct efm_field_workspace *workspace;
    assert_int_equal(
        efm_exact_field_create(&field, fixture->p, fixture->m, fixture->q, fixture->n, d, &options, NULL),
        EFM_OK);
    assert_int_equal(efm_field_workspace_create(&workspace, field, n, NULL, NULL), EFM_OK);
    float *x = malloc(n * d * sizeof *x);
    double *z = malloc(n * sizeof *z), *norm = malloc(n * sizeof *norm);
    struct efm_field_values values = {.x = x, .z = z, .log_norm = norm};
    efm_field_evaluate(field, workspace, fixture->x, fixture->z, n, &values);
    double worst = 0, worst_first = 0, largest = 0, worst_log = 0, largest_log = 0;
    for (size_t i = 0; i < n; i++) {
        /* per_plate is given as the vector itself, the others as unit directions */
        double length = kind == EFM_FIELD_PER_PLATE ? exp(norm[i]) : 1;
        for (size_t c = 0; c <= d; c++) {
            double expected = direction[i * (d + 1) + c];
            double got = length * (c < d ? (double)x[i * d + c] : z[i]);
            worst = fmax(worst, fabs(got - expected));
            if (i == 0)
                worst_first = fmax(worst_first, fabs(got - expected));
            largest = fmax(largest, fabs(expected));
        }
        if (log_norm != NULL) {
            worst_log = fmax(worst_log, fabs(norm[i] - log_norm[i]));
            largest_log = fmax(largest_log, fabs(log_norm[i]));
        }
    }
    static const char *const paths[] = {"auto", "plain", "blas", "low"};
    print_message("%-14s %-14s %-5s direction %.1e (at a charge %.1e)  log norm %.1e of %.0f\n", label,
                  efm_field_kind_name(kind), paths[path], worst / largest, worst_first / largest, worst_log,
                  largest_log);
    assert_true(worst <= 1e-4 * largest);
    assert_true(worst_log <= 1e-4 * fmax(largest_log, 1));
    efm_field_workspace_destroy(workspace);
    efm_field_destroy(field);
    free(direction);
    free(log_norm);
    free(x);
    free(z);
    free(norm);
}

static void check_file(const char *name)
{
    struct fixture fixture;
    open_fixture(&fixture, name);
    for (enum efm_exact_path path = EFM_EXACT_PLAIN; path <= EFM_EXACT_LOW; path++) {
        compare(&fixture, EFM_FIELD_SUPERPOSITION, path, "capacitor_direction", "capacitor_log_norm", name);
        compare(&fixture, EFM_FIELD_CHAIN, path, "chain12_direction", "chain12_log_norm", name);
        compare(&fixture, EFM_FIELD_PER_PLATE, path, "per_plate", NULL, name);
    }
    close_fixture(&fixture);
}

static void one_dimension(void **state)
{
    (void)state;
    check_file("field_d1_l2");
}

static void two_dimensions(void **state)
{
    (void)state;
    check_file("field_d2_l6");
}

static void images_near(void **state)
{
    (void)state;
    check_file("field_d3072_l10");
}

static void images_far(void **state)
{
    (void)state;
    check_file("field_d3072_l500");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_dimension),
        cmocka_unit_test(two_dimensions),
        cmocka_unit_test(images_near),
        cmocka_unit_test(images_far),
    };
    return cmocka_run_group_tests_name("reference/field", tests, NULL, NULL);
}
