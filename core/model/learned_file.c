// SPDX-License-Identifier: Apache-2.0
/* Reading the file of a learned model: which network it is, then its numbers. Nothing in it is believed, and nothing
 * large is allocated before the sizes in the file have been held against one another and against the limit. */
#include "core/base/memory.h"
#include "core/field/learned.h"
#include "core/model/model_internal.h"

#include <math.h>
#include <string.h>

/* What networks are trained on, and what a file that says no more than this is taken to hold. */
static const struct {
    const char *word, *field, *velocity;
} targets[] = {
    {"per_plate", "per_plate", "false"},        {"superposition", "superposition", "false"},
    {"chain_single", "chain", "true"},          {"chain", "chain", "false"},
    {"flow_matching", "flow_matching", "true"},
};

/* ---- which network ---- */

/* The shape that the file tells, or else `fallback`; they must agree. */
static enum efm_status read_shape(const struct efm_safetensors *file, const struct efm_shape *fallback,
                                  struct efm_shape *shape, struct efm_error *error)
{
    *shape = *fallback;
    if (efm_safetensors_metadata(file, "shape") == NULL)
        return EFM_OK;
    enum efm_status status = efm_metadata_shape(file, shape, error);
    bool agree = efm_shape_is_image(fallback)
                     ? shape->height == fallback->height && shape->channels == fallback->channels
                     : shape->dimension == fallback->dimension;
    if (status == EFM_OK && !agree)
        status = efm_error_set(error, EFM_E_FORMAT, "the shape of the model is not that of its network");
    return status;
}

static enum efm_status read_unet(const struct efm_safetensors *file, struct efm_net_config *config,
                                 struct efm_error *error)
{
    uint32_t side = 0, channels = 0;
    size_t levels = 0, attending = 0;
    enum efm_status status = efm_metadata_integer(file, "nf", NULL, &config->nf, error);
    if (status == EFM_OK)
        status =
            efm_metadata_integers(file, "ch_mult", NULL, config->ch_mult, EFM_NET_MAX_LEVELS, &levels, error);
    if (status == EFM_OK)
        status = efm_metadata_integer(file, "num_res_blocks", NULL, &config->blocks, error);
    if (status == EFM_OK)
        status = efm_metadata_integers(file, "attn_resolutions", NULL, config->attention,
                                       EFM_NET_MAX_ATTENTION, &attending, error);
    if (status == EFM_OK)
        status = efm_metadata_integer(file, "image_size", NULL, &side, error);
    if (status == EFM_OK)
        status = efm_metadata_integer(file, "num_channels", NULL, &channels, error);
    if (status != EFM_OK)
        return status;
    config->levels = (uint32_t)levels;
    config->attention_count = (uint32_t)attending;
    if (channels != 1 && channels != 3)
        return efm_error_set(error, EFM_E_FORMAT, "images have 1 or 3 channels here, and the model's %u",
                             channels);
    if (side == 0 || side > EFM_NET_MAX_SIDE)
        return efm_error_set(error, EFM_E_FORMAT, "the image_size of the model is %u, not 1 to %d", side,
                             EFM_NET_MAX_SIDE);
    const struct efm_shape square = efm_shape_image(side, side, channels);
    return read_shape(file, &square, &config->shape, error);
}

static enum efm_status read_mlp(const struct efm_safetensors *file, struct efm_net_config *config,
                                struct efm_error *error)
{
    uint32_t dimension = 0;
    enum efm_status status = efm_metadata_integer(file, "dimension", NULL, &dimension, error);
    if (status == EFM_OK)
        status = efm_metadata_integer(file, "hidden", "0", &config->hidden, error);
    if (status == EFM_OK)
        status = efm_metadata_integer(file, "hidden2", "0", &config->hidden2, error);
    if (status == EFM_OK)
        status = efm_metadata_integer(file, "embedding", "0", &config->embedding, error);
    if (status != EFM_OK)
        return status;
    const struct efm_shape vector = efm_shape_vector(dimension);
    return read_shape(file, &vector, &config->shape, error);
}

static enum efm_status make_net(const struct efm_safetensors *file, enum efm_net_arch arch,
                                struct efm_net **net, struct efm_error *error)
{
    struct efm_net_config config = {.arch = arch};
    struct efm_error fault = {0};
    enum efm_status status =
        arch == EFM_NET_UNET ? read_unet(file, &config, error) : read_mlp(file, &config, error);
    if (status != EFM_OK)
        return status;
    /* what a caller in C got wrong is an argument; what a file got wrong is its format */
    if (efm_net_config_check(&config, &fault) != EFM_OK)
        return efm_error_set(error, EFM_E_FORMAT, "no network of this version: %.200s", fault.message);
    return efm_net_create(net, &config, error);
}

/* ---- what it is for ---- */

static enum efm_status read_spec(const struct efm_safetensors *file, struct efm_learned_spec *spec,
                                 struct efm_error *error)
{
    const char *field = NULL, *velocity = NULL;
    struct efm_error fault = {0};
    enum efm_status status = efm_metadata_text(file, "target", targets[0].word, &spec->target, error);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0] && status == EFM_OK; i++)
        if (strcmp(targets[i].word, spec->target) == 0) {
            field = targets[i].field;
            velocity = targets[i].velocity;
        }
    if (status == EFM_OK)
        status = efm_metadata_kind(file, field, &spec->kind, error);
    if (status == EFM_OK)
        status = efm_metadata_truth(file, "velocity", velocity, &spec->velocity, error);
    if (status == EFM_OK)
        status =
            efm_metadata_map(file, spec->kind == EFM_FIELD_CHAIN ? "chain" : "forward", &spec->map, error);
    if (status == EFM_OK)
        status = efm_metadata_number(file, "L", "10", &spec->length, error);
    if (status == EFM_OK)
        status = efm_metadata_number(file, "lowest", "1e-3", &spec->lowest, error);
    if (status == EFM_OK)
        status = efm_metadata_number(file, "gamma", "5", &spec->gamma, error);
    spec->record = efm_safetensors_metadata(file, "record");
    if (status == EFM_OK && efm_learned_spec_check(spec, &fault) != EFM_OK)
        status = efm_error_set(error, fault.status == EFM_E_ARGUMENT ? EFM_E_FORMAT : fault.status, "%s",
                               fault.message);
    return status;
}

/* ---- the numbers ---- */

static enum efm_status check_type(const struct efm_safetensors *file, const struct efm_tensor_entry *entry,
                                  struct efm_error *error)
{
    enum efm_tensor_type first = efm_safetensors_at(file, 0)->type;
    if (entry->type != EFM_TENSOR_F32 && entry->type != EFM_TENSOR_BF16 && entry->type != EFM_TENSOR_F16)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the tensor '%s' is %s, not F32, BF16 or F16",
                             efm_show_text(entry->name).text, efm_tensor_type_name(entry->type));
    if (entry->type != first)
        return efm_error_set(error, EFM_E_FORMAT, "the tensor '%s' is %s where others are %s",
                             efm_show_text(entry->name).text, efm_tensor_type_name(entry->type),
                             efm_tensor_type_name(first));
    return EFM_OK;
}

/* Exactly the tensors of the table, in their shapes, of one type. */
static enum efm_status check_tensors(const struct efm_safetensors *file, const struct efm_net *net,
                                     struct efm_error *error)
{
    for (size_t i = 0; i < efm_net_parameter_count(net); i++) {
        const struct efm_parameter *parameter = efm_net_parameter(net, i);
        const struct efm_tensor_entry *entry = efm_safetensors_find(file, parameter->name);
        if (entry == NULL)
            return efm_error_set(error, EFM_E_FORMAT,
                                 "the network needs a tensor '%s', and the file has none", parameter->name);
        bool fits = entry->rank == parameter->rank;
        for (size_t k = 0; k < parameter->rank && fits; k++)
            fits = entry->shape[k] == parameter->shape[k];
        if (!fits)
            return efm_error_set(error, EFM_E_FORMAT, "the tensor '%s' is not of the network's shape",
                                 parameter->name);
        enum efm_status status = check_type(file, entry, error);
        if (status != EFM_OK)
            return status;
    }
    if (efm_safetensors_count(file) != efm_net_parameter_count(net))
        return efm_error_set(error, EFM_E_FORMAT, "the file has %zu tensors, and the network %zu",
                             efm_safetensors_count(file), efm_net_parameter_count(net));
    return EFM_OK;
}

/* The numbers as floats, as stored, and as the network keeps them. */
static enum efm_status check_room(const struct efm_net *net, bool bf16, size_t max_bytes,
                                  struct efm_error *error)
{
    size_t each = sizeof(float) + (bf16 ? sizeof(uint16_t) : sizeof(float)) + sizeof(uint16_t), bytes;
    if (!efm_size_multiply(efm_net_size(net), each, &bytes) || bytes > max_bytes)
        return efm_error_set(error, EFM_E_LIMIT, "the model would take more than %zu bytes of memory",
                             max_bytes);
    return EFM_OK;
}

static enum efm_status read_parameters(const struct efm_safetensors *file, const struct efm_net *net,
                                       float *parameters, struct efm_error *error)
{
    for (size_t i = 0; i < efm_net_parameter_count(net); i++) {
        const struct efm_parameter *parameter = efm_net_parameter(net, i);
        float *values = parameters + parameter->offset;
        enum efm_status status =
            efm_safetensors_floats(efm_safetensors_find(file, parameter->name), values, error);
        if (status != EFM_OK)
            return status;
        for (size_t k = 0; k < parameter->count; k++)
            if (!isfinite(values[k]))
                return efm_error_set(error, EFM_E_NUMERIC, "value %zu of the tensor '%s' is not finite", k,
                                     parameter->name);
    }
    return EFM_OK;
}

static enum efm_status load_parameters(struct efm_model *model, const struct efm_safetensors *file,
                                       const struct efm_learned_spec *spec, struct efm_net *net,
                                       size_t max_bytes, struct efm_error *error)
{
    enum efm_status status = check_room(net, spec->bf16, max_bytes, error);
    if (status != EFM_OK)
        return status;
    float *parameters = efm_allocate_array(efm_net_size(net), sizeof *parameters);
    if (parameters == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu parameters", efm_net_size(net));
    status = read_parameters(file, net, parameters, error);
    if (status == EFM_OK)
        status = efm_learned_model_fill(model, spec, net, parameters, error);
    efm_free(parameters);
    if (status == EFM_OK && model->arch->bytes(model) > max_bytes)
        status = efm_error_set(error, EFM_E_LIMIT, "the model takes %zu bytes of memory, more than %zu",
                               model->arch->bytes(model), max_bytes);
    return status;
}

enum efm_status efm_learned_model_load(struct efm_model *model, const struct efm_safetensors *file,
                                       size_t max_bytes, struct efm_error *error)
{
    static const char *const names[2] = {"source", "target"};
    struct efm_learned_spec spec = {.precision = model->precision};
    struct efm_net *net = NULL;
    enum efm_net_arch arch = model->arch == &efm_unet_arch ? EFM_NET_UNET : EFM_NET_MLP;
    enum efm_status status = read_spec(file, &spec, error);
    if (status == EFM_OK)
        status = efm_metadata_domains(file, names, model->domains, error);
    if (status == EFM_OK)
        status = make_net(file, arch, &net, error);
    if (status == EFM_OK)
        status = check_tensors(file, net, error);
    if (status == EFM_OK) {
        spec.bf16 = efm_safetensors_at(file, 0)->type == EFM_TENSOR_BF16;
        status = load_parameters(model, file, &spec, net, max_bytes, error);
    }
    efm_net_unref(net);
    return status;
}
