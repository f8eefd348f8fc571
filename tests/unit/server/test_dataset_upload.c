// SPDX-License-Identifier: Apache-2.0
/* A dataset on its way in: the quota, wrong bytes, what is left when it is given up, the preview. */
#include "tests/unit/server/registry_world.h"

#include "core/image/image.h"

static int setup(void **state)
{
    static struct world world;
    world_create(&world, false);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    world_destroy(*state);
    return 0;
}

static struct srv_dataset_upload *begin(struct world *world, const char *name, int64_t length,
                                        struct api_problem *problem)
{
    *problem = (struct api_problem){0};
    return srv_registry_begin_dataset(world->registry, name, length, problem);
}

static bool finish(struct srv_dataset_upload *upload, const char *query, struct api_problem *problem)
{
    struct api_dataset_request request;
    struct srv_put put = {0};
    parse_query(&request, query);
    return srv_dataset_upload_finish(upload, &request, &put, problem);
}

static void byte_by_byte(void **state)
{
    struct world *world = *state;
    struct api_problem problem;
    world_open(world);
    struct srv_dataset_upload *upload = begin(world, "d", (int64_t)strlen(WORLD_TOY), &problem);
    assert_non_null(upload);
    for (size_t i = 0; i < strlen(WORLD_TOY); i++)
        assert_true(srv_dataset_upload_append(upload, WORLD_TOY + i, 1, &problem));
    assert_false(has_toy(world, "d")); /* not before it is whole */
    assert_true(finish(upload, "", &problem));
    assert_true(has_toy(world, "d"));
}

static void the_quota_holds(void **state)
{
    struct world *world = *state;
    struct api_problem problem;
    const size_t size = strlen(WORLD_TOY);
    world->options.dataset_quota = 2 * size + 10;
    world_open(world);
    assert_null(begin(world, "d", (int64_t)(2 * size + 11), &problem));
    assert_int_equal(problem.code, API_P_QUOTA);
    struct srv_dataset_upload *first = begin(world, "d", (int64_t)size, &problem);
    struct srv_dataset_upload *second = begin(world, "e", -1, &problem);
    assert_non_null(first);
    assert_non_null(second);
    /* what is announced counts as if it were there */
    assert_null(begin(world, "f", (int64_t)size + 11, &problem));
    assert_int_equal(problem.code, API_P_QUOTA);
    assert_true(srv_dataset_upload_append(second, WORLD_TOY, size, &problem));
    assert_false(srv_dataset_upload_append(second, "           ", 11, &problem));
    assert_int_equal(problem.code, API_P_QUOTA);
    srv_dataset_upload_abort(second);
    problem = (struct api_problem){0};
    assert_true(srv_dataset_upload_append(first, WORLD_TOY, size, &problem));
    assert_true(finish(first, "", &problem));
    assert_int_equal(put_toy(world, "e"), API_P_NONE);
    assert_int_equal(put_toy(world, "f"), API_P_QUOTA);
    assert_true(srv_registry_delete_dataset(world->registry, "e", NULL, &problem));
    assert_int_equal(put_toy(world, "f"), API_P_NONE);
}

static void nothing_is_left_of_what_was_given_up(void **state)
{
    struct world *world = *state;
    struct api_problem problem;
    world_open(world);
    struct srv_dataset_upload *upload = begin(world, "d", -1, &problem);
    assert_non_null(upload);
    assert_true(srv_dataset_upload_append(upload, WORLD_TOY, 20, &problem));
    srv_dataset_upload_abort(upload);
    srv_dataset_upload_abort(NULL);

    upload = begin(world, "d", -1, &problem);
    assert_false(finish(upload, "", &problem));
    assert_int_equal(problem.code, API_P_EMPTY_BODY);

    assert_int_equal(put_dataset(world, "d", "", "what is this, please?", 21, NULL), API_P_INVALID_DATASET);
    assert_int_equal(put_dataset(world, "d", "", WORLD_TOY, strlen(WORLD_TOY) - 1, NULL),
                     API_P_INVALID_DATASET);
    assert_int_equal(put_dataset(world, "d", "", "{\"toy\":\"dragon\"}", 16, NULL), API_P_INVALID_DATASET);
    assert_int_equal(blob_count(world, ""), 0);
    assert_int_equal(put_dataset(world, "d", "", WORLD_TOY, strlen(WORLD_TOY), NULL), API_P_NONE);
    /* and the old one stays when a new one is refused */
    assert_int_equal(put_dataset(world, "d", "", "{\"toy\":\"dragon\"}", 16, NULL), API_P_INVALID_DATASET);
    assert_true(has_toy(world, "d"));
}

static void a_preview_is_made(void **state)
{
    struct world *world = *state;
    static const char IMAGES[] = "{\"toy\": \"uniform\", \"count\": 9, \"shape\": [8, 8, 3]}";
    struct srv_dataset_facts facts = {0};
    struct srv_blob *blob = NULL;
    struct efm_image image = {0};
    const struct efm_image_options options = {.limits = efm_image_limits_default()};
    world_open(world);
    assert_int_equal(put_dataset(world, "d", "", IMAGES, strlen(IMAGES), NULL), API_P_NONE);
    assert_true(srv_registry_dataset_facts(world->registry, "d", &facts));
    srv_dataset_facts_release(&facts);
    assert_int_equal(srv_blobs_open(world->blobs, facts.preview, &blob, NULL), EFM_OK);
    const uint8_t *bytes = srv_blob_map(blob, NULL);
    assert_non_null(bytes);
    assert_int_equal(efm_image_decode(&image, bytes, (size_t)srv_blob_size(blob), &options, NULL), EFM_OK);
    assert_true(image.width >= 24 && image.height >= 24);
    efm_image_release(&image);
    srv_blob_close(blob);
}

static void read_as_it_was_put_or_otherwise(void **state)
{
    struct world *world = *state;
    struct api_problem problem = {0};
    struct efm_dataset_options other = efm_dataset_options_default();
    world_open(world);
    assert_int_equal(put_toy(world, "d"), API_P_NONE);
    other.max_count = 10;
    assert_null(srv_registry_read_dataset(world->registry, "d", &other, &problem));
    assert_int_equal(problem.code, API_P_DATASET_TOO_LARGE);
    problem = (struct api_problem){0};
    assert_null(srv_registry_read_dataset(world->registry, "nobody", NULL, &problem));
    assert_int_equal(problem.code, API_P_UNKNOWN_DATASET);
    assert_true(has_toy(world, "d"));
    assert_null(srv_registry_scratch(world->registry));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(byte_by_byte),
        TEST(the_quota_holds),
        TEST(nothing_is_left_of_what_was_given_up),
        TEST(a_preview_is_made),
        TEST(read_as_it_was_put_or_otherwise),
    };
    return cmocka_run_group_tests_name("server/dataset_upload", tests, NULL, NULL);
}
