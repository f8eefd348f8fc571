// SPDX-License-Identifier: Apache-2.0
#include "api/train.h"

#include "api/lines.h"
#include "api/train_internal.h"

#include "core/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- tables ---- */

#define TRAIN_WORD(symbol, word, meaning) word,
static const char *const FIELDS[] = {EFM_TARGET_MAP(TRAIN_WORD) NULL};
static const char *const SAMPLERS[] = {EFM_SAMPLER_MAP(TRAIN_WORD) NULL};
static const char *const PAIRINGS[] = {EFM_PAIRING_MAP(TRAIN_WORD) NULL};
static const char *const SCHEDULES[] = {EFM_SCHEDULE_MAP(TRAIN_WORD) NULL};
static const char *const PRECISIONS[] = {EFM_PRECISION_MAP(TRAIN_WORD) NULL};
static const char *const ARCHES[] = {EFM_NET_ARCH_MAP(TRAIN_WORD) NULL};
#undef TRAIN_WORD
static const char *const WEIGHTS[] = {"f32", "bf16", NULL};             /* enum api_train_weights */
static const char *const FITS[] = {"crop", "contain", "stretch", NULL}; /* enum efm_image_fit */

#define VALUE(member) offsetof(struct api_train_values, member)
static const struct api_parameter VALUES[] = {
    {"field", API_WORD, VALUE(field), .words = FIELDS, .help = "What the network learns"},
    {"L", API_REAL, VALUE(length), .low = 1e-6, .high = 1e6, .help = "Distance of the plates"},
    {"sampler", API_WORD, VALUE(sampler), .words = SAMPLERS, .help = "Where the points of a step lie"},
    {"pairing", API_WORD, VALUE(pairing), .words = PAIRINGS, .help = "Which charges the points lie between"},
    {"batch", API_INTEGER, VALUE(batch), .low = 1, .high = EFM_BATCH_MOST_POINTS, .help = "Points a step"},
    {"charges", API_INTEGER, VALUE(charges), .low = 0, .high = EFM_BATCH_MOST_CHARGES,
     .help = "Samples of each plate that make the field of a step; 0: all of them"},
    {"refresh", API_INTEGER, VALUE(refresh), .low = 0, .high = EFM_BATCH_MOST_REFRESH,
     .help = "Steps that the same charges serve; 0: one, matched: charges / batch, all charges: 16"},
    {"gamma", API_REAL, VALUE(gamma), .low = 0, .high = 1e6, .help = "per_plate: softens the normalisation"},
    {"lowest", API_REAL, VALUE(lowest), .low = 0, .high = 1e6,
     .help = "Heights lie between this and L minus this"},
    {"sigma", API_REAL, VALUE(sigma), .low = 0, .high = 1e6,
     .help = "geometric: scale of the heights, 0: 0.1; tube: spread of the noise, 0: L/10"},
    {"tau", API_REAL, VALUE(tau), .low = 0, .high = 1, .help = "geometric: growth of the heights, 0: 0.03"},
    {"steps", API_INTEGER, VALUE(steps), .low = 1, .high = 1e9, .help = "Length of the training"},
    {"seed", API_INTEGER, VALUE(seed), .low = 0, .high = API_SEED_MAX,
     .help = "The same seed gives the same model"},
    {"learning_rate", API_REAL, VALUE(learning_rate), .low = 1e-12, .high = 10, .help = "Of Adam"},
    {"warmup", API_INTEGER, VALUE(warmup), .low = 0, .high = 1e9,
     .help = "Steps until the rate is reached; 0: none"},
    {"clip", API_REAL, VALUE(clip), .low = 0, .high = 1e9,
     .help = "Norm that gradients are cut to; 0: not at all"},
    {"ema", API_REAL, VALUE(ema), .low = 0, .high = 0.9999999,
     .help = "Decay of the moving average, which becomes the model"},
    {"schedule", API_WORD, VALUE(schedule), .words = SCHEDULES, .help = "The rate after the warm-up"},
    {"precision", API_WORD, VALUE(precision), .words = PRECISIONS, .help = "Of the arithmetic"},
    {"weights", API_WORD, VALUE(weights), .words = WEIGHTS, .help = "Numbers of the model's file"},
    {"threads", API_INTEGER, VALUE(threads), .low = 0, .high = 256, .help = "0: one for each core"},
    {"shards", API_INTEGER, VALUE(shards), .low = 1, .high = 64,
     .help = "Parts of a batch, each a thread's; part of what fixes the result"},
};
#undef VALUE

#define IMAGE(member) offsetof(struct api_train_image, member)
static const struct api_parameter IMAGE_VALUES[] = {
    {"height", API_INTEGER, IMAGE(height), .low = 1, .high = 4096, .help = "Pixels"},
    {"width", API_INTEGER, IMAGE(width), .low = 1, .high = 4096, .help = "Pixels"},
    {"channels", API_INTEGER, IMAGE(channels), .low = 1, .high = 3, .fallback = "3",
     .help = "1 for grey, 3 for RGB, which grey becomes by repetition"},
    {"fit", API_WORD, IMAGE(fit), .words = FITS, .fallback = "crop",
     .help = "How an image of other proportions is brought to size"},
    {"background", API_COLOUR, IMAGE(background), .fallback = "black",
     .help = "What shows through transparent pixels and around a contained image"},
};
#undef IMAGE

#define NETWORK(member) offsetof(struct api_train_network, member)
static const struct api_parameter NETWORK_VALUES[] = {
    {"arch", API_WORD, NETWORK(arch), .words = ARCHES, .help = "unet for images, mlp for vectors"},
    {"nf", API_INTEGER, NETWORK(nf), .low = 32, .high = 512,
     .help = "unet: channels of the first level, a multiple of 32"},
    {"blocks", API_INTEGER, NETWORK(blocks), .low = 1, .high = 8, .help = "unet: residual blocks a level"},
    {"dropout", API_REAL, NETWORK(dropout), .low = 0, .high = 0.95,
     .help = "unet: share dropped in training"},
    {"hidden", API_INTEGER, NETWORK(hidden), .low = 0, .high = 65536,
     .help = "mlp: width before the embedding of z; 0: 1024 D"},
    {"hidden2", API_INTEGER, NETWORK(hidden2), .low = 0, .high = 65536,
     .help = "mlp: width after it; 0: 1024 (D + 1)"},
    {"embedding", API_INTEGER, NETWORK(embedding), .low = 0, .high = 4096,
     .help = "mlp: width of the embedding, even; 0: 128"},
};
#undef NETWORK

#define TABLE(items)                                                                                         \
    {                                                                                                        \
        items, sizeof items / sizeof items[0]                                                                \
    }
const struct api_parameter_table api_train_table = TABLE(VALUES);
const struct api_parameter_table api_train_image_table = TABLE(IMAGE_VALUES);
const struct api_parameter_table api_train_network_table = TABLE(NETWORK_VALUES);
#undef TABLE
_Static_assert(sizeof VALUES / sizeof VALUES[0] <= API_MAX_PARAMETERS, "one bit each");

/* ---- problems of nested members ---- */

bool api_train_refuse(struct api_problem *problem, enum api_problem_code code, const char *parent,
                      const char *name, const char *format, ...)
{
    char pointer[72], text[200];
    size_t used = 0;
    const char *const parts[] = {parent, name};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    pointer[0] = '\0';
    for (size_t i = 0; i < 2; i++)
        if (parts[i][0] != '\0') {
            char part[72];
            api_parameter_pointer(parts[i], part);
            snprintf(pointer + used, sizeof pointer - used, "%s", part);
            used = strlen(pointer);
        }
    return api_problem_set(problem, code, pointer, "%s", text);
}

bool api_train_refuse_member(struct api_problem *problem, const char *parent,
                             const struct api_problem *of_member)
{
    char pointer[72];
    const char *name = of_member->field_count > 0 ? of_member->fields[0].pointer : "";
    const char *detail = of_member->field_count > 0 ? of_member->fields[0].detail : of_member->detail;
    snprintf(pointer, sizeof pointer, "/%.30s%.40s", parent, name);
    return api_problem_set(problem, of_member->code, pointer, "%s", detail);
}

static bool refuse_kind(struct api_problem *problem, const char *key, const char *wanted)
{
    return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, "", "must be %s", wanted);
}

/* ---- "image" and "network" ---- */

static bool read_member(const struct api_parameter_table *table, void *target,
                        struct api_parameters_seen *seen, const char *parent, const char *name,
                        const json_t *value, struct api_problem *problem)
{
    struct api_problem of_member = {0};
    return api_parameter_set_json(table, target, seen, name, value, &of_member) ||
           api_train_refuse_member(problem, parent, &of_member);
}

static bool read_image(struct api_train *train, const char *key, json_t *value, struct api_problem *problem)
{
    struct api_train_image *image = &train->image;
    const char *name;
    json_t *member;
    if (!json_is_object(value))
        return refuse_kind(problem, key, "an object with height and width");
    api_parameters_defaults(&api_train_image_table, image);
    json_object_foreach(value, name, member)
    {
        if (!read_member(&api_train_image_table, image, &image->seen, key, name, member, problem))
            return false;
    }
    if (image->channels == 2)
        return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, "channels",
                                "must be 1 for grey or 3 for RGB, not 2");
    const char *missing = image->height == 0 ? "height" : image->width == 0 ? "width" : NULL;
    if (missing != NULL)
        return api_train_refuse(problem, API_P_MISSING_PARAMETER, key, missing, "is needed in an image");
    return true;
}

/* A list of 1..most whole numbers in 1..high. */
static bool read_numbers(uint32_t *numbers, uint32_t *count, size_t least, size_t most, uint32_t high,
                         const char *name, const json_t *value, struct api_problem *problem)
{
    size_t size = json_array_size(value); /* 0 for what is no list */
    bool good = json_is_array(value) && size >= least && size <= most;
    for (size_t i = 0; good && i < size; i++) {
        const json_t *item = json_array_get(value, i);
        good = json_is_integer(item) && json_integer_value(item) >= 1 && json_integer_value(item) <= high;
        numbers[i] = good ? (uint32_t)json_integer_value(item) : 0;
    }
    if (!good)
        return api_train_refuse(problem, API_P_INVALID_PARAMETER, "network", name,
                                "must be a list of %zu..%zu whole numbers in 1..%u", least, most, high);
    *count = (uint32_t)size;
    return true;
}

static bool read_network(struct api_train *train, const char *key, json_t *value, struct api_problem *problem)
{
    struct api_train_network *network = &train->network;
    const char *name;
    json_t *member;
    bool good = true;
    if (!json_is_object(value))
        return refuse_kind(problem, key, "an object like {\"arch\": \"unet\", \"nf\": 64}");
    json_object_foreach(value, name, member)
    {
        if (strcmp(name, "ch_mult") == 0)
            good = network->ch_mult_given = read_numbers(network->ch_mult, &network->levels, 1,
                                                         EFM_NET_MAX_LEVELS, 8, name, member, problem);
        else if (strcmp(name, "attention") == 0)
            good = network->attention_given =
                read_numbers(network->attention, &network->attention_count, 0, EFM_NET_MAX_ATTENTION,
                             EFM_NET_MAX_SIDE, name, member, problem);
        else
            good = read_member(&api_train_network_table, network, &network->seen, key, name, member, problem);
        if (!good)
            return false;
    }
    return true;
}

/* ---- the whole ---- */

static bool is_among(const char *key, const char *const *list)
{
    for (; list != NULL && *list != NULL; list++)
        if (strcmp(key, *list) == 0)
            return true;
    return false;
}

static bool read_all(struct api_train *train, json_t *root, enum api_train_places places,
                     const char *const *skip, struct api_problem *problem)
{
    const char *key;
    json_t *value;
    bool good = true, same = false;
    json_object_foreach(root, key, value)
    {
        if (is_among(key, skip))
            continue;
        if (strcmp(key, "source") == 0 || strcmp(key, "target") == 0)
            good = api_train_read_plate(&train->plates[key[0] == 's' ? EFM_SOURCE : EFM_TARGET], places, key,
                                        value, problem);
        else if (strcmp(key, "image") == 0)
            good = read_image(train, key, value, problem);
        else if (strcmp(key, "augment") == 0)
            good = api_train_read_augment(train->augmentation, &same, value, problem);
        else if (strcmp(key, "network") == 0)
            good = read_network(train, key, value, problem);
        else
            good =
                api_parameter_set_json(&api_train_table, &train->values, &train->seen, key, value, problem);
        if (!good)
            return false;
    }
    for (size_t side = 0; same && side < 2; side++)
        if (train->plates[side].origin == API_TRAIN_GAUSSIAN)
            train->augmentation[side] = 0; /* noise is as good as it is */
    return true;
}

static bool check_plates(const struct api_train *train, enum api_train_places places,
                         struct api_problem *problem)
{
    static const char *const keys[] = {"source", "target"};
    for (size_t side = 0; side < 2; side++) {
        if (train->plates[side].name[0] == '\0')
            return api_train_refuse(problem, API_P_MISSING_PARAMETER, keys[side], "",
                                    "is needed: %s, or \"gaussian\"",
                                    places == API_TRAIN_STORED ? "the name of a dataset, a URL, a toy"
                                                               : "a path, an object with one");
        if (train->plates[side].origin == API_TRAIN_GAUSSIAN && train->augmentation[side] != 0)
            return api_train_refuse(problem, API_P_INVALID_PARAMETER, "augment", keys[side],
                                    "noise is not augmented");
    }
    if (train->plates[0].origin == API_TRAIN_GAUSSIAN && train->plates[1].origin == API_TRAIN_GAUSSIAN)
        return api_train_refuse(problem, API_P_INVALID_PARAMETER, "target", "",
                                "one of source and target is data; both are \"gaussian\"");
    return true;
}

bool api_train_read(struct api_train *train, const json_t *object, enum api_train_places places,
                    const char *const *skip, struct api_problem *problem)
{
    *train = (struct api_train){0};
    bool good =
        read_all(train, (json_t *)object, places, skip, problem) && check_plates(train, places, problem);
    if (!good)
        api_train_release(train);
    return good;
}

bool api_train_parse(struct api_train *train, const uint8_t *bytes, size_t size, struct api_problem *problem)
{
    *train = (struct api_train){0};
    json_t *root = api_json_parse(bytes, size, problem);
    if (root == NULL)
        return false;
    bool good = json_is_object(root)
                    ? api_train_read(train, root, API_TRAIN_FILES, NULL, problem)
                    : api_problem_set(problem, API_P_MALFORMED_JSON, NULL, "the spec must be a JSON object");
    json_decref(root);
    return good;
}

void api_train_release(struct api_train *train)
{
    for (size_t side = 0; side < 2; side++) {
        efm_free(train->plates[side].path);
        efm_free(train->plates[side].labels);
        efm_free(train->plates[side].toy);
    }
    *train = (struct api_train){0};
}

void api_train_dataset_options(const struct api_train *train, struct efm_dataset_options *options)
{
    const struct api_train_image *image = &train->image;
    *options = efm_dataset_options_default();
    if (image->height == 0)
        return;
    options->shape =
        efm_shape_image((uint32_t)image->height, (uint32_t)image->width, (uint32_t)image->channels);
    options->fit = (enum efm_image_fit)image->fit;
    memcpy(options->background, image->background, sizeof options->background);
}

bool api_train_set_steps(struct api_train *train, const char *text, struct api_problem *problem)
{
    /* over what was given, so that it is not given twice */
    struct api_parameters_seen seen = {0};
    if (!api_parameter_set(&api_train_table, &train->values, &seen, "steps", text, problem))
        return false;
    train->seen.given |= seen.given;
    return true;
}
