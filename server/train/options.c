// SPDX-License-Identifier: Apache-2.0
#include "server/train/options.h"

#include <string.h>

#define OPTION(member) offsetof(struct srv_train_options, member)

/* Options with a number. */
static const struct api_parameter NUMBERS[] = {
    {"checkpoint-seconds", API_REAL, OPTION(checkpoint_seconds), .low = 0, .high = 86400, .fallback = "60",
     .help = "seconds between two checkpoints"},
    {"threads", API_INTEGER, OPTION(threads), .low = 1, .high = 256,
     .help = "threads that compute; in place of the spec's, whose default is all cores"},
    {"samples", API_INTEGER, OPTION(samples), .low = 0, .high = 4096,
     .help = "samples in the picture at the end; 0: no picture; 16 for images, 1000 for vectors"},
};
static const struct api_parameter_table numbers = {NUMBERS, sizeof NUMBERS / sizeof NUMBERS[0]};

/* Options with a text, taken as it is. */
static const struct {
    const char *name;
    size_t offset;
    const char *help;
} texts[] = {
    {"out", OPTION(out), "the model, MODEL.safetensors; its checkpoint, log and pictures stand beside it"},
    {"steps", OPTION(steps), "length of the training, in place of the spec's"},
};

static const struct {
    const char *name;
    size_t offset;
    const char *help;
} switches[] = {
    {"resume", OPTION(resume), "go on from the checkpoint; without one begin anew"},
    {"overwrite", OPTION(overwrite), "begin anew although there is a checkpoint, which is removed"},
    {"quiet", OPTION(quiet), "no progress, no report; errors alone"},
    {"print-spec", OPTION(print_spec), "print the spec with all defaults filled in, and end"},
    {"help", OPTION(help), "print this, and end"},
};
#undef OPTION

#define COUNT(table) (sizeof table / sizeof table[0])

static bool set_switch(struct srv_train_options *options, const char *name)
{
    for (size_t i = 0; i < COUNT(switches); i++)
        if (strcmp(switches[i].name, name) == 0) {
            *(bool *)((char *)options + switches[i].offset) = true;
            return true;
        }
    return false;
}

static bool set_text(struct srv_train_options *options, const char *name, const char *value)
{
    for (size_t i = 0; i < COUNT(texts); i++)
        if (strcmp(texts[i].name, name) == 0) {
            memcpy((char *)options + texts[i].offset, &value, sizeof value);
            return true;
        }
    return false;
}

static bool takes_value(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < COUNT(texts); i++)
        found = found || strcmp(texts[i].name, name) == 0;
    for (size_t i = 0; i < COUNT(NUMBERS); i++)
        found = found || strcmp(NUMBERS[i].name, name) == 0;
    return found;
}

/* Reads arguments[*at], and its value from the next one. */
static enum efm_status read_option(struct srv_train_options *options, struct api_parameters_seen *seen,
                                   int argument_count, char *const *arguments, int *at,
                                   struct efm_error *error)
{
    char name[32] = "";
    const char *argument = arguments[*at] + 2, *equals = strchr(argument, '='), *value = NULL;
    size_t length = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    if (length < sizeof name)
        memcpy(name, argument, length);
    if (equals == NULL && set_switch(options, name))
        return EFM_OK;
    if (!takes_value(name))
        return efm_error_set(error, EFM_E_ARGUMENT, "there is no option %.80s; see efmd train --help",
                             arguments[*at]);
    if (equals != NULL)
        value = equals + 1;
    else if (*at + 1 < argument_count)
        value = arguments[++*at];
    if (value == NULL || value[0] == '\0')
        return efm_error_set(error, EFM_E_ARGUMENT, "--%s needs a value", name);
    struct api_problem problem = {0};
    if (set_text(options, name, value) || api_parameter_set(&numbers, options, seen, name, value, &problem))
        return EFM_OK;
    return efm_error_set(error, EFM_E_ARGUMENT, "--%s", problem.detail);
}

static enum efm_status check(const struct srv_train_options *options, struct efm_error *error)
{
    if (options->help)
        return EFM_OK;
    if (options->spec == NULL)
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "a spec is needed: efmd train SPEC.json --out MODEL.safetensors");
    if (options->out == NULL && !options->print_spec)
        return efm_error_set(error, EFM_E_ARGUMENT, "--out MODEL.safetensors is needed");
    if (options->resume && options->overwrite)
        return efm_error_set(error, EFM_E_ARGUMENT, "--resume and --overwrite exclude each other");
    return EFM_OK;
}

enum efm_status srv_train_options_read(struct srv_train_options *options, int argument_count,
                                       char *const *arguments, struct efm_error *error)
{
    struct api_parameters_seen seen = {0};
    *options = (struct srv_train_options){0};
    api_parameters_defaults(&numbers, options);
    for (int at = 0; at < argument_count; at++) {
        enum efm_status status = EFM_OK;
        if (strncmp(arguments[at], "--", 2) == 0)
            status = read_option(options, &seen, argument_count, arguments, &at, error);
        else if (options->spec == NULL)
            options->spec = arguments[at];
        else
            status =
                efm_error_set(error, EFM_E_ARGUMENT, "one spec is taken, not %.80s as well", arguments[at]);
        if (status != EFM_OK)
            return status;
    }
    options->samples_given = api_parameter_given(&numbers, &seen, "samples");
    return check(options, error);
}

void srv_train_options_help(struct efm_buffer *out)
{
    efm_buffer_append_string(out,
                             "efmd train SPEC.json --out MODEL.safetensors [options]\n"
                             "Trains a model in the foreground; docs/training.md describes the spec.\n\n");
    for (size_t i = 0; i < COUNT(texts); i++)
        efm_buffer_format(out, "  --%-20s %s\n", texts[i].name, texts[i].help);
    for (size_t i = 0; i < COUNT(NUMBERS); i++)
        efm_buffer_format(out, "  --%-20s %s%s%s%s\n", NUMBERS[i].name, NUMBERS[i].help,
                          NUMBERS[i].fallback != NULL ? " (" : "",
                          NUMBERS[i].fallback != NULL ? NUMBERS[i].fallback : "",
                          NUMBERS[i].fallback != NULL ? ")" : "");
    for (size_t i = 0; i < COUNT(switches); i++)
        efm_buffer_format(out, "  --%-20s %s\n", switches[i].name, switches[i].help);
    efm_buffer_append_string(
        out, "\nThe first SIGINT or SIGTERM writes a checkpoint and ends, the second ends at once."
             "\nExit status: 0 done, 1 failed, 2 bad spec or options, 3 interrupted with a "
             "checkpoint written.\n");
}
