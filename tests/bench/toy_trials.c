// SPDX-License-Identifier: Apache-2.0
/* Trains a small network from N(0, I) to the swiss roll and judges where fresh starts land.
 *
 *   toy_trials [key=value ...]
 *
 * A JSON line for each solver goes to standard output: W2 and energy distance of LINES landed points to as many fresh
 * samples of the roll, mean over `draws`; the floors are those of two fresh sets of samples; seconds are those of training.
 * Keys: target sampler pairing charges refresh batch steps rate warmup schedule ema clip L lowest gamma sigma tau hidden hidden2
 * embedding seed threads precision, as in docs/training.md; data (samples of the roll that are trained on), draws, lines,
 * solvers ("euler:50,heun:25,rk45,arc_length", "euler:50:log_z" for steps in ln z), file (gets, as CSV, the first draw of
 * the first solver: source, result, target, and the journeys of the first starts as their number, z, x, y). */
#include "core/data/toy.h"
#include "core/flow/flow.h"
#include "core/train/trainer.h"
#include "tests/support/distance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { JOURNEYS = 400, MOST_LINES = 10000, DIMENSION = 2 };

struct trial {
    struct efm_trainer_spec spec;
    const char *solvers, *file;
    size_t threads, data, draws, lines;
    struct efm_team *team;
    double seconds, loss;
};

struct distances {
    double w2, energy;
};

static void must(enum efm_status status, const struct efm_error *error)
{
    if (status == EFM_OK)
        return;
    fprintf(stderr, "toy_trials: %s\n", error->message);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static struct efm_toy_spec toy(enum efm_toy_kind kind, size_t count, uint64_t seed)
{
    struct efm_toy_spec spec = efm_toy_spec_default(kind);
    spec.count = count;
    spec.shape = efm_shape_vector(DIMENSION);
    spec.seed = seed;
    return spec;
}

/* What is trained on has seed 1; what is judged by, others. */
static float *draw(enum efm_toy_kind kind, size_t count, uint64_t seed)
{
    struct efm_toy_spec spec = toy(kind, count, seed);
    float *values = malloc(count * DIMENSION * sizeof *values);
    if (values == NULL)
        exit(1);
    efm_toy_fill(&spec, values);
    return values;
}

static struct distances between(const float *a, const float *b, size_t count)
{
    return (struct distances){distance_w2(a, b, count, DIMENSION), distance_energy(a, b, count, DIMENSION)};
}

static struct distances floors(const struct trial *trial)
{
    struct distances mean = {0, 0};
    for (uint64_t k = 0; k < trial->draws; k++) {
        float *a = draw(EFM_TOY_SWISS_ROLL, trial->lines, 1000 + 2 * k),
              *b = draw(EFM_TOY_SWISS_ROLL, trial->lines, 1001 + 2 * k);
        struct distances one = between(a, b, trial->lines);
        mean.w2 += one.w2 / (double)trial->draws;
        mean.energy += one.energy / (double)trial->draws;
        free(a);
        free(b);
    }
    return mean;
}

/* ---- following ---- */

/* "heun:25:log_z": the name, the steps, the variable. */
static void choose_solver(struct efm_flow_options *options, const char *words)
{
    static const char *const names[] = {"euler", "heun", "rk45", "arc_length"};
    const char *rest = strchr(words, ':');
    size_t length = rest != NULL ? (size_t)(rest - words) : strlen(words);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i]) == length && memcmp(names[i], words, length) == 0)
            options->solver = (enum efm_solver)i;
    unsigned long steps = rest != NULL ? strtoul(rest + 1, NULL, 10) : 0;
    if (steps > 0)
        options->steps = (uint32_t)steps;
    options->variable = strstr(words, "log_z") != NULL ? EFM_VARIABLE_LOG_Z : EFM_VARIABLE_Z;
    options->max_evaluations = 4000;
    options->tolerance = 1e-3;
}

static void write_rows(FILE *file, const char *name, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s,%g,%g\n", name, (double)x[2 * i], (double)x[2 * i + 1]);
}

static void write_journey(FILE *file, const struct efm_line *line, size_t number)
{
    const float *x;
    const double *z;
    size_t count;
    efm_line_frames(line, &x, &z, &count);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "line,%zu,%g,%g,%g\n", number, z[i], (double)x[2 * i], (double)x[2 * i + 1]);
}

/* Where the lines landed, in `landed`; returns their number and adds to the evaluations. */
static size_t follow(const struct trial *trial, const struct efm_field *field,
                     const struct efm_flow_options *options, const float *starts, float *landed, FILE *file,
                     double *evaluations)
{
    static struct efm_line *lines[MOST_LINES];
    struct efm_error error = {0};
    struct efm_flow *flow;
    size_t count = 0;
    must(efm_flow_create(&flow, field, trial->lines, trial->team, &error), &error);
    for (size_t i = 0; i < trial->lines; i++)
        must(efm_line_create(&lines[i], field, options, starts + i * DIMENSION, i, &error), &error);
    while (efm_flow_step(flow, lines, trial->lines) > 0)
        ;
    for (size_t i = 0; i < trial->lines; i++) {
        *evaluations += efm_line_evaluations(lines[i]);
        if (file != NULL && i < JOURNEYS)
            write_journey(file, lines[i], i);
        if (efm_line_state(lines[i]) == EFM_LINE_LANDED)
            memcpy(landed + DIMENSION * count++, efm_line_position(lines[i]), DIMENSION * sizeof *landed);
        efm_line_destroy(lines[i]);
    }
    efm_flow_destroy(flow);
    return count;
}

static void judge(const struct trial *trial, const struct efm_model *model, const char *solver, FILE *file,
                  struct distances floor)
{
    struct efm_flow_options options;
    struct distances mean = {0, 0};
    double evaluations = 0;
    size_t dropped = 0;
    efm_model_flow_options(model, &options);
    choose_solver(&options, solver);
    for (uint64_t k = 0; k < trial->draws; k++) {
        float *starts = draw(EFM_TOY_GAUSSIAN, trial->lines, 2000 + 2 * k),
              *fresh = draw(EFM_TOY_SWISS_ROLL, trial->lines, 2001 + 2 * k),
              *landed = draw(EFM_TOY_GAUSSIAN, trial->lines, 0);
        FILE *to = k == 0 ? file : NULL;
        options.frames = to != NULL ? EFM_FLOW_MAX_FRAMES : 0;
        size_t count = follow(trial, efm_model_field(model), &options, starts, landed, to, &evaluations);
        struct distances one = between(landed, fresh, count);
        mean.w2 += one.w2 / (double)trial->draws;
        mean.energy += one.energy / (double)trial->draws;
        dropped += trial->lines - count;
        if (to != NULL) {
            write_rows(to, "source", starts, trial->lines);
            write_rows(to, "result", landed, count);
            write_rows(to, "target", fresh, trial->lines);
        }
        free(starts);
        free(fresh);
        free(landed);
    }
    printf("{\"steps\":%llu,\"seconds\":%.1f,\"loss\":%.4f,\"solver\":\"%s\",\"nfe\":%.1f,\"w2\":%.4f,"
           "\"w2_floor\":%.4f,\"ratio\":%.3f,\"energy\":%.4f,\"energy_floor\":%.4f,\"dropped\":%zu}\n",
           (unsigned long long)trial->spec.steps, trial->seconds, trial->loss, solver,
           evaluations / (double)(trial->draws * trial->lines), mean.w2, floor.w2, mean.w2 / floor.w2,
           mean.energy, floor.energy, dropped);
    fflush(stdout);
}

/* ---- options ---- */

static enum efm_status set_word(struct trial *trial, const char *key, const char *value)
{
    struct efm_trainer_spec *spec = &trial->spec;
    if (strcmp(key, "target") == 0)
        return efm_training_target_parse(value, &spec->batch.target);
    if (strcmp(key, "sampler") == 0)
        return efm_sampler_parse(value, &spec->batch.sampler);
    if (strcmp(key, "pairing") == 0)
        return efm_pairing_parse(value, &spec->batch.pairing);
    if (strcmp(key, "schedule") == 0)
        return efm_schedule_parse(value, &spec->optimiser.schedule);
    if (strcmp(key, "precision") == 0)
        return efm_precision_parse(value, &spec->precision);
    const char **words[] = {&trial->solvers, &trial->file};
    static const char *const names[] = {"solvers", "file"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(key, names[i]) == 0) {
            *words[i] = value;
            return EFM_OK;
        }
    return EFM_E_NOT_FOUND;
}

static enum efm_status set_number(struct trial *trial, const char *key, double value)
{
    struct efm_trainer_spec *spec = &trial->spec;
    const struct {
        const char *key;
        double *real;
        uint64_t *large;
        uint32_t *small;
        size_t *size;
    } numbers[] = {
        {.key = "rate", .real = &spec->optimiser.rate},
        {.key = "ema", .real = &spec->optimiser.ema},
        {.key = "clip", .real = &spec->optimiser.clip},
        {.key = "L", .real = &spec->batch.length},
        {.key = "lowest", .real = &spec->batch.lowest},
        {.key = "gamma", .real = &spec->batch.gamma},
        {.key = "sigma", .real = &spec->batch.sigma},
        {.key = "tau", .real = &spec->batch.tau},
        {.key = "steps", .large = &spec->steps},
        {.key = "seed", .large = &spec->seed},
        {.key = "warmup", .large = &spec->optimiser.warmup},
        {.key = "hidden", .small = &spec->net.hidden},
        {.key = "hidden2", .small = &spec->net.hidden2},
        {.key = "embedding", .small = &spec->net.embedding},
        {.key = "charges", .size = &spec->batch.charges},
        {.key = "refresh", .size = &spec->batch.refresh},
        {.key = "batch", .size = &spec->batch.size},
        {.key = "threads", .size = &trial->threads},
        {.key = "data", .size = &trial->data},
        {.key = "draws", .size = &trial->draws},
        {.key = "lines", .size = &trial->lines},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].key) != 0)
            continue;
        if (numbers[i].real != NULL)
            *numbers[i].real = value;
        else if (numbers[i].large != NULL)
            *numbers[i].large = (uint64_t)value;
        else if (numbers[i].small != NULL)
            *numbers[i].small = (uint32_t)value;
        else
            *numbers[i].size = (size_t)value;
        return EFM_OK;
    }
    return EFM_E_NOT_FOUND;
}

static void read_options(struct trial *trial, int count, char **arguments)
{
    const struct efm_shape shape = efm_shape_vector(DIMENSION);
    efm_trainer_spec_default(&trial->spec, &shape);
    trial->spec.net.hidden = trial->spec.net.hidden2 = 256;
    trial->solvers = "euler:50";
    trial->threads = 2;
    trial->data = 20000;
    trial->draws = 5;
    trial->lines = 2000;
    for (int i = 1; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value != NULL)
            *value++ = '\0';
        if (value == NULL || (set_word(trial, arguments[i], value) != EFM_OK &&
                              set_number(trial, arguments[i], strtod(value, NULL)) != EFM_OK)) {
            fprintf(stderr, "toy_trials: %s is not a known key=value, see the head of its source\n",
                    arguments[i]);
            exit(2);
        }
    }
    if (trial->draws < 1 || trial->lines < 1 || trial->lines > MOST_LINES || trial->data < 1)
        exit(2);
}

/* ---- training ---- */

static struct efm_model *train(struct trial *trial)
{
    struct efm_error error = {0};
    struct efm_trainer *trainer;
    struct efm_dataset *roll;
    struct efm_model *model;
    struct efm_trainer_report report = {0};
    const struct efm_dataset_options options = efm_dataset_options_default();
    const struct efm_toy_spec spec = toy(EFM_TOY_SWISS_ROLL, trial->data, 1);
    const struct efm_trainer_names names = {"gaussian", "swiss_roll", false};
    must(efm_toy_dataset(&roll, &spec, &options, &error), &error);
    must(efm_trainer_create(&trainer, &trial->spec, NULL, roll, trial->team, &error), &error);
    double begin = now();
    for (uint64_t step = 1; step <= trial->spec.steps; step++) {
        must(efm_trainer_step(trainer, &report, &error), &error);
        trial->loss = step == 1 ? report.loss : trial->loss + 0.01 * (report.loss - trial->loss);
    }
    trial->seconds = now() - begin;
    must(efm_trainer_model(trainer, &names, &model, &error), &error);
    efm_trainer_destroy(trainer);
    efm_dataset_unref(roll);
    return model;
}

int main(int argument_count, char **arguments)
{
    static struct trial trial;
    struct efm_error error = {0};
    char list[512];
    FILE *file = NULL;
    read_options(&trial, argument_count, arguments);
    must(efm_team_create(&trial.team, trial.threads, &error), &error);
    struct efm_model *model = train(&trial);
    struct distances floor = floors(&trial);
    if (trial.file != NULL && (file = fopen(trial.file, "w")) == NULL) {
        perror(trial.file);
        return 1;
    }
    snprintf(list, sizeof list, "%s", trial.solvers);
    char *rest = list;
    for (char *solver = strtok_r(rest, ",", &rest); solver != NULL; solver = strtok_r(rest, ",", &rest)) {
        judge(&trial, model, solver, file, floor);
        if (file != NULL && fclose(file) != 0)
            return 1;
        file = NULL;
    }
    efm_model_unref(model);
    efm_team_destroy(trial.team);
    return 0;
}
