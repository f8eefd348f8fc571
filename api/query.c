// SPDX-License-Identifier: Apache-2.0
#include "api/parameters.h"

#include <string.h>

enum { MAX_PAIRS = 64, MAX_NAME = 64, MAX_VALUE = 512 };

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX and '+' into out[size]. False with a problem: a broken escape, a zero byte, too long. */
static bool decode(const char *text, size_t length, char *out, size_t size, struct api_problem *problem)
{
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        int byte = text[i] == '+' ? ' ' : text[i];
        if (text[i] == '%') {
            bool whole = length - i > 2;
            int high = whole ? hex_digit(text[i + 1]) : -1, low = whole ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0)
                return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                                       "the query has a broken %% escape near '%.20s'", text + i);
            byte = high << 4 | low;
            i += 2;
        }
        if (written + 1 >= size)
            return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                                   "a name or value of the query is longer than %zu bytes", size - 1);
        out[written++] = (char)byte;
    }
    out[written] = '\0';
    return true;
}

bool api_query_each(const char *query,
                    bool (*visit)(void *context, const char *name, const char *text,
                                  struct api_problem *problem),
                    void *context, struct api_problem *problem)
{
    bool good = true;
    size_t pairs = 0;
    while (*query != '\0') {
        size_t length = strcspn(query, "&");
        const char *equals = memchr(query, '=', length);
        size_t name_length = equals != NULL ? (size_t)(equals - query) : length;
        const char *value = equals != NULL ? equals + 1 : query + length;
        char name[MAX_NAME + 1], text[MAX_VALUE + 1];
        if (length > 0) {
            if (++pairs > MAX_PAIRS)
                return api_problem_set(problem, API_P_MALFORMED_REQUEST, NULL,
                                       "the query has more than %d parameters", MAX_PAIRS);
            if (!decode(query, name_length, name, sizeof name, problem) ||
                !decode(value, (size_t)(query + length - value), text, sizeof text, problem))
                return false;
            good = visit(context, name, text, problem) && good;
        }
        query += length;
        query += *query == '&';
    }
    return good;
}

struct setting {
    const struct api_parameter_table *table;
    void *target;
    struct api_parameters_seen *seen;
};

static bool set(void *context, const char *name, const char *text, struct api_problem *problem)
{
    const struct setting *setting = context;
    return api_parameter_set(setting->table, setting->target, setting->seen, name, text, problem);
}

bool api_parameters_from_query(const struct api_parameter_table *table, void *target,
                               struct api_parameters_seen *seen, const char *query,
                               struct api_problem *problem)
{
    struct setting setting = {table, target, seen};
    return api_query_each(query, set, &setting, problem);
}
