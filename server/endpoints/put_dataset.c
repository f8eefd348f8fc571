// SPDX-License-Identifier: Apache-2.0
#include "core/base/memory.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/helper_work.h"

/* What the headers said, and the bytes so far. */
struct put_upload {
    struct srv_dataset_upload *upload; /* NULL once it was finished */
    struct api_dataset_request request;
    char expected[65];
    bool has_expected;
};

struct put_work {
    struct srv_helper_work base;
    struct put_upload *put;
};

static void destroy(void *context)
{
    struct put_upload *put = context;
    if (put == NULL)
        return;
    srv_dataset_upload_abort(put->upload);
    efm_free(put);
}

/* Conditions are held against what is there now, so that a refusal comes before the bytes; the registry asks again when it
 * puts. */
static bool check(struct srv_service *service, struct srv_exchange *exchange, struct put_upload *put,
                  struct api_problem *problem)
{
    struct srv_dataset_facts facts = {0};
    const char *name = srv_exchange_name(exchange);
    char etag[SRV_ETAG_SIZE];
    if (!api_dataset_parse(&put->request, srv_exchange_message(exchange), problem))
        return false;
    bool present = srv_registry_dataset_facts(service->registry, name, &facts);
    if (present)
        srv_dataset_etag(&facts, etag);
    put->has_expected = srv_answer_expected(exchange, present ? etag : NULL, present ? facts.sha256 : NULL,
                                            facts.created, put->expected);
    srv_dataset_facts_release(&facts);
    if (!put->has_expected || (put->expected[0] == '\0' ? !present : put->expected[0] != '-'))
        return true;
    return api_problem_set(problem, API_P_PRECONDITION_FAILED, NULL,
                           "the dataset named %.64s is not as the request expects it", name);
}

/* ---- while it arrives ---- */

static void *begin(struct srv_service *service, struct srv_exchange *exchange, int64_t length,
                   struct api_problem *problem)
{
    struct put_upload *put = efm_allocate_array(1, sizeof *put);
    if (put == NULL) {
        api_problem_set(problem, API_P_NO_MEMORY, NULL, "no memory for the request");
        return NULL;
    }
    if (check(service, exchange, put, problem))
        put->upload =
            srv_registry_begin_dataset(service->registry, srv_exchange_name(exchange), length, problem);
    if (put->upload != NULL)
        return put;
    destroy(put);
    return NULL;
}

static bool take(void *context, const void *bytes, size_t size, struct api_problem *problem)
{
    struct put_upload *put = context;
    return srv_dataset_upload_append(put->upload, bytes, size, problem);
}

static const struct srv_upload_class upload_class = {begin, take, destroy};

/* ---- once it is there ---- */

static bool run(struct srv_helper_work *base, struct api_problem *problem)
{
    struct put_upload *put = ((struct put_work *)base)->put;
    struct srv_registry *registry = base->service->registry;
    const char *name = srv_exchange_name(base->exchange);
    struct srv_put outcome = {.expected = put->has_expected ? put->expected : NULL};
    struct srv_dataset_upload *upload = put->upload;
    struct srv_dataset_facts facts = {0};
    char etag[SRV_ETAG_SIZE];
    put->upload = NULL; /* finish frees it */
    if (!srv_dataset_upload_finish(upload, &put->request, &outcome, problem))
        return false;
    if (!srv_registry_dataset_facts(registry, name, &facts))
        return api_problem_set(problem, API_P_CONFLICT, NULL, "the dataset was put, and deleted at once");
    srv_dataset_etag(&facts, etag);
    srv_answer_begin(&base->reply, outcome.replaced ? 200 : 201);
    api_reply_header(&base->reply, "Location", "/v1/datasets/%s", name);
    api_reply_header(&base->reply, "ETag", "%s", etag);
    srv_answer_render_dataset(&facts, &base->reply.body);
    srv_dataset_facts_release(&facts);
    return true;
}

static void release(struct srv_helper_work *base)
{
    destroy(((struct put_work *)base)->put);
}

static const struct srv_helper_class class = {"put_dataset", run, release, SRV_LANE_HEAVY};

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct api_problem problem = {0};
    struct put_upload *put = srv_exchange_take_upload(exchange);
    if (put == NULL) {
        api_problem_set(&problem, API_P_EMPTY_BODY, NULL, "the body is empty; send a dataset");
        srv_exchange_problem(exchange, &problem);
        return;
    }
    struct srv_helper_work *base = srv_helper_work_create(service, exchange, sizeof(struct put_work), &class);
    if (base == NULL) {
        destroy(put);
        return;
    }
    ((struct put_work *)base)->put = put;
    srv_helper_work_submit(base, 0); /* its bytes lie in the store */
}

const struct srv_endpoint srv_put_dataset = {
    .methods = "PUT",
    .paths = {"/v1/datasets/{name}"},
    .scope = SRV_SCOPE_ADMIN,
    .handle = handle,
    .max_body = SRV_BODY_STREAM,
    .upload = &upload_class,
    .parameters = &api_dataset_table,
    .takes = "application/octet-stream application/x-tar application/zip application/gzip application/json",
    .gives = "application/json",
    .help = "Store a dataset: IDX, NPY, a tar or zip of images (each also gzipped), or JSON that names a toy",
    .detail =
        "It is written to disk and looked at while it arrives; --dataset-quota is the only limit of its "
        "size. "
        "If-None-Match: * refuses to replace one, If-Match with its ETag refuses to replace another one.",
};
