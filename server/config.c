// SPDX-License-Identifier: Apache-2.0
#include "server/config.h"

#include "core/net/net.h"
#include "server/log.h"
#include "server/service_variable.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_SIZE = 1024, NAME_SIZE = 64, TEXT_SIZE = 256 };

enum kind { TEXT, COUNT, SIZE, SECONDS };

static const struct option {
    enum kind kind;
    size_t offset;
    const char *flag, *fallback;
    double low, high; /* exact: all limits are below 2^53 */
    const char *help;
} options[] = {
#define SRV_CONFIG_ROW(kind, member, flag, fallback, low, high, help)                                        \
    {kind, offsetof(struct srv_config, member), flag, fallback, (double)(low), (double)(high), help},
    SRV_CONFIG_MAP(SRV_CONFIG_ROW)
#undef SRV_CONFIG_ROW
};
enum { OPTION_COUNT = sizeof options / sizeof options[0] };

static const struct option *find(const char *name, size_t length)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (strlen(options[i].flag) == length && strncmp(options[i].flag, name, length) == 0)
            return &options[i];
    }
    return NULL;
}

/* "max-body" to "EFM_MAX_BODY" */
static void environment_name(const char *flag, char out[NAME_SIZE])
{
    size_t used = (size_t)snprintf(out, NAME_SIZE, "EFM_");
    for (; *flag != '\0' && used + 1 < NAME_SIZE; flag++)
        out[used++] = *flag == '-' ? '_' : (char)toupper((unsigned char)*flag);
    out[used] = '\0';
}

/* Where a value stood, for error messages. */
struct place {
    const char *label; /* "on the command line", "in the environment", a file's name */
    size_t line;       /* 0: no file */
};

static const char *describe(const struct place *place, char out[TEXT_SIZE])
{
    if (place->line == 0)
        snprintf(out, TEXT_SIZE, "%s", place->label);
    else
        snprintf(out, TEXT_SIZE, "in %.180s line %zu", place->label, place->line);
    return out;
}

static enum efm_status refuse(const struct option *option, const char *value, const char *wanted,
                              const struct place *place, struct efm_error *error)
{
    char where[TEXT_SIZE], shown[104];
    srv_log_quote(value, shown, 64); // printable, whatever it is
    return efm_error_set(error, EFM_E_ARGUMENT, "option --%s must be %s, not %s (%.90s)", option->flag,
                         wanted, shown, describe(place, where));
}

/* Whole numbers, with suffixes for sizes. */
static bool parse_whole(const char *text, bool with_suffix, uint64_t *result)
{
    uint64_t value = 0;
    const char *at = text;
    for (; isdigit((unsigned char)*at); at++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return false;
    }
    if (at == text)
        return false;
    static const char suffixes[] = "KMG";
    const char *suffix = with_suffix && *at != '\0' ? strchr(suffixes, toupper((unsigned char)*at)) : NULL;
    if (suffix != NULL) {
        if (__builtin_mul_overflow(value, (uint64_t)1 << (10 * (suffix - suffixes + 1)), &value))
            return false;
        at++;
    }
    *result = value;
    return *at == '\0';
}

static bool parse_seconds(const char *text, double *result)
{
    if (text[0] == '\0' || strspn(text, "0123456789.") != strlen(text))
        return false;
    char *end;
    *result = strtod(text, &end);
    return *end == '\0' && isfinite(*result);
}

static void describe_range(const struct option *option, char *out, size_t size)
{
    if (option->kind == SECONDS)
        snprintf(out, size, "seconds in %g..%g", option->low, option->high);
    else
        snprintf(out, size, "a whole number%s in %.0f..%.0f",
                 option->kind == SIZE ? " of bytes (suffixes K, M, G)" : "", option->low, option->high);
}

static enum efm_status set_text(const struct option *option, char *target, const char *value,
                                const struct place *place, struct efm_error *error)
{
    if (strlen(value) >= TEXT_SIZE)
        return refuse(option, value, "at most 255 bytes", place, error);
    for (const char *at = value; *at != '\0'; at++) {
        if (iscntrl((unsigned char)*at))
            return refuse(option, value, "text without control characters", place, error);
    }
    // Only now: `value` may be the target itself.
    memmove(target, value, strlen(value) + 1);
    return EFM_OK;
}

static enum efm_status set(struct srv_config *config, const struct option *option, const char *value,
                           const struct place *place, struct efm_error *error)
{
    void *target = (char *)config + option->offset;
    char range[96];
    if (option->kind == TEXT)
        return set_text(option, target, value, place, error);
    describe_range(option, range, sizeof range);
    if (option->kind == SECONDS) {
        double seconds;
        if (!parse_seconds(value, &seconds) || seconds < option->low || seconds > option->high)
            return refuse(option, value, range, place, error);
        *(double *)target = seconds;
        return EFM_OK;
    }
    uint64_t whole;
    if (!parse_whole(value, option->kind == SIZE, &whole) || whole < (uint64_t)option->low ||
        whole > (uint64_t)option->high)
        return refuse(option, value, range, place, error);
    *(uint64_t *)target = whole;
    return EFM_OK;
}

static char *trim(char *text)
{
    text += strspn(text, " \t\r\n");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    text[length] = '\0';
    return text;
}

static enum efm_status read_file_line(struct srv_config *config, char *line, const struct place *place,
                                      struct efm_error *error)
{
    char where[TEXT_SIZE];
    char *name = trim(line);
    if (name[0] == '\0' || name[0] == '#')
        return EFM_OK;
    char *equals = strchr(name, '=');
    if (equals == NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "a line must be \"name = value\" (%s)",
                             describe(place, where));
    *equals = '\0';
    name = trim(name);
    const struct option *option = find(name, strlen(name));
    if (option == NULL) {
        char shown[64];
        return efm_error_set(error, EFM_E_ARGUMENT, "there is no option %s (%.150s)",
                             srv_log_quote(name, shown, sizeof shown), describe(place, where));
    }
    return set(config, option, trim(equals + 1), place, error);
}

static enum efm_status read_file(struct srv_config *config, const char *path, struct efm_error *error)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "the configuration file %.150s cannot be read: %s", path,
                             strerror(errno));
    char line[LINE_SIZE];
    struct place place = {.label = path};
    enum efm_status status = EFM_OK;
    while (status == EFM_OK && fgets(line, sizeof line, file) != NULL) {
        place.line++;
        if (strlen(line) == sizeof line - 1 && line[sizeof line - 2] != '\n')
            status = efm_error_set(error, EFM_E_ARGUMENT, "line %zu of %.150s is longer than %d bytes",
                                   place.line, path, LINE_SIZE - 2);
        else
            status = read_file_line(config, line, &place, error);
    }
    if (status == EFM_OK && ferror(file))
        status = efm_error_set(error, EFM_E_ARGUMENT, "the configuration file %.150s cannot be read", path);
    fclose(file);
    return status;
}

static const struct option *find_environment(const char *entry, size_t length)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char name[NAME_SIZE];
        environment_name(options[i].flag, name);
        if (strlen(name) == length && strncmp(name, entry, length) == 0)
            return &options[i];
    }
    return NULL;
}

static enum efm_status read_environment(struct srv_config *config, char *const *environment,
                                        struct efm_error *error)
{
    for (; environment != NULL && *environment != NULL; environment++) {
        const char *entry = *environment;
        const size_t length = strcspn(entry, "=");
        if (strncmp(entry, "EFM_", 4) != 0 || entry[length] == '\0' || strncmp(entry, "EFM_CONFIG=", 11) == 0)
            continue;
        const struct option *option = find_environment(entry, length);
        if (option == NULL && srv_is_service_variable(entry, length))
            continue;
        if (option == NULL)
            return efm_error_set(error, EFM_E_ARGUMENT,
                                 "the environment variable %.*s is not an option of efmd",
                                 (int)(length > 64 ? 64 : length), entry);
        const struct place place = {.label = "in the environment"};
        enum efm_status status = set(config, option, entry + length + 1, &place, error);
        if (status != EFM_OK)
            return status;
    }
    return EFM_OK;
}

static const struct {
    const char *flag;
    enum srv_config_action action;
    const char *help;
} action_flags[] = {
    {"--help", SRV_CONFIG_HELP, "show this and exit"},
    {"--version", SRV_CONFIG_VERSION, "show versions and exit"},
    {"--print-config", SRV_CONFIG_PRINT, "show all options as they are in force and exit"},
    {"--check-config", SRV_CONFIG_CHECK, "exit with 0 when the configuration is good, with 2 otherwise"},
};
enum { ACTION_COUNT = sizeof action_flags / sizeof action_flags[0] };

static bool find_action(const char *argument, enum srv_config_action *action)
{
    for (size_t i = 0; i < ACTION_COUNT; i++) {
        if (strcmp(argument, action_flags[i].flag) == 0) {
            *action = action_flags[i].action;
            return true;
        }
    }
    return false;
}

/* What stands at arguments[*index]: `name` [name_length] and `value`, moving the index past a value of its
 * own. */
static enum efm_status split_argument(int count, char *const *arguments, int *index, const char **name,
                                      size_t *name_length, const char **value, struct efm_error *error)
{
    const char *argument = arguments[*index];
    char shown[64];
    srv_log_quote(argument, shown, sizeof shown);
    if (strncmp(argument, "--", 2) != 0 || argument[2] == '\0')
        return efm_error_set(error, EFM_E_ARGUMENT, "unexpected argument %s: options start with --", shown);
    *name = argument + 2;
    *name_length = strcspn(*name, "=");
    if (find(*name, *name_length) == NULL && !(*name_length == 6 && strncmp(*name, "config", 6) == 0))
        return efm_error_set(error, EFM_E_ARGUMENT, "there is no option %s: see efmd --help", shown);
    if ((*name)[*name_length] == '=') {
        *value = *name + *name_length + 1;
    } else if (*index + 1 < count) {
        *value = arguments[++*index];
    } else {
        return efm_error_set(error, EFM_E_ARGUMENT, "option %s needs a value", argument);
    }
    return EFM_OK;
}

/* One walk over the arguments. `config` NULL: only finds --config and the action; otherwise sets the options.
 */
static enum efm_status read_arguments(struct srv_config *config, const char **file,
                                      enum srv_config_action *action, int count, char *const *arguments,
                                      struct efm_error *error)
{
    const struct place place = {.label = "on the command line"};
    for (int i = 1; i < count; i++) {
        const char *name = "", *value = "";
        size_t length = 0;
        enum srv_config_action found;
        if (find_action(arguments[i], &found)) {
            if (*action == SRV_CONFIG_RUN)
                *action = found;
            continue;
        }
        enum efm_status status = split_argument(count, arguments, &i, &name, &length, &value, error);
        const struct option *option = status == EFM_OK ? find(name, length) : NULL;
        if (status == EFM_OK && option == NULL)
            *file = value;
        else if (status == EFM_OK && config != NULL)
            status = set(config, option, value, &place, error);
        if (status != EFM_OK)
            return status;
    }
    return EFM_OK;
}

static bool split_listen(const char *text, char address[SRV_CONFIG_ADDRESS], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL)
        return false;
    const bool bracketed = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    const char *start = bracketed ? text + 1 : text;
    const size_t length = (size_t)(colon - start) - (bracketed ? 1 : 0);
    uint64_t number;
    uint8_t binary[16];
    if (length >= SRV_CONFIG_ADDRESS || !parse_whole(colon + 1, false, &number) || number > UINT16_MAX)
        return false;
    memcpy(address, start, length);
    address[length] = '\0';
    *port = (uint16_t)number;
    return inet_pton(bracketed ? AF_INET6 : AF_INET, address, binary) == 1;
}

enum efm_status srv_config_listen(const struct srv_config *config, char address[SRV_CONFIG_ADDRESS],
                                  uint16_t *port, struct efm_error *error)
{
    if (split_listen(config->listen, address, port))
        return EFM_OK;
    return efm_error_set(error, EFM_E_ARGUMENT,
                         "option --listen must be an address and a port like 127.0.0.1:8080 or [::1]:8080, "
                         "not \"%.100s\"",
                         config->listen);
}

static bool is_precision(const char *word)
{
    static const char *const words[] = {
#define PRECISION_WORD(symbol, text, meaning) text,
        EFM_PRECISION_MAP(PRECISION_WORD)
#undef PRECISION_WORD
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i], word) == 0)
            return true;
    return false;
}

/* What the table cannot say. */
static enum efm_status check(const struct srv_config *config, struct efm_error *error)
{
    char address[SRV_CONFIG_ADDRESS];
    uint16_t port;
    enum srv_log_level level;
    if (!srv_log_level_parse(config->log_level, &level))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "option --log-level must be debug, info, warning or error, not \"%.100s\"",
                             config->log_level);
    enum srv_access_log access_log;
    if (!srv_access_log_parse(config->access_log, &access_log))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "option --access-log must be on, work, errors or off, not \"%.100s\"",
                             config->access_log);
    if (!is_precision(config->precision))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "option --precision must be auto, f32 or bf16, not \"%.100s\"",
                             config->precision);
    if (strcmp(config->admin, "auto") != 0 && strcmp(config->admin, "open") != 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "option --admin must be auto or open, not \"%.100s\"",
                             config->admin);
    if ((config->tls_cert[0] == '\0') != (config->tls_key[0] == '\0'))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "options --tls-cert and --tls-key are given together or not at all");
    return srv_config_listen(config, address, &port, error);
}

/* At most a share of the memory; whole MiB, as a person would write it. */
static void lower(uint64_t *option, uint64_t share)
{
    const uint64_t whole = share >> 20 == 0 ? 1 << 20 : share >> 20 << 20;
    if (whole < *option)
        *option = whole;
}

void srv_config_follow_memory(struct srv_config *config, uint64_t memory)
{
    lower(&config->memory_budget, memory / 2);
    lower(&config->queue_bytes, memory / 8);
    lower(&config->max_body, memory / 8);
    lower(&config->train_memory, memory / 4);
}

enum efm_status srv_config_read(struct srv_config *config, enum srv_config_action *action, int argument_count,
                                char *const *arguments, char *const *environment, struct efm_error *error)
{
    const struct place fallback = {.label = "by default"};
    const char *file = NULL;
    enum efm_status status = EFM_OK;
    *action = SRV_CONFIG_RUN;
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < OPTION_COUNT && status == EFM_OK; i++)
        status = set(config, &options[i], options[i].fallback, &fallback, error);
    srv_config_follow_memory(config, srv_config_memory());
    if (status == EFM_OK)
        status = read_arguments(NULL, &file, action, argument_count, arguments, error);
    if (status != EFM_OK || *action == SRV_CONFIG_HELP || *action == SRV_CONFIG_VERSION)
        return status;
    for (char *const *entry = environment; file == NULL && entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, "EFM_CONFIG=", 11) == 0 && (*entry)[11] != '\0')
            file = *entry + 11;
    }
    if (file != NULL)
        status = read_file(config, file, error);
    if (status == EFM_OK)
        status = read_environment(config, environment, error);
    if (status == EFM_OK)
        status = read_arguments(config, &file, action, argument_count, arguments, error);
    return status == EFM_OK ? check(config, error) : status;
}

static void render_value(const struct srv_config *config, const struct option *option, struct efm_buffer *out)
{
    const void *value = (const char *)config + option->offset;
    if (option->kind == TEXT) {
        efm_buffer_append_string(out, value);
    } else if (option->kind == SECONDS) {
        // 15 digits keep what a person wrote; below that and above, %g would turn to exponents.
        efm_buffer_format(out, "%.15g", *(const double *)value);
    } else {
        uint64_t whole = *(const uint64_t *)value;
        size_t steps = 0;
        while (option->kind == SIZE && steps < 3 && whole > 0 && whole % 1024 == 0) {
            whole /= 1024;
            steps++;
        }
        efm_buffer_format(out, "%llu%.1s", (unsigned long long)whole, steps == 0 ? "" : &"KMG"[steps - 1]);
    }
}

void srv_config_render(const struct srv_config *config, struct efm_buffer *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        efm_buffer_format(out, "%s = ", options[i].flag);
        render_value(config, &options[i], out);
        efm_buffer_append_string(out, "\n");
    }
}

void srv_config_render_help(struct efm_buffer *out)
{
    efm_buffer_append_string(out, "Usage: efmd [OPTION]...\n"
                                  "Carries images along the field lines between two charged plates, over "
                                  "HTTP.\n\n"
                                  "An option comes from its flag, else from the environment (--max-body is "
                                  "EFM_MAX_BODY),\nelse from the configuration file (max-body = 1G), else "
                                  "it has its default.\n\n");
    efm_buffer_format(out, "  %-24s %s\n", "--config FILE", "read \"name = value\" lines from FILE");
    for (size_t i = 0; i < ACTION_COUNT; i++)
        efm_buffer_format(out, "  %-24s %s\n", action_flags[i].flag, action_flags[i].help);
    efm_buffer_append_string(out, "\n");
    static const char *const values[] = {[TEXT] = "TEXT", [COUNT] = "N", [SIZE] = "BYTES", [SECONDS] = "S"};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char left[NAME_SIZE];
        snprintf(left, sizeof left, "--%s %s", options[i].flag, values[options[i].kind]);
        efm_buffer_format(out, "  %-24s %s", left, options[i].help);
        if (options[i].fallback[0] != '\0')
            efm_buffer_format(out, " [%s]", options[i].fallback);
        efm_buffer_append_string(out, "\n");
    }
}
