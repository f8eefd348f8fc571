// SPDX-License-Identifier: Apache-2.0
/* batch.c - the batcher: which samples a step draws, which of them its points lie between, and its memory. */
#include "core/train/batch.h"

#include "core/train/pairing.h"
#include "core/train/train_internal.h"

enum { PIECE = 1 << 13 }; /* numbers in one piece of work for a team */

/* Points are numbered step * 2^16 + i, whatever the size of a step. */
enum { POINT_BITS = 16 };

struct each {
    struct efm_batcher *batcher;
    uint64_t step;
    efm_batcher_body *body;
    size_t together;
};

static void each_piece(void *context, size_t index, size_t slot)
{
    (void)slot;
    const struct each *each = context;
    if (efm_batcher_stopped(each->batcher))
        return;
    size_t end = (index + 1) * each->together;
    for (size_t i = index * each->together; i < end && i < each->batcher->options.size; i++)
        each->body(each->batcher, each->step, i);
}

void efm_batcher_each(struct efm_batcher *batcher, uint64_t step, efm_batcher_body *body)
{
    size_t together = PIECE / batcher->dimension;
    struct each each = {batcher, step, body, together > 0 ? together : 1};
    size_t pieces = (batcher->options.size + each.together - 1) / each.together;
    efm_team_run(batcher->team, pieces, each_piece, &each);
}

static const float *charges_of(const struct efm_batcher *batcher, enum efm_plate_side side)
{
    size_t count;
    return batcher->field != NULL ? efm_field_charges(batcher->field, side, &count) : batcher->pool[side];
}

/* Both plates are shuffled on their own, so charge i and charge i are a random pair; when the charges were used once,
 * each meets the next. Matched pairs stay what they are. */
const float *efm_batcher_pair(const struct efm_batcher *batcher, enum efm_plate_side side, uint64_t step,
                              size_t i)
{
    size_t dimension = batcher->dimension;
    if (batcher->pairs[side] != NULL)
        return batcher->pairs[side] + i * dimension;
    uint64_t turn = step % batcher->refresh * batcher->options.size + i;
    if (batcher->partner != NULL) {
        turn %= batcher->charges[EFM_SOURCE];
        turn = side == EFM_SOURCE ? turn : batcher->partner[turn];
    } else if (side == EFM_TARGET) {
        turn += turn / batcher->charges[EFM_SOURCE];
    }
    return charges_of(batcher, side) + turn % batcher->charges[side] * dimension;
}

static void make_point(struct efm_batcher *batcher, uint64_t step, size_t i)
{
    uint64_t number = step << POINT_BITS | i;
    struct efm_random random;
    efm_random_init(&random, batcher->point_seed, number, EFM_RANDOM_TRAINING);
    struct efm_train_point point = {.p = efm_batcher_pair(batcher, EFM_SOURCE, step, i),
                                    .q = efm_batcher_pair(batcher, EFM_TARGET, step, i),
                                    .random = &random,
                                    .normal_seed = batcher->normal_seed,
                                    .index = number,
                                    .x = batcher->x + i * batcher->dimension};
    efm_train_point_make(&batcher->options, batcher->dimension, &point);
    batcher->z[i] = point.z;
    batcher->height[i] = (double)point.z; /* the target is taken where the network looks */
    batcher->side[i] = point.side;
}

/* The charges of a round of steps, unless they are there already. */
static void draw_round(struct efm_batcher *batcher, uint64_t round)
{
    if (batcher->drawn && batcher->round == round)
        return;
    batcher->drawn = false;
    for (int side = 0; side < 2 && !efm_batcher_stopped(batcher); side++) {
        float *to =
            batcher->field != NULL ? efm_exact_field_charges(batcher->field, side) : batcher->pool[side];
        efm_samples_draw(batcher->samples[side], round * batcher->charges[side], batcher->charges[side], to,
                         batcher->team);
    }
    if (efm_batcher_stopped(batcher))
        return;
    if (batcher->field != NULL)
        efm_exact_field_update(batcher->field, batcher->team);
    if (batcher->partner != NULL)
        efm_pairing_match(charges_of(batcher, EFM_SOURCE), charges_of(batcher, EFM_TARGET),
                          batcher->charges[EFM_SOURCE], batcher->dimension, batcher->partner,
                          batcher->pairing, batcher->team);
    batcher->round = round;
    batcher->drawn = true;
}

/* The charges of the step, and the pairs where they are drawn apart. */
static void draw(struct efm_batcher *batcher, uint64_t step)
{
    size_t size = batcher->options.size;
    if (batcher->field != NULL || batcher->pool[0] != NULL)
        draw_round(batcher, batcher->refresh > 0 ? step / batcher->refresh : 0);
    for (int side = 0; side < 2; side++)
        if (batcher->pairs[side] != NULL)
            efm_samples_draw(batcher->samples[side], step * size, size, batcher->pairs[side], batcher->team);
}

void efm_batcher_heed(struct efm_batcher *batcher, bool (*stop)(void *context), void *context)
{
    batcher->stop = stop;
    batcher->stop_context = context;
}

enum efm_status efm_batcher_make(struct efm_batcher *batcher, uint64_t step, struct efm_training_batch *batch,
                                 struct efm_error *error)
{
    draw(batcher, step);
    efm_batcher_each(batcher, step, make_point);
    bool weighted = efm_batcher_target(batcher, step);
    if (efm_batcher_stopped(batcher))
        return efm_error_set(error, EFM_E_CANCELLED, "the making of a batch was broken off");
    *batch = (struct efm_training_batch){.size = batcher->options.size,
                                         .x = batcher->x,
                                         .z = batcher->z,
                                         .target_x = batcher->target_x,
                                         .weight = weighted ? batcher->weight : NULL};
    if (!efm_training_target_is_velocity(batcher->options.target))
        batch->target_z = batcher->target_z;
    return EFM_OK;
}

/* ---- creation ---- */

/* What a batcher keeps beside its field. */
struct parts {
    bool pairs;     /* drawn step by step */
    size_t pool;    /* charges of a plate that no field holds */
    size_t matched; /* pairs to be matched */
    bool means;     /* of the plates */
};

static bool measure(struct efm_arena *plan, size_t size, size_t dimension, const struct parts *parts)
{
    size_t values, pool;
    if (!efm_size_multiply(size, dimension, &values) || !efm_size_multiply(parts->pool, dimension, &pool))
        return false;
    if (parts->pool > 0 &&
        (!efm_arena_measure(plan, pool, sizeof(float)) || !efm_arena_measure(plan, pool, sizeof(float))))
        return false;
    if (parts->matched > 0 && (!efm_arena_measure(plan, parts->matched, sizeof(uint32_t)) ||
                               !efm_arena_measure(plan, efm_pairing_bytes(parts->matched), 1)))
        return false;
    for (int side = 0; side < 2 && parts->means; side++)
        if (!efm_arena_measure(plan, dimension, sizeof(double)))
            return false;
    bool pairs = parts->pairs;
    for (int i = 0; i < (pairs ? 4 : 2); i++)
        if (!efm_arena_measure(plan, values, sizeof(float)))
            return false;
    for (int i = 0; i < 3; i++)
        if (!efm_arena_measure(plan, size, sizeof(float)) || !efm_arena_measure(plan, size, sizeof(double)))
            return false;
    return efm_arena_measure(plan, size, sizeof(enum efm_plate_side));
}

static void lay_out(struct efm_batcher *batcher, const struct parts *parts)
{
    struct efm_arena *arena = &batcher->arena;
    size_t size = batcher->options.size, values = size * batcher->dimension;
    for (int side = 0; side < 2 && parts->pool > 0; side++)
        batcher->pool[side] = efm_arena_take(arena, parts->pool * batcher->dimension, sizeof(float));
    if (parts->matched > 0) {
        batcher->partner = efm_arena_take(arena, parts->matched, sizeof(uint32_t));
        batcher->pairing = efm_arena_take(arena, efm_pairing_bytes(parts->matched), 1);
    }
    for (int side = 0; side < 2 && parts->means; side++)
        batcher->mean[side] = efm_arena_take(arena, batcher->dimension, sizeof(double));
    for (int side = 0; side < 2 && parts->pairs; side++)
        batcher->pairs[side] = efm_arena_take(arena, values, sizeof(float));
    batcher->x = efm_arena_take(arena, values, sizeof(float));
    batcher->target_x = efm_arena_take(arena, values, sizeof(float));
    batcher->z = efm_arena_take(arena, size, sizeof(float));
    batcher->target_z = efm_arena_take(arena, size, sizeof(float));
    batcher->weight = efm_arena_take(arena, size, sizeof(float));
    batcher->height = efm_arena_take(arena, size, sizeof(double));
    batcher->up = efm_arena_take(arena, size, sizeof(double));
    batcher->log_norm = efm_arena_take(arena, size, sizeof(double));
    batcher->side = efm_arena_take(arena, size, sizeof(enum efm_plate_side));
}

static size_t charges_for(const struct efm_batch_options *options, size_t samples)
{
    if (options->charges > 0)
        return options->charges;
    return samples > 0 ? samples : EFM_BATCH_NOISE_CHARGES;
}

static enum efm_status create_field(struct efm_batcher *batcher, struct efm_error *error)
{
    const struct efm_batch_options *options = &batcher->options;
    struct efm_exact_options exact = {.kind = efm_training_target_kind(options->target),
                                      .length = options->length,
                                      .gamma = options->gamma};
    for (int side = 0; side < 2; side++) {
        batcher->charges[side] = charges_for(options, efm_samples_count(batcher->samples[side]));
    }
    enum efm_status status =
        efm_exact_field_create_empty(&batcher->field, batcher->charges[EFM_SOURCE],
                                     batcher->charges[EFM_TARGET], batcher->dimension, &exact, error);
    if (status != EFM_OK)
        return status;
    return efm_field_workspace_create(&batcher->workspace, batcher->field, options->size, batcher->team,
                                      error);
}

static enum efm_status check_samples(const struct efm_samples *source, const struct efm_samples *target,
                                     struct efm_error *error)
{
    const struct efm_shape *p = efm_samples_shape(source), *q = efm_samples_shape(target);
    if (!efm_shape_equal(p, q))
        return efm_error_set(error, EFM_E_SHAPE,
                             "the source has samples of %zu numbers (%ux%ux%u), the target of %zu (%ux%ux%u)",
                             p->dimension, p->height, p->width, p->channels, q->dimension, q->height,
                             q->width, q->channels);
    return EFM_OK;
}

/* Matched pairs stay until each was used once: to find them is work. */
static size_t refresh_of(const struct efm_batch_options *options)
{
    if (options->refresh > 0)
        return options->refresh;
    if (options->pairing == EFM_PAIRING_MATCHED)
        return options->charges / options->size;
    return options->charges > 0 ? 1 : EFM_BATCH_REFRESH_ALL;
}

size_t efm_batch_bytes_least(const struct efm_batch_options *options, const size_t counts[2],
                             size_t dimension)
{
    const bool field = !efm_training_target_is_velocity(options->target);
    const size_t charges[2] = {charges_for(options, counts[0]), charges_for(options, counts[1])};
    size_t points, bytes = 0;
    if (field)
        bytes = efm_exact_field_bytes(charges[0], charges[1], dimension);
    else if (options->pairing == EFM_PAIRING_MATCHED &&
             !efm_size_multiply(2 * sizeof(float), charges[0], &bytes))
        return SIZE_MAX;
    if (!field && !efm_size_multiply(bytes, dimension, &bytes))
        return SIZE_MAX;
    if (!efm_size_multiply(2 * sizeof(float), options->size, &points) ||
        !efm_size_multiply(points, dimension, &points) || !efm_size_add(bytes, points, &bytes))
        return SIZE_MAX;
    return bytes;
}

enum efm_status efm_batcher_create(struct efm_batcher **result, const struct efm_batch_options *options,
                                   const struct efm_samples *source, const struct efm_samples *target,
                                   struct efm_team *team, struct efm_error *error)
{
    *result = NULL;
    enum efm_status status = efm_batch_options_check(options, error);
    if (status == EFM_OK)
        status = check_samples(source, target, error);
    if (status != EFM_OK)
        return status;
    struct efm_batcher *batcher = efm_allocate_array(1, sizeof *batcher);
    if (batcher == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a batcher");
    *batcher = (struct efm_batcher){.options = *options,
                                    .samples = {source, target},
                                    .team = team,
                                    .dimension = efm_samples_shape(source)->dimension,
                                    .point_seed = efm_train_seed(options->seed, EFM_TRAIN_POINTS, 0),
                                    .normal_seed = efm_train_seed(options->seed, EFM_TRAIN_POINTS_NORMAL, 0)};
    bool field = !efm_training_target_is_velocity(options->target);
    bool matched = options->pairing == EFM_PAIRING_MATCHED;
    bool fixed =
        field && options->charges == 0 && efm_samples_is_fixed(source) && efm_samples_is_fixed(target);
    if (!fixed)
        batcher->refresh = refresh_of(options);
    struct parts parts = {.pairs = fixed || (!field && !matched),
                          .pool = matched && !field ? options->charges : 0,
                          .matched = matched ? options->charges : 0,
                          .means = options->target == EFM_TRAIN_CHAIN_SINGLE};
    if (matched)
        batcher->charges[0] = batcher->charges[1] = options->charges;
    if (!measure(&batcher->arena, options->size, batcher->dimension, &parts))
        status = efm_error_set(error, EFM_E_LIMIT, "a step of %zu points is too large", options->size);
    if (status == EFM_OK)
        status = efm_arena_create(&batcher->arena, error);
    if (status == EFM_OK) {
        lay_out(batcher, &parts);
        if (parts.means)
            efm_batcher_measure_plates(batcher);
        status = field ? create_field(batcher, error) : EFM_OK;
    }
    if (status != EFM_OK) {
        efm_batcher_destroy(batcher);
        return status;
    }
    *result = batcher;
    return EFM_OK;
}

void efm_batcher_destroy(struct efm_batcher *batcher)
{
    if (batcher == NULL)
        return;
    efm_field_workspace_destroy(batcher->workspace);
    efm_field_destroy(batcher->field);
    efm_arena_release(&batcher->arena);
    efm_free(batcher);
}

size_t efm_batcher_bytes(const struct efm_batcher *batcher)
{
    size_t bytes = sizeof *batcher + batcher->arena.size;
    if (batcher->field != NULL)
        bytes += efm_exact_field_bytes(batcher->charges[0], batcher->charges[1], batcher->dimension) +
                 efm_field_workspace_bytes(batcher->workspace);
    return bytes;
}
