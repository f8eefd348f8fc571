// SPDX-License-Identifier: Apache-2.0
#include "api/oip.h"
#include "server/endpoints/answer.h"
#include "server/endpoints/endpoints.h"

static void handle(struct srv_service *service, struct srv_exchange *exchange)
{
    struct srv_model_facts facts;
    struct efm_shape shape;
    if (!srv_answer_model_facts(service, exchange, &facts))
        return;
    const bool known = api_described_shape(facts.about, &shape);
    srv_model_facts_release(&facts);
    if (!known) {
        struct api_problem problem = {0};
        api_problem_set(&problem, API_P_NO_MEMORY, NULL, "the shape of the model cannot be told now");
        srv_exchange_problem(exchange, &problem);
        return;
    }
    struct api_reply reply;
    srv_answer_begin(&reply, 200);
    api_oip_model_render(facts.name, &shape, &reply.body);
    srv_answer_end(exchange, &reply);
}

const struct srv_endpoint srv_oip_model = {
    .methods = "GET",
    .paths = {"/v2/models/{name}", "/v2/models/{name}/versions/" API_OIP_VERSION},
    .scope = SRV_SCOPE_INFER,
    .handle = handle,
    .takes = "",
    .gives = "application/json",
    .help = "The tensors that a model takes and gives",
    .detail = "Every model has the version 1 alone.",
};
