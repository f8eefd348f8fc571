// SPDX-License-Identifier: Apache-2.0
/* onednn_ops_library.c - oneDNN itself: what differs between its versions, its threads, what an engine and a slot are
 * made of, and what it knows about the processor. */
#include "core/net/onednn_ops_internal.h"

const char *dnn_pass_name(enum dnn_pass pass)
{
    static const char *const names[] = {"convolution", "gradient of a convolution's input",
                                        "gradient of a convolution's weights", "matrix product"};
    return names[pass];
}

/* ---- what differs between oneDNN 2 and 3: descriptors are structs there and handles here ---- */

#if DNNL_VERSION_MAJOR >= 3
dnnl_status_t dnn_desc_create(dnnl_memory_desc_t *desc, int rank, const dnnl_dims_t dims,
                              dnnl_data_type_t type, const int64_t *strides)
{
    return strides != NULL ? dnnl_memory_desc_create_with_strides(desc, rank, dims, type, strides)
                           : dnnl_memory_desc_create_with_tag(desc, rank, dims, type, dnnl_format_tag_any);
}

dnnl_status_t dnn_desc_copy(dnnl_memory_desc_t *desc, dnn_desc_view from)
{
    return dnnl_memory_desc_clone(desc, from);
}

void dnn_desc_destroy(dnnl_memory_desc_t *desc)
{
    if (*desc != NULL)
        dnnl_memory_desc_destroy(*desc);
}

dnnl_status_t dnn_problem_describe(dnnl_primitive_desc_t *found, const struct dnn_problem *p,
                                   const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                   const_dnnl_primitive_desc_t forward)
{
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    const dnnl_dims_t dilation = {0};
    switch (p->pass) {
    case DNN_FORWARD:
        return dnnl_convolution_forward_primitive_desc_create(found, engine, dnnl_forward_training, direct,
                                                              p->source, p->weights, NULL, p->out, p->strides,
                                                              dilation, p->before, p->after, attributes);
    case DNN_BACKWARD_DATA:
        return dnnl_convolution_backward_data_primitive_desc_create(found, engine, direct, p->source,
                                                                    p->weights, p->out, p->strides, dilation,
                                                                    p->before, p->after, forward, attributes);
    case DNN_BACKWARD_WEIGHTS:
        return dnnl_convolution_backward_weights_primitive_desc_create(
            found, engine, direct, p->source, p->weights, NULL, p->out, p->strides, dilation, p->before,
            p->after, forward, attributes);
    case DNN_PRODUCT:
        return dnnl_matmul_primitive_desc_create(found, engine, p->source, p->weights, NULL, p->out,
                                                 attributes);
    }
    return dnnl_invalid_arguments;
}
#else
dnnl_status_t dnn_desc_create(dnnl_memory_desc_t *desc, int rank, const dnnl_dims_t dims,
                              dnnl_data_type_t type, const int64_t *strides)
{
    return strides != NULL ? dnnl_memory_desc_init_by_strides(desc, rank, dims, type, strides)
                           : dnnl_memory_desc_init_by_tag(desc, rank, dims, type, dnnl_format_tag_any);
}

dnnl_status_t dnn_desc_copy(dnnl_memory_desc_t *desc, dnn_desc_view from)
{
    *desc = *from;
    return dnnl_success;
}

void dnn_desc_destroy(dnnl_memory_desc_t *desc)
{
    (void)desc;
}

dnnl_status_t dnn_problem_describe(dnnl_primitive_desc_t *found, const struct dnn_problem *p,
                                   const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                   const_dnnl_primitive_desc_t forward)
{
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    const dnnl_memory_desc_t *x = &p->source, *w = &p->weights, *y = &p->out;
    dnnl_convolution_desc_t convolution;
    dnnl_matmul_desc_t product;
    dnnl_status_t status = dnnl_invalid_arguments;
    switch (p->pass) {
    case DNN_FORWARD:
        status = dnnl_convolution_forward_desc_init(&convolution, dnnl_forward_training, direct, x, w, NULL,
                                                    y, p->strides, p->before, p->after);
        break;
    case DNN_BACKWARD_DATA:
        status = dnnl_convolution_backward_data_desc_init(&convolution, direct, x, w, y, p->strides,
                                                          p->before, p->after);
        break;
    case DNN_BACKWARD_WEIGHTS:
        status = dnnl_convolution_backward_weights_desc_init(&convolution, direct, x, w, NULL, y, p->strides,
                                                             p->before, p->after);
        break;
    case DNN_PRODUCT:
        status = dnnl_matmul_desc_init(&product, x, w, NULL, y);
        break;
    }
    const void *operation = p->pass == DNN_PRODUCT ? (const void *)&product : &convolution;
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(found, operation, attributes, engine, forward);
}
#endif

void dnn_problem_release(struct dnn_problem *p)
{
    dnn_desc_destroy(&p->source);
    dnn_desc_destroy(&p->weights);
    dnn_desc_destroy(&p->out);
}

/* ---- threads ---- */

/* Of the OpenMP run-time that oneDNN is built on; what it sets belongs to the calling thread alone. */
extern void omp_set_num_threads(int count);

void dnn_be_single_threaded(void)
{
    static _Thread_local bool done;
    if (!done)
        omp_set_num_threads(1);
    done = true;
}

/* ---- an engine, and for each slot a stream and scratch ---- */

bool dnn_made(struct dnn *dnn, dnnl_status_t status, const char *what)
{
    if (status == dnnl_out_of_memory)
        efm_error_set(&dnn->failure, EFM_E_MEMORY, "no memory for the matrix library: %s", what);
    else if (status == dnnl_unimplemented)
        efm_error_set(&dnn->failure, EFM_E_UNSUPPORTED, "the matrix library has none of this kind on %s: %s",
                      efm_net_instruction_set(), what);
    else if (status != dnnl_success)
        efm_error_set(&dnn->failure, EFM_E_INTERNAL, "the matrix library failed with status %d: %s",
                      (int)status, what);
    return status == dnnl_success;
}

void *dnn_allocate(struct dnn *dnn, size_t count, size_t size, const char *what)
{
    void *block = efm_allocate_array(count, size);
    if (block != NULL)
        atomic_fetch_add(&dnn->bytes, count * size);
    else
        efm_error_set(&dnn->failure, EFM_E_MEMORY, "no memory for %zu times %zu bytes: %s", count, size,
                      what);
    return block;
}

bool dnn_open(struct dnn *dnn)
{
    dnn_be_single_threaded();
    return dnn_made(dnn, dnnl_engine_create(&dnn->engine, dnnl_cpu, 0), "engine") &&
           dnn_made(dnn, dnnl_primitive_attr_create(&dnn->attributes), "set of attributes") &&
           dnn_made(dnn, dnnl_primitive_attr_set_scratchpad_mode(dnn->attributes, dnnl_scratchpad_mode_user),
                    "set of attributes");
}

bool dnn_primitive(struct dnn *dnn, dnnl_primitive_t *primitive, dnnl_primitive_desc_t desc, const char *what)
{
    dnn_desc_view scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    size_t size = scratch != NULL ? dnn_round_up(dnnl_memory_desc_get_size(scratch)) : 0;
    if (size > dnn->scratch_size)
        dnn->scratch_size = size;
    return dnn_made(dnn, dnnl_primitive_create(primitive, desc), what);
}

bool dnn_is_reference(const_dnnl_primitive_desc_t desc)
{
    const char *name = NULL;
    return dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           name != NULL && strncmp(name, "ref", 3) == 0;
}

bool dnn_memory(struct dnn *dnn, dnnl_memory_t *memory, dnn_desc_view desc, void *data)
{
    return dnn_made(dnn, dnnl_memory_create(memory, desc, dnn->engine, data), "tensor");
}

bool dnn_slots(struct dnn *dnn, size_t count)
{
    dnn->slots = dnn_allocate(dnn, count, sizeof *dnn->slots, "slots");
    dnn->slot_count = dnn->slots != NULL ? count : 0;
    return dnn->slots != NULL;
}

bool dnn_open_slot(struct dnn *dnn, struct dnn_slot *slot, size_t memories)
{
    size_t size = dnn->scratch_size > 0 ? dnn->scratch_size : EFM_ALIGNMENT;
    slot->scratch_data = dnn_allocate(dnn, 1, size, "scratch");
    slot->memories = dnn_allocate(dnn, memories, sizeof *slot->memories, "tensors");
    if (slot->scratch_data == NULL || slot->memories == NULL)
        return false;
    const dnnl_dims_t dims = {(int64_t)size}, strides = {1};
    dnnl_memory_desc_t desc = {0};
    bool good =
        dnn_made(dnn, dnn_desc_create(&desc, 1, dims, dnnl_u8, strides), "scratchpad") &&
        dnn_made(dnn, dnnl_stream_create(&slot->stream, dnn->engine, dnnl_stream_default_flags), "stream") &&
        dnn_memory(dnn, &slot->scratch, DNN_DESC_VIEW(desc), slot->scratch_data);
    dnn_desc_destroy(&desc);
    return good;
}

void dnn_close_slot(struct dnn_slot *slot, size_t memories)
{
    for (size_t i = 0; i < memories && slot->memories != NULL; i++)
        dnnl_memory_destroy(slot->memories[i]);
    dnnl_memory_destroy(slot->gradient);
    dnnl_memory_destroy(slot->scratch);
    dnnl_stream_destroy(slot->stream);
    efm_free(slot->memories);
    efm_free(slot->scratch_data);
    efm_free(slot->gradient_data);
    *slot = (struct dnn_slot){0};
}

void dnn_close(struct dnn *dnn, size_t memories)
{
    for (size_t i = 0; i < dnn->slot_count; i++)
        dnn_close_slot(&dnn->slots[i], memories);
    efm_free(dnn->slots);
    dnnl_primitive_attr_destroy(dnn->attributes);
    dnnl_engine_destroy(dnn->engine);
}

bool dnn_run(const struct dnn *dnn, size_t slot, dnnl_primitive_t primitive, const int *names,
             dnnl_memory_t first, dnnl_memory_t second, dnnl_memory_t third)
{
    const struct dnn_slot *s = &dnn->slots[slot];
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SCRATCHPAD, s->scratch}, {names[0], first}, {names[1], second}, {names[2], third}};
    return dnnl_primitive_execute(primitive, s->stream, third != NULL ? 4 : 3, arguments) == dnnl_success &&
           dnnl_stream_wait(s->stream) == dnnl_success;
}

bool dnn_set_data(dnnl_memory_t memory, const void *data)
{
    return dnnl_memory_set_data_handle(memory, (void *)data) == dnnl_success;
}

/* ---- the processor ---- */

static bool processor_has(dnnl_cpu_isa_t isa)
{
    return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)isa) == (unsigned)isa;
}

enum efm_status efm_precision_resolve(enum efm_precision *precision, struct efm_error *error)
{
    switch (*precision) {
    case EFM_PRECISION_AUTO:
        *precision = processor_has(dnnl_cpu_isa_avx512_core_bf16) ? EFM_PRECISION_BF16 : EFM_PRECISION_F32;
        return EFM_OK;
    case EFM_PRECISION_F32:
        return EFM_OK;
    case EFM_PRECISION_BF16:
        /* AVX-512 without bf16 multiplies in f32 what was rounded to bf16: slow, but right. */
        if (processor_has(dnnl_cpu_isa_avx512_core))
            return EFM_OK;
        return efm_error_set(error, EFM_E_UNSUPPORTED,
                             "bf16 needs a processor with AVX-512, and this one has %s",
                             efm_net_instruction_set());
    }
    return efm_error_set(error, EFM_E_ARGUMENT, "there is no precision of number %d", (int)*precision);
}

const char *efm_net_instruction_set(void)
{
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } sets[] = {{dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
                {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
                {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
                {dnnl_cpu_isa_avx512_core, "avx512_core"},
                {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
                {dnnl_cpu_isa_avx2, "avx2"},
                {dnnl_cpu_isa_avx, "avx"},
                {dnnl_cpu_isa_sse41, "sse41"}};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (processor_has(sets[i].isa))
            return sets[i].name;
    return "generic";
}

#define LIBRARY_NAME(major, minor, patch) "oneDNN " #major "." #minor "." #patch
#define LIBRARY_VERSION(major, minor, patch) LIBRARY_NAME(major, minor, patch)

const char *efm_net_library(void)
{
    return LIBRARY_VERSION(DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH);
}
