// SPDX-License-Identifier: Apache-2.0
/* The states of a job, and its record: what the store keeps, whole. */
#include "api/job.h"

#include "api/json.h"

#include "core/base/memory.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- states ---- */

static const char *const STATES[] = {[API_JOB_QUEUED] = "queued",
                                     [API_JOB_RUNNING] = "running",
                                     [API_JOB_SUCCEEDED] = "succeeded",
                                     [API_JOB_FAILED] = "failed",
                                     [API_JOB_CANCELLED] = "cancelled"};
enum { STATE_COUNT = sizeof STATES / sizeof STATES[0] };

const char *api_job_state_word(enum api_job_state state)
{
    return STATES[state];
}

bool api_job_state_parse(const char *word, enum api_job_state *state)
{
    for (int i = 0; i < STATE_COUNT; i++)
        if (strcmp(word, STATES[i]) == 0) {
            *state = (enum api_job_state)i;
            return true;
        }
    return false;
}

bool api_job_state_ended(enum api_job_state state)
{
    return state != API_JOB_QUEUED && state != API_JOB_RUNNING;
}

void api_job_release(struct api_job *job)
{
    efm_free(job->spec);
    efm_free(job->metadata);
    *job = (struct api_job){0};
}

/* ---- the record ---- */

/* Every member of a record, for writing and for reading. */
enum kind {
    TEXT,     /* char[]: what does not fit is no record of ours */
    CUT,      /* char[] of something that was sent or told: cut where it does not fit */
    OWNED,    /* char *; NULL is null */
    REAL,     /* double; null is what was not finite */
    COUNT,    /* uint64_t; past the integers of JSON readers as a string */
    UNSIGNED, /* unsigned */
    NUMBER,   /* int */
    FLAG,     /* bool */
    STATE     /* enum api_job_state */
};

struct member {
    const char *name;
    enum kind kind;
    size_t offset, size;
};

#define NAMED(name, kind, field)                                                                             \
    {                                                                                                        \
        name, kind, offsetof(struct api_job, field), sizeof((struct api_job *)NULL)->field                   \
    }
#define MEMBER(kind, field) NAMED(#field, kind, field)
static const struct member MEMBERS[] = {
    MEMBER(TEXT, id),
    MEMBER(TEXT, kind),
    MEMBER(STATE, state),
    MEMBER(FLAG, cancel_asked),
    MEMBER(REAL, created),
    MEMBER(REAL, started),
    MEMBER(REAL, finished),
    MEMBER(REAL, expires),
    MEMBER(COUNT, step),
    MEMBER(COUNT, total_steps),
    MEMBER(REAL, loss),
    MEMBER(REAL, images_per_second),
    MEMBER(REAL, estimated_finish),
    MEMBER(TEXT, model),
    MEMBER(TEXT, model_sha256),
    MEMBER(FLAG, replace),
    MEMBER(COUNT, seed),
    MEMBER(OWNED, spec),
    MEMBER(OWNED, metadata),
    MEMBER(TEXT, webhook),
    MEMBER(TEXT, webhook_state),
    MEMBER(UNSIGNED, webhook_attempts),
    NAMED("source_query", CUT, dataset_query[0]),
    NAMED("target_query", CUT, dataset_query[1]),
    MEMBER(CUT, target),
    MEMBER(CUT, content_type),
    MEMBER(CUT, accept),
    MEMBER(NUMBER, result_status),
    MEMBER(TEXT, result_type),
    MEMBER(CUT, result_headers),
    MEMBER(COUNT, result_size),
    MEMBER(TEXT, error_code),
    MEMBER(CUT, error_message),
    MEMBER(CUT, error_pointer),
    MEMBER(UNSIGNED, attempts),
    MEMBER(COUNT, checkpoint_step),
    MEMBER(REAL, checkpoint_time),
    MEMBER(CUT, traceparent),
    MEMBER(TEXT, owner),
};
enum { MEMBER_COUNT = sizeof MEMBERS / sizeof MEMBERS[0] };

static void write_count(uint64_t value, struct efm_buffer *out)
{
    efm_buffer_format(out, value > INT64_MAX ? "\"%llu\"" : "%llu", (unsigned long long)value);
}

static void write_member(const struct member *member, const void *place, struct efm_buffer *out)
{
    const char *const *owned = place;
    switch (member->kind) {
    case TEXT:
    case CUT:
        api_json_string(out, place);
        break;
    case OWNED:
        if (*owned == NULL)
            efm_buffer_append_string(out, "null");
        else
            api_json_string(out, *owned);
        break;
    case REAL:
        api_json_real(out, *(const double *)place);
        break;
    case COUNT:
        write_count(*(const uint64_t *)place, out);
        break;
    case UNSIGNED:
        efm_buffer_format(out, "%u", *(const unsigned *)place);
        break;
    case NUMBER:
        efm_buffer_format(out, "%d", *(const int *)place);
        break;
    case FLAG:
        efm_buffer_append_string(out, *(const bool *)place ? "true" : "false");
        break;
    case STATE:
        api_json_string(out, api_job_state_word(*(const enum api_job_state *)place));
        break;
    }
}

void api_job_write(const struct api_job *job, struct efm_buffer *out)
{
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        efm_buffer_format(out, "%s\"%s\":", i == 0 ? "{" : ",\n", MEMBERS[i].name);
        write_member(&MEMBERS[i], (const char *)job + MEMBERS[i].offset, out);
    }
    efm_buffer_append_string(out, "}");
}

/* ---- reading ---- */

static bool read_text(const struct member *member, char *place, const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL)
        return false;
    size_t length = strlen(text);
    if (length >= member->size) {
        if (member->kind != CUT)
            return false;
        length = member->size - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--; /* not in the middle of a character */
    }
    memcpy(place, text, length);
    place[length] = '\0';
    return true;
}

static bool read_count(uint64_t *place, const json_t *value)
{
    if (json_is_integer(value)) {
        *place = (uint64_t)json_integer_value(value);
        return json_integer_value(value) >= 0;
    }
    const char *text = json_string_value(value);
    char *end = NULL;
    if (text == NULL || strspn(text, "0123456789") != strlen(text) || text[0] == '\0')
        return false;
    errno = 0;
    *place = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool read_real(double *place, const json_t *value)
{
    *place = json_is_null(value) ? NAN : json_number_value(value);
    return json_is_null(value) || json_is_number(value);
}

/* Within low..high, or false. */
static bool read_integer(json_int_t *place, json_int_t low, json_int_t high, const json_t *value)
{
    *place = json_integer_value(value);
    return json_is_integer(value) && *place >= low && *place <= high;
}

static bool read_state(enum api_job_state *place, const json_t *value)
{
    return json_is_string(value) && api_job_state_parse(json_string_value(value), place);
}

/* False for a value of another kind; true but NULL where there was no memory. */
static bool read_owned(char **place, const json_t *value, bool *no_memory)
{
    if (json_is_null(value))
        return true;
    if (!json_is_string(value))
        return false;
    *place = efm_copy_string(json_string_value(value));
    *no_memory = *place == NULL;
    return true;
}

static bool read_member(const struct member *member, void *place, const json_t *value, bool *no_memory)
{
    json_int_t integer = 0;
    bool good = false;
    switch (member->kind) {
    case TEXT:
    case CUT:
        return read_text(member, place, value);
    case OWNED:
        return read_owned(place, value, no_memory);
    case REAL:
        return read_real(place, value);
    case COUNT:
        return read_count(place, value);
    case UNSIGNED:
        good = read_integer(&integer, 0, UINT32_MAX, value);
        *(unsigned *)place = (unsigned)integer;
        return good;
    case NUMBER:
        good = read_integer(&integer, INT32_MIN, INT32_MAX, value);
        *(int *)place = (int)integer;
        return good;
    case FLAG:
        *(bool *)place = json_is_true(value);
        return json_is_boolean(value);
    case STATE:
        return read_state(place, value);
    }
    return false;
}

static enum efm_status read_members(struct api_job *job, const json_t *root, struct efm_error *error)
{
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        const json_t *value = json_object_get(root, MEMBERS[i].name);
        bool no_memory = false;
        if (value == NULL)
            continue; /* an older replica wrote it */
        if (!read_member(&MEMBERS[i], (char *)job + MEMBERS[i].offset, value, &no_memory))
            return efm_error_set(error, EFM_E_FORMAT, "the record of a job has an impossible %s",
                                 MEMBERS[i].name);
        if (no_memory)
            return efm_error_set(error, EFM_E_MEMORY, "no memory to read a job");
    }
    return EFM_OK;
}

static enum efm_status parse(json_t **root, const char *text, size_t size, const char *what,
                             struct efm_error *error)
{
    struct api_problem problem = {0};
    *root = api_json_parse((const uint8_t *)text, size, &problem);
    if (*root == NULL && problem.code == API_P_NO_MEMORY)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to read a job");
    if (*root != NULL && json_is_object(*root))
        return EFM_OK;
    return efm_error_set(error, EFM_E_FORMAT, "%s of a job is no JSON object: %.120s", what,
                         *root != NULL ? "it is something else" : problem.detail);
}

/* What render puts into the text as it stands must be JSON. */
static enum efm_status check_object(const char *text, const char *what, struct efm_error *error)
{
    json_t *root = NULL;
    if (text == NULL)
        return EFM_OK;
    enum efm_status status = parse(&root, text, strlen(text), what, error);
    json_decref(root);
    return status;
}

enum efm_status api_job_read(struct api_job *job, const char *text, size_t size, struct efm_error *error)
{
    json_t *root = NULL;
    *job = (struct api_job){0};
    enum efm_status status = parse(&root, text, size, "the record", error);
    if (status == EFM_OK)
        status = read_members(job, root, error);
    json_decref(root);
    if (status == EFM_OK)
        status = check_object(job->metadata, "the metadata", error);
    if (status == EFM_OK && strcmp(job->kind, "train") == 0)
        status = check_object(job->spec, "the spec", error);
    if (status != EFM_OK)
        api_job_release(job);
    return status;
}
