/* toy.h - samples of distributions that fit on a line: for tests, benches and first steps.
 *
 *     struct efm_toy_spec spec = efm_toy_spec_default(EFM_TOY_SWISS_ROLL);
 *     spec.count = 1000;
 *     efm_toy_fill(&spec, values);                        [count, dimension]
 *
 * or as JSON, where everything but "toy" has a default:
 *
 *     {"toy": "gaussian", "count": 2000, "dimension": 2, "seed": 1}    N(0, I); "shape": [h, w, channels]
 *                                                                      in place of "dimension": noise images
 *     {"toy": "mixture", "centers": [[8, 0], [-8, 0]], "deviation": 0.5}  equal shares of N(center,
 * deviation^2)
 *     {"toy": "swiss_roll", "noise": 0.1, "scale": 0.283}              t = 1.5 pi (1 + 2u), u uniform:
 *                                                                      scale (t cos t, t sin t) + noise N(0,
 * I)
 *     {"toy": "uniform", "dimension": 2}                               each number from [-1, 1]; or "shape"
 *     {"toy": "two_intervals"}                                         numbers: half [-3, -2], half [2, 3]
 *
 * The default scale of the roll is 4 / (4.5 pi), which puts its outer end at distance 4. Sample i is a
 * function of (kind, parameters, seed, i) alone, so a larger count begins with the same samples.
 *
 * Threads: all functions are pure.
 */
#ifndef EFM_DATA_TOY_H
#define EFM_DATA_TOY_H

#include "core/base/shape.h"
#include "core/base/status.h"
#include "core/data/dataset.h"

#include <stddef.h>
#include <stdint.h>

#define EFM_TOY_KIND_MAP(X)                                                                                  \
    X(EFM_TOY_GAUSSIAN, "gaussian", "standard normal")                                                       \
    X(EFM_TOY_MIXTURE, "mixture", "equal shares of normals around centers")                                  \
    X(EFM_TOY_SWISS_ROLL, "swiss_roll", "a spiral in the plane with noise")                                  \
    X(EFM_TOY_UNIFORM, "uniform", "the cube [-1, 1]^d")                                                      \
    X(EFM_TOY_TWO_INTERVALS, "two_intervals", "half [-3, -2] and half [2, 3]")

enum efm_toy_kind {
#define EFM_TOY_ENUM(symbol, word, meaning) symbol,
    EFM_TOY_KIND_MAP(EFM_TOY_ENUM)
#undef EFM_TOY_ENUM
};

enum { EFM_TOY_MAX_DIMENSION = 1 << 24, EFM_TOY_MAX_CENTERS = 4096 };

struct efm_toy_spec {
    enum efm_toy_kind kind;
    size_t count;
    struct efm_shape shape; /* a vector, or an image for gaussian and uniform */
    uint64_t seed;
    const double *centers; /* mixture: borrowed [center_count, shape.dimension] */
    size_t center_count;
    double deviation; /* mixture, > 0 */
    double noise;     /* swiss_roll, >= 0 */
    double scale;     /* swiss_roll, > 0 */
};

/* 2000 samples, seed 1, 2 numbers each (two_intervals: 1); mixture: centers (8, 0), (-8, 0), deviation 0.5.
 */
struct efm_toy_spec efm_toy_spec_default(enum efm_toy_kind kind);

/* EFM_E_ARGUMENT for a spec that cannot be drawn. */
EFM_MUST_CHECK enum efm_status efm_toy_spec_check(const struct efm_toy_spec *spec, struct efm_error *error);

/* out [count, dimension]; the spec has been checked. */
void efm_toy_fill(const struct efm_toy_spec *spec, float *out);

/* Shape and count of the samples that efm_dataset_read would draw from this JSON, without drawing them; it fails as that does, but
 * for want of memory. */
EFM_MUST_CHECK enum efm_status efm_toy_describe(const uint8_t *json, size_t size,
                                                const struct efm_dataset_options *options,
                                                struct efm_shape *shape, size_t *count,
                                                struct efm_error *error);

/* As efm_dataset_read does from JSON. */
EFM_MUST_CHECK enum efm_status efm_toy_dataset(struct efm_dataset **dataset, const struct efm_toy_spec *spec,
                                               const struct efm_dataset_options *options,
                                               struct efm_error *error);

#endif
