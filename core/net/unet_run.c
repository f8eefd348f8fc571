// SPDX-License-Identifier: Apache-2.0
/* unet_run.c - who computes what: chunks of images by one thread each; a lone image by several, in bands of rows; a
 * training batch by shards. */
#include "core/net/unet_internal.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK =
        8, /* images that one thread takes through the net together, so that weights are read once for all */
    MOST_BANDS = 8,
};

/* ---- memory ---- */

struct sizes {
    size_t images, slots, tokens;
    bool training;
};

static struct sizes sizes_of(const struct efm_net_weights *weights, size_t capacity, size_t threads)
{
    const struct unet_plan *plan = unet_plan(weights->net);
    struct sizes sizes = {.training = weights->options.training};
    for (size_t i = 0; i < plan->attention_count; i++) {
        const struct unet_tensor *out = &plan->tensors[plan->operations[plan->attentions[i]].out];
        if ((size_t)out->height * out->width > sizes.tokens)
            sizes.tokens = (size_t)out->height * out->width;
    }
    if (sizes.training) {
        sizes.images = weights->options.shard_samples;
        sizes.slots = weights->options.shards;
        return sizes;
    }
    sizes.slots = threads < 1 ? 1 : threads < UNET_LANES ? threads : UNET_LANES;
    sizes.images = capacity / sizes.slots;
    sizes.images = sizes.images < 1 ? 1 : sizes.images > CHUNK ? CHUNK : sizes.images;
    return sizes;
}

/* Measures with an unmade arena, lays out with a made one. */
struct taker {
    struct efm_arena *arena;
    bool measuring, failed;
};

static void *take(struct taker *taker, size_t count, size_t size)
{
    if (!taker->measuring)
        return efm_arena_take(taker->arena, count, size);
    taker->failed = !efm_arena_measure(taker->arena, count, size) || taker->failed;
    return NULL;
}

static size_t product(struct taker *taker, size_t a, size_t b)
{
    size_t result = 0;
    taker->failed = !efm_size_multiply(a, b, &result) || taker->failed;
    return result;
}

static void take_slot(struct taker *taker, const struct efm_net_weights *weights, const struct sizes *sizes,
                      struct unet_slot *slot)
{
    const struct efm_net *net = weights->net;
    const struct unet_plan *plan = unet_plan(net);
    size_t element = unet_weights(weights)->element;
    size_t images = sizes->images, nf = net->config.nf, time = 4 * nf;
    slot->memory = take(taker, images, unet_weights(weights)->layout.bytes);
    slot->height = take(taker, images, nf * sizeof(float));
    for (int i = 0; i < 2; i++) {
        slot->linear[i] = take(taker, images, time * sizeof(float));
        slot->hidden[i] = take(taker, images, time * sizeof(float));
    }
    slot->dense = take(taker, images, plan->dense_total * sizeof(float));
    if (!sizes->training)
        return;
    size_t tokens = product(taker, sizes->tokens, sizes->tokens * element);
    slot->probabilities = take(taker, product(taker, images, plan->attention_count), tokens);
    slot->maps = take(taker, images, plan->map_floats * sizeof(float));
    slot->keep = take(taker, images, net->config.dropout > 0 ? plan->keep_bytes : 0);
    slot->dense_gradient = take(taker, images, plan->dense_total * sizeof(float));
    for (int i = 0; i < 2; i++)
        slot->linear_gradient[i] = take(taker, images, time * sizeof(float));
    slot->small_gradient = take(taker, plan->small_parameters, sizeof(float));
    slot->fx = take(taker, images, net->config.shape.dimension * sizeof(float));
    slot->fz = take(taker, images, sizeof(float));
}

static void take_lane(struct taker *taker, const struct unet_plan *plan, const struct sizes *sizes,
                      size_t element, struct unet_lane *lane)
{
    size_t tokens = product(taker, sizes->tokens, sizes->tokens);
    lane->scale = take(taker, plan->widest, sizeof(float));
    lane->shift = take(taker, plan->widest, sizeof(float));
    lane->scores = take(taker, tokens, sizeof(float));
    lane->probabilities = take(taker, tokens, element);
    if (!sizes->training)
        return;
    lane->du_sum = take(taker, plan->widest, sizeof(float));
    lane->du_hat_sum = take(taker, plan->widest, sizeof(float));
    lane->dx_sum = take(taker, plan->widest, sizeof(float));
    lane->slopes = take(taker, plan->widest, 3 * sizeof(float));
    lane->probability_gradient = take(taker, tokens, element);
    lane->scratch = take(taker, plan->largest, element);
}

/* Where the threads of one image meet. */
struct barrier {
    _Alignas(EFM_ALIGNMENT) struct efm_meeting meeting;
};

static bool take_all(struct taker *taker, const struct efm_net_weights *weights, const struct sizes *sizes,
                     struct unet_run *parts)
{
    static const struct unet_slot no_slot;
    static const struct unet_lane no_lane;
    size_t element = unet_weights(weights)->element;
    parts->slots = take(taker, sizes->slots, sizeof *parts->slots);
    parts->lanes = take(taker, sizes->slots, sizeof *parts->lanes);
    parts->barriers = take(taker, sizes->slots, sizeof(struct barrier));
    for (size_t i = 0; i < sizes->slots; i++) {
        struct unet_slot slot = no_slot;
        take_slot(taker, weights, sizes, &slot);
        if (!taker->measuring)
            parts->slots[i] = slot;
    }
    for (size_t i = 0; i < sizes->slots; i++) {
        struct unet_lane lane = no_lane;
        take_lane(taker, unet_plan(weights->net), sizes, element, &lane);
        if (!taker->measuring)
            parts->lanes[i] = lane;
    }
    return !taker->failed;
}

size_t unet_run_bytes(const struct efm_net_weights *weights, size_t capacity, size_t threads)
{
    struct unet_run parts = {0};
    struct efm_arena plan = {0};
    struct taker taker = {.arena = &plan, .measuring = true};
    struct sizes sizes = sizes_of(weights, capacity, threads);
    return take_all(&taker, weights, &sizes, &parts) ? plan.size : SIZE_MAX;
}

/* Lanes of the weights, of `limit` in all, that no other run has: the lowest `count` that lie together. */
static bool claim_lanes(struct unet_weights *weights, size_t count, size_t limit, size_t *first)
{
    uint_fast64_t mask = count >= UNET_LANES ? UINT64_MAX : ((uint_fast64_t)1 << count) - 1;
    uint_fast64_t taken = atomic_load(&weights->lanes);
    for (size_t i = 0; i + count <= limit;) {
        if ((taken & mask << i) != 0)
            i++;
        else if (atomic_compare_exchange_weak(&weights->lanes, &taken, taken | mask << i)) {
            *first = i;
            return true;
        }
    }
    return false;
}

static void release_lanes(struct unet_weights *weights, size_t count, size_t first)
{
    uint_fast64_t mask = count >= UNET_LANES ? UINT64_MAX : ((uint_fast64_t)1 << count) - 1;
    atomic_fetch_and(&weights->lanes, ~(mask << first));
}

static enum efm_status open_lanes(struct efm_net_run *run, size_t first, size_t count,
                                  struct efm_error *error)
{
    const struct unet_plan *plan = unet_plan(run->weights->net);
    struct unet_weights *weights = unet_weights(run->weights);
    enum efm_status status = EFM_OK;
    for (size_t lane = first; lane < first + count; lane++)
        for (size_t i = 0; i < plan->conv_count && status == EFM_OK; i++)
            status = efm_conv_open_slot(weights->convs[i], lane, error);
    return status;
}

enum efm_status unet_run_create(struct efm_net_run *run, struct efm_error *error)
{
    const struct efm_net_weights *weights = run->weights;
    struct sizes sizes = sizes_of(weights, run->capacity, efm_team_size(run->team));
    struct unet_run *parts = efm_allocate_array(1, sizeof *parts);
    if (parts == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a run of a network");
    struct taker taker = {.arena = &parts->arena, .measuring = true};
    run->parts = parts;
    parts->images = sizes.images;
    parts->lane_count = sizes.slots;
    parts->tokens = sizes.tokens;
    if (!take_all(&taker, weights, &sizes, parts))
        return efm_error_set(error, EFM_E_LIMIT, "a run of %zu images is too large", run->capacity);
    enum efm_status status = efm_arena_create(&parts->arena, error);
    if (status != EFM_OK)
        return status;
    taker.measuring = false;
    take_all(&taker, weights, &sizes, parts);
    memset(parts->barriers, 0, sizes.slots * sizeof(struct barrier));
    size_t claimed = sizes.training ? 1 : sizes.slots, limit = sizes.training ? 1 : UNET_LANES;
    if (!claim_lanes(unet_weights(weights), claimed, limit, &parts->first_lane))
        return efm_error_set(error, EFM_E_LIMIT,
                             sizes.training ? "weights that are trained serve one run at a time"
                                            : "more than 64 threads would compute with one model");
    parts->claimed = claimed;
    return open_lanes(run, parts->first_lane, sizes.slots, error);
}

void unet_run_destroy(struct efm_net_run *run)
{
    struct unet_run *parts = run->parts;
    if (parts == NULL)
        return;
    if (parts->claimed > 0)
        release_lanes(unet_weights(run->weights), parts->claimed, parts->first_lane);
    efm_arena_release(&parts->arena);
    efm_free(parts);
    run->parts = NULL;
}

/* ---- forward ---- */

struct forward_context {
    struct efm_net_run *run;
    const float *x, *z;
    float *fx, *fz;
    size_t first, count; /* samples of this loop */
    size_t chunk;        /* of one piece */
    size_t bands;        /* threads of one image */
};

/* Piece `lane` of a loop, in the memory of `slot`. A piece is never two at once, so it need not know its thread. */
static struct unet_job job_of(const struct efm_net_run *run, size_t slot, size_t lane)
{
    struct unet_run *parts = unet_run(run);
    return (struct unet_job){.run = run,
                             .plan = unet_plan(run->weights->net),
                             .weights = unet_weights(run->weights),
                             .kernels = unet_weights(run->weights)->kernels,
                             .parts = parts,
                             .slot = &parts->slots[slot],
                             .lane = &parts->lanes[lane],
                             .conv_slot = parts->first_lane + lane,
                             .bands = 1};
}

static void run_forward(const struct unet_job *job, const float *x, const float *z)
{
    for (int stage = 0; stage < UNET_STAGES; stage++)
        unet_begin(job, stage, x, z);
    for (size_t i = 0; i < job->plan->operation_count && !unet_stopped(job); i++)
        unet_forward_operation(job, &job->plan->operations[i]);
}

static void forward_chunk(void *argument, size_t index, size_t thread)
{
    const struct forward_context *context = argument;
    struct unet_job job = job_of(context->run, index, index);
    (void)thread;
    size_t dimension = context->run->weights->net->config.shape.dimension;
    size_t begin = context->first + index * context->chunk, end = context->first + context->count;
    job.images = end - begin < context->chunk ? end - begin : context->chunk;
    run_forward(&job, context->x + begin * dimension, context->z + begin);
    unet_finish(&job, context->fx + begin * dimension, context->fz + begin);
}

/* Several threads, one image: thread `index` does a band of rows of image index / bands. */
static void forward_band(void *argument, size_t index, size_t thread)
{
    const struct forward_context *context = argument;
    size_t image = index / context->bands;
    unsigned round = 0, bands = (unsigned)context->bands;
    (void)thread;
    if (image >= context->count || index >= unet_run(context->run)->lane_count)
        return;
    struct unet_job job = job_of(context->run, image, index);
    struct efm_meeting *meeting = &((struct barrier *)unet_run(context->run)->barriers + image)->meeting;
    size_t dimension = context->run->weights->net->config.shape.dimension, sample = context->first + image;
    job.images = 1;
    job.band = index % context->bands;
    job.bands = context->bands;
    for (int stage = 0; stage < UNET_STAGES; stage++) {
        unet_begin(&job, stage, context->x + sample * dimension, context->z + sample);
        efm_meeting_wait(meeting, &round, bands);
    }
    for (size_t i = 0; i < job.plan->operation_count; i++) {
        unet_forward_operation(&job, &job.plan->operations[i]);
        efm_meeting_wait(meeting, &round, bands);
    }
    unet_finish(&job, context->fx + sample * dimension, context->fz + sample);
}

/* As many as there are, at most a chunk for each lane. */
static void forward_round(struct forward_context *context, size_t left)
{
    struct efm_net_run *run = context->run;
    struct unet_run *parts = unet_run(run);
    size_t lanes = parts->lane_count, chunk = left / lanes;
    if (run->weights->options.training || lanes == 1)
        chunk = (left + lanes - 1) / lanes; /* no bands: the last chunk may be smaller */
    context->chunk = chunk < parts->images ? chunk : parts->images;
    if (context->chunk > 0) {
        context->count = context->chunk * lanes < left ? context->chunk * lanes : left;
        efm_team_run(run->team, (context->count + context->chunk - 1) / context->chunk, forward_chunk,
                     context);
        return;
    }
    context->count = left;
    context->bands = lanes / left < MOST_BANDS ? lanes / left : MOST_BANDS;
    memset(parts->barriers, 0, lanes * sizeof(struct barrier));
    efm_team_run_each(run->team, forward_band, context);
}

/* Samples in whole rounds of one chunk a lane; what is left, fewer than lanes, in bands. */
void unet_forward(struct efm_net_run *run, const float *x, const float *z, size_t count, float *fx, float *fz)
{
    struct forward_context context = {.run = run, .x = x, .z = z, .fx = fx, .fz = fz, .bands = 1};
    for (; context.first < count; context.first += context.count)
        forward_round(&context, count - context.first);
}

/* ---- training ---- */

struct gradient_context {
    struct efm_net_run *run;
    const struct efm_net_sample_batch *batch;
    float *gradient;
    size_t shards; /* that have samples */
};

static void run_shard(void *argument, size_t index, size_t thread)
{
    const struct gradient_context *context = argument;
    const struct efm_net_sample_batch *batch = context->batch;
    struct unet_job job = job_of(context->run, index, index);
    size_t images = job.parts->images, dimension = context->run->weights->net->config.shape.dimension;
    (void)thread;
    job.batch = batch;
    job.training = true;
    job.dropout = batch->dropout;
    job.dropout_seed = batch->dropout_seed;
    job.first_image = index * images;
    job.images = batch->count - job.first_image < images ? batch->count - job.first_image : images;
    run_forward(&job, batch->x + job.first_image * dimension, batch->z + job.first_image);
    if (unet_stopped(&job))
        return;
    unet_finish(&job, job.slot->fx, job.slot->fz);
    unet_backward(&job, batch);
}

static void collect_conv(void *argument, size_t index, size_t slot)
{
    const struct gradient_context *context = argument;
    const struct efm_net *net = context->run->weights->net;
    const struct unet_conv *conv = &unet_plan(net)->convs[index];
    (void)slot;
    efm_conv_collect_gradient(unet_weights(context->run->weights)->convs[index], context->shards,
                              context->gradient + net->parameters[conv->parameter].offset +
                                  conv->weight_offset);
}

/* The shards' sums, in their order. */
static void collect_small(const struct gradient_context *context)
{
    const struct efm_net *net = context->run->weights->net;
    const struct unet_plan *plan = unet_plan(net);
    const struct unet_run *parts = unet_run(context->run);
    for (size_t i = 0; i < net->parameter_count; i++) {
        if (plan->small_offset[i] == UNET_NONE)
            continue;
        float *out = context->gradient + net->parameters[i].offset;
        memcpy(out, parts->slots[0].small_gradient + plan->small_offset[i],
               net->parameters[i].count * sizeof *out);
        for (size_t s = 1; s < context->shards; s++) {
            const float *more = parts->slots[s].small_gradient + plan->small_offset[i];
            for (size_t c = 0; c < net->parameters[i].count; c++)
                out[c] += more[c];
        }
    }
}

double unet_gradient_of(struct efm_net_run *run, const struct efm_net_sample_batch *batch, float *gradient)
{
    const struct unet_run *parts = unet_run(run);
    struct gradient_context context = {.run = run,
                                       .batch = batch,
                                       .gradient = gradient,
                                       .shards = (batch->count + parts->images - 1) / parts->images};
    double loss = 0;
    if (batch->count == 0) {
        memset(gradient, 0, run->weights->net->size * sizeof *gradient);
        return 0;
    }
    efm_team_run(run->team, context.shards, run_shard, &context);
    if (efm_net_stopped(batch))
        return NAN;
    efm_team_run(run->team, unet_plan(run->weights->net)->conv_count, collect_conv, &context);
    collect_small(&context);
    for (size_t s = 0; s < context.shards; s++)
        loss += parts->slots[s].loss;
    return loss;
}
