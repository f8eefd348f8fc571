// SPDX-License-Identifier: Apache-2.0
// Input: "METHOD TARGET". Whatever is sent, an endpoint is found with a valid name or there is a problem.
#include "server/http/router.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct srv_endpoint endpoints[] = {
    {.methods = "POST PUT", .paths = {"/v1/transfer", "/transfer"}},
    {.methods = "GET", .paths = {"/v1/models"}},
    {.methods = "GET PUT DELETE", .paths = {"/v1/models/{name}"}},
    {.methods = "POST", .paths = {"/v1/models/{name}/field"}},
    {.methods = "GET", .paths = {"/"}},
};
static const struct srv_endpoint *const routes[] = {&endpoints[0], &endpoints[1], &endpoints[2],
                                                    &endpoints[3], &endpoints[4]};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    char *uri = strchr(text, ' ');
    if (uri != NULL) {
        struct api_problem problem = {0};
        struct srv_target target;
        struct srv_match match = {0};
        *uri++ = '\0';
        bool found = srv_target_parse(&target, uri, &problem) &&
                     srv_route(routes, sizeof routes / sizeof routes[0], text, &target, &match, &problem);
        if (found != (problem.code == API_P_NONE) || strlen(target.path) > strlen(target.raw) ||
            (found && match.name[0] != '\0' && !api_name_valid(match.name)))
            abort();
        srv_target_release(&target);
    }
    free(text);
    return 0;
}
