// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/endpoints.h"

const struct srv_endpoint *const srv_routes[] = {
    &srv_post_transfer,       &srv_post_generate,       &srv_list_models,
    &srv_get_model,           &srv_put_model,           &srv_delete_model,
    &srv_get_model_weights,   &srv_post_field,          &srv_post_trace,
    &srv_list_datasets,       &srv_get_dataset,         &srv_put_dataset,
    &srv_delete_dataset,      &srv_get_livez,           &srv_get_readyz,
    &srv_get_metrics,         &srv_get_openapi,         &srv_get_index,
    &srv_get_dataset_preview, &srv_post_model_load,     &srv_post_model_unload,
    &srv_post_train,          &srv_list_jobs,           &srv_get_job,
    &srv_get_job_events,      &srv_get_job_checkpoints, &srv_get_job_loss,
    &srv_get_job_preview,     &srv_get_job_result,      &srv_post_job_cancel,
    &srv_delete_job,          &srv_oip_server,          &srv_oip_live,
    &srv_oip_ready,           &srv_oip_model,           &srv_oip_model_ready,
    &srv_oip_infer,           &srv_oip_index,           &srv_oip_load,
    &srv_oip_unload,          &srv_openai_edits,        &srv_openai_generations,
};
const size_t srv_route_count = sizeof(srv_routes) / sizeof(srv_routes[0]);
