// SPDX-License-Identifier: Apache-2.0
/* A query of jobs, and bytes as the record of a job: what is read is written and read again the same, and shown as valid JSON. */
#include "api/job.h"
#include "core/base/memory.h"
#include "tests/fuzz/api_target.h"

static json_t *json_of(const struct efm_buffer *buffer)
{
    if (buffer->status != EFM_OK || memchr(buffer->data, '\n', buffer->size) != NULL)
        abort();
    json_t *json = json_loadb((const char *)buffer->data, buffer->size,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    if (json == NULL)
        abort();
    return json;
}

static void check_shown(const struct api_job *job)
{
    struct efm_buffer out = efm_buffer_limited(16 << 20);
    const struct api_event event = {job->step,  job->created,       job->kind,
                                    job->model, job->error_message, job->metadata};
    char tag[72];
    api_job_render(job, &out);
    json_decref(json_of(&out));
    efm_buffer_release(&out);
    api_webhook_body(job, job->finished, &out);
    if (out.size >= 20000)
        abort();
    json_decref(json_of(&out));
    efm_buffer_release(&out);
    api_event_render(&event, &out);
    json_decref(json_of(&out));
    efm_buffer_release(&out);
    api_job_etag(job, tag);
    if (strlen(tag) != 66)
        abort();
}

static void check_record(const struct api_job *job)
{
    struct efm_buffer first = efm_buffer_limited(16 << 20), second = efm_buffer_limited(16 << 20);
    struct efm_error error = {0};
    struct api_job again;
    api_job_write(job, &first);
    if (first.status != EFM_OK ||
        api_job_read(&again, (const char *)first.data, first.size, &error) != EFM_OK)
        abort();
    api_job_write(&again, &second);
    if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0)
        abort();
    api_job_release(&again);
    efm_buffer_release(&first);
    efm_buffer_release(&second);
}

static void check_queries(const struct api_message *message)
{
    struct api_problem problems[3] = {{0}};
    struct api_jobs_request jobs;
    struct api_job_wait wait;
    struct api_events_request events;
    bool good = api_jobs_parse(&jobs, message, &problems[0]);
    if (good && (jobs.limit < 1 || jobs.limit > 100 || strlen(jobs.after) >= API_JOB_ID_SIZE))
        abort();
    check_verdict(good, &problems[0]);
    good = api_job_wait_parse(&wait, message, &problems[1]);
    if (good && !(wait.wait >= 0 && wait.wait <= 300))
        abort();
    check_verdict(good, &problems[1]);
    good = api_events_parse(&events, message, &problems[2]);
    if (good && (events.limit < 1 || events.limit > 1000 || events.after > UINT64_C(9007199254740991)))
        abort();
    check_verdict(good, &problems[2]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target_message target;
    struct api_job job;
    struct efm_error error = {0};
    take_message(&target, data, size);
    check_queries(&target.message);
    if (api_job_read(&job, (const char *)target.body, target.message.body_size, &error) == EFM_OK) {
        check_shown(&job);
        check_record(&job);
        api_job_release(&job);
    } else if (error.status == EFM_OK || job.spec != NULL || job.metadata != NULL) {
        abort();
    }
    free(target.body);
    return 0;
}
