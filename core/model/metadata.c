// SPDX-License-Identifier: Apache-2.0
/* metadata.c - what models of all arches write into their files beside numbers, read back without being believed. */
#include "core/model/model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a model may be ---- */

enum efm_status efm_model_check_numbers(double length, double gamma, struct efm_error *error)
{
    if (!(length > 0 && length <= EFM_MODEL_MAX_NUMBER))
        return efm_error_set(error, EFM_E_ARGUMENT, "L is %g, but lies above 0 and up to %g", length,
                             (double)EFM_MODEL_MAX_NUMBER);
    if (!(gamma > 0 && gamma <= EFM_MODEL_MAX_NUMBER))
        return efm_error_set(error, EFM_E_ARGUMENT, "gamma is %g, but lies above 0 and up to %g", gamma,
                             (double)EFM_MODEL_MAX_NUMBER);
    return EFM_OK;
}

enum efm_status efm_domain_set_name(struct efm_domain *domain, const char *name, struct efm_error *error)
{
    size_t length = name != NULL ? strlen(name) : 0;
    if (length == 0 || length >= sizeof domain->name)
        return efm_error_set(error, EFM_E_ARGUMENT, "the name of a domain has 1 to %zu bytes, not %zu",
                             sizeof domain->name - 1, length);
    for (size_t i = 0; i < length; i++)
        if (name[i] < ' ' || name[i] > '~')
            return efm_error_set(error, EFM_E_ARGUMENT,
                                 "the name of a domain is printable ASCII, and '%s' is not",
                                 efm_show_text(name).text);
    memcpy(domain->name, name, length + 1);
    return EFM_OK;
}

/* ---- values ---- */

enum efm_status efm_metadata_text(const struct efm_safetensors *file, const char *key, const char *fallback,
                                  const char **text, struct efm_error *error)
{
    *text = efm_safetensors_metadata(file, key);
    if (*text == NULL)
        *text = fallback;
    if (*text == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "the metadata of the model has no \"%s\"", key);
    return EFM_OK;
}

enum efm_status efm_metadata_number(const struct efm_safetensors *file, const char *key, const char *fallback,
                                    double *number, struct efm_error *error)
{
    const char *text;
    enum efm_status status = efm_metadata_text(file, key, fallback, &text, error);
    if (status != EFM_OK)
        return status;
    char *end = NULL;
    size_t length = strlen(text);
    if (length > 0 && length < 64 && strspn(text, "+-.0123456789eE") == length)
        *number = strtod(text, &end);
    if (end != text + length)
        return efm_error_set(error, EFM_E_FORMAT, "\"%s\" of the model is '%s', not a number", key,
                             efm_show_text(text).text);
    return EFM_OK;
}

enum efm_status efm_metadata_truth(const struct efm_safetensors *file, const char *key, const char *fallback,
                                   bool *truth, struct efm_error *error)
{
    const char *text;
    enum efm_status status = efm_metadata_text(file, key, fallback, &text, error);
    if (status != EFM_OK)
        return status;
    *truth = strcmp(text, "true") == 0;
    if (!*truth && strcmp(text, "false") != 0)
        return efm_error_set(error, EFM_E_FORMAT, "\"%s\" of the model is '%s', neither true nor false", key,
                             efm_show_text(text).text);
    return EFM_OK;
}

/* "1,2,3" in digits alone, at most `capacity` of them; "" is none. */
static bool parse_integers(const char *text, uint32_t *out, size_t capacity, size_t *count)
{
    const char *at = text;
    *count = 0;
    while (*at != '\0') {
        const char *start = at;
        uint64_t value = 0;
        for (; *at >= '0' && *at <= '9' && value <= UINT32_MAX; at++)
            value = value * 10 + (uint64_t)(*at - '0');
        if (at == start || value > UINT32_MAX || *count == capacity || (*at != ',' && *at != '\0'))
            return false;
        out[(*count)++] = (uint32_t)value;
        if (*at == ',' && *++at == '\0')
            return false;
    }
    return true;
}

enum efm_status efm_metadata_integers(const struct efm_safetensors *file, const char *key,
                                      const char *fallback, uint32_t *out, size_t capacity, size_t *count,
                                      struct efm_error *error)
{
    const char *text;
    enum efm_status status = efm_metadata_text(file, key, fallback, &text, error);
    if (status == EFM_OK && !parse_integers(text, out, capacity, count))
        status = efm_error_set(error, EFM_E_FORMAT,
                               "\"%s\" of the model is '%s', not up to %zu whole numbers with commas", key,
                               efm_show_text(text).text, capacity);
    return status;
}

enum efm_status efm_metadata_integer(const struct efm_safetensors *file, const char *key,
                                     const char *fallback, uint32_t *out, struct efm_error *error)
{
    const char *text;
    size_t count;
    enum efm_status status = efm_metadata_text(file, key, fallback, &text, error);
    if (status == EFM_OK && (!parse_integers(text, out, 1, &count) || count != 1))
        status = efm_error_set(error, EFM_E_FORMAT, "\"%s\" of the model is '%s', not a whole number", key,
                               efm_show_text(text).text);
    return status;
}

/* ---- what all models have ---- */

enum efm_status efm_metadata_shape(const struct efm_safetensors *file, struct efm_shape *shape,
                                   struct efm_error *error)
{
    const char *text;
    uint32_t sizes[3] = {0};
    size_t count = 0;
    enum efm_status status = efm_metadata_text(file, "shape", NULL, &text, error);
    if (status != EFM_OK)
        return status;
    bool valid = parse_integers(text, sizes, 3, &count) && (count == 1 || count == 3);
    for (size_t i = 0; i < count; i++)
        valid = valid && sizes[i] > 0;
    if (!valid)
        return efm_error_set(error, EFM_E_FORMAT, "the shape of the model is '%s', not \"h,w,c\" or \"d\"",
                             efm_show_text(text).text);
    if (count == 1) {
        *shape = efm_shape_vector(sizes[0]);
        return EFM_OK;
    }
    if ((sizes[2] != 1 && sizes[2] != 3) || sizes[0] > 65535 || sizes[1] > 65535)
        return efm_error_set(error, EFM_E_FORMAT, "the shape of the model is '%s', which no image has",
                             efm_show_text(text).text);
    *shape = efm_shape_image(sizes[0], sizes[1], sizes[2]);
    return EFM_OK;
}

void efm_metadata_render_shape(const struct efm_shape *shape, char out[EFM_SHAPE_TEXT])
{
    if (efm_shape_is_image(shape))
        snprintf(out, EFM_SHAPE_TEXT, "%u,%u,%u", shape->height, shape->width, shape->channels);
    else
        snprintf(out, EFM_SHAPE_TEXT, "%zu", shape->dimension);
}

enum efm_status efm_metadata_kind(const struct efm_safetensors *file, const char *fallback,
                                  enum efm_field_kind *kind, struct efm_error *error)
{
    const char *text;
    enum efm_status status = efm_metadata_text(file, "field", fallback, &text, error);
    if (status == EFM_OK && efm_field_kind_parse(text, kind) != EFM_OK)
        status = efm_error_set(error, EFM_E_UNSUPPORTED, "the field '%s' is not served by this version",
                               efm_show_text(text).text);
    return status;
}

enum efm_status efm_metadata_map(const struct efm_safetensors *file, const char *fallback, enum efm_map *map,
                                 struct efm_error *error)
{
    const char *text;
    enum efm_status status = efm_metadata_text(file, "map", fallback, &text, error);
    if (status == EFM_OK && efm_map_parse(text, map) != EFM_OK)
        status = efm_error_set(error, EFM_E_UNSUPPORTED, "the map '%s' is not served by this version",
                               efm_show_text(text).text);
    return status;
}

enum efm_status efm_metadata_domains(const struct efm_safetensors *file, const char *const *fallbacks,
                                     struct efm_domain domains[2], struct efm_error *error)
{
    static const char *const keys[2][2] = {{"source_name", "source_standard_normal"},
                                           {"target_name", "target_standard_normal"}};
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++) {
        const char *name;
        struct efm_error fault = {0};
        enum efm_status status =
            efm_metadata_text(file, keys[side][0], fallbacks != NULL ? fallbacks[side] : NULL, &name, error);
        if (status != EFM_OK)
            return status;
        if (efm_domain_set_name(&domains[side], name, &fault) != EFM_OK)
            return efm_error_set(error, EFM_E_FORMAT, "%s", fault.message);
        status = efm_metadata_truth(file, keys[side][1], fallbacks != NULL ? "false" : NULL,
                                    &domains[side].standard_normal, error);
        if (status != EFM_OK)
            return status;
    }
    return EFM_OK;
}
