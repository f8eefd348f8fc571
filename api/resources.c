// SPDX-License-Identifier: Apache-2.0
#include "api/resources.h"

#include "api/json.h"
#include "api/lines.h"
#include "core/field/learned.h"

#include <string.h>

/* curl -F wraps a file into a form; what comes out of that is no file of any kind. */
static bool refuse_form(const struct api_message *message, struct api_problem *problem)
{
    char type[64];
    api_content_type(message->content_type, type, sizeof type);
    if (strcmp(type, "multipart/form-data") != 0)
        return false;
    api_problem_set(problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL,
                    "no form is taken here; send the file itself as the body (curl -T FILE)");
    return true;
}

/* ---- datasets ---- */

static const char *const FITS[] = {"crop", "contain", "stretch", NULL}; /* enum efm_image_fit */

static const struct api_parameter DATASET_PARAMETERS[] = {
    {"size", API_INTEGER, offsetof(struct api_dataset_request, size), .low = 2, .high = 4096,
     .fallback = "the size of the first image, which all must have",
     .help = "Bring every image to this height and width"},
    {"channels", API_INTEGER, offsetof(struct api_dataset_request, channels), .low = 1, .high = 3,
     .fallback = "3 where size is given, otherwise those of the first image",
     .help = "1 for grey, 3 for RGB; goes with size"},
    {"fit", API_WORD, offsetof(struct api_dataset_request, fit), .words = FITS, .fallback = "crop",
     .help = "How an image of other proportions is brought to size"},
    {"background", API_COLOUR, offsetof(struct api_dataset_request, background), .fallback = "black",
     .help = "What shows through transparent pixels and around a contained image"},
};

const struct api_parameter_table api_dataset_table = {DATASET_PARAMETERS, sizeof DATASET_PARAMETERS /
                                                                              sizeof DATASET_PARAMETERS[0]};

bool api_dataset_parse(struct api_dataset_request *request, const struct api_message *message,
                       struct api_problem *problem)
{
    *request = (struct api_dataset_request){0};
    api_parameters_defaults(&api_dataset_table, request);
    if (!api_parameters_from_query(&api_dataset_table, request, &request->seen, message->query, problem))
        return false;
    if (request->channels == 2)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/channels",
                               "must be 1 for grey or 3 for RGB, not 2");
    if (request->channels != 0 && request->size == 0)
        return api_problem_set(problem, API_P_MISSING_PARAMETER, "/size",
                               "is needed where channels is given");
    return !refuse_form(message, problem);
}

static void append_parameter(struct efm_buffer *out, const struct api_parameter *parameter,
                             const struct api_dataset_request *request)
{
    const char *value = (const char *)request + parameter->offset;
    efm_buffer_format(out, "%s%s=", out->size > 0 ? "&" : "", parameter->name);
    uint64_t integer;
    int word;
    uint8_t colour[3];
    switch (parameter->kind) {
    case API_INTEGER:
        memcpy(&integer, value, sizeof integer);
        efm_buffer_format(out, "%llu", (unsigned long long)integer);
        break;
    case API_WORD:
        memcpy(&word, value, sizeof word);
        efm_buffer_append_string(out, parameter->words[word]);
        break;
    case API_COLOUR:
        memcpy(colour, value, sizeof colour);
        efm_buffer_format(out, "%02x%02x%02x", colour[0], colour[1], colour[2]);
        break;
    default: /* a kind that has no text here must not be forgotten silently */
        out->status = EFM_E_INTERNAL;
    }
}

void api_dataset_query(const struct api_dataset_request *request, struct efm_buffer *out)
{
    for (size_t i = 0; i < api_dataset_table.count; i++)
        if (api_parameter_given(&api_dataset_table, &request->seen, api_dataset_table.items[i].name))
            append_parameter(out, &api_dataset_table.items[i], request);
}

void api_dataset_options(const struct api_dataset_request *request, struct efm_dataset_options *options)
{
    *options = efm_dataset_options_default();
    if (request->size > 0)
        options->shape = efm_shape_image((uint32_t)request->size, (uint32_t)request->size,
                                         request->channels == 0 ? 3 : (uint32_t)request->channels);
    options->fit = (enum efm_image_fit)request->fit;
    memcpy(options->background, request->background, sizeof options->background);
}

/* [height, width, channels] or [D] */
static void append_shape(struct efm_buffer *out, const struct efm_shape *shape)
{
    if (efm_shape_is_image(shape))
        efm_buffer_format(out, "[%u,%u,%u]", shape->height, shape->width, shape->channels);
    else
        efm_buffer_format(out, "[%zu]", shape->dimension);
}

void api_dataset_render(const char *name, const struct efm_dataset *dataset,
                        const struct api_dataset_file *file, struct efm_buffer *out)
{
    float low, high;
    efm_dataset_range(dataset, &low, &high);
    efm_buffer_append_string(out, "{\"id\":");
    api_json_string(out, name);
    efm_buffer_format(out, ",\"object\":\"dataset\",\"count\":%zu,\"shape\":", efm_dataset_count(dataset));
    append_shape(out, efm_dataset_shape(dataset));
    efm_buffer_append_string(out, ",\"format\":");
    api_json_string(out, efm_dataset_format(dataset));
    efm_buffer_format(out, ",\"bytes\":%llu,\"sha256\":\"%s\",\"range\":[", (unsigned long long)file->bytes,
                      file->sha256);
    api_json_float(out, low);
    efm_buffer_append_string(out, ",");
    api_json_float(out, high);
    efm_buffer_format(
        out,
        "],\"created\":%lld,\"urls\":{\"self\":\"/v1/datasets/%s\",\"preview\":\"/v1/datasets/%s/"
        "preview.png\"}}",
        (long long)file->created, name, name);
}

/* ---- exact models ---- */

#define RESOURCE_WORD(symbol, word, meaning) word,
static const char *const ARCHES[] = {"exact", NULL};
static const char *const MAPS[] = {EFM_MAP_MAP(RESOURCE_WORD) NULL};
static const char *const FIELDS[] = {EFM_EXACT_KIND_MAP(RESOURCE_WORD) NULL};
#undef RESOURCE_WORD

static const struct api_parameter EXACT_PARAMETERS[] = {
    {"arch", API_WORD, offsetof(struct api_exact_request, arch), .words = ARCHES,
     .help = "exact: the field of the samples themselves; needed"},
    {"source", API_NAME, offsetof(struct api_exact_request, source),
     .help = "The dataset on the plate at z = 0; needed"},
    {"target", API_NAME, offsetof(struct api_exact_request, target),
     .help = "The dataset on the plate at z = L; needed"},
    {"L", API_REAL, offsetof(struct api_exact_request, length), .low = 1e-9, .high = 1e6,
     .fallback = "chosen from the data", .help = "Distance of the plates"},
    {"length", API_REAL, offsetof(struct api_exact_request, length), .low = 1e-9, .high = 1e6,
     .fallback = "chosen from the data", .help = "Another name of L"},
    {"map", API_WORD, offsetof(struct api_exact_request, map), .words = MAPS,
     .fallback = "the one that fits the field; chain without a field",
     .help = "How lines carry the source to the target"},
    {"field", API_WORD, offsetof(struct api_exact_request, field), .words = FIELDS,
     .fallback = "the one that fits the map: chain, superposition for stochastic, per_plate for forward",
     .help = "Which field the charges make"},
    {"gamma", API_REAL, offsetof(struct api_exact_request, gamma), .low = 1e-12, .high = 1e6,
     .fallback = "5 for images, 1e-7 for vectors",
     .help = "Softens the normalisation of the field per_plate"},
    {"max_charges", API_INTEGER, offsetof(struct api_exact_request, max_charges), .low = 1, .high = 1e9,
     .fallback = "all samples", .help = "Samples of each dataset to use, the first ones"},
};

const struct api_parameter_table api_exact_table = {EXACT_PARAMETERS,
                                                    sizeof EXACT_PARAMETERS / sizeof EXACT_PARAMETERS[0]};

static bool given(const struct api_exact_request *request, const char *name)
{
    return api_parameter_given(&api_exact_table, &request->seen, name);
}

/* A safetensors file begins with the length of its header, in 8 little-endian bytes, and the header. The
 * first 8 bytes of JSON, read that way, are a length that no file has. */
static bool looks_like_safetensors(const uint8_t *bytes, size_t size)
{
    uint64_t length = 0;
    if (size < 9 || bytes[8] != '{')
        return false;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | bytes[i];
    return length <= size - 8;
}

static bool read_members(struct api_exact_request *request, const struct api_message *message,
                         struct api_problem *problem)
{
    json_t *root = api_json_parse(message->body, message->body_size, problem), *value;
    const char *name;
    bool good = root != NULL;
    if (good && !json_is_object(root))
        good = api_problem_set(problem, API_P_MALFORMED_JSON, NULL,
                               "the JSON must be an object: {\"arch\": \"exact\", ...}");
    if (good) {
        json_object_foreach(root, name, value)
        {
            good = api_parameter_set_json(&api_exact_table, request, &request->seen, name, value, problem) &&
                   good;
            if (problem->field_count == API_PROBLEM_FIELDS)
                break;
        }
    }
    json_decref(root);
    return good;
}

static bool check_members(const struct api_exact_request *request, struct api_problem *problem)
{
    bool good = true;
    if (!given(request, "arch"))
        good = api_problem_set(problem, API_P_MISSING_PARAMETER, "/arch", "is absent; it must be exact");
    if (!given(request, "source"))
        good = api_problem_set(problem, API_P_MISSING_PARAMETER, "/source", "is absent; it names a dataset");
    if (!given(request, "target"))
        good = api_problem_set(problem, API_P_MISSING_PARAMETER, "/target", "is absent; it names a dataset");
    if (given(request, "L") && given(request, "length"))
        return api_problem_set(problem, API_P_DUPLICATE_PARAMETER, "/length",
                               "is another name of L; give one");
    return good;
}

bool api_model_parse(struct api_exact_request *request, const struct api_message *message, bool *is_weights,
                     struct api_problem *problem)
{
    char type[64];
    *request = (struct api_exact_request){0};
    *is_weights = false;
    api_parameters_defaults(&api_exact_table, request);
    bool good = api_parameters_from_query(&api_exact_table, request, &request->seen, message->query, problem);
    if (message->body_size == 0)
        return api_problem_set(problem, API_P_EMPTY_BODY, NULL,
                               "the body is empty; send {\"arch\": \"exact\", ...} or a safetensors file");
    if (refuse_form(message, problem))
        return false;
    api_content_type(message->content_type, type, sizeof type);
    bool weights =
        looks_like_safetensors(message->body, message->body_size) ||
        (!api_json_is_object(message->body, message->body_size) && strcmp(type, "application/json") != 0);
    if (!weights)
        return read_members(request, message, problem) && good && check_members(request, problem);
    *is_weights = true;
    if (good && request->seen.given != 0)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, NULL,
                               "a model file brings its own parameters; give none in the query");
    return good;
}

/* The map and the field that belong to each other; one that is given leads. */
static void choose(const struct api_exact_request *request, struct efm_exact_spec *spec)
{
    static const enum efm_field_kind field_of[] = {[EFM_MAP_FORWARD] = EFM_FIELD_PER_PLATE,
                                                   [EFM_MAP_STOCHASTIC] = EFM_FIELD_SUPERPOSITION,
                                                   [EFM_MAP_CHAIN] = EFM_FIELD_CHAIN};
    static const enum efm_map map_of[] = {[EFM_FIELD_SUPERPOSITION] = EFM_MAP_STOCHASTIC,
                                          [EFM_FIELD_PER_PLATE] = EFM_MAP_FORWARD,
                                          [EFM_FIELD_CHAIN] = EFM_MAP_CHAIN};
    bool has_map = given(request, "map"), has_field = given(request, "field");
    spec->map = has_map ? (enum efm_map)request->map : has_field ? map_of[request->field] : EFM_MAP_CHAIN;
    spec->kind = has_field ? (enum efm_field_kind)request->field : field_of[spec->map];
}

bool api_exact_spec(const struct api_exact_request *request, struct efm_exact_spec *spec,
                    struct api_problem *problem)
{
    *spec = (struct efm_exact_spec){
        .length = request->length, .gamma = request->gamma, .max_charges = request->max_charges};
    choose(request, spec);
    bool fits = spec->kind == EFM_FIELD_CHAIN           ? spec->map == EFM_MAP_CHAIN
                : spec->kind == EFM_FIELD_SUPERPOSITION ? spec->map != EFM_MAP_CHAIN
                                                        : spec->map == EFM_MAP_FORWARD;
    if (!fits)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/map",
                               "%s does not go with the field %s: chain goes with chain, stochastic with "
                               "superposition, forward with per_plate or superposition",
                               MAPS[spec->map], FIELDS[spec->kind]);
    if (given(request, "gamma") && spec->kind != EFM_FIELD_PER_PLATE)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/gamma",
                               "has no effect in the field %s; it is for per_plate", FIELDS[spec->kind]);
    return true;
}

/* ---- models ---- */

static void append_plate(struct efm_buffer *out, const char *member, const struct efm_model *model,
                         enum efm_plate_side side)
{
    const struct efm_domain *domain = efm_model_domain(model, side);
    size_t count = 0;
    (void)efm_field_charges(efm_model_field(model), side, &count);
    efm_buffer_format(out, ",\"%s\":{\"name\":", member);
    api_json_string(out, domain->name);
    efm_buffer_format(out, ",\"standard_normal\":%s,\"count\":%zu}",
                      domain->standard_normal ? "true" : "false", count);
}

/* What a network has that charges have not. */
static void append_learned(struct efm_buffer *out, const struct efm_model *model)
{
    const struct efm_learned_spec *learned = efm_model_learned(model);
    if (learned == NULL)
        return;
    efm_buffer_format(out,
                      ",\"trained_on\":\"%s\",\"velocity\":%s,\"parameters\":%zu,\"precision\":\"%s\","
                      "\"weights\":\"%s\",\"lowest\":",
                      learned->target, learned->velocity ? "true" : "false",
                      efm_net_size(efm_learned_field_net(efm_model_field(model))),
                      efm_precision_name(learned->precision), learned->bf16 ? "bf16" : "f32");
    api_json_real(out, learned->lowest);
    if (learned->record != NULL) {
        efm_buffer_append_string(out, ",\"record\":"); /* JSON itself: the model has made sure */
        efm_buffer_append_string(out, learned->record);
    }
}

static void append_defaults(struct efm_buffer *out, const struct efm_flow_options *options)
{
    efm_buffer_format(out, ",\"defaults\":{\"solver\":\"%s\",\"steps\":%u,\"variable\":\"%s\",\"tolerance\":",
                      api_solver_words[options->solver], options->steps,
                      api_variable_words[options->variable]);
    api_json_real(out, options->tolerance);
    efm_buffer_append_string(out, "}");
}

static void append_limits(struct efm_buffer *out, const struct api_limits *limits)
{
    efm_buffer_format(out,
                      ",\"limits\":{\"max_images\":%zu,\"max_side\":%u,\"max_pixels\":%llu,\"max_steps\":%d,"
                      "\"max_trajectory\":%d,\"max_reply_bytes\":%zu}",
                      limits->max_images, limits->image.max_side,
                      (unsigned long long)limits->image.max_pixels, EFM_FLOW_MAX_STEPS, EFM_FLOW_MAX_FRAMES,
                      limits->max_reply_bytes);
}

void api_model_describe(const char *name, const struct efm_model *model, struct efm_buffer *out)
{
    const struct efm_field *field = efm_model_field(model);
    struct efm_flow_options options;
    efm_model_flow_options(model, &options);
    efm_buffer_append_string(out, "{\"id\":");
    api_json_string(out, name);
    efm_buffer_format(
        out,
        ",\"object\":\"model\",\"owned_by\":\"local\",\"arch\":\"%s\",\"field\":\"%s\",\"map\":\"%s\",\"L\":",
        efm_model_arch(model), efm_field_kind_name(efm_field_kind(field)), efm_map_name(options.map));
    api_json_real(out, efm_field_length(field));
    efm_buffer_append_string(out, ",\"gamma\":");
    api_json_real(out, efm_model_gamma(model));
    efm_buffer_append_string(out, ",\"shape\":");
    append_shape(out, efm_model_shape(model));
    append_learned(out, model);
    append_plate(out, "source", model, EFM_SOURCE);
    append_plate(out, "target", model, EFM_TARGET);
    append_defaults(out, &options);
    efm_buffer_append_string(out, "}");
}

static void append_text(struct efm_buffer *out, const char *member, const char *text)
{
    efm_buffer_format(out, ",\"%s\":", member);
    api_json_string(out, text);
}

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

void api_model_render(const struct api_model_state *state, const struct api_limits *limits,
                      struct efm_buffer *out)
{
    size_t length = state->about == NULL ? 0 : strlen(state->about);
    if (length > 2) /* the object without its last brace */
        efm_buffer_append(out, state->about, length - 1);
    else
        efm_buffer_append_string(out, "{\"object\":\"model\"");
    efm_buffer_format(out, ",\"created\":%lld,\"state\":\"%s\"", (long long)state->created, state->word);
    if (has_text(state->reason))
        append_text(out, "reason", state->reason);
    efm_buffer_format(out, ",\"bytes\":%llu,\"memory\":%zu", (unsigned long long)state->bytes, state->memory);
    append_text(out, "sha256", state->sha256);
    if (has_text(state->trained_by))
        append_text(out, "trained_by", state->trained_by);
    else
        efm_buffer_append_string(out, ",\"trained_by\":null");
    append_limits(out, limits);
    efm_buffer_append_string(out, "}");
}

/* ---- lists ---- */

void api_list_begin(struct efm_buffer *out)
{
    efm_buffer_append_string(out, "{\"object\":\"list\",\"data\":[");
}

void api_list_item(struct efm_buffer *out, size_t index)
{
    if (index > 0)
        efm_buffer_append_string(out, ",");
}

void api_list_end(struct efm_buffer *out)
{
    efm_buffer_append_string(out, "]}\n");
}
