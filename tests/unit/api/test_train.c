// SPDX-License-Identifier: Apache-2.0
#include "api/train.h"
#include "tests/unit/api/api_test.h"

#include <stdlib.h>

static const char PLANE[] = "\"source\":\"gaussian\",\"target\":{\"toy\":\"swiss_roll\",\"count\":500}";

static bool parse(struct api_train *train, const char *json, struct api_problem *problem)
{
    size_t size = strlen(json);
    uint8_t *copy = malloc(size + 1); /* of its own, so that a sanitizer sees every byte too many */
    assert_non_null(copy);
    memcpy(copy, json, size);
    *problem = (struct api_problem){0};
    bool good = api_train_parse(train, copy, size, problem);
    free(copy);
    assert_true(good == (problem->code == API_P_NONE));
    return good;
}

/* Parses {`PLANE`, more}. */
static bool parse_more(struct api_train *train, const char *more, struct api_problem *problem)
{
    char json[2048];
    snprintf(json, sizeof json, "{%s%s%s}", PLANE, more[0] == '\0' ? "" : ",", more);
    return parse(train, json, problem);
}

static void plates(void **state)
{
    (void)state;
    struct api_train train;
    struct api_problem problem;
    assert_true(
        parse(&train,
              "{\"source\":{\"path\":\"data/train-images-idx3-ubyte.gz\",\"labels\":\"l.gz\",\"label\":3,"
              "\"first\":-5,\"count\":-2},\"target\":\"pictures/\"}",
              &problem));
    assert_int_equal(train.plates[0].origin, API_TRAIN_PATH);
    assert_string_equal(train.plates[0].path, "data/train-images-idx3-ubyte.gz");
    assert_string_equal(train.plates[0].labels, "l.gz");
    assert_int_equal(train.plates[0].label, 3);
    assert_true(train.plates[0].first == -5 && train.plates[0].count == -2);
    assert_string_equal(train.plates[0].name, "train-images-idx3-ubyte-3");
    assert_string_equal(train.plates[1].path, "pictures/");
    assert_string_equal(train.plates[1].name, "pictures");
    assert_true(train.plates[1].first == 0 && train.plates[1].count == 0);
    api_train_release(&train);

    assert_true(parse_more(&train, "", &problem));
    assert_int_equal(train.plates[0].origin, API_TRAIN_GAUSSIAN);
    assert_string_equal(train.plates[0].name, "gaussian");
    assert_int_equal(train.plates[1].origin, API_TRAIN_TOY);
    assert_string_equal(train.plates[1].name, "swiss_roll");
    assert_string_equal(train.plates[1].toy, "{\"toy\":\"swiss_roll\",\"count\":500}");
    api_train_release(&train);

    assert_true(parse(&train,
                      "{\"source\":{\"toy\":{\"toy\":\"mixture\",\"count\":9},\"count\":4,\"name\":\"two\"},"
                      "\"target\":\"../.hidden dir\"}",
                      &problem));
    assert_string_equal(train.plates[0].toy, "{\"toy\":\"mixture\",\"count\":9}");
    assert_int_equal(train.plates[0].count, 4);
    assert_string_equal(train.plates[0].name, "two");
    assert_true(api_name_valid(train.plates[1].name));
    api_train_release(&train);
}

static void image_and_augmentation(void **state)
{
    (void)state;
    struct api_train train;
    struct api_problem problem;
    struct efm_dataset_options options;
    assert_true(parse(&train,
                      "{\"source\":\"a\",\"target\":\"b\",\"image\":{\"height\":32,\"width\":16,\"fit\":"
                      "\"contain\",\"background\":\"white\"},\"augment\":{\"target\":[\"crop\",\"flip\"]}}",
                      &problem));
    api_train_dataset_options(&train, &options);
    assert_true(options.shape.height == 32 && options.shape.width == 16 && options.shape.channels == 3);
    assert_int_equal(options.shape.dimension, 32 * 16 * 3);
    assert_int_equal(options.fit, EFM_IMAGE_FIT_CONTAIN);
    assert_memory_equal(options.background, "\377\377\377", 3);
    assert_int_equal(train.augmentation[EFM_SOURCE], 0);
    assert_int_equal(train.augmentation[EFM_TARGET], EFM_AUGMENT_FLIP | EFM_AUGMENT_CROP);
    api_train_release(&train);

    /* one list for both plates leaves noise alone */
    assert_true(parse_more(&train, "\"augment\":[\"hue\"]", &problem));
    assert_int_equal(train.augmentation[EFM_SOURCE], 0);
    assert_int_equal(train.augmentation[EFM_TARGET], EFM_AUGMENT_HUE);
    api_train_dataset_options(&train, &options);
    assert_int_equal(options.shape.dimension, 0);
    api_train_release(&train);
}

static void completes_with_defaults(void **state)
{
    (void)state;
    struct api_train train;
    struct api_problem problem;
    struct efm_trainer_spec spec, wanted;
    const struct efm_shape shapes[] = {efm_shape_vector(2), efm_shape_image(32, 32, 3)};
    for (size_t i = 0; i < 2; i++) {
        memset(&spec, 0x55, sizeof spec);
        assert_true(parse_more(&train, "", &problem));
        assert_true(api_train_complete(&train, &shapes[i], &spec, &problem));
        efm_trainer_spec_default(&wanted, &shapes[i]);
        assert_int_equal(spec.steps, wanted.steps);
        assert_int_equal(spec.optimiser.steps, spec.steps);
        assert_int_equal(spec.seed, wanted.seed);
        assert_int_equal(spec.batch.seed, spec.seed);
        assert_int_equal(spec.shards, wanted.shards);
        assert_true(spec.batch.length == wanted.batch.length && spec.batch.lowest == wanted.batch.lowest);
        assert_true(spec.batch.sampler == wanted.batch.sampler && spec.batch.target == wanted.batch.target);
        assert_true(spec.batch.size == wanted.batch.size && spec.batch.charges == wanted.batch.charges);
        assert_true(spec.batch.pairing == wanted.batch.pairing && spec.batch.refresh == 0);
        assert_true(spec.optimiser.rate == wanted.optimiser.rate &&
                    spec.optimiser.ema == wanted.optimiser.ema);
        assert_true(spec.optimiser.beta2 == wanted.optimiser.beta2);
        assert_true(spec.net.arch == wanted.net.arch && spec.net.hidden == wanted.net.hidden);
        assert_memory_equal(spec.net.ch_mult, wanted.net.ch_mult, sizeof wanted.net.ch_mult);
        assert_int_equal(train.values.weights, i == 0 ? API_TRAIN_F32 : API_TRAIN_BF16);
        api_train_release(&train);
    }
}

/* What was given decides about defaults that would not go with it. */
static void adapts_defaults(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        enum efm_sampler sampler;
        size_t charges; /* 0: not looked at */
    } cases[] = {
        {"\"field\":\"chain_single\"", EFM_SAMPLER_MARGINAL, 0},
        {"\"field\":\"chain\"", EFM_SAMPLER_MARGINAL, 0},
        {"\"field\":\"flow_matching\"", EFM_SAMPLER_UNIFORM, 0},
        {"\"batch\":50000,\"sampler\":\"tube\"", EFM_SAMPLER_TUBE, 50000},
    };
    const struct efm_shape plane = efm_shape_vector(2);
    struct efm_trainer_spec spec;
    struct api_train train;
    struct api_problem problem;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(parse_more(&train, cases[i].more, &problem));
        assert_true(api_train_complete(&train, &plane, &spec, &problem));
        assert_int_equal(spec.batch.sampler, cases[i].sampler);
        assert_true(cases[i].charges == 0 || spec.batch.charges == cases[i].charges);
        api_train_release(&train);
    }
    /* images match their pairs where that can be done */
    static const struct {
        const char *more;
        enum efm_pairing pairing;
    } images[] = {
        {"", EFM_PAIRING_MATCHED},
        {"\"field\":\"flow_matching\"", EFM_PAIRING_MATCHED},
        {"\"field\":\"chain_single\"", EFM_PAIRING_RANDOM},
        {"\"sampler\":\"marginal\"", EFM_PAIRING_RANDOM},
        {"\"charges\":0", EFM_PAIRING_RANDOM},
        {"\"charges\":10000", EFM_PAIRING_RANDOM},
        {"\"batch\":5000", EFM_PAIRING_RANDOM},
    };
    const struct efm_shape image = efm_shape_image(32, 32, 3);
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++) {
        assert_true(parse_more(&train, images[i].more, &problem));
        assert_true(api_train_complete(&train, &image, &spec, &problem));
        assert_int_equal(spec.batch.pairing, images[i].pairing);
        api_train_release(&train);
    }
    /* and is never changed itself */
    assert_true(parse_more(&train, "\"field\":\"chain_single\",\"sampler\":\"uniform\"", &problem));
    assert_false(api_train_complete(&train, &plane, &spec, &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, NULL, "marginal");
    api_train_release(&train);
}

static void takes_every_key(void **state)
{
    (void)state;
    struct api_train train;
    struct api_problem problem;
    struct efm_trainer_spec spec;
    const struct efm_shape shape = efm_shape_image(16, 16, 1);
    assert_true(parse_more(
        &train,
        "\"field\":\"superposition\",\"L\":7,\"sampler\":\"tube\",\"pairing\":\"matched\",\"batch\":32,"
        "\"charges\":256,\"refresh\":4,"
        "\"gamma\":2.5,\"lowest\":0.25,\"sigma\":0.5,\"tau\":0.04,\"steps\":77,\"seed\":9,\"learning_rate\":"
        "0.001,"
        "\"warmup\":10,\"clip\":3,\"ema\":0.9,\"schedule\":\"cosine\",\"precision\":\"f32\",\"weights\":"
        "\"f32\","
        "\"threads\":3,\"shards\":5,\"augment\":[\"flip\"],"
        "\"network\":{\"arch\":\"unet\",\"nf\":32,\"ch_mult\":[1,2],\"blocks\":1,\"attention\":[8],"
        "\"dropout\":0}",
        &problem));
    assert_true(api_train_complete(&train, &shape, &spec, &problem));
    assert_true(spec.batch.target == EFM_TRAIN_SUPERPOSITION && spec.batch.sampler == EFM_SAMPLER_TUBE);
    assert_int_equal(spec.batch.pairing, EFM_PAIRING_MATCHED);
    assert_true(spec.batch.length == 7 && spec.batch.gamma == 2.5 && spec.batch.lowest == 0.25);
    assert_true(spec.batch.sigma == 0.5 && spec.batch.tau == 0.04 && spec.batch.size == 32);
    assert_true(spec.batch.charges == 256 && spec.batch.refresh == 4 && spec.batch.seed == 9);
    assert_true(spec.steps == 77 && spec.seed == 9 && spec.optimiser.steps == 77 && spec.shards == 5);
    assert_true(spec.optimiser.rate == 0.001 && spec.optimiser.warmup == 10 && spec.optimiser.clip == 3);
    assert_true(spec.optimiser.ema == 0.9 && spec.optimiser.schedule == EFM_SCHEDULE_COSINE);
    assert_true(spec.precision == EFM_PRECISION_F32 && train.values.weights == API_TRAIN_F32);
    assert_int_equal(train.values.threads, 3);
    assert_true(spec.net.nf == 32 && spec.net.levels == 2 && spec.net.ch_mult[1] == 2);
    assert_true(spec.net.blocks == 1 && spec.net.dropout == 0);
    assert_true(spec.net.attention_count == 1 && spec.net.attention[0] == 8);
    assert_int_equal(spec.augmentation[EFM_TARGET], EFM_AUGMENT_FLIP);
    api_train_release(&train);

    assert_true(parse_more(
        &train, "\"network\":{\"arch\":\"mlp\",\"hidden\":16,\"hidden2\":24,\"embedding\":8}", &problem));
    const struct efm_shape plane = efm_shape_vector(2);
    assert_true(api_train_complete(&train, &plane, &spec, &problem));
    assert_true(spec.net.hidden == 16 && spec.net.hidden2 == 24 && spec.net.embedding == 8);
    api_train_release(&train);
}

/* What is rendered is a spec that says the same. */
static void renders_what_it_reads(void **state)
{
    (void)state;
    static const char *const more[] = {
        "", "\"pairing\":\"matched\",\"network\":{\"hidden\":16},\"augment\":[],\"lowest\":1e-3,\"L\":0.1",
        "\"seed\":9007199254740991",
        "\"image\":{\"height\":16,\"width\":16,\"channels\":1},\"augment\":[\"crop\"]"};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        const struct efm_shape shape = i == 3 ? efm_shape_image(16, 16, 1) : efm_shape_vector(2);
        struct efm_buffer first = efm_buffer_limited(1 << 16), second = efm_buffer_limited(1 << 16);
        struct efm_trainer_spec spec, again;
        struct api_train train;
        struct api_problem problem;
        assert_true(parse_more(&train, more[i], &problem));
        assert_true(api_train_complete(&train, &shape, &spec, &problem));
        api_train_render(&train, &first);
        api_train_release(&train);
        assert_true(api_train_parse(&train, first.data, first.size, &problem));
        assert_true(api_train_complete(&train, &shape, &again, &problem));
        api_train_render(&train, &second);
        api_train_release(&train);
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        assert_true(spec.batch.length == again.batch.length && spec.seed == again.seed);
        json_t *json = json_of(&first);
        for (size_t k = 0; k < api_train_table.count; k++)
            assert_non_null(json_object_get(json, api_train_table.items[k].name));
        json_decref(json);
        efm_buffer_release(&first);
        efm_buffer_release(&second);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum api_problem_code code;
        const char *pointer, *words;
    } wrong[] = {
        {"", API_P_MALFORMED_JSON, NULL, NULL},
        {"[1]", API_P_MALFORMED_JSON, NULL, "object"},
        {"{\"source\":\"a\",}", API_P_MALFORMED_JSON, NULL, "line 1"},
        {"{\"source\":\"a\",\"source\":\"b\"}", API_P_MALFORMED_JSON, NULL, NULL},
        {"{\"source\":\"a\"}", API_P_MISSING_PARAMETER, "/target", NULL},
        {"{\"target\":\"a\"}", API_P_MISSING_PARAMETER, "/source", NULL},
        {"{\"source\":\"gaussian\",\"target\":\"gaussian\"}", API_P_INVALID_PARAMETER, "/target", "data"},
        {"{\"source\":3,\"target\":\"b\"}", API_P_INVALID_PARAMETER, "/source", "path"},
        {"{\"source\":\"\",\"target\":\"b\"}", API_P_INVALID_PARAMETER, "/source", "path"},
        {"{\"source\":{},\"target\":\"b\"}", API_P_MISSING_PARAMETER, "/source/path", NULL},
        {"{\"source\":\"a\",\"target\":{\"path\":\"b\",\"label\":3}}", API_P_MISSING_PARAMETER,
         "/target/labels", NULL},
        {"{\"source\":\"a\",\"target\":{\"path\":\"b\",\"labels\":\"l\"}}", API_P_MISSING_PARAMETER,
         "/target/label", NULL},
        {"{\"source\":{\"path\":\"a\",\"labels\":\"l\",\"label\":256},\"target\":\"b\"}",
         API_P_INVALID_PARAMETER, "/source/label", "0..255"},
        {"{\"source\":{\"path\":\"a\",\"count\":0},\"target\":\"b\"}", API_P_INVALID_PARAMETER,
         "/source/count", NULL},
        {"{\"source\":{\"path\":\"a\",\"first\":1.5},\"target\":\"b\"}", API_P_INVALID_PARAMETER,
         "/source/first", NULL},
        {"{\"source\":{\"path\":\"a\",\"name\":\"-x\"},\"target\":\"b\"}", API_P_INVALID_PARAMETER,
         "/source/name", NULL},
        {"{\"source\":{\"path\":\"a\",\"lable\":1},\"target\":\"b\"}", API_P_UNKNOWN_PARAMETER,
         "/source/lable", "labels"},
        {"{\"source\":{\"toy\":7},\"target\":\"b\"}", API_P_INVALID_PARAMETER, "/source/toy", NULL},
        {"{\"source\":{\"toy\":{\"toy\":\"uniform\"},\"path\":\"x\"},\"target\":\"b\"}",
         API_P_UNKNOWN_PARAMETER, "/source/path", NULL},
    };
    static const struct {
        const char *more;
        enum api_problem_code code;
        const char *pointer, *words;
    } more[] = {
        {"\"step\":5", API_P_UNKNOWN_PARAMETER, "/step", "steps"},
        {"\"steps\":\"5\"", API_P_INVALID_PARAMETER, "/steps", "whole number"},
        {"\"steps\":0", API_P_INVALID_PARAMETER, "/steps", "1..1000000000"},
        {"\"pairing\":\"nearest\"", API_P_INVALID_PARAMETER, "/pairing", "random"},
        {"\"charges\":16777217", API_P_INVALID_PARAMETER, "/charges", "0..16777216"},
        {"\"refresh\":1000001", API_P_INVALID_PARAMETER, "/refresh", "0..1000000"},
        {"\"batch\":65537", API_P_INVALID_PARAMETER, "/batch", "1..65536"},
        {"\"L\":-1", API_P_INVALID_PARAMETER, "/L", NULL},
        {"\"ema\":1", API_P_INVALID_PARAMETER, "/ema", NULL},
        {"\"field\":\"chains\"", API_P_INVALID_PARAMETER, "/field", "chain_single"},
        {"\"weights\":16", API_P_INVALID_PARAMETER, "/weights", "bf16"},
        {"\"shards\":65", API_P_INVALID_PARAMETER, "/shards", "1..64"},
        {"\"image\":[32,32]", API_P_INVALID_PARAMETER, "/image", "object"},
        {"\"image\":{\"height\":32}", API_P_MISSING_PARAMETER, "/image/width", NULL},
        {"\"image\":{\"height\":32,\"width\":0}", API_P_INVALID_PARAMETER, "/image/width", "1..4096"},
        {"\"image\":{\"height\":8,\"width\":8,\"channels\":2}", API_P_INVALID_PARAMETER, "/image/channels",
         NULL},
        {"\"image\":{\"size\":8}", API_P_UNKNOWN_PARAMETER, "/image/size", NULL},
        {"\"augment\":[\"blur\"]", API_P_INVALID_PARAMETER, "/augment", "hue, flip, crop"},
        {"\"augment\":\"hue\"", API_P_INVALID_PARAMETER, "/augment", NULL},
        {"\"augment\":{\"source\":[\"flip\"]}", API_P_INVALID_PARAMETER, "/augment/source", "noise"},
        {"\"augment\":{\"both\":[\"flip\"]}", API_P_UNKNOWN_PARAMETER, "/augment/both", NULL},
        {"\"augment\":{\"target\":[3]}", API_P_INVALID_PARAMETER, "/augment/target", NULL},
        {"\"network\":\"unet\"", API_P_INVALID_PARAMETER, "/network", "object"},
        {"\"network\":{\"nf\":1}", API_P_INVALID_PARAMETER, "/network/nf", "32..512"},
        {"\"network\":{\"ch_mult\":[]}", API_P_INVALID_PARAMETER, "/network/ch_mult", "1..6"},
        {"\"network\":{\"ch_mult\":[1,1,1,1,1,1,1]}", API_P_INVALID_PARAMETER, "/network/ch_mult", NULL},
        {"\"network\":{\"attention\":[0]}", API_P_INVALID_PARAMETER, "/network/attention", NULL},
        {"\"network\":{\"layers\":3}", API_P_UNKNOWN_PARAMETER, "/network/layers", NULL},
    };
    struct api_train train;
    struct api_problem problem;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(parse(&train, wrong[i].json, &problem));
        expect_problem(&problem, wrong[i].code, wrong[i].pointer, wrong[i].words);
        assert_null(train.plates[0].path); /* nothing is left to be freed */
    }
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        assert_false(parse_more(&train, more[i].more, &problem));
        expect_problem(&problem, more[i].code, more[i].pointer, more[i].words);
    }
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *more, *pointer;
    } wrong[] = {
        {"\"network\":{\"nf\":64}", "/network/nf"}, /* of a unet, and vectors are an mlp's */
        {"\"network\":{\"ch_mult\":[1]}", "/network/ch_mult"},
        {"\"L\":1,\"lowest\":0.6", NULL},
        {"\"pairing\":\"matched\",\"charges\":0", NULL},
        {"\"pairing\":\"matched\",\"batch\":4097", NULL},
        {"\"pairing\":\"matched\",\"field\":\"chain_single\"", NULL},
    };
    const struct efm_shape plane = efm_shape_vector(2);
    struct efm_trainer_spec spec;
    struct api_train train;
    struct api_problem problem;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_true(parse_more(&train, wrong[i].more, &problem));
        assert_false(api_train_complete(&train, &plane, &spec, &problem));
        expect_problem(&problem, API_P_INVALID_PARAMETER, wrong[i].pointer, NULL);
        api_train_release(&train);
    }
}

static void steps_from_outside(void **state)
{
    (void)state;
    struct api_train train;
    struct api_problem problem;
    struct efm_trainer_spec spec;
    const struct efm_shape plane = efm_shape_vector(2);
    assert_true(parse_more(&train, "\"steps\":500", &problem));
    assert_true(api_train_set_steps(&train, "20", &problem));
    assert_true(api_train_complete(&train, &plane, &spec, &problem));
    assert_int_equal(spec.steps, 20);
    assert_false(api_train_set_steps(&train, "0", &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/steps", NULL);
    api_train_release(&train);
}

/* ---- plates that the daemon keeps or fetches ---- */

static bool read_stored(struct api_train *train, const char *json, const char *const *skip,
                        struct api_problem *problem)
{
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    *problem = (struct api_problem){0};
    bool good = api_train_read(train, root, API_TRAIN_STORED, skip, problem);
    json_decref(root);
    assert_true(good == (problem->code == API_P_NONE));
    return good;
}

static void stored_plates(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        enum api_train_origin origin;
        const char *path, *name, *sha256;
        int64_t first, count;
    } cases[] = {
        {"\"threes\"", API_TRAIN_DATASET, "threes", "threes", "", 0, 0},
        {"{\"dataset\":\"gaussian\",\"first\":-5,\"count\":-2}", API_TRAIN_DATASET, "gaussian", "gaussian",
         "", -5, -2},
        {"{\"name\":\"n\",\"dataset\":\"threes\"}", API_TRAIN_DATASET, "threes", "n", "", 0, 0},
        {"\"https://example.com/sets/threes.tar.gz?sig=a.b/c\"", API_TRAIN_URL,
         "https://example.com/sets/threes.tar.gz?sig=a.b/c", "threes", "", 0, 0},
        {"{\"sha256\":\"0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\",\"url\":"
         "\"HTTP://10.0.0.1:80/a\",\"count\":9}",
         API_TRAIN_URL, "HTTP://10.0.0.1:80/a", "a",
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 0, 9},
        /* nothing to name it by */
        {"\"http://h\"", API_TRAIN_URL, "http://h", "source", "", 0, 0},
        {"\"http://threes.example\"", API_TRAIN_URL, "http://threes.example", "source", "", 0, 0},
        {"\"http://h/sets/\"", API_TRAIN_URL, "http://h/sets/", "source", "", 0, 0},
        {"\"http://h/.hidden\"", API_TRAIN_URL, "http://h/.hidden", "source", "", 0, 0},
        {"\"http://h/a%20b.npy\"", API_TRAIN_URL, "http://h/a%20b.npy", "source", "", 0, 0},
        {"\"http://h?/a/b\"", API_TRAIN_URL, "http://h?/a/b", "source", "", 0, 0},
        {"\"http://h/x#y@z\"", API_TRAIN_URL, "http://h/x#y@z", "x", "", 0, 0},
        {"\"http://h/0123456789012345678901234567890123456789012345678901234567890123456789\"", API_TRAIN_URL,
         "http://h/0123456789012345678901234567890123456789012345678901234567890123456789", "source", "", 0,
         0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[512];
        struct api_train train;
        struct api_problem problem;
        const struct api_train_plate *plate = &train.plates[EFM_SOURCE];
        snprintf(json, sizeof json, "{\"source\":%s,\"target\":\"t\"}", cases[i].source);
        if (!read_stored(&train, json, NULL, &problem))
            fail_msg("%s: %s", json, problem.detail);
        assert_int_equal(plate->origin, cases[i].origin);
        assert_string_equal(plate->path, cases[i].path);
        assert_string_equal(plate->name, cases[i].name);
        assert_string_equal(plate->sha256, cases[i].sha256);
        assert_true(plate->first == cases[i].first && plate->count == cases[i].count);
        api_train_release(&train);
    }
}

static void stored_noise_and_toys(void **state)
{
    (void)state;
    struct api_train train;
    struct api_problem problem;
    assert_true(
        read_stored(&train, "{\"source\":\"gaussian\",\"target\":{\"toy\":\"swiss_roll\"}}", NULL, &problem));
    assert_int_equal(train.plates[0].origin, API_TRAIN_GAUSSIAN);
    assert_int_equal(train.plates[1].origin, API_TRAIN_TOY);
    assert_string_equal(train.plates[1].name, "swiss_roll");
    api_train_release(&train);
    assert_true(read_stored(
        &train, "{\"source\":{\"toy\":{\"toy\":\"mixture\"},\"count\":4},\"target\":\"http://h/b\"}", NULL,
        &problem));
    assert_int_equal(train.plates[0].count, 4);
    api_train_release(&train);
}

static void stored_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        enum api_problem_code code;
        const char *pointer, *words;
    } wrong[] = {
        {"3", API_P_INVALID_PARAMETER, "/source", "dataset"},
        {"null", API_P_INVALID_PARAMETER, "/source", "dataset"},
        {"\"\"", API_P_INVALID_PARAMETER, "/source", "dataset"},
        {"\"digits/threes.tar\"", API_P_INVALID_PARAMETER, "/source", "PUT /v1/datasets"},
        {"\"/etc/passwd\"", API_P_INVALID_PARAMETER, "/source", NULL},
        {"\"ftp://h/a\"", API_P_INVALID_PARAMETER, "/source", "http"},
        {"\"file:///etc/passwd\"", API_P_INVALID_PARAMETER, "/source", "http"},
        {"\"http://user:word@h/a\"", API_P_URL_REFUSED, "/source", "password"},
        {"\"http://word@h\"", API_P_URL_REFUSED, "/source", "password"},
        {"\"http://\"", API_P_URL_REFUSED, "/source", "host"},
        {"\"http://:80/\"", API_P_URL_REFUSED, "/source", "host"},
        {"\"http://h/a b\"", API_P_URL_REFUSED, "/source", "%XX"},
        {"\"http://h\\\\@i/a\"", API_P_URL_REFUSED, "/source", NULL},
        {"\"http://h/\\u00e9\"", API_P_URL_REFUSED, "/source", "%XX"},
        {"\"http://h/\\n\"", API_P_URL_REFUSED, "/source", "%XX"},
        {"{}", API_P_MISSING_PARAMETER, "/source/dataset", "url"},
        {"{\"url\":\"gaussian\"}", API_P_URL_REFUSED, "/source/url", "http"},
        {"{\"url\":7}", API_P_URL_REFUSED, "/source/url", "http"},
        {"{\"url\":\"https://word@h/\"}", API_P_URL_REFUSED, "/source/url", "password"},
        {"{\"dataset\":\"http://h/\"}", API_P_INVALID_PARAMETER, "/source/dataset", "a-z"},
        {"{\"dataset\":\"a\",\"url\":\"http://h/\"}", API_P_INVALID_PARAMETER, "/source/url", "too many"},
        {"{\"dataset\":\"a\",\"sha256\":"
         "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}",
         API_P_INVALID_PARAMETER, "/source/sha256", "url"},
        {"{\"url\":\"http://h/\",\"sha256\":\"0123\"}", API_P_INVALID_PARAMETER, "/source/sha256", "64"},
        {"{\"url\":\"http://h/"
         "\",\"sha256\":\"x123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}",
         API_P_INVALID_PARAMETER, "/source/sha256", "hex"},
        {"{\"path\":\"a\"}", API_P_INVALID_PARAMETER, "/source/path", "PUT /v1/datasets"},
        {"{\"dataset\":\"a\",\"labels\":\"l\"}", API_P_INVALID_PARAMETER, "/source/labels", "each class"},
        {"{\"dataset\":\"a\",\"label\":3}", API_P_INVALID_PARAMETER, "/source/label", "each class"},
        {"{\"dataset\":\"a\",\"count\":0}", API_P_INVALID_PARAMETER, "/source/count", NULL},
        {"{\"dataset\":\"a\",\"name\":\".\"}", API_P_INVALID_PARAMETER, "/source/name", NULL},
        {"{\"dataset\":\"a\",\"lable\":3}", API_P_UNKNOWN_PARAMETER, "/source/lable", "dataset, url, sha256"},
        {"{\"toy\":{\"toy\":\"uniform\"},\"dataset\":\"a\"}", API_P_UNKNOWN_PARAMETER, "/source/dataset",
         "toy"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char json[512];
        struct api_train train;
        struct api_problem problem;
        snprintf(json, sizeof json, "{\"source\":%s,\"target\":\"t\"}", wrong[i].source);
        if (read_stored(&train, json, NULL, &problem))
            fail_msg("%s is taken", json);
        expect_problem(&problem, wrong[i].code, wrong[i].pointer, wrong[i].words);
        assert_null(strstr(problem.detail, "word@")); /* a secret is not told again */
        assert_true(train.plates[0].path == NULL && train.plates[1].path == NULL);
    }
    struct api_train train;
    struct api_problem problem;
    assert_false(read_stored(&train, "{\"source\":\"gaussian\",\"target\":\"gaussian\"}", NULL, &problem));
    assert_false(read_stored(&train, "{\"source\":\"a\"}", NULL, &problem));
    expect_problem(&problem, API_P_MISSING_PARAMETER, "/target", "name of a dataset");
}

static void skips_keys_of_the_caller(void **state)
{
    (void)state;
    static const char json[] = "{\"source\":\"a\",\"target\":\"b\",\"model\":\"m\",\"steps\":0}";
    static const char *const one[] = {"model", NULL}, *const both[] = {"model", "steps", NULL};
    struct api_train train;
    struct api_problem problem;
    assert_false(read_stored(&train, json, NULL, &problem));
    expect_problem(&problem, API_P_UNKNOWN_PARAMETER, "/model", NULL);
    assert_false(read_stored(&train, json, one, &problem));
    expect_problem(&problem, API_P_INVALID_PARAMETER, "/steps", NULL);
    assert_true(read_stored(&train, json, both, &problem));
    assert_int_equal(train.seen.given, 0);
    api_train_release(&train);
}

/* A job keeps what is rendered, and another replica reads it. */
static void stored_specs_render_back(void **state)
{
    (void)state;
    static const char *const specs[] = {
        "{\"source\":\"threes\",\"target\":\"twos\",\"augment\":[\"hue\"]}",
        "{\"source\":\"gaussian\",\"target\":{\"dataset\":\"gaussian\",\"first\":-7,\"count\":3,\"name\":"
        "\"g\"}}",
        "{\"source\":\"http://h/a.tar?x=\\u0026y\",\"target\":{\"url\":\"https://h/b\",\"sha256\":"
        "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF\"}}",
        "{\"source\":{\"toy\":\"mixture\",\"means\":[[0.1,1e-9]]},\"target\":{\"toy\":{\"toy\":\"swiss_"
        "roll\"},"
        "\"count\":4}}",
    };
    const struct efm_shape plane = efm_shape_vector(2);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        struct efm_buffer first = efm_buffer_limited(1 << 16), second = efm_buffer_limited(1 << 16);
        struct efm_trainer_spec spec;
        struct api_train train, again;
        struct api_problem problem;
        assert_true(read_stored(&train, specs[i], NULL, &problem));
        assert_true(api_train_complete(&train, &plane, &spec, &problem));
        api_train_render(&train, &first);
        efm_buffer_append(&first, "", 1);
        assert_true(read_stored(&again, (const char *)first.data, NULL, &problem));
        for (size_t side = 0; side < 2; side++) {
            const struct api_train_plate *a = &train.plates[side], *b = &again.plates[side];
            assert_true(a->origin == b->origin && a->first == b->first && a->count == b->count);
            assert_string_equal(a->name, b->name);
            assert_string_equal(a->sha256, b->sha256);
            assert_string_equal(a->path != NULL ? a->path : "", b->path != NULL ? b->path : "");
            assert_string_equal(a->toy != NULL ? a->toy : "", b->toy != NULL ? b->toy : "");
        }
        assert_true(api_train_complete(&again, &plane, &spec, &problem));
        api_train_render(&again, &second);
        assert_int_equal(first.size - 1, second.size);
        assert_memory_equal(first.data, second.data, second.size);
        api_train_release(&train);
        api_train_release(&again);
        efm_buffer_release(&first);
        efm_buffer_release(&second);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plates),
        cmocka_unit_test(image_and_augmentation),
        cmocka_unit_test(completes_with_defaults),
        cmocka_unit_test(adapts_defaults),
        cmocka_unit_test(takes_every_key),
        cmocka_unit_test(renders_what_it_reads),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(steps_from_outside),
        cmocka_unit_test(stored_plates),
        cmocka_unit_test(stored_noise_and_toys),
        cmocka_unit_test(stored_refusals),
        cmocka_unit_test(skips_keys_of_the_caller),
        cmocka_unit_test(stored_specs_render_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
