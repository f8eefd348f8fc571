// SPDX-License-Identifier: Apache-2.0
/* samples.c - draws without a state: where sample i lies in its pass, and what is done to it. */
#include "core/train/samples.h"

#include "core/train/train_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROUNDS = 8,      /* of the Feistel network */
    PIECE = 1 << 14, /* numbers in one piece of work for a team */
    LANES = 32,      /* blocks of Philox at once */
    NORMALS = 4 * LANES,
};

struct efm_samples {
    struct efm_dataset *dataset; /* referenced; NULL: noise */
    struct efm_shape shape;
    unsigned augmentation;
    size_t count;
    unsigned half_bits; /* 4^half_bits >= count */
    uint64_t shuffle_seed, augment_seed, noise_seed;
};

uint64_t efm_train_seed(uint64_t seed, enum efm_train_role role, unsigned side)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)role, side, 0, (uint32_t)EFM_RANDOM_TRAINING << 24};
    uint32_t out[4];
    efm_philox4x32(counter, key, out);
    return out[0] | (uint64_t)out[1] << 32;
}

/* ---- normals ---- */

struct philox {
    uint32_t word[4][LANES];
};

/* LANES blocks of Philox4x32-10 from the counters (first + lane, 0, index). */
static inline void philox_lanes(struct philox *restrict out, uint64_t seed, uint64_t index, uint32_t first)
{
    uint32_t *c0 = out->word[0], *c1 = out->word[1], *c2 = out->word[2], *c3 = out->word[3];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (uint32_t lane = 0; lane < LANES; lane++) {
        c0[lane] = first + lane;
        c1[lane] = 0;
        c2[lane] = (uint32_t)index;
        c3[lane] = (uint32_t)(index >> 32);
    }
    for (int round = 0; round < 10; round++) {
#pragma omp simd
        for (int lane = 0; lane < LANES; lane++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * c0[lane], p1 = (uint64_t)0xCD9E8D57u * c2[lane];
            c0[lane] = (uint32_t)(p1 >> 32) ^ c1[lane] ^ k0;
            c2[lane] = (uint32_t)(p0 >> 32) ^ c3[lane] ^ k1;
            c1[lane] = (uint32_t)p1;
            c3[lane] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* A float and its bits: read as the other in a way that loops of it still become vectors. */
union float_bits {
    float value;
    uint32_t bits;
};

/* ln x for a normal float x > 0: the polynomial of the Cephes library (S. Moshier), a few units in the last place. */
static inline float log_float(float x)
{
    union float_bits m = {.value = x};
    int32_t exponent = (int32_t)(m.bits - 0x3f3504f3u) >> 23; /* mantissa from sqrt(1/2) to sqrt(2) */
    m.bits -= (uint32_t)exponent << 23;
    float t = m.value - 1, y = 7.0376836292e-2f;
    y = y * t - 1.1514610310e-1f;
    y = y * t + 1.1676998740e-1f;
    y = y * t - 1.2420140846e-1f;
    y = y * t + 1.4249322787e-1f;
    y = y * t - 1.6668057665e-1f;
    y = y * t + 2.0000714765e-1f;
    y = y * t - 2.4999993993e-1f;
    y = y * t + 3.3333331174e-1f;
    return t * t * t * y - 0.5f * t * t + t + 0.69314718f * (float)exponent;
}

/* Box-Muller: the first word is a radius, the second an angle, its two upper bits the quadrant. */
static inline void box_muller(const uint32_t *restrict radius, const uint32_t *restrict angle,
                              float *restrict out)
{
#pragma omp simd
    for (int lane = 0; lane < LANES; lane++) {
        float u = ((float)(int32_t)(radius[lane] >> 1) + 0.5f) * 0x1p-31f;
        float r2 = -2 * log_float(u), r = sqrtf(r2 > 0 ? r2 : 0); /* u may have been rounded to 1 */
        float a = (float)(int32_t)(angle[lane] << 2) * (1.57079633f * 0x1p-32f), a2 = a * a;
        float sine = ((-1.9515295891e-4f * a2 + 8.3321608736e-3f) * a2 - 1.6666654611e-1f) * a2 * a + a;
        float cosine =
            ((2.443315711809948e-5f * a2 - 1.388731625493765e-3f) * a2 + 4.166664568298827e-2f) * a2 * a2 -
            0.5f * a2 + 1;
        uint32_t quadrant = angle[lane] >> 30;
        float turned = quadrant & 1 ? -sine : cosine, beside = quadrant & 1 ? cosine : sine;
        float sign = quadrant & 2 ? -1.0f : 1.0f;
        out[lane] = sign * r * turned;
        out[LANES + lane] = sign * r * beside;
    }
}

EFM_CLONES static void fill_normals(uint64_t seed, uint64_t index, float *out, size_t count)
{
    struct philox random;
    for (size_t first = 0; first < count; first += NORMALS) {
        float block[NORMALS];
        philox_lanes(&random, seed, index, (uint32_t)(first / 4));
        box_muller(random.word[0], random.word[1], block);
        box_muller(random.word[2], random.word[3], block + 2 * LANES);
        size_t some = count - first < NORMALS ? count - first : NORMALS;
        memcpy(out + first, block, some * sizeof *out);
    }
}

void efm_train_normals(uint64_t seed, uint64_t index, float *out, size_t count)
{
    fill_normals(seed, index, out, count);
}

/* ---- shuffling ---- */

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x85ebca6bu; /* the finaliser of MurmurHash3 */
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* Where sample `place` of a pass lies in the data set: a Feistel network on the next power of 4, walked along until it
 * comes back into [0, count). */
static size_t shuffled(const struct efm_samples *samples, uint64_t pass, uint64_t place)
{
    const uint32_t seed[2] = {(uint32_t)samples->shuffle_seed, (uint32_t)(samples->shuffle_seed >> 32)};
    uint32_t keys[ROUNDS];
    for (uint32_t block = 0; block < ROUNDS / 4; block++) {
        const uint32_t counter[4] = {block, 0, (uint32_t)pass, (uint32_t)(pass >> 32)};
        efm_philox4x32(counter, seed, keys + 4 * block);
    }
    unsigned bits = samples->half_bits;
    uint32_t mask = (uint32_t)((1ull << bits) - 1);
    do {
        uint32_t left = (uint32_t)(place >> bits), right = (uint32_t)place & mask;
        for (int round = 0; round < ROUNDS; round++) {
            uint32_t next = (left ^ mix(right ^ keys[round])) & mask;
            left = right;
            right = next;
        }
        place = (uint64_t)left << bits | right;
    } while (place >= samples->count);
    return (size_t)place;
}

/* ---- augmentation ---- */

/* The colour of a hue in [0, 6), full saturation and value. */
static void hue_colour(double hue, float colour[3])
{
    for (int c = 0; c < 3; c++) {
        double away = fabs(fmod(hue + 6 - 2 * c, 6) - 3); /* 3 on the hue itself, 0 opposite */
        colour[c] = (float)fmin(fmax(away - 1, 0), 1);
    }
}

EFM_CLONES static void colour_pixels(float *values, size_t count, float red, float green, float blue)
{
    const float half[3] = {0.5f * red, 0.5f * green, 0.5f * blue};
#pragma omp simd
    for (size_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++)
            values[3 * i + (size_t)c] = 2 * ((values[3 * i + (size_t)c] + 1) * half[c]) - 1;
}

static void flip(float *image, const struct efm_shape *shape)
{
    size_t width = shape->width, channels = shape->channels;
    for (size_t y = 0; y < shape->height; y++) {
        float *row = image + y * width * channels;
        for (size_t x = 0; x < width / 2; x++)
            for (size_t c = 0; c < channels; c++) {
                float *left = &row[x * channels + c], *right = &row[(width - 1 - x) * channels + c];
                float value = *left;
                *left = *right;
                *right = value;
            }
    }
}

/* Moves `count` items of `size` floats by `by` places; those at the end that is left are repeated. In place. */
static void shift(float *items, size_t count, size_t size, long by)
{
    size_t distance = (size_t)labs(by), kept = (count - distance) * size;
    float *from = items + (by < 0 ? distance * size : 0), *to = items + (by < 0 ? 0 : distance * size);
    memmove(to, from, kept * sizeof *items);
    const float *edge = by < 0 ? items + kept - size : to;
    float *gap = by < 0 ? items + kept : items;
    for (size_t i = 0; i < distance; i++)
        memcpy(gap + i * size, edge, size * sizeof *items);
}

static long random_shift(struct efm_random *random, uint32_t side)
{
    uint32_t most = side / 8;
    return (long)efm_random_below(random, 2 * (uint64_t)most + 1) - (long)most;
}

static void crop(float *image, const struct efm_shape *shape, struct efm_random *random)
{
    size_t row = (size_t)shape->width * shape->channels;
    long down = random_shift(random, shape->height), right = random_shift(random, shape->width);
    shift(image, shape->height, row, down);
    for (size_t y = 0; y < shape->height; y++)
        shift(image + y * row, shape->width, shape->channels, right);
}

static void augment(const struct efm_samples *samples, uint64_t number, float *sample)
{
    struct efm_random random;
    efm_random_init(&random, samples->augment_seed, number, EFM_RANDOM_TRAINING);
    /* Every draw is made, wanted or not, so that one augmentation does not change what another does. */
    float colour[3];
    hue_colour(6 * efm_random_uniform(&random), colour);
    bool turned = efm_random_u32(&random) & 1;
    if (samples->augmentation & EFM_AUGMENT_HUE)
        colour_pixels(sample, samples->shape.dimension / 3, colour[0], colour[1], colour[2]);
    if (samples->augmentation & EFM_AUGMENT_FLIP && turned)
        flip(sample, &samples->shape);
    if (samples->augmentation & EFM_AUGMENT_CROP)
        crop(sample, &samples->shape, &random);
}

/* ---- draws ---- */

struct draw {
    const struct efm_samples *samples;
    uint64_t first;
    size_t count, together; /* samples in a piece */
    float *out;
};

static void draw_piece(void *context, size_t index, size_t slot)
{
    (void)slot;
    const struct draw *draw = context;
    const struct efm_samples *samples = draw->samples;
    size_t dimension = samples->shape.dimension, end = (index + 1) * draw->together;
    for (size_t i = index * draw->together; i < end && i < draw->count; i++) {
        uint64_t number = draw->first + i;
        float *out = draw->out + i * dimension;
        if (samples->dataset == NULL) {
            efm_train_normals(samples->noise_seed, number, out, dimension);
            continue;
        }
        size_t place = shuffled(samples, number / samples->count, number % samples->count);
        /* A place inside the data set: it cannot fail. */
        if (efm_dataset_floats(samples->dataset, place, 1, out, NULL) == EFM_OK && samples->augmentation != 0)
            augment(samples, number, out);
    }
}

void efm_samples_draw(const struct efm_samples *samples, uint64_t first, size_t count, float *out,
                      struct efm_team *team)
{
    size_t together = PIECE / samples->shape.dimension;
    struct draw draw = {samples, first, count, together > 0 ? together : 1, out};
    efm_team_run(team, count / draw.together + (count % draw.together != 0), draw_piece, &draw);
}

static enum efm_status check(const struct efm_dataset *dataset, const struct efm_shape *shape,
                             unsigned augmentation, struct efm_error *error)
{
    if (shape->dimension == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "samples need at least one number");
    if (augmentation & ~(unsigned)(EFM_AUGMENT_HUE | EFM_AUGMENT_FLIP | EFM_AUGMENT_CROP))
        return efm_error_set(error, EFM_E_ARGUMENT, "there is no such augmentation");
    if (augmentation != 0 && dataset == NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "noise is not augmented: it is fresh anyway");
    if (augmentation != 0 && !efm_shape_is_image(shape))
        return efm_error_set(error, EFM_E_ARGUMENT, "plain vectors are not augmented, only images");
    if (augmentation & EFM_AUGMENT_HUE && shape->channels != 3)
        return efm_error_set(error, EFM_E_ARGUMENT, "a random hue needs images of 3 channels, not %u",
                             shape->channels);
    return EFM_OK;
}

enum efm_status efm_samples_create(struct efm_samples **result, struct efm_dataset *dataset,
                                   const struct efm_shape *shape, unsigned augmentation, uint64_t seed,
                                   enum efm_plate_side side, struct efm_error *error)
{
    *result = NULL;
    if (dataset != NULL)
        shape = efm_dataset_shape(dataset);
    enum efm_status status = check(dataset, shape, augmentation, error);
    if (status != EFM_OK)
        return status;
    struct efm_samples *samples = efm_allocate_array(1, sizeof *samples);
    if (samples == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the samples of a training");
    *samples = (struct efm_samples){.shape = *shape,
                                    .augmentation = augmentation,
                                    .shuffle_seed = efm_train_seed(seed, EFM_TRAIN_SHUFFLE, side),
                                    .augment_seed = efm_train_seed(seed, EFM_TRAIN_AUGMENT, side),
                                    .noise_seed = efm_train_seed(seed, EFM_TRAIN_NOISE, side)};
    if (dataset != NULL) {
        samples->dataset = efm_dataset_ref(dataset);
        samples->count = efm_dataset_count(dataset);
        while (samples->half_bits < 31 && (uint64_t)samples->count > 1ull << 2 * samples->half_bits)
            samples->half_bits++;
    }
    *result = samples;
    return EFM_OK;
}

void efm_samples_destroy(struct efm_samples *samples)
{
    if (samples == NULL)
        return;
    efm_dataset_unref(samples->dataset);
    efm_free(samples);
}

size_t efm_samples_count(const struct efm_samples *samples)
{
    return samples->count;
}

const struct efm_shape *efm_samples_shape(const struct efm_samples *samples)
{
    return &samples->shape;
}

bool efm_samples_is_fixed(const struct efm_samples *samples)
{
    return samples->dataset != NULL && samples->augmentation == 0;
}
