// SPDX-License-Identifier: Apache-2.0
/* The value of a point is a function of that point alone: the same bytes alone, in any place of any batch,
 * and for any size of team. */
#include "tests/unit/field/capacitor.h"

enum { POINTS = 130, TEAMS = 4 };

struct shape {
    size_t m, n, dimension;
    size_t step; /* batches of every step-th size are tried */
};

/* Many charges make several pieces of a product; few charges, odd counts and odd dimensions bring other kernels
 * and other alignments. */
static const struct shape shapes[] = {
    {1, 1, 1, 1},       {37, 40, 1, 1},    {200, 301, 2, 7},    {129, 64, 3, 3},     {11, 700, 5, 17},
    {100, 31, 8, 7},    {1, 1, 9, 1},      {1, 700, 10, 7},     {33, 2, 13, 1},      {513, 514, 33, 29},
    {640, 600, 65, 29}, {129, 65, 100, 5}, {520, 770, 257, 61}, {530, 300, 499, 43},
};

/* Large ones, for which a matrix library would choose by the number of points. */
static const struct shape large[] = {
    {513, 517, 1001, 61},
    {170, 600, 3072, 90},
};

static void expect_same(const struct answers *whole, const struct answers *part, size_t first,
                        const struct shape *shape, enum efm_field_kind kind, size_t team)
{
    size_t row = whole->dimension * sizeof(float);
    for (size_t i = 0; i < part->count; i++) {
        size_t k = first + i;
        bool same = memcmp((char *)whole->x + k * row, (char *)part->x + i * row, row) == 0 &&
                    memcmp(&whole->z[k], &part->z[i], sizeof(double)) == 0 &&
                    memcmp(&whole->log_norm[k], &part->log_norm[i], sizeof(double)) == 0 &&
                    memcmp(&whole->nearest[2 * k], &part->nearest[2 * i], 2 * sizeof(double)) == 0;
        if (!same)
            fail_msg("D %zu, %zu and %zu charges, %s, team of %zu: point %zu differs in place %zu of %zu",
                     shape->dimension, shape->m, shape->n, efm_field_kind_name(kind), team, k, i,
                     part->count);
    }
}

static void ask_and_compare(const struct efm_field *field, struct efm_field_workspace *workspace,
                            const struct probes *points, size_t first, size_t count,
                            const struct answers *whole, const struct shape *shape, size_t team)
{
    struct answers part = ask_some(field, workspace, points, first, count);
    expect_same(whole, &part, first, shape, efm_field_kind(field), team);
    answers_free(&part);
}

static void check_field(const struct efm_field *field, const struct probes *points, const struct shape *shape,
                        struct efm_team *const teams[TEAMS])
{
    static const size_t places[] = {0, 1, 5, 8, 62, 63, 64, 65, 127, 128, 129};
    struct answers whole = ask(field, points, NULL);
    for (size_t size = 1; size <= TEAMS; size++) {
        struct efm_field_workspace *workspace;
        assert_int_equal(efm_field_workspace_create(&workspace, field, POINTS, teams[size - 1], NULL),
                         EFM_OK);
        ask_and_compare(field, workspace, points, 0, POINTS, &whole, shape, size);
        ask_and_compare(field, workspace, points, 3, 7, &whole, shape, size);
        if (size == 1) {
            for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
                ask_and_compare(field, workspace, points, places[i], 1, &whole, shape, size);
            for (size_t count = 1; count <= POINTS; count += shape->step)
                ask_and_compare(field, workspace, points, POINTS - count, count, &whole, shape, size);
        }
        efm_field_workspace_destroy(workspace);
    }
    answers_free(&whole);
}

static void check_shape(const struct shape *shape, enum efm_exact_path path, double length,
                        struct efm_team *const teams[TEAMS])
{
    struct capacitor plates = capacitor_random(shape->m, shape->n, shape->dimension, length, 5);
    struct probes points = probes_around(&plates, POINTS, 6);
    for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
        struct efm_field *field = capacitor_field(&plates, kind, path, path == EFM_EXACT_BLAS ? 12 : 0);
        check_field(field, &points, shape, teams);
        efm_field_destroy(field);
    }
    probes_free(&points);
    capacitor_free(&plates);
}

static void with_teams(const struct shape *list, size_t count, double length, enum efm_exact_path path)
{
    struct efm_team *teams[TEAMS];
    for (size_t i = 0; i < TEAMS; i++)
        assert_int_equal(efm_team_create(&teams[i], i + 1, NULL), EFM_OK);
    for (size_t i = 0; i < count; i++)
        if (path == EFM_EXACT_AUTO || list[i].dimension <= EFM_EXACT_LOW_DIMENSION)
            check_shape(&list[i], path, length, teams);
    for (size_t i = 0; i < TEAMS; i++)
        efm_team_destroy(teams[i]);
}

static void same_bytes_in_any_batch(void **state)
{
    (void)state;
    with_teams(shapes, SLOW_BUILD ? 10 : sizeof shapes / sizeof shapes[0], 4, EFM_EXACT_AUTO);
}

/* Far apart many charges survive, so that sums go through the second product. */
static void same_bytes_where_all_charges_count(void **state)
{
    (void)state;
    with_teams(shapes, SLOW_BUILD ? 10 : 12, 300, EFM_EXACT_AUTO);
}

static void same_bytes_in_few_dimensions_by_products(void **state)
{
    (void)state;
    with_teams(shapes, 6, 4, EFM_EXACT_BLAS);
}

static void same_bytes_in_large_products(void **state)
{
    (void)state;
    with_teams(large, SLOW_BUILD ? 1 : sizeof large / sizeof large[0], 300, EFM_EXACT_AUTO);
}

static void a_bad_neighbour_harms_nobody(void **state)
{
    (void)state;
    static const struct shape mixed[] = {{37, 40, 1, 1}, {100, 31, 3, 1}, {129, 65, 100, 1}, {513, 1, 33, 1}};
    static const double bad[] = {NAN, INFINITY, -INFINITY, 1e30};
    for (size_t s = 0; s < sizeof mixed / sizeof mixed[0]; s++) {
        struct capacitor plates = capacitor_random(mixed[s].m, mixed[s].n, mixed[s].dimension, 50, 7);
        struct probes points = probes_around(&plates, 20, 8);
        for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
            struct efm_field *field = capacitor_field(&plates, kind, EFM_EXACT_AUTO, 0);
            struct answers good = ask(field, &points, NULL);
            for (size_t b = 0; b < 2 * sizeof bad / sizeof bad[0]; b++) {
                struct probes spoilt = probes_new(20, points.dimension);
                memcpy(spoilt.x, points.x, 20 * points.dimension * sizeof(float));
                memcpy(spoilt.z, points.z, 20 * sizeof(double));
                if (b % 2 == 0)
                    spoilt.x[9 * points.dimension] = (float)bad[b / 2];
                else
                    spoilt.z[9] = bad[b / 2];
                struct answers others = ask(field, &spoilt, NULL);
                struct answers before = others, behind = {10,
                                                          points.dimension,
                                                          others.x + 10 * points.dimension,
                                                          others.z + 10,
                                                          others.log_norm + 10,
                                                          others.nearest + 20};
                before.count = 9;
                expect_same(&good, &before, 0, &mixed[s], kind, 1);
                expect_same(&good, &behind, 10, &mixed[s], kind, 1);
                answers_free(&others);
                probes_free(&spoilt);
            }
            answers_free(&good);
            efm_field_destroy(field);
        }
        probes_free(&points);
        capacitor_free(&plates);
    }
}

static void an_empty_batch_does_nothing(void **state)
{
    (void)state;
    static const size_t dimensions[] = {2, 20};
    for (size_t i = 0; i < 2; i++) {
        struct capacitor plates = capacitor_random(5, 6, dimensions[i], 2, 1);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, EFM_EXACT_AUTO, 0);
        struct efm_field_workspace *workspace;
        struct efm_field_values nothing = {0};
        assert_int_equal(efm_field_workspace_create(&workspace, field, 3, NULL, NULL), EFM_OK);
        assert_int_equal(efm_field_workspace_capacity(workspace), 3);
        efm_field_evaluate(field, workspace, NULL, NULL, 0, &nothing);
        efm_field_workspace_destroy(workspace);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_in_any_batch),
        cmocka_unit_test(same_bytes_where_all_charges_count),
        cmocka_unit_test(same_bytes_in_few_dimensions_by_products),
        cmocka_unit_test(same_bytes_in_large_products),
        cmocka_unit_test(a_bad_neighbour_harms_nobody),
        cmocka_unit_test(an_empty_batch_does_nothing),
    };
    return cmocka_run_group_tests_name("field/batches", tests, NULL, NULL);
}
