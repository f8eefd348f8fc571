// SPDX-License-Identifier: Apache-2.0
/* A body as the request of a training, and as the spec of a training on files: what is taken is rendered as a spec that says the same. */
#include "api/job.h"
#include "tests/fuzz/api_target.h"

#include <strings.h>

static void fail_unless(bool good)
{
    if (!good)
        abort();
}

static json_t *parse(const struct efm_buffer *text)
{
    json_t *json = json_loadb((const char *)text->data, text->size, JSON_REJECT_DUPLICATES, NULL);
    fail_unless(text->status == EFM_OK && json_is_object(json));
    return json;
}

static void check_plates(const struct api_train *train, enum api_train_places places)
{
    for (size_t side = 0; side < 2; side++) {
        const struct api_train_plate *plate = &train->plates[side];
        const bool is_place = plate->origin != API_TRAIN_GAUSSIAN && plate->origin != API_TRAIN_TOY;
        fail_unless(api_name_valid(plate->name));
        fail_unless((plate->path != NULL) == is_place);
        fail_unless((plate->toy != NULL) == (plate->origin == API_TRAIN_TOY));
        if (places == API_TRAIN_FILES)
            fail_unless(plate->origin <= API_TRAIN_TOY);
        else
            fail_unless(plate->origin != API_TRAIN_PATH && plate->labels == NULL);
        fail_unless(plate->origin != API_TRAIN_DATASET || api_name_valid(plate->path));
        fail_unless(plate->origin != API_TRAIN_URL || strncasecmp(plate->path, "http", 4) == 0);
        fail_unless(plate->sha256[0] == '\0' || strlen(plate->sha256) == 64);
    }
}

/* Completes it for vectors and images, and reads what comes out. */
static void check_render(struct api_train *train, enum api_train_places places)
{
    const struct efm_shape shapes[] = {efm_shape_vector(2), efm_shape_image(32, 32, 3)};
    for (size_t i = 0; i < 2; i++) {
        struct efm_buffer first = efm_buffer_limited(4 << 20), second = efm_buffer_limited(4 << 20);
        struct efm_trainer_spec spec;
        struct api_problem problem = {0};
        struct api_train again;
        bool good = api_train_complete(train, &shapes[i], &spec, &problem);
        check_verdict(good, &problem);
        if (!good)
            continue;
        api_train_render(train, &first);
        json_t *json = parse(&first);
        fail_unless(api_train_read(&again, json, places, NULL, &problem));
        fail_unless(api_train_complete(&again, &shapes[i], &spec, &problem));
        api_train_render(&again, &second);
        fail_unless(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
        json_decref(json);
        api_train_release(&again);
        efm_buffer_release(&first);
        efm_buffer_release(&second);
        return; /* it is complete now, for this shape */
    }
}

static void check_metadata(const char *metadata)
{
    if (metadata == NULL)
        return;
    json_t *json = json_loads(metadata, JSON_REJECT_DUPLICATES, NULL);
    fail_unless(json_is_object(json) && json_object_size(json) <= 16);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target_message target;
    struct api_train_request request;
    struct api_train train;
    struct api_problem problem = {0}, other = {0};
    take_message(&target, data, size);
    bool good = api_train_request_parse(&request, &target.message, &problem);
    check_verdict(good, &problem);
    if (good) {
        check_plates(&request.train, API_TRAIN_STORED);
        check_render(&request.train, API_TRAIN_STORED);
        check_metadata(request.metadata);
        fail_unless(request.model[0] == '\0' || api_name_valid(request.model));
        fail_unless(strchr(request.webhook, '@') == NULL || strchr(request.webhook + 8, '/') != NULL ||
                    strpbrk(request.webhook + 7, "?#") != NULL);
    }
    api_train_request_release(&request);
    good = api_train_parse(&train, target.body, target.message.body_size, &other);
    check_verdict(good, &other);
    if (good) {
        check_plates(&train, API_TRAIN_FILES);
        check_render(&train, API_TRAIN_FILES);
    }
    api_train_release(&train);
    free(target.body);
    return 0;
}
