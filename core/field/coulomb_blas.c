// SPDX-License-Identifier: Apache-2.0
/* coulomb_blas.c - the exact field in many dimensions: distances by matrix products, survivors by hand.
 *
 * For a tile of points, r^2 = |x|^2 + |y|^2 - 2xy comes from one product of points and charges (products.h). r^2 enters to
 * the power (D+1)/2, so its rounding error is multiplied by thousands. Hence three rules:
 *   1. charges that cannot reach e^-WINDOW of the strongest one, the error bound included, are dropped;
 *   2. where a survivor's product is not exact enough for its weight, its distance is taken by differences;
 *   3. sum w (x - y) is formed by differences for the charges of rule 2, which a product would lose, and as
 *      w x - w y for the others: row by row while few survive, by a second product when more do.
 * A point's numbers do not depend on its tile: each of its sums has an order of its own. */
#include "core/field/field_internal.h"
#include "core/field/products.h"

#include <string.h>

enum {
    TILE = 64, /* points in one product at most */
    BLOCKS = TILE / EFM_LANES,
    COLUMNS = 32 * EFM_ROWS_STEP, /* dimensions in one piece of the second product */
    SCRATCH = TILE * COLUMNS,     /* holds TILE * EFM_PANEL too */
};

static const double WINDOW = 32; /* e^-32 times any number of charges is lost in a float */
/* Error of x.y relative to |x||y|: never more than this, even for equal terms ... */
static const double PRODUCT_BOUND = 1e-5;
/* ... and what it is when rounding goes both ways, with a margin. */
static const double PRODUCT_ERROR = 2e-7;
/* Error of a weight's logarithm that is let pass. */
static const double TRUSTED = 5e-5;
/* Where this many times the survivors are more than all charges, the product is quicker than row by row. */
enum { DENSE = 2 };

enum {
    PART_CENTRED, /* the points, row by row */
    PART_POINTS,  /* and in blocks */
    PART_DOTS_P,
    PART_DOTS_Q,
    PART_WEIGHTS_P, /* in blocks */
    PART_WEIGHTS_Q,
    PART_SCRATCH,
    PART_INDEX,
    PART_SQUARED,
    PART_LATERAL,
    PART_MEANS,
    PART_STATE
};

/* What the first pass leaves for the second, per point and plate. */
struct plate_sums {
    double q;      /* sum of q over all survivors */
    double dz_q;   /* sum of dz q */
    double mean_q; /* the part of q whose lateral sum is mean_q x - mean */
    bool dense;    /* the mean comes from the second product */
};

struct point_state {
    struct plate_sums plate[2];
    struct efm_rows rows[2];
    double top[2];
    double squared_norm; /* of the centred point */
};

struct job {
    const struct efm_exact_field *field;
    struct efm_field_workspace *workspace;
    const float *x; /* [count, D] of this tile */
    const double *z;
    size_t count, blocks, first; /* first: index of the tile's first point in the whole call */
    const struct efm_kernels *kernels;
    const struct efm_field_values *values;
};

static size_t all_charges(const struct efm_exact_field *field)
{
    return field->plates[0].count + field->plates[1].count;
}

static size_t weights_length(const struct efm_plate *plate)
{
    return efm_panel_count(plate->count) * EFM_PANEL;
}

static bool measure(const struct efm_field *field, size_t capacity, size_t slots, struct efm_arena *plan)
{
    const struct efm_exact_field *exact = efm_exact_field(field);
    size_t dimension = field->dimension, charges = all_charges(exact);
    (void)capacity; /* longer calls go tile by tile */
    return efm_arena_measure(plan, TILE * dimension, sizeof(float)) &&
           efm_arena_measure(plan, TILE * dimension, sizeof(float)) &&
           efm_arena_measure(plan, TILE * exact->plates[0].count, sizeof(float)) &&
           efm_arena_measure(plan, TILE * exact->plates[1].count, sizeof(float)) &&
           efm_arena_measure(plan, TILE * weights_length(&exact->plates[0]), sizeof(float)) &&
           efm_arena_measure(plan, TILE * weights_length(&exact->plates[1]), sizeof(float)) &&
           efm_arena_measure(plan, slots * SCRATCH, sizeof(float)) &&
           efm_arena_measure(plan, slots * charges, sizeof(uint32_t)) &&
           efm_arena_measure(plan, slots * charges, sizeof(double)) &&
           efm_arena_measure(plan, 2 * TILE * dimension, sizeof(double)) &&
           efm_arena_measure(plan, 2 * TILE * dimension, sizeof(float)) &&
           efm_arena_measure(plan, TILE, sizeof(struct point_state));
}

static void lay_out(struct efm_field_workspace *workspace)
{
    const struct efm_exact_field *exact = efm_exact_field(workspace->field);
    const struct efm_plate *p = &exact->plates[EFM_SOURCE], *q = &exact->plates[EFM_TARGET];
    size_t dimension = workspace->field->dimension, charges = all_charges(exact);
    size_t slots = efm_team_size(workspace->team);
    struct efm_arena *arena = &workspace->arena;
    workspace->parts[PART_CENTRED] = efm_arena_take(arena, TILE * dimension, sizeof(float));
    workspace->parts[PART_POINTS] = efm_arena_take(arena, TILE * dimension, sizeof(float));
    workspace->parts[PART_DOTS_P] = efm_arena_take(arena, TILE * p->count, sizeof(float));
    workspace->parts[PART_DOTS_Q] = efm_arena_take(arena, TILE * q->count, sizeof(float));
    workspace->parts[PART_WEIGHTS_P] = efm_arena_take(arena, TILE * weights_length(p), sizeof(float));
    workspace->parts[PART_WEIGHTS_Q] = efm_arena_take(arena, TILE * weights_length(q), sizeof(float));
    workspace->parts[PART_SCRATCH] = efm_arena_take(arena, slots * SCRATCH, sizeof(float));
    workspace->parts[PART_INDEX] = efm_arena_take(arena, slots * charges, sizeof(uint32_t));
    workspace->parts[PART_SQUARED] = efm_arena_take(arena, slots * charges, sizeof(double));
    workspace->parts[PART_LATERAL] = efm_arena_take(arena, 2 * TILE * dimension, sizeof(double));
    workspace->parts[PART_MEANS] = efm_arena_take(arena, 2 * TILE * dimension, sizeof(float));
    workspace->parts[PART_STATE] = efm_arena_take(arena, TILE, sizeof(struct point_state));
}

EFM_CLONES static double difference_squared(const float *restrict x, const float *restrict y,
                                            size_t dimension)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t d = 0; d < dimension; d++) {
        double difference = (double)x[d] - (double)y[d];
        sum += difference * difference;
    }
    return sum;
}

EFM_CLONES static double centre_point(const float *restrict x, const float *restrict centre,
                                      float *restrict out, size_t dimension)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t d = 0; d < dimension; d++) {
        float value = x[d] - centre[d];
        out[d] = value;
        sum += (double)value * (double)value;
    }
    return sum;
}

/* sum += weight * (x - y) */
EFM_CLONES static void add_difference(double *restrict sum, double weight, const float *restrict x,
                                      const float *restrict y, size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        sum[d] += weight * ((double)x[d] - (double)y[d]);
}

EFM_CLONES static void scale(double *restrict x, double factor, size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        x[d] *= factor;
}

/* sum += weight * x - mean, both centred */
EFM_CLONES static void add_dense(double *restrict sum, double weight, const float *restrict x,
                                 const float *restrict mean, size_t dimension)
{
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        sum[d] += weight * (double)x[d] - (double)mean[d];
}

/* mean += w[0] (y[0] - centre) + .. + w[3] (y[3] - centre) */
EFM_CLONES static void add_four(float *restrict mean, const float w[4], const float *const y[4],
                                const float *restrict centre, size_t dimension)
{
    const float *restrict a = y[0], *restrict b = y[1], *restrict c = y[2], *restrict e = y[3];
    float wa = w[0], wb = w[1], wc = w[2], we = w[3];
#pragma omp simd
    for (size_t d = 0; d < dimension; d++)
        mean[d] += (wa * (a[d] - centre[d]) + wb * (b[d] - centre[d])) +
                   (wc * (c[d] - centre[d]) + we * (e[d] - centre[d]));
}

/* Smallest squared distance, and smallest upper bound of one, from products. */
EFM_CLONES static double nearest_bound(const float *restrict dots, const double *restrict squared_norm,
                                       const double *restrict norm, double xx, size_t count, double *nearest)
{
    double least = INFINITY, bound = INFINITY, error = 2 * PRODUCT_BOUND * sqrt(xx);
#pragma omp simd reduction(min : least, bound)
    for (size_t j = 0; j < count; j++) {
        double s2 = xx + squared_norm[j] - 2 * (double)dots[j], upper = s2 + error * norm[j];
        least = s2 < least ? s2 : least;
        bound = upper < bound ? upper : bound;
    }
    *nearest = least > 0 ? least : 0;
    return bound > 0 ? bound : 0;
}

/* Centres a block of points. */
static void prepare_block(void *context, size_t block, size_t slot)
{
    (void)slot;
    const struct job *job = context;
    size_t dimension = job->field->base.dimension, first = block * EFM_LANES;
    size_t count = job->count - first < EFM_LANES ? job->count - first : EFM_LANES;
    float *rows = (float *)job->workspace->parts[PART_CENTRED] + first * dimension;
    struct point_state *states = (struct point_state *)job->workspace->parts[PART_STATE] + first;
    for (size_t i = 0; i < count; i++)
        states[i].squared_norm = centre_point(job->x + (first + i) * dimension, job->field->centre,
                                              rows + i * dimension, dimension);
    efm_lanes_fill((float *)job->workspace->parts[PART_POINTS] + first, job->blocks, rows, dimension, count,
                   dimension);
}

/* First product: dots[i, j] = x_i . y_j for a panel of charges of one plate. */
static void multiply_distances(void *context, size_t piece, size_t slot)
{
    const struct job *job = context;
    size_t source_panels = efm_panel_count(job->field->plates[EFM_SOURCE].count);
    int side = piece < source_panels ? EFM_SOURCE : EFM_TARGET;
    const struct efm_plate *plate = &job->field->plates[side];
    size_t dimension = job->field->base.dimension, width = job->blocks * EFM_LANES;
    size_t panel = side == EFM_SOURCE ? piece : piece - source_panels, first = panel * EFM_PANEL;
    size_t count = plate->count - first < EFM_PANEL ? plate->count - first : EFM_PANEL;
    float *scratch = (float *)job->workspace->parts[PART_SCRATCH] + slot * SCRATCH;
    float *dots = (float *)job->workspace->parts[PART_DOTS_P + side] + first;
    efm_multiply_panel(job->kernels, plate->panels + first * efm_panel_rows(dimension), dimension,
                       job->workspace->parts[PART_POINTS], job->blocks, scratch);
    for (size_t i = 0; i < job->count; i++)
        for (size_t j = 0; j < count; j++)
            dots[i * plate->count + j] = scratch[j * width + i];
}

/* The weights of a block of points, lane by lane. What is not dense is nobody's business: its lane is not read. */
static void prepare_weights(void *context, size_t piece, size_t slot)
{
    (void)slot;
    const struct job *job = context;
    int side = (int)(piece % 2);
    const struct efm_plate *plate = &job->field->plates[side];
    size_t length = weights_length(plate), first = piece / 2 * EFM_LANES;
    size_t count = job->count - first < EFM_LANES ? job->count - first : EFM_LANES;
    const float *rows = (float *)job->workspace->parts[PART_DOTS_P + side] + first * plate->count;
    float *lanes = (float *)job->workspace->parts[PART_WEIGHTS_P + side] + first;
    efm_lanes_fill(lanes, job->blocks, rows, plate->count, count, plate->count);
    for (size_t j = plate->count; j < length; j++)
        memset(lanes + j * job->blocks * EFM_LANES, 0, EFM_LANES * sizeof *lanes);
}

/* Second product: means[side][i, d] = sum_j w_ij y_jd (centred) for some dimensions of the dense points. */
static void multiply_means(void *context, size_t piece, size_t slot)
{
    const struct job *job = context;
    int side = (int)(piece % 2);
    const struct efm_plate *plate = &job->field->plates[side];
    size_t dimension = job->field->base.dimension, first = piece / 2 * COLUMNS;
    size_t rows = efm_panel_rows(dimension) - first, width = job->blocks * EFM_LANES;
    struct efm_panel_range range = {.panels = plate->panels,
                                    .panel_count = efm_panel_count(plate->count),
                                    .dimension = dimension,
                                    .first = first,
                                    .count = rows < COLUMNS ? rows : COLUMNS};
    size_t count = dimension - first < COLUMNS ? dimension - first : COLUMNS;
    const struct point_state *states = job->workspace->parts[PART_STATE];
    float *sums = (float *)job->workspace->parts[PART_SCRATCH] + slot * SCRATCH;
    float *means = (float *)job->workspace->parts[PART_MEANS] + (size_t)side * TILE * dimension + first;
    efm_multiply_weights(job->kernels, &range, job->workspace->parts[PART_WEIGHTS_P + side], job->blocks,
                         sums);
    for (size_t i = 0; i < job->count; i++) {
        for (size_t d = 0; d < count && states[i].plate[side].dense; d++)
            means[i * dimension + d] = sums[d * width + i];
    }
}

/* The survivors of one plate: indices and squared lateral distances, good enough for their weights. */
static size_t find_survivors(const struct job *job, int side, const float *x, const float *dots, double xx,
                             double dz, double cut, uint32_t *index, double *squared)
{
    const struct efm_plate *plate = &job->field->plates[side];
    size_t dimension = job->field->base.dimension, found = 0;
    double h = ((double)dimension + 1) / 2, dz2 = dz * dz, norm = sqrt(xx);
    for (size_t j = 0; j < plate->count; j++) {
        double both = 2 * norm * plate->norm[j];
        double s2 = xx + plate->squared_norm[j] - 2 * (double)dots[j];
        if (s2 - PRODUCT_BOUND * both + dz2 > cut)
            continue;
        if (!(PRODUCT_ERROR * both * h < TRUSTED * (s2 + dz2))) {
            s2 = difference_squared(x, plate->charges + j * dimension, dimension);
            if (s2 + dz2 > cut)
                continue;
            index[found] = (uint32_t)j | 0x80000000u; /* the top bit: found by differences */
        } else {
            index[found] = (uint32_t)j;
        }
        squared[found++] = s2 > 0 ? s2 : 0; /* a product may be off by more than a small distance */
    }
    return found;
}

/* Means that are summed row by row, four rows at a time. */
struct row_group {
    float weight[4];
    const float *row[4];
    unsigned filled;
};

static void flush_rows(struct row_group *group, float *mean, const float *centre, size_t dimension)
{
    if (group->filled == 0)
        return;
    for (unsigned i = group->filled; i < 4; i++) {
        group->weight[i] = 0;
        group->row[i] = group->row[0];
    }
    add_four(mean, group->weight, group->row, centre, dimension);
    group->filled = 0;
}

/* Where the survivors of one plate leave their sums. */
struct weighed {
    struct plate_sums *sums;
    double *lateral; /* [D] what is summed by differences */
    float *mean;     /* [D] what is summed row by row */
    float *weights;  /* [charges] what the second product shall sum; held the products x.y before */
};

static void weigh_survivors(const struct job *job, int side, const float *x, const struct efm_rows *rows,
                            double top, const uint32_t *index, const double *squared, size_t found,
                            const struct weighed *out)
{
    const struct efm_plate *plate = &job->field->plates[side];
    size_t dimension = job->field->base.dimension;
    double h = ((double)dimension + 1) / 2;
    const float *centre = job->field->centre;
    struct plate_sums sums = {.dense = DENSE * found > plate->count};
    struct row_group group = {.filled = 0};
    if (sums.dense)
        memset(out->weights, 0, plate->count * sizeof *out->weights);
    else
        memset(out->mean, 0, dimension * sizeof *out->mean);
    for (size_t k = 0; k < found; k++) {
        size_t j = index[k] & 0x7fffffffu;
        struct efm_row_sum row;
        if (job->field->base.kind == EFM_FIELD_CHAIN) {
            row = efm_rows_sum(rows, squared[k], h, top);
        } else {
            row.q = exp(-h * log(squared[k] + rows->offset * rows->offset) - top);
            row.dz_q = rows->offset * row.q;
        }
        sums.q += row.q;
        sums.dz_q += row.dz_q;
        if (index[k] != j) {
            add_difference(out->lateral, row.q, x, plate->charges + j * dimension, dimension);
            continue;
        }
        sums.mean_q += (double)(float)row.q;
        if (sums.dense) {
            out->weights[j] = (float)row.q;
            continue;
        }
        group.weight[group.filled] = (float)row.q;
        group.row[group.filled++] = plate->charges + j * dimension;
        if (group.filled == 4)
            flush_rows(&group, out->mean, centre, dimension);
    }
    flush_rows(&group, out->mean, centre, dimension);
    *out->sums = sums;
}

static void weigh_point(void *context, size_t point, size_t slot)
{
    const struct job *job = context;
    const struct efm_exact_field *field = job->field;
    size_t dimension = field->base.dimension, charges = all_charges(field);
    double h = ((double)dimension + 1) / 2;
    const float *x = job->x + point * dimension;
    uint32_t *index = (uint32_t *)job->workspace->parts[PART_INDEX] + slot * charges;
    double *squared = (double *)job->workspace->parts[PART_SQUARED] + slot * charges;
    double *lateral = (double *)job->workspace->parts[PART_LATERAL] + 2 * point * dimension;
    struct point_state *state = (struct point_state *)job->workspace->parts[PART_STATE] + point;
    double xx = state->squared_norm;
    memset(lateral, 0, 2 * dimension * sizeof *lateral);
    double strongest[2], nearest[2], dz[2];
    for (int side = 0; side < 2; side++) {
        const struct efm_plate *plate = &field->plates[side];
        const float *dots = (float *)job->workspace->parts[PART_DOTS_P + side] + point * plate->count;
        state->rows[side] = efm_rows_of(field, side, job->z[point]);
        dz[side] = efm_rows_height(&state->rows[side], state->rows[side].nearest);
        double bound =
            nearest_bound(dots, plate->squared_norm, plate->norm, xx, plate->count, &nearest[side]);
        strongest[side] = -h * log(bound + dz[side] * dz[side]);
    }
    bool common = field->base.kind != EFM_FIELD_PER_PLATE;
    if (common)
        strongest[0] = strongest[1] = fmax(strongest[0], strongest[1]);
    /* Survivors of both plates are found before any is weighed, because the common maximum needs both. */
    size_t found[2], start[2] = {0, field->plates[EFM_SOURCE].count};
    for (int side = 0; side < 2; side++) {
        const struct efm_plate *plate = &field->plates[side];
        const float *dots = (float *)job->workspace->parts[PART_DOTS_P + side] + point * plate->count;
        double cut = exp((WINDOW - strongest[side]) / h), least = INFINITY;
        found[side] =
            find_survivors(job, side, x, dots, xx, dz[side], cut, index + start[side], squared + start[side]);
        for (size_t k = start[side]; k < start[side] + found[side]; k++)
            least = fmin(least, squared[k]);
        if (found[side] > 0)
            nearest[side] = least;
        state->top[side] = -h * log(least + dz[side] * dz[side]);
        if (job->values->nearest != NULL)
            job->values->nearest[2 * (job->first + point) + (size_t)side] = sqrt(nearest[side]);
    }
    if (common)
        state->top[0] = state->top[1] = fmax(state->top[0], state->top[1]);
    for (int side = 0; side < 2; side++) {
        size_t count = field->plates[side].count;
        struct weighed out = {.sums = &state->plate[side],
                              .lateral = lateral + (size_t)side * dimension,
                              .mean = (float *)job->workspace->parts[PART_MEANS] +
                                      ((size_t)side * TILE + point) * dimension,
                              .weights = (float *)job->workspace->parts[PART_DOTS_P + side] + point * count};
        weigh_survivors(job, side, x, &state->rows[side], state->top[side], index + start[side],
                        squared + start[side], found[side], &out);
    }
}

static void finish_point(void *context, size_t point, size_t slot)
{
    (void)slot;
    const struct job *job = context;
    const struct efm_exact_field *field = job->field;
    size_t dimension = field->base.dimension;
    struct point_state *state = (struct point_state *)job->workspace->parts[PART_STATE] + point;
    const float *centred = (float *)job->workspace->parts[PART_CENTRED] + point * dimension;
    double *u = (double *)job->workspace->parts[PART_LATERAL] + 2 * point * dimension, *v = u + dimension;
    for (int side = 0; side < 2; side++) {
        const float *means =
            (float *)job->workspace->parts[PART_MEANS] + ((size_t)side * TILE + point) * dimension;
        if (state->plate[side].mean_q > 0)
            add_dense(side == EFM_SOURCE ? u : v, state->plate[side].mean_q, centred, means, dimension);
    }
    struct efm_raw_field raw = {.x = u};
    const struct plate_sums *p = &state->plate[EFM_SOURCE], *q = &state->plate[EFM_TARGET];
    if (field->base.kind == EFM_FIELD_PER_PLATE) {
        scale(u, 1 / p->q, dimension);
        scale(v, 1 / q->q, dimension);
        raw.z = efm_field_blend(u, state->rows[EFM_SOURCE].offset, v, state->rows[EFM_TARGET].offset,
                                dimension, field->gamma);
    } else {
        double m = (double)field->plates[EFM_SOURCE].count, n = (double)field->plates[EFM_TARGET].count;
        for (size_t d = 0; d < dimension; d++)
            u[d] = u[d] / m - v[d] / n;
        raw.z = p->dz_q / m - q->dz_q / n;
        raw.scale = state->top[EFM_SOURCE];
    }
    efm_field_store(&raw, dimension, job->first + point, job->values);
}

static void evaluate_tile(struct job *job)
{
    const struct efm_exact_field *field = job->field;
    const struct point_state *states = job->workspace->parts[PART_STATE];
    struct efm_team *team = job->workspace->team;
    size_t panels = efm_panel_count(field->plates[0].count) + efm_panel_count(field->plates[1].count);
    efm_team_run(team, job->blocks, prepare_block, job);
    efm_team_run(team, panels, multiply_distances, job);
    efm_team_run(team, job->count, weigh_point, job);
    bool dense = false;
    for (size_t i = 0; i < job->count; i++)
        dense = dense || states[i].plate[0].dense || states[i].plate[1].dense;
    if (dense) {
        efm_team_run(team, 2 * job->blocks, prepare_weights, job);
        efm_team_run(team, (field->base.dimension + COLUMNS - 1) / COLUMNS * 2, multiply_means, job);
    }
    efm_team_run(team, job->count, finish_point, job);
}

static void evaluate(const struct efm_field *field, struct efm_field_workspace *workspace, const float *x,
                     const double *z, size_t count, const struct efm_field_values *values)
{
    const struct efm_kernels *kernels = efm_kernels_at(0);
    for (size_t first = 0; first < count; first += TILE) {
        size_t points = count - first < TILE ? count - first : TILE;
        struct job job = {.field = efm_exact_field(field),
                          .workspace = workspace,
                          .x = x + first * field->dimension,
                          .z = z + first,
                          .count = points,
                          .blocks = (points + EFM_LANES - 1) / EFM_LANES,
                          .kernels = kernels,
                          .first = first,
                          .values = values};
        evaluate_tile(&job);
    }
}

const struct efm_field_class efm_coulomb_blas_class = {measure, lay_out, evaluate, efm_exact_field_release};
