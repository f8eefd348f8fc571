// SPDX-License-Identifier: Apache-2.0
#include "api/json.h"
#include "api/multipart.h"
#include "api/openai.h"

#include "core/base/memory.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FIELD = 512, DEFAULT_QUALITY = 90 };

static bool refuse(struct api_problem *problem, const char *name, const char *what)
{
    char pointer[72];
    api_parameter_pointer(name, pointer);
    return api_problem_set(problem, API_P_UNSUPPORTED_PARAMETER, pointer, "%s", what);
}

/* ---- the fields ---- */

typedef bool read_field(struct api_openai_images *request, const char *name, const char *text,
                        struct api_problem *problem);

/* One of /v1/transfer's own. */
static bool read_ours(struct api_openai_images *request, const char *name, const char *text,
                      struct api_problem *problem)
{
    return api_parameter_set(&api_transfer_table, &request->parameters, &request->parameters.seen, name, text,
                             problem);
}

static bool read_nothing(struct api_openai_images *request, const char *name, const char *text,
                         struct api_problem *problem)
{
    (void)request, (void)name, (void)text, (void)problem;
    return true;
}

static bool read_size(struct api_openai_images *request, const char *name, const char *text,
                      struct api_problem *problem)
{
    if (strlen(text) >= sizeof request->size)
        return refuse(problem, name, "must be auto or the size of the model's images");
    snprintf(request->size, sizeof request->size, "%s", text);
    return true;
}

static bool read_response_format(struct api_openai_images *request, const char *name, const char *text,
                                 struct api_problem *problem)
{
    (void)request;
    return strcmp(text, "b64_json") == 0 ||
           refuse(problem, name, "must be b64_json: no images are kept here");
}

static bool read_output_format(struct api_openai_images *request, const char *name, const char *text,
                               struct api_problem *problem)
{
    static const enum efm_image_format formats[] = {EFM_IMAGE_PNG, EFM_IMAGE_JPEG, EFM_IMAGE_WEBP};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(efm_image_format_name(formats[i]), text) == 0) {
            request->format = formats[i];
            return true;
        }
    return refuse(problem, name, "must be png, jpeg or webp");
}

/* 0..100; our own scale begins at 1. */
static bool read_compression(struct api_openai_images *request, const char *name, const char *text,
                             struct api_problem *problem)
{
    int value = 0;
    bool good = text[0] != '\0' && strlen(text) <= 3;
    for (const char *at = text; good && *at != '\0'; at++) {
        good = isdigit((unsigned char)*at);
        value = value * 10 + (*at - '0');
    }
    if (!good || value > 100)
        return refuse(problem, name, "must be a whole number in 0..100");
    request->has_compression = true;
    request->quality = value < 1 ? 1 : value;
    return true;
}

static bool read_auto(struct api_openai_images *request, const char *name, const char *text,
                      struct api_problem *problem)
{
    (void)request;
    return strcmp(text, "auto") == 0 || refuse(problem, name, "must be auto: nothing else is done here");
}

/* What asks for events as the image comes. */
static bool read_never(struct api_openai_images *request, const char *name, const char *text,
                       struct api_problem *problem)
{
    (void)request;
    return strcmp(text, "false") == 0 || strcmp(text, "0") == 0 ||
           refuse(problem, name, "is not done here: the answer comes in one piece");
}

static const struct field {
    const char *name;
    read_field *read;
} FIELDS[] = {
    {"model", read_ours},
    {"n", read_ours},
    {"seed", read_ours},
    {"steps", read_ours},
    {"solver", read_ours},
    {"direction", read_ours},
    {"size", read_size},
    {"response_format", read_response_format},
    {"output_format", read_output_format},
    {"output_compression", read_compression},
    {"background", read_auto},
    {"quality", read_auto},
    {"moderation", read_auto},
    {"stream", read_never},
    {"partial_images", read_never},
    {"prompt", read_nothing},
    {"user", read_nothing},
};

/* The field, marked as given; NULL with a problem. */
static const struct field *claim_field(struct api_openai_images *request, const char *name,
                                       struct api_problem *problem)
{
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
        if (strcmp(FIELDS[i].name, name) != 0)
            continue;
        const uint32_t bit = UINT32_C(1) << i;
        if ((request->fields_given & bit) != 0) {
            refuse(problem, name, "is given twice");
            return NULL;
        }
        request->fields_given |= bit;
        return &FIELDS[i];
    }
    refuse(problem, name, "is not taken here");
    return NULL;
}

/* ---- JSON ---- */

static bool read_value(struct api_openai_images *request, const char *name, const json_t *value,
                       struct api_problem *problem)
{
    const struct field *field = claim_field(request, name, problem);
    char text[MAX_FIELD + 1];
    if (field == NULL)
        return false;
    if (field->read == read_nothing || json_is_null(value)) // null is what some clients say for nothing
        return true;
    if (json_string_length(value) > MAX_FIELD)
        return refuse(problem, name, "is too long");
    if (json_is_string(value))
        snprintf(text, sizeof text, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        snprintf(text, sizeof text, "%s", json_is_true(value) ? "true" : "false");
    else
        return refuse(problem, name, "is of a kind that is not taken here");
    return field->read(request, name, text, problem);
}

static bool read_json(struct api_openai_images *request, const struct api_message *message,
                      struct api_problem *problem)
{
    json_t *root = api_json_parse(message->body, message->body_size, problem), *value;
    const char *name;
    bool good = root != NULL;
    if (good && !json_is_object(root))
        good = api_problem_set(problem, API_P_MALFORMED_JSON, NULL, "the JSON must be an object");
    if (good) {
        json_object_foreach(root, name, value)
        {
            good = read_value(request, name, value, problem) && good;
            if (problem->field_count == API_PROBLEM_FIELDS)
                break;
        }
    }
    json_decref(root);
    return good;
}

/* ---- forms ---- */

static bool is_image(const struct api_part *part)
{
    return strcmp(part->name, "image") == 0 || strcmp(part->name, "image[]") == 0;
}

static bool read_part(struct api_openai_images *request, const struct api_part *part,
                      struct api_problem *problem)
{
    char text[MAX_FIELD + 1];
    if (part->has_filename)
        return refuse(problem, part->name, "is a file; files are named image");
    const struct field *field = claim_field(request, part->name, problem);
    if (field == NULL)
        return false;
    if (field->read == read_nothing)
        return true;
    if (part->size > MAX_FIELD || memchr(part->data, '\0', part->size) != NULL)
        return refuse(problem, part->name, "is too long or no text");
    memcpy(text, part->data, part->size);
    text[part->size] = '\0';
    return field->read(request, part->name, text, problem);
}

static bool read_parts(struct api_openai_images *request, const struct api_part *parts, size_t count,
                       struct api_file *files, struct api_problem *problem)
{
    const bool takes_images = request->operation == API_OP_TRANSFER;
    size_t file_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (takes_images && is_image(&parts[i]))
            files[file_count++] = (struct api_file){parts[i].data, parts[i].size};
        else if (!read_part(request, &parts[i], problem))
            return false;
    }
    return file_count == 0 || api_inner_files(&request->inner, files, file_count, problem);
}

static bool read_form(struct api_openai_images *request, const struct api_message *message,
                      struct api_problem *problem)
{
    struct api_part *parts = efm_allocate_array(API_MULTIPART_MAX_PARTS, sizeof *parts);
    struct api_file *files = efm_allocate_array(API_MULTIPART_MAX_PARTS, sizeof *files);
    size_t count = 0;
    bool good = parts != NULL && files != NULL;
    if (!good)
        api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory to read the form");
    good = good && api_multipart_parse(message->content_type, message->body, message->body_size, parts,
                                       &count, problem);
    good = good && read_parts(request, parts, count, files, problem);
    efm_free(parts);
    efm_free(files);
    return good;
}

/* ---- the whole ---- */

static bool given(const struct api_openai_images *request, const char *name)
{
    return api_parameter_given(&api_transfer_table, &request->parameters.seen, name);
}

static bool read_body(struct api_openai_images *request, const struct api_message *message,
                      struct api_problem *problem)
{
    char type[64];
    api_content_type(message->content_type, type, sizeof type);
    if (message->body_size == 0)
        return api_problem_set(problem, API_P_EMPTY_BODY, NULL, "the body is empty");
    if (strcmp(type, "multipart/form-data") == 0)
        return read_form(request, message, problem);
    if (!api_json_is_object(message->body, message->body_size) && strcmp(type, "application/json") != 0)
        return api_problem_set(problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL,
                               "the body must be a form (multipart/form-data) or JSON");
    return read_json(request, message, problem);
}

bool api_openai_parse(struct api_openai_images *request, const struct api_message *message,
                      enum api_operation operation, const struct api_limits *limits,
                      struct api_problem *problem)
{
    *request = (struct api_openai_images){.operation = operation,
                                          .format = EFM_IMAGE_PNG,
                                          .quality = DEFAULT_QUALITY,
                                          .max_reply_bytes = limits->max_reply_bytes};
    api_inner_init(&request->inner, limits->max_reply_bytes);
    if (message->query[0] != '\0')
        return api_problem_set(problem, API_P_UNSUPPORTED_PARAMETER, NULL,
                               "parameters stand in the body here, not in the query");
    if (!read_body(request, message, problem))
        return false;
    if (operation == API_OP_TRANSFER && request->inner.body.size == 0)
        return api_problem_set(problem, API_P_MISSING_PARAMETER, "/image",
                               "the form has no file named image");
    if (request->has_compression && request->format == EFM_IMAGE_PNG)
        return refuse(problem, "output_compression", "is for jpeg and webp");
    // A PNG as /v1/transfer makes it, with its texts; the others from the numbers.
    request->inner.media = request->format == EFM_IMAGE_PNG ? API_MEDIA_JSON : API_MEDIA_NPY;
    return true;
}

void api_openai_release(struct api_openai_images *request)
{
    api_inner_release(&request->inner);
}

const char *api_openai_model(const struct api_openai_images *request)
{
    return given(request, "model") ? request->parameters.model : NULL;
}

bool api_openai_plan(struct api_openai_images *request, const char *model, const struct efm_shape *shape,
                     struct api_problem *problem)
{
    char size[sizeof request->size];
    if (!efm_shape_is_image(shape))
        return api_problem_set(problem, API_P_SHAPE_MISMATCH, "/model",
                               "the samples of the model '%.64s' are vectors, not images", model);
    snprintf(size, sizeof size, "%ux%u", shape->width % 100000, shape->height % 100000);
    if (request->size[0] != '\0' && strcmp(request->size, "auto") != 0 && strcmp(request->size, size) != 0)
        return api_problem_set(problem, API_P_UNSUPPORTED_PARAMETER, "/size",
                               "must be auto or %s, the size of this model's images", size);
    request->shape = *shape;
    if (!given(request, "model") && !read_ours(request, "model", model, problem))
        return false;
    return api_inner_target(&request->inner, request->operation, &request->parameters, problem);
}
