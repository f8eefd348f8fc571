/* endpoints.h - every endpoint of the daemon; one file each, listed in routes.c. */
#ifndef SRV_ENDPOINTS_H
#define SRV_ENDPOINTS_H

#include "server/http/http.h"

extern const struct srv_endpoint srv_post_transfer, srv_post_generate, srv_post_field, srv_post_trace;
extern const struct srv_endpoint srv_put_dataset, srv_get_dataset, srv_delete_dataset, srv_list_datasets;
extern const struct srv_endpoint srv_put_model, srv_get_model, srv_delete_model, srv_list_models;
extern const struct srv_endpoint srv_get_model_weights;
extern const struct srv_endpoint srv_get_livez, srv_get_readyz, srv_get_metrics, srv_get_openapi;
extern const struct srv_endpoint srv_get_index;
extern const struct srv_endpoint srv_get_dataset_preview, srv_post_model_load, srv_post_model_unload;
extern const struct srv_endpoint srv_post_train, srv_list_jobs, srv_get_job, srv_get_job_events;
extern const struct srv_endpoint srv_get_job_checkpoints, srv_get_job_loss, srv_get_job_preview,
    srv_get_job_result;
extern const struct srv_endpoint srv_post_job_cancel, srv_delete_job;
extern const struct srv_endpoint srv_oip_server, srv_oip_live, srv_oip_ready, srv_oip_model,
    srv_oip_model_ready;
extern const struct srv_endpoint srv_oip_infer, srv_oip_index, srv_oip_load, srv_oip_unload;
extern const struct srv_endpoint srv_openai_edits, srv_openai_generations;

#endif
