/* parameters.h - request parameters as tables: name, kind, limits, words, where it goes, what it means.
 *
 * One table per endpoint says all that is known about its parameters. The parser, the refusal of unknown
 * ones, the error texts and the OpenAPI document all read the same table. A parameter may come from the
 * query, from a multipart field or from a JSON member; the same one twice is refused, wherever it comes from.
 *
 *     static const struct api_parameter table[] = {
 *         {"steps", API_INTEGER, offsetof(struct api_transfer, steps), .low = 1, .high = 1000, .help =
 * "..."}, ... };
 *
 * Threads: pure functions. */
#ifndef API_PARAMETERS_H
#define API_PARAMETERS_H

#include "api/problem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum api_kind {
    API_INTEGER, /* uint64_t */
    API_REAL,    /* double, finite */
    API_WORD,    /* int: index into `words` */
    API_NAME,    /* char[API_NAME_SIZE]: see api_name_valid */
    API_COLOUR,  /* uint8_t[3] from "rrggbb", "#rrggbb", "white", "black", "grey" */
};

enum { API_NAME_SIZE = 65, API_MAX_PARAMETERS = 24 };

struct api_parameter {
    const char *name;
    enum api_kind kind;
    size_t offset; /* of the value in the struct that is filled */
    double low, high;
    const char *const *words; /* NULL-terminated; for API_WORD */
    const char *fallback;     /* shown in documents when the parameter is absent; NULL: none */
    const char *help;
};

struct api_parameter_table {
    const struct api_parameter *items;
    size_t count; /* <= API_MAX_PARAMETERS */
};

/* Which parameters were given, as bits by index into the table; zero it before the first call. */
struct api_parameters_seen {
    uint32_t given;
};

/* Sets one parameter from text (query, form). False with a problem: unknown, duplicate, invalid. */
bool api_parameter_set(const struct api_parameter_table *table, void *target,
                       struct api_parameters_seen *seen, const char *name, const char *text,
                       struct api_problem *problem);

/* Sets one from a JSON value: numbers for numbers, strings for words and names; never a string for a number.
 */
bool api_parameter_set_json(const struct api_parameter_table *table, void *target,
                            struct api_parameters_seen *seen, const char *name, const json_t *value,
                            struct api_problem *problem);

/* Shows every name=value of a raw query string, percent-decoded ('+' is a space); at most 64 pairs. All of them, so that the client
 * learns of all its mistakes at once: false when `visit` refused one, or with API_P_MALFORMED_REQUEST. */
bool api_query_each(const char *query,
                    bool (*visit)(void *context, const char *name, const char *text,
                                  struct api_problem *problem),
                    void *context, struct api_problem *problem);

/* Sets each of them. */
bool api_parameters_from_query(const struct api_parameter_table *table, void *target,
                               struct api_parameters_seen *seen, const char *query,
                               struct api_problem *problem);

/* Sets every value whose fallback is a value and not a sentence: what is documented is what happens. */
void api_parameters_defaults(const struct api_parameter_table *table, void *target);

/* True when `text` is a value that the parameter takes (a fallback may be a sentence instead). */
bool api_parameter_takes(const struct api_parameter *parameter, const char *text);

/* "/name" with the escapes of a JSON pointer, cut where a problem would cut it. */
void api_parameter_pointer(const char *name, char out[72]);

bool api_parameter_given(const struct api_parameter_table *table, const struct api_parameters_seen *seen,
                         const char *name);

/* Names of models and datasets: 1..64 of a-z A-Z 0-9 . _ -, not starting with '.' or '-'. */
bool api_name_valid(const char *name);

/* Parses JSON of a request strictly: UTF-8, no duplicate keys, bounded depth (32), nothing after it. NULL
 * with API_P_MALFORMED_JSON naming line and column (or API_P_BODY_TOO_LARGE past 2 Mi values, or 4096 members of one object). The caller
 * owns the result (json_decref). */
json_t *api_json_parse(const uint8_t *bytes, size_t size, struct api_problem *problem);

/* Standard base64 (with or without padding, line breaks skipped, "data:...;base64," prefix taken off); *out
 * is owned by the caller (efm_free). */
bool api_base64_decode(const char *text, size_t length, uint8_t **out, size_t *size,
                       struct api_problem *problem, const char *pointer);
void api_base64_encode(struct efm_buffer *out, const uint8_t *bytes, size_t size);

#endif
