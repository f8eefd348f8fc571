// SPDX-License-Identifier: Apache-2.0
#include "server/build.h"

#include "core/field/products.h"
#include "core/net/net.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Tiles and their product of bf16, where the system saves them too. */
static bool has_amx(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, OSXSAVE = 1 << 27, TILES = 3 << 17 };
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & OSXSAVE) == 0)
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & TILES) == TILES && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_BF16) != 0 &&
           (d & AMX_TILE) != 0;
}

static void read_processor(char *out, size_t size)
{
    const struct {
        const char *name;
        bool there;
    } features[] = {
        {"avx2", __builtin_cpu_supports("avx2") != 0},
        {"fma", __builtin_cpu_supports("fma") != 0},
        {"avx512f", __builtin_cpu_supports("avx512f") != 0},
        {"avx512bf16", __builtin_cpu_supports("avx512bf16") != 0},
        {"amx", has_amx()},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if (features[i].there)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? " " : "", features[i].name);
    }
}
#else
static void read_processor(char *out, size_t size)
{
    (void)out;
    (void)size;
}
#endif

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

void srv_build_read(struct srv_build *build)
{
    enum efm_precision precision = EFM_PRECISION_AUTO;
    if (efm_precision_resolve(&precision, NULL) != EFM_OK)
        precision = EFM_PRECISION_F32;
    *build = (struct srv_build){
        .version = EFMD_VERSION,
        .compiler = COMPILER,
        .onednn = efm_net_library(),
        .instruction_set = efm_net_instruction_set(),
        .kernels = efm_kernels_name(efm_kernels_at(0)),
        .precision = efm_precision_name(precision),
    };
    read_processor(build->processor, sizeof build->processor);
}
