// SPDX-License-Identifier: Apache-2.0
#include "api/json.h"
#include "server/build.h"
#include "server/config.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

#include <string.h>

static void append_endpoints(struct efm_buffer *out)
{
    efm_buffer_append_string(out, "\"endpoints\":[");
    for (size_t i = 0; i < srv_route_count; i++) {
        const struct srv_endpoint *endpoint = srv_routes[i];
        efm_buffer_append_string(out, i > 0 ? ",{\"methods\":" : "{\"methods\":");
        api_json_string(out, endpoint->methods);
        efm_buffer_append_string(out, ",\"paths\":[");
        for (size_t j = 0; j < SRV_ENDPOINT_PATHS && endpoint->paths[j] != NULL; j++) {
            efm_buffer_append_string(out, j > 0 ? "," : "");
            api_json_string(out, endpoint->paths[j]);
        }
        efm_buffer_append_string(out, "],\"help\":");
        api_json_string(out, endpoint->help);
        efm_buffer_append_string(out, "}");
    }
    efm_buffer_append_string(out, "]");
}

static void append_limits(struct efm_buffer *out, const struct srv_service *service)
{
    const struct srv_config *config = service->config;
    efm_buffer_format(out,
                      "\"limits\":{\"max_images\":%zu,\"max_side\":%lu,\"max_pixels\":%llu,"
                      "\"max_body\":%llu,\"max_image_body\":%llu,\"queue\":%llu,\"queue_bytes\":%llu,"
                      "\"memory\":%llu,\"max_models\":%llu,\"max_datasets\":%llu,\"timeout\":",
                      service->limits.max_images, (unsigned long)service->limits.image.max_side,
                      (unsigned long long)service->limits.image.max_pixels,
                      (unsigned long long)config->max_body, (unsigned long long)config->max_image_body,
                      (unsigned long long)config->queue, (unsigned long long)config->queue_bytes,
                      (unsigned long long)config->memory_budget, (unsigned long long)config->max_models,
                      (unsigned long long)config->max_datasets);
    api_json_real(out, config->timeout);
    efm_buffer_append_string(out, ",\"max_timeout\":");
    api_json_real(out, config->max_timeout);
    efm_buffer_append_string(out, "}");
}

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    const struct srv_config *config = service->config;
    struct srv_build build;
    struct api_reply reply;
    srv_build_read(&build);
    srv_answer_begin(&reply, 200);
    struct efm_buffer *out = &reply.body;
    efm_buffer_append_string(out, "{\"name\":\"efmd\",\"version\":\"" EFMD_VERSION "\",");
    append_endpoints(out);
    efm_buffer_append_string(out, ",");
    append_limits(out, service);
    efm_buffer_format(
        out,
        ",\"build\":{\"compiler\":\"%s\",\"libmicrohttpd\":\"%s\",\"onednn\":\"%s\",\"processor\":\"%s\","
        "\"instruction_set\":\"%s\",\"precision\":\"%s\",\"kernels\":\"%s\",\"cores\":%u,\"workers\":%llu,"
        "\"threads\":%llu,\"helpers\":%llu,"
        "\"event_threads\":%llu,\"batch\":%llu}}",
        build.compiler, srv_http_library(), build.onednn, build.processor, build.instruction_set,
        strcmp(config->precision, "auto") == 0 ? build.precision : config->precision, build.kernels,
        srv_config_cores(), (unsigned long long)config->workers, (unsigned long long)config->threads,
        (unsigned long long)config->helpers, (unsigned long long)config->event_threads,
        (unsigned long long)config->batch);
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_get_index = {
    .methods = "GET",
    .paths = {"/", "/v1"},
    .scope = SRV_SCOPE_OPEN,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "What this server is: its endpoints, limits, instruction set and threads",
};
