// SPDX-License-Identifier: Apache-2.0
/* A learned field: the network's answer as a direction, the same bytes alone and in a crowd, and what is refused. */
#include "core/field/learned.h"
#include "tests/support/tiny_net.h"

#include <math.h>

enum { POINTS = 21, CAPACITY = 32 };

static const enum efm_precision precisions[] = {EFM_PRECISION_F32, EFM_PRECISION_BF16};

static struct efm_learned_options options_of(bool velocity, enum efm_precision precision)
{
    return (struct efm_learned_options){.kind = velocity ? EFM_FIELD_FLOW_MATCHING : EFM_FIELD_PER_PLATE,
                                        .length = 2,
                                        .lowest = 0.01,
                                        .velocity = velocity,
                                        .precision = precision};
}

/* NULL where the processor cannot do it. */
static struct efm_field *field_of(struct efm_net *net, const struct efm_learned_options *options)
{
    struct efm_field *field = NULL;
    struct efm_error error = {0};
    float *parameters = tiny_parameters(net, 7);
    enum efm_status status = efm_learned_field_create(&field, net, parameters, options, &error);
    free(parameters);
    if (status == EFM_E_UNSUPPORTED && options->precision == EFM_PRECISION_BF16)
        return NULL;
    if (status != EFM_OK)
        fail_msg("%s", error.message);
    return field;
}

struct points {
    float *x;
    double z[POINTS];
};

static struct points points_of(size_t dimension)
{
    struct points points = {.x = malloc(POINTS * dimension * sizeof(float))};
    struct efm_random stream;
    assert_non_null(points.x);
    efm_random_init(&stream, 3, 0, EFM_RANDOM_TEST);
    efm_random_fill_normal(&stream, points.x, POINTS * dimension);
    for (size_t i = 0; i < POINTS; i++)
        points.z[i] = 0.01 + 1.98 * efm_random_uniform(&stream);
    return points;
}

struct answers {
    float *x;
    double z[POINTS], log_norm[POINTS], nearest[2 * POINTS];
};

static struct answers evaluate(const struct efm_field *field, const struct points *points, size_t first,
                               size_t count, size_t capacity, struct efm_team *team)
{
    size_t dimension = efm_field_dimension(field);
    struct answers answers = {.x = malloc(POINTS * dimension * sizeof(float))};
    struct efm_field_workspace *workspace;
    struct efm_error error = {0};
    assert_non_null(answers.x);
    if (efm_field_workspace_create(&workspace, field, capacity, team, &error) != EFM_OK)
        fail_msg("%s", error.message);
    assert_int_equal(efm_field_workspace_capacity(workspace), capacity);
    struct efm_field_values values = {answers.x, answers.z, answers.log_norm, answers.nearest};
    efm_field_evaluate(field, workspace, points->x + first * dimension, points->z + first, count, &values);
    efm_field_workspace_destroy(workspace);
    return answers;
}

static struct efm_net *net_at(int index)
{
    return index == 0 ? tiny_mlp(3) : tiny_unet(8, 3);
}

static void says_what_the_network_says(void **state)
{
    (void)state;
    for (int index = 0; index < 2; index++)
        for (int velocity = 0; velocity < 2; velocity++) {
            struct efm_net *net = net_at(index);
            const struct efm_learned_options options = options_of(velocity != 0, EFM_PRECISION_F32);
            struct efm_field *field = field_of(net, &options);
            size_t dimension = efm_field_dimension(field);
            struct points points = points_of(dimension);
            struct answers answers = evaluate(field, &points, 0, POINTS, CAPACITY, NULL);
            float *parameters = tiny_parameters(net, 7), *fx = malloc(POINTS * dimension * sizeof *fx);
            float fz[POINTS], z[POINTS];
            struct efm_net_weights *weights;
            struct efm_net_run *run;
            const struct efm_net_weights_options wanted = {.precision = EFM_PRECISION_F32};
            assert_int_equal(efm_net_weights_create(&weights, net, &wanted, NULL), EFM_OK);
            efm_net_weights_set(weights, parameters, NULL);
            assert_int_equal(efm_net_run_create(&run, weights, CAPACITY, NULL, NULL), EFM_OK);
            for (size_t i = 0; i < POINTS; i++)
                z[i] = (float)points.z[i];
            efm_net_forward(run, points.x, z, POINTS, fx, fz);
            for (size_t i = 0; i < POINTS; i++) {
                double component = velocity ? 1 : (double)fz[i], square = component * component, unit = 0;
                for (size_t d = 0; d < dimension; d++)
                    square += (double)fx[i * dimension + d] * (double)fx[i * dimension + d];
                for (size_t d = 0; d < dimension; d++) {
                    double got = (double)answers.x[i * dimension + d];
                    assert_true(fabs(got - (double)fx[i * dimension + d] / sqrt(square)) < 1e-6);
                    unit += got * got;
                }
                assert_true(fabs(answers.z[i] - component / sqrt(square)) < 1e-12);
                assert_true(fabs(unit + answers.z[i] * answers.z[i] - 1) < 1e-5);
                assert_true(fabs(answers.log_norm[i] - 0.5 * log(square)) < 1e-12);
                assert_true(answers.nearest[2 * i] == INFINITY && answers.nearest[2 * i + 1] == INFINITY);
            }
            efm_net_run_destroy(run);
            efm_net_weights_destroy(weights);
            free(parameters);
            free(fx);
            free(answers.x);
            free(points.x);
            efm_field_destroy(field);
            efm_net_unref(net);
        }
}

static void has_the_same_bytes_alone_and_in_a_crowd(void **state)
{
    (void)state;
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 2, NULL), EFM_OK);
    for (int index = 0; index < 2; index++)
        for (size_t p = 0; p < 2; p++) {
            struct efm_net *net = net_at(index);
            const struct efm_learned_options options = options_of(false, precisions[p]);
            struct efm_field *field = field_of(net, &options);
            if (field == NULL) {
                efm_net_unref(net);
                continue;
            }
            size_t dimension = efm_field_dimension(field);
            struct points points = points_of(dimension);
            struct answers crowd = evaluate(field, &points, 0, POINTS, CAPACITY, team);
            for (size_t i = 0; i < POINTS; i += 4) {
                struct answers alone = evaluate(field, &points, i, 1, 1, NULL);
                struct answers few = evaluate(field, &points, i, POINTS - i, POINTS, NULL);
                const struct answers *both[2] = {&alone, &few};
                for (int k = 0; k < 2; k++) {
                    assert_memory_equal(both[k]->x, crowd.x + i * dimension, dimension * sizeof(float));
                    assert_memory_equal(&both[k]->z[0], &crowd.z[i], sizeof(double));
                    assert_memory_equal(&both[k]->log_norm[0], &crowd.log_norm[i], sizeof(double));
                }
                free(alone.x);
                free(few.x);
            }
            free(crowd.x);
            free(points.x);
            efm_field_destroy(field);
            efm_net_unref(net);
        }
    efm_team_destroy(team);
}

static void a_point_that_is_no_number_harms_no_other(void **state)
{
    (void)state;
    struct efm_net *net = tiny_mlp(3);
    const struct efm_learned_options options = options_of(false, EFM_PRECISION_F32);
    struct efm_field *field = field_of(net, &options);
    struct points points = points_of(3);
    struct answers good = evaluate(field, &points, 0, POINTS, CAPACITY, NULL);
    points.x[3 * 4] = NAN;
    struct answers bad = evaluate(field, &points, 0, POINTS, CAPACITY, NULL);
    assert_true(bad.z[4] == 0 && bad.x[12] == 0 && bad.x[13] == 0 && bad.log_norm[4] == INFINITY);
    assert_memory_equal(bad.x, good.x, 12 * sizeof(float));
    assert_memory_equal(bad.x + 15, good.x + 15, (3 * POINTS - 15) * sizeof(float));
    free(good.x);
    free(bad.x);
    free(points.x);
    efm_field_destroy(field);
    efm_net_unref(net);
}

static void tells_what_it_is(void **state)
{
    (void)state;
    struct efm_net *net = tiny_mlp(3);
    const struct efm_learned_options options = options_of(true, EFM_PRECISION_AUTO);
    struct efm_field *field = field_of(net, &options);
    const struct efm_learned_options *own = efm_learned_field_options(field);
    size_t count = 7;
    assert_true(efm_field_is_learned(field));
    assert_int_equal(efm_field_dimension(field), 3);
    assert_int_equal(efm_field_kind(field), EFM_FIELD_FLOW_MATCHING);
    assert_true(efm_field_length(field) == 2);
    assert_true(efm_field_resolution(field, EFM_SOURCE) == 0.01);
    assert_true(efm_field_resolution(field, EFM_TARGET) == 0.01);
    assert_null(efm_field_charges(field, EFM_SOURCE, &count));
    assert_int_equal(count, 0);
    assert_ptr_equal(efm_learned_field_net(field), net);
    assert_int_not_equal(own->precision, EFM_PRECISION_AUTO);
    assert_true(own->velocity);
    assert_true(efm_learned_field_bytes(field) > efm_net_size(net) * 2);
    assert_true(efm_learned_field_run_bytes(field, 1, 1) > 0);
    assert_true(efm_learned_field_run_bytes(field, 64, 1) >= efm_learned_field_run_bytes(field, 1, 1));
    efm_net_unref(net); /* the field keeps its own reference */
    assert_int_equal(efm_net_size(efm_learned_field_net(field)) > 0, 1);
    efm_field_destroy(field);
}

static void an_exact_field_is_not_learned(void **state)
{
    (void)state;
    const float plate[2] = {0, 1};
    struct efm_exact_options options = {.kind = EFM_FIELD_SUPERPOSITION, .length = 1};
    struct efm_field *field;
    struct efm_error error = {0};
    assert_int_equal(efm_exact_field_create(&field, plate, 1, plate, 1, 2, &options, NULL), EFM_OK);
    assert_false(efm_field_is_learned(field));
    assert_null(efm_learned_field_options(field));
    assert_null(efm_learned_field_net(field));
    assert_int_equal(efm_learned_field_bytes(field), 0);
    assert_int_equal(efm_learned_field_run_bytes(field, 64, 2), 0);
    efm_field_destroy(field);
    options.kind = EFM_FIELD_FLOW_MATCHING;
    assert_int_equal(efm_exact_field_create(&field, plate, 1, plate, 1, 2, &options, &error), EFM_E_ARGUMENT);
    assert_null(field);
    assert_non_null(strstr(error.message, "flow_matching"));
}

static void bad_numbers_are_refused(void **state)
{
    (void)state;
    struct efm_net *net = tiny_mlp(2);
    float *parameters = tiny_parameters(net, 1);
    struct efm_field *field = (struct efm_field *)net;
    static const struct {
        double length, lowest;
    } bad[] = {{0, 0.01}, {-1, 0.01}, {NAN, 0.01}, {INFINITY, 0.01}, {2, 0}, {2, -1}, {2, 1}, {2, NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct efm_learned_options options = options_of(false, EFM_PRECISION_F32);
        options.length = bad[i].length;
        options.lowest = bad[i].lowest;
        assert_int_equal(efm_learned_field_create(&field, net, parameters, &options, NULL), EFM_E_ARGUMENT);
        assert_null(field);
    }
    const struct efm_learned_options options = options_of(false, EFM_PRECISION_F32);
    const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        parameters[efm_net_size(net) - 1] = wrong[i];
        assert_int_equal(efm_learned_field_create(&field, net, parameters, &options, NULL), EFM_E_NUMERIC);
        assert_null(field);
    }
    free(parameters);
    efm_net_unref(net);
}

/* The n-th allocation fails, wherever it is: field and workspace are refused cleanly, and nothing leaks. */
void *__real_efm_allocate(size_t size);
void *__real_efm_allocate_array(size_t count, size_t size);
void *__wrap_efm_allocate(size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
static size_t allocations_left = SIZE_MAX;

/* Once one was refused, all others succeed. */
static bool may_allocate(void)
{
    return allocations_left == SIZE_MAX || allocations_left-- > 0;
}

void *__wrap_efm_allocate(size_t size)
{
    return may_allocate() ? __real_efm_allocate(size) : NULL;
}

void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    return may_allocate() ? __real_efm_allocate_array(count, size) : NULL;
}

static void survives_any_failing_allocation(void **state)
{
    (void)state;
    const struct efm_learned_options options = options_of(false, EFM_PRECISION_F32);
    for (int index = 0; index < 2; index++) {
        struct efm_net *net = net_at(index);
        float *parameters = tiny_parameters(net, 1);
        struct efm_field *field = NULL;
        struct efm_field_workspace *workspace = NULL;
        enum efm_status status = EFM_E_MEMORY;
        for (size_t n = 0; status != EFM_OK; n++) {
            assert_true(n < 5000);
            allocations_left = n;
            struct efm_error error = {0};
            status = efm_learned_field_create(&field, net, parameters, &options, &error);
            if (status == EFM_OK)
                status = efm_field_workspace_create(&workspace, field, 3, NULL, &error);
            allocations_left = SIZE_MAX;
            if (status != EFM_OK) {
                /* a network that cannot even plan a run for lack of memory says that it is too large */
                if (status != EFM_E_MEMORY && status != EFM_E_LIMIT)
                    fail_msg("%zu: %s", n, error.message);
                assert_null(workspace);
                efm_field_destroy(field);
            }
        }
        efm_field_workspace_destroy(workspace);
        efm_field_destroy(field);
        free(parameters);
        efm_net_unref(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_the_network_says),
        cmocka_unit_test(has_the_same_bytes_alone_and_in_a_crowd),
        cmocka_unit_test(a_point_that_is_no_number_harms_no_other),
        cmocka_unit_test(tells_what_it_is),
        cmocka_unit_test(an_exact_field_is_not_learned),
        cmocka_unit_test(bad_numbers_are_refused),
        cmocka_unit_test(survives_any_failing_allocation),
    };
    return cmocka_run_group_tests_name("field/learned", tests, NULL, NULL);
}
