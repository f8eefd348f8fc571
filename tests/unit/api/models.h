/* models.h - small models and pictures for the tests of the contract; and lines followed to their end.
 * Threads: one. */
#ifndef EFM_TESTS_API_MODELS_H
#define EFM_TESTS_API_MODELS_H

#include "core/base/memory.h"
#include "core/image/image.h"
#include "core/model/model.h"
#include "tests/unit/api/api_test.h"

static inline struct efm_dataset *toy_dataset(const char *json)
{
    struct efm_dataset *dataset = NULL;
    struct efm_error error = {0};
    struct efm_dataset_options options = efm_dataset_options_default();
    if (efm_dataset_read(&dataset, (const uint8_t *)json, strlen(json), &options, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return dataset;
}

static inline struct efm_model *model_of(const char *source_json, const char *target_json,
                                         enum efm_field_kind kind, enum efm_map map)
{
    struct efm_model *model = NULL;
    struct efm_error error = {0};
    struct efm_dataset *source = toy_dataset(source_json), *target = toy_dataset(target_json);
    struct efm_exact_spec spec = {.kind = kind, .map = map, .length = 4};
    if (efm_model_create_exact(&model, &spec, source, "left", target, "right", &error) != EFM_OK)
        fail_msg("%s", error.message);
    efm_dataset_unref(source);
    efm_dataset_unref(target);
    return model;
}

/* Vectors of two numbers: N(0, I) and two clusters. */
static inline struct efm_model *plane_model(enum efm_field_kind kind, enum efm_map map)
{
    return model_of("{\"toy\":\"gaussian\",\"count\":40,\"dimension\":2}",
                    "{\"toy\":\"mixture\",\"count\":40,\"centers\":[[8,0],[-8,0]],\"deviation\":0.5}", kind,
                    map);
}

/* 4x6 pictures, 3 channels: noise on both plates, the target between -1 and 1. */
static inline struct efm_model *picture_model(void)
{
    return model_of("{\"toy\":\"gaussian\",\"count\":20,\"shape\":[4,6,3]}",
                    "{\"toy\":\"uniform\",\"count\":20,\"shape\":[4,6,3]}", EFM_FIELD_CHAIN, EFM_MAP_CHAIN);
}

/* A picture file; release the buffer. */
static inline struct efm_buffer picture_file(uint32_t width, uint32_t height, uint32_t channels,
                                             enum efm_image_format format)
{
    struct efm_image image = {0};
    struct efm_buffer out = efm_buffer_limited(1 << 20);
    struct efm_error error = {0};
    assert_int_equal(efm_image_create(&image, width, height, channels, &error), EFM_OK);
    for (size_t i = 0; i < (size_t)width * height * channels; i++)
        image.pixels[i] = (uint8_t)(i * 37);
    assert_int_equal(efm_image_encode(&out, &image, format, 100, NULL, 0, &error), EFM_OK);
    efm_image_release(&image);
    return out;
}

/* Follows lines from `starts` to their end: what the engine does. */
static inline void follow(struct efm_line **lines, size_t count, const struct efm_model *model,
                          const struct efm_flow_options *options, const float *starts)
{
    const struct efm_field *field = efm_model_field(model);
    size_t dimension = efm_model_shape(model)->dimension;
    struct efm_flow *flow = NULL;
    struct efm_error error = {0};
    assert_int_equal(efm_flow_create(&flow, field, count, NULL, &error), EFM_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(efm_line_create(&lines[i], field, options, starts + i * dimension, i, &error),
                         EFM_OK);
    while (efm_flow_step(flow, lines, count) > 0)
        ;
    efm_flow_destroy(flow);
}

#endif
