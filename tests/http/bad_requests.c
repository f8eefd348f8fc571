// SPDX-License-Identifier: Apache-2.0
#include "tests/http/bad_requests.h"

#include "core/base/memory.h"
#include "tests/support/check.h"
#include "tests/support/make.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PICTURES "/v1/transfer?model=pictures"
#define PLANE "/v1/transfer?model=plane"
#define WEIGHTS "/v1/models/bad"

static struct bad_request *add(struct bad_requests *all, const char *what, const char *method,
                               const char *path, int status, const char *code)
{
    assert_true(all->count < BAD_REQUESTS_MAX);
    struct bad_request *one = &all->items[all->count++];
    memset(one, 0, sizeof *one);
    snprintf(one->what, sizeof one->what, "%s", what);
    snprintf(one->path, sizeof one->path, "%s", path);
    one->body = efm_buffer_limited(TEST_FILE_LIMIT);
    one->request = (struct test_request){.method = method, .path = one->path};
    one->status = status;
    one->code = code;
    return one;
}

/* The body has been appended to one->body. */
static void seal(struct bad_request *one)
{
    assert_int_equal(one->body.status, EFM_OK);
    one->request.body = one->body.data != NULL ? one->body.data : (const uint8_t *)"";
    one->request.size = one->body.size;
}

static void add_bytes(struct bad_requests *all, const char *what, const char *path, const void *bytes,
                      size_t size, int status, const char *code)
{
    struct bad_request *one = add(all, what, "POST", path, status, code);
    efm_buffer_append(&one->body, bytes, size);
    seal(one);
}

static void add_json(struct bad_requests *all, const char *path, const char *json, int status,
                     const char *code)
{
    struct bad_request *one = add(all, json, "POST", path, status, code);
    efm_buffer_append_string(&one->body, json);
    one->request.type = "application/json";
    seal(one);
}

static void add_file(struct bad_requests *all, const char *file, int status, const char *code)
{
    struct bad_request *one = add(all, file, "POST", PICTURES, status, code);
    one->body = test_data_file(file);
    seal(one);
}

static void bad_pictures(struct bad_requests *all)
{
    struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_picture(&png, 8, 3, 5, EFM_IMAGE_PNG);
    add_bytes(all, "no body", PICTURES, "", 0, 400, "empty_body");
    add_bytes(all, "a truncated PNG", PICTURES, png.data, png.size - 20, 422, "damaged_image");
    add_bytes(all, "the first bytes of a PNG", PICTURES, png.data, 20, 422, "damaged_image");
    add_bytes(all, "text", PICTURES, "this is not an image", 20, 415, "not_an_image");
    add_bytes(all, "a GIF", PICTURES, "GIF89a\1\0\1\0\0\0\0;", 14, 415, "not_an_image");
    struct bad_request *flipped = add(all, "a PNG with a wrong byte", "POST", PICTURES, 422, "damaged_image");
    efm_buffer_append(&flipped->body, png.data, png.size);
    flipped->body.data[png.size / 2] ^= 0x55;
    seal(flipped);
    struct bad_request *tiny = add(all, "one pixel", "POST", PICTURES, 422, "image_too_small");
    test_make_plain_picture(&tiny->body, 1, 1);
    seal(tiny);
    add_file(all, "image/bomb.png", 413, "image_too_large");
    add_file(all, "image/bomb.jpg", 413, "image_too_large");
    add_file(all, "image/cmyk.jpg", 415, "unsupported_image");
    add_file(all, "image/animated.webp", 415, "unsupported_image");
    struct bad_request *large = add(all, "a body past the limit", "POST", PICTURES, 413, "body_too_large");
    char *block = efm_allocate_array(1, (2 << 20) + 7);
    assert_non_null(block);
    memcpy(block, png.data, png.size);
    efm_buffer_append(&large->body, block, (2 << 20) + 7);
    seal(large);
    efm_free(block);
    add_bytes(all, "a picture for a vector model", PLANE, png.data, png.size, 422, "shape_mismatch");
    add_bytes(all, "a body for a path without one", "/v1/nothing", png.data, png.size, 404, "not_found");
    efm_buffer_release(&png);
}

static void bad_parameters(struct bad_requests *all)
{
    static const struct {
        const char *query;
        int status;
        const char *code;
    } cases[] = {
        {"?model=nobody", 404, "unknown_model"},
        {"", 422, "missing_parameter"}, // there are several models
        {"?model=", 422, "invalid_parameter"},
        {"?model=..%2fx", 422, "invalid_parameter"},
        {"?model=pictures&flavour=mint", 422, "unknown_parameter"},
        {"?model=pictures&seed=1&seed=1", 422, "duplicate_parameter"},
        {"?model=pictures&steps=0", 422, "invalid_parameter"},
        {"?model=pictures&steps=1001", 422, "invalid_parameter"},
        {"?model=pictures&steps=-3", 422, "invalid_parameter"},
        {"?model=pictures&steps=ten", 422, "invalid_parameter"},
        {"?model=pictures&steps=5.5", 422, "invalid_parameter"},
        {"?model=pictures&steps=99999999999999999999999999", 422, "invalid_parameter"},
        {"?model=pictures&seed=-1", 422, "invalid_parameter"},
        {"?model=pictures&n=0", 422, "invalid_parameter"},
        {"?model=pictures&tolerance=nan", 422, "invalid_parameter"},
        {"?model=pictures&tolerance=inf", 422, "invalid_parameter"},
        {"?model=pictures&timeout=0", 422, "invalid_parameter"},
        {"?model=pictures&solver=leapfrog", 422, "invalid_parameter"},
        {"?model=pictures&direction=up", 422, "invalid_parameter"},
        {"?model=pictures&format=gif", 422, "invalid_parameter"},
        {"?model=pictures&quality=101", 422, "invalid_parameter"},
        {"?model=pictures&trajectory=1", 422, "invalid_parameter"},
        {"?model=pictures&trajectory=1000", 422, "invalid_parameter"},
        {"?model=pictures&background=octarine", 422, "invalid_parameter"},
    };
    struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_picture(&png, 8, 3, 5, EFM_IMAGE_PNG);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char path[128];
        snprintf(path, sizeof path, "/v1/transfer%s", cases[i].query);
        add_bytes(all, path, path, png.data, png.size, cases[i].status, cases[i].code);
    }
    add_bytes(all, "more results than allowed", "/v1/transfer?model=pictures&n=65", png.data, png.size, 413,
              "too_many_images");
    struct bad_request *accept =
        add(all, "an Accept that cannot be met", "POST", PICTURES, 406, "not_acceptable");
    efm_buffer_append(&accept->body, png.data, png.size);
    accept->request.accept = "video/mp4";
    seal(accept);
    efm_buffer_release(&png);
}

static void bad_json(struct bad_requests *all)
{
    static const struct {
        const char *json;
        int status;
        const char *code;
    } cases[] = {
        {"{\"model\":\"pictures\",\"image\":\"aGVsbG8=\"}", 415, "not_an_image"},
        {"{\"model\":\"pictures\",\"image\":\"***\"}", 422, "invalid_parameter"},
        {"{\"model\":\"pictures\",\"image\":7}", 422, "invalid_parameter"},
        {"{\"model\":\"pictures\"}", 422, "missing_parameter"},
        {"{\"model\":\"pictures\",\"images\":[]}", 422, "invalid_parameter"},
        {"{\"model\":\"pictures\",\"vector\":[1,2]}", 422, "shape_mismatch"},
        {"{\"model\":\"plane\",\"vector\":[1,2,3]}", 422, "shape_mismatch"},
        {"{\"model\":\"plane\",\"vector\":[1,\"2\"]}", 422, "invalid_parameter"},
        {"{\"model\":\"plane\",\"vector\":[1,null]}", 422, "invalid_parameter"},
        {"{\"model\":\"plane\",\"vector\":[1,1e300]}", 422, "not_finite"},
        {"{\"model\":\"plane\",\"vector\":[1,1e999]}", 400, "malformed_json"},
        {"{\"model\":\"plane\",\"vector\":[1,NaN]}", 400, "malformed_json"},
        {"{\"model\":\"plane\",\"vector\":[1,2],\"steps\":\"5\"}", 422, "invalid_parameter"},
        {"{\"model\":\"plane\",\"vector\":[1,2],\"steps\":0}", 422, "invalid_parameter"},
        {"{\"model\":\"plane\",\"vector\":[1,2],\"steps\":1.5}", 422, "invalid_parameter"},
        {"{\"model\":\"plane\",\"vector\":[1,2],\"mood\":\"blue\"}", 422, "unknown_parameter"},
        {"{\"model\":\"plane\",\"vector\":[1,2],\"seed\":1,\"seed\":1}", 400, "malformed_json"},
        {"{\"model\":\"plane\",\"vector\":[1,2]", 400, "malformed_json"},
        {"{\"model\":\"plane\",\"vector\":[1,2]} and more", 400, "malformed_json"},
        {"{\"model\":\"pl\\u0000ane\",\"vector\":[1,2]}", 400, "malformed_json"},
        {"{\"model\":\"\xff\xfe\",\"vector\":[1,2]}", 400, "malformed_json"},
        {"[1,2,3]", 400, "malformed_json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i)
        add_json(all, "/v1/transfer", cases[i].json, cases[i].status, cases[i].code);
    add_json(all, "/v1/transfer?seed=1", "{\"model\":\"plane\",\"vector\":[1,2],\"seed\":1}", 422,
             "duplicate_parameter");
    struct bad_request *deep = add(all, "JSON of great depth", "POST", "/v1/transfer", 400, "malformed_json");
    efm_buffer_append_string(&deep->body, "{\"vectors\":");
    for (size_t i = 0; i < 100000; ++i)
        efm_buffer_append_string(&deep->body, "[");
    deep->request.type = "application/json";
    seal(deep);
}

static void bad_forms(struct bad_requests *all)
{
    static const struct {
        const char *type, *body;
    } cases[] = {
        {"multipart/form-data", "--x\r\n\r\n"},
        {"multipart/form-data; boundary=", "--x\r\n\r\n"},
        {"multipart/form-data; boundary=x", "nothing of that kind"},
        {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n"},
        {"multipart/form-data; boundary=x",
         "--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nabc"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct bad_request *one = add(all, cases[i].body, "POST", PICTURES, 400, "malformed_multipart");
        efm_buffer_append_string(&one->body, cases[i].body);
        one->request.type = cases[i].type;
        seal(one);
    }
    struct bad_request *twice =
        add(all, "a form that names the model twice", "POST", PICTURES, 422, "duplicate_parameter");
    test_make_picture(&twice->body, 8, 3, 5, EFM_IMAGE_PNG);
    twice->parts[0] = (struct test_part){"image", "a.png", NULL, twice->body.data, twice->body.size};
    twice->parts[1] = (struct test_part){"model", NULL, NULL, "pictures", 8};
    twice->request.parts = twice->parts;
    twice->request.part_count = 2;
    struct bad_request *empty =
        add(all, "a form without an image", "POST", "/v1/transfer", 422, "missing_parameter");
    empty->parts[0] = (struct test_part){"model", NULL, NULL, "pictures", 8};
    empty->request.parts = empty->parts;
    empty->request.part_count = 1;
    struct bad_request *odd =
        add(all, "a form with an unknown field", "POST", PICTURES, 422, "unknown_parameter");
    odd->parts[0] = (struct test_part){"photo", "a.png", NULL, "no matter", 9};
    odd->request.parts = odd->parts;
    odd->request.part_count = 1;
}

static void add_npy(struct bad_requests *all, const char *what, const char *path, const char *type,
                    const size_t *shape, size_t rank, const void *data, int status, const char *code)
{
    struct bad_request *one = add(all, what, "POST", path, status, code);
    test_make_npy(&one->body, type, shape, rank, data);
    seal(one);
}

static void bad_npy(struct bad_requests *all)
{
    static const float zeros[8 * 8 * 4];
    add_npy(all, "NPY with NaN", PLANE, "<f4", (size_t[]){1, 2}, 2, (float[]){1, NAN}, 422, "not_finite");
    add_npy(all, "NPY with infinity", PLANE, "<f8", (size_t[]){1, 2}, 2, (double[]){1, -INFINITY}, 422,
            "not_finite");
    add_npy(all, "NPY past the range of a float", PLANE, "<f8", (size_t[]){1, 2}, 2, (double[]){1, 1e300},
            422, "not_finite");
    add_npy(all, "NPY of three numbers", PLANE, "<f4", (size_t[]){1, 3}, 2, (float[]){1, 2, 3}, 422,
            "shape_mismatch");
    add_npy(all, "NPY with four channels", PICTURES, "<f4", (size_t[]){1, 8, 8, 4}, 4, zeros, 422,
            "shape_mismatch");
    add_npy(all, "NPY with one channel", PICTURES, "<f4", (size_t[]){1, 8, 8, 1}, 4, zeros, 422,
            "shape_mismatch");
    add_npy(all, "NPY without rows", PLANE, "<f4", (size_t[]){0, 2}, 2, zeros, 422, "shape_mismatch");
    struct bad_request *cut = add(all, "a truncated NPY", "POST", PLANE, 422, "invalid_npy");
    test_make_npy(&cut->body, "<f4", (size_t[]){2, 2}, 2, (float[]){1, 2, 3, 4});
    seal(cut);
    cut->request.size -= 3;
    struct bad_request *huge = add(all, "NPY that claims too much", "POST", PLANE, 422, "invalid_npy");
    static const char header[] = "\x93NUMPY\x01\0\x76\0{'descr': '<f4', 'fortran_order': False, "
                                 "'shape': (4611686018427387904, 4), }";
    efm_buffer_append(&huge->body, header, sizeof header - 1);
    while (huge->body.size < 127)
        efm_buffer_append(&huge->body, " ", 1);
    efm_buffer_append(&huge->body, "\n", 1);
    seal(huge);
}

/* A safetensors file of this header and `data` zero bytes. */
static void add_weights(struct bad_requests *all, const char *what, const char *header, size_t data)
{
    struct bad_request *one = add(all, what, "PUT", WEIGHTS, 422, "invalid_model");
    size_t length = strlen(header);
    uint8_t size[8] = {(uint8_t)length, (uint8_t)(length >> 8)};
    char zeros[256] = "";
    assert_true(data <= sizeof zeros);
    efm_buffer_append(&one->body, size, 8);
    efm_buffer_append(&one->body, header, length);
    efm_buffer_append(&one->body, zeros, data);
    seal(one);
}

static void bad_weights(struct bad_requests *all)
{
    add_weights(all, "overlapping tensors",
                "{\"source\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                "\"target\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[8,24]}}",
                24);
    add_weights(all, "a tensor past the end",
                "{\"source\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                "\"target\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[16,99999]}}",
                32);
    add_weights(all, "offsets backwards",
                "{\"source\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[16,0]}}", 16);
    add_weights(all, "a shape that does not fit",
                "{\"source\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,16]}}", 16);
    add_weights(all, "a shape that overflows",
                "{\"source\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,16]}}",
                16);
    add_weights(all, "a header that is no JSON", "{\"source\":", 16);
    add_weights(all, "no tensors", "{}", 0);
    struct bad_request *one = add(all, "a header longer than the file", "PUT", WEIGHTS, 422, "invalid_model");
    efm_buffer_append(&one->body, "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
    seal(one);
}

static void add_tar(struct bad_requests *all, const char *what, const char *member)
{
    struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT);
    struct bad_request *one = add(all, what, "PUT", "/v1/datasets/bad", 422, "invalid_dataset");
    test_make_picture(&png, 8, 3, 5, EFM_IMAGE_PNG);
    test_tar_add(&one->body, member, png.data, png.size);
    test_tar_end(&one->body);
    seal(one);
    efm_buffer_release(&png);
}

static void bad_resources(struct bad_requests *all)
{
    add_tar(all, "a tar that climbs", "../../etc/a.png");
    add_tar(all, "a tar that climbs from within", "a/../../b.png");
    add_tar(all, "a tar with an absolute path", "/etc/a.png");
    struct bad_request *one =
        add(all, "a dataset with a bad name", "PUT", "/v1/datasets/.bad", 422, "invalid_name");
    efm_buffer_append_string(&one->body, "{\"toy\":\"gaussian\"}");
    seal(one);
    one = add(all, "a toy of astronomic size", "PUT", "/v1/datasets/bad", 422, "dataset_too_large");
    efm_buffer_append_string(&one->body, "{\"toy\":\"gaussian\",\"count\":1000000000,\"dimension\":1000000}");
    seal(one);
    one = add(all, "an unknown recipe", "PUT", WEIGHTS, 422, "unknown_parameter");
    efm_buffer_append_string(&one->body, "{\"recipe\":1}");
    one->request.type = "application/json";
    seal(one);
    add(all, "a wrong method", "DELETE", "/v1/transfer", 405, "method_not_allowed");
    add(all, "an unknown method", "BREW", "/v1/transfer", 405, "method_not_allowed");
    add(all, "an unknown path", "GET", "/v1/teapots", 404, "not_found");
    add(all, "an unknown model", "GET", "/v1/models/nobody", 404, "unknown_model");
}

void bad_requests_make(struct bad_requests *all)
{
    all->count = 0;
    bad_pictures(all);
    bad_parameters(all);
    bad_json(all);
    bad_forms(all);
    bad_npy(all);
    bad_weights(all);
    bad_resources(all);
}

void bad_requests_release(struct bad_requests *all)
{
    for (size_t i = 0; i < all->count; ++i)
        efm_buffer_release(&all->items[i].body);
    all->count = 0;
}
