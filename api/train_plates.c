// SPDX-License-Identifier: Apache-2.0
/* The plates of a training spec: where samples come from, which of them, and how they are varied. */
#include "api/json.h"
#include "api/train_internal.h"

#include "core/base/memory.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PATH = 4095, MAX_TOY = 1 << 20 };

static const char GAUSSIAN[] = "gaussian";

static bool refuse(struct api_problem *problem, const char *key, const char *name, const char *wanted)
{
    return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, name, "must be %s", wanted);
}

static bool fail_memory(struct api_problem *problem)
{
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory to read the spec");
}

/* ---- members ---- */

static bool read_path(char **path, const char *key, const char *name, const json_t *value,
                      struct api_problem *problem)
{
    const char *text = json_string_value(value);
    if (text == NULL || text[0] == '\0' || strlen(text) > MAX_PATH)
        return refuse(problem, key, name, "the path of a file");
    *path = efm_copy_string(text);
    return *path != NULL || fail_memory(problem);
}

static bool read_label(struct api_train_plate *plate, const char *key, const json_t *value,
                       struct api_problem *problem)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > UINT8_MAX)
        return refuse(problem, key, "label", "a whole number in 0..255");
    plate->label = (uint8_t)json_integer_value(value);
    return true;
}

static bool read_range(struct api_train_plate *plate, const char *key, const char *name, const json_t *value,
                       struct api_problem *problem)
{
    bool is_count = strcmp(name, "count") == 0;
    if (!json_is_integer(value) || (is_count && json_integer_value(value) == 0))
        return refuse(problem, key, name,
                      is_count ? "a whole number but 0; negative: to as many before the end"
                               : "a whole number; negative: from the end");
    *(is_count ? &plate->count : &plate->first) = json_integer_value(value);
    return true;
}

static bool read_name(struct api_train_plate *plate, const char *key, const json_t *value,
                      struct api_problem *problem)
{
    const char *text = json_string_value(value);
    if (text == NULL || !api_name_valid(text))
        return refuse(problem, key, "name", "1..64 of a-z A-Z 0-9 . _ - and not start with . or -");
    snprintf(plate->name, sizeof plate->name, "%s", text);
    return true;
}

static int append_text(const char *text, size_t size, void *context)
{
    return efm_buffer_append(context, text, size) == EFM_OK ? 0 : -1;
}

/* The toy as text again, for the reader of toys knows all about them. */
static bool keep_toy(struct api_train_plate *plate, const json_t *toy, struct api_problem *problem)
{
    struct efm_buffer text = efm_buffer_limited(MAX_TOY);
    bool good = json_dump_callback(toy, append_text, &text, JSON_COMPACT) == 0;
    if (!good || efm_buffer_append(&text, "", 1) != EFM_OK) {
        efm_buffer_release(&text);
        return fail_memory(problem);
    }
    plate->origin = API_TRAIN_TOY;
    plate->toy = (char *)text.data;
    return true;
}

/* ---- names ---- */

/* "digits/train-images-idx3-ubyte.gz" is train-images-idx3-ubyte; with a label "-3" follows. */
static void name_by_path(struct api_train_plate *plate, const char *key, bool labelled)
{
    enum { ROOM_FOR_LABEL = 4 };
    const char *begin = plate->path, *end = plate->path + strlen(plate->path);
    while (end > begin && end[-1] == '/')
        end--;
    for (const char *at = begin; at < end; at++)
        if (*at == '/')
            begin = at + 1;
    const char *dot = memchr(begin, '.', (size_t)(end - begin));
    end = dot != NULL && dot > begin ? dot : end;
    size_t length = 0;
    for (; begin < end && length + ROOM_FOR_LABEL + 1 < sizeof plate->name; begin++) {
        bool plain = isascii((unsigned char)*begin) &&
                     (isalnum((unsigned char)*begin) || *begin == '_' || (*begin == '-' && length > 0));
        plate->name[length++] = plain ? *begin : '_';
    }
    plate->name[length] = '\0';
    if (strspn(plate->name, "_") == length)
        length = (size_t)snprintf(plate->name, sizeof plate->name, "%s", key);
    if (labelled)
        snprintf(plate->name + length, sizeof plate->name - length, "-%u", plate->label);
}

static void name_by_toy(struct api_train_plate *plate, const char *key, const json_t *toy)
{
    const char *word = json_string_value(json_object_get(toy, "toy"));
    snprintf(plate->name, sizeof plate->name, "%s", word != NULL && api_name_valid(word) ? word : key);
}

/* ---- plates ---- */

/* A member that says which file it is. *known is false for any other one. */
static bool read_file_member(struct api_train_plate *plate, const char *key, const char *name,
                             const json_t *value, bool *known, struct api_problem *problem)
{
    *known = true;
    if (strcmp(name, "path") == 0)
        return read_path(&plate->path, key, name, value, problem);
    if (strcmp(name, "labels") == 0)
        return read_path(&plate->labels, key, name, value, problem);
    if (strcmp(name, "label") == 0)
        return read_label(plate, key, value, problem);
    *known = false;
    return true;
}

static bool read_member(struct api_train_plate *plate, enum api_train_places places, const char *key,
                        const char *name, const json_t *value, struct api_problem *problem)
{
    bool is_toy = plate->origin == API_TRAIN_TOY, known = false;
    if (strcmp(name, "toy") == 0 && is_toy)
        return true;
    if (strcmp(name, "first") == 0 || strcmp(name, "count") == 0)
        return read_range(plate, key, name, value, problem);
    if (strcmp(name, "name") == 0)
        return read_name(plate, key, value, problem);
    if (!is_toy) {
        bool good = places == API_TRAIN_STORED
                        ? api_train_read_stored_member(plate, key, name, value, &known, problem)
                        : read_file_member(plate, key, name, value, &known, problem);
        if (known)
            return good;
    }
    return api_train_refuse(problem, API_P_UNKNOWN_PARAMETER, key, name,
                            "is not a parameter here; known are %s, first, count, name",
                            is_toy                       ? "toy"
                            : places == API_TRAIN_STORED ? "dataset, url, sha256"
                                                         : "path, labels, label");
}

static bool check_file(const struct api_train_plate *plate, const char *key, bool labelled,
                       struct api_problem *problem)
{
    if (plate->path == NULL)
        return api_train_refuse(problem, API_P_MISSING_PARAMETER, key, "path",
                                "is needed, or a toy in its place");
    return labelled == (plate->labels != NULL) ||
           api_train_refuse(problem, API_P_MISSING_PARAMETER, key, labelled ? "labels" : "label",
                            "is needed where %s is given", labelled ? "label" : "labels");
}

static bool read_object(struct api_train_plate *plate, enum api_train_places places, const char *key,
                        json_t *value, struct api_problem *problem)
{
    const json_t *toy = json_object_get(value, "toy");
    const char *name;
    json_t *member;
    if (json_is_string(toy)) { /* a toy as it stands in a file of its own */
        name_by_toy(plate, key, value);
        return keep_toy(plate, value, problem);
    }
    if (toy != NULL && !json_is_object(toy))
        return refuse(problem, key, "toy", "an object like {\"toy\": \"swiss_roll\"}");
    if (toy != NULL && !keep_toy(plate, toy, problem))
        return false;
    json_object_foreach(value, name, member)
    {
        if (!read_member(plate, places, key, name, member, problem))
            return false;
    }
    bool stored = places == API_TRAIN_STORED, labelled = json_object_get(value, "label") != NULL;
    if (toy == NULL &&
        !(stored ? api_train_check_stored(plate, key, problem) : check_file(plate, key, labelled, problem)))
        return false;
    if (plate->name[0] != '\0')
        return true;
    if (toy != NULL)
        name_by_toy(plate, key, toy);
    else if (stored)
        api_train_name_stored(plate, key);
    else
        name_by_path(plate, key, labelled);
    return true;
}

bool api_train_read_plate(struct api_train_plate *plate, enum api_train_places places, const char *key,
                          const json_t *value, struct api_problem *problem)
{
    plate->origin = places == API_TRAIN_STORED ? API_TRAIN_DATASET : API_TRAIN_PATH;
    if (json_is_object(value))
        return read_object(plate, places, key, (json_t *)value, problem);
    const char *text = json_string_value(value);
    if (text != NULL && strcmp(text, GAUSSIAN) == 0) {
        plate->origin = API_TRAIN_GAUSSIAN;
        snprintf(plate->name, sizeof plate->name, "%s", GAUSSIAN);
        return true;
    }
    if (places == API_TRAIN_STORED)
        return api_train_read_stored_word(plate, key, text != NULL ? text : "", problem);
    if (text == NULL || text[0] == '\0' || strlen(text) > MAX_PATH)
        return refuse(problem, key, "", "a path, an object with one, or \"gaussian\"");
    plate->path = efm_copy_string(text);
    if (plate->path == NULL)
        return fail_memory(problem);
    name_by_path(plate, key, false);
    return true;
}

void api_train_render_plate(const struct api_train_plate *plate, struct efm_buffer *out)
{
    if (plate->origin == API_TRAIN_GAUSSIAN) {
        api_json_string(out, GAUSSIAN);
        return;
    }
    if (plate->origin == API_TRAIN_TOY) {
        efm_buffer_format(out, "{\"toy\": %s", plate->toy);
    } else if (plate->origin != API_TRAIN_PATH) {
        api_train_render_stored(plate, out);
    } else {
        efm_buffer_append_string(out, "{\"path\": ");
        api_json_string(out, plate->path);
    }
    if (plate->labels != NULL) {
        efm_buffer_append_string(out, ", \"labels\": ");
        api_json_string(out, plate->labels);
        efm_buffer_format(out, ", \"label\": %u", plate->label);
    }
    efm_buffer_format(out, ", \"first\": %lld", (long long)plate->first);
    if (plate->count != 0)
        efm_buffer_format(out, ", \"count\": %lld", (long long)plate->count);
    efm_buffer_append_string(out, ", \"name\": ");
    api_json_string(out, plate->name);
    efm_buffer_append_string(out, "}");
}

/* ---- augmentation ---- */

static const struct {
    const char *word;
    unsigned bit;
} augmentations[] = {{"hue", EFM_AUGMENT_HUE}, {"flip", EFM_AUGMENT_FLIP}, {"crop", EFM_AUGMENT_CROP}};

static bool read_words(unsigned *bits, const char *side, const json_t *value, struct api_problem *problem)
{
    bool good = json_is_array(value);
    for (size_t i = 0; good && i < json_array_size(value); i++) {
        const char *word = json_string_value(json_array_get(value, i));
        unsigned bit = 0;
        for (size_t k = 0; word != NULL && k < sizeof augmentations / sizeof augmentations[0]; k++)
            bit |= strcmp(word, augmentations[k].word) == 0 ? augmentations[k].bit : 0;
        *bits |= bit;
        good = bit != 0;
    }
    return good ||
           refuse(problem, "augment", side,
                  side[0] == '\0' ? "a list of hue, flip, crop, or an object of such lists: source, target"
                                  : "a list of hue, flip, crop");
}

bool api_train_read_augment(unsigned augmentation[2], bool *same, const json_t *value,
                            struct api_problem *problem)
{
    const char *name;
    json_t *member;
    augmentation[EFM_SOURCE] = augmentation[EFM_TARGET] = 0;
    *same = !json_is_object(value);
    if (*same) {
        bool good = read_words(&augmentation[EFM_SOURCE], "", value, problem);
        augmentation[EFM_TARGET] = augmentation[EFM_SOURCE];
        return good;
    }
    json_object_foreach((json_t *)value, name, member)
    {
        bool is_source = strcmp(name, "source") == 0;
        if (!is_source && strcmp(name, "target") != 0)
            return api_train_refuse(problem, API_P_UNKNOWN_PARAMETER, "augment", name,
                                    "is not a parameter here; known are source, target");
        if (!read_words(&augmentation[is_source ? EFM_SOURCE : EFM_TARGET], name, member, problem))
            return false;
    }
    return true;
}

void api_train_render_augment(const unsigned augmentation[2], struct efm_buffer *out)
{
    for (size_t side = 0; side < 2; side++) {
        efm_buffer_append_string(out, side == 0 ? "{\"source\": [" : ", \"target\": [");
        const char *separator = "";
        for (size_t k = 0; k < sizeof augmentations / sizeof augmentations[0]; k++)
            if ((augmentation[side] & augmentations[k].bit) != 0) {
                efm_buffer_format(out, "%s\"%s\"", separator, augmentations[k].word);
                separator = ", ";
            }
        efm_buffer_append_string(out, "]");
    }
    efm_buffer_append_string(out, "}");
}
