// SPDX-License-Identifier: Apache-2.0
#include "core/base/random.h"

#include <math.h>

static const double TWO_PI = 6.283185307179586476925286766559;

void efm_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void efm_random_init(struct efm_random *random, uint64_t seed, uint64_t image,
                     enum efm_random_purpose purpose)
{
    /* The seed is the key; image and purpose are the upper counter words, the lower one counts blocks.
     * Image indices are below 2^56, so purpose and image share two words without meeting. */
    *random = (struct efm_random){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, 0, (uint32_t)image, (uint32_t)(image >> 32) ^ ((uint32_t)purpose << 24)},
        .used = 4,
    };
}

uint32_t efm_random_u32(struct efm_random *random)
{
    if (random->used == 4) {
        efm_philox4x32(random->counter, random->key, random->block);
        random->used = 0;
        random->counter[0]++;
        if (random->counter[0] == 0)
            random->counter[1]++;
    }
    return random->block[random->used++];
}

uint64_t efm_random_u64(struct efm_random *random)
{
    uint64_t low = efm_random_u32(random);
    return low | (uint64_t)efm_random_u32(random) << 32;
}

double efm_random_uniform(struct efm_random *random)
{
    return ((double)(efm_random_u64(random) >> 12) + 0.5) * 0x1p-52;
}

uint64_t efm_random_below(struct efm_random *random, uint64_t bound)
{
    /* Refuse the incomplete last period, so that every remainder is equally likely. */
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t value = efm_random_u64(random);
    while (value >= limit)
        value = efm_random_u64(random);
    return value % bound;
}

double efm_random_normal(struct efm_random *random)
{
    if (random->has_spare) {
        random->has_spare = 0;
        return random->spare;
    }
    double radius = sqrt(-2 * log(efm_random_uniform(random)));
    double angle = TWO_PI * efm_random_uniform(random);
    random->spare = radius * sin(angle);
    random->has_spare = 1;
    return radius * cos(angle);
}

void efm_random_fill_normal(struct efm_random *random, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)efm_random_normal(random);
}
