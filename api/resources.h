/* resources.h - datasets and models as clients see them. Threads: pure. */
#ifndef API_RESOURCES_H
#define API_RESOURCES_H

#include "api/message.h"
#include "api/parameters.h"
#include "api/problem.h"
#include "api/transfer.h"
#include "core/data/dataset.h"
#include "core/model/model.h"

/* PUT /v1/datasets/{name}?size=32&channels=3&fit=crop&background=000000 */
extern const struct api_parameter_table api_dataset_table;

struct api_dataset_request {
    struct api_parameters_seen seen;
    uint64_t size, channels; /* 0: as the first sample */
    int fit;
    uint8_t background[3];
};

/* Looks at the query and the type of the message alone, so that an upload can be refused before its body comes. */
bool api_dataset_parse(struct api_dataset_request *request, const struct api_message *message,
                       struct api_problem *problem);
void api_dataset_options(const struct api_dataset_request *request, struct efm_dataset_options *options);

/* The parameters that were given, as the query that gives them again: "size=32&fit=crop". */
void api_dataset_query(const struct api_dataset_request *request, struct efm_buffer *out);

/* What is known of the file that a dataset came in. */
struct api_dataset_file {
    const char *sha256;
    uint64_t bytes;
    int64_t created;
};

/* {"id","object":"dataset","count","shape":[..],"format","bytes","sha256","range":[low,high],"created","urls":{"self","preview"}} */
void api_dataset_render(const char *name, const struct efm_dataset *dataset,
                        const struct api_dataset_file *file, struct efm_buffer *out);

/* PUT /v1/models/{name} with JSON: an exact model of two datasets. */
extern const struct api_parameter_table api_exact_table;

struct api_exact_request {
    struct api_parameters_seen seen;
    int arch;
    char source[API_NAME_SIZE], target[API_NAME_SIZE];
    double length, gamma;
    int map, field;
    uint64_t max_charges;
};

/* `is_weights` is set when the body is a safetensors file instead (told by its bytes, not by its type). */
bool api_model_parse(struct api_exact_request *request, const struct api_message *message, bool *is_weights,
                     struct api_problem *problem);
bool api_exact_spec(const struct api_exact_request *request, struct efm_exact_spec *spec,
                    struct api_problem *problem);

/* What stays true of a model while it is not in memory, to be kept with it:
 * {"id","object":"model","owned_by":"local","arch","field","map","L","gamma","shape","source":{"name","standard_normal","count"},
 *  "target":{...},"defaults":{"solver","steps","variable","tolerance"}}
 * A learned model also has "trained_on" (its target),"velocity","parameters","precision","weights","lowest" and, when its file has one, "record".
 */
void api_model_describe(const char *name, const struct efm_model *model, struct efm_buffer *out);

/* What is true of it now. */
struct api_model_state {
    const char *about; /* what api_model_describe said; NULL: nothing is known */
    const char *word,
        *reason;        /* "ready", "loading", "unloaded", "failed"; why it failed, "" or NULL otherwise */
    const char *sha256; /* of the file */
    const char *trained_by; /* the job; "" or NULL: none */
    uint64_t bytes;         /* of the file */
    size_t memory;          /* 0 unless it is ready */
    int64_t created;
};

/* The description with "created","state","reason" (of a failure),"bytes","memory","sha256","trained_by" (id of a job, or null) and
 * "limits":{...} */
void api_model_render(const struct api_model_state *state, const struct api_limits *limits,
                      struct efm_buffer *out);

/* {"object":"list","data":[...]} around rendered objects. */
void api_list_begin(struct efm_buffer *out);
void api_list_item(struct efm_buffer *out, size_t index);
void api_list_end(struct efm_buffer *out);

#endif
