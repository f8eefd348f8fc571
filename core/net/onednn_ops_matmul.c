// SPDX-License-Identifier: Apache-2.0
/* onednn_ops_matmul.c - matrix products through oneDNN: of attention, with everything prepared, and of linear layers. */
#include "core/net/onednn_ops_internal.h"

struct efm_matmul {
    struct efm_matmul_options options;
    struct dnn dnn;
    dnnl_primitive_t primitive;
    struct dnn_problem problem; /* its tensors */
};

static dnnl_status_t describe_matrix(dnnl_memory_desc_t *desc, size_t rows, size_t columns, bool transpose,
                                     enum efm_precision precision)
{
    const dnnl_dims_t dims = {(int64_t)rows, (int64_t)columns};
    const dnnl_dims_t strides = {transpose ? 1 : dims[1], transpose ? dims[0] : 1};
    return dnn_desc_create(desc, 2, dims, dnn_type(precision), strides);
}

static bool matmul_problem(struct efm_matmul *matmul, struct dnn_problem *p)
{
    const struct efm_matmul_options *o = &matmul->options;
    dnnl_status_t status = describe_matrix(&p->source, o->m, o->k, o->transpose_a, o->precision);
    if (status == dnnl_success)
        status = describe_matrix(&p->weights, o->k, o->n, o->transpose_b, o->precision);
    if (status == dnnl_success)
        status = describe_matrix(&p->out, o->m, o->n, false, o->out);
    return dnn_made(&matmul->dnn, status, dnn_pass_name(DNN_PRODUCT));
}

static bool matmul_open_slot(struct efm_matmul *matmul, struct dnn_slot *slot)
{
    struct dnn *dnn = &matmul->dnn;
    const struct dnn_problem *p = &matmul->problem;
    return dnn_open_slot(dnn, slot, 3) &&
           dnn_memory(dnn, &slot->memories[0], DNN_DESC_VIEW(p->source), NULL) &&
           dnn_memory(dnn, &slot->memories[1], DNN_DESC_VIEW(p->weights), NULL) &&
           dnn_memory(dnn, &slot->memories[2], DNN_DESC_VIEW(p->out), NULL);
}

static bool matmul_make(struct efm_matmul *matmul)
{
    struct dnn *dnn = &matmul->dnn;
    struct dnn_problem *p = &matmul->problem;
    dnnl_primitive_desc_t desc = NULL;
    bool good = dnn_open(dnn) && matmul_problem(matmul, p) &&
                dnn_made(dnn, dnn_problem_describe(&desc, p, dnn->attributes, dnn->engine, NULL),
                         dnn_pass_name(DNN_PRODUCT)) &&
                dnn_primitive(dnn, &matmul->primitive, desc, dnn_pass_name(DNN_PRODUCT)) &&
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
    if (o->slots < 1 || o->slots > DNN_MOST_SLOTS || in == EFM_PRECISION_AUTO || out == EFM_PRECISION_AUTO)
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
    making->problem.pass = DNN_PRODUCT;
    atomic_init(&making->dnn.bytes, sizeof *making);
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
    dnn_problem_release(&matmul->problem);
    dnn_close(&matmul->dnn, 3);
    efm_free(matmul);
}

size_t efm_matmul_bytes(const struct efm_matmul *matmul)
{
    return atomic_load(&matmul->dnn.bytes);
}

void efm_matmul_run(const struct efm_matmul *matmul, size_t slot, const void *a, const void *b, void *c)
{
    static const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    dnn_be_single_threaded();
    dnnl_memory_t *memories = matmul->dnn.slots[slot].memories;
    if (!dnn_set_data(memories[0], a) || !dnn_set_data(memories[1], b) || !dnn_set_data(memories[2], c) ||
        !dnn_run(&matmul->dnn, slot, matmul->primitive, names, memories[0], memories[1], memories[2]))
        dnn_fill_nan(c, matmul->options.m * matmul->options.n * dnn_element_size(matmul->options.out));
}

void efm_sgemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, size_t lda,
               const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    dnn_be_single_threaded();
    dnnl_status_t status =
        dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', (int64_t)m, (int64_t)n, (int64_t)k, 1, a,
                   (int64_t)lda, b, (int64_t)ldb, beta, c, (int64_t)ldc);
    for (size_t i = 0; i < m && status != dnnl_success; i++)
        dnn_fill_nan(c + i * ldc, n * sizeof *c);
}
