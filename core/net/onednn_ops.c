// SPDX-License-Identifier: Apache-2.0
/* onednn_ops.c - convolutions and matrix products through oneDNN.
 *
 * A convolution is a set of primitives, one for each shape of input that can come: a whole image, a band of its rows,
 * and for the gradient of the weights every number of images up to the most. All of them share the weights in the
 * order that the whole image's primitive chose. Nothing is made while running: a call sets two addresses and executes.
 *
 * The functions that run cannot report. Should the library refuse all the same (it allocates a little for each call),
 * what they were to write becomes NaN, which those who look after the numbers notice. */
#include "core/net/onednn_ops.h"
#include "core/base/memory.h"
#include "core/net/net_internal.h"

#include <dnnl.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { RANK = 4, MOST_SIDE = 1 << 16, MOST_IMAGES = 1 << 12, MOST_SLOTS = 1 << 12 };

enum pass { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS, PASSES, PRODUCT = PASSES };

static const char *const pass_names[] = {"convolution", "gradient of a convolution's input",
                                         "gradient of a convolution's weights", "matrix product"};

/* A primitive to be found: three tensors, source * weights -> out, or the gradients of them. */
struct problem {
    enum pass pass;
    dnnl_memory_desc_t source, weights, out;
    dnnl_dims_t strides, before, after; /* padding */
};

/* ---- what differs between oneDNN 2 and 3: descriptors are structs there and handles here ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t desc_view;
#define DESC_VIEW(desc) ((desc_view)(desc))

/* strides NULL: the library chooses the order. */
static dnnl_status_t desc_create(dnnl_memory_desc_t *desc, int rank, const dnnl_dims_t dims,
                                 dnnl_data_type_t type, const int64_t *strides)
{
    return strides != NULL ? dnnl_memory_desc_create_with_strides(desc, rank, dims, type, strides)
                           : dnnl_memory_desc_create_with_tag(desc, rank, dims, type, dnnl_format_tag_any);
}

static dnnl_status_t desc_copy(dnnl_memory_desc_t *desc, desc_view from)
{
    return dnnl_memory_desc_clone(desc, from);
}

static void desc_destroy(dnnl_memory_desc_t *desc)
{
    if (*desc != NULL)
        dnnl_memory_desc_destroy(*desc);
}

static dnnl_status_t problem_describe(dnnl_primitive_desc_t *found, const struct problem *p,
                                      const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                      const_dnnl_primitive_desc_t forward)
{
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    const dnnl_dims_t dilation = {0};
    switch (p->pass) {
    case FORWARD:
        return dnnl_convolution_forward_primitive_desc_create(found, engine, dnnl_forward_training, direct,
                                                              p->source, p->weights, NULL, p->out, p->strides,
                                                              dilation, p->before, p->after, attributes);
    case BACKWARD_DATA:
        return dnnl_convolution_backward_data_primitive_desc_create(found, engine, direct, p->source,
                                                                    p->weights, p->out, p->strides, dilation,
                                                                    p->before, p->after, forward, attributes);
    case BACKWARD_WEIGHTS:
        return dnnl_convolution_backward_weights_primitive_desc_create(
            found, engine, direct, p->source, p->weights, NULL, p->out, p->strides, dilation, p->before,
            p->after, forward, attributes);
    case PRODUCT:
        return dnnl_matmul_primitive_desc_create(found, engine, p->source, p->weights, NULL, p->out,
                                                 attributes);
    }
    return dnnl_invalid_arguments;
}
#else
typedef const dnnl_memory_desc_t *desc_view;
#define DESC_VIEW(desc) ((desc_view) & (desc))

static dnnl_status_t desc_create(dnnl_memory_desc_t *desc, int rank, const dnnl_dims_t dims,
                                 dnnl_data_type_t type, const int64_t *strides)
{
    return strides != NULL ? dnnl_memory_desc_init_by_strides(desc, rank, dims, type, strides)
                           : dnnl_memory_desc_init_by_tag(desc, rank, dims, type, dnnl_format_tag_any);
}

static dnnl_status_t desc_copy(dnnl_memory_desc_t *desc, desc_view from)
{
    *desc = *from;
    return dnnl_success;
}

#define desc_destroy(desc) ((void)(desc))

static dnnl_status_t problem_describe(dnnl_primitive_desc_t *found, const struct problem *p,
                                      const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                      const_dnnl_primitive_desc_t forward)
{
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    const dnnl_memory_desc_t *x = &p->source, *w = &p->weights, *y = &p->out;
    dnnl_convolution_desc_t convolution;
    dnnl_matmul_desc_t product;
    dnnl_status_t status = dnnl_invalid_arguments;
    switch (p->pass) {
    case FORWARD:
        status = dnnl_convolution_forward_desc_init(&convolution, dnnl_forward_training, direct, x, w, NULL,
                                                    y, p->strides, p->before, p->after);
        break;
    case BACKWARD_DATA:
        status = dnnl_convolution_backward_data_desc_init(&convolution, direct, x, w, y, p->strides,
                                                          p->before, p->after);
        break;
    case BACKWARD_WEIGHTS:
        status = dnnl_convolution_backward_weights_desc_init(&convolution, direct, x, w, NULL, y, p->strides,
                                                             p->before, p->after);
        break;
    case PRODUCT:
        status = dnnl_matmul_desc_init(&product, x, w, NULL, y);
        break;
    }
    const void *operation = p->pass == PRODUCT ? (const void *)&product : &convolution;
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(found, operation, attributes, engine, forward);
}
#endif

static void problem_release(struct problem *p)
{
    desc_destroy(&p->source);
    desc_destroy(&p->weights);
    desc_destroy(&p->out);
}

/* ---- types, threads ---- */

static dnnl_data_type_t type_of(enum efm_precision precision)
{
    return precision == EFM_PRECISION_BF16 ? dnnl_bf16 : dnnl_f32;
}

static size_t element_size(enum efm_precision precision)
{
    return precision == EFM_PRECISION_BF16 ? sizeof(uint16_t) : sizeof(float);
}

static size_t round_up(size_t size)
{
    return (size + EFM_ALIGNMENT - 1) / EFM_ALIGNMENT * EFM_ALIGNMENT;
}

/* Of the OpenMP run-time that oneDNN is built on; what it sets belongs to the calling thread alone. */
extern void omp_set_num_threads(int count);

/* Primitives remember how many threads they were made for, and spread over as many as the caller has. */
static void be_single_threaded(void)
{
    static _Thread_local bool done;
    if (!done)
        omp_set_num_threads(1);
    done = true;
}

static void fill_nan(void *out, size_t bytes)
{
    memset(out, 0xff, bytes); /* a NaN in float and in bfloat16 */
}

/* ---- what convolutions and products share: an engine, and for each slot a stream and scratch ---- */

struct slot {
    bool open;
    dnnl_stream_t stream;
    dnnl_memory_t scratch, gradient; /* gradient: of a convolution, in the library's order */
    void *scratch_data, *gradient_data;
    dnnl_memory_t *memories; /* the tensors of each primitive, whose data come with a call */
};

struct dnn {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attributes;
    struct slot *slots;
    size_t slot_count, scratch_size;
    atomic_size_t bytes; /* of all that was allocated for its owner; slots may be opened by several threads */
    struct efm_error failure;
};

static bool made(struct dnn *dnn, dnnl_status_t status, const char *what)
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

static void *dnn_allocate(struct dnn *dnn, size_t count, size_t size, const char *what)
{
    void *block = efm_allocate_array(count, size);
    if (block != NULL)
        atomic_fetch_add(&dnn->bytes, count * size);
    else
        efm_error_set(&dnn->failure, EFM_E_MEMORY, "no memory for %zu times %zu bytes: %s", count, size,
                      what);
    return block;
}

static bool dnn_open(struct dnn *dnn)
{
    be_single_threaded();
    return made(dnn, dnnl_engine_create(&dnn->engine, dnnl_cpu, 0), "engine") &&
           made(dnn, dnnl_primitive_attr_create(&dnn->attributes), "set of attributes") &&
           made(dnn, dnnl_primitive_attr_set_scratchpad_mode(dnn->attributes, dnnl_scratchpad_mode_user),
                "set of attributes");
}

/* The primitive of a description; notes how much scratch it wants. */
static bool dnn_primitive(struct dnn *dnn, dnnl_primitive_t *primitive, dnnl_primitive_desc_t desc,
                          const char *what)
{
    desc_view scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    size_t size = scratch != NULL ? round_up(dnnl_memory_desc_get_size(scratch)) : 0;
    if (size > dnn->scratch_size)
        dnn->scratch_size = size;
    return made(dnn, dnnl_primitive_create(primitive, desc), what);
}

static bool dnn_memory(struct dnn *dnn, dnnl_memory_t *memory, desc_view desc, void *data)
{
    return made(dnn, dnnl_memory_create(memory, desc, dnn->engine, data), "tensor");
}

/* Places for slots, none of them open. */
static bool dnn_slots(struct dnn *dnn, size_t count)
{
    dnn->slots = dnn_allocate(dnn, count, sizeof *dnn->slots, "slots");
    dnn->slot_count = dnn->slots != NULL ? count : 0;
    return dnn->slots != NULL;
}

/* After the last primitive, when the size of the scratch is known. */
static bool dnn_open_slot(struct dnn *dnn, struct slot *slot, size_t memories)
{
    size_t size = dnn->scratch_size > 0 ? dnn->scratch_size : EFM_ALIGNMENT;
    slot->scratch_data = dnn_allocate(dnn, 1, size, "scratch");
    slot->memories = dnn_allocate(dnn, memories, sizeof *slot->memories, "tensors");
    if (slot->scratch_data == NULL || slot->memories == NULL)
        return false;
    const dnnl_dims_t dims = {(int64_t)size}, strides = {1};
    dnnl_memory_desc_t desc = {0};
    bool good =
        made(dnn, desc_create(&desc, 1, dims, dnnl_u8, strides), "scratchpad") &&
        made(dnn, dnnl_stream_create(&slot->stream, dnn->engine, dnnl_stream_default_flags), "stream") &&
        dnn_memory(dnn, &slot->scratch, DESC_VIEW(desc), slot->scratch_data);
    desc_destroy(&desc);
    return good;
}

static void close_slot(struct slot *slot, size_t memories)
{
    for (size_t i = 0; i < memories && slot->memories != NULL; i++)
        dnnl_memory_destroy(slot->memories[i]);
    dnnl_memory_destroy(slot->gradient);
    dnnl_memory_destroy(slot->scratch);
    dnnl_stream_destroy(slot->stream);
    efm_free(slot->memories);
    efm_free(slot->scratch_data);
    efm_free(slot->gradient_data);
    *slot = (struct slot){0};
}

static void dnn_close(struct dnn *dnn, size_t memories)
{
    for (size_t i = 0; i < dnn->slot_count; i++)
        close_slot(&dnn->slots[i], memories);
    efm_free(dnn->slots);
    dnnl_primitive_attr_destroy(dnn->attributes);
    dnnl_engine_destroy(dnn->engine);
}

/* Two or three arguments, named as the library does, and the slot's scratch. */
static bool dnn_run(const struct dnn *dnn, size_t slot, dnnl_primitive_t primitive, const int *names,
                    dnnl_memory_t first, dnnl_memory_t second, dnnl_memory_t third)
{
    const struct slot *s = &dnn->slots[slot];
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SCRATCHPAD, s->scratch}, {names[0], first}, {names[1], second}, {names[2], third}};
    return dnnl_primitive_execute(primitive, s->stream, third != NULL ? 4 : 3, arguments) == dnnl_success &&
           dnnl_stream_wait(s->stream) == dnnl_success;
}

static bool set_data(dnnl_memory_t memory, const void *data)
{
    return dnnl_memory_set_data_handle(memory, (void *)data) == dnnl_success;
}

/* ---- convolutions ---- */

/* Primitives of one shape of input: some images, or a band of the rows of one. */
struct geometry {
    size_t images, rows, out_rows;
    size_t above, below; /* rows of padding */
    dnnl_primitive_t passes[PASSES];
    size_t memories;                         /* its first, source, in those of a slot; then out */
    enum { UNTRIED, SAME, DIFFERENT } bytes; /* of a band: as the whole image's? */
};

struct efm_conv {
    struct efm_conv_options options;
    size_t out_height, out_width, weight_count;
    size_t source_row, out_row; /* bytes */
    struct dnn dnn;
    struct geometry *geometries; /* the whole image, numbers of images, bands */
    size_t geometry_count;
    bool *banded; /* [bands + 1]: so many bands give the bytes of the whole image */

    dnnl_memory_desc_t orders[PASSES]; /* of the weights or their gradient; that of the whole image */
    bool ordered[PASSES];
    dnnl_primitive_t reorders[PASSES]; /* from or to the parameter table */
    dnnl_memory_t parameters;          /* in the order of the table; the data come with each call */
    dnnl_memory_t weights[2];          /* FORWARD, BACKWARD_DATA */
    void *weight_data[2];
    size_t weight_size[2];
    size_t gradient_size;
};

static enum efm_status conv_check(const struct efm_conv_options *o, struct efm_error *error)
{
    uint32_t side = o->height > o->width ? o->height : o->width, odd = (o->height | o->width) & 1;
    uint32_t channels = o->in_channels > o->out_channels ? o->in_channels : o->out_channels;
    const char *wrong = NULL;
    if ((o->kernel != 1 && o->kernel != 3) || (o->stride != 1 && o->stride != 2))
        wrong = "kernel or stride";
    else if (o->height < 1 || o->width < 1 || side > MOST_SIDE || (o->stride == 2 && odd))
        wrong = "height or width";
    else if (o->in_channels < 1 || o->out_channels < 1 || channels > MOST_SIDE)
        wrong = "number of channels";
    else if (o->in_out && o->kernel != 1)
        wrong = "order of weights";
    else if (o->precision != EFM_PRECISION_F32 && o->precision != EFM_PRECISION_BF16)
        wrong = "precision";
    else if (o->slots < 1 || o->slots > MOST_SLOTS ||
             (o->training && (o->images < 1 || o->images > MOST_IMAGES)))
        wrong = "number of slots or images";
    if (wrong != NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "a convolution cannot have this %s", wrong);
    enum efm_precision precision = o->precision;
    return efm_precision_resolve(&precision, error);
}

static size_t band_start(const struct efm_conv *conv, size_t band, size_t bands)
{
    return band * conv->out_height / bands;
}

/* The rows of the input that a band of the output wants, from *row on, and the padding around them. */
static struct geometry band_geometry(const struct efm_conv *conv, size_t band, size_t bands, size_t *row)
{
    const struct efm_conv_options *o = &conv->options;
    size_t first = band_start(conv, band, bands), last = band_start(conv, band + 1, bands);
    size_t padding = o->stride == 1 ? o->kernel / 2 : 0;
    size_t begin = first * o->stride, end = (last - 1) * o->stride + o->kernel; /* in padded rows */
    struct geometry g = {.images = 1, .out_rows = last - first};
    g.above = begin < padding ? padding - begin : 0;
    g.below = end > o->height + padding ? end - o->height - padding : 0;
    g.rows = end - begin - g.above - g.below;
    *row = begin + g.above - padding;
    return g;
}

static struct geometry *find_geometry(const struct efm_conv *conv, const struct geometry *wanted)
{
    for (size_t i = 0; i < conv->geometry_count; i++) {
        struct geometry *g = &conv->geometries[i];
        if (g->images == wanted->images && g->rows == wanted->rows && g->out_rows == wanted->out_rows &&
            g->above == wanted->above && g->below == wanted->below)
            return g;
    }
    return NULL;
}

static dnnl_status_t describe_images(dnnl_memory_desc_t *desc, size_t images, size_t channels, size_t rows,
                                     size_t width, dnnl_data_type_t type)
{
    int64_t n = (int64_t)images, c = (int64_t)channels, h = (int64_t)rows, w = (int64_t)width;
    const dnnl_dims_t dims = {n, c, h, w}, strides = {h * w * c, 1, w * c, c};
    return desc_create(desc, RANK, dims, type, strides);
}

/* `table`: in the order of the parameter table; else the library chooses. */
static dnnl_status_t describe_weights(dnnl_memory_desc_t *desc, const struct efm_conv_options *o,
                                      dnnl_data_type_t type, bool table)
{
    int64_t k = o->kernel, in = o->in_channels, out = o->out_channels;
    const dnnl_dims_t dims = {out, in, k, k};
    const dnnl_dims_t out_in = {in * k * k, k * k, k, 1}, in_out = {1, out, 1, 1};
    return desc_create(desc, RANK, dims, type, !table ? NULL : o->in_out ? in_out : out_in);
}

static bool conv_problem(struct efm_conv *conv, const struct geometry *g, enum pass pass, struct problem *p)
{
    const struct efm_conv_options *o = &conv->options;
    dnnl_data_type_t type = type_of(o->precision);
    *p = (struct problem){.pass = pass};
    p->strides[0] = p->strides[1] = o->stride;
    p->before[0] = (int64_t)g->above;
    p->before[1] = o->stride == 1 ? o->kernel / 2 : 0;
    p->after[0] = (int64_t)g->below;
    p->after[1] = o->kernel / 2;
    dnnl_status_t status = describe_images(&p->source, g->images, o->in_channels, g->rows, o->width, type);
    if (status == dnnl_success)
        status = describe_images(&p->out, g->images, o->out_channels, g->out_rows, conv->out_width, type);
    if (status == dnnl_success && conv->ordered[pass])
        status = desc_copy(&p->weights, DESC_VIEW(conv->orders[pass]));
    else if (status == dnnl_success)
        status = describe_weights(&p->weights, o, pass == BACKWARD_WEIGHTS ? dnnl_f32 : type, false);
    return made(&conv->dnn, status, pass_names[pass]);
}

static bool make_primitive(struct efm_conv *conv, struct geometry *g, const struct problem *p,
                           dnnl_primitive_desc_t desc)
{
    struct dnn *dnn = &conv->dnn;
    enum pass pass = p->pass;
    if (!conv->ordered[pass]) { /* by the first primitive of the pass */
        dnnl_query_t what = pass == BACKWARD_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
        desc_view order = dnnl_primitive_desc_query_md(desc, what, 0);
        conv->ordered[pass] = made(dnn, desc_copy(&conv->orders[pass], order), "order of weights");
    }
    return conv->ordered[pass] && dnn_primitive(dnn, &g->passes[pass], desc, pass_names[pass]);
}

static bool make_pass(struct efm_conv *conv, struct geometry *g, enum pass pass)
{
    struct dnn *dnn = &conv->dnn;
    struct problem p = {0}, forward = {0};
    dnnl_primitive_desc_t hint = NULL, desc = NULL;
    bool good = pass == FORWARD || /* the gradients ask for the pass that they belong to */
                (conv_problem(conv, g, FORWARD, &forward) &&
                 made(dnn, problem_describe(&hint, &forward, dnn->attributes, dnn->engine, NULL),
                      pass_names[FORWARD]));
    good = good && conv_problem(conv, g, pass, &p) &&
           made(dnn, problem_describe(&desc, &p, dnn->attributes, dnn->engine, hint), pass_names[pass]) &&
           make_primitive(conv, g, &p, desc);
    dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_desc_destroy(hint);
    problem_release(&p);
    problem_release(&forward);
    return good;
}

/* All numbers of images have a primitive of their own, so that no sum over images needs memory. */
static bool make_wholes(struct efm_conv *conv)
{
    const struct efm_conv_options *o = &conv->options;
    size_t counts = o->training ? o->images : 1, row;
    bool good = true;
    for (size_t n = 1; n <= counts && good; n++) {
        struct geometry *g = &conv->geometries[conv->geometry_count++];
        *g = band_geometry(conv, 0, 1, &row);
        g->images = n;
        g->rows = o->height; /* a kernel of 1 with a stride of 2 does not want the last */
        good = n > 1 || make_pass(conv, g, FORWARD);
        if (n == 1 && o->training && !o->no_input_gradient)
            good = good && make_pass(conv, g, BACKWARD_DATA);
        if (o->training)
            good = good && make_pass(conv, g, BACKWARD_WEIGHTS);
    }
    return good;
}

/* The primitives of all bands. DIFFERENT: the library has none that takes the weights as they lie. */
static bool make_bands(struct efm_conv *conv)
{
    struct efm_error *failure = &conv->dnn.failure;
    for (size_t n = 2; n <= conv->options.bands; n++)
        for (size_t band = 0; band < n; band++) { /* none is empty: no more bands than rows */
            size_t row;
            struct geometry wanted = band_geometry(conv, band, n, &row);
            if (find_geometry(conv, &wanted) != NULL)
                continue;
            struct geometry *g = &conv->geometries[conv->geometry_count++];
            *g = wanted;
            if (!make_pass(conv, g, FORWARD)) {
                if (failure->status != EFM_E_UNSUPPORTED)
                    return false;
                efm_error_clear(failure);
                g->bytes = DIFFERENT;
            }
        }
    return true;
}

static bool make_reorder(struct dnn *dnn, dnnl_primitive_t *primitive, desc_view from, desc_view to)
{
    static const char what[] = "reordering of weights";
    dnnl_primitive_desc_t desc = NULL;
    bool good =
        made(dnn,
             dnnl_reorder_primitive_desc_create(&desc, from, dnn->engine, to, dnn->engine, dnn->attributes),
             what) &&
        dnn_primitive(dnn, primitive, desc, what);
    dnnl_primitive_desc_destroy(desc);
    return good;
}

static bool make_reorders(struct efm_conv *conv)
{
    struct dnn *dnn = &conv->dnn;
    dnnl_memory_desc_t table = {0};
    bool good = made(dnn, describe_weights(&table, &conv->options, dnnl_f32, true), "order of weights") &&
                dnn_memory(dnn, &conv->parameters, DESC_VIEW(table), NULL);
    for (enum pass pass = FORWARD; pass < PASSES && good; pass++) {
        desc_view own = DESC_VIEW(conv->orders[pass]), other = DESC_VIEW(table);
        bool back = pass == BACKWARD_WEIGHTS;
        if (conv->ordered[pass])
            good = make_reorder(dnn, &conv->reorders[pass], back ? own : other, back ? other : own);
    }
    desc_destroy(&table);
    return good;
}

static bool make_weights(struct efm_conv *conv, enum pass pass)
{
    if (!conv->ordered[pass])
        return true;
    desc_view order = DESC_VIEW(conv->orders[pass]);
    conv->weight_size[pass] = dnnl_memory_desc_get_size(order);
    conv->weight_data[pass] = dnn_allocate(&conv->dnn, 1, conv->weight_size[pass], "weights");
    return conv->weight_data[pass] != NULL &&
           dnn_memory(&conv->dnn, &conv->weights[pass], order, conv->weight_data[pass]);
}

/* Source and out of every geometry; their data come with each call. */
static bool open_memories(struct efm_conv *conv, struct slot *slot)
{
    bool good = true;
    for (size_t i = 0; i < conv->geometry_count && good; i++) {
        struct geometry *g = &conv->geometries[i];
        struct problem p = {0};
        good = conv_problem(conv, g, FORWARD, &p) &&
               dnn_memory(&conv->dnn, &slot->memories[g->memories], DESC_VIEW(p.source), NULL) &&
               dnn_memory(&conv->dnn, &slot->memories[g->memories + 1], DESC_VIEW(p.out), NULL);
        problem_release(&p);
    }
    return good;
}

static bool open_gradient(struct efm_conv *conv, struct slot *slot)
{
    if (!conv->ordered[BACKWARD_WEIGHTS])
        return true;
    slot->gradient_data = dnn_allocate(&conv->dnn, 1, conv->gradient_size, "gradients");
    return slot->gradient_data != NULL &&
           dnn_memory(&conv->dnn, &slot->gradient, DESC_VIEW(conv->orders[BACKWARD_WEIGHTS]),
                      slot->gradient_data);
}

static bool open_slot(struct efm_conv *conv, struct slot *slot)
{
    if (slot->open)
        return true;
    be_single_threaded();
    slot->open = dnn_open_slot(&conv->dnn, slot, 2 * conv->geometry_count) && open_memories(conv, slot) &&
                 open_gradient(conv, slot);
    if (!slot->open)
        close_slot(slot, 2 * conv->geometry_count);
    return slot->open;
}

/* Slot 0, and the size of the others. */
static bool make_slots(struct efm_conv *conv)
{
    for (size_t i = 0; i < conv->geometry_count; i++)
        conv->geometries[i].memories = 2 * i;
    if (conv->ordered[BACKWARD_WEIGHTS])
        conv->gradient_size = round_up(dnnl_memory_desc_get_size(DESC_VIEW(conv->orders[BACKWARD_WEIGHTS])));
    return dnn_slots(&conv->dnn, conv->options.slots) && open_slot(conv, &conv->dnn.slots[0]);
}

enum efm_status efm_conv_open_slot(struct efm_conv *conv, size_t index, struct efm_error *error)
{
    if (index >= conv->dnn.slot_count)
        return efm_error_set(error, EFM_E_ARGUMENT, "a convolution has no slot %zu", index);
    if (open_slot(conv, &conv->dnn.slots[index]))
        return EFM_OK;
    return efm_error_set(error, EFM_E_MEMORY, "no memory for one more thread in a convolution");
}

static bool run_pass(const struct efm_conv *conv, const struct geometry *g, enum pass pass, size_t slot,
                     const void *source, const void *out)
{
    static const int names[PASSES][3] = {{DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WEIGHTS},
                                         {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS},
                                         {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS}};
    be_single_threaded();
    dnnl_memory_t *memories = conv->dnn.slots[slot].memories + g->memories;
    dnnl_memory_t weights = pass == BACKWARD_WEIGHTS ? conv->dnn.slots[slot].gradient : conv->weights[pass];
    return set_data(memories[0], source) && set_data(memories[1], out) &&
           dnn_run(&conv->dnn, slot, g->passes[pass], names[pass], memories[0], memories[1], weights);
}

/* Rows of the output from `first` on, out of rows of the source from `row` on. */
static void run_rows(const struct efm_conv *conv, const struct geometry *g, size_t slot, const void *source,
                     void *out, size_t first, size_t row)
{
    char *rows = (char *)out + first * conv->out_row;
    if (!run_pass(conv, g, FORWARD, slot, (const char *)source + row * conv->source_row, rows))
        fill_nan(rows, g->out_rows * conv->out_row);
}

void efm_conv_forward(const struct efm_conv *conv, size_t slot, const void *source, void *out, size_t images)
{
    for (size_t i = 0; i < images; i++)
        run_rows(conv, &conv->geometries[0], slot, source, out, i * conv->out_height,
                 i * conv->options.height);
}

size_t efm_conv_bands(const struct efm_conv *conv, size_t bands)
{
    bands = bands < conv->options.bands ? bands : conv->options.bands;
    while (bands > 1 && !conv->banded[bands])
        bands--;
    return bands > 1 ? bands : 1;
}

void efm_conv_forward_band(const struct efm_conv *conv, size_t slot, const void *source, void *out,
                           size_t band, size_t bands)
{
    if (bands < 2 || bands > conv->options.bands || !conv->banded[bands]) {
        if (band == 0)
            efm_conv_forward(conv, slot, source, out, 1);
        return;
    }
    size_t first = band_start(conv, band, bands), row;
    struct geometry wanted = band_geometry(conv, band, bands, &row);
    run_rows(conv, find_geometry(conv, &wanted), slot, source, out, first, row);
}

void efm_conv_backward_data(const struct efm_conv *conv, size_t slot, const void *out_gradient,
                            void *source_gradient, size_t images)
{
    size_t from = conv->out_height * conv->out_row, to = conv->options.height * conv->source_row;
    for (size_t i = 0; i < images; i++) {
        char *gradient = (char *)source_gradient + i * to;
        if (!run_pass(conv, &conv->geometries[0], BACKWARD_DATA, slot, gradient,
                      (const char *)out_gradient + i * from))
            fill_nan(gradient, to);
    }
}

void efm_conv_backward_weights(const struct efm_conv *conv, size_t slot, const void *source,
                               const void *out_gradient, size_t images)
{
    void *gradient = conv->dnn.slots[slot].gradient_data;
    if (images == 0)
        memset(gradient, 0, conv->gradient_size);
    else if (images > conv->options.images ||
             !run_pass(conv, &conv->geometries[images - 1], BACKWARD_WEIGHTS, slot, source, out_gradient))
        fill_nan(gradient, conv->gradient_size);
}

EFM_CLONES
static void add_floats(float *sum, const float *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++)
        sum[i] += x[i];
}

static bool reorder(const struct efm_conv *conv, enum pass pass, dnnl_memory_t from, dnnl_memory_t to)
{
    static const int names[] = {DNNL_ARG_FROM, DNNL_ARG_TO, 0};
    be_single_threaded();
    return dnn_run(&conv->dnn, 0, conv->reorders[pass], names, from, to, NULL);
}

void efm_conv_collect_gradient(const struct efm_conv *conv, size_t slots, float *gradient)
{
    for (size_t i = 1; i < slots; i++)
        add_floats(conv->dnn.slots[0].gradient_data, conv->dnn.slots[i].gradient_data,
                   conv->gradient_size / sizeof(float));
    if (!set_data(conv->parameters, gradient) ||
        !reorder(conv, BACKWARD_WEIGHTS, conv->dnn.slots[0].gradient, conv->parameters))
        fill_nan(gradient, conv->weight_count * sizeof *gradient);
}

void efm_conv_set_weights(struct efm_conv *conv, const float *weights)
{
    for (enum pass pass = FORWARD; pass < BACKWARD_WEIGHTS; pass++)
        if (conv->reorders[pass] != NULL && (!set_data(conv->parameters, weights) ||
                                             !reorder(conv, pass, conv->parameters, conv->weights[pass])))
            fill_nan(conv->weight_data[pass], conv->weight_size[pass]);
}

/* Numbers without a pattern in [-1, 1), in a precision. */
static void fill_scattered(void *values, size_t count, enum efm_precision precision)
{
    uint32_t word = 1;
    for (size_t i = 0; i < count; i++) {
        word = word * 1664525u + 1013904223u;
        float value = (float)(int32_t)word * 0x1p-31f;
        if (precision == EFM_PRECISION_BF16)
            ((uint16_t *)values)[i] = efm_bf16(value);
        else
            ((float *)values)[i] = value;
    }
}

/* Does this band give the bytes of the whole image? Every geometry is tried once. */
static bool band_is_same(const struct efm_conv *conv, size_t band, size_t bands, const void *source,
                         const char *whole, char *out)
{
    size_t first = band_start(conv, band, bands), row;
    struct geometry wanted = band_geometry(conv, band, bands, &row);
    struct geometry *g = find_geometry(conv, &wanted);
    if (g->bytes == UNTRIED) {
        run_rows(conv, g, 0, source, out, first, row);
        size_t from = first * conv->out_row;
        g->bytes = memcmp(out + from, whole + from, g->out_rows * conv->out_row) == 0 ? SAME : DIFFERENT;
    }
    return g->bytes == SAME;
}

static bool check_bands(struct efm_conv *conv)
{
    const struct efm_conv_options *o = &conv->options;
    if (o->bands < 2)
        return true;
    size_t source_size = o->height * conv->source_row, out_size = conv->out_height * conv->out_row;
    float *weights = efm_allocate_array(conv->weight_count, sizeof *weights);
    char *source = efm_allocate(source_size), *whole = efm_allocate(out_size), *out = efm_allocate(out_size);
    bool good = weights != NULL && source != NULL && whole != NULL && out != NULL;
    if (good) {
        fill_scattered(weights, conv->weight_count, EFM_PRECISION_F32);
        fill_scattered(source, source_size / element_size(o->precision), o->precision);
        efm_conv_set_weights(conv, weights);
        efm_conv_forward(conv, 0, source, whole, 1);
        for (size_t n = 2; n <= o->bands; n++)
            for (size_t band = 0; band < n && (band == 0 || conv->banded[n]); band++)
                conv->banded[n] = band_is_same(conv, band, n, source, whole, out);
    } else {
        efm_error_set(&conv->dnn.failure, EFM_E_MEMORY, "no memory to try the bands of a convolution");
    }
    efm_free(weights);
    efm_free(source);
    efm_free(whole);
    efm_free(out);
    return good;
}

static bool conv_make(struct efm_conv *conv)
{
    struct efm_conv_options *o = &conv->options;
    struct dnn *dnn = &conv->dnn;
    conv->out_height = o->height / o->stride;
    conv->out_width = o->width / o->stride;
    conv->weight_count = (size_t)o->in_channels * o->out_channels * o->kernel * o->kernel;
    conv->source_row = (size_t)o->width * o->in_channels * element_size(o->precision);
    conv->out_row = conv->out_width * o->out_channels * element_size(o->precision);
    if (o->bands > conv->out_height)
        o->bands = conv->out_height;
    size_t most = (o->training ? o->images : 1) + o->bands * (o->bands + 1) / 2;
    conv->geometries = dnn_allocate(dnn, most, sizeof *conv->geometries, "geometries");
    conv->banded = dnn_allocate(dnn, o->bands + 1, sizeof *conv->banded, "bands");
    return conv->geometries != NULL && conv->banded != NULL && dnn_open(dnn) && make_wholes(conv) &&
           make_bands(conv) && make_reorders(conv) && make_weights(conv, FORWARD) &&
           make_weights(conv, BACKWARD_DATA) && make_slots(conv) && check_bands(conv);
}

enum efm_status efm_conv_create(struct efm_conv **conv, const struct efm_conv_options *options,
                                struct efm_error *error)
{
    *conv = NULL;
    enum efm_status status = conv_check(options, error);
    if (status != EFM_OK)
        return status;
    struct efm_conv *making = efm_allocate_array(1, sizeof *making);
    if (making == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a convolution");
    making->options = *options;
    atomic_init(&making->dnn.bytes, sizeof *making);
    if (conv_make(making)) {
        *conv = making;
        return EFM_OK;
    }
    status = efm_error_set(error, making->dnn.failure.status, "%s", making->dnn.failure.message);
    efm_conv_destroy(making);
    return status;
}

void efm_conv_destroy(struct efm_conv *conv)
{
    if (conv == NULL)
        return;
    for (enum pass pass = FORWARD; pass < PASSES; pass++) {
        for (size_t i = 0; i < conv->geometry_count; i++)
            dnnl_primitive_destroy(conv->geometries[i].passes[pass]);
        dnnl_primitive_destroy(conv->reorders[pass]);
        desc_destroy(&conv->orders[pass]);
    }
    for (enum pass pass = FORWARD; pass < BACKWARD_WEIGHTS; pass++) {
        dnnl_memory_destroy(conv->weights[pass]);
        efm_free(conv->weight_data[pass]);
    }
    dnnl_memory_destroy(conv->parameters);
    dnn_close(&conv->dnn, 2 * conv->geometry_count);
    efm_free(conv->geometries);
    efm_free(conv->banded);
    efm_free(conv);
}

size_t efm_conv_bytes(const struct efm_conv *conv)
{
    return atomic_load(&conv->dnn.bytes);
}

double efm_conv_flops(const struct efm_conv *conv)
{
    return 2.0 * (double)conv->out_height * (double)conv->out_width * (double)conv->weight_count;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double efm_conv_time(const struct efm_conv *conv, size_t repeats)
{
    const struct efm_conv_options *o = &conv->options;
    size_t size = o->height * conv->source_row;
    void *source = efm_allocate(size), *out = efm_allocate(conv->out_height * conv->out_row);
    double best = 0;
    if (source != NULL && out != NULL) {
        fill_scattered(source, size / element_size(o->precision), o->precision);
        for (size_t i = 0; i < repeats; i++) {
            double start = seconds();
            efm_conv_forward(conv, 0, source, out, 1);
            double taken = seconds() - start;
            best = i == 0 || taken < best ? taken : best;
        }
    }
    efm_free(source);
    efm_free(out);
    return best;
}

/* ---- matrix products ---- */

struct efm_matmul {
    struct efm_matmul_options options;
    struct dnn dnn;
    dnnl_primitive_t primitive;
    struct problem problem; /* its tensors */
};

static dnnl_status_t describe_matrix(dnnl_memory_desc_t *desc, size_t rows, size_t columns, bool transpose,
                                     enum efm_precision precision)
{
    const dnnl_dims_t dims = {(int64_t)rows, (int64_t)columns};
    const dnnl_dims_t strides = {transpose ? 1 : dims[1], transpose ? dims[0] : 1};
    return desc_create(desc, 2, dims, type_of(precision), strides);
}

static bool matmul_problem(struct efm_matmul *matmul, struct problem *p)
{
    const struct efm_matmul_options *o = &matmul->options;
    dnnl_status_t status = describe_matrix(&p->source, o->m, o->k, o->transpose_a, o->precision);
    if (status == dnnl_success)
        status = describe_matrix(&p->weights, o->k, o->n, o->transpose_b, o->precision);
    if (status == dnnl_success)
        status = describe_matrix(&p->out, o->m, o->n, false, o->out);
    return made(&matmul->dnn, status, pass_names[PRODUCT]);
}

static bool matmul_open_slot(struct efm_matmul *matmul, struct slot *slot)
{
    struct dnn *dnn = &matmul->dnn;
    const struct problem *p = &matmul->problem;
    return dnn_open_slot(dnn, slot, 3) && dnn_memory(dnn, &slot->memories[0], DESC_VIEW(p->source), NULL) &&
           dnn_memory(dnn, &slot->memories[1], DESC_VIEW(p->weights), NULL) &&
           dnn_memory(dnn, &slot->memories[2], DESC_VIEW(p->out), NULL);
}

static bool matmul_make(struct efm_matmul *matmul)
{
    struct dnn *dnn = &matmul->dnn;
    struct problem *p = &matmul->problem;
    dnnl_primitive_desc_t desc = NULL;
    bool good =
        dnn_open(dnn) && matmul_problem(matmul, p) &&
        made(dnn, problem_describe(&desc, p, dnn->attributes, dnn->engine, NULL), pass_names[PRODUCT]) &&
        dnn_primitive(dnn, &matmul->primitive, desc, pass_names[PRODUCT]) &&
        dnn_slots(dnn, matmul->options.slots);
    dnnl_primitive_desc_destroy(desc);
    for (size_t i = 0; i < matmul->options.slots && good; i++)
        good = matmul_open_slot(matmul, &dnn->slots[i]);
    return good;
}

static enum efm_status matmul_check(const struct efm_matmul_options *o, struct efm_error *error)
{
    enum efm_precision in = o->precision, out = o->out;
    if (o->m < 1 || o->n < 1 || o->k < 1 || o->m > INT32_MAX || o->n > INT32_MAX || o->k > INT32_MAX)
        return efm_error_set(error, EFM_E_ARGUMENT, "a matrix product cannot have these sizes");
    if (o->slots < 1 || o->slots > MOST_SLOTS || in == EFM_PRECISION_AUTO || out == EFM_PRECISION_AUTO)
        return efm_error_set(error, EFM_E_ARGUMENT, "a matrix product cannot have these slots or precisions");
    enum efm_status status = efm_precision_resolve(&in, error);
    return status == EFM_OK ? efm_precision_resolve(&out, error) : status;
}

enum efm_status efm_matmul_create(struct efm_matmul **matmul, const struct efm_matmul_options *options,
                                  struct efm_error *error)
{
    *matmul = NULL;
    enum efm_status status = matmul_check(options, error);
    if (status != EFM_OK)
        return status;
    struct efm_matmul *making = efm_allocate_array(1, sizeof *making);
    if (making == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a matrix product");
    making->options = *options;
    making->problem.pass = PRODUCT;
    if (matmul_make(making)) {
        *matmul = making;
        return EFM_OK;
    }
    status = efm_error_set(error, making->dnn.failure.status, "%s", making->dnn.failure.message);
    efm_matmul_destroy(making);
    return status;
}

void efm_matmul_destroy(struct efm_matmul *matmul)
{
    if (matmul == NULL)
        return;
    dnnl_primitive_destroy(matmul->primitive);
    problem_release(&matmul->problem);
    dnn_close(&matmul->dnn, 3);
    efm_free(matmul);
}

void efm_matmul_run(const struct efm_matmul *matmul, size_t slot, const void *a, const void *b, void *c)
{
    static const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    be_single_threaded();
    dnnl_memory_t *memories = matmul->dnn.slots[slot].memories;
    if (!set_data(memories[0], a) || !set_data(memories[1], b) || !set_data(memories[2], c) ||
        !dnn_run(&matmul->dnn, slot, matmul->primitive, names, memories[0], memories[1], memories[2]))
        fill_nan(c, matmul->options.m * matmul->options.n * element_size(matmul->options.out));
}

void efm_sgemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t lda,
               const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    be_single_threaded();
    dnnl_status_t status =
        dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', (int64_t)m, (int64_t)n, (int64_t)k, 1, a,
                   (int64_t)lda, b, (int64_t)ldb, beta, c, (int64_t)ldc);
    for (size_t i = 0; i < m && status != dnnl_success; i++)
        fill_nan(c + i * ldc, n * sizeof *c);
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
