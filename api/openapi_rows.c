// SPDX-License-Identifier: Apache-2.0
/* What the endpoints do not say of themselves: status codes, headers and the shapes of JSON, operation by operation. */
#include "api/openapi_internal.h"

#include <string.h>

#define ACCEPTED "Location RetryAfter PreferenceApplied"
#define QUEUED "RateLimitPolicy RateLimit"
#define RESULT_HEADERS "EfmModel EfmSeed EfmSteps EfmLanded ServerTiming"

static const struct api_openapi_row ROWS[] = {
    /* ---- transfer ---- */
    {"POST PUT", "/transfer", "transfer", "200 202:Job", .json = "TransferResult",
     .headers = RESULT_HEADERS " " QUEUED, .accepted = ACCEPTED, .problems = "404 406 409",
     .asks = "Prefer IdempotencyKey Traceparent", .body = "TransferRequest", .form = "TransferForm",
     .example = "{'model':'roll','vectors':[[0.1,-0.7],[1.2,0.3]],'seed':7}",
     .curl = "--data-binary @three.png \"$H/transfer?model=3to2\" -o two.png"},
    {"POST PUT", "/generate", "transfer", "200 202:Job", .json = "TransferResult",
     .headers = RESULT_HEADERS " " QUEUED, .accepted = ACCEPTED, .problems = "404 406 409",
     .asks = "Prefer IdempotencyKey Traceparent", .body = "GenerateRequest", .form = "GenerateForm",
     .example = "{'model':'exact','n':16,'seed':1}",
     .curl = "-X POST \"$H/generate?model=exact&n=16&seed=1\" -o sheet.png", .body_optional = true},

    /* ---- models ---- */
    {"GET", "/models", "models", "200 304", .json = "ModelList", .headers = "ETag", .problems = "412",
     .asks = "IfMatch IfNoneMatch", .curl = "\"$H/v1/models\""},
    {"GET", "/models/{name}", "models", "200 304", .json = "Model", .headers = "ETag", .problems = "404 412",
     .asks = "IfMatch IfUnmodifiedSince IfNoneMatch", .curl = "\"$H/v1/models/exact\""},
    {"PUT", "/models/{name}", "models", "200 201", .json = "Model", .headers = "Location ETag",
     .problems = "404 409 412", .asks = "IfMatch IfUnmodifiedSince IfNoneMatchAny", .body = "ExactModel",
     .example = "{'arch':'exact','source':'threes','target':'twos','map':'chain','L':10}",
     .curl = "-T model.safetensors \"$H/v1/models/3to2\""},
    {"DELETE", "/models/{name}", "models", "204", .problems = "404 409 412",
     .asks = "IfMatch IfUnmodifiedSince", .curl = "-X DELETE \"$H/v1/models/copy\""},
    {"GET", "/models/{name}/weights", "models", "200 206 304", .headers = "ETag AcceptRanges",
     .problems = "404 412 416", .asks = "IfMatch IfUnmodifiedSince IfNoneMatch Range IfRange",
     .curl = "\"$H/v1/models/exact/weights\" -o exact.safetensors"},
    {"POST", "/models/{name}/load", "models", "200", .json = "Model", .problems = "404 409",
     .curl = "-X POST \"$H/v1/models/exact/load\""},
    {"POST", "/models/{name}/unload", "models", "200", .json = "Model", .problems = "404 409",
     .curl = "-X POST \"$H/v1/models/exact/unload\""},
    {"POST", "/models/{name}/field", "models", "200", .json = "FieldValues", .headers = QUEUED,
     .problems = "404 406", .body = "FieldRequest", .example = "{'points':[[0,0,3]]}",
     .curl = "--json '{\"points\":[[0,0,3]]}' \"$H/v1/models/roll/field\""},
    {"POST", "/models/{name}/trace", "models", "200", .json = "TraceLines", .headers = QUEUED,
     .problems = "404 406", .body = "TraceRequest", .example = "{'starts':[[0.1,-0.7]],'points':16}",
     .curl = "--json '{\"starts\":[[0.1,-0.7]],\"points\":16}' \"$H/v1/models/roll/trace\""},

    /* ---- datasets ---- */
    {"GET", "/datasets", "datasets", "200 304", .json = "DatasetList", .headers = "ETag", .problems = "412",
     .asks = "IfMatch IfNoneMatch", .curl = "\"$H/v1/datasets\""},
    {"GET", "/datasets/{name}", "datasets", "200 304", .json = "Dataset", .headers = "ETag",
     .problems = "404 412", .asks = "IfMatch IfUnmodifiedSince IfNoneMatch",
     .curl = "\"$H/v1/datasets/threes\""},
    {"PUT", "/datasets/{name}", "datasets", "200 201", .json = "Dataset", .headers = "Location ETag",
     .problems = "409 412", .asks = "IfMatch IfUnmodifiedSince IfNoneMatchAny", .body = "Toy",
     .example = "{'toy':'swiss_roll','count':500}", .curl = "-T threes.tar \"$H/v1/datasets/threes\""},
    {"DELETE", "/datasets/{name}", "datasets", "204", .problems = "404 409 412",
     .asks = "IfMatch IfUnmodifiedSince", .curl = "-X DELETE \"$H/v1/datasets/noise\""},
    {"GET", "/datasets/{name}/preview.png", "datasets", "200 206 304", .headers = "ETag AcceptRanges",
     .problems = "404 412 416", .asks = "IfMatch IfNoneMatch Range IfRange",
     .curl = "\"$H/v1/datasets/threes/preview.png\" -o sheet.png"},

    /* ---- jobs ---- */
    {"POST", "/train", "jobs", "202:Job", .accepted = "Location RetryAfter", .problems = "404 409",
     .asks = "IdempotencyKey Traceparent", .body = "TrainRequest",
     .example = "{'model':'mine','source':'threes','target':'twos','steps':2000}",
     .curl = "--json '{\"model\":\"mine\",\"source\":\"threes\",\"target\":\"twos\"}' \"$H/train\""},
    {"GET", "/jobs", "jobs", "200", .json = "JobList", .curl = "\"$H/v1/jobs?status=unfinished\""},
    {"GET", "/jobs/{name}", "jobs", "200 304", .json = "Job", .headers = "ETag", .problems = "404 410 412",
     .asks = "IfMatch IfNoneMatch Prefer", .curl = "\"$H/v1/jobs/$J?wait=30\""},
    {"DELETE", "/jobs/{name}", "jobs", "204", .problems = "404 409 410",
     .curl = "-X DELETE \"$H/v1/jobs/$J\""},
    {"GET", "/jobs/{name}/events", "jobs", "200 204", .json = "EventList", .problems = "404 406 410",
     .asks = "LastEventId", .curl = "-N \"$H/v1/jobs/$J/events\""},
    {"GET", "/jobs/{name}/checkpoints", "jobs", "200", .json = "CheckpointList", .problems = "404 410",
     .curl = "\"$H/v1/jobs/$J/checkpoints\""},
    {"GET", "/jobs/{name}/loss.png", "jobs", "200 304", .headers = "ETag", .problems = "404 410 412",
     .asks = "IfMatch IfNoneMatch", .curl = "\"$H/v1/jobs/$J/loss.png\" -o loss.png"},
    {"GET", "/jobs/{name}/preview.png", "jobs", "200", .headers = "EfmStep", .problems = "404 409 410",
     .curl = "\"$H/v1/jobs/$J/preview.png\" -o preview.png"},
    {"GET", "/jobs/{name}/result", "jobs", "200 206 303 304", .json = "TransferResult",
     .headers = RESULT_HEADERS " ETag AcceptRanges", .problems = "404 409 410 412 416",
     .asks = "IfMatch IfNoneMatch Range IfRange", .curl = "-L \"$H/v1/jobs/$J/result\" -o result"},
    {"POST", "/jobs/{name}/cancel", "jobs", "200 202:Job", .json = "Job", .problems = "404 409 410",
     .curl = "-X POST \"$H/v1/jobs/$J/cancel\""},

    /* ---- service ---- */
    {"GET", "/livez", "service", "200", .json = "Health", .curl = "\"$H/livez\""},
    {"GET", "/readyz", "service", "200 503:Health", .json = "Health", .curl = "\"$H/readyz\""},
    {"GET", "/health", "service", "200 503:Health", .json = "Health", .curl = "\"$H/health\""},
    {"GET", "/metrics", "service", "200", .curl = "\"$H/metrics\""},
    {"GET", "/openapi.json", "service", "200 304", .json = "Document", .headers = "ETag", .problems = "412",
     .asks = "IfMatch IfNoneMatch", .curl = "\"$H/openapi.json\""},
    {"GET", "/", "service", "200", .json = "Index", .curl = "\"$H/\""},

    /* ---- Open Inference Protocol ---- */
    {"GET", "/v2", "inference", "200", .json = "OipServer", .curl = "\"$H/v2\""},
    {"GET", "/v2/health/live", "inference", "200", .json = "OipLive", .curl = "\"$H/v2/health/live\""},
    {"GET", "/v2/health/ready", "inference", "200 503:OipReady", .json = "OipReady",
     .curl = "\"$H/v2/health/ready\""},
    {"GET", "/v2/models/{name}", "inference", "200", .json = "OipModel", .problems = "404",
     .curl = "\"$H/v2/models/exact\""},
    {"GET", "/v2/models/{name}/versions/1", "inference", "200", .json = "OipModel", .problems = "404",
     .curl = "\"$H/v2/models/exact/versions/1\""},
    {"GET", "/v2/models/{name}/ready", "inference", "200 409:OipModelReady", .json = "OipModelReady",
     .problems = "404", .curl = "\"$H/v2/models/exact/ready\""},
    {"GET", "/v2/models/{name}/versions/1/ready", "inference", "200 409:OipModelReady",
     .json = "OipModelReady", .problems = "404", .curl = "\"$H/v2/models/exact/versions/1/ready\""},
    {"POST", "/v2/models/{name}/infer", "inference", "200", .json = "OipInferResponse",
     .headers = "InferenceHeaderContentLength " QUEUED, .problems = "404 406",
     .asks = "InferenceHeaderContentLength", .body = "OipInferRequest",
     .example = "{'inputs':[{'name':'input','shape':[1,2],'datatype':'FP32','data':[0.1,-0.7]}]}",
     .curl = "--json '{\"inputs\":[{\"name\":\"input\",\"shape\":[1,2],\"datatype\":\"FP32\",\"data\":"
             "[0.1,-0.7]}]}' \"$H/v2/models/roll/infer\""},
    {"POST", "/v2/models/{name}/versions/1/infer", "inference", "200", .json = "OipInferResponse",
     .headers = "InferenceHeaderContentLength " QUEUED, .problems = "404 406",
     .asks = "InferenceHeaderContentLength", .body = "OipInferRequest",
     .example = "{'inputs':[{'name':'input','shape':[1,2],'datatype':'FP32','data':[0.1,-0.7]}]}"},
    {"POST", "/v2/repository/index", "inference", "200", .json = "OipIndex", .problems = "",
     .body = "OipIndexRequest", .example = "{'ready':true}", .curl = "-X POST \"$H/v2/repository/index\"",
     .body_optional = true},
    {"POST", "/v2/repository/models/{name}/load", "inference", "200", .problems = "404 409",
     .body = "OipLoadRequest", .example = "{'parameters':{}}",
     .curl = "-X POST \"$H/v2/repository/models/exact/load\"", .body_optional = true},
    {"POST", "/v2/repository/models/{name}/unload", "inference", "200", .problems = "404 409",
     .body = "OipUnloadRequest", .example = "{'parameters':{'unload_dependents':false}}",
     .curl = "-X POST \"$H/v2/repository/models/exact/unload\"", .body_optional = true},

    /* ---- OpenAI Images ---- */
    {"POST", "/images/edits", "images", "200", .json = "Images", .headers = RESULT_HEADERS " " QUEUED,
     .problems = "404 406", .body = "ImagesRequest", .form = "ImagesForm", .example = "{'model':'3to2'}",
     .curl = "-F image=@three.png -F model=3to2 \"$H/v1/images/edits\""},
    {"POST", "/images/generations", "images", "200", .json = "Images", .headers = RESULT_HEADERS " " QUEUED,
     .problems = "404 406", .body = "ImagesRequest", .form = "ImagesForm",
     .example = "{'model':'exact','n':2,'size':'auto'}",
     .curl = "--json '{\"model\":\"exact\",\"n\":2}' \"$H/v1/images/generations\""},
};

static bool has_word(const char *list, const char *wanted)
{
    char word[16];
    while (api_openapi_word(&list, word, sizeof word))
        if (strcmp(word, wanted) == 0)
            return true;
    return false;
}

const struct api_openapi_row *api_openapi_find_row(const char *method, const char *path)
{
    if (strcmp(path, "/v1") == 0)
        path = "/";
    else if (strncmp(path, "/v1/", 4) == 0)
        path += 3;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        if (strcmp(ROWS[i].path, path) == 0 && has_word(ROWS[i].methods, method))
            return &ROWS[i];
    return NULL;
}
