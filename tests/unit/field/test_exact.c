// SPDX-License-Identifier: Apache-2.0
/* What an exact field says about itself and its points, and what it refuses. */
#include "tests/unit/field/capacitor.h"

static void kinds_have_words(void **state)
{
    (void)state;
    enum efm_field_kind kind;
    assert_string_equal(efm_field_kind_name(EFM_FIELD_CHAIN), "chain");
    assert_string_equal(efm_field_kind_name((enum efm_field_kind)77), "unknown");
    for (int k = EFM_FIELD_SUPERPOSITION; k <= EFM_FIELD_CHAIN; k++) {
        assert_int_equal(efm_field_kind_parse(efm_field_kind_name((enum efm_field_kind)k), &kind), EFM_OK);
        assert_int_equal(kind, k);
    }
    assert_int_equal(efm_field_kind_parse("chains", &kind), EFM_E_NOT_FOUND);
    assert_int_equal(efm_field_kind_parse("", &kind), EFM_E_NOT_FOUND);
}

static void a_field_knows_what_it_was_made_of(void **state)
{
    (void)state;
    static const struct {
        size_t dimension;
        enum efm_exact_path path;
    } paths[] = {{3, EFM_EXACT_PLAIN}, {3, EFM_EXACT_LOW}, {3, EFM_EXACT_BLAS}, {30, EFM_EXACT_AUTO}};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct capacitor plates = capacitor_random(11, 13, paths[i].dimension, 2.5, i);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_PER_PLATE, paths[i].path, 0);
        size_t bytes = 11 * paths[i].dimension * sizeof(float), count;
        float *copy = must_have(malloc(bytes));
        memcpy(copy, plates.source, bytes);
        memset(plates.source, 0, bytes); /* the field has its own copy */
        assert_memory_equal(efm_field_charges(field, EFM_SOURCE, &count), copy, bytes);
        assert_int_equal(count, 11);
        assert_non_null(efm_field_charges(field, EFM_TARGET, &count));
        assert_int_equal(count, 13);
        assert_int_equal(efm_field_dimension(field), paths[i].dimension);
        assert_true(efm_field_length(field) == 2.5);
        assert_int_equal(efm_field_kind(field), EFM_FIELD_PER_PLATE);
        free(copy);
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
    efm_field_destroy(NULL);
    efm_field_workspace_destroy(NULL);
}

static void directions_have_unit_length(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 2, 7, 8, 9, 50, 1000};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++) {
        struct capacitor plates = capacitor_random(40, 30, dimensions[i], 1.5, i);
        struct probes points = probes_around(&plates, 30, i);
        for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
            struct efm_field *field = capacitor_field(&plates, kind, EFM_EXACT_AUTO, 0);
            struct answers answers = ask(field, &points, NULL);
            for (size_t k = 0; k < 30; k++) {
                double squares = answers.z[k] * answers.z[k];
                for (size_t d = 0; d < dimensions[i]; d++)
                    squares += (double)answers.x[k * dimensions[i] + d] * answers.x[k * dimensions[i] + d];
                assert_true(fabs(squares - 1) < 1e-6); /* components are floats */
                assert_true(isfinite(answers.log_norm[k]));
            }
            answers_free(&answers);
            efm_field_destroy(field);
        }
        probes_free(&points);
        capacitor_free(&plates);
    }
}

static double nearest_of(const float *charges, size_t count, const float *x, size_t dimension)
{
    double nearest = INFINITY;
    for (size_t j = 0; j < count; j++)
        nearest = fmin(nearest, squared_between(x, charges + j * dimension, dimension));
    return sqrt(nearest);
}

/* Distances by differences are exact; those from products are good to sqrt(|x||y|) 1e-3, and matter only where
 * the charge is far, in height or to the side. */
static void nearest_distances_are_right(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 2, 8, 9, 50, 1000};
    const double lengths[] = {0.5, 500};
    for (size_t i = 0; i < 2 * sizeof dimensions / sizeof dimensions[0]; i++) {
        size_t dimension = dimensions[i / 2];
        struct capacitor plates = capacitor_random(40, 30, dimension, lengths[i % 2], i);
        struct probes points = probes_around(&plates, 30, i);
        for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
            struct efm_field *field = capacitor_field(&plates, kind, EFM_EXACT_AUTO, 0);
            struct answers answers = ask(field, &points, NULL);
            for (size_t k = 0; k < 60; k++) {
                const float *x = points.x + k / 2 * dimension;
                bool source = k % 2 == 0;
                double expected = nearest_of(source ? plates.source : plates.target,
                                             source ? plates.m : plates.n, x, dimension);
                double tolerance = dimension <= 8 ? 1e-9 : 1e-3 * sqrt((double)dimension);
                double got = answers.nearest[k];
                if (!(fabs(got - expected) <= tolerance * (1 + expected)))
                    fail_msg("D %zu, L %g, point %zu: nearest %g, not %g", dimension, plates.length, k / 2,
                             got, expected);
            }
            answers_free(&answers);
            efm_field_destroy(field);
        }
        probes_free(&points);
        capacitor_free(&plates);
    }
}

/* A product can put a charge at a distance whose square is negative. */
static void nearest_is_a_number_on_every_charge(void **state)
{
    (void)state;
    struct capacitor plates = capacitor_random(40, 30, 500, 500, 3);
    for (enum efm_field_kind kind = EFM_FIELD_SUPERPOSITION; kind <= EFM_FIELD_CHAIN; kind++) {
        struct efm_field *field = capacitor_field(&plates, kind, EFM_EXACT_AUTO, 0);
        struct probes points = probes_new(40, 500);
        memcpy(points.x, plates.source, 40 * 500 * sizeof(float));
        for (size_t i = 0; i < 40; i++)
            points.z[i] = 300;
        struct answers answers = ask(field, &points, NULL);
        for (size_t i = 0; i < 40; i++)
            assert_true(answers.nearest[2 * i] >= 0 && answers.nearest[2 * i] < 0.1);
        answers_free(&answers);
        probes_free(&points);
        efm_field_destroy(field);
    }
    capacitor_free(&plates);
}

static void nearest_may_be_left_out(void **state)
{
    (void)state;
    static const size_t dimensions[] = {2, 20};
    for (size_t i = 0; i < 2; i++) {
        struct capacitor plates = capacitor_random(5, 6, dimensions[i], 2, i);
        struct probes points = probes_around(&plates, 7, i);
        for (enum efm_exact_path path = EFM_EXACT_AUTO; path <= EFM_EXACT_PLAIN; path++) {
            struct efm_field *field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, path, 0);
            struct efm_field_workspace *workspace;
            assert_int_equal(efm_field_workspace_create(&workspace, field, 7, NULL, NULL), EFM_OK);
            struct answers with = ask_some(field, workspace, &points, 0, 7),
                           without = answers_new(7, dimensions[i]);
            struct efm_field_values values = {without.x, without.z, without.log_norm, NULL};
            efm_field_evaluate(field, workspace, points.x, points.z, 7, &values);
            assert_memory_equal(with.x, without.x, 7 * dimensions[i] * sizeof(float));
            assert_memory_equal(with.log_norm, without.log_norm, 7 * sizeof(double));
            answers_free(&with);
            answers_free(&without);
            efm_field_workspace_destroy(workspace);
            efm_field_destroy(field);
        }
        probes_free(&points);
        capacitor_free(&plates);
    }
}

/* On a charge there is no direction: zeros and an infinite norm, not NaN. */
static void a_charge_itself_has_no_direction(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 2, 8, 9, 100};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++) {
        struct capacitor plates = capacitor_random(7, 8, dimensions[i], 2, i);
        float *direction = must_have(malloc(dimensions[i] * sizeof(float)));
        for (int side = 0; side < 2; side++)
            for (int chain = 0; chain < 2; chain++) {
                struct efm_field *field = capacitor_field(
                    &plates, chain ? EFM_FIELD_CHAIN : EFM_FIELD_SUPERPOSITION, EFM_EXACT_AUTO, 0);
                double log_norm, up = ask_one(field, side == 0 ? plates.source : plates.target,
                                              side * plates.length, direction, &log_norm);
                assert_true(up == 0);
                assert_true(isinf(log_norm) && log_norm > 0);
                for (size_t d = 0; d < dimensions[i]; d++)
                    assert_true(direction[d] == 0);
                efm_field_destroy(field);
            }
        free(direction);
        capacitor_free(&plates);
    }
}

/* From far away a capacitor is a dipole: E = L [(D+1) cos(theta) r - z] / r^(D+1), r and z unit vectors. On the
 * axis it points back down with D times the strength that it points up with at the side. */
static void far_away_a_capacitor_is_a_dipole(void **state)
{
    (void)state;
    static const size_t dimensions[] = {1, 2, 3, 8, 12};
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++) {
        size_t dimension = dimensions[i];
        float *x = must_have(calloc(dimension, sizeof *x));
        struct capacitor plates = {1,
                                   1,
                                   dimension,
                                   0.01,
                                   must_have(calloc(dimension, sizeof *x)),
                                   must_have(calloc(dimension, sizeof *x))};
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, EFM_EXACT_AUTO, 0);
        double beside, ahead, behind, r = 2;
        assert_true(ask_one(field, x, r, NULL, &ahead) < -0.999);
        assert_true(ask_one(field, x, -r, NULL, &behind) < -0.999);
        x[0] = (float)r;
        assert_true(ask_one(field, x, plates.length / 2, NULL, &beside) > 0.999);
        double unit = log(plates.length) - ((double)dimension + 1) * log(r);
        assert_true(fabs(beside - unit) < 0.01 * ((double)dimension + 1));
        assert_true(fabs(ahead - beside - log((double)dimension)) < 0.01 * ((double)dimension + 1));
        assert_true(fabs(behind - beside - log((double)dimension)) < 0.01 * ((double)dimension + 1));
        efm_field_destroy(field);
        capacitor_free(&plates);
        free(x);
    }
}

/* u / (|u| + gamma) - v / (|v| + gamma) by hand for one charge a plate. */
static void per_plate_is_the_difference_of_offsets(void **state)
{
    (void)state;
    float p[2] = {0, 0}, q[2] = {3, 0}, x[2] = {0, 4}, direction[2];
    struct capacitor plates = {1, 1, 2, 15, p, q};
    struct efm_field *field = capacitor_field_gamma(&plates, EFM_FIELD_PER_PLATE, EFM_EXACT_AUTO, 0, 2);
    double log_norm, up = ask_one(field, x, 3, direction, &log_norm); /* u = (0, 4, 3), v = (-3, 4, -12) */
    double expected[3] = {3. / 15, 4. / 7 - 4. / 15, 3. / 7 + 12. / 15};
    double norm = sqrt(expected[0] * expected[0] + expected[1] * expected[1] + expected[2] * expected[2]);
    assert_true(fabs((double)direction[0] - expected[0] / norm) < 1e-7);
    assert_true(fabs((double)direction[1] - expected[1] / norm) < 1e-7);
    assert_true(fabs(up - expected[2] / norm) < 1e-12);
    assert_true(fabs(log_norm - log(sqrt(3) * norm)) < 1e-12);
    efm_field_destroy(field);
}

/* A lattice of step a: the nearest neighbour of each is a away. Duplicates do not count as neighbours. */
static void resolution_is_the_grain_of_a_plate(void **state)
{
    (void)state;
    enum { SIDE = 12, COUNT = SIDE * SIDE };
    float lattice[2 * COUNT + 2], place[4] = {1, 1, 1, 1};
    for (size_t i = 0; i < COUNT; i++) {
        lattice[2 * i] = 0.25f * (float)(i % SIDE);
        lattice[2 * i + 1] = 0.25f * (float)(i / SIDE);
    }
    lattice[2 * COUNT] = lattice[2 * COUNT + 1] = 0; /* a duplicate of the first */
    static const enum efm_exact_path paths[] = {EFM_EXACT_PLAIN, EFM_EXACT_LOW, EFM_EXACT_BLAS};
    for (size_t i = 0; i < 3; i++) {
        struct capacitor plates = {COUNT + 1, 2, 2, 6, lattice, place};
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, paths[i], 0);
        assert_true(fabs(efm_field_resolution(field, EFM_SOURCE) - 0.25 / sqrt(3)) < 1e-12);
        assert_true(fabs(efm_field_resolution(field, EFM_TARGET) - 6e-3) < 1e-12); /* one place only */
        efm_field_destroy(field);
        plates.length = 0.5; /* never more than a tenth of L */
        field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, paths[i], 0);
        assert_true(fabs(efm_field_resolution(field, EFM_SOURCE) - 0.05) < 1e-12);
        efm_field_destroy(field);
    }
}

/* Other charges in the same field give what a new field of them gives, to the last bit, whoever helps. */
static void charges_change_in_place(void **state)
{
    (void)state;
    static const struct {
        size_t dimension;
        enum efm_exact_path path;
    } cases[] = {{3, EFM_EXACT_PLAIN}, {3, EFM_EXACT_LOW}, {3, EFM_EXACT_BLAS}, {301, EFM_EXACT_BLAS}};
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 2, NULL), EFM_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t dimension = cases[i].dimension, m = 101, n = 50;
        struct efm_exact_options options = {.path = cases[i].path, .length = 2};
        struct efm_field *changing;
        assert_int_equal(efm_exact_field_create_empty(&changing, m, n, dimension, &options, NULL), EFM_OK);
        assert_true(fabs(efm_field_resolution(changing, EFM_SOURCE) - 2e-3) < 1e-12);
        for (uint64_t seed = 1; seed <= 2; seed++) {
            struct capacitor plates = capacitor_random(m, n, dimension, 2, seed);
            struct efm_field *field = capacitor_field(&plates, EFM_FIELD_SUPERPOSITION, cases[i].path, 0);
            memcpy(efm_exact_field_charges(changing, EFM_SOURCE), plates.source,
                   m * dimension * sizeof(float));
            memcpy(efm_exact_field_charges(changing, EFM_TARGET), plates.target,
                   n * dimension * sizeof(float));
            efm_exact_field_update(changing, seed == 1 ? NULL : team);
            struct probes points = probes_around(&plates, 20, seed);
            struct answers a = ask(field, &points, NULL), b = ask(changing, &points, NULL);
            assert_memory_equal(a.x, b.x, 20 * dimension * sizeof(float));
            assert_memory_equal(a.z, b.z, 20 * sizeof(double));
            assert_memory_equal(a.log_norm, b.log_norm, 20 * sizeof(double));
            answers_free(&a);
            answers_free(&b);
            probes_free(&points);
            efm_field_destroy(field);
            capacitor_free(&plates);
        }
        efm_field_destroy(changing);
    }
    efm_team_destroy(team);
}

static void refuse(const float *source, size_t m, const float *target, size_t n, size_t dimension,
                   const struct efm_exact_options *options, enum efm_status status, const char *words)
{
    struct efm_error error = {0};
    struct efm_field *field = (struct efm_field *)&error;
    assert_int_equal(efm_exact_field_create(&field, source, m, target, n, dimension, options, &error),
                     status);
    assert_null(field);
    assert_int_equal(error.status, status);
    if (strstr(error.message, words) == NULL)
        fail_msg("'%s' does not speak of '%s'", error.message, words);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    static const float good[18] = {1, 2, 3};
    float bad[4] = {1, 2, NAN, 3};
    const struct efm_exact_options usual = {.kind = EFM_FIELD_CHAIN, .length = 2, .gamma = 1};
    struct efm_exact_options options = usual;
    refuse(good, 0, good, 2, 2, &usual, EFM_E_ARGUMENT, "at least one charge");
    refuse(good, 2, good, 0, 2, &usual, EFM_E_ARGUMENT, "at least one charge");
    refuse(good, 2, good, 2, 0, &usual, EFM_E_ARGUMENT, "at least one charge");
    refuse(good, (size_t)INT32_MAX + 1, good, 2, 2, &usual, EFM_E_LIMIT, "at most");
    refuse(good, 2, good, 2, INT32_MAX, &usual, EFM_E_LIMIT, "at most");
    refuse(bad, 2, good, 2, 2, &usual, EFM_E_NUMERIC, "sample 1 of the source");
    bad[2] = -INFINITY;
    refuse(good, 2, bad, 2, 2, &usual, EFM_E_NUMERIC, "sample 1 of the target");
    const double lengths[] = {0, -1, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        options.length = lengths[i];
        refuse(good, 2, good, 2, 2, &options, EFM_E_ARGUMENT, "L must be a positive number");
    }
    options = usual;
    const double gammas[] = {-1e-9, NAN, INFINITY};
    for (size_t i = 0; i < 3; i++) {
        options.gamma = gammas[i];
        refuse(good, 2, good, 2, 2, &options, EFM_E_ARGUMENT, "gamma");
    }
    options = usual;
    options.chain_rows = 4097;
    refuse(good, 2, good, 2, 2, &options, EFM_E_ARGUMENT, "4096 rows");
    options = usual;
    options.path = EFM_EXACT_LOW;
    refuse(good, 2, good, 2, 9, &options, EFM_E_ARGUMENT, "few dimensions");
}

static void a_workspace_holds_a_point(void **state)
{
    (void)state;
    static const size_t dimensions[] = {2, 20};
    for (size_t i = 0; i < 2; i++) {
        struct capacitor plates = capacitor_random(3, 3, dimensions[i], 1, 1);
        struct efm_field *field = capacitor_field(&plates, EFM_FIELD_CHAIN, EFM_EXACT_AUTO, 0);
        struct efm_field_workspace *workspace = (struct efm_field_workspace *)field;
        struct efm_error error = {0};
        assert_int_equal(efm_field_workspace_create(&workspace, field, 0, NULL, &error), EFM_E_ARGUMENT);
        assert_null(workspace);
        assert_non_null(strstr(error.message, "at least one point"));
        efm_field_destroy(field);
        capacitor_free(&plates);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_have_words),
        cmocka_unit_test(a_field_knows_what_it_was_made_of),
        cmocka_unit_test(directions_have_unit_length),
        cmocka_unit_test(nearest_distances_are_right),
        cmocka_unit_test(nearest_is_a_number_on_every_charge),
        cmocka_unit_test(nearest_may_be_left_out),
        cmocka_unit_test(a_charge_itself_has_no_direction),
        cmocka_unit_test(far_away_a_capacitor_is_a_dipole),
        cmocka_unit_test(per_plate_is_the_difference_of_offsets),
        cmocka_unit_test(resolution_is_the_grain_of_a_plate),
        cmocka_unit_test(charges_change_in_place),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(a_workspace_holds_a_point),
    };
    return cmocka_run_group_tests_name("field/exact", tests, NULL, NULL);
}
