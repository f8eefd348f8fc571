// SPDX-License-Identifier: Apache-2.0
#include "api/oip_internal.h"

#include "api/json.h"

#include <string.h>

/* ---- metadata ---- */

static void write_tensor(struct efm_buffer *out, const char *name, const char *datatype,
                         const struct efm_shape *shape)
{
    efm_buffer_format(out, "{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[-1", name, datatype);
    if (shape != NULL && efm_shape_is_image(shape))
        efm_buffer_format(out, ",%u,%u,%u", shape->height, shape->width, shape->channels);
    else if (shape != NULL)
        efm_buffer_format(out, ",%zu", shape->dimension);
    efm_buffer_append_string(out, "]}");
}

void api_oip_model_render(const char *name, const struct efm_shape *shape, struct efm_buffer *out)
{
    efm_buffer_append_string(out, "{\"name\":");
    api_json_string(out, name);
    efm_buffer_append_string(out, ",\"versions\":[\"" API_OIP_VERSION
                                  "\"],\"platform\":\"efmd_safetensors\",\"inputs\":[");
    write_tensor(out, "input", "FP32", shape);
    efm_buffer_append_string(out, "],\"outputs\":[");
    write_tensor(out, "output", "FP32", shape);
    if (efm_shape_is_image(shape)) {
        efm_buffer_append_string(out, ",");
        write_tensor(out, "pixels", "UINT8", shape);
        efm_buffer_append_string(out, ",");
        write_tensor(out, "image", "BYTES", NULL);
    }
    efm_buffer_append_string(out, "]}");
}

void api_oip_server_render(const char *version, struct efm_buffer *out)
{
    efm_buffer_append_string(out, "{\"name\":\"efmd\",\"version\":");
    api_json_string(out, version);
    efm_buffer_append_string(out, ",\"extensions\":[\"binary_tensor_data\",\"model_repository\"]}");
}

/* ---- the repository ---- */

/* The object of the body; NULL for an empty one, or with a problem. */
static json_t *read_object(const struct api_message *message, struct api_problem *problem)
{
    if (message->body_size == 0)
        return NULL;
    json_t *root = api_json_parse(message->body, message->body_size, problem);
    if (root == NULL || json_is_object(root))
        return root;
    api_problem_set(problem, API_P_MALFORMED_JSON, NULL, "the JSON must be an object");
    json_decref(root);
    return NULL;
}

bool api_oip_index_parse(const struct api_message *message, bool *ready_only, struct api_problem *problem)
{
    static const char *const members[] = {"ready", NULL};
    json_t *root = read_object(message, problem);
    const json_t *ready = json_object_get(root, "ready");
    *ready_only = json_is_true(ready);
    bool good = problem->code == API_P_NONE && api_oip_only(root, members, "", problem);
    if (good && ready != NULL && !json_is_boolean(ready))
        good = api_problem_set(problem, API_P_INVALID_PARAMETER, "/ready", "must be true or false");
    json_decref(root);
    return good;
}

void api_oip_index_item(size_t index, const char *name, const char *word, const char *reason,
                        struct efm_buffer *out)
{
    const bool ready = strcmp(word, "ready") == 0, loading = strcmp(word, "loading") == 0;
    efm_buffer_append_string(out, index > 0 ? ",{\"name\":" : "{\"name\":");
    api_json_string(out, name);
    efm_buffer_format(out, ",\"version\":\"" API_OIP_VERSION "\",\"state\":\"%s\",\"reason\":",
                      ready     ? "READY"
                      : loading ? "LOADING"
                                : "UNAVAILABLE");
    api_json_string(out, ready || loading ? "" : reason[0] != '\0' ? reason : word);
    efm_buffer_append_string(out, "}");
}

bool api_oip_load_parse(const struct api_message *message, bool unload, struct api_problem *problem)
{
    static const char *const members[] = {"parameters", NULL};
    static const char *const known[] = {"unload_dependents", NULL};
    json_t *root = read_object(message, problem);
    const json_t *parameters = json_object_get(root, "parameters");
    bool good = problem->code == API_P_NONE && api_oip_only(root, members, "", problem);
    good = good && api_oip_only(parameters, unload ? known : known + 1, "/parameters", problem);
    json_decref(root);
    return good;
}
