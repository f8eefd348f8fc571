/* onednn_ops_internal.h - what convolutions and matrix products share of oneDNN: descriptions of problems, an engine, and
 * for each slot a stream and scratch. Only files named onednn_ops* include it, and nobody else knows the library.
 *
 * What differs between oneDNN 2 and 3 stands here and in onednn_ops_library.c: descriptors are structs there and handles
 * here.
 *
 * Functions that return a bool leave the reason in dnn->failure; what they made is destroyed with its owner. */
#ifndef EFM_NET_ONEDNN_OPS_INTERNAL_H
#define EFM_NET_ONEDNN_OPS_INTERNAL_H

#include "core/base/memory.h"
#include "core/net/net_internal.h"
#include "core/net/onednn_ops.h"

#include <dnnl.h>
#include <stdatomic.h>
#include <string.h>

enum { DNN_MOST_SLOTS = 1 << 12 };

enum dnn_pass { DNN_FORWARD, DNN_BACKWARD_DATA, DNN_BACKWARD_WEIGHTS, DNN_PASSES, DNN_PRODUCT = DNN_PASSES };

/* "convolution", "gradient of a convolution's input", ...; for messages. */
const char *dnn_pass_name(enum dnn_pass pass);

/* ---- problems ---- */

/* A primitive to be found: three tensors, source * weights -> out, or the gradients of them. */
struct dnn_problem {
    enum dnn_pass pass;
    dnnl_memory_desc_t source, weights, out;
    dnnl_dims_t strides, before, after; /* padding */
};

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t dnn_desc_view;
#define DNN_DESC_VIEW(desc) ((dnn_desc_view)(desc))
#else
typedef const dnnl_memory_desc_t *dnn_desc_view;
#define DNN_DESC_VIEW(desc) ((dnn_desc_view) & (desc))
#endif

/* strides NULL: the library chooses the order. */
dnnl_status_t dnn_desc_create(dnnl_memory_desc_t *desc, int rank, const dnnl_dims_t dims,
                              dnnl_data_type_t type, const int64_t *strides);
dnnl_status_t dnn_desc_copy(dnnl_memory_desc_t *desc, dnn_desc_view from);
void dnn_desc_destroy(dnnl_memory_desc_t *desc);

/* The library's answer to a problem; `forward`: of the pass that a gradient belongs to, else NULL. */
dnnl_status_t dnn_problem_describe(dnnl_primitive_desc_t *found, const struct dnn_problem *p,
                                   const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                   const_dnnl_primitive_desc_t forward);
void dnn_problem_release(struct dnn_problem *p);

/* ---- types, threads ---- */

static inline dnnl_data_type_t dnn_type(enum efm_precision precision)
{
    return precision == EFM_PRECISION_BF16 ? dnnl_bf16 : dnnl_f32;
}

static inline size_t dnn_element_size(enum efm_precision precision)
{
    return precision == EFM_PRECISION_BF16 ? sizeof(uint16_t) : sizeof(float);
}

static inline size_t dnn_round_up(size_t size)
{
    return (size + EFM_ALIGNMENT - 1) / EFM_ALIGNMENT * EFM_ALIGNMENT;
}

static inline void dnn_fill_nan(void *out, size_t bytes)
{
    memset(out, 0xff, bytes); /* a NaN in float and in bfloat16 */
}

/* Makes oneDNN single-threaded on the calling thread: primitives remember how many threads they were made for, and spread
 * over as many as the caller has. */
void dnn_be_single_threaded(void);

/* ---- an engine, and for each slot a stream and scratch ---- */

struct dnn_slot {
    bool open;
    dnnl_stream_t stream;
    dnnl_memory_t scratch, gradient; /* gradient: of a convolution, in the library's order */
    void *scratch_data, *gradient_data;
    dnnl_memory_t *memories; /* the tensors of each primitive, whose data come with a call */
};

struct dnn {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attributes;
    struct dnn_slot *slots;
    size_t slot_count, scratch_size;
    atomic_size_t bytes; /* of all that was allocated for its owner; slots may be opened by several threads */
    struct efm_error failure;
};

/* Was this call of the library a success? */
bool dnn_made(struct dnn *dnn, dnnl_status_t status, const char *what);

/* count * size bytes of zeros that count as the owner's; freed by efm_free. */
void *dnn_allocate(struct dnn *dnn, size_t count, size_t size, const char *what);

bool dnn_open(struct dnn *dnn);
void dnn_close(struct dnn *dnn, size_t memories);

/* The primitive of a description; notes how much scratch it wants. */
bool dnn_primitive(struct dnn *dnn, dnnl_primitive_t *primitive, dnnl_primitive_desc_t desc,
                   const char *what);
/* Is what was found the library's reference implementation, plain loops that are slow? */
bool dnn_is_reference(const_dnnl_primitive_desc_t desc);
bool dnn_memory(struct dnn *dnn, dnnl_memory_t *memory, dnn_desc_view desc, void *data);

/* Places for slots, none of them open. */
bool dnn_slots(struct dnn *dnn, size_t count);
/* After the last primitive, when the size of the scratch is known; `memories`: tensors that the owner will make. */
bool dnn_open_slot(struct dnn *dnn, struct dnn_slot *slot, size_t memories);
void dnn_close_slot(struct dnn_slot *slot, size_t memories);

/* Two or three arguments, named as the library does, and the slot's scratch. */
bool dnn_run(const struct dnn *dnn, size_t slot, dnnl_primitive_t primitive, const int *names,
             dnnl_memory_t first, dnnl_memory_t second, dnnl_memory_t third);
bool dnn_set_data(dnnl_memory_t memory, const void *data);

/* ---- convolutions ---- */

/* Primitives of one shape of input: some images, or a band of the rows of one. */
struct conv_geometry {
    size_t images, rows, out_rows;
    size_t above, below; /* rows of padding */
    dnnl_primitive_t passes[DNN_PASSES];
    bool reference;  /* forward: the library has plain loops alone */
    size_t memories; /* its first, source, in those of a slot; then out */
    enum { CONV_UNTRIED, CONV_SAME, CONV_DIFFERENT } bytes; /* of a band: as the whole image's? */
};

struct efm_conv {
    struct efm_conv_options options;
    size_t out_height, out_width, weight_count;
    size_t source_row, out_row; /* bytes */
    struct dnn dnn;
    struct conv_geometry *geometries; /* the whole image, numbers of images, bands */
    size_t geometry_count;
    bool *banded; /* [bands + 1]: so many bands give the bytes of the whole image */

    dnnl_memory_desc_t orders[DNN_PASSES]; /* of the weights or their gradient; that of the whole image */
    bool ordered[DNN_PASSES];
    dnnl_primitive_t reorders[DNN_PASSES]; /* from or to the parameter table */
    dnnl_memory_t parameters;              /* in the order of the table; the data come with each call */
    dnnl_memory_t weights[2];              /* DNN_FORWARD, DNN_BACKWARD_DATA */
    void *weight_data[2];
    size_t weight_size[2];
    size_t gradient_size;
};

/* The first row of the output that a band does. */
size_t conv_band_start(const struct efm_conv *conv, size_t band, size_t bands);

/* The rows of the input that a band of the output wants, from *row on, and the padding around them. */
struct conv_geometry conv_band_geometry(const struct efm_conv *conv, size_t band, size_t bands, size_t *row);
struct conv_geometry *conv_find_geometry(const struct efm_conv *conv, const struct conv_geometry *wanted);

/* Tries which numbers of bands give the bytes of the whole image; when all is made, in slot 0. */
bool conv_check_bands(struct efm_conv *conv);

#endif
