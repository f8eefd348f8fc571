// SPDX-License-Identifier: Apache-2.0
/* onednn_ops.c - convolutions through oneDNN: how they are made.
 *
 * A convolution is a set of primitives, one for each shape of input that can come: a whole image, a band of its rows,
 * and for the gradient of the weights every number of images up to the most. All of them share the weights in the
 * order that the whole image's primitive chose. Nothing is made while running, see onednn_ops_run.c. */
#include "core/net/onednn_ops_internal.h"

enum { RANK = 4, MOST_SIDE = 1 << 16, MOST_IMAGES = 1 << 12 };

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
    else if (o->slots < 1 || o->slots > DNN_MOST_SLOTS ||
             (o->training && (o->images < 1 || o->images > MOST_IMAGES)))
        wrong = "number of slots or images";
    if (wrong != NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "a convolution cannot have this %s", wrong);
    enum efm_precision precision = o->precision;
    return efm_precision_resolve(&precision, error);
}

size_t conv_band_start(const struct efm_conv *conv, size_t band, size_t bands)
{
    return band * conv->out_height / bands;
}

struct conv_geometry conv_band_geometry(const struct efm_conv *conv, size_t band, size_t bands, size_t *row)
{
    const struct efm_conv_options *o = &conv->options;
    size_t first = conv_band_start(conv, band, bands), last = conv_band_start(conv, band + 1, bands);
    size_t padding = o->stride == 1 ? o->kernel / 2 : 0;
    size_t begin = first * o->stride, end = (last - 1) * o->stride + o->kernel; /* in padded rows */
    struct conv_geometry g = {.images = 1, .out_rows = last - first};
    g.above = begin < padding ? padding - begin : 0;
    g.below = end > o->height + padding ? end - o->height - padding : 0;
    g.rows = end - begin - g.above - g.below;
    *row = begin + g.above - padding;
    return g;
}

struct conv_geometry *conv_find_geometry(const struct efm_conv *conv, const struct conv_geometry *wanted)
{
    for (size_t i = 0; i < conv->geometry_count; i++) {
        struct conv_geometry *g = &conv->geometries[i];
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
    return dnn_desc_create(desc, RANK, dims, type, strides);
}

/* `table`: in the order of the parameter table; else the library chooses. */
static dnnl_status_t describe_weights(dnnl_memory_desc_t *desc, const struct efm_conv_options *o,
                                      dnnl_data_type_t type, bool table)
{
    int64_t k = o->kernel, in = o->in_channels, out = o->out_channels;
    const dnnl_dims_t dims = {out, in, k, k};
    const dnnl_dims_t out_in = {in * k * k, k * k, k, 1}, in_out = {1, out, 1, 1};
    return dnn_desc_create(desc, RANK, dims, type, !table ? NULL : o->in_out ? in_out : out_in);
}

static bool conv_problem(struct efm_conv *conv, const struct conv_geometry *g, enum dnn_pass pass,
                         struct dnn_problem *p)
{
    const struct efm_conv_options *o = &conv->options;
    dnnl_data_type_t type = dnn_type(o->precision);
    *p = (struct dnn_problem){.pass = pass};
    p->strides[0] = p->strides[1] = o->stride;
    p->before[0] = (int64_t)g->above;
    p->before[1] = o->stride == 1 ? o->kernel / 2 : 0;
    p->after[0] = (int64_t)g->below;
    p->after[1] = o->kernel / 2;
    dnnl_status_t status = describe_images(&p->source, g->images, o->in_channels, g->rows, o->width, type);
    if (status == dnnl_success)
        status = describe_images(&p->out, g->images, o->out_channels, g->out_rows, conv->out_width, type);
    if (status == dnnl_success && conv->ordered[pass])
        status = dnn_desc_copy(&p->weights, DNN_DESC_VIEW(conv->orders[pass]));
    else if (status == dnnl_success)
        status = describe_weights(&p->weights, o, pass == DNN_BACKWARD_WEIGHTS ? dnnl_f32 : type, false);
    return dnn_made(&conv->dnn, status, dnn_pass_name(pass));
}

static bool make_primitive(struct efm_conv *conv, struct conv_geometry *g, const struct dnn_problem *p,
                           dnnl_primitive_desc_t desc)
{
    struct dnn *dnn = &conv->dnn;
    enum dnn_pass pass = p->pass;
    if (!conv->ordered[pass]) { /* by the first primitive of the pass */
        dnnl_query_t what = pass == DNN_BACKWARD_WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
        dnn_desc_view order = dnnl_primitive_desc_query_md(desc, what, 0);
        conv->ordered[pass] = dnn_made(dnn, dnn_desc_copy(&conv->orders[pass], order), "order of weights");
    }
    if (pass == DNN_FORWARD)
        g->reference = dnn_is_reference(desc);
    return conv->ordered[pass] && dnn_primitive(dnn, &g->passes[pass], desc, dnn_pass_name(pass));
}

static bool make_pass(struct efm_conv *conv, struct conv_geometry *g, enum dnn_pass pass)
{
    struct dnn *dnn = &conv->dnn;
    struct dnn_problem p = {0}, forward = {0};
    dnnl_primitive_desc_t hint = NULL, desc = NULL;
    bool good = pass == DNN_FORWARD || /* the gradients ask for the pass that they belong to */
                (conv_problem(conv, g, DNN_FORWARD, &forward) &&
                 dnn_made(dnn, dnn_problem_describe(&hint, &forward, dnn->attributes, dnn->engine, NULL),
                          dnn_pass_name(DNN_FORWARD)));
    good = good && conv_problem(conv, g, pass, &p) &&
           dnn_made(dnn, dnn_problem_describe(&desc, &p, dnn->attributes, dnn->engine, hint),
                    dnn_pass_name(pass)) &&
           make_primitive(conv, g, &p, desc);
    dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_desc_destroy(hint);
    dnn_problem_release(&p);
    dnn_problem_release(&forward);
    return good;
}

/* All numbers of images have a primitive of their own, so that no sum over images needs memory. */
static bool make_wholes(struct efm_conv *conv)
{
    const struct efm_conv_options *o = &conv->options;
    size_t counts = o->training ? o->images : 1, row;
    bool good = true;
    for (size_t n = 1; n <= counts && good; n++) {
        struct conv_geometry *g = &conv->geometries[conv->geometry_count++];
        *g = conv_band_geometry(conv, 0, 1, &row);
        g->images = n;
        g->rows = o->height; /* a kernel of 1 with a stride of 2 does not want the last */
        good = n > 1 || make_pass(conv, g, DNN_FORWARD);
        if (n == 1 && o->training && !o->no_input_gradient)
            good = good && make_pass(conv, g, DNN_BACKWARD_DATA);
        if (o->training)
            good = good && make_pass(conv, g, DNN_BACKWARD_WEIGHTS);
    }
    return good;
}

/* The primitives of all bands. CONV_DIFFERENT: the library has none that takes the weights as they lie, or its plain loops
 * alone, which take longer for a band than its others for the whole image. */
static bool make_bands(struct efm_conv *conv)
{
    struct efm_error *failure = &conv->dnn.failure;
    for (size_t n = 2; n <= conv->options.bands; n++)
        for (size_t band = 0; band < n; band++) { /* none is empty: no more bands than rows */
            size_t row;
            struct conv_geometry wanted = conv_band_geometry(conv, band, n, &row);
            if (conv_find_geometry(conv, &wanted) != NULL)
                continue;
            struct conv_geometry *g = &conv->geometries[conv->geometry_count++];
            *g = wanted;
            if (!make_pass(conv, g, DNN_FORWARD)) {
                if (failure->status != EFM_E_UNSUPPORTED)
                    return false;
                efm_error_clear(failure);
                g->bytes = CONV_DIFFERENT;
            } else if (g->reference && !conv->geometries[0].reference) {
                g->bytes = CONV_DIFFERENT;
            }
        }
    return true;
}

static bool make_reorder(struct dnn *dnn, dnnl_primitive_t *primitive, dnn_desc_view from, dnn_desc_view to)
{
    static const char what[] = "reordering of weights";
    dnnl_primitive_desc_t desc = NULL;
    bool good = dnn_made(dnn,
                         dnnl_reorder_primitive_desc_create(&desc, from, dnn->engine, to, dnn->engine,
                                                            dnn->attributes),
                         what) &&
                dnn_primitive(dnn, primitive, desc, what);
    dnnl_primitive_desc_destroy(desc);
    return good;
}

static bool make_reorders(struct efm_conv *conv)
{
    struct dnn *dnn = &conv->dnn;
    dnnl_memory_desc_t table = {0};
    bool good = dnn_made(dnn, describe_weights(&table, &conv->options, dnnl_f32, true), "order of weights") &&
                dnn_memory(dnn, &conv->parameters, DNN_DESC_VIEW(table), NULL);
    for (enum dnn_pass pass = DNN_FORWARD; pass < DNN_PASSES && good; pass++) {
        dnn_desc_view own = DNN_DESC_VIEW(conv->orders[pass]), other = DNN_DESC_VIEW(table);
        bool back = pass == DNN_BACKWARD_WEIGHTS;
        if (conv->ordered[pass])
            good = make_reorder(dnn, &conv->reorders[pass], back ? own : other, back ? other : own);
    }
    dnn_desc_destroy(&table);
    return good;
}

static bool make_weights(struct efm_conv *conv, enum dnn_pass pass)
{
    if (!conv->ordered[pass])
        return true;
    dnn_desc_view order = DNN_DESC_VIEW(conv->orders[pass]);
    conv->weight_size[pass] = dnnl_memory_desc_get_size(order);
    conv->weight_data[pass] = dnn_allocate(&conv->dnn, 1, conv->weight_size[pass], "weights");
    return conv->weight_data[pass] != NULL &&
           dnn_memory(&conv->dnn, &conv->weights[pass], order, conv->weight_data[pass]);
}

/* Source and out of every geometry; their data come with each call. */
static bool open_memories(struct efm_conv *conv, struct dnn_slot *slot)
{
    bool good = true;
    for (size_t i = 0; i < conv->geometry_count && good; i++) {
        struct conv_geometry *g = &conv->geometries[i];
        struct dnn_problem p = {0};
        good = conv_problem(conv, g, DNN_FORWARD, &p) &&
               dnn_memory(&conv->dnn, &slot->memories[g->memories], DNN_DESC_VIEW(p.source), NULL) &&
               dnn_memory(&conv->dnn, &slot->memories[g->memories + 1], DNN_DESC_VIEW(p.out), NULL);
        dnn_problem_release(&p);
    }
    return good;
}

static bool open_gradient(struct efm_conv *conv, struct dnn_slot *slot)
{
    if (!conv->ordered[DNN_BACKWARD_WEIGHTS])
        return true;
    slot->gradient_data = dnn_allocate(&conv->dnn, 1, conv->gradient_size, "gradients");
    return slot->gradient_data != NULL &&
           dnn_memory(&conv->dnn, &slot->gradient, DNN_DESC_VIEW(conv->orders[DNN_BACKWARD_WEIGHTS]),
                      slot->gradient_data);
}

static bool open_slot(struct efm_conv *conv, struct dnn_slot *slot)
{
    if (slot->open)
        return true;
    dnn_be_single_threaded();
    slot->open = dnn_open_slot(&conv->dnn, slot, 2 * conv->geometry_count) && open_memories(conv, slot) &&
                 open_gradient(conv, slot);
    if (!slot->open)
        dnn_close_slot(slot, 2 * conv->geometry_count);
    return slot->open;
}

/* Slot 0, and the size of the others. */
static bool make_slots(struct efm_conv *conv)
{
    for (size_t i = 0; i < conv->geometry_count; i++)
        conv->geometries[i].memories = 2 * i;
    if (conv->ordered[DNN_BACKWARD_WEIGHTS])
        conv->gradient_size =
            dnn_round_up(dnnl_memory_desc_get_size(DNN_DESC_VIEW(conv->orders[DNN_BACKWARD_WEIGHTS])));
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

static bool conv_make(struct efm_conv *conv)
{
    struct efm_conv_options *o = &conv->options;
    struct dnn *dnn = &conv->dnn;
    conv->out_height = o->height / o->stride;
    conv->out_width = o->width / o->stride;
    conv->weight_count = (size_t)o->in_channels * o->out_channels * o->kernel * o->kernel;
    conv->source_row = (size_t)o->width * o->in_channels * dnn_element_size(o->precision);
    conv->out_row = conv->out_width * o->out_channels * dnn_element_size(o->precision);
    if (o->bands > conv->out_height)
        o->bands = conv->out_height;
    size_t most = (o->training ? o->images : 1) + o->bands * (o->bands + 1) / 2;
    conv->geometries = dnn_allocate(dnn, most, sizeof *conv->geometries, "geometries");
    conv->banded = dnn_allocate(dnn, o->bands + 1, sizeof *conv->banded, "bands");
    return conv->geometries != NULL && conv->banded != NULL && dnn_open(dnn) && make_wholes(conv) &&
           make_bands(conv) && make_reorders(conv) && make_weights(conv, DNN_FORWARD) &&
           make_weights(conv, DNN_BACKWARD_DATA) && make_slots(conv) && conv_check_bands(conv);
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
    for (enum dnn_pass pass = DNN_FORWARD; pass < DNN_PASSES; pass++) {
        for (size_t i = 0; i < conv->geometry_count; i++)
            dnnl_primitive_destroy(conv->geometries[i].passes[pass]);
        dnnl_primitive_destroy(conv->reorders[pass]);
        dnn_desc_destroy(&conv->orders[pass]);
    }
    for (enum dnn_pass pass = DNN_FORWARD; pass < DNN_BACKWARD_WEIGHTS; pass++) {
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
