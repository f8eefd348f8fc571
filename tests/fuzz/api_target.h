/* api_target.h - what the fuzz targets of the contract share: a message cut out of the input, and the promise
 * that a refusal has a reason which renders as valid JSON. Included by one source file a program. */
#ifndef EFM_FUZZ_API_TARGET_H
#define EFM_FUZZ_API_TARGET_H

#include "api/message.h"
#include "api/problem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two lines, the query and the Content-Type, then the body in a block of exactly its size. */
struct target_message {
    struct api_message message;
    char query[1024], type[256];
    uint8_t *body;
};

static inline void take_line(const uint8_t **data, size_t *size, char *line, size_t room)
{
    const uint8_t *end = memchr(*data, '\n', *size);
    size_t length = end == NULL ? *size : (size_t)(end - *data), kept = length < room ? length : room - 1;
    memcpy(line, *data, kept);
    line[kept] = '\0';
    length += end != NULL;
    *data += length;
    *size -= length;
}

static inline void take_message(struct target_message *target, const uint8_t *data, size_t size)
{
    take_line(&data, &size, target->query, sizeof target->query);
    take_line(&data, &size, target->type, sizeof target->type);
    target->body = malloc(size + (size == 0));
    if (target->body == NULL)
        abort();
    memcpy(target->body, data, size);
    target->message = (struct api_message){.method = "POST",
                                           .path = "/",
                                           .query = target->query,
                                           .content_type = target->type,
                                           .accept = "",
                                           .body = target->body,
                                           .body_size = size};
}

static inline void check_verdict(bool good, const struct api_problem *problem)
{
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    if (good != (problem->code == API_P_NONE))
        abort();
    api_problem_render(problem, "req", "", "/", &out);
    json_t *json = json_loadb((const char *)out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL)
        abort();
    json_decref(json);
    efm_buffer_release(&out);
}

#endif
