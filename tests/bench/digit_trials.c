// SPDX-License-Identifier: Apache-2.0
/* Trains the translation of coloured threes to twos and writes what becomes of threes that were never seen.
 *
 *   digit_trials MNIST FOLDER [key=value ...] | digit_trials.py JUDGE FOLDER
 *
 * MNIST holds train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz; all but the last 1,000 of a digit are trained on.
 * FOLDER gets sources.u8, real.u8 and for each look result-STEP-SOLVERNFE.u8, images of 32 x 32 x 3 bytes: 512 threes and
 * 1,000 twos that were held back. A JSON line a look goes to standard output; seconds are those of training alone.
 * Keys: target sampler pairing charges refresh batch steps rate warmup schedule ema clip L lowest gamma nf mult blocks precision seed
 * threads load (a model file to look at, in place of training) looks (how many, evenly) solvers (of the last look: "5,10,h5,r10,rk45": Euler's steps in z or, r, in its root, Heun's, h) model (a file for the last one). */
#include "core/base/memory.h"
#include "core/data/subset.h"
#include "core/flow/flow.h"
#include "core/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SOURCES = 512,
    REAL = 1000,
    HELD_BACK = 1000,
    DIMENSION = 32 * 32 * 3,
    SOURCE_DIGIT = 3,
    TARGET_DIGIT = 2
};

struct trial {
    struct efm_trainer_spec spec;
    const char *folder, *solvers, *model, *load;
    size_t threads, looks;
    struct efm_dataset *train[2], *held[2];
    struct efm_team *team;
    struct efm_trainer *trainer;
    float *sources; /* [SOURCES, DIMENSION] */
};

static void must(enum efm_status status, const struct efm_error *error)
{
    if (status == EFM_OK)
        return;
    fprintf(stderr, "digit_trials: %s\n", error->message);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static uint8_t *read_file(const char *folder, const char *name, size_t *size)
{
    char path[1024];
    snprintf(path, sizeof path, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*size);
    if (bytes == NULL || fread(bytes, 1, *size, file) != *size)
        exit(1);
    fclose(file);
    return bytes;
}

static void write_images(const struct trial *trial, const char *name, const float *values, size_t count)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", trial->folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    for (size_t i = 0; i < count * DIMENSION; i++) {
        double byte = rint((fmin(fmax((double)values[i], -1), 1) + 1) * 127.5);
        fputc((int)byte, file);
    }
    fclose(file);
}

static void read_digits(struct trial *trial, const char *mnist)
{
    struct efm_error error = {0};
    struct efm_labels labels;
    struct efm_dataset *all;
    struct efm_dataset_options options = efm_dataset_options_default();
    size_t size;
    options.shape = efm_shape_image(32, 32, 3);
    uint8_t *bytes = read_file(mnist, "train-images-idx3-ubyte.gz", &size);
    must(efm_dataset_read(&all, bytes, size, &options, &error), &error);
    free(bytes);
    bytes = read_file(mnist, "train-labels-idx1-ubyte.gz", &size);
    must(efm_labels_read(&labels, bytes, size, &error), &error);
    free(bytes);
    for (int side = 0; side < 2; side++) {
        struct efm_selection selection = {
            .labels = &labels, .label = side == 0 ? SOURCE_DIGIT : TARGET_DIGIT, .count = -HELD_BACK};
        must(efm_dataset_select(&trial->train[side], all, &selection, &error), &error);
        selection.first = -HELD_BACK;
        selection.count = side == 0 ? SOURCES : REAL;
        must(efm_dataset_select(&trial->held[side], all, &selection, &error), &error);
    }
    efm_labels_release(&labels);
    efm_dataset_unref(all);
}

/* The held-back digits in colours that are the same for every trial. */
static void write_held(struct trial *trial)
{
    struct efm_error error = {0};
    float *values = malloc(REAL * DIMENSION * sizeof *values);
    for (int side = 1; side >= 0; side--) {
        struct efm_samples *samples;
        size_t count = side == 0 ? SOURCES : REAL;
        must(efm_samples_create(&samples, trial->held[side], NULL, EFM_AUGMENT_HUE, 99, side, &error),
             &error);
        efm_samples_draw(samples, 0, count, values, trial->team);
        write_images(trial, side == 0 ? "sources.u8" : "real.u8", values, count);
        efm_samples_destroy(samples);
    }
    trial->sources = values;
}

/* Follows all sources and writes where they landed; returns the evaluations of a line, on average. */
static double follow(struct trial *trial, const struct efm_model *model, const char *solver, const char *name,
                     size_t *landed)
{
    enum { AT_ONCE = 64 };
    struct efm_error error = {0};
    struct efm_flow_options options;
    struct efm_flow *flow;
    const struct efm_field *field = efm_model_field(model);
    float *results = malloc(SOURCES * DIMENSION * sizeof *results);
    double evaluations = 0;
    efm_model_flow_options(model, &options);
    options.solver = strcmp(solver, "rk45") == 0 ? EFM_SOLVER_RK45
                     : solver[0] == 'h'          ? EFM_SOLVER_HEUN
                                                 : EFM_SOLVER_EULER;
    options.variable =
        solver[0] == 'r' && options.solver == EFM_SOLVER_EULER ? EFM_VARIABLE_ROOT_Z : EFM_VARIABLE_Z;
    options.tolerance = 1e-4;
    if (options.solver != EFM_SOLVER_RK45)
        options.steps = (uint32_t)strtoul(solver + strspn(solver, "hr"), NULL, 10);
    must(efm_flow_create(&flow, field, AT_ONCE, trial->team, &error), &error);
    *landed = 0;
    for (size_t first = 0; first < SOURCES; first += AT_ONCE) {
        struct efm_line *lines[AT_ONCE];
        for (size_t i = 0; i < AT_ONCE; i++)
            must(efm_line_create(&lines[i], field, &options, trial->sources + (first + i) * DIMENSION,
                                 first + i, &error),
                 &error);
        while (efm_flow_step(flow, lines, AT_ONCE) > 0)
            continue;
        for (size_t i = 0; i < AT_ONCE; i++) {
            memcpy(results + (first + i) * DIMENSION, efm_line_position(lines[i]),
                   DIMENSION * sizeof *results);
            evaluations += efm_line_evaluations(lines[i]);
            *landed += efm_line_state(lines[i]) == EFM_LINE_LANDED;
            efm_line_destroy(lines[i]);
        }
    }
    efm_flow_destroy(flow);
    write_images(trial, name, results, SOURCES);
    free(results);
    return evaluations / SOURCES;
}

/* Follows all sources by each solver of the list, and says what came of it. */
static void look_at(struct trial *trial, const struct efm_model *model, const char *solvers,
                    unsigned long long step, double seconds, double loss)
{
    char list[256], *rest = list;
    snprintf(list, sizeof list, "%s", solvers);
    for (char *solver = strtok_r(rest, ",", &rest); solver != NULL; solver = strtok_r(rest, ",", &rest)) {
        char name[128];
        size_t landed;
        snprintf(name, sizeof name, "result-%llu-%s.u8", step, solver);
        double evaluations = follow(trial, model, solver, name, &landed);
        printf("{\"step\":%llu,\"seconds\":%.1f,\"loss\":%.5f,\"solver\":\"%s\",\"nfe\":%.1f,\"landed\":%zu,"
               "\"file\":\"%s\"}\n",
               step, seconds, loss, solver, evaluations, landed, name);
        fflush(stdout);
    }
}

static void look_at_file(struct trial *trial)
{
    struct efm_error error = {0};
    struct efm_model *model;
    size_t size;
    uint8_t *bytes = read_file("", trial->load, &size);
    must(efm_model_load(&model, bytes, size, SIZE_MAX, &error), &error);
    look_at(trial, model, trial->solvers, 0, 0, 0);
    efm_model_unref(model);
    free(bytes);
}

static void save(const char *path, const struct efm_model *model)
{
    struct efm_error error = {0};
    struct efm_buffer out = efm_buffer_limited(1 << 30);
    must(efm_model_save(model, &out, &error), &error);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(out.data, 1, out.size, file) != out.size || fclose(file) != 0)
        exit(1);
    efm_buffer_release(&out);
}

static void look(struct trial *trial, double seconds, double loss, const char *solvers)
{
    struct efm_error error = {0};
    struct efm_model *model;
    const struct efm_trainer_names names = {"threes", "twos", true};
    uint64_t step = efm_trainer_step_count(trial->trainer);
    must(efm_trainer_model(trial->trainer, &names, &model, &error), &error);
    look_at(trial, model, solvers, step, seconds, loss);
    if (trial->model != NULL && step == trial->spec.steps)
        save(trial->model, model);
    efm_model_unref(model);
}

static void set(struct trial *trial, const char *key, const char *value)
{
    struct efm_trainer_spec *spec = &trial->spec;
    double number = strtod(value, NULL);
    enum efm_status status = EFM_OK;
    if (strcmp(key, "target") == 0)
        status = efm_training_target_parse(value, &spec->batch.target);
    else if (strcmp(key, "sampler") == 0)
        status = efm_sampler_parse(value, &spec->batch.sampler);
    else if (strcmp(key, "pairing") == 0)
        status = efm_pairing_parse(value, &spec->batch.pairing);
    else if (strcmp(key, "schedule") == 0)
        status = efm_schedule_parse(value, &spec->optimiser.schedule);
    else if (strcmp(key, "precision") == 0)
        status = efm_precision_parse(value, &spec->precision);
    else if (strcmp(key, "solvers") == 0)
        trial->solvers = value;
    else if (strcmp(key, "model") == 0)
        trial->model = value;
    else if (strcmp(key, "load") == 0)
        trial->load = value;
    else if (strcmp(key, "charges") == 0)
        spec->batch.charges = (size_t)number;
    else if (strcmp(key, "refresh") == 0)
        spec->batch.refresh = (size_t)number;
    else if (strcmp(key, "batch") == 0)
        spec->batch.size = (size_t)number;
    else if (strcmp(key, "steps") == 0)
        spec->steps = (uint64_t)number;
    else if (strcmp(key, "rate") == 0)
        spec->optimiser.rate = number;
    else if (strcmp(key, "warmup") == 0)
        spec->optimiser.warmup = (uint64_t)number;
    else if (strcmp(key, "ema") == 0)
        spec->optimiser.ema = number;
    else if (strcmp(key, "clip") == 0)
        spec->optimiser.clip = number;
    else if (strcmp(key, "L") == 0)
        spec->batch.length = number;
    else if (strcmp(key, "lowest") == 0)
        spec->batch.lowest = number;
    else if (strcmp(key, "gamma") == 0)
        spec->batch.gamma = number;
    else if (strcmp(key, "nf") == 0)
        spec->net.nf = (uint32_t)number;
    else if (strcmp(key, "blocks") == 0)
        spec->net.blocks = (uint32_t)number;
    else if (strcmp(key, "seed") == 0)
        spec->seed = (uint64_t)number;
    else if (strcmp(key, "threads") == 0)
        trial->threads = (size_t)number;
    else if (strcmp(key, "looks") == 0)
        trial->looks = (size_t)number;
    else if (strcmp(key, "mult") == 0)
        for (spec->net.levels = 0; *value != '\0' && spec->net.levels < EFM_NET_MAX_LEVELS; value++)
            spec->net.ch_mult[spec->net.levels] = (uint32_t)(*value - '0'), spec->net.levels += *value != ',';
    else
        status = EFM_E_NOT_FOUND;
    if (status != EFM_OK) {
        fprintf(stderr, "digit_trials: %s=%s is not known\n", key, value);
        exit(2);
    }
}

static void train(struct trial *trial)
{
    struct efm_error error = {0};
    struct efm_trainer_report report = {0};
    double seconds = 0, loss = 0;
    for (uint64_t step = 1; step <= trial->spec.steps; step++) {
        double begin = now();
        must(efm_trainer_step(trial->trainer, &report, &error), &error);
        seconds += now() - begin;
        loss = step == 1 ? report.loss : loss + 0.02 * (report.loss - loss);
        bool last = step == trial->spec.steps;
        if (last || step * trial->looks / trial->spec.steps != (step - 1) * trial->looks / trial->spec.steps)
            look(trial, seconds, loss, last ? trial->solvers : "10");
    }
}

int main(int argument_count, char **arguments)
{
    static struct trial trial;
    struct efm_error error = {0};
    struct efm_shape shape = efm_shape_image(32, 32, 3);
    if (argument_count < 3) {
        fprintf(stderr, "usage: see the head of tests/bench/digit_trials.c\n");
        return 2;
    }
    trial.folder = arguments[2];
    trial.solvers = "10";
    trial.threads = 2;
    trial.looks = 4;
    efm_trainer_spec_default(&trial.spec, &shape);
    trial.spec.augmentation[0] = trial.spec.augmentation[1] = EFM_AUGMENT_HUE;
    for (int i = 3; i < argument_count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value == NULL)
            return 2;
        *value = '\0';
        set(&trial, arguments[i], value + 1);
    }
    must(efm_team_create(&trial.team, trial.threads, &error), &error);
    read_digits(&trial, arguments[1]);
    write_held(&trial);
    if (trial.load != NULL)
        look_at_file(&trial);
    else
        must(efm_trainer_create(&trial.trainer, &trial.spec, trial.train[0], trial.train[1], trial.team,
                                &error),
             &error);
    if (trial.load == NULL)
        train(&trial);
    efm_trainer_destroy(trial.trainer);
    efm_team_destroy(trial.team);
    for (int side = 0; side < 2; side++) {
        efm_dataset_unref(trial.train[side]);
        efm_dataset_unref(trial.held[side]);
    }
    free(trial.sources);
    return 0;
}
