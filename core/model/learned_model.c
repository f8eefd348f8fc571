// SPDX-License-Identifier: Apache-2.0
/* The learned model: its field is a network, so its file is the network's parameters, under the names of the published
 * code and in the order of the network's table. */
#include "core/base/memory.h"
#include "core/field/learned.h"
#include "core/model/model_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_RECORD = 64 << 10, METADATA_COUNT = 24, METADATA_TEXT = 80 };

/* ---- what a model may be ---- */

static enum efm_status check_record(const char *record, struct efm_error *error)
{
    json_error_t reason;
    if (record == NULL)
        return EFM_OK;
    if (strlen(record) > MAX_RECORD)
        return efm_error_set(error, EFM_E_ARGUMENT, "the training record has more than %d bytes", MAX_RECORD);
    json_t *parsed = json_loads(record, JSON_REJECT_DUPLICATES, &reason);
    bool valid = json_is_object(parsed);
    json_decref(parsed);
    if (parsed == NULL && json_error_code(&reason) == json_error_out_of_memory)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to check the training record");
    if (!valid)
        return efm_error_set(error, EFM_E_ARGUMENT, "the training record is not a JSON object");
    return EFM_OK;
}

enum efm_status efm_learned_spec_check(const struct efm_learned_spec *spec, struct efm_error *error)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    size_t length = spec->target != NULL ? strlen(spec->target) : 0;
    if (length == 0 || length >= sizeof((struct efm_learned_part *)0)->target ||
        strspn(spec->target, letters) != length)
        return efm_error_set(error, EFM_E_ARGUMENT, "the target is a word of 1 to 32 letters, not '%s'",
                             efm_show_text(spec->target != NULL ? spec->target : "").text);
    if ((spec->map == EFM_MAP_CHAIN) != (spec->kind == EFM_FIELD_CHAIN) || spec->map == EFM_MAP_STOCHASTIC)
        return efm_error_set(error, EFM_E_ARGUMENT, "the map %s does not go with a learned field %s",
                             efm_map_name(spec->map), efm_field_kind_name(spec->kind));
    if (!(spec->lowest > 0 && spec->lowest < 0.5 * spec->length))
        return efm_error_set(error, EFM_E_ARGUMENT, "lowest is %g, but lies above 0 and below L / 2",
                             spec->lowest);
    enum efm_status status = efm_model_check_numbers(spec->length, spec->gamma, error);
    return status == EFM_OK ? check_record(spec->record, error) : status;
}

/* ---- numbers as the file holds them ---- */

/* To the nearest bfloat16, ties to even; finite in, finite or infinite out. */
static uint16_t to_brain(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float from_brain(uint16_t brain)
{
    uint32_t bits = (uint32_t)brain << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static size_t stored_size(bool bf16)
{
    return bf16 ? sizeof(uint16_t) : sizeof(float);
}

/* Keeps the parameters and, when that rounds them, leaves the rounded ones in `parameters`. */
static enum efm_status keep_weights(struct efm_learned_part *part, float *parameters, size_t count,
                                    struct efm_error *error)
{
    part->weights = efm_allocate_array(count, stored_size(part->spec.bf16));
    if (part->weights == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu parameters", count);
    if (!part->spec.bf16) {
        memcpy(part->weights, parameters, count * sizeof *parameters);
        return EFM_OK;
    }
    uint16_t *stored = (uint16_t *)part->weights;
    for (size_t i = 0; i < count; i++) {
        stored[i] = to_brain(parameters[i]);
        parameters[i] = from_brain(stored[i]);
    }
    return EFM_OK;
}

/* ---- create ---- */

static const struct efm_model_arch *arch_of(const struct efm_net *net)
{
    return efm_net_config(net)->arch == EFM_NET_UNET ? &efm_unet_arch : &efm_mlp_arch;
}

enum efm_status efm_learned_model_fill(struct efm_model *model, const struct efm_learned_spec *spec,
                                       struct efm_net *net, float *parameters, struct efm_error *error)
{
    struct efm_learned_part *part = efm_allocate_array(1, sizeof *part);
    model->learned = part;
    if (part == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a learned model");
    part->spec = *spec;
    part->spec.record = NULL;
    memcpy(part->target, spec->target, strlen(spec->target) + 1);
    part->spec.target = part->target;
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++) {
        part->spec.names[side] = model->domains[side].name;
        part->spec.standard_normal[side] = model->domains[side].standard_normal;
    }
    model->shape = efm_net_config(net)->shape;
    model->map = spec->map;
    model->gamma = spec->gamma;
    if (spec->record != NULL) {
        part->record = efm_copy_string(spec->record);
        if (part->record == NULL)
            return efm_error_set(error, EFM_E_MEMORY, "no memory for the training record");
        part->spec.record = part->record;
    }
    enum efm_status status = keep_weights(part, parameters, efm_net_size(net), error);
    if (status != EFM_OK)
        return status;
    const struct efm_learned_options options = {.kind = spec->kind,
                                                .length = spec->length,
                                                .lowest = spec->lowest,
                                                .velocity = spec->velocity,
                                                .precision = spec->precision};
    status = efm_learned_field_create(&model->field, net, parameters, &options, error);
    if (status == EFM_OK)
        part->spec.precision = efm_learned_field_options(model->field)->precision;
    return status;
}

static enum efm_status name_domains(struct efm_model *model, const struct efm_learned_spec *spec,
                                    struct efm_error *error)
{
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++) {
        enum efm_status status = efm_domain_set_name(&model->domains[side], spec->names[side], error);
        if (status != EFM_OK)
            return status;
        model->domains[side].standard_normal = spec->standard_normal[side];
    }
    return EFM_OK;
}

enum efm_status efm_model_create_learned(struct efm_model **model, const struct efm_learned_spec *spec,
                                         struct efm_net *net, const float *parameters,
                                         struct efm_error *error)
{
    struct efm_model *made = NULL;
    float *copy = NULL;
    enum efm_status status = efm_learned_spec_check(spec, error);
    if (status == EFM_OK)
        status = efm_model_allocate(&made, arch_of(net), error);
    if (status == EFM_OK)
        status = name_domains(made, spec, error);
    if (status == EFM_OK) {
        copy = efm_allocate_array(efm_net_size(net), sizeof *copy);
        if (copy == NULL)
            status = efm_error_set(error, EFM_E_MEMORY, "no memory for the parameters of a network");
    }
    if (status == EFM_OK) {
        memcpy(copy, parameters, efm_net_size(net) * sizeof *copy);
        status = efm_learned_model_fill(made, spec, net, copy, error);
    }
    efm_free(copy);
    if (status == EFM_OK)
        status = efm_model_name(made, NULL, 0, error);
    if (status != EFM_OK) {
        efm_model_unref(made);
        return status;
    }
    *model = made;
    return EFM_OK;
}

static void release(struct efm_model *model)
{
    if (model->learned == NULL)
        return;
    efm_free(model->learned->record);
    efm_free(model->learned->weights);
    efm_free(model->learned);
}

static size_t held_bytes(const struct efm_model *model)
{
    const struct efm_learned_part *part = model->learned;
    return sizeof *model + sizeof *part + (part->record != NULL ? strlen(part->record) + 1 : 0) +
           efm_net_size(efm_learned_field_net(model->field)) * stored_size(part->spec.bf16) +
           efm_learned_field_bytes(model->field);
}

/* ---- save ---- */

/* A growing list of metadata; numbers live in `texts`. */
struct metadata {
    struct efm_metadata_entry entries[METADATA_COUNT];
    char texts[METADATA_COUNT][METADATA_TEXT];
    size_t count;
};

static void add_text(struct metadata *metadata, const char *key, const char *value)
{
    metadata->entries[metadata->count++] = (struct efm_metadata_entry){key, value};
}

static void add_number(struct metadata *metadata, const char *key, double value)
{
    char *text = metadata->texts[metadata->count];
    snprintf(text, METADATA_TEXT, "%.17g", value);
    add_text(metadata, key, text);
}

static void add_truth(struct metadata *metadata, const char *key, bool value)
{
    add_text(metadata, key, value ? "true" : "false");
}

static void add_integers(struct metadata *metadata, const char *key, const uint32_t *values, size_t count)
{
    char *text = metadata->texts[metadata->count];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count && used < METADATA_TEXT; i++)
        used += (size_t)snprintf(text + used, METADATA_TEXT - used, "%s%u", i > 0 ? "," : "", values[i]);
    add_text(metadata, key, text);
}

static void add_config(struct metadata *metadata, const struct efm_net_config *config)
{
    const uint32_t dimension = (uint32_t)config->shape.dimension;
    if (config->arch == EFM_NET_MLP) {
        add_integers(metadata, "dimension", &dimension, 1);
        add_integers(metadata, "hidden", &config->hidden, 1);
        add_integers(metadata, "hidden2", &config->hidden2, 1);
        add_integers(metadata, "embedding", &config->embedding, 1);
        return;
    }
    add_integers(metadata, "nf", &config->nf, 1);
    add_integers(metadata, "ch_mult", config->ch_mult, config->levels);
    add_integers(metadata, "num_res_blocks", &config->blocks, 1);
    add_integers(metadata, "attn_resolutions", config->attention, config->attention_count);
    add_integers(metadata, "image_size", &config->shape.height, 1);
    add_integers(metadata, "num_channels", &config->shape.channels, 1);
}

static void describe(const struct efm_model *model, const struct efm_net_config *config,
                     struct metadata *metadata)
{
    const struct efm_learned_spec *spec = &model->learned->spec;
    add_text(metadata, "efmd_version", "1");
    add_text(metadata, "arch", model->arch->name);
    add_config(metadata, config);
    add_text(metadata, "field", efm_field_kind_name(spec->kind));
    add_text(metadata, "map", efm_map_name(spec->map));
    add_text(metadata, "target", spec->target);
    add_truth(metadata, "velocity", spec->velocity);
    add_number(metadata, "L", spec->length);
    add_number(metadata, "lowest", spec->lowest);
    add_number(metadata, "gamma", spec->gamma);
    efm_metadata_render_shape(&model->shape, metadata->texts[metadata->count]);
    add_text(metadata, "shape", metadata->texts[metadata->count]);
    add_text(metadata, "source_name", model->domains[EFM_SOURCE].name);
    add_text(metadata, "target_name", model->domains[EFM_TARGET].name);
    add_truth(metadata, "source_standard_normal", model->domains[EFM_SOURCE].standard_normal);
    add_truth(metadata, "target_standard_normal", model->domains[EFM_TARGET].standard_normal);
    if (spec->record != NULL)
        add_text(metadata, "record", spec->record);
}

static struct efm_tensor_entry tensor_of(const struct efm_learned_part *part,
                                         const struct efm_parameter *parameter)
{
    size_t size = stored_size(part->spec.bf16);
    struct efm_tensor_entry entry = {
        .name = parameter->name,
        .type = part->spec.bf16 ? EFM_TENSOR_BF16 : EFM_TENSOR_F32,
        .rank = parameter->rank,
        .count = parameter->count,
        .data = part->weights + parameter->offset * size,
        .size = parameter->count * size,
    };
    for (size_t i = 0; i < parameter->rank; i++)
        entry.shape[i] = parameter->shape[i];
    return entry;
}

static enum efm_status save(const struct efm_model *model, bool header_only, struct efm_buffer *out,
                            struct efm_error *error)
{
    const struct efm_net *net = efm_learned_field_net(model->field);
    size_t count = efm_net_parameter_count(net);
    struct metadata metadata = {.count = 0};
    struct efm_tensor_entry *tensors = efm_allocate_array(count, sizeof *tensors);
    if (tensors == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to list %zu tensors", count);
    for (size_t i = 0; i < count; i++)
        tensors[i] = tensor_of(model->learned, efm_net_parameter(net, i));
    describe(model, efm_net_config(net), &metadata);
    enum efm_status status =
        header_only
            ? efm_safetensors_write_header(out, tensors, count, metadata.entries, metadata.count, error)
            : efm_safetensors_write(out, tensors, count, metadata.entries, metadata.count, error);
    efm_free(tensors);
    return status;
}

const struct efm_model_arch efm_unet_arch = {.name = "unet",
                                             .load = efm_learned_model_load,
                                             .save = save,
                                             .bytes = held_bytes,
                                             .release = release,
                                             .foreign = true};
const struct efm_model_arch efm_mlp_arch = {.name = "mlp",
                                            .load = efm_learned_model_load,
                                            .save = save,
                                            .bytes = held_bytes,
                                            .release = release,
                                            .foreign = true};
