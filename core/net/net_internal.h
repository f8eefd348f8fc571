/* net_internal.h - the seam between net.c and the architectures. Not for other rooms. */
#ifndef EFM_NET_NET_INTERNAL_H
#define EFM_NET_NET_INTERNAL_H

#include "core/base/memory.h"
#include "core/net/kernels.h"
#include "core/net/net.h"
#include "core/net/onednn_ops.h"

#include <inttypes.h>
#include <stdatomic.h>

#define EFM_NET_MAX_PARAMETERS (UINT64_C(1) << 31)

/* Run-time dispatch over instruction sets; a sanitizer is not ready yet when ifunc resolvers run. */
#if defined(__x86_64__) && !defined(EFM_NO_CLONES)
#define EFM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EFM_CLONES
#endif

/* What differs between architectures. `create` functions leave what they made to the matching destroy on failure. */
struct efm_net_class {
    /* Adds every parameter (efm_net_add_parameter) and makes net->plan. */
    enum efm_status (*plan)(struct efm_net *net, struct efm_error *error);
    void (*plan_destroy)(struct efm_net *net);
    double (*flops)(const struct efm_net *net);

    /* net.c has set net, options (precision resolved) and class; these make and fill weights->parts. */
    enum efm_status (*weights_create)(struct efm_net_weights *weights, struct efm_error *error);
    void (*weights_set)(struct efm_net_weights *weights, const float *parameters, struct efm_team *team);
    void (*weights_destroy)(struct efm_net_weights *weights);
    size_t (*weights_bytes)(const struct efm_net_weights *weights);

    /* Bytes of everything that run_create allocates; SIZE_MAX on overflow. */
    size_t (*run_bytes)(const struct efm_net_weights *weights, size_t capacity, size_t threads);
    enum efm_status (*run_create)(struct efm_net_run *run, struct efm_error *error);
    void (*run_destroy)(struct efm_net_run *run);
    void (*forward)(struct efm_net_run *run, const float *x, const float *z, size_t count, float *fx,
                    float *fz);
    double (*gradient)(struct efm_net_run *run, const struct efm_net_sample_batch *batch, float *gradient);
};

struct efm_net {
    atomic_size_t references;
    const struct efm_net_class *class;
    struct efm_net_config config;
    struct efm_parameter *parameters; /* [parameter_count], owned */
    size_t parameter_count, parameter_capacity, size;
    void *plan; /* of the class */
};

struct efm_net_weights {
    struct efm_net *net; /* referenced */
    const struct efm_net_class *class;
    struct efm_net_weights_options options;
    void *parts; /* of the class */
};

struct efm_net_run {
    const struct efm_net_weights *weights; /* borrowed */
    const struct efm_net_class *class;
    size_t capacity;
    struct efm_team *team; /* borrowed, may be NULL */
    void *parts;           /* of the class */
};

extern const struct efm_net_class efm_unet_class;
extern const struct efm_net_class efm_mlp_class;

/* Puts the widths that 0 stands for into a checked config (config.c). */
void efm_net_config_complete(struct efm_net_config *config);

/* Adds a parameter at the end of the table; *index is its place. fan_in, fan_out and scale matter to FAN_AVERAGE alone. */
struct efm_parameter_kind {
    enum efm_init init;
    size_t fan_in, fan_out;
    double scale;
};
EFM_MUST_CHECK enum efm_status efm_net_add_parameter(struct efm_net *net, const char *name, size_t rank,
                                                     const size_t *shape, struct efm_parameter_kind kind,
                                                     size_t *index, struct efm_error *error);

static inline bool efm_net_stopped(const struct efm_net_sample_batch *batch)
{
    return batch->stop != NULL && batch->stop(batch->stop_context);
}

#endif
