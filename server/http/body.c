// SPDX-License-Identifier: Apache-2.0
#include "server/http/body.h"

#include "core/base/memory.h"

#include <string.h>

/* The budget is taken in pieces of this size, so that the shared counter is not touched for every packet. */
enum { RESERVE_STEP = 256 * 1024, FIRST_CAPACITY = 16 * 1024 };

static bool refuse_size(const struct srv_body *body, struct api_problem *problem)
{
    if (body->limit == 0)
        return api_problem_set(problem, API_P_BODY_TOO_LARGE, NULL, "this path takes no body");
    return api_problem_set(problem, API_P_BODY_TOO_LARGE, NULL,
                           "the body is larger than the limit of %zu bytes here", body->limit);
}

static bool refuse_budget(struct api_problem *problem)
{
    problem->retry_after = 1;
    return api_problem_set(problem, API_P_QUEUE_FULL, NULL,
                           "too many bytes of other requests are arriving just now");
}

static bool refuse_memory(struct api_problem *problem)
{
    problem->retry_after = 1;
    return api_problem_set(problem, API_P_NO_MEMORY, NULL, "there is no memory for the body now");
}

/* Whether `size` more bytes fit into the budget; a body alone always does, or it could never be sent. */
static bool fits(const struct srv_budget *budget, size_t used, size_t size)
{
    return used == 0 || (size <= budget->limit && used <= budget->limit - size);
}

static bool reserve(struct srv_body *body, size_t size)
{
    struct srv_budget *budget = body->budget;
    size_t used = atomic_load(&budget->used);
    while (fits(budget, used - body->reserved, size + body->reserved)) {
        if (atomic_compare_exchange_weak(&budget->used, &used, used + size)) {
            body->reserved += size;
            return true;
        }
    }
    return false;
}

static void give_back(struct srv_body *body)
{
    if (body->budget != NULL)
        atomic_fetch_sub(&body->budget->used, body->reserved);
    body->reserved = 0;
}

static bool resize(struct srv_body *body, size_t capacity)
{
    uint8_t *grown = efm_allocate(capacity + 1);
    if (grown == NULL)
        return false;
    if (body->size > 0)
        memcpy(grown, body->data, body->size);
    efm_free(body->data);
    body->data = grown;
    body->capacity = capacity;
    return true;
}

bool srv_body_begin(struct srv_body *body, int64_t length, size_t limit, struct srv_budget *budget,
                    struct api_problem *problem)
{
    if (limit > SIZE_MAX / 4)
        limit = SIZE_MAX / 4; // keeps the sums below from wrapping
    *body = (struct srv_body){.budget = budget, .limit = limit};
    if (length > 0 && (uint64_t)length > limit)
        return refuse_size(body, problem);
    if (length > 0 && !fits(budget, atomic_load(&budget->used), (size_t)length))
        return refuse_budget(problem);
    if (length > 0 && !resize(body, (size_t)length))
        return refuse_memory(problem);
    return true;
}

bool srv_body_append(struct srv_body *body, const void *data, size_t size, struct api_problem *problem)
{
    if (size > body->limit - body->size)
        return refuse_size(body, problem);
    const size_t needed = body->size + size;
    if (needed > body->reserved) {
        size_t step = needed - body->reserved;
        if (step < RESERVE_STEP)
            step = RESERVE_STEP;
        const size_t most = needed <= body->capacity ? body->capacity : body->limit;
        if (step > most - body->reserved)
            step = most - body->reserved;
        if (!reserve(body, step))
            return refuse_budget(problem);
    }
    if (needed > body->capacity) {
        size_t capacity = body->capacity < FIRST_CAPACITY ? FIRST_CAPACITY : body->capacity * 2;
        if (capacity < needed)
            capacity = needed;
        if (capacity > body->limit)
            capacity = body->limit;
        if (!resize(body, capacity))
            return refuse_memory(problem);
    }
    memcpy(body->data + body->size, data, size);
    body->size = needed;
    return true;
}

bool srv_body_finish(struct srv_body *body, struct api_problem *problem)
{
    give_back(body);
    if (body->data == NULL && !resize(body, 0))
        return refuse_memory(problem);
    body->data[body->size] = '\0';
    return true;
}

void srv_body_release(struct srv_body *body)
{
    give_back(body);
    efm_free(body->data);
    *body = (struct srv_body){0};
}
