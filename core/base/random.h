/* random.h - random streams without state to share: counter-based Philox4x32-10.
 *
 * A stream is named by (seed, image, purpose), and the same name gives the same numbers on every
 * machine, in every batch, on every thread: the randomness of an image never depends on its neighbours.
 *
 *     struct efm_random stream;
 *     efm_random_init(&stream, seed, image_index, EFM_RANDOM_START);
 *     double u = efm_random_uniform(&stream);
 *
 * Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 * Threads: a stream belongs to one thread.
 */
#ifndef EFM_BASE_RANDOM_H
#define EFM_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* What a stream is used for. The numbers are part of what makes results repeatable: never renumber. */
enum efm_random_purpose {
    EFM_RANDOM_NOISE = 1,    /* x drawn from N(0, I) */
    EFM_RANDOM_START = 2,    /* which way and where a line starts */
    EFM_RANDOM_LAND = 3,     /* whether a line stops at a plate */
    EFM_RANDOM_CHOICE = 4,   /* which charge stands for an input */
    EFM_RANDOM_DATASET = 5,  /* toy distributions */
    EFM_RANDOM_TRAINING = 6, /* shuffles, training points, dropout */
    EFM_RANDOM_TEST = 7,
};

struct efm_random {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    uint32_t used;      /* words of `block` already handed out */
    uint32_t has_spare; /* a second normal waits */
    double spare;
};

void efm_random_init(struct efm_random *random, uint64_t seed, uint64_t image,
                     enum efm_random_purpose purpose);

/* One Philox4x32-10 block: the plain function, for tests against the published vectors. */
void efm_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

uint32_t efm_random_u32(struct efm_random *random);
uint64_t efm_random_u64(struct efm_random *random);

/* Uniform in the open interval (0, 1), 53 bits: never 0, never 1, so its logarithm is finite. */
double efm_random_uniform(struct efm_random *random);

/* Uniform integer in [0, bound), without bias; bound > 0. */
uint64_t efm_random_below(struct efm_random *random, uint64_t bound);

/* Standard normal (Box-Muller). */
double efm_random_normal(struct efm_random *random);

/* Fills out[count] with standard normals. */
void efm_random_fill_normal(struct efm_random *random, float *out, size_t count);

#endif
