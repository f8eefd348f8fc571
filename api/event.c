// SPDX-License-Identifier: Apache-2.0
/* What happened to a job: as JSON, and as a frame of a stream of Server-Sent Events. */
#include "api/job.h"
#include "api/job_internal.h"
#include "api/json.h"

#include <string.h>

static void member(struct efm_buffer *out, const char *name, const char *text)
{
    efm_buffer_format(out, ",\"%s\":", name);
    api_json_string(out, text != NULL ? text : "");
}

void api_event_render(const struct api_event *event, struct efm_buffer *out)
{
    const bool has_data = event->data != NULL && event->data[0] != '\0';
    efm_buffer_format(
        out, "{\"id\":\"%llu\",\"object\":\"job.event\",\"created_at\":", (unsigned long long)event->id);
    api_job_time(out, event->created);
    member(out, "level", event->level);
    member(out, "type", event->type);
    member(out, "message", event->message);
    efm_buffer_append_string(out, ",\"data\":");
    api_job_compact(out, has_data ? event->data : "{}");
    efm_buffer_append_string(out, "}");
}

void api_event_frame(const struct api_event *event, struct efm_buffer *out)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
    const char *type = event->type != NULL ? event->type : "";
    /* nothing in a type may begin a field or a frame of its own */
    efm_buffer_format(out, "id: %llu\nevent: %.*s\ndata: ", (unsigned long long)event->id,
                      (int)strspn(type, letters), type);
    api_event_render(event, out);
    efm_buffer_append_string(out, "\n\n");
}

uint64_t api_last_event_id(const char *header)
{
    static const uint64_t most = INT64_MAX; /* stores count in signed numbers */
    uint64_t id = 0;
    size_t digits = strspn(header, "0123456789");
    if (digits == 0 || header[digits + strspn(header + digits, " \t")] != '\0')
        return 0;
    for (size_t i = 0; i < digits; i++) {
        const uint64_t digit = (uint64_t)(header[i] - '0');
        if (id > (most - digit) / 10)
            return 0;
        id = id * 10 + digit;
    }
    return id;
}

void api_checkpoint_render(uint64_t step, double created, double loss, uint64_t bytes, struct efm_buffer *out)
{
    efm_buffer_format(out,
                      "{\"id\":\"ckpt_%llu\",\"object\":\"job.checkpoint\",\"step_number\":%llu,"
                      "\"created_at\":",
                      (unsigned long long)step, (unsigned long long)step);
    api_job_time(out, created);
    efm_buffer_append_string(out, ",\"metrics\":{\"loss\":");
    api_json_real(out, loss);
    efm_buffer_format(out, "},\"bytes\":%llu}", (unsigned long long)bytes);
}
