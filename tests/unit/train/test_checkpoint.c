// SPDX-License-Identifier: Apache-2.0
#include "core/base/random.h"
#include "core/base/sha256.h"
#include "core/model/safetensors.h"
#include "core/train/trainer.h"
#include "tests/unit/data/chaos.h"
#include "tests/unit/train/training.h"

#include <math.h>
#include <stdlib.h>

/* From an exact heap copy, off the alignment, so that a sanitizer sees every byte too many. */
static enum efm_status restore(struct efm_trainer *trainer, const void *bytes, size_t size,
                               struct efm_error *error)
{
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy + 1, bytes, size);
    efm_error_clear(error);
    enum efm_status status = efm_trainer_restore(trainer, copy + 1, size, error);
    free(copy);
    return status;
}

static void goes_on_bit_for_bit(void **state)
{
    (void)state;
    enum { ALL = 12 };
    const struct efm_trainer_names names = {.source = "from", .target = "to"};
    struct efm_trainer_spec spec = training_spec();
    struct efm_trainer *undisturbed = training_create(&spec, NULL);
    size_t size = efm_net_size(efm_trainer_net(undisturbed)) * sizeof(float);
    struct efm_buffer at[ALL + 1];
    struct efm_model *model, *again;
    for (size_t step = 0; step <= ALL; step++) {
        at[step] = training_save(undisturbed);
        if (step < ALL)
            training_steps(undisturbed, 1);
    }
    assert_int_equal(efm_trainer_model(undisturbed, &names, &model, NULL), EFM_OK);
    const size_t steps[] = {0, 1, 5, ALL - 1, ALL}, threads[] = {0, 1, 2, 3};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct efm_error error = {0};
        struct efm_team *team = training_team(threads[i % 4]);
        struct efm_trainer *trainer = training_create(&spec, team);
        training_steps(trainer, i); /* it may have gone somewhere else before */
        if (restore(trainer, at[steps[i]].data, at[steps[i]].size, &error) != EFM_OK)
            fail_msg("%s", error.message);
        assert_int_equal(efm_trainer_step_count(trainer), steps[i]);
        training_expect(trainer, &at[steps[i]]);
        training_steps(trainer, ALL - steps[i]);
        training_expect(trainer, &at[ALL]);
        assert_memory_equal(efm_trainer_parameters(trainer), efm_trainer_parameters(undisturbed), size);
        assert_memory_equal(efm_trainer_average(trainer), efm_trainer_average(undisturbed), size);
        assert_int_equal(efm_trainer_model(trainer, &names, &again, NULL), EFM_OK);
        assert_string_equal(efm_model_sha256(model), efm_model_sha256(again));
        efm_model_unref(again);
        efm_trainer_destroy(trainer);
        efm_team_destroy(team);
    }
    efm_model_unref(model);
    efm_trainer_destroy(undisturbed);
    for (size_t step = 0; step <= ALL; step++)
        efm_buffer_release(&at[step]);
}

/* A checkpoint of `saved` into a trainer of `into`; `word` in the message of a refusal, NULL: accepted. */
static void expect_between(const struct efm_trainer_spec *saved, const struct efm_trainer_spec *into,
                           const char *word)
{
    struct efm_error error = {0};
    struct efm_trainer *from = training_create(saved, NULL), *to = training_create(into, NULL);
    training_steps(from, 2);
    training_steps(to, 1);
    struct efm_buffer file = training_save(from), before = training_save(to);
    enum efm_status status = restore(to, file.data, file.size, &error);
    if (status != (word == NULL ? EFM_OK : EFM_E_ARGUMENT) || strstr(error.message, word ? word : "") == NULL)
        fail_msg("%s: %s: %s", word ? word : "accepted", efm_status_name(status), error.message);
    if (word != NULL)
        training_expect(to, &before);
    assert_int_equal(efm_trainer_step_count(to), word == NULL ? 2 : 1);
    efm_buffer_release(&file);
    efm_buffer_release(&before);
    efm_trainer_destroy(from);
    efm_trainer_destroy(to);
}

static void names_what_differs(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    expect_between(&spec, &spec, NULL);
#define DIFFER(member, value, word)                                                                          \
    do {                                                                                                     \
        struct efm_trainer_spec other = spec;                                                                \
        other.member = value;                                                                                \
        expect_between(&spec, &other, word);                                                                 \
    } while (0)
    DIFFER(net.hidden, 17, "net.hidden=16', this one 'net.hidden=17'");
    DIFFER(net.hidden2, 17, "net.hidden2=");
    DIFFER(net.embedding, 10, "net.embedding=");
    DIFFER(batch.sampler, EFM_SAMPLER_TUBE, "batch.sampler=uniform");
    DIFFER(batch.target, EFM_TRAIN_SUPERPOSITION, "batch.target=per_plate', this one 'batch.target=superp");
    DIFFER(batch.pairing, EFM_PAIRING_MATCHED, "batch.pairing=random', this one 'batch.pairing=matched'");
    DIFFER(batch.length, 6.5, "this one 'batch.length=6.5'");
    DIFFER(batch.lowest, 0.2, "batch.lowest=");
    DIFFER(batch.size, 65, "batch.size=");
    DIFFER(batch.charges, 129, "batch.charges=");
    DIFFER(batch.refresh, 5, "batch.refresh=");
    DIFFER(batch.gamma, 0.1, "batch.gamma=");
    DIFFER(optimiser.rate, 2e-3, "optimiser.rate=");
    DIFFER(optimiser.beta1, 0.8, "optimiser.beta1=");
    DIFFER(optimiser.beta2, 0.9, "optimiser.beta2=");
    DIFFER(optimiser.epsilon, 1e-7, "optimiser.epsilon=");
    DIFFER(optimiser.warmup, 4, "optimiser.warmup=");
    DIFFER(optimiser.schedule, EFM_SCHEDULE_CONSTANT, "optimiser.schedule=cosine");
    DIFFER(optimiser.clip, 2, "optimiser.clip=");
    DIFFER(optimiser.ema, 0.8, "optimiser.ema=");
    DIFFER(steps, 31, "steps=30', this one 'steps=31'");
    DIFFER(seed, 2, "seed=1', this one 'seed=2'");
    DIFFER(shards, 3, "shards=");
    /* what changes no number may differ, and a spec of any precision takes a checkpoint of any */
    DIFFER(batch.sigma, 1, NULL);
    DIFFER(batch.tau, 0.5, NULL);
    DIFFER(batch.seed, 77, NULL);
    DIFFER(net.nf, 64, NULL);
    DIFFER(precision, EFM_PRECISION_AUTO, NULL);
    spec.optimiser.schedule = EFM_SCHEDULE_CONSTANT;
    DIFFER(steps, 31, NULL);
    spec.batch.sampler = EFM_SAMPLER_GEOMETRIC;
    DIFFER(batch.sigma, 1, "batch.sigma=");
    DIFFER(batch.tau, 0.5, "batch.tau=");
    enum efm_precision precision = EFM_PRECISION_BF16;
    if (efm_precision_resolve(&precision, NULL) == EFM_OK)
        DIFFER(precision, EFM_PRECISION_BF16, "precision f32, this one bf16");
#undef DIFFER
}

static struct efm_trainer *create_between(struct efm_dataset *source, struct efm_dataset *target,
                                          struct efm_team *team)
{
    struct efm_trainer_spec spec = training_spec();
    struct efm_error error = {0};
    struct efm_trainer *trainer;
    if (efm_trainer_create(&trainer, &spec, source, target, team, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return trainer;
}

static void knows_its_samples(void **state)
{
    (void)state;
    struct efm_error error = {0};
    struct efm_shape plane = efm_shape_vector(2);
    struct efm_dataset *source = training_toy(EFM_TOY_GAUSSIAN, plane, 1);
    struct efm_dataset *target = training_toy(EFM_TOY_MIXTURE, plane, 1), *changed, *same;
    enum { COUNT = 2 * TRAINING_SAMPLES };
    float values[COUNT];
    assert_int_equal(efm_dataset_floats(target, 0, TRAINING_SAMPLES, values, NULL), EFM_OK);
    assert_int_equal(efm_dataset_from_floats(&same, values, TRAINING_SAMPLES, &plane, NULL), EFM_OK);
    values[COUNT - 1] = nextafterf(values[COUNT - 1], 100);
    assert_int_equal(efm_dataset_from_floats(&changed, values, TRAINING_SAMPLES, &plane, NULL), EFM_OK);
    struct efm_team *team = training_team(2);
    struct efm_trainer *first = create_between(source, target, NULL);
    struct efm_trainer *equal = create_between(source, same, team);
    struct efm_trainer *other = create_between(source, changed, team);
    struct efm_trainer *noise = create_between(NULL, target, NULL);
    struct efm_buffer file = training_save(first);
    assert_int_equal(restore(equal, file.data, file.size, &error), EFM_OK);
    assert_int_equal(restore(other, file.data, file.size, &error), EFM_E_ARGUMENT);
    assert_non_null(strstr(error.message, "samples of the target differ"));
    assert_int_equal(restore(noise, file.data, file.size, &error), EFM_E_ARGUMENT);
    assert_non_null(strstr(error.message, "samples of the source differ"));
    efm_buffer_release(&file);
    efm_trainer_destroy(first);
    efm_trainer_destroy(equal);
    efm_trainer_destroy(other);
    efm_trainer_destroy(noise);
    efm_team_destroy(team);
    efm_dataset_unref(source);
    efm_dataset_unref(target);
    efm_dataset_unref(changed);
    efm_dataset_unref(same);
}

static void refuses_truncations(void **state)
{
    (void)state;
    struct efm_error error = {0};
    struct efm_trainer_spec spec = training_spec();
    struct efm_trainer *trainer = training_create(&spec, NULL);
    struct efm_buffer file = training_save(trainer);
    training_steps(trainer, 1);
    struct efm_buffer before = training_save(trainer);
    for (size_t size = 0; size < file.size; size += size < 2000 ? 1 : 997)
        assert_int_equal(restore(trainer, file.data, size, &error), EFM_E_FORMAT);
    assert_int_equal(restore(trainer, file.data, file.size - 1, &error), EFM_E_FORMAT);
    training_expect(trainer, &before);
    efm_buffer_release(&before);
    efm_buffer_release(&file);
    efm_trainer_destroy(trainer);
}

/* Replaces text of the header by text of the same length, and expects a refusal that changes nothing. */
static void expect_damage(struct efm_trainer *trainer, const struct efm_buffer *file, const char *from,
                          const char *to, enum efm_status wanted)
{
    struct efm_error error = {0};
    struct efm_buffer damaged = efm_buffer_limited(file->size), before = training_save(trainer);
    assert_int_equal(strlen(from), strlen(to));
    assert_int_equal(efm_buffer_append(&damaged, file->data, file->size), EFM_OK);
    uint8_t *place = memmem(damaged.data, damaged.size, from, strlen(from));
    if (place == NULL)
        fail_msg("there is no %s", from);
    memcpy(place, to, strlen(to));
    enum efm_status status = restore(trainer, damaged.data, damaged.size, &error);
    if (status != wanted || error.message[0] == '\0')
        fail_msg("%s -> %s: %s: %s", from, to, efm_status_name(status), error.message);
    training_expect(trainer, &before);
    efm_buffer_release(&before);
    efm_buffer_release(&damaged);
}

static void refuses_damaged_headers(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    struct efm_trainer *trainer = training_create(&spec, NULL);
    training_steps(trainer, 7);
    struct efm_buffer file = training_save(trainer);
    expect_damage(trainer, &file, "\"kind\"", "\"kinb\"", EFM_E_FORMAT);
    expect_damage(trainer, &file, "efmd_checkpoint", "efmd_checkpaint", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"version\":\"1\"", "\"version\":\"2\"", EFM_E_UNSUPPORTED);
    expect_damage(trainer, &file, "\"version\"", "\"wersion\"", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"step\":\"7\"", "\"step\":\"x\"", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"step\":\"7\"", "\"step\":\"-\"", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"step\":\"7\"", "\"step\": \"\"", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"step\":", "\"stop\":", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"spec\":", "\"spek\":", EFM_E_FORMAT);
    expect_damage(trainer, &file, "seed=1", "seed=2", EFM_E_ARGUMENT);
    expect_damage(trainer, &file, "shards=4", "shards\\u", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"precision\":\"f32\"", "\"precision\":\"f16\"", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"precision\":", "\"precasion\":", EFM_E_FORMAT);
    expect_damage(trainer, &file, "source_sha256", "source_sha257", EFM_E_FORMAT);
    expect_damage(trainer, &file, "state_sha256", "state_sha257", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"step\":\"7\"", "\"step\":\"6\"", EFM_E_FORMAT); /* good, but another */
    char loss[] = "\"loss\":\"?", other[sizeof loss];
    const char *at = memmem(file.data, file.size, loss, sizeof loss - 2);
    assert_non_null(at);
    memcpy(loss, at, sizeof loss - 1);
    memcpy(other, loss, sizeof loss);
    other[sizeof loss - 2] = loss[sizeof loss - 2] == '1' ? '2' : '1';
    expect_damage(trainer, &file, loss, other, EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"average\":{", "\"avirage\":{", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"first\":{", "\"fierst:{", EFM_E_FORMAT);
    expect_damage(trainer, &file, "\"F32\"", "\"I64\"", EFM_E_FORMAT);
    assert_int_equal(efm_trainer_restore(trainer, file.data, file.size, NULL), EFM_OK);
    efm_buffer_release(&file);
    efm_trainer_destroy(trainer);
}

/* The name of a state as files hold it: of step, loss and the names of each tensor, which are small here. */
static void name_state(const struct efm_tensor_entry tensors[4], const char *step, const char *loss,
                       char hex[65])
{
    char names[4][65];
    struct efm_buffer all = efm_buffer_limited(4096);
    efm_buffer_format(&all, "%s %s", step, loss);
    for (size_t i = 0; i < 4; i++)
        efm_sha256_hex(tensors[i].data, tensors[i].size, names[i]);
    assert_int_equal(efm_buffer_append(&all, names, sizeof names), EFM_OK);
    efm_sha256_hex(all.data, all.size, hex);
    efm_buffer_release(&all);
}

/* The good file once more, with other metadata for one key (NULL: as it was) and other tensors. */
static struct efm_buffer rewrite(const struct efm_buffer *file, const char *key, const char *value,
                                 const struct efm_tensor_entry *more, size_t more_count)
{
    static const char *const keys[] = {"kind",      "version",       "step",          "loss",        "spec",
                                       "precision", "source_sha256", "target_sha256", "state_sha256"};
    enum { KEYS = sizeof keys / sizeof keys[0] };
    struct efm_safetensors *open;
    struct efm_metadata_entry metadata[KEYS];
    struct efm_tensor_entry tensors[8];
    char name[65];
    struct efm_buffer out = efm_buffer_limited(64 << 20);
    assert_int_equal(efm_safetensors_open(&open, file->data, file->size, NULL), EFM_OK);
    for (size_t i = 0; i < KEYS; i++) {
        metadata[i] = (struct efm_metadata_entry){keys[i], efm_safetensors_metadata(open, keys[i])};
        if (key != NULL && strcmp(key, keys[i]) == 0)
            metadata[i].value = value;
    }
    size_t count = efm_safetensors_count(open);
    for (size_t i = 0; i < count; i++) {
        tensors[i] = *efm_safetensors_at(open, i);
        for (size_t j = 0; j < more_count; j++)
            if (strcmp(more[j].name, tensors[i].name) == 0)
                tensors[i] = more[j];
    }
    if (more_count > 0 && efm_safetensors_find(open, more[0].name) == NULL)
        tensors[count++] = more[0];
    if (key == NULL || strcmp(key, "state_sha256") != 0) {
        name_state(tensors, metadata[2].value, metadata[3].value, name);
        metadata[KEYS - 1].value = name;
    }
    assert_int_equal(efm_safetensors_write(&out, tensors, count, metadata, KEYS, NULL), EFM_OK);
    efm_safetensors_close(open);
    return out;
}

static void expect_rewritten(struct efm_trainer *trainer, struct efm_buffer rewritten, enum efm_status wanted)
{
    struct efm_error error = {0};
    struct efm_buffer before = training_save(trainer);
    enum efm_status status = restore(trainer, rewritten.data, rewritten.size, &error);
    if (status != wanted)
        fail_msg("%s: %s, not %s", efm_status_name(status), error.message, efm_status_name(wanted));
    if (wanted != EFM_OK)
        training_expect(trainer, &before);
    efm_buffer_release(&before);
    efm_buffer_release(&rewritten);
}

static void refuses_what_was_never_saved(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    struct efm_trainer *trainer = training_create(&spec, NULL);
    training_steps(trainer, 2);
    struct efm_buffer file = training_save(trainer);
    expect_rewritten(trainer, rewrite(&file, NULL, NULL, NULL, 0), EFM_OK);
    expect_rewritten(trainer, rewrite(&file, "step", "1000000000", NULL, 0), EFM_OK);
    const char *steps[] = {"1000000001", "99999999999", "18446744073709551617", "", "+1", " 1", "1 ", "1e3"};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        expect_rewritten(trainer, rewrite(&file, "step", steps[i], NULL, 0), EFM_E_FORMAT);
    const char *losses[] = {"inf", "nan", "-1", "", "1x", "1e999", " 1"};
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        expect_rewritten(trainer, rewrite(&file, "loss", losses[i], NULL, 0), EFM_E_FORMAT);
    expect_rewritten(trainer, rewrite(&file, "spec", "", NULL, 0), EFM_E_ARGUMENT);
    expect_rewritten(trainer, rewrite(&file, "spec", "net.arch=mlp\n", NULL, 0), EFM_E_ARGUMENT);
    expect_rewritten(trainer, rewrite(&file, "precision", "auto", NULL, 0), EFM_E_FORMAT);
    expect_rewritten(trainer, rewrite(&file, "source_sha256", "", NULL, 0), EFM_E_ARGUMENT);
    expect_rewritten(trainer, rewrite(&file, "target_sha256", "0123", NULL, 0), EFM_E_ARGUMENT);
    expect_rewritten(trainer, rewrite(&file, "state_sha256", "", NULL, 0), EFM_E_FORMAT);

    size_t size = efm_net_size(efm_trainer_net(trainer));
    float *zeros = calloc(size + 1, sizeof *zeros);
    assert_non_null(zeros);
#define TENSOR(...)                                                                                          \
    rewrite(&file, NULL, NULL, &(struct efm_tensor_entry){.data = (const uint8_t *)zeros, __VA_ARGS__}, 1)
    const uint64_t n = size;
    expect_rewritten(trainer, TENSOR(.name = "first", .rank = 1, .shape = {n}, .size = 4 * size), EFM_OK);
    expect_rewritten(trainer, TENSOR(.name = "first", .rank = 1, .shape = {n + 1}, .size = 4 * size + 4),
                     EFM_E_FORMAT);
    expect_rewritten(trainer, TENSOR(.name = "second", .rank = 1, .shape = {n - 1}, .size = 4 * size - 4),
                     EFM_E_FORMAT);
    expect_rewritten(trainer, TENSOR(.name = "second", .rank = 2, .shape = {1, n}, .size = 4 * size),
                     EFM_E_FORMAT);
    expect_rewritten(trainer, TENSOR(.name = "average", .rank = 1, .shape = {0}, .size = 0), EFM_E_FORMAT);
    expect_rewritten(
        trainer,
        TENSOR(.name = "average", .type = EFM_TENSOR_BF16, .rank = 1, .shape = {n}, .size = 2 * size),
        EFM_E_FORMAT);
    expect_rewritten(trainer, TENSOR(.name = "fifth", .rank = 1, .shape = {n}, .size = 4 * size),
                     EFM_E_FORMAT);
    const char *names[] = {"parameters", "first", "second", "average"};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 3; j++) {
            zeros[size - 1] = bad[j];
            expect_rewritten(trainer, TENSOR(.name = names[i], .rank = 1, .shape = {n}, .size = 4 * size),
                             EFM_E_NUMERIC);
        }
        zeros[size - 1] = -1;
        expect_rewritten(trainer, TENSOR(.name = names[i], .rank = 1, .shape = {n}, .size = 4 * size),
                         i == 2 ? EFM_E_NUMERIC : EFM_OK);
    }
#undef TENSOR
    free(zeros);
    efm_buffer_release(&file);
    efm_trainer_destroy(trainer);
}

/* Tensors of more than one piece; bits that leave every number finite, as a disk would flip them. */
static void a_flipped_bit_is_no_state(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    spec.net.hidden = spec.net.hidden2 = 600;
    spec.batch.size = 8;
    struct efm_team *team = training_team(3);
    struct efm_trainer *trainer = training_create(&spec, NULL), *together = training_create(&spec, team);
    struct efm_random random;
    struct efm_error error = {0};
    training_steps(together, 2);
    struct efm_buffer file = training_save(together), before = training_save(trainer);
    const size_t size = efm_net_size(efm_trainer_net(trainer)) * sizeof(float), begin = file.size - 4 * size;
    assert_true(size > 1 << 20);
    efm_random_init(&random, 3, 0, EFM_RANDOM_TEST);
    for (size_t i = 0; i < 24; i++) {
        /* the ends of each tensor, and places between them */
        size_t in = i < 8 ? i % 2 * (size / 4 - 1) : efm_random_u64(&random) % (size / 4);
        size_t place = begin + i / 2 % 4 * size + 4 * in; /* its lowest byte */
        uint8_t bit = (uint8_t)(1u << i % 8);
        file.data[place] ^= bit;
        assert_int_equal(restore(trainer, file.data, file.size, &error), EFM_E_FORMAT);
        assert_non_null(strstr(error.message, "damaged"));
        file.data[place] ^= bit;
    }
    training_expect(trainer, &before);
    assert_int_equal(restore(trainer, file.data, file.size, &error), EFM_OK);
    training_expect(trainer, &file);
    efm_buffer_release(&file);
    efm_buffer_release(&before);
    efm_trainer_destroy(trainer);
    efm_trainer_destroy(together);
    efm_team_destroy(team);
}

/* A checkpoint of a gigabyte shall not take two: the tensors' room is taken once, and is no larger than they are. */
static void takes_its_memory_once(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    spec.net.hidden = spec.net.hidden2 = 300;
    struct efm_trainer *trainer = training_create(&spec, NULL);
    struct efm_buffer file = training_save(trainer);
    assert_true(file.size > 1 << 20);
    assert_int_equal(file.capacity, file.size);
    efm_buffer_release(&file);
    efm_trainer_destroy(trainer);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    struct efm_trainer_spec spec = training_spec();
    struct efm_trainer *trainer = training_create(&spec, NULL);
    struct efm_buffer file = training_save(trainer), out = efm_buffer_limited(64 << 20);
    training_steps(trainer, 1);
    struct efm_buffer before = training_save(trainer);
    enum efm_status status = EFM_E_MEMORY;
    size_t n = 0;
    for (; status != EFM_OK && n < 100; n++) {
        efm_buffer_release(&out);
        chaos_arm(n);
        status = efm_trainer_save(trainer, &out, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || status == EFM_E_MEMORY);
    }
    assert_true(status == EFM_OK && n > 2 && training_same(&out, &before));
    status = EFM_E_MEMORY;
    for (n = 0; status != EFM_OK && n < 100; n++) {
        training_expect(trainer, &before);
        chaos_arm(n);
        status = efm_trainer_restore(trainer, file.data, file.size, NULL);
        chaos_disarm();
        assert_true(status == EFM_OK || status == EFM_E_MEMORY);
    }
    assert_true(status == EFM_OK && n > 2);
    training_expect(trainer, &file);
    struct efm_buffer small = efm_buffer_limited(file.size - 1);
    assert_int_equal(efm_trainer_save(trainer, &small, NULL), EFM_E_LIMIT);
    efm_buffer_release(&small);
    efm_buffer_release(&out);
    efm_buffer_release(&file);
    efm_buffer_release(&before);
    efm_trainer_destroy(trainer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_bit_for_bit),
        cmocka_unit_test(names_what_differs),
        cmocka_unit_test(knows_its_samples),
        cmocka_unit_test(refuses_truncations),
        cmocka_unit_test(refuses_damaged_headers),
        cmocka_unit_test(refuses_what_was_never_saved),
        cmocka_unit_test(a_flipped_bit_is_no_state),
        cmocka_unit_test(takes_its_memory_once),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
