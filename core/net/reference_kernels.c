// SPDX-License-Identifier: Apache-2.0
/* reference_kernels.c - the plain twins of the kernels: scalar loops in double that round once at the end. */
#include "core/net/kernels.h"

#include <math.h>

static double silu(double u)
{
    return u == -INFINITY ? 0 : u / (1 + exp(-u));
}

static double silu_slope(double u)
{
    double sigmoid = 1 / (1 + exp(-u));
    return isinf(u) ? sigmoid : sigmoid * (1 + u / (1 + exp(u)));
}

static double kept(const struct efm_norm_map *map, size_t i)
{
    return map->keep ? map->keep[i] * (double)map->keep_scale : 1;
}

#define TWIN(name) name##_f32
#define TWIN_ELEMENT float
#define TWIN_GET(element) (element)
#define TWIN_PUT(number) (number)
#include "core/net/reference_kernels_template.h"

#define TWIN(name) name##_bf16
#define TWIN_ELEMENT uint16_t
#define TWIN_GET(element) efm_bf16_value(element)
#define TWIN_PUT(number) efm_bf16(number)
#include "core/net/reference_kernels_template.h"

const struct efm_net_kernels *efm_net_reference_kernels(enum efm_precision precision)
{
    return precision == EFM_PRECISION_BF16 ? &twins_bf16 : &twins_f32;
}
