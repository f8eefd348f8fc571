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

static void desc_destroy(dnnl_memory_desc_t *desc)
{
    (void)desc;
}

static dnnl_status_t problem_describe(dnnl_primitive_desc_t *found, const struct problem *p,
                                      const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                      const_dnnl_primitive_desc_t forward)
{
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    dnnl_convolution_desc_t convolution;
    dnnl_matmul_desc_t product;
    const void *operation = &convolution;
    dnnl_status_t status = dnnl_invalid_arguments;
    switch (p->pass) {
    case FORWARD:
        status =
            dnnl_convolution_forward_desc_init(&convolution, dnnl_forward_training, direct, &p->source,
                                               &p->weights, NULL, &p->out, p->strides, p->before, p->after);
        break;
    case BACKWARD_DATA:
        status = dnnl_convolution_backward_data_desc_init(&convolution, direct, &p->source, &p->weights,
                                                          &p->out, p->strides, p->before, p->after);
        break;
    case BACKWARD_WEIGHTS:
        status = dnnl_convolution_backward_weights_desc_init(&convolution, direct, &p->source, &p->weights,
                                                             NULL, &p->out, p->strides, p->before, p->after);
        break;
    case PRODUCT:
        status = dnnl_matmul_desc_init(&product, &p->source, &p->weights, NULL, &p->out);
        operation = &product;
        break;
    }
    if (status != dnnl_success)
        return status;
    return dnnl_primitive_desc_create(found, operation, attributes, engine, forward);
}
#endif

static void problem_release(struct problem *p)
{
    desc_destroy(&p->source);
    desc_destroy(&p->weights);
    desc_destroy(&p->out);
}

/* ---- statuses, types, threads ---- */

static enum efm_status check(dnnl_status_t status, const char *what, struct efm_error *error)
{
    switch (status) {
    case dnnl_success:
        return EFM_OK;
    case dnnl_out_of_memory:
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the matrix library: %s", what);
    case dnnl_unimplemented:
        return efm_error_set(error, EFM_E_UNSUPPORTED,
                             "the matrix library cannot do this on this processor: %s", what);
    default:
        return efm_error_set(error, EFM_E_INTERNAL, "the matrix library failed with status %d: %s",
                             (int)status, what);
    }
}

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
    dnnl_stream_t stream;
    dnnl_memory_t scratch;
    dnnl_memory_t gradient; /* of a convolution; in the library's order */
};

struct bench {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attributes;
    struct slot *slots;
    size_t slot_count, scratch_size;
    char *scratch; /* [slot_count, scratch_size] */
    size_t bytes;  /* of all that was allocated for its owner */
};

static void *bench_allocate(struct bench *bench, size_t count, size_t size)
{
    void *block = efm_allocate_array(count, size);
    if (block != NULL)
        bench->bytes += count * size;
    return block;
}

static enum efm_status bench_open(struct bench *bench, struct efm_error *error)
{
    be_single_threaded();
    enum efm_status status = check(dnnl_engine_create(&bench->engine, dnnl_cpu, 0), "engine", error);
    if (status == EFM_OK)
        status = check(dnnl_primitive_attr_create(&bench->attributes), "attributes", error);
    if (status == EFM_OK)
        status = check(dnnl_primitive_attr_set_scratchpad_mode(bench->attributes, dnnl_scratchpad_mode_user),
                       "scratchpad", error);
    return status;
}

/* The primitive of a described problem; notes how much scratch it wants and gives the description up. */
static enum efm_status bench_primitive(struct bench *bench, dnnl_primitive_t *primitive,
                                       dnnl_primitive_desc_t desc, const char *what, struct efm_error *error)
{
    desc_view scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    size_t size = scratch != NULL ? round_up(dnnl_memory_desc_get_size(scratch)) : 0;
    if (size > bench->scratch_size)
        bench->scratch_size = size;
    enum efm_status status = check(dnnl_primitive_create(primitive, desc), what, error);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

static enum efm_status bench_memory(struct bench *bench, dnnl_memory_t *memory, desc_view desc, void *data,
                                    struct efm_error *error)
{
    return check(dnnl_memory_create(memory, desc, bench->engine, data), "memory", error);
}

/* After the last primitive, when the size of the scratch is known. */
static enum efm_status bench_slots(struct bench *bench, size_t count, struct efm_error *error)
{
    if (bench->scratch_size == 0)
        bench->scratch_size = EFM_ALIGNMENT;
    bench->slots = bench_allocate(bench, count, sizeof *bench->slots);
    bench->scratch = bench_allocate(bench, count, bench->scratch_size);
    if (bench->slots == NULL || bench->scratch == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu times %zu bytes of scratch", count,
                             bench->scratch_size);
    bench->slot_count = count;
    const dnnl_dims_t dims = {(int64_t)bench->scratch_size}, strides = {1};
    dnnl_memory_desc_t desc = {0};
    enum efm_status status = check(desc_create(&desc, 1, dims, dnnl_u8, strides), "scratch", error);
    for (size_t i = 0; i < count && status == EFM_OK; i++) {
        struct slot *slot = &bench->slots[i];
        status = check(dnnl_stream_create(&slot->stream, bench->engine, dnnl_stream_default_flags), "stream",
                       error);
        if (status == EFM_OK)
            status = bench_memory(bench, &slot->scratch, DESC_VIEW(desc),
                                  bench->scratch + i * bench->scratch_size, error);
    }
    desc_destroy(&desc);
    return status;
}

static void bench_close(struct bench *bench)
{
    for (size_t i = 0; i < bench->slot_count; i++) {
        dnnl_memory_destroy(bench->slots[i].gradient);
        dnnl_memory_destroy(bench->slots[i].scratch);
        dnnl_stream_destroy(bench->slots[i].stream);
    }
    efm_free(bench->slots);
    efm_free(bench->scratch);
    dnnl_primitive_attr_destroy(bench->attributes);
    dnnl_engine_destroy(bench->engine);
}

/* Three arguments, named as the library does, and the slot's scratch. */
static bool bench_run(const struct bench *bench, size_t slot, dnnl_primitive_t primitive, const int *names,
                      dnnl_memory_t first, dnnl_memory_t second, dnnl_memory_t third)
{
    const struct slot *s = &bench->slots[slot];
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SCRATCHPAD, s->scratch}, {names[0], first}, {names[1], second}, {names[2], third}};
    int count = third != NULL ? 4 : 3;
    return dnnl_primitive_execute(primitive, s->stream, count, arguments) == dnnl_success &&
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
    dnnl_memory_t *memories; /* [slots, 2]: source and out */
    const char *implementation;
    enum { UNTRIED, SAME, DIFFERENT } bytes; /* of a band: as the whole image's? */
};

struct efm_conv {
    struct efm_conv_options options;
    size_t out_height, out_width, weight_count, gradient_size;
    struct bench bench;
    struct geometry *geometries; /* the whole image, numbers of images, bands */
    size_t geometry_count;
    dnnl_memory_t *memories; /* [geometries, slots, 2] */
    bool *banded;            /* [bands + 1]: so many bands give the bytes of the whole image */

    dnnl_memory_desc_t orders[PASSES]; /* of the weights or their gradient; that of the whole image */
    bool ordered[PASSES];
    dnnl_memory_t weights[2]; /* FORWARD, BACKWARD_DATA */
    void *weight_data[2];
    size_t weight_size[2];
    char *gradient_data;      /* [slots, gradient_size] */
    dnnl_memory_t parameters; /* the order of the parameter table; data set at each call */
    dnnl_primitive_t arrange[PASSES];
};

static enum efm_status conv_check(const struct efm_conv_options *o, struct efm_error *error)
{
    const char *wrong = NULL;
    if (o->kernel != 1 && o->kernel != 3)
        wrong = "kernel";
    else if (o->stride != 1 && o->stride != 2)
        wrong = "stride";
    else if (o->height < 1 || o->height > MOST_SIDE || (o->stride == 2 && o->height % 2 != 0))
        wrong = "height";
    else if (o->width < 1 || o->width > MOST_SIDE || (o->stride == 2 && o->width % 2 != 0))
        wrong = "width";
    else if (o->in_channels < 1 || o->in_channels > MOST_SIDE || o->out_channels < 1 ||
             o->out_channels > MOST_SIDE)
        wrong = "channels";
    else if (o->in_out && o->kernel != 1)
        wrong = "in_out";
    else if (o->precision != EFM_PRECISION_F32 && o->precision != EFM_PRECISION_BF16)
        wrong = "precision";
    else if (o->training && (o->images < 1 || o->images > MOST_IMAGES))
        wrong = "images";
    else if (o->slots < 1 || o->slots > MOST_SLOTS)
        wrong = "slots";
    if (wrong != NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "a convolution cannot have this %s", wrong);
    enum efm_precision precision = o->precision;
    return efm_precision_resolve(&precision, error);
}

/* The rows of the input that rows [first, last) of the output want, and the padding around them. */
static struct geometry band_geometry(const struct efm_conv *conv, size_t first, size_t last, size_t *in_first)
{
    const struct efm_conv_options *o = &conv->options;
    size_t padding = o->stride == 1 ? o->kernel / 2 : 0;
    size_t begin = first * o->stride, end = (last - 1) * o->stride + o->kernel; /* in padded rows */
    struct geometry g = {.images = 1, .out_rows = last - first};
    g.above = begin < padding ? padding - begin : 0;
    g.below = end > o->height + padding ? end - o->height - padding : 0;
    g.rows = end - begin - g.above - g.below;
    *in_first = begin + g.above - padding;
    return g;
}

static struct geometry whole_geometry(const struct efm_conv *conv, size_t images)
{
    size_t row;
    struct geometry g = band_geometry(conv, 0, conv->out_height, &row);
    /* With a kernel of 1 and a stride of 2 the last row is not wanted, but it lies between two images. */
    if (g.rows < conv->options.height)
        g.rows = conv->options.height;
    g.images = images;
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

static size_t band_row(size_t rows, size_t band, size_t bands)
{
    return band * rows / bands;
}

static dnnl_status_t describe_images(dnnl_memory_desc_t *desc, size_t images, size_t channels, size_t rows,
                                     size_t width, dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {(int64_t)images, (int64_t)channels, (int64_t)rows, (int64_t)width};
    const dnnl_dims_t strides = {(int64_t)(rows * width * channels), 1, (int64_t)(width * channels),
                                 (int64_t)channels};
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

static enum efm_status conv_problem(const struct efm_conv *conv, const struct geometry *g, enum pass pass,
                                    struct problem *p, struct efm_error *error)
{
    const struct efm_conv_options *o = &conv->options;
    dnnl_data_type_t type = type_of(o->precision);
    *p = (struct problem){.pass = pass};
    p->strides[0] = p->strides[1] = o->stride;
    int64_t left = o->stride == 1 ? o->kernel / 2 : 0;
    p->before[0] = (int64_t)g->above;
    p->before[1] = left;
    p->after[0] = (int64_t)g->below;
    p->after[1] = o->kernel == 1 ? 0 : 1;
    dnnl_status_t status = describe_images(&p->source, g->images, o->in_channels, g->rows, o->width, type);
    if (status == dnnl_success)
        status = describe_images(&p->out, g->images, o->out_channels, g->out_rows, conv->out_width, type);
    if (status == dnnl_success && conv->ordered[pass])
        status = desc_copy(&p->weights, DESC_VIEW(conv->orders[pass]));
    else if (status == dnnl_success)
        status = describe_weights(&p->weights, o, pass == BACKWARD_WEIGHTS ? dnnl_f32 : type, false);
    return check(status, pass_names[pass], error);
}

static enum efm_status make_pass(struct efm_conv *conv, struct geometry *g, enum pass pass,
                                 struct efm_error *error)
{
    struct bench *bench = &conv->bench;
    struct problem p = {0}, forward = {0};
    dnnl_primitive_desc_t hint = NULL, desc = NULL;
    enum efm_status status = conv_problem(conv, g, pass, &p, error);
    if (status == EFM_OK && pass != FORWARD) {
        status = conv_problem(conv, g, FORWARD, &forward, error);
        if (status == EFM_OK)
            status = check(problem_describe(&hint, &forward, bench->attributes, bench->engine, NULL),
                           pass_names[pass], error);
    }
    if (status == EFM_OK)
        status = check(problem_describe(&desc, &p, bench->attributes, bench->engine, hint), pass_names[pass],
                       error);
    if (status == EFM_OK && !conv->ordered[pass]) {
        dnnl_query_t what = pass == BACKWARD_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
        status = check(desc_copy(&conv->orders[pass], dnnl_primitive_desc_query_md(desc, what, 0)),
                       "order of weights", error);
        conv->ordered[pass] = status == EFM_OK;
    }
    if (status == EFM_OK && pass == FORWARD)
        status = check(dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &g->implementation),
                       "name", error);
    if (status == EFM_OK)
        status = bench_primitive(bench, &g->passes[pass], desc, pass_names[pass], error);
    else
        dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_desc_destroy(hint);
    problem_release(&p);
    problem_release(&forward);
    return status;
}

/* All numbers of images have a primitive of their own, so that no sum over images needs memory. */
static enum efm_status make_wholes(struct efm_conv *conv, struct efm_error *error)
{
    const struct efm_conv_options *o = &conv->options;
    size_t counts = o->training ? o->images : 1;
    enum efm_status status = EFM_OK;
    for (size_t n = 1; n <= counts && status == EFM_OK; n++) {
        struct geometry *g = &conv->geometries[conv->geometry_count++];
        *g = whole_geometry(conv, n);
        if (n == 1)
            status = make_pass(conv, g, FORWARD, error);
        if (n == 1 && status == EFM_OK && o->training && !o->no_input_gradient)
            status = make_pass(conv, g, BACKWARD_DATA, error);
        if (status == EFM_OK && o->training)
            status = make_pass(conv, g, BACKWARD_WEIGHTS, error);
    }
    return status;
}

/* One of the bands of an image, unless there is its like; *fits becomes false where the library would compute it in
 * another way than the whole image. */
static enum efm_status make_band(struct efm_conv *conv, size_t first, size_t last, bool *fits,
                                 struct efm_error *error)
{
    size_t row;
    struct geometry wanted = band_geometry(conv, first, last, &row);
    struct geometry *g = find_geometry(conv, &wanted);
    if (g == NULL) {
        g = &conv->geometries[conv->geometry_count++];
        *g = wanted;
        enum efm_status status = make_pass(conv, g, FORWARD, NULL);
        if (status != EFM_OK && status != EFM_E_UNSUPPORTED)
            return check(status == EFM_E_MEMORY ? dnnl_out_of_memory : dnnl_runtime_error, "band of an image",
                         error);
    }
    if (g->passes[FORWARD] == NULL || strcmp(g->implementation, conv->geometries[0].implementation) != 0)
        g->bytes = DIFFERENT;
    *fits = *fits && g->bytes != DIFFERENT;
    return EFM_OK;
}

static enum efm_status make_bands(struct efm_conv *conv, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    for (size_t n = 2; n <= conv->options.bands; n++) {
        bool fits = true;
        for (size_t band = 0; band < n && status == EFM_OK; band++) {
            size_t first = band_row(conv->out_height, band, n),
                   last = band_row(conv->out_height, band + 1, n);
            if (last > first)
                status = make_band(conv, first, last, &fits, error);
        }
        conv->banded[n] = fits;
    }
    return status;
}

static enum efm_status make_reorder(struct bench *bench, dnnl_primitive_t *primitive, desc_view from,
                                    desc_view to, struct efm_error *error)
{
    dnnl_primitive_desc_t desc = NULL;
    enum efm_status status = check(
        dnnl_reorder_primitive_desc_create(&desc, from, bench->engine, to, bench->engine, bench->attributes),
        "reordering of weights", error);
    return status == EFM_OK ? bench_primitive(bench, primitive, desc, "reordering of weights", error)
                            : status;
}

static enum efm_status make_reorders(struct efm_conv *conv, struct efm_error *error)
{
    struct bench *bench = &conv->bench;
    dnnl_memory_desc_t table = {0};
    enum efm_status status =
        check(describe_weights(&table, &conv->options, dnnl_f32, true), "order of weights", error);
    if (status == EFM_OK)
        status = bench_memory(bench, &conv->parameters, DESC_VIEW(table), NULL, error);
    for (enum pass pass = FORWARD; pass < PASSES && status == EFM_OK; pass++) {
        desc_view own = DESC_VIEW(conv->orders[pass]);
        if (!conv->ordered[pass])
            continue;
        bool back = pass == BACKWARD_WEIGHTS;
        status = make_reorder(bench, &conv->arrange[pass], back ? own : DESC_VIEW(table),
                              back ? DESC_VIEW(table) : own, error);
    }
    desc_destroy(&table);
    return status;
}

/* Source and out of every geometry, for every slot; their data come with each call. */
static enum efm_status make_memories(struct efm_conv *conv, struct efm_error *error)
{
    size_t slots = conv->options.slots;
    conv->memories = bench_allocate(&conv->bench, 2 * slots * conv->geometry_count, sizeof *conv->memories);
    if (conv->memories == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a convolution's tensors");
    enum efm_status status = EFM_OK;
    for (size_t i = 0; i < conv->geometry_count && status == EFM_OK; i++) {
        struct geometry *g = &conv->geometries[i];
        struct problem p = {0};
        g->memories = conv->memories + 2 * slots * i;
        if (g->bytes != DIFFERENT)
            status = conv_problem(conv, g, FORWARD, &p, error);
        for (size_t s = 0; s < slots && status == EFM_OK && g->bytes != DIFFERENT; s++) {
            status = bench_memory(&conv->bench, &g->memories[2 * s], DESC_VIEW(p.source), NULL, error);
            if (status == EFM_OK)
                status = bench_memory(&conv->bench, &g->memories[2 * s + 1], DESC_VIEW(p.out), NULL, error);
        }
        problem_release(&p);
    }
    return status;
}

static enum efm_status make_buffers(struct efm_conv *conv, struct efm_error *error)
{
    struct bench *bench = &conv->bench;
    enum efm_status status = EFM_OK;
    for (enum pass pass = FORWARD; pass < BACKWARD_WEIGHTS && status == EFM_OK; pass++) {
        if (!conv->ordered[pass])
            continue;
        desc_view order = DESC_VIEW(conv->orders[pass]);
        conv->weight_size[pass] = dnnl_memory_desc_get_size(order);
        conv->weight_data[pass] = bench_allocate(bench, 1, conv->weight_size[pass]);
        if (conv->weight_data[pass] == NULL)
            return efm_error_set(error, EFM_E_MEMORY, "no memory for the weights of a convolution");
        status = bench_memory(bench, &conv->weights[pass], order, conv->weight_data[pass], error);
    }
    if (status != EFM_OK || !conv->ordered[BACKWARD_WEIGHTS])
        return status;
    desc_view order = DESC_VIEW(conv->orders[BACKWARD_WEIGHTS]);
    conv->gradient_size = round_up(dnnl_memory_desc_get_size(order));
    conv->gradient_data = bench_allocate(bench, bench->slot_count, conv->gradient_size);
    if (conv->gradient_data == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the gradients of a convolution");
    for (size_t i = 0; i < bench->slot_count && status == EFM_OK; i++)
        status = bench_memory(bench, &bench->slots[i].gradient, order,
                              conv->gradient_data + i * conv->gradient_size, error);
    return status;
}

static bool run_pass(const struct efm_conv *conv, const struct geometry *g, enum pass pass, size_t slot,
                     const void *source, const void *out)
{
    static const int names[PASSES][3] = {{DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WEIGHTS},
                                         {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS},
                                         {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS}};
    be_single_threaded();
    dnnl_memory_t *memories = g->memories + 2 * slot;
    dnnl_memory_t weights = pass == BACKWARD_WEIGHTS ? conv->bench.slots[slot].gradient : conv->weights[pass];
    return set_data(memories[0], source) && set_data(memories[1], out) &&
           bench_run(&conv->bench, slot, g->passes[pass], names[pass], memories[0], memories[1], weights);
}

static size_t source_row_size(const struct efm_conv *conv)
{
    const struct efm_conv_options *o = &conv->options;
    return (size_t)o->width * o->in_channels * element_size(o->precision);
}

static size_t out_row_size(const struct efm_conv *conv)
{
    return conv->out_width * conv->options.out_channels * element_size(conv->options.precision);
}

/* Rows [first, last) of the output, not none. */
static void run_rows(const struct efm_conv *conv, const struct geometry *g, size_t slot, const char *source,
                     char *out, size_t first, size_t row)
{
    char *rows = out + first * out_row_size(conv);
    if (!run_pass(conv, g, FORWARD, slot, source + row * source_row_size(conv), rows))
        fill_nan(rows, g->out_rows * out_row_size(conv));
}

void efm_conv_forward(const struct efm_conv *conv, size_t slot, const void *source, void *out, size_t images)
{
    size_t from = conv->options.height * source_row_size(conv), to = conv->out_height * out_row_size(conv);
    for (size_t i = 0; i < images; i++)
        run_rows(conv, &conv->geometries[0], slot, (const char *)source + i * from, (char *)out + i * to, 0,
                 0);
}

void efm_conv_forward_band(const struct efm_conv *conv, size_t slot, const void *source, void *out,
                           size_t band, size_t bands)
{
    if (bands < 2 || bands > conv->options.bands || !conv->banded[bands]) {
        if (band == 0)
            efm_conv_forward(conv, slot, source, out, 1);
        return;
    }
    size_t first = band_row(conv->out_height, band, bands), row;
    size_t last = band_row(conv->out_height, band + 1, bands);
    if (first == last)
        return;
    struct geometry wanted = band_geometry(conv, first, last, &row);
    run_rows(conv, find_geometry(conv, &wanted), slot, source, out, first, row);
}

void efm_conv_backward_data(const struct efm_conv *conv, size_t slot, const void *out_gradient,
                            void *source_gradient, size_t images)
{
    size_t to = conv->options.height * source_row_size(conv), from = conv->out_height * out_row_size(conv);
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
    char *gradient = conv->gradient_data + slot * conv->gradient_size;
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

void efm_conv_collect_gradient(const struct efm_conv *conv, size_t slots, float *gradient)
{
    static const int names[] = {DNNL_ARG_FROM, DNNL_ARG_TO, 0};
    be_single_threaded();
    for (size_t i = 1; i < slots; i++)
        add_floats((float *)conv->gradient_data,
                   (const float *)(conv->gradient_data + i * conv->gradient_size),
                   conv->gradient_size / sizeof(float));
    if (!set_data(conv->parameters, gradient) ||
        !bench_run(&conv->bench, 0, conv->arrange[BACKWARD_WEIGHTS], names, conv->bench.slots[0].gradient,
                   conv->parameters, NULL))
        fill_nan(gradient, conv->weight_count * sizeof(float));
}

void efm_conv_set_weights(struct efm_conv *conv, const float *weights)
{
    static const int names[] = {DNNL_ARG_FROM, DNNL_ARG_TO, 0};
    be_single_threaded();
    for (enum pass pass = FORWARD; pass < BACKWARD_WEIGHTS; pass++)
        if (conv->arrange[pass] != NULL &&
            (!set_data(conv->parameters, weights) || !bench_run(&conv->bench, 0, conv->arrange[pass], names,
                                                                conv->parameters, conv->weights[pass], NULL)))
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

/* Every geometry of the bands once: does it give the bytes of the whole image? */
static void try_bands(struct efm_conv *conv, const char *source, const char *whole, char *out)
{
    for (size_t n = 2; n <= conv->options.bands; n++)
        for (size_t band = 0; band < n && conv->banded[n]; band++) {
            size_t first = band_row(conv->out_height, band, n), row;
            size_t last = band_row(conv->out_height, band + 1, n), size = out_row_size(conv);
            if (first == last)
                continue;
            struct geometry wanted = band_geometry(conv, first, last, &row);
            struct geometry *g = find_geometry(conv, &wanted);
            if (g->bytes == UNTRIED) {
                run_rows(conv, g, 0, source, out, first, row);
                bool same = memcmp(out + first * size, whole + first * size, (last - first) * size) == 0;
                g->bytes = same ? SAME : DIFFERENT;
            }
            conv->banded[n] = g->bytes != DIFFERENT;
        }
}

static enum efm_status check_bands(struct efm_conv *conv, struct efm_error *error)
{
    const struct efm_conv_options *o = &conv->options;
    if (o->bands < 2)
        return EFM_OK;
    size_t source_size = o->height * source_row_size(conv), size = conv->out_height * out_row_size(conv);
    float *weights = efm_allocate_array(conv->weight_count, sizeof *weights);
    char *source = efm_allocate(source_size), *whole = efm_allocate(size), *out = efm_allocate(size);
    enum efm_status status = EFM_OK;
    if (weights == NULL || source == NULL || whole == NULL || out == NULL) {
        status = efm_error_set(error, EFM_E_MEMORY, "no memory to try the bands of a convolution");
    } else {
        fill_scattered(weights, conv->weight_count, EFM_PRECISION_F32);
        fill_scattered(source, source_size / element_size(o->precision), o->precision);
        efm_conv_set_weights(conv, weights);
        efm_conv_forward(conv, 0, source, whole, 1);
        try_bands(conv, source, whole, out);
    }
    efm_free(weights);
    efm_free(source);
    efm_free(whole);
    efm_free(out);
    return status;
}

static enum efm_status conv_open(struct efm_conv *conv, struct efm_error *error)
{
    struct efm_conv_options *o = &conv->options;
    conv->out_height = o->height / o->stride;
    conv->out_width = o->width / o->stride;
    conv->weight_count = (size_t)o->in_channels * o->out_channels * o->kernel * o->kernel;
    if (o->bands > conv->out_height)
        o->bands = conv->out_height;
    size_t most = (o->training ? o->images : 1) + o->bands * (o->bands + 1) / 2;
    conv->geometries = bench_allocate(&conv->bench, most, sizeof *conv->geometries);
    conv->banded = bench_allocate(&conv->bench, o->bands + 1, sizeof *conv->banded);
    if (conv->geometries == NULL || conv->banded == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a convolution");
    enum efm_status status = bench_open(&conv->bench, error);
    if (status == EFM_OK)
        status = make_wholes(conv, error);
    if (status == EFM_OK)
        status = make_bands(conv, error);
    if (status == EFM_OK)
        status = make_reorders(conv, error);
    if (status == EFM_OK)
        status = bench_slots(&conv->bench, o->slots, error);
    if (status == EFM_OK)
        status = make_memories(conv, error);
    if (status == EFM_OK)
        status = make_buffers(conv, error);
    return status == EFM_OK ? check_bands(conv, error) : status;
}

enum efm_status efm_conv_create(struct efm_conv **conv, const struct efm_conv_options *options,
                                struct efm_error *error)
{
    *conv = NULL;
    enum efm_status status = conv_check(options, error);
    if (status != EFM_OK)
        return status;
    struct efm_conv *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a convolution");
    made->options = *options;
    made->bench.bytes = sizeof *made;
    status = conv_open(made, error);
    if (status == EFM_OK)
        *conv = made;
    else
        efm_conv_destroy(made);
    return status;
}

void efm_conv_destroy(struct efm_conv *conv)
{
    if (conv == NULL)
        return;
    for (size_t i = 0; i < conv->geometry_count; i++)
        for (enum pass pass = FORWARD; pass < PASSES; pass++)
            dnnl_primitive_destroy(conv->geometries[i].passes[pass]);
    if (conv->memories != NULL)
        for (size_t i = 0; i < 2 * conv->options.slots * conv->geometry_count; i++)
            dnnl_memory_destroy(conv->memories[i]);
    for (enum pass pass = FORWARD; pass < PASSES; pass++) {
        dnnl_primitive_destroy(conv->arrange[pass]);
        desc_destroy(&conv->orders[pass]);
    }
    for (enum pass pass = FORWARD; pass < BACKWARD_WEIGHTS; pass++) {
        dnnl_memory_destroy(conv->weights[pass]);
        efm_free(conv->weight_data[pass]);
    }
    dnnl_memory_destroy(conv->parameters);
    bench_close(&conv->bench);
    efm_free(conv->gradient_data);
    efm_free(conv->memories);
    efm_free(conv->geometries);
    efm_free(conv->banded);
    efm_free(conv);
}

size_t efm_conv_bytes(const struct efm_conv *conv)
{
    return conv->bench.bytes;
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
    size_t size = o->height * source_row_size(conv);
    void *source = efm_allocate(size), *out = efm_allocate(conv->out_height * out_row_size(conv));
    double best = 0;
    if (source != NULL && out != NULL) {
        fill_scattered(source, size / element_size(o->precision), o->precision);
        efm_conv_forward(conv, 0, source, out, 1); /* fetches code and weights */
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
    struct bench bench;
    dnnl_primitive_t primitive;
    dnnl_memory_t *memories; /* [slots, 3]: a, b, c */
};

static dnnl_status_t describe_matrix(dnnl_memory_desc_t *desc, size_t rows, size_t columns, bool transpose,
                                     enum efm_precision precision)
{
    const dnnl_dims_t dims = {(int64_t)rows, (int64_t)columns};
    const dnnl_dims_t strides = {transpose ? 1 : (int64_t)columns, transpose ? (int64_t)rows : 1};
    return desc_create(desc, 2, dims, type_of(precision), strides);
}

static enum efm_status matmul_memories(struct efm_matmul *matmul, const struct problem *p,
                                       struct efm_error *error)
{
    size_t slots = matmul->options.slots;
    matmul->memories = bench_allocate(&matmul->bench, 3 * slots, sizeof *matmul->memories);
    if (matmul->memories == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a matrix product");
    enum efm_status status = EFM_OK;
    for (size_t i = 0; i < 3 * slots && status == EFM_OK; i++) {
        desc_view desc = i % 3 == 0   ? DESC_VIEW(p->source)
                         : i % 3 == 1 ? DESC_VIEW(p->weights)
                                      : DESC_VIEW(p->out);
        status = bench_memory(&matmul->bench, &matmul->memories[i], desc, NULL, error);
    }
    return status;
}

static enum efm_status matmul_open(struct efm_matmul *matmul, struct problem *p, struct efm_error *error)
{
    const struct efm_matmul_options *o = &matmul->options;
    struct bench *bench = &matmul->bench;
    enum efm_status status = bench_open(bench, error);
    if (status != EFM_OK)
        return status;
    dnnl_status_t result = describe_matrix(&p->source, o->m, o->k, o->transpose_a, o->precision);
    if (result == dnnl_success)
        result = describe_matrix(&p->weights, o->k, o->n, o->transpose_b, o->precision);
    if (result == dnnl_success)
        result = describe_matrix(&p->out, o->m, o->n, false, o->out);
    dnnl_primitive_desc_t desc = NULL;
    if (result == dnnl_success)
        result = problem_describe(&desc, p, bench->attributes, bench->engine, NULL);
    status = check(result, pass_names[PRODUCT], error);
    if (status == EFM_OK)
        status = bench_primitive(bench, &matmul->primitive, desc, pass_names[PRODUCT], error);
    if (status == EFM_OK)
        status = bench_slots(bench, o->slots, error);
    return status == EFM_OK ? matmul_memories(matmul, p, error) : status;
}

static enum efm_status matmul_check(const struct efm_matmul_options *o, struct efm_error *error)
{
    if (o->m < 1 || o->n < 1 || o->k < 1 || o->m > INT32_MAX || o->n > INT32_MAX || o->k > INT32_MAX)
        return efm_error_set(error, EFM_E_ARGUMENT, "a matrix product cannot have these sizes");
    if (o->slots < 1 || o->slots > MOST_SLOTS)
        return efm_error_set(error, EFM_E_ARGUMENT, "a matrix product cannot have %zu slots", o->slots);
    enum efm_precision in = o->precision, out = o->out;
    if (in == EFM_PRECISION_AUTO || out == EFM_PRECISION_AUTO)
        return efm_error_set(error, EFM_E_ARGUMENT, "the precision of a matrix product must be resolved");
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
    struct efm_matmul *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a matrix product");
    made->options = *options;
    struct problem p = {.pass = PRODUCT};
    status = matmul_open(made, &p, error);
    problem_release(&p);
    if (status == EFM_OK)
        *matmul = made;
    else
        efm_matmul_destroy(made);
    return status;
}

void efm_matmul_destroy(struct efm_matmul *matmul)
{
    if (matmul == NULL)
        return;
    if (matmul->memories != NULL)
        for (size_t i = 0; i < 3 * matmul->options.slots; i++)
            dnnl_memory_destroy(matmul->memories[i]);
    dnnl_primitive_destroy(matmul->primitive);
    bench_close(&matmul->bench);
    efm_free(matmul->memories);
    efm_free(matmul);
}

void efm_matmul_run(const struct efm_matmul *matmul, size_t slot, const void *a, const void *b, void *c)
{
    static const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    be_single_threaded();
    dnnl_memory_t *memories = matmul->memories + 3 * slot;
    if (!set_data(memories[0], a) || !set_data(memories[1], b) || !set_data(memories[2], c) ||
        !bench_run(&matmul->bench, slot, matmul->primitive, names, memories[0], memories[1], memories[2]))
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
