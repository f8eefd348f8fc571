// SPDX-License-Identifier: Apache-2.0
/* Requests that make, list and watch jobs. */
#include "api/job.h"
#include "api/json.h"
#include "api/train_internal.h"

#include "core/base/memory.h"

#include <stdio.h>
#include <string.h>

/* ---- POST /train ---- */

enum { MAX_METADATA = 16, MAX_METADATA_KEY = 64, MAX_METADATA_VALUE = 512, MAX_METADATA_TEXT = 1 << 17 };

/* Members of the request that are none of the spec. */
static const char *const BESIDE[] = {"model", "replace", "webhook", "metadata", NULL};

static bool refuse(struct api_problem *problem, const char *key, const char *wanted)
{
    return api_train_refuse(problem, API_P_INVALID_PARAMETER, key, "", "must be %s", wanted);
}

static bool read_model(struct api_train_request *request, const json_t *value, struct api_problem *problem)
{
    const char *name = json_string_value(value);
    if (name == NULL || !api_name_valid(name))
        return refuse(problem, "model", "1..64 of a-z A-Z 0-9 . _ - and not start with . or -");
    snprintf(request->model, sizeof request->model, "%s", name);
    return true;
}

static bool read_replace(struct api_train_request *request, const json_t *value, struct api_problem *problem)
{
    request->replace = json_is_true(value);
    return json_is_boolean(value) || refuse(problem, "replace", "true or false");
}

static bool read_webhook(struct api_train_request *request, const json_t *value, struct api_problem *problem)
{
    const bool is_object = json_is_object(value);
    const json_t *address = is_object ? json_object_get(value, "url") : value;
    const char *url = json_string_value(address), *name;
    json_t *member;
    json_object_foreach((json_t *)value, name, member)
    {
        if (strcmp(name, "url") != 0)
            return api_train_refuse(problem, API_P_UNKNOWN_PARAMETER, "webhook", name,
                                    "is not a parameter here; known is url");
    }
    if (url == NULL)
        return refuse(problem, "webhook", "a URL, or an object like {\"url\": \"https://...\"}");
    const char *fault = api_train_url_fault(url);
    if (fault != NULL)
        return api_train_refuse(problem, API_P_URL_REFUSED, "webhook", is_object ? "url" : "", "%s", fault);
    snprintf(request->webhook, sizeof request->webhook, "%s", url);
    return true;
}

static int append_text(const char *text, size_t size, void *context)
{
    return efm_buffer_append(context, text, size) == EFM_OK ? 0 : -1;
}

static bool keep_metadata(struct api_train_request *request, const json_t *value, struct api_problem *problem)
{
    struct efm_buffer text = efm_buffer_limited(MAX_METADATA_TEXT);
    bool good = json_dump_callback(value, append_text, &text, JSON_COMPACT) == 0;
    if (!good || efm_buffer_append(&text, "", 1) != EFM_OK) {
        efm_buffer_release(&text);
        return api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory to read the metadata");
    }
    request->metadata = (char *)text.data;
    return true;
}

static bool read_metadata(struct api_train_request *request, const json_t *value, struct api_problem *problem)
{
    const char *name;
    json_t *member;
    if (!json_is_object(value) || json_object_size(value) > MAX_METADATA)
        return refuse(problem, "metadata", "an object of up to 16 strings");
    json_object_foreach((json_t *)value, name, member)
    {
        if (name[0] == '\0' || strlen(name) > MAX_METADATA_KEY)
            return api_train_refuse(problem, API_P_INVALID_PARAMETER, "metadata", name,
                                    "must have a key of 1..64 bytes");
        if (!json_is_string(member) || json_string_length(member) > MAX_METADATA_VALUE)
            return api_train_refuse(problem, API_P_INVALID_PARAMETER, "metadata", name,
                                    "must be a string of up to 512 bytes");
    }
    return json_object_size(value) == 0 || keep_metadata(request, value, problem);
}

/* What lies beside the spec. Goes on after a refusal: the client learns of all its mistakes at once. */
static bool read_beside(struct api_train_request *request, const json_t *root, struct api_problem *problem)
{
    static bool (*const readers[])(struct api_train_request *, const json_t *, struct api_problem *) = {
        read_model, read_replace, read_webhook, read_metadata};
    bool good = true;
    _Static_assert(sizeof readers / sizeof readers[0] + 1 == sizeof BESIDE / sizeof BESIDE[0], "one each");
    for (size_t i = 0; BESIDE[i] != NULL; i++) {
        const json_t *value = json_object_get(root, BESIDE[i]);
        if (value != NULL)
            good = readers[i](request, value, problem) && good;
    }
    return good;
}

static bool check_body(const struct api_message *message, struct api_problem *problem)
{
    static const char *const of_json[] = {"", "application/json", "application/x-www-form-urlencoded",
                                          "text/plain"}; /* the last two by curl -d, and by hand */
    static const char wanted[] =
        "the body must be a JSON object: {\"model\": NAME, \"source\": DATASET, \"target\": DATASET, ...}";
    char type[64];
    if (message->body_size == 0)
        return api_problem_set(problem, API_P_EMPTY_BODY, NULL, "%s", wanted);
    if (api_json_is_object(message->body, message->body_size))
        return true;
    api_content_type(message->content_type, type, sizeof type);
    for (size_t i = 0; i < sizeof of_json / sizeof of_json[0]; i++)
        if (strcmp(type, of_json[i]) == 0)
            return api_problem_set(problem, API_P_MALFORMED_JSON, NULL, "%s", wanted);
    return api_problem_set(problem, API_P_UNSUPPORTED_MEDIA_TYPE, NULL, "%s", wanted);
}

bool api_train_request_parse(struct api_train_request *request, const struct api_message *message,
                             struct api_problem *problem)
{
    static const struct api_parameter_table none = {NULL, 0};
    struct api_parameters_seen seen = {0};
    *request = (struct api_train_request){0};
    if (!api_parameters_from_query(&none, request, &seen, message->query, problem) ||
        !check_body(message, problem))
        return false;
    json_t *root = api_json_parse(message->body, message->body_size, problem);
    if (root == NULL)
        return false;
    bool good = read_beside(request, root, problem);
    good = api_train_read(&request->train, root, API_TRAIN_STORED, BESIDE, problem) && good;
    json_decref(root);
    if (!good)
        api_train_request_release(request);
    return good;
}

void api_train_request_release(struct api_train_request *request)
{
    api_train_release(&request->train);
    efm_free(request->metadata);
    *request = (struct api_train_request){0};
}

/* ---- GET /v1/jobs ---- */

static const char *const STATUSES[] = {"queued",    "running",    "succeeded", "failed",
                                       "cancelled", "unfinished", "finished",  NULL};
static const char *const KINDS[] = {"train", "transfer", "generate", NULL};

#define TABLE(items)                                                                                         \
    {                                                                                                        \
        items, sizeof items / sizeof items[0]                                                                \
    }
static const struct api_parameter JOBS[] = {
    {"status", API_WORD, offsetof(struct api_jobs_request, status), .words = STATUSES,
     .fallback = "jobs of every status",
     .help = "Jobs of this status; unfinished: queued or running; finished: all others"},
    {"kind", API_WORD, offsetof(struct api_jobs_request, kind), .words = KINDS,
     .fallback = "jobs of every kind", .help = "Jobs of this kind"},
    {"model", API_NAME, offsetof(struct api_jobs_request, model), .fallback = "jobs of every model",
     .help = "Jobs that make or use this model"},
    {"limit", API_INTEGER, offsetof(struct api_jobs_request, limit), .low = 1, .high = 100, .fallback = "20",
     .help = "Jobs in one answer"},
    {"after", API_NAME, offsetof(struct api_jobs_request, after), .fallback = "from the newest job on",
     .help = "The id of a job: the list goes on after it, newest first"},
};
const struct api_parameter_table api_jobs_table = TABLE(JOBS);

/* "job_", then letters and digits. */
static bool is_job_id(const char *id)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t length = strlen(id);
    return length > 4 && length < API_JOB_ID_SIZE && strncmp(id, "job_", 4) == 0 &&
           strspn(id + 4, letters) == length - 4;
}

bool api_jobs_parse(struct api_jobs_request *request, const struct api_message *message,
                    struct api_problem *problem)
{
    *request = (struct api_jobs_request){.status = -1, .kind = -1};
    api_parameters_defaults(&api_jobs_table, request);
    if (!api_parameters_from_query(&api_jobs_table, request, &request->seen, message->query, problem))
        return false;
    return request->after[0] == '\0' || is_job_id(request->after) ||
           api_problem_set(problem, API_P_INVALID_PARAMETER, "/after", "must be the id of a job");
}

/* ---- GET /v1/jobs/{id} and its events ---- */

static const struct api_parameter WAIT[] = {
    {"wait", API_REAL, offsetof(struct api_job_wait, wait), .low = 0, .high = 300, .fallback = "0",
     .help = "Seconds to wait for a change: of what If-None-Match says, or of what the job is now"},
};
const struct api_parameter_table api_job_wait_table = TABLE(WAIT);

bool api_job_wait_parse(struct api_job_wait *request, const struct api_message *message,
                        struct api_problem *problem)
{
    *request = (struct api_job_wait){0};
    api_parameters_defaults(&api_job_wait_table, request);
    return api_parameters_from_query(&api_job_wait_table, request, &request->seen, message->query, problem);
}

static const struct api_parameter EVENTS[] = {
    {"after", API_INTEGER, offsetof(struct api_events_request, after), .low = 0, .high = 9007199254740991.0,
     .fallback = "0", .help = "The id of an event: those after it"},
    {"limit", API_INTEGER, offsetof(struct api_events_request, limit), .low = 1, .high = 1000,
     .fallback = "1000", .help = "Events in one JSON answer; a stream has no end of this kind"},
};
const struct api_parameter_table api_events_table = TABLE(EVENTS);
#undef TABLE

bool api_events_parse(struct api_events_request *request, const struct api_message *message,
                      struct api_problem *problem)
{
    *request = (struct api_events_request){0};
    api_parameters_defaults(&api_events_table, request);
    return api_parameters_from_query(&api_events_table, request, &request->seen, message->query, problem);
}
