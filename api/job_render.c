// SPDX-License-Identifier: Apache-2.0
/* A job as clients see it, when they ask and when they are told that it has ended. */
#include "api/job.h"
#include "api/job_internal.h"
#include "api/json.h"

#include "core/base/sha256.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A webhook body stays under 20 kB: what a client sent is left out of a job that is longer than the first of these; all the rest
 * of a job is bounded by the second, however it must be escaped. */
enum { MAX_WEBHOOK_JOB = 16 * 1000, MAX_REST = 19 * 1000, MAX_JOB = 16 << 20 };

/* Which of the members that can be long are shown. */
enum { WITH_SPEC = 1, WITH_METADATA = 2, WITH_ALL = WITH_SPEC | WITH_METADATA };

/* ---- small pieces ---- */

void api_job_compact(struct efm_buffer *out, const char *json)
{
    bool in_string = false;
    size_t start = 0, at = 0;
    for (; json[at] != '\0'; at++) {
        if (in_string && json[at] == '\\' && json[at + 1] != '\0') {
            at++;
            continue;
        }
        if (json[at] == '"')
            in_string = !in_string;
        /* a control character in a string is no JSON, but would still break a line */
        bool dropped = in_string ? (unsigned char)json[at] < ' ' : strchr(" \t\r\n", json[at]) != NULL;
        if (dropped) {
            efm_buffer_append(out, json + start, at - start);
            start = at + 1;
        }
    }
    efm_buffer_append(out, json + start, at - start);
}

/* As api_job_compact, but of a string that is a URL what follows its path is left out: it may be what opens it. */
static void compact_without_queries(struct efm_buffer *out, const char *json)
{
    struct efm_buffer whole = efm_buffer_limited(SIZE_MAX / 2);
    bool in_string = false, in_url = false, left_out = false;
    api_job_compact(&whole, json);
    efm_buffer_append(&whole, "", 1);
    const char *text = whole.status == EFM_OK ? (const char *)whole.data : "";
    for (; *text != '\0'; text++) {
        const bool escaped = in_string && *text == '\\' && text[1] != '\0';
        if (*text == '"') {
            in_string = !in_string;
            in_url = in_string &&
                     (strncasecmp(text + 1, "http://", 7) == 0 || strncasecmp(text + 1, "https://", 8) == 0);
            left_out = false;
        }
        left_out = left_out || (in_url && (*text == '?' || *text == '#'));
        if (!left_out)
            efm_buffer_append(out, text, 1 + escaped);
        text += escaped;
    }
    if (whole.status != EFM_OK)
        out->status = whole.status;
    efm_buffer_release(&whole);
}

void api_job_time(struct efm_buffer *out, double seconds)
{
    if (seconds > 0 && seconds < 0x1p53)
        efm_buffer_format(out, "%.0f", floor(seconds));
    else
        efm_buffer_append_string(out, "null");
}

void api_job_timestamp(struct efm_buffer *out, double seconds)
{
    /* years begin in March here, so that a leap day is the last one; an era of 400 of them has 146097 days */
    static const double last = 253402300799.0; /* 9999-12-31T23:59:59 */
    const uint64_t whole = seconds >= last ? (uint64_t)last : seconds > 0 ? (uint64_t)seconds : 0;
    const unsigned second = (unsigned)(whole % 86400), days = (unsigned)(whole / 86400) + 719468;
    const unsigned era = days / 146097, day_of_era = days % 146097;
    const unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const unsigned day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100); /* from the first of March */
    const unsigned month_from_march = (5 * day_of_year + 2) / 153;
    const unsigned day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    const unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    const unsigned year = era * 400 + year_of_era + (month <= 2);
    efm_buffer_format(out, "%04u-%02u-%02uT%02u:%02u:%02uZ", year, month, day, second / 3600,
                      second / 60 % 60, second % 60);
}

static void text_member(struct efm_buffer *out, const char *name, const char *text)
{
    efm_buffer_format(out, "\"%s\":", name);
    if (text[0] != '\0')
        api_json_string(out, text);
    else
        efm_buffer_append_string(out, "null");
}

static void time_member(struct efm_buffer *out, const char *name, double seconds)
{
    efm_buffer_format(out, ",\"%s\":", name);
    api_job_time(out, seconds);
}

/* "name":"/v1/jobs/ID/end" */
static void url_member(struct efm_buffer *out, const char *name, const struct api_job *job, const char *end)
{
    char url[API_JOB_ID_SIZE + 32];
    snprintf(url, sizeof url, "/v1/jobs/%s%s", job->id, end);
    text_member(out, name, url);
}

/* ---- members that are objects ---- */

static bool is_training(const struct api_job *job)
{
    return strcmp(job->kind, "train") == 0;
}

static double progress_of(const struct api_job *job)
{
    if (job->state == API_JOB_SUCCEEDED)
        return 1;
    if (job->total_steps == 0)
        return 0;
    return job->step < job->total_steps ? (double)job->step / (double)job->total_steps : 1;
}

static void append_metrics(struct efm_buffer *out, const struct api_job *job)
{
    if (job->loss == 0 && job->images_per_second == 0) {
        efm_buffer_append_string(out, ",\"metrics\":null");
        return;
    }
    efm_buffer_append_string(out, ",\"metrics\":{\"loss\":");
    api_json_real(out, job->loss);
    efm_buffer_append_string(out, ",\"images_per_second\":");
    api_json_real(out, job->images_per_second);
    efm_buffer_append_string(out, "}");
}

static void append_result(struct efm_buffer *out, const struct api_job *job)
{
    char url[API_NAME_SIZE + 16];
    efm_buffer_append_string(out, ",\"result\":");
    if (job->state != API_JOB_SUCCEEDED) {
        efm_buffer_append_string(out, "null");
        return;
    }
    efm_buffer_append_string(out, "{");
    if (is_training(job)) {
        snprintf(url, sizeof url, "/v1/models/%s", job->model);
        text_member(out, "model", job->model);
        efm_buffer_append_string(out, ",");
        text_member(out, "sha256", job->model_sha256);
        efm_buffer_append_string(out, ",");
        text_member(out, "url", url);
    } else {
        url_member(out, "url", job, "/result");
        efm_buffer_append_string(out, ",");
        text_member(out, "content_type", job->result_type);
        efm_buffer_format(out, ",\"bytes\":%llu", (unsigned long long)job->result_size);
    }
    efm_buffer_append_string(out, "}");
}

static void append_error(struct efm_buffer *out, const struct api_job *job)
{
    if (job->state != API_JOB_FAILED) {
        efm_buffer_append_string(out, ",\"error\":null");
        return;
    }
    efm_buffer_append_string(out, ",\"error\":{\"code\":");
    api_json_string(out, job->error_code);
    efm_buffer_append_string(out, ",\"message\":");
    api_json_string(out, job->error_message);
    efm_buffer_append_string(out, ",");
    text_member(out, "param", job->error_pointer);
    efm_buffer_append_string(out, "}");
}

static void append_webhook(struct efm_buffer *out, const struct api_job *job)
{
    if (job->webhook[0] == '\0') {
        efm_buffer_append_string(out, ",\"webhook\":null");
        return;
    }
    char url[API_JOB_URL_SIZE];
    snprintf(url, sizeof url, "%.*s", (int)strcspn(job->webhook, "?#"), job->webhook);
    efm_buffer_append_string(out, ",\"webhook\":{");
    text_member(out, "url", url);
    efm_buffer_append_string(out, ",");
    text_member(out, "status", job->webhook_state);
    efm_buffer_format(out, ",\"attempts\":%u}", job->webhook_attempts);
}

static void append_checkpoint(struct efm_buffer *out, const struct api_job *job)
{
    if (job->checkpoint_step == 0) {
        efm_buffer_append_string(out, ",\"checkpoint\":null");
        return;
    }
    efm_buffer_format(out, ",\"checkpoint\":{\"step\":%llu", (unsigned long long)job->checkpoint_step);
    time_member(out, "created_at", job->checkpoint_time);
    efm_buffer_append_string(out, "}");
}

static void append_urls(struct efm_buffer *out, const struct api_job *job)
{
    static const struct {
        const char *name, *end;
        bool of_training, of_others;
    } urls[] = {{"self", "", true, true},
                {"events", "/events", true, true},
                {"cancel", "/cancel", true, true},
                {"result", "/result", false, true},
                {"preview", "/preview.png", true, false},
                {"loss", "/loss.png", true, false},
                {"checkpoints", "/checkpoints", true, false}};
    const char *separator = ",\"urls\":{";
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        if (!(is_training(job) ? urls[i].of_training : urls[i].of_others))
            continue;
        efm_buffer_append_string(out, separator);
        url_member(out, urls[i].name, job, urls[i].end);
        separator = ",";
    }
    efm_buffer_append_string(out, "}");
}

/* ---- the whole ---- */

/* `with`: what is left out is null. */
static void append_sent(struct efm_buffer *out, const struct api_job *job, unsigned with)
{
    const char *spec = is_training(job) && (with & WITH_SPEC) != 0 ? job->spec : NULL;
    const char *metadata = (with & WITH_METADATA) == 0 ? "null" : job->metadata;
    efm_buffer_append_string(out, ",\"hyperparameters\":");
    compact_without_queries(out, spec != NULL ? spec : "null");
    efm_buffer_format(out, ",\"seed\":%llu,\"metadata\":", (unsigned long long)job->seed);
    api_job_compact(out, metadata != NULL ? metadata : "{}");
}

static void append_job(struct efm_buffer *out, const struct api_job *job, unsigned with)
{
    const bool ended = api_job_state_ended(job->state);
    efm_buffer_append_string(out, "{\"id\":");
    api_json_string(out, job->id);
    efm_buffer_append_string(out, ",\"object\":\"job\",\"kind\":");
    api_json_string(out, job->kind);
    efm_buffer_format(out, ",\"status\":\"%s\"", api_job_state_word(job->state));
    time_member(out, "created_at", job->created);
    time_member(out, "started_at", job->started);
    time_member(out, "finished_at", job->finished);
    time_member(out, "estimated_finish", ended ? 0 : job->estimated_finish);
    time_member(out, "expires_at", job->expires);
    efm_buffer_append_string(out, ",\"progress\":");
    api_json_real(out, progress_of(job));
    efm_buffer_format(out, ",\"step\":%llu,\"total_steps\":", (unsigned long long)job->step);
    if (job->total_steps > 0)
        efm_buffer_format(out, "%llu", (unsigned long long)job->total_steps);
    else
        efm_buffer_append_string(out, "null");
    efm_buffer_format(out, ",\"queue_position\":%zu,", job->queue_position);
    text_member(out, "model", job->model);
    append_sent(out, job, with);
    append_metrics(out, job);
    append_result(out, job);
    append_error(out, job);
    append_webhook(out, job);
    append_checkpoint(out, job);
    append_urls(out, job);
    efm_buffer_append_string(out, "}");
}

void api_job_render(const struct api_job *job, struct efm_buffer *out)
{
    append_job(out, job, WITH_ALL);
}

void api_job_etag(const struct api_job *job, char out[72])
{
    struct efm_buffer text = efm_buffer_limited(MAX_JOB);
    char digest[65];
    out[0] = '\0';
    api_job_render(job, &text);
    if (text.status == EFM_OK) {
        efm_sha256_hex(text.data, text.size, digest);
        snprintf(out, 72, "\"%s\"", digest);
    }
    efm_buffer_release(&text);
}

void api_webhook_body(const struct api_job *job, double now, struct efm_buffer *out)
{
    static const unsigned tries[] = {WITH_ALL, WITH_METADATA, 0};
    struct efm_buffer text = {0};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        text = efm_buffer_limited(tries[i] != 0 ? MAX_WEBHOOK_JOB : MAX_REST);
        append_job(&text, job, tries[i]);
        if (text.status != EFM_E_LIMIT || tries[i] == 0)
            break;
        efm_buffer_release(&text);
    }
    efm_buffer_format(out, "{\"type\":\"job.%s\",\"timestamp\":\"", api_job_state_word(job->state));
    api_job_timestamp(out, now);
    efm_buffer_append_string(out, "\",\"data\":");
    efm_buffer_append(out, text.data, text.size);
    efm_buffer_append_string(out, "}");
    if (text.status != EFM_OK && out->status == EFM_OK)
        out->status = text.status;
    efm_buffer_release(&text);
}
