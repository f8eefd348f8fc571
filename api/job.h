/* job.h - jobs as clients see them, as the store keeps them, and the requests that make and list them. Threads: pure.
 *
 * A job's record is kept as the JSON of api_job_write, which holds all of it; clients see api_job_render. */
#ifndef API_JOB_H
#define API_JOB_H

#include "api/message.h"
#include "api/parameters.h"
#include "api/problem.h"
#include "api/train.h"
#include "core/base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

enum api_job_state { API_JOB_QUEUED, API_JOB_RUNNING, API_JOB_SUCCEEDED, API_JOB_FAILED, API_JOB_CANCELLED };
const char *api_job_state_word(enum api_job_state state); /* "queued" */
bool api_job_state_parse(const char *word, enum api_job_state *state);
bool api_job_state_ended(enum api_job_state state);

enum { API_JOB_ID_SIZE = 64, API_JOB_KIND_SIZE = 16, API_JOB_URL_SIZE = 1024, API_JOB_OWNER_SIZE = 72 };

/* Zero it before use; release frees what is owned. Times are Unix seconds, 0: not yet. */
struct api_job {
    char id[API_JOB_ID_SIZE];     /* "job_" and letters and digits */
    char kind[API_JOB_KIND_SIZE]; /* "train", "transfer", "generate" */
    enum api_job_state state;
    bool cancel_asked; /* running, and to end at the next step */
    double created, started, finished, expires;
    uint64_t step, total_steps; /* 0 total: not known */
    double loss, images_per_second;
    double estimated_finish;
    size_t queue_position;     /* 1: next; 0: not waiting. Not stored */
    char model[API_NAME_SIZE]; /* made by a training, used by others */
    char model_sha256[65];     /* of the model that a training made */
    bool replace;              /* the model may be one that is there already */
    uint64_t seed;
    char *spec; /* owned: JSON. train: what api_train_render says, after completion; else as it was sent */
    char *metadata;                 /* owned: JSON object of the client's, or NULL */
    char webhook[API_JOB_URL_SIZE]; /* URL; "" for none */
    char webhook_state[32];         /* "", "pending", "delivered", "failed" */
    unsigned webhook_attempts;
    char dataset_query[2][256]; /* train: how the datasets of its plates were uploaded */
    char target[512];           /* not train: request target and headers to replay */
    char content_type[128], accept[128];
    int result_status; /* not train: 200 */
    char result_type[64];
    char result_headers[1024]; /* "Name: value\n" lines of the answer */
    uint64_t result_size;
    char error_code[48], error_message[320], error_pointer[72]; /* FAILED */
    unsigned attempts;                                          /* how often it was begun */
    uint64_t checkpoint_step;                                   /* of the last checkpoint; 0: none */
    double checkpoint_time;
    char traceparent[64];           /* of the request that made it; "" for none */
    char owner[API_JOB_OWNER_SIZE]; /* name of the API key that it came with; "" without keys. Never shown */
};
void api_job_release(struct api_job *job);

/* For the store: everything. EFM status of the buffer says whether it came out. */
void api_job_write(const struct api_job *job, struct efm_buffer *out);
/* EFM_E_FORMAT, EFM_E_MEMORY; on failure the job holds nothing. Unknown members are skipped (a newer replica wrote them). */
EFM_MUST_CHECK enum efm_status api_job_read(struct api_job *job, const char *text, size_t size,
                                            struct efm_error *error);

/* For clients:
 * {"id","object":"job","kind","status","created_at","started_at":..|null,"finished_at","estimated_finish","expires_at","progress":0..1,
 *  "step","total_steps","queue_position","model","hyperparameters":{the spec}|null,"seed","metadata":{},
 *  "metrics":{"loss","images_per_second"}|null,
 *  "result":null|{"model","sha256","url"}|{"url","content_type","bytes"},
 *  "error":null|{"code","message","param"},"webhook":null|{"url","status","attempts"},
 *  "checkpoint":null|{"step","created_at"},
 *  "urls":{"self","events","cancel","result"?,"preview"?,"loss"?,"checkpoints"?}} */
void api_job_render(const struct api_job *job, struct efm_buffer *out);
/* The ETag of what render says, with quotes; "" when there is no memory to find it. */
void api_job_etag(const struct api_job *job, char out[72]);

/* ---- POST /train ---- */

/* The spec of a training (see train.h; plates by the name of a dataset or by URL) with these members beside it:
 * {"model": name, "replace": false, "webhook": url | {"url": url}, "metadata": {up to 16 strings of up to 512 bytes}} */
struct api_train_request {
    struct api_train train;
    char model[API_NAME_SIZE]; /* "" when not given */
    bool replace;
    char webhook[API_JOB_URL_SIZE];
    char *metadata; /* owned JSON, NULL for none */
};
bool api_train_request_parse(struct api_train_request *request, const struct api_message *message,
                             struct api_problem *problem);
void api_train_request_release(struct api_train_request *request);

/* ---- GET /v1/jobs ---- */

/* ?status=&kind=&model=&limit=&after= (an id), newest first */
extern const struct api_parameter_table api_jobs_table;
struct api_jobs_request {
    struct api_parameters_seen seen;
    int status; /* index into the words of the table: the states, then "unfinished", "finished"; -1: any */
    int kind;   /* train, transfer, generate; -1: any */
    char model[API_NAME_SIZE];
    char after[API_NAME_SIZE]; /* shorter than API_JOB_ID_SIZE; "": from the newest */
    uint64_t limit;            /* 1..100, default 20 */
};
bool api_jobs_parse(struct api_jobs_request *request, const struct api_message *message,
                    struct api_problem *problem);

/* GET /v1/jobs/{id}?wait=30 */
extern const struct api_parameter_table api_job_wait_table;
struct api_job_wait {
    struct api_parameters_seen seen;
    double wait; /* 0..300 seconds, default 0 */
};
bool api_job_wait_parse(struct api_job_wait *request, const struct api_message *message,
                        struct api_problem *problem);

/* GET /v1/jobs/{id}/events?after=17&limit=100 */
extern const struct api_parameter_table api_events_table;
struct api_events_request {
    struct api_parameters_seen seen;
    uint64_t after, limit; /* limit 1..1000, default 1000: of JSON */
};
bool api_events_parse(struct api_events_request *request, const struct api_message *message,
                      struct api_problem *problem);

/* ---- events ---- */

/* What happened to a job. Kept as `data`, a JSON object; type is one of: state, metrics, checkpoint, preview, message. */
struct api_event {
    uint64_t id; /* ascending within a job: the sequence of its record */
    double created;
    const char *type, *level; /* level: info, warn, error */
    const char *message;      /* "" for none */
    const char *data;         /* JSON object, "{}" for none */
};
/* {"id":"17","object":"job.event","created_at","level","type","message","data"} */
void api_event_render(const struct api_event *event, struct efm_buffer *out);
/* "id: 17\nevent: metrics\ndata: {...}\n\n"; data is what api_event_render says. */
void api_event_frame(const struct api_event *event, struct efm_buffer *out);
/* Last-Event-ID: a whole number, else 0. */
uint64_t api_last_event_id(const char *header);

/* {"id":"ckpt_STEP","object":"job.checkpoint","step_number","created_at","metrics":{"loss"},"bytes"} */
void api_checkpoint_render(uint64_t step, double created, double loss, uint64_t bytes,
                           struct efm_buffer *out);

/* ---- headers of requests ---- */

/* Prefer (RFC 7240): respond-async, wait=n; others are ignored, as the RFC says. */
struct api_prefer {
    bool respond_async, wait_given;
    double wait;
};
void api_prefer_parse(struct api_prefer *prefer, const char *header);

enum { API_KEY_SIZE = 256 };
/* Idempotency-Key: a quoted string of RFC 8941, or bare; 1 to 255 printable characters. "" absent is fine and gives "". */
bool api_idempotency_key(const char *header, char out[API_KEY_SIZE], struct api_problem *problem);

/* "name/a;sub" of a webhook body: {"type":"job.succeeded","timestamp":"<RFC 3339>","data":{job without hyperparameters and metadata past 16 kB}} */
void api_webhook_body(const struct api_job *job, double now, struct efm_buffer *out);

#endif
