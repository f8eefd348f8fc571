// SPDX-License-Identifier: Apache-2.0
/* carry - carry a folder of images along the exact field of two others, without a daemon.
 *
 * usage: carry SOURCE TARGET INPUT OUTPUT KIND L SOLVER VARIABLE STEPS TOLERANCE [reverse]
 * Prints one line: evaluations, states of the lines, mean distance to the charge they landed on, seconds. */
#include "core/base/memory.h"
#include "core/data/dataset.h"
#include "core/flow/flow.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        if ((call) != EFM_OK) {                                                                              \
            fprintf(stderr, "carry: %s\n", error.message);                                                   \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *load(const char *path, size_t *count, struct efm_shape *shape)
{
    struct efm_error error = {0};
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_dataset *dataset;
    CHECK(efm_dataset_read_folder(&dataset, path, &options, &error));
    *count = efm_dataset_count(dataset);
    *shape = *efm_dataset_shape(dataset);
    float *values = malloc(*count * shape->dimension * sizeof *values);
    CHECK(efm_dataset_floats(dataset, 0, *count, values, &error));
    efm_dataset_unref(dataset);
    return values;
}

static int word(const char *text, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    fprintf(stderr, "carry: unknown word %s\n", text);
    exit(2);
}

int main(int argc, char **argv)
{
    static const char *const solvers[] = {"euler", "heun", "rk45", "arc_length", NULL};
    static const char *const variables[] = {"z", "log_z", NULL};
    if (argc < 11)
        return 2;
    struct efm_error error = {0};
    struct efm_shape shape;
    size_t m, n, count;
    float *p = load(argv[1], &m, &shape), *q = load(argv[2], &n, &shape), *x = load(argv[3], &count, &shape);
    struct efm_exact_options exact = {.length = atof(argv[6]), .gamma = 5};
    CHECK(efm_field_kind_parse(argv[5], &exact.kind));
    struct efm_field *field;
    CHECK(efm_exact_field_create(&field, p, m, q, n, shape.dimension, &exact, &error));
    struct efm_flow_options options;
    efm_flow_options_default(&options, field);
    options.solver = word(argv[7], solvers);
    options.variable = word(argv[8], variables);
    options.steps = (uint32_t)strtoul(argv[9], NULL, 10);
    options.tolerance = atof(argv[10]);
    if (argc > 11)
        options.direction = EFM_DIRECTION_REVERSE;
    struct efm_team *team;
    CHECK(efm_team_create(&team, 2, &error));
    struct efm_flow *flow;
    CHECK(efm_flow_create(&flow, field, count, team, &error));
    struct efm_line **lines = malloc(count * sizeof *lines);
    for (size_t i = 0; i < count; i++)
        CHECK(efm_line_create(&lines[i], field, &options, x + i * shape.dimension, i, &error));
    double begin = now(), evaluations = 0, landing = 0;
    while (efm_flow_step(flow, lines, count) > 0)
        ;
    double seconds = now() - begin;
    size_t states[EFM_LINE_NOT_FINITE + 1] = {0}, close = 0;
    for (size_t i = 0; i < count; i++) {
        struct efm_image image;
        struct efm_buffer out = efm_buffer_limited(1 << 20);
        char path[600];
        evaluations += efm_line_evaluations(lines[i]);
        states[efm_line_state(lines[i])]++;
        landing += efm_line_landing_distance(lines[i]);
        close += efm_line_landing_distance(lines[i]) < 1;
        CHECK(efm_image_create(&image, shape.width, shape.height, shape.channels, &error));
        efm_image_from_floats(&image, efm_line_position(lines[i]));
        CHECK(efm_image_encode(&out, &image, EFM_IMAGE_PNG, 90, NULL, 0, &error));
        snprintf(path, sizeof path, "%s/%06zu.png", argv[4], i);
        FILE *file = fopen(path, "wb");
        fwrite(out.data, 1, out.size, file);
        fclose(file);
        efm_buffer_release(&out);
        efm_image_release(&image);
    }
    printf("NFE %.1f landed %zu turned %zu lost %zu not_finite %zu on a charge %zu of %zu, distance %.3f, "
           "%.2f s\n",
           evaluations / (double)count, states[1], states[2], states[3], states[4], close, count,
           landing / (double)count, seconds);
    return 0;
}
