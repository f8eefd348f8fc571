// SPDX-License-Identifier: Apache-2.0
#include "core/model/model.h"

#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "core/model/model_internal.h"

#include <string.h>

static const struct efm_model_arch *const arches[] = {&efm_exact_arch, &efm_unet_arch, &efm_mlp_arch};

enum efm_status efm_model_allocate(struct efm_model **model, const struct efm_model_arch *arch,
                                   struct efm_error *error)
{
    struct efm_model *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a model");
    atomic_init(&made->references, 1);
    made->arch = arch;
    *model = made;
    return EFM_OK;
}

/* Exactly `file` is what saving would give: the header is, and the tensors follow it as they were read. */
static bool is_own_file(const struct efm_buffer *header, const uint8_t *file, size_t size)
{
    return file != NULL && header->size <= size && memcmp(header->data, file, header->size) == 0;
}

enum efm_status efm_model_name(struct efm_model *model, const uint8_t *file, size_t size,
                               struct efm_error *error)
{
    struct efm_buffer saved = efm_buffer_limited(SIZE_MAX);
    enum efm_status status = EFM_OK;
    if (file != NULL) {
        status = model->arch->save(model, true, &saved, error);
        if (status == EFM_OK && is_own_file(&saved, file, size)) {
            efm_sha256_hex(file, size, model->sha256);
            goto done;
        }
        efm_buffer_release(&saved);
    }
    if (status == EFM_OK)
        status = model->arch->save(model, false, &saved, error);
    if (status == EFM_OK)
        efm_sha256_hex(saved.data, saved.size, model->sha256);
done:
    efm_buffer_release(&saved);
    return status;
}

static enum efm_status find_arch(const struct efm_safetensors *file, const struct efm_model_arch **arch,
                                 struct efm_error *error)
{
    const char *version = efm_safetensors_metadata(file, "efmd_version");
    const char *name = efm_safetensors_metadata(file, "arch");
    *arch = NULL;
    for (size_t i = 0; name != NULL && i < sizeof arches / sizeof arches[0]; i++)
        if (strcmp(arches[i]->name, name) == 0)
            *arch = arches[i];
    if (name == NULL || (version == NULL && *arch != NULL && !(*arch)->foreign))
        return efm_error_set(error, EFM_E_FORMAT,
                             "the file is safetensors but no model of efmd: its metadata has no %s",
                             name == NULL ? "arch" : "efmd_version");
    if (version != NULL && strcmp(version, "1") != 0)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "model files of version '%s' are not served",
                             efm_show_text(version).text);
    if (*arch != NULL)
        return EFM_OK;
    return efm_error_set(error, EFM_E_UNSUPPORTED, "arch '%s' is not served by this version",
                         efm_show_text(name).text);
}

enum efm_status efm_model_load(struct efm_model **model, const uint8_t *bytes, size_t size, size_t max_bytes,
                               struct efm_error *error)
{
    return efm_model_load_as(model, bytes, size, max_bytes, EFM_PRECISION_AUTO, error);
}

enum efm_status efm_model_load_as(struct efm_model **model, const uint8_t *bytes, size_t size,
                                  size_t max_bytes, enum efm_precision precision, struct efm_error *error)
{
    struct efm_safetensors *file = NULL;
    struct efm_model *made = NULL;
    const struct efm_model_arch *arch = NULL;
    enum efm_status status = efm_safetensors_open(&file, bytes, size, error);
    if (status == EFM_OK)
        status = find_arch(file, &arch, error);
    if (status == EFM_OK)
        status = efm_model_allocate(&made, arch, error);
    if (status == EFM_OK) {
        made->precision = precision;
        status = arch->load(made, file, max_bytes, error);
    }
    if (status == EFM_OK)
        status = efm_model_name(made, bytes, size, error);
    efm_safetensors_close(file);
    if (status != EFM_OK) {
        efm_model_unref(made);
        return status;
    }
    *model = made;
    return EFM_OK;
}

enum efm_status efm_model_save(const struct efm_model *model, struct efm_buffer *out, struct efm_error *error)
{
    return model->arch->save(model, false, out, error);
}

struct efm_model *efm_model_ref(struct efm_model *model)
{
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void efm_model_unref(struct efm_model *model)
{
    /* acquire-release: whoever frees must see all that the others did with it before */
    if (model == NULL || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1)
        return;
    if (model->arch->release != NULL)
        model->arch->release(model);
    void (*gone)(void *context) = model->gone;
    void *context = model->gone_context;
    efm_field_destroy(model->field);
    efm_free(model);
    if (gone != NULL)
        gone(context);
}

size_t efm_model_references(const struct efm_model *model)
{
    /* whoever finds itself alone sees all that the others did with the model */
    return atomic_load_explicit(&model->references, memory_order_acquire);
}

void efm_model_when_gone(struct efm_model *model, void (*gone)(void *context), void *context)
{
    model->gone = gone;
    model->gone_context = context;
}

const struct efm_field *efm_model_field(const struct efm_model *model)
{
    return model->field;
}

const struct efm_shape *efm_model_shape(const struct efm_model *model)
{
    return &model->shape;
}

const char *efm_model_arch(const struct efm_model *model)
{
    return model->arch->name;
}

const struct efm_learned_spec *efm_model_learned(const struct efm_model *model)
{
    return model->learned != NULL ? &model->learned->spec : NULL;
}

const struct efm_domain *efm_model_domain(const struct efm_model *model, enum efm_plate_side side)
{
    return &model->domains[side];
}

size_t efm_model_bytes(const struct efm_model *model)
{
    return model->arch->bytes(model);
}

const char *efm_model_sha256(const struct efm_model *model)
{
    return model->sha256;
}

double efm_model_gamma(const struct efm_model *model)
{
    return model->gamma;
}

void efm_model_flow_options(const struct efm_model *model, struct efm_flow_options *options)
{
    efm_flow_options_default(options, model->field);
    options->map = model->map;
    if (model->map == EFM_MAP_STOCHASTIC)
        options->solver = EFM_SOLVER_ARC_LENGTH;
}
