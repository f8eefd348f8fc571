// SPDX-License-Identifier: Apache-2.0
/* The samples of a training. What lies at a URL is fetched once and then kept with the job, so that a training that goes on does so on
 * the same bytes, whatever the URL gives by then. */
#include "api/resources.h"
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "core/data/stream_check.h"
#include "core/data/subset.h"
#include "server/clock.h"
#include "server/config.h"
#include "server/engine/registry.h"
#include "server/jobs/outbound.h"
#include "server/jobs/train_internal.h"
#include "server/metrics.h"
#include "server/train/plates.h"

#include <ctype.h>
#include <string.h>

static const char *const side_words[2] = {"source", "target"}; /* by enum efm_plate_side */
static const char *const side_pointers[2] = {"/source", "/target"};

/* Seconds between two words on how far a fetch has come; they grow, for the events of a job are not without end. */
#define FIRST_WORD 2.0
#define WORD_GROWTH 1.5

/* ---- fetching ---- */

struct fetch {
    struct srv_train_job *job;
    size_t side;
    struct srv_blob_writer *writer;
    struct efm_stream_check *check;
    struct efm_sha256 digest;
    bool wrong;             /* the bytes are no dataset, or */
    struct efm_error error; /* why they could not be taken */
    double word_due, word_pause;
};

static bool take(void *context, const uint8_t *bytes, size_t size)
{
    struct fetch *fetch = context;
    srv_metrics_add(fetch->job->service->metrics, SRV_M_FETCHED, (double)size, "%s", "");
    fetch->wrong = efm_stream_check_feed(fetch->check, bytes, size, &fetch->error) != EFM_OK;
    if (fetch->wrong)
        return false;
    efm_sha256_add(&fetch->digest, bytes, size);
    return srv_blob_append(fetch->writer, bytes, size, &fetch->error) == EFM_OK;
}

static bool go_on(void *context, uint64_t received, uint64_t expected)
{
    struct fetch *fetch = context;
    const double now = srv_clock();
    if (now >= fetch->word_due) {
        fetch->word_due = now + fetch->word_pause;
        fetch->word_pause *= WORD_GROWTH;
        srv_train_job_event(fetch->job, "message", "info", "fetching a dataset",
                            "{\"side\":\"%s\",\"received\":%llu,\"expected\":%llu}", side_words[fetch->side],
                            (unsigned long long)received, (unsigned long long)expected);
    }
    return srv_train_job_goes_on(fetch->job);
}

static bool fail_fetch(struct fetch *fetch, const char *reason)
{
    return srv_train_job_fail(fetch->job, "fetch_failed", side_pointers[fetch->side],
                              "the %s cannot be fetched: %s", side_words[fetch->side], reason);
}

/* What a request that has ended means; *error is of the request. */
static bool judge(struct fetch *fetch, enum efm_status status, int answer, const struct efm_error *error)
{
    struct srv_train_job *job = fetch->job;
    const char *pointer = side_pointers[fetch->side];
    if (atomic_load(&job->end) != SRV_TRAIN_GOES_ON)
        return false;
    if (status == EFM_E_ARGUMENT)
        return srv_train_job_fail(job, api_problem_code_name(API_P_URL_REFUSED), pointer, "%s",
                                  error->message);
    if (answer != 0 && answer != 200) // and what came with it is no dataset
        return srv_train_job_fail(job, "fetch_failed", pointer, "the address of the %s answers with %d",
                                  side_words[fetch->side], answer);
    if (fetch->error.status != EFM_OK)
        return srv_train_job_fail_error(job, &fetch->error,
                                        fetch->wrong ? API_P_INVALID_DATASET : API_P_STORAGE, pointer);
    if (status == EFM_E_LIMIT)
        return srv_train_job_fail_error(job, error, API_P_INVALID_DATASET, pointer);
    return status == EFM_OK || fail_fetch(fetch, error->message);
}

static bool same_digest(const char *wanted, const char *actual)
{
    for (; *wanted != '\0'; wanted++, actual++)
        if (tolower((unsigned char)*wanted) != *actual)
            return false;
    return true;
}

/* The bytes are all there: are they those that were meant? */
static bool accept(struct fetch *fetch, const struct api_train_plate *plate)
{
    struct srv_train_job *job = fetch->job;
    const char *pointer = side_pointers[fetch->side];
    char actual[65];
    struct efm_error error = {0};
    if (efm_stream_check_finish(fetch->check, &error) != EFM_OK)
        return srv_train_job_fail_error(job, &error, API_P_INVALID_DATASET, pointer);
    efm_sha256_end(&fetch->digest, actual);
    if (!same_digest(plate->sha256, actual))
        return srv_train_job_fail(job, "sha256_mismatch", pointer,
                                  "the sha256 of the fetched %s is %s, and not the one that was given",
                                  side_words[fetch->side], actual);
    enum efm_status status = srv_blob_commit(fetch->writer, &error);
    fetch->writer = NULL;
    return status == EFM_OK || srv_train_job_fail_error(job, &error, API_P_STORAGE, pointer);
}

static bool perform(struct fetch *fetch, const struct api_train_plate *plate)
{
    const struct srv_service *service = fetch->job->service;
    const struct srv_outbound_request request = {
        .url = plate->path,
        .method = "GET",
        .limit = service->config->fetch_limit,
        .take = take,
        .go_on = go_on,
        .context = fetch,
    };
    int answer = 0;
    struct efm_error error = {0};
    enum efm_status status = srv_outbound_perform(service->fetches, &request, &answer, &error);
    return judge(fetch, status, answer, &error) && accept(fetch, plate);
}

static uint64_t decoded_limit(const struct srv_service *service)
{
    /* samples in a file of their own need no memory */
    return srv_registry_scratch(service->registry) != NULL ? service->config->dataset_quota
                                                           : srv_registry_room(service->registry);
}

static bool fetch_plate(struct srv_train_job *job, size_t side, const char *key)
{
    const struct srv_service *service = job->service;
    const struct efm_stream_limits limits = {.max_count = efm_dataset_options_default().max_count,
                                             .max_bytes = service->config->fetch_limit,
                                             .max_decoded = decoded_limit(service)};
    struct fetch fetch = {
        .job = job, .side = side, .word_due = srv_clock() + FIRST_WORD, .word_pause = FIRST_WORD};
    struct efm_error error = {0};
    efm_sha256_begin(&fetch.digest);
    enum efm_status status = efm_stream_check_create(&fetch.check, &limits, &error);
    if (status == EFM_OK)
        status = srv_blobs_begin(service->blobs, key, &fetch.writer, &error);
    bool good = status == EFM_OK ? perform(&fetch, &job->train.plates[side])
                                 : srv_train_job_fail_error(job, &error, API_P_STORAGE, side_pointers[side]);
    srv_blob_abort(fetch.writer);
    efm_stream_check_destroy(fetch.check);
    return good;
}

/* ---- reading ---- */

struct reading {
    struct srv_train_job *job;
    struct srv_blob *blobs[2];
    size_t side; /* that is read, for the pointer of a failure */
};

static bool may_go_on(void *context)
{
    const struct srv_train_job *job = context;
    return atomic_load(&job->end) == SRV_TRAIN_GOES_ON;
}

/* As the dataset was uploaded, unless the spec says it otherwise. */
static enum efm_status find_options(const struct srv_train_job *job, size_t side,
                                    struct efm_dataset_options *options, struct efm_error *error)
{
    struct api_problem problem = {0};
    struct api_dataset_request request = {0};
    const struct api_message message = {.method = "PUT",
                                        .path = "",
                                        .query = job->record.dataset_query[side],
                                        .content_type = "",
                                        .accept = "",
                                        .body = (const uint8_t *)"",
                                        .body_size = 0};
    api_train_dataset_options(&job->train, options);
    if (job->train.plates[side].origin == API_TRAIN_DATASET && job->train.image.height == 0) {
        if (!api_dataset_parse(&request, &message, &problem))
            return efm_error_set(error, EFM_E_FORMAT, "the query of its upload cannot be read: %.150s",
                                 problem.detail);
        api_dataset_options(&request, options);
    }
    options->image_limits = job->service->limits.image;
    options->max_decoded_bytes = (size_t)decoded_limit(job->service);
    options->scratch = srv_registry_scratch(job->service->registry);
    options->go_on = may_go_on;
    options->go_on_context = (void *)job;
    return EFM_OK;
}

static enum efm_status read_whole(struct reading *reading, struct efm_dataset **dataset)
{
    struct srv_train_job *job = reading->job;
    const struct api_train_plate *plate = &job->train.plates[reading->side];
    struct efm_dataset_options options;
    enum efm_status status = find_options(job, reading->side, &options, &job->error);
    if (status != EFM_OK)
        return status;
    if (plate->origin == API_TRAIN_TOY)
        return efm_dataset_read(dataset, (const uint8_t *)plate->toy, strlen(plate->toy), &options,
                                &job->error);
    struct srv_blob *blob = reading->blobs[reading->side];
    const uint8_t *bytes = srv_blob_map(blob, &job->error);
    return bytes == NULL
               ? job->error.status
               : efm_dataset_read(dataset, bytes, (size_t)srv_blob_size(blob), &options, &job->error);
}

static enum efm_status read_plate(struct reading *reading, struct efm_dataset **dataset)
{
    struct srv_train_job *job = reading->job;
    const struct api_train_plate *plate = &job->train.plates[reading->side];
    const struct efm_selection selection = {.first = plate->first, .count = plate->count};
    struct efm_dataset *part = NULL;
    if (plate->origin == API_TRAIN_GAUSSIAN)
        return EFM_OK;
    enum efm_status status = read_whole(reading, dataset);
    if (status != EFM_OK || (plate->first == 0 && plate->count == 0))
        return status;
    status = efm_dataset_select(&part, *dataset, &selection, &job->error);
    if (status != EFM_OK)
        return status;
    efm_dataset_unref(*dataset);
    *dataset = part;
    return EFM_OK;
}

static void read_plates(void *context)
{
    struct reading *reading = context;
    struct srv_train_job *job = reading->job;
    for (size_t side = 0; side < 2 && job->status == EFM_OK; side++) {
        reading->side = side;
        job->status = read_plate(reading, &job->datasets[side]);
    }
}

/* Of what the job keeps; a URL is gone to when it was not before. */
static bool open_blob(struct reading *reading, size_t side)
{
    struct srv_train_job *job = reading->job;
    const enum api_train_origin origin = job->train.plates[side].origin;
    char key[SRV_BLOB_KEY];
    if (origin != API_TRAIN_DATASET && origin != API_TRAIN_URL)
        return true;
    srv_jobs_blob_key(job->record.id, side_words[side], key);
    struct efm_error error = {0};
    enum efm_status status = srv_blobs_open(job->service->blobs, key, &reading->blobs[side], &error);
    if (status == EFM_E_NOT_FOUND && origin == API_TRAIN_URL) {
        if (!fetch_plate(job, side, key))
            return false;
        efm_error_clear(&error);
        status = srv_blobs_open(job->service->blobs, key, &reading->blobs[side], &error);
    }
    return status == EFM_OK || srv_train_job_fail_error(job, &error, API_P_STORAGE, side_pointers[side]);
}

static bool fail_reading(const struct reading *reading)
{
    struct srv_train_job *job = reading->job;
    if (job->status == EFM_E_CANCELLED)
        return false;                   // it has its end
    if (job->status == EFM_E_NOT_FOUND) // nothing is selected
        return srv_train_job_fail(job, api_problem_code_name(API_P_INVALID_DATASET),
                                  side_pointers[reading->side], "%s", job->error.message);
    return srv_train_job_fail_error(job, &job->error, API_P_INVALID_DATASET, side_pointers[reading->side]);
}

bool srv_train_data_read(struct srv_train_job *job)
{
    struct reading reading = {.job = job};
    bool good = open_blob(&reading, EFM_SOURCE) && open_blob(&reading, EFM_TARGET);
    if (good) {
        srv_train_job_compute(job, read_plates, &reading);
        good = job->status == EFM_OK || fail_reading(&reading);
    }
    for (size_t side = 0; side < 2; side++)
        srv_blob_close(reading.blobs[side]);
    if (!good)
        return false;
    struct efm_error error = {0};
    if (srv_train_plates_check(job->datasets, &error) != EFM_OK)
        return srv_train_job_fail_error(job, &error, API_P_INVALID_DATASET, "/image");
    return srv_train_job_goes_on(job);
}
