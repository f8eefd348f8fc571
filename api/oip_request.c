// SPDX-License-Identifier: Apache-2.0
#include "api/oip_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ID = 256, DEFAULT_QUALITY = 90 };

const char *const api_oip_output_names[] = {
    [API_OIP_OUTPUT] = "output", [API_OIP_PIXELS] = "pixels", [API_OIP_IMAGE] = "image"};

/* What is read on the way and ends in the inner request. */
struct reading {
    struct api_oip_infer *request;
    struct api_transfer parameters;
    enum api_operation operation;
    bool binary; /* outputs that do not say otherwise */
    struct api_oip_body body;
};

bool api_oip_only(const json_t *object, const char *const *names, const char *where,
                  struct api_problem *problem)
{
    const char *name;
    json_t *value;
    if (object != NULL && !json_is_object(object) && !json_is_null(object))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, where, "must be an object");
    json_object_foreach((json_t *)object, name, value)
    {
        size_t i = 0;
        while (names[i] != NULL && strcmp(names[i], name) != 0)
            i++;
        if (names[i] != NULL)
            continue;
        char pointer[128];
        snprintf(pointer, sizeof pointer, "%s/%.40s", where, name);
        return api_problem_set(problem, API_P_UNKNOWN_PARAMETER, pointer, "is not a member here");
    }
    return true;
}

/* ---- JSON and tensors ---- */

/* Up to ten decimal digits. */
static bool read_length(const char *text, size_t *length)
{
    *length = 0;
    if (strlen(text) == 0 || strlen(text) > 10)
        return false;
    for (; *text != '\0'; text++) {
        if (!isdigit((unsigned char)*text))
            return false;
        *length = *length * 10 + (size_t)(*text - '0');
    }
    return true;
}

static bool split_body(struct api_oip_body *body, const struct api_message *message,
                       const char *header_length, struct api_problem *problem)
{
    size_t length = message->body_size;
    if (header_length[0] != '\0' && !read_length(header_length, &length))
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                               API_OIP_LENGTH_HEADER " must be a number of bytes, not %.40s", header_length);
    if (length > message->body_size)
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                               API_OIP_LENGTH_HEADER " is %zu, but the body has %zu bytes", length,
                               message->body_size);
    if (message->body_size == 0)
        return api_problem_set(problem, API_P_EMPTY_BODY, NULL,
                               "the body is empty; send {\"inputs\": [...]}");
    char type[64];
    api_content_type(message->content_type, type, sizeof type);
    if (length == 0 && strcmp(type, "application/json") == 0)
        return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                               API_OIP_LENGTH_HEADER
                               " is 0, so there is no JSON, but the type of the body is "
                               "application/json");
    *body = (struct api_oip_body){.json = message->body,
                                  .json_size = length,
                                  .tensors = message->body + length,
                                  .tensors_size = message->body_size - length,
                                  .whole = length == 0};
    return true;
}

/* ---- parameters ---- */

static bool given(const struct reading *reading, const char *name)
{
    return api_parameter_given(&api_transfer_table, &reading->parameters.seen, name);
}

static bool read_operation(struct reading *reading, const json_t *value, struct api_problem *problem)
{
    const char *word = json_string_value(value);
    if (word != NULL && strcmp(word, "generate") == 0)
        reading->operation = API_OP_GENERATE;
    else if (word == NULL || strcmp(word, "transfer") != 0)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/parameters/operation",
                               "must be transfer or generate");
    return true;
}

static bool read_switch(bool *out, const json_t *value, const char *pointer, struct api_problem *problem)
{
    if (!json_is_boolean(value))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer, "must be true or false");
    *out = json_is_true(value);
    return true;
}

/* One of /v1/transfer's own. */
static bool set(struct reading *reading, const char *name, const char *text, struct api_problem *problem)
{
    return api_parameter_set(&api_transfer_table, &reading->parameters, &reading->parameters.seen, name, text,
                             problem);
}

/* Clients of this protocol count microseconds; `count` is -1 for what is no such number. */
static bool set_timeout(struct reading *reading, int64_t count, const char *pointer,
                        struct api_problem *problem)
{
    static const int64_t least = 1000, most = INT64_C(86400) * 1000000;
    char seconds[32];
    if (count < least || count > most)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "must be a whole number of microseconds in 1000..86400000000");
    snprintf(seconds, sizeof seconds, "%.17g", (double)count / 1e6);
    return set(reading, "timeout", seconds, problem);
}

/* Clients of this protocol count priorities from 1, the highest; 0 is the default. */
static bool set_priority(struct reading *reading, int64_t number, const char *pointer,
                         struct api_problem *problem)
{
    if (number < 0)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "must be 0, 1 (normal) or more (low)");
    return set(reading, "priority", number <= 1 ? "normal" : "low", problem);
}

static bool read_parameter(struct reading *reading, const char *name, const json_t *value,
                           struct api_problem *problem)
{
    if (strcmp(name, "operation") == 0)
        return read_operation(reading, value, problem);
    if (strcmp(name, "binary_data_output") == 0)
        return read_switch(&reading->binary, value, "/parameters/binary_data_output", problem);
    if (strcmp(name, "timeout") == 0)
        return set_timeout(reading, json_is_integer(value) ? json_integer_value(value) : -1,
                           "/parameters/timeout", problem);
    if (strcmp(name, "priority") == 0 && json_is_integer(value))
        return set_priority(reading, json_integer_value(value), "/parameters/priority", problem);
    return api_parameter_set_json(&api_transfer_table, &reading->parameters, &reading->parameters.seen, name,
                                  value, problem);
}

/* Fields from `first` on, which name members of a request of ours. */
static void point_into_parameters(struct api_problem *problem, size_t first)
{
    static const char place[] = "/parameters";
    for (size_t i = first; i < problem->field_count; i++) {
        char *pointer = problem->fields[i].pointer, whole[sizeof problem->fields[i].pointer + sizeof place];
        if (strncmp(pointer, place, sizeof place - 1) == 0)
            continue;
        snprintf(whole, sizeof whole, "%s%s", place, pointer);
        snprintf(pointer, sizeof problem->fields[i].pointer, "%.*s",
                 (int)sizeof problem->fields[i].pointer - 1, whole);
    }
}

static bool read_parameters(struct reading *reading, const json_t *object, struct api_problem *problem)
{
    const char *name;
    json_t *value;
    bool good = true;
    if (object != NULL && !json_is_object(object) && !json_is_null(object))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/parameters", "must be an object");
    json_object_foreach((json_t *)object, name, value)
    {
        const size_t before = problem->field_count;
        good = read_parameter(reading, name, value, problem) && good;
        point_into_parameters(problem, before);
        if (problem->field_count == API_PROBLEM_FIELDS)
            return false;
    }
    return good;
}

/* At most 15 digits; -1 for any other text. */
static int64_t read_number(const char *text)
{
    int64_t number = 0;
    if (text[0] == '\0' || strlen(text) > 15)
        return -1;
    for (; *text != '\0'; text++) {
        if (!isdigit((unsigned char)*text))
            return -1;
        number = number * 10 + (*text - '0');
    }
    return number;
}

/* The query is ours, but what it means is what it means in the JSON of this protocol. */
static bool read_query_parameter(void *context, const char *name, const char *text,
                                 struct api_problem *problem)
{
    struct reading *reading = context;
    const int64_t number = read_number(text);
    if (strcmp(name, "timeout") == 0)
        return set_timeout(reading, number, "/timeout", problem);
    if (strcmp(name, "priority") == 0 && number >= 0)
        return set_priority(reading, number, "/priority", problem);
    return set(reading, name, text, problem);
}

/* Some parameters of /v1/transfer mean nothing here, some are about the output "image". */
static bool settle_parameters(struct reading *reading, struct api_problem *problem)
{
    static const char *const foreign[] = {"layout", "trajectory"};
    struct api_transfer *parameters = &reading->parameters;
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (given(reading, foreign[i])) {
            char pointer[72];
            api_parameter_pointer(foreign[i], pointer);
            return api_problem_set(problem, API_P_UNKNOWN_PARAMETER, pointer,
                                   "is not a parameter of inference");
        }
    if (given(reading, "format") && parameters->format + 1 > API_MEDIA_WEBP)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/format", "must be png, jpeg or webp");
    if (given(reading, "format"))
        reading->request->format = (enum efm_image_format)(EFM_IMAGE_PNG + parameters->format);
    if (given(reading, "quality"))
        reading->request->quality = (int)parameters->quality;
    return true;
}
_Static_assert(API_MEDIA_JPEG - API_MEDIA_PNG == EFM_IMAGE_JPEG - EFM_IMAGE_PNG &&
                   API_MEDIA_WEBP - API_MEDIA_PNG == EFM_IMAGE_WEBP - EFM_IMAGE_PNG,
               "the words of format are formats of images first");

/* ---- outputs ---- */

static bool add_output(struct reading *reading, enum api_oip_output_kind kind, bool binary,
                       const char *pointer, struct api_problem *problem)
{
    struct api_oip_infer *request = reading->request;
    for (size_t i = 0; i < request->output_count; i++)
        if (request->outputs[i].kind == kind)
            return api_problem_set(problem, API_P_DUPLICATE_PARAMETER, pointer, "is asked for twice");
    if (kind != API_OIP_OUTPUT && request->shape.dimension > 0 && !efm_shape_is_image(&request->shape))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "must be output: the samples of this model are vectors, not images");
    request->outputs[request->output_count++] = (struct api_oip_output){kind, binary};
    return true;
}

static bool read_output(struct reading *reading, const json_t *value, size_t index,
                        struct api_problem *problem)
{
    static const char *const members[] = {"name", "parameters", NULL};
    static const char *const known[] = {"binary_data", NULL};
    const json_t *parameters = json_object_get(value, "parameters");
    const json_t *binary_data = json_object_get(parameters, "binary_data");
    const char *name = json_string_value(json_object_get(value, "name"));
    char pointer[32];
    bool binary = reading->binary;
    snprintf(pointer, sizeof pointer, "/outputs/%zu", index);
    if (name == NULL)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer, "must be {\"name\": ...}");
    if (!api_oip_only(value, members, pointer, problem) ||
        !api_oip_only(parameters, known, "/outputs/parameters", problem) ||
        (binary_data != NULL && !read_switch(&binary, binary_data, pointer, problem)))
        return false;
    for (int kind = 0; kind < API_OIP_OUTPUT_KINDS; kind++)
        if (strcmp(api_oip_output_names[kind], name) == 0)
            return add_output(reading, (enum api_oip_output_kind)kind, binary, pointer, problem);
    return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                           "must be output, pixels or image, not %.40s", name);
}

static bool read_outputs(struct reading *reading, const json_t *list, struct api_problem *problem)
{
    if (list != NULL && (!json_is_array(list) || json_array_size(list) > API_OIP_OUTPUT_KINDS))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/outputs", "must be an array of 1 to %d",
                               API_OIP_OUTPUT_KINDS);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!read_output(reading, json_array_get(list, i), i, problem))
            return false;
    if (reading->request->output_count == 0)
        return add_output(reading, API_OIP_OUTPUT, reading->binary, "/outputs", problem);
    return true;
}

/* ---- the whole ---- */

static bool read_input(struct reading *reading, const json_t *list, struct api_problem *problem)
{
    const bool transfer = reading->operation == API_OP_TRANSFER;
    if (list != NULL && !json_is_array(list))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/inputs", "must be an array");
    const size_t count = json_array_size(list);
    if (transfer && count == 0)
        return api_problem_set(problem, API_P_MISSING_PARAMETER, "/inputs",
                               "is absent; send one input, or the parameter \"operation\": \"generate\"");
    if (count > (transfer ? 1 : 0))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/inputs",
                               transfer ? "must be one: a model has the input \"input\" alone"
                                        : "is not taken by the operation generate");
    if (transfer)
        return api_oip_read_input(reading->request, json_array_get(list, 0), &reading->body, problem);
    return reading->body.tensors_size == 0 ||
           api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL, "bytes follow the JSON without an input");
}

/* Some clients say once more what the path says. */
static bool check_model(const struct api_oip_infer *request, const json_t *root, struct api_problem *problem)
{
    const json_t *name = json_object_get(root, "model_name"),
                 *version = json_object_get(root, "model_version");
    if (name != NULL && (!json_is_string(name) || strcmp(json_string_value(name), request->model) != 0))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/model_name",
                               "is not the model of the path");
    if (version != NULL && !json_is_null(version) &&
        (!json_is_string(version) || strcmp(json_string_value(version), API_OIP_VERSION) != 0))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/model_version",
                               "must be \"" API_OIP_VERSION "\"");
    return true;
}

static bool read_members(struct reading *reading, json_t *root, struct api_problem *problem)
{
    static const char *const members[] = {"id",         "parameters",    "inputs", "outputs",
                                          "model_name", "model_version", NULL};
    struct api_oip_infer *request = reading->request;
    json_t *id = json_object_get(root, "id");
    if (!json_is_object(root))
        return api_problem_set(problem, API_P_MALFORMED_JSON, NULL,
                               "the JSON must be an object: {\"inputs\": [...]}");
    if (!api_oip_only(root, members, "", problem) || !check_model(request, root, problem))
        return false;
    if (id != NULL && (!json_is_string(id) || json_string_length(id) > MAX_ID))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/id",
                               "must be a string of at most %d bytes", MAX_ID);
    request->id = json_incref(id);
    return read_parameters(reading, json_object_get(root, "parameters"), problem) &&
           settle_parameters(reading, problem) &&
           read_outputs(reading, json_object_get(root, "outputs"), problem) &&
           read_input(reading, json_object_get(root, "inputs"), problem);
}

static bool read_body(struct reading *reading, struct api_problem *problem)
{
    const struct api_oip_body *body = &reading->body;
    if (body->whole) {
        reading->binary = true; // who has no JSON wants none
        return settle_parameters(reading, problem) && read_outputs(reading, NULL, problem) &&
               api_oip_read_whole(reading->request, body, problem);
    }
    json_t *root = api_json_parse(body->json, body->json_size, problem);
    bool good = root != NULL && read_members(reading, root, problem);
    json_decref(root);
    return good;
}

bool api_oip_infer_parse(struct api_oip_infer *request, const char *model, const struct efm_shape *shape,
                         const struct api_message *message, const char *header_length,
                         const struct api_limits *limits, struct api_problem *problem)
{
    *request = (struct api_oip_infer){
        .format = EFM_IMAGE_PNG, .quality = DEFAULT_QUALITY, .max_reply_bytes = limits->max_reply_bytes};
    snprintf(request->model, sizeof request->model, "%.64s", model);
    if (shape != NULL)
        request->shape = *shape;
    api_inner_init(&request->inner, limits->max_reply_bytes);
    struct reading reading = {.request = request};
    // The model of the path comes first: given once more it is given twice.
    if (!set(&reading, "model", model, problem) ||
        !split_body(&reading.body, message, header_length, problem) ||
        !api_query_each(message->query, read_query_parameter, &reading, problem) ||
        !read_body(&reading, problem))
        return false;
    // A picture as /v1/transfer makes it, with its texts, where nothing else is asked for.
    if (request->output_count == 1 && request->outputs[0].kind == API_OIP_IMAGE &&
        request->format == EFM_IMAGE_PNG)
        request->inner.media = API_MEDIA_JSON;
    return api_inner_target(&request->inner, reading.operation, &reading.parameters, problem);
}

void api_oip_infer_problem(struct api_problem *problem)
{
    api_problem_move(problem, "/image", "/inputs/0/data");
    api_problem_move(problem, "/vectors", "/inputs/0/data");
}

void api_oip_infer_release(struct api_oip_infer *request)
{
    json_decref(request->id);
    request->id = NULL;
    api_inner_release(&request->inner);
}
