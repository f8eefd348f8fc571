// SPDX-License-Identifier: Apache-2.0
#include "core/train/trainer.h"

#include "tests/unit/data/chaos.h"
#include "tests/unit/train/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static double mean_loss(struct efm_trainer *trainer, size_t steps)
{
    double sum = 0;
    for (size_t i = 0; i < steps; i++) {
        struct efm_trainer_report report;
        struct efm_error error = {0};
        if (efm_trainer_step(trainer, &report, &error) != EFM_OK)
            fail_msg("%s", error.message);
        assert_true(report.loss >= 0 && report.gradient_norm >= 0);
        sum += report.loss;
    }
    return sum / (double)steps;
}

static void reduces_the_loss(void **state)
{
    (void)state;
    const struct {
        enum efm_sampler sampler;
        enum efm_training_target target;
        double share; /* of the loss, that is left at most */
    } cases[] = {{EFM_SAMPLER_UNIFORM, EFM_TRAIN_PER_PLATE, 0.6},
                 {EFM_SAMPLER_UNIFORM, EFM_TRAIN_SUPERPOSITION, 0.6},
                 {EFM_SAMPLER_GEOMETRIC, EFM_TRAIN_PER_PLATE, 0.8},
                 {EFM_SAMPLER_UNIFORM, EFM_TRAIN_FLOW_MATCHING, 0.8}};
    struct efm_team *team = training_team(2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_trainer_spec spec = training_spec();
        spec.batch.sampler = cases[i].sampler;
        spec.batch.target = cases[i].target;
        spec.net.hidden = spec.net.hidden2 = 64;
        spec.optimiser.rate = 3e-3;
        spec.steps = 300;
        struct efm_trainer *trainer = training_create(&spec, team);
        double first = mean_loss(trainer, 5);
        training_steps(trainer, 255);
        double last = mean_loss(trainer, 40);
        if (!(last < cases[i].share * first))
            fail_msg("case %zu: from %g to %g", i, first, last);
        efm_trainer_destroy(trainer);
    }
    efm_team_destroy(team);
}

static void reports_its_steps(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    struct efm_trainer *trainer = training_create(&spec, NULL);
    size_t size = efm_net_size(efm_trainer_net(trainer)) * sizeof(float);
    float *before = malloc(size);
    assert_non_null(before);
    assert_int_equal(efm_trainer_step_count(trainer), 0);
    assert_memory_equal(efm_trainer_parameters(trainer), efm_trainer_average(trainer), size);
    assert_true(efm_trainer_bytes(trainer) > 5 * size);
    for (uint64_t step = 1; step <= 6; step++) {
        struct efm_trainer_report report = {0};
        memcpy(before, efm_trainer_parameters(trainer), size);
        assert_int_equal(efm_trainer_step(trainer, &report, NULL), EFM_OK);
        assert_int_equal(report.step, step);
        assert_int_equal(efm_trainer_step_count(trainer), step);
        if (step <= 4)
            assert_true(fabs(report.rate - 1e-3 * (double)(step - 1) / 3) < 1e-12);
        else
            assert_true(report.rate < 1e-3); /* along the cosine over the steps of the spec */
        assert_true(report.gradient_norm > 0);
        /* the first rate is 0, see optimiser.h */
        assert_true((memcmp(before, efm_trainer_parameters(trainer), size) == 0) == (step == 1));
    }
    assert_memory_not_equal(efm_trainer_parameters(trainer), efm_trainer_average(trainer), size);
    free(before);
    efm_trainer_destroy(trainer);
    efm_trainer_destroy(NULL);
}

/* The bytes of a checkpoint after so many steps. */
static struct efm_buffer run(const struct efm_trainer_spec *spec, size_t threads, size_t steps)
{
    struct efm_team *team = training_team(threads);
    struct efm_trainer *trainer = training_create(spec, team);
    training_steps(trainer, steps);
    struct efm_buffer saved = training_save(trainer);
    efm_trainer_destroy(trainer);
    efm_team_destroy(team);
    return saved;
}

static void is_a_function_of_its_spec(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    spec.batch.size = 61; /* so that shards differ in size */
    struct efm_buffer alone = run(&spec, 0, 6);
    for (size_t threads = 1; threads <= 3; threads++) {
        struct efm_buffer other = run(&spec, threads, 6);
        assert_true(training_same(&alone, &other));
        efm_buffer_release(&other);
    }
    /* the seed of the spec is the one that counts, and so are its steps */
    struct efm_trainer_spec same = spec;
    same.batch.seed = 99;
    same.optimiser.steps = 7;
    struct efm_buffer other = run(&same, 0, 6);
    assert_true(training_same(&alone, &other));
    efm_buffer_release(&other);
    spec.seed = 2;
    other = run(&spec, 0, 6);
    assert_false(training_same(&alone, &other));
    efm_buffer_release(&other);
    efm_buffer_release(&alone);
}

static struct efm_trainer_spec image_spec(double dropout)
{
    struct efm_trainer_spec spec;
    struct efm_shape shape = efm_shape_image(8, 8, 1);
    efm_trainer_spec_default(&spec, &shape);
    spec.net.levels = 2;
    spec.net.blocks = 1;
    spec.net.dropout = dropout;
    spec.batch.size = 4;
    spec.batch.charges = 16;
    spec.precision = EFM_PRECISION_F32;
    spec.optimiser.warmup = 0;
    spec.shards = 2;
    return spec;
}

static void drops_out_by_its_seed(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = image_spec(0.5), plain = image_spec(0);
    struct efm_buffer one = run(&spec, 0, 3), two = run(&spec, 2, 3), other = run(&plain, 0, 3);
    assert_true(training_same(&one, &two));
    assert_false(training_same(&one, &other));
    efm_buffer_release(&one);
    efm_buffer_release(&two);
    efm_buffer_release(&other);
}

static void keeps_its_state_when_numbers_fail(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    spec.optimiser.rate = 1000;
    spec.optimiser.warmup = 0;
    spec.optimiser.clip = 0;
    spec.steps = 1000;
    struct efm_trainer *trainer = training_create(&spec, NULL);
    struct efm_buffer before = training_save(trainer);
    struct efm_error error = {0};
    for (size_t i = 0; i < 100 && efm_trainer_step(trainer, NULL, &error) == EFM_OK; i++) {
        efm_buffer_release(&before);
        before = training_save(trainer);
    }
    assert_int_equal(error.status, EFM_E_NUMERIC);
    char step[32];
    snprintf(step, sizeof step, "at step %d;", (int)efm_trainer_step_count(trainer) + 1);
    if (strstr(error.message, step) == NULL || strstr(error.message, "learning_rate") == NULL)
        fail_msg("%s", error.message);
    training_expect(trainer, &before);
    /* what was kept can be gone on from */
    assert_int_equal(efm_trainer_restore(trainer, before.data, before.size, NULL), EFM_OK);
    assert_int_equal(efm_trainer_step(trainer, NULL, NULL), EFM_E_NUMERIC);
    training_expect(trainer, &before);
    efm_buffer_release(&before);
    efm_trainer_destroy(trainer);
}

static enum efm_status try_spec(const struct efm_trainer_spec *spec, struct efm_error *error)
{
    struct efm_dataset *target = training_toy(EFM_TOY_MIXTURE, efm_shape_vector(2), 1);
    struct efm_trainer *trainer = NULL;
    enum efm_status status = efm_trainer_create(&trainer, spec, NULL, target, NULL, error);
    assert_true((status == EFM_OK) == (trainer != NULL));
    efm_trainer_destroy(trainer);
    efm_dataset_unref(target);
    return status;
}

static void refuses_bad_specs(void **state)
{
    (void)state;
    struct efm_trainer_spec good = training_spec();
    struct efm_error error = {0};
    assert_int_equal(try_spec(&good, NULL), EFM_OK);
#define REFUSE(member, value, word)                                                                          \
    do {                                                                                                     \
        struct efm_trainer_spec bad = good;                                                                  \
        bad.member = value;                                                                                  \
        efm_error_clear(&error);                                                                             \
        assert_int_equal(try_spec(&bad, &error), EFM_E_ARGUMENT);                                            \
        assert_int_equal(efm_trainer_spec_check(&bad, NULL), EFM_E_ARGUMENT);                                \
        if (strstr(error.message, word) == NULL)                                                             \
            fail_msg("%s is not in: %s", word, error.message);                                               \
    } while (0)
    REFUSE(steps, 0, "steps");
    REFUSE(steps, UINT64_MAX, "steps");
    REFUSE(shards, 0, "shards");
    REFUSE(shards, 65, "shards");
    REFUSE(precision, (enum efm_precision)9, "precision");
    REFUSE(augmentation[EFM_SOURCE], 8, "source");
    REFUSE(augmentation[EFM_TARGET], 64, "target");
    REFUSE(net.embedding, 7, "embedding");
    REFUSE(batch.size, 0, "points");
    REFUSE(batch.length, NAN, "L");
    REFUSE(optimiser.rate, -1, "rate");
    REFUSE(optimiser.ema, 1, "ema");
#undef REFUSE
}

static void refuses_data_that_does_not_fit(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    struct efm_trainer *trainer = NULL;
    struct efm_error error = {0};
    assert_int_equal(efm_trainer_create(&trainer, &spec, NULL, NULL, NULL, &error), EFM_E_ARGUMENT);
    assert_non_null(strstr(error.message, "noise"));
    struct efm_dataset *plane = training_toy(EFM_TOY_GAUSSIAN, efm_shape_vector(2), 1);
    struct efm_dataset *image = training_toy(EFM_TOY_GAUSSIAN, efm_shape_image(1, 2, 1), 1);
    efm_error_clear(&error);
    assert_int_equal(efm_trainer_create(&trainer, &spec, plane, image, NULL, &error), EFM_E_SHAPE);
    assert_non_null(strstr(error.message, "target has samples of 2 numbers (1x2x1)"));
    assert_int_equal(efm_trainer_create(&trainer, &spec, image, plane, NULL, NULL), EFM_E_SHAPE);
    assert_null(trainer);
    efm_dataset_unref(plane);
    efm_dataset_unref(image);
}

static bool is_asked_often_enough(void *context)
{
    return --*(int *)context < 0;
}

/* Wherever it is broken off, the state is that before the step, and the steps after it are those of a training that was left in peace. */
static void a_step_can_be_broken_off(void **state)
{
    (void)state;
    const struct efm_shape shapes[] = {efm_shape_vector(2), efm_shape_image(8, 8, 1)};
    for (size_t i = 0; i < 2; i++) {
        struct efm_trainer_spec spec = training_spec();
        struct efm_dataset *data = training_toy(EFM_TOY_GAUSSIAN, shapes[i], 1);
        struct efm_trainer *trainer, *other;
        int patience = 0, cancelled = 0;
        if (i == 1) {
            efm_trainer_spec_default(&spec, &shapes[i]);
            spec.batch.size = 8;
        }
        assert_int_equal(efm_trainer_create(&trainer, &spec, NULL, data, NULL, NULL), EFM_OK);
        assert_int_equal(efm_trainer_create(&other, &spec, NULL, data, NULL, NULL), EFM_OK);
        training_steps(trainer, 2);
        training_steps(other, 2);
        const size_t bytes = efm_net_size(efm_trainer_net(trainer)) * sizeof(float);
        enum efm_status status = EFM_E_CANCELLED;
        for (int most = 0; status == EFM_E_CANCELLED; most += 7) {
            struct efm_error error = {0};
            patience = most;
            efm_trainer_heed(trainer, is_asked_often_enough, &patience);
            status = efm_trainer_step(trainer, NULL, &error);
            cancelled += status == EFM_E_CANCELLED;
            if (status == EFM_E_CANCELLED)
                assert_memory_equal(efm_trainer_parameters(trainer), efm_trainer_parameters(other), bytes);
        }
        assert_int_equal(status, EFM_OK);
        assert_true(cancelled > 1);
        training_steps(other, 1);
        assert_int_equal(efm_trainer_step_count(trainer), 3);
        assert_memory_equal(efm_trainer_parameters(trainer), efm_trainer_parameters(other), bytes);
        efm_trainer_destroy(trainer);
        efm_trainer_destroy(other);
        efm_dataset_unref(data);
    }
}

static void takes_no_more_memory_than_it_may(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    struct efm_dataset *data = training_toy(EFM_TOY_MIXTURE, efm_shape_vector(2), 1);
    struct efm_trainer *trainer;
    size_t least = 0;
    assert_int_equal(efm_trainer_create(&trainer, &spec, NULL, data, NULL, NULL), EFM_OK);
    assert_int_equal(efm_trainer_bytes_least(&spec, &least, NULL), EFM_OK);
    const size_t whole = efm_trainer_bytes(trainer), numbers = efm_net_size(efm_trainer_net(trainer));
    assert_true(least > 5 * sizeof(float) * numbers);
    assert_true(whole > least);
    efm_trainer_destroy(trainer);
    spec.memory = whole;
    assert_int_equal(efm_trainer_create(&trainer, &spec, NULL, data, NULL, NULL), EFM_OK);
    efm_trainer_destroy(trainer);
    const size_t too_little[] = {1, least - 1, least, least + 4 * numbers};
    for (size_t i = 0; i < sizeof too_little / sizeof too_little[0]; i++) {
        struct efm_error error = {0};
        spec.memory = too_little[i];
        assert_int_equal(efm_trainer_create(&trainer, &spec, NULL, data, NULL, &error), EFM_E_LIMIT);
        assert_non_null(strstr(error.message, "smaller network"));
        assert_null(trainer);
    }
    // of one that is not to be begun
    spec.net.hidden = spec.net.hidden2 = 16384;
    assert_int_equal(efm_trainer_bytes_least(&spec, &least, NULL), EFM_OK);
    assert_true(least > (size_t)1 << 32);
    spec.memory = (size_t)1 << 30;
    assert_int_equal(efm_trainer_create(&trainer, &spec, NULL, data, NULL, NULL), EFM_E_LIMIT);
    // and of one whose charges would fill it
    spec = training_spec();
    spec.batch.charges = 1 << 24;
    assert_int_equal(efm_trainer_bytes_least(&spec, &least, NULL), EFM_OK);
    assert_true(least > (size_t)1 << 28);
    spec.memory = (size_t)1 << 28;
    assert_int_equal(efm_trainer_create(&trainer, &spec, NULL, data, NULL, NULL), EFM_E_LIMIT);
    efm_dataset_unref(data);
}

static void defaults_can_be_trained(void **state)
{
    (void)state;
    struct efm_trainer_spec spec;
    const struct efm_shape shapes[] = {
        efm_shape_vector(1),        efm_shape_vector(2),        efm_shape_vector(100),
        efm_shape_image(8, 8, 1),   efm_shape_image(28, 28, 1), efm_shape_image(32, 32, 3),
        efm_shape_image(30, 64, 3), efm_shape_image(64, 64, 3), efm_shape_image(128, 128, 3)};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct efm_error error = {0};
        efm_trainer_spec_default(&spec, &shapes[i]);
        if (efm_trainer_spec_check(&spec, &error) != EFM_OK)
            fail_msg("shape %zu: %s", i, error.message);
        assert_true(efm_shape_equal(&spec.net.shape, &shapes[i]));
        assert_int_equal(spec.net.arch == EFM_NET_UNET, efm_shape_is_image(&shapes[i]));
        assert_int_equal(spec.batch.seed, spec.seed);
        assert_int_equal(spec.optimiser.steps, spec.steps);
    }
}

/* A stored draw of N(0, I), and noise that is never the same. */
static void makes_a_model_of_the_average(void **state)
{
    (void)state;
    const struct efm_trainer_names names = {.source = "from", .target = "to"};
    for (int target = EFM_TRAIN_PER_PLATE; target <= EFM_TRAIN_FLOW_MATCHING; target++) {
        struct efm_trainer_spec spec = training_spec();
        struct efm_dataset *data = training_toy(EFM_TOY_MIXTURE, efm_shape_vector(2), 1);
        struct efm_trainer *trainer;
        struct efm_model *model, *again;
        struct efm_error error = {0};
        struct efm_buffer file = efm_buffer_limited(1 << 24);
        spec.batch.target = (enum efm_training_target)target;
        spec.batch.gamma = target == EFM_TRAIN_PER_PLATE ? spec.batch.gamma : 0;
        if (target == EFM_TRAIN_CHAIN_SINGLE)
            spec.batch.sampler = EFM_SAMPLER_MARGINAL;
        if (efm_trainer_create(&trainer, &spec, NULL, data, NULL, &error) != EFM_OK)
            fail_msg("%s", error.message);
        efm_dataset_unref(data);
        training_steps(trainer, 3);
        if (efm_trainer_model(trainer, &names, &model, &error) != EFM_OK)
            fail_msg("%s", error.message);
        assert_string_equal(efm_model_arch(model), "mlp");
        assert_true(efm_field_length(efm_model_field(model)) == spec.batch.length);
        assert_int_equal(efm_field_kind(efm_model_field(model)), efm_training_target_kind(spec.batch.target));
        assert_true(efm_field_resolution(efm_model_field(model), EFM_SOURCE) == spec.batch.lowest);
        assert_string_equal(efm_model_domain(model, EFM_SOURCE)->name, "from");
        assert_string_equal(efm_model_domain(model, EFM_TARGET)->name, "to");
        assert_true(efm_model_domain(model, EFM_SOURCE)->standard_normal);
        assert_false(efm_model_domain(model, EFM_TARGET)->standard_normal);
        struct efm_flow_options options;
        efm_model_flow_options(model, &options);
        bool chain = target == EFM_TRAIN_CHAIN || target == EFM_TRAIN_CHAIN_SINGLE;
        assert_int_equal(options.map, chain ? EFM_MAP_CHAIN : EFM_MAP_FORWARD);
        assert_int_equal(efm_model_save(model, &file, NULL), EFM_OK);
        if (efm_model_load(&again, file.data, file.size, 1 << 24, &error) != EFM_OK)
            fail_msg("%s", error.message);
        assert_string_equal(efm_model_sha256(model), efm_model_sha256(again));
        efm_buffer_release(&file);
        efm_model_unref(again);
        efm_model_unref(model);
        efm_trainer_destroy(trainer);
    }
}

static bool contains(const struct efm_buffer *file, const char *text)
{
    return memmem(file->data, file->size, text, strlen(text)) != NULL;
}

static void writes_down_how_it_was_made(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    struct efm_trainer *trainer = training_create(&spec, NULL);
    struct efm_trainer_names names = {.source = "from", .target = "to"};
    struct efm_model *whole, *half, *fresh;
    struct efm_buffer file = efm_buffer_limited(1 << 24);
    assert_int_equal(efm_trainer_model(trainer, &names, &fresh, NULL), EFM_OK);
    assert_int_equal(efm_model_save(fresh, &file, NULL), EFM_OK);
    assert_true(contains(&file, "\\\"steps\\\":0") && contains(&file, "\\\"loss\\\":null"));
    efm_buffer_release(&file);
    training_steps(trainer, 5);
    assert_int_equal(efm_trainer_model(trainer, &names, &whole, NULL), EFM_OK);
    assert_int_equal(efm_model_save(whole, &file, NULL), EFM_OK);
    const char *words[] = {"\\\"steps\\\":5,",     "\\\"seed\\\":1,",   "\\\"sampler\\\":\\\"uniform\\\"",
                           "\\\"charges\\\":128,", "\\\"batch\\\":64,", "\\\"target\\\":\\\"per_plate\\\"",
                           "\\\"version\\\":\\\"", "\\\"loss\\\":"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!contains(&file, words[i]))
            fail_msg("the record has no %s", words[i]);
    size_t size = file.size;
    efm_buffer_release(&file);
    names.bf16 = true;
    assert_int_equal(efm_trainer_model(trainer, &names, &half, NULL), EFM_OK);
    assert_int_equal(efm_model_save(half, &file, NULL), EFM_OK);
    assert_int_equal(size - file.size > efm_net_size(efm_trainer_net(trainer)), true);
    efm_buffer_release(&file);
    names.source = "";
    struct efm_model *none = NULL;
    assert_int_equal(efm_trainer_model(trainer, &names, &none, NULL), EFM_E_ARGUMENT);
    assert_null(none);
    efm_model_unref(half);
    efm_model_unref(whole);
    efm_model_unref(fresh);
    efm_trainer_destroy(trainer);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    struct efm_dataset *data = training_toy(EFM_TOY_MIXTURE, efm_shape_vector(2), 1);
    struct efm_team *team = training_team(2);
    const struct efm_trainer_names names = {.source = "from", .target = "to"};
    struct efm_trainer *trainer = NULL;
    struct efm_model *model = NULL;
    enum efm_status status = EFM_E_MEMORY;
    size_t n = 0;
    for (; status != EFM_OK && n < 1000; n++) {
        struct efm_error error = {0};
        chaos_arm(n);
        status = efm_trainer_create(&trainer, &spec, NULL, data, team, &error);
        chaos_disarm();
        if (status != EFM_OK && (status != EFM_E_MEMORY || trainer != NULL || error.message[0] == '\0'))
            fail_msg("allocation %zu: %s: %s", n, efm_status_name(status), error.message);
    }
    assert_true(status == EFM_OK && n > 10);
    status = EFM_E_MEMORY;
    for (n = 0; status != EFM_OK && n < 1000; n++) {
        chaos_arm(n);
        status = efm_trainer_model(trainer, &names, &model, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || (status == EFM_E_MEMORY && model == NULL));
    }
    assert_true(status == EFM_OK && n > 2);
    efm_model_unref(model);
    /* a step that fails for want of memory is no step, and can be tried again */
    struct efm_buffer before = training_save(trainer);
    status = EFM_E_MEMORY;
    for (n = 0; status != EFM_OK && n < 100; n++) {
        training_expect(trainer, &before);
        chaos_arm(n);
        status = efm_trainer_step(trainer, NULL, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || status == EFM_E_MEMORY);
    }
    assert_int_equal(status, EFM_OK);
    assert_int_equal(efm_trainer_step_count(trainer), 1);
    efm_buffer_release(&before);
    efm_trainer_destroy(trainer);
    efm_team_destroy(team);
    efm_dataset_unref(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reduces_the_loss),
        cmocka_unit_test(reports_its_steps),
        cmocka_unit_test(is_a_function_of_its_spec),
        cmocka_unit_test(drops_out_by_its_seed),
        cmocka_unit_test(keeps_its_state_when_numbers_fail),
        cmocka_unit_test(refuses_bad_specs),
        cmocka_unit_test(refuses_data_that_does_not_fit),
        cmocka_unit_test(a_step_can_be_broken_off),
        cmocka_unit_test(takes_no_more_memory_than_it_may),
        cmocka_unit_test(defaults_can_be_trained),
        cmocka_unit_test(makes_a_model_of_the_average),
        cmocka_unit_test(writes_down_how_it_was_made),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests_name("trainer", tests, NULL, NULL);
}
