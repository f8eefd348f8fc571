// SPDX-License-Identifier: Apache-2.0
/* pairing.c - the assignment problem by shortest augmenting paths (R. Jonker, A. Volgenant, "A shortest augmenting path
 * algorithm for dense and sparse linear assignment problems", Computing 38, 1987). */
#include "core/train/pairing.h"

#include "core/base/memory.h"
#include "core/net/onednn_ops.h"
#include "core/train/train_internal.h"

enum {
    ROWS = 64,    /* of a piece of the cost matrix */
    FEW_AXES = 8, /* dimensions in which distances are summed as they are */
};

static const uint32_t NONE = UINT32_MAX;
/* Distances of columns that no row has looked at, and of those that are done; sums of costs along a path stay below. */
static const float FAR = 1e37f, DONE = 1e38f, MOST_COST = 1e30f;

struct space {
    float *row, *column; /* duals [count] */
    float *distance;     /* [count] of a column from the row that is being placed */
    uint32_t *from;      /* [count] the row from which that distance comes */
    uint32_t *owner;     /* [count] row of a column */
    uint32_t *list;      /* [count] columns that are done */
    float *key;          /* [count] the distance, or DONE */
    float *cost;         /* [count, count] */
};

size_t efm_pairing_bytes(size_t count)
{
    size_t square, bytes;
    if (!efm_size_multiply(count, count, &square) || !efm_size_add(square, 7 * count, &square) ||
        !efm_size_multiply(square, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

static struct space lay_out(void *memory, size_t count)
{
    float *numbers = memory;
    return (struct space){.row = numbers,
                          .column = numbers + count,
                          .distance = numbers + 2 * count,
                          .from = (uint32_t *)(numbers + 3 * count),
                          .owner = (uint32_t *)(numbers + 4 * count),
                          .list = (uint32_t *)(numbers + 5 * count),
                          .key = numbers + 6 * count,
                          .cost = numbers + 7 * count};
}

/* Each column's dual becomes its least cost, each row's its least reduced cost; what fits at once is paired. */
static void begin(const float *cost, size_t count, uint32_t *partner, struct space *space)
{
    for (size_t j = 0; j < count; j++) {
        space->column[j] = cost[j];
        space->owner[j] = NONE;
    }
    for (size_t i = 1; i < count; i++)
        for (size_t j = 0; j < count; j++)
            if (cost[i * count + j] < space->column[j])
                space->column[j] = cost[i * count + j];
    for (size_t i = 0; i < count; i++) {
        const float *own = cost + i * count;
        size_t best = 0;
        for (size_t j = 1; j < count; j++)
            if (own[j] - space->column[j] < own[best] - space->column[best])
                best = j;
        space->row[i] = own[best] - space->column[best];
        partner[i] = NONE;
        if (space->owner[best] == NONE) {
            space->owner[best] = (uint32_t)i;
            partner[i] = (uint32_t)best;
        }
    }
}

/* Reduced costs of row i, seen `reach` away, shorten the distances of the columns that are not done; returns the least
 * of these. A column that is done keeps its distance and has the key DONE. */
EFM_CLONES static float shorten_distances(const float *restrict own, size_t count, uint32_t i, float shift,
                                          const struct space *space)
{
    float *restrict distance = space->distance, *restrict key = space->key;
    const float *restrict column = space->column;
    uint32_t *restrict from = space->from;
    float least = INFINITY;
#pragma omp simd reduction(min : least)
    for (size_t j = 0; j < count; j++) {
        float through = own[j] - column[j] + shift, old = key[j];
        bool shorter = through < old && old < DONE;
        float now = shorter ? through : old;
        from[j] = shorter ? i : from[j];
        distance[j] = shorter ? through : distance[j];
        key[j] = now;
        least = now < least ? now : least;
    }
    return least;
}

/* Finds the shortest path from row `start` to a column without an owner and moves everybody along it. */
static void place_row(const float *cost, size_t count, size_t start, uint32_t *partner, struct space *space)
{
    size_t done = 0, i = start;
    float reach = 0;
    uint32_t end = NONE;
    for (size_t j = 0; j < count; j++)
        space->distance[j] = space->key[j] = FAR;
    while (end == NONE) {
        float shift = reach - space->row[i];
        reach = shorten_distances(cost + i * count, count, (uint32_t)i, shift, space);
        uint32_t j = 0;
        while (space->key[j] != reach)
            j++;
        space->key[j] = DONE;
        space->list[done++] = j;
        if (space->owner[j] == NONE)
            end = j;
        else
            i = space->owner[j];
    }
    space->row[start] += reach;
    for (size_t k = 0; k + 1 < done; k++) {
        uint32_t j = space->list[k];
        space->column[j] += space->distance[j] - reach;
        space->row[space->owner[j]] += reach - space->distance[j];
    }
    for (uint32_t j = end, previous; j != NONE; j = previous) {
        uint32_t row = space->from[j];
        previous = row == start ? NONE : partner[row];
        space->owner[j] = row;
        partner[row] = j;
    }
}

/* What has no order, or no sum, has no least sum either. */
static bool are_comparable(const float *cost, size_t count)
{
    unsigned bad = 0;
    for (size_t i = 0; i < count; i++)
        bad |= !(fabsf(cost[i]) <= MOST_COST);
    return bad == 0;
}

void efm_pairing_assign(const float *cost, size_t count, uint32_t *partner, void *memory)
{
    struct space space = lay_out(memory, count);
    if (!are_comparable(cost, count * count)) {
        for (size_t i = 0; i < count; i++)
            partner[i] = (uint32_t)i;
        return;
    }
    begin(cost, count, partner, &space);
    for (size_t i = 0; i < count; i++)
        if (partner[i] == NONE)
            place_row(cost, count, i, partner, &space);
}

struct products {
    const float *source, *target;
    size_t count, dimension;
    float *cost;
};

/* |p - q|^2 as it stands, which does not suffer from points that lie far from 0. */
static void fill_distances(const struct products *products, size_t first, size_t rows)
{
    size_t n = products->count, dimension = products->dimension;
    for (size_t i = first; i < first + rows; i++)
        for (size_t j = 0; j < n; j++) {
            const float *p = products->source + i * dimension, *q = products->target + j * dimension;
            float sum = 0;
            for (size_t d = 0; d < dimension; d++)
                sum += (p[d] - q[d]) * (p[d] - q[d]);
            products->cost[i * n + j] = sum;
        }
}

/* Many dimensions are a product of matrices: |p - q|^2 without |p|^2 and |q|^2, which are the same for every assignment,
 * and halved, is -p q. */
static void fill_rows(void *context, size_t index, size_t slot)
{
    const struct products *products = context;
    size_t first = index * ROWS, n = products->count, rows = n - first < ROWS ? n - first : ROWS;
    float *cost = products->cost + first * n;
    (void)slot;
    if (products->dimension <= FEW_AXES) {
        fill_distances(products, first, rows);
        return;
    }
    efm_sgemm(false, true, rows, n, products->dimension, products->source + first * products->dimension,
              products->dimension, products->target, products->dimension, 0, cost, n);
    for (size_t i = 0; i < rows * n; i++)
        cost[i] = -cost[i];
}

void efm_pairing_match(const float *source, const float *target, size_t count, size_t dimension,
                       uint32_t *partner, void *memory, struct efm_team *team)
{
    struct space space = lay_out(memory, count);
    struct products products = {source, target, count, dimension, space.cost};
    efm_team_run(team, (count + ROWS - 1) / ROWS, fill_rows, &products);
    efm_pairing_assign(space.cost, count, partner, memory);
}
