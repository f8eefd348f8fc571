// SPDX-License-Identifier: Apache-2.0
#include "core/data/npy.h"
#include "tests/unit/data/samples.h"

#include <math.h>

/* An NPY file of this header text, with as little padding as there can be. */
static struct efm_buffer make(int version, const char *header, const void *data, size_t size)
{
    struct efm_buffer out = new_buffer();
    size_t length = strlen(header);
    uint8_t start[12] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', (uint8_t)version, 0, (uint8_t)length, (uint8_t)(length >> 8)};
    efm_buffer_append(&out, start, version == 2 ? 12 : 10);
    efm_buffer_append_string(&out, header);
    efm_buffer_append(&out, data, size);
    return out;
}

static void assert_header_refused(const char *header, enum efm_status status, const char *words)
{
    const uint8_t data[24] = {0};
    struct efm_buffer file = make(1, header, data, sizeof data);
    assert_refused(file.data, file.size, NULL, status, words);
    efm_buffer_release(&file);
}

static void reads_vectors(void **state)
{
    (void)state;
    const float data[6] = {1, -2, 3.5f, 0, 1e30f, -1e-30f};
    const char *headers[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }     \n",
        "{'shape':(3,2,),\"fortran_order\":False,'descr':\"<f4\"}",
        "  {'fortran_order' : False , 'shape' : ( 3 , 2 ) , 'descr' : '<f4' , } \n",
    };
    for (int i = 0; i < 6; i++) {
        struct efm_error error = {0};
        struct efm_dataset *dataset;
        float values[6], low, high;
        struct efm_buffer file = make(1 + i % 2, headers[i / 2], data, sizeof data);
        assert_int_equal(read_bytes(&dataset, file.data, file.size, NULL, &error), EFM_OK);
        struct efm_shape shape = efm_shape_vector(2);
        assert_true(efm_shape_equal(efm_dataset_shape(dataset), &shape));
        assert_int_equal(efm_dataset_count(dataset), 3);
        assert_string_equal(efm_dataset_format(dataset), "npy");
        assert_int_equal(efm_dataset_floats(dataset, 0, 3, values, &error), EFM_OK);
        assert_memory_equal(values, data, sizeof data);
        efm_dataset_range(dataset, &low, &high);
        assert_true(low == -2 && high == 1e30f);
        efm_dataset_unref(dataset);
        assert_truncations_refused(file.data, file.size);
        efm_buffer_append(&file, "", 1);
        assert_refused(file.data, file.size, NULL, EFM_E_FORMAT, "not what its shape says");
        efm_buffer_release(&file);
    }
}

static void reads_doubles_and_images(void **state)
{
    (void)state;
    const double data[6] = {0.5, -0.5, 1, -1, 0.25, 0.1};
    const uint8_t pixels[6] = {0, 50, 100, 150, 200, 255};
    const struct {
        const char *header;
        bool bytes;
        struct efm_shape shape;
    } cases[] = {
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", false, efm_shape_vector(3)},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 3), }", false, efm_shape_image(2, 3, 1)},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 1, 3), }", false,
         efm_shape_image(2, 1, 3)},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 3), }", true, efm_shape_image(2, 3, 1)},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 1, 3), }", true, efm_shape_image(1, 1, 3)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_error error = {0};
        struct efm_dataset *dataset;
        float values[6];
        const void *content = cases[i].bytes ? (const void *)pixels : (const void *)data;
        struct efm_buffer file = make(1, cases[i].header, content, cases[i].bytes ? 6 : 48);
        assert_int_equal(read_bytes(&dataset, file.data, file.size, NULL, &error), EFM_OK);
        assert_true(efm_shape_equal(efm_dataset_shape(dataset), &cases[i].shape));
        assert_int_equal(efm_dataset_floats(dataset, 0, efm_dataset_count(dataset), values, &error), EFM_OK);
        for (size_t j = 0; j < 6; j++)
            assert_true(values[j] == (cases[i].bytes ? (float)pixels[j] / 127.5f - 1 : (float)data[j]));
        efm_dataset_unref(dataset);
        efm_buffer_release(&file);
    }
}

static void refuses_bad_headers(void **state)
{
    (void)state;
    assert_header_refused("{'descr': '>f4', 'fortran_order': False, 'shape': (3, 2), }", EFM_E_UNSUPPORTED,
                          ">f4");
    assert_header_refused("{'descr': '<i8', 'fortran_order': False, 'shape': (3, 1), }", EFM_E_UNSUPPORTED,
                          "<i8");
    assert_header_refused("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }",
                          EFM_E_UNSUPPORTED, "records");
    assert_header_refused("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", EFM_E_UNSUPPORTED,
                          "Fortran");
    assert_header_refused("{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 2), }", EFM_E_FORMAT,
                          "True nor");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 3, 2), }",
                          EFM_E_UNSUPPORTED, "more than 4");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (6), }", EFM_E_FORMAT, "shape");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3 2), }", EFM_E_FORMAT,
                          "shape");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3, -2), }", EFM_E_FORMAT,
                          "shape");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 99999999999999999999), }",
                          EFM_E_FORMAT, "shape");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
                          EFM_E_FORMAT, "larger than any file");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, }", EFM_E_FORMAT, "lacks");
    assert_header_refused("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}",
                          EFM_E_FORMAT, "'descr'");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), 'more': 1}",
                          EFM_E_FORMAT, "'more'");
    assert_header_refused("{'descr': '<f4' 'fortran_order': False, 'shape': (3, 2)}", EFM_E_FORMAT,
                          "dictionary");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)} x", EFM_E_FORMAT,
                          "follows");
    assert_header_refused("[]", EFM_E_FORMAT, "dictionary");
    assert_header_refused("", EFM_E_FORMAT, "dictionary");
    assert_header_refused("{'descr': '<f4", EFM_E_FORMAT, "damaged");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", EFM_E_UNSUPPORTED,
                          "1 dimensions");
    assert_header_refused("{'descr': '|u1', 'fortran_order': False, 'shape': (6, 4)}", EFM_E_UNSUPPORTED,
                          "2 dimensions of |u1");
    assert_header_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 1, 2)}",
                          EFM_E_UNSUPPORTED, "not 2");
    assert_header_refused("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 3, 4, 2)}",
                          EFM_E_UNSUPPORTED, "not 2");
}

static void refuses_empty_and_versions(void **state)
{
    (void)state;
    struct efm_buffer file = make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2)}", "", 0);
    assert_refused(file.data, file.size, NULL, EFM_E_FORMAT, "no samples");
    efm_buffer_release(&file);
    file = make(3, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2)}", "", 0);
    assert_refused(file.data, file.size, NULL, EFM_E_UNSUPPORTED, "version 3.0");
    efm_buffer_release(&file);
    const uint8_t endless[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 2, 0, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    assert_refused(endless, sizeof endless, NULL, EFM_E_LIMIT, "4294967295");
}

static void refuses_not_finite(void **state)
{
    (void)state;
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        float data[4] = {0, 1, bad[i], 3};
        struct efm_buffer file =
            make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}", data, 16);
        assert_refused(file.data, file.size, NULL, EFM_E_NUMERIC, "value 2 ");
        efm_buffer_release(&file);
    }
    const double large[2] = {1, 1e300}; /* finite, but not as a float32 */
    struct efm_buffer file = make(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1)}", large, 16);
    assert_refused(file.data, file.size, NULL, EFM_E_NUMERIC, "value 1 ");
    efm_buffer_release(&file);
}

static void holds_shape_and_limits(void **state)
{
    (void)state;
    const float data[6] = {0};
    struct efm_dataset_options options = efm_dataset_options_default();
    struct efm_buffer file = make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}", data, 24);
    options.shape = efm_shape_vector(3);
    assert_refused(file.data, file.size, &options, EFM_E_SHAPE, "2 numbers");
    options.shape = efm_shape_image(1, 2, 1);
    assert_refused(file.data, file.size, &options, EFM_E_SHAPE, "plain vectors");
    options = efm_dataset_options_default();
    options.max_decoded_bytes = 23;
    assert_refused(file.data, file.size, &options, EFM_E_LIMIT, "23 bytes");
    options.max_count = 2;
    assert_refused(file.data, file.size, &options, EFM_E_LIMIT, "3 samples");
    efm_buffer_release(&file);

    options = efm_dataset_options_default();
    options.shape = efm_shape_image(2, 2, 1);
    file = make(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 2)}", data, 24);
    assert_refused(file.data, file.size, &options, EFM_E_SHAPE, "3x2x1");
    options = efm_dataset_options_default();
    options.image_limits.max_pixels = 5;
    assert_refused(file.data, file.size, &options, EFM_E_LIMIT, "2x3");
    efm_buffer_release(&file);
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    const float data[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -0.0f};
    const size_t shapes[][4] = {{1}, {12}, {3, 4}, {3, 2, 2}, {1, 2, 2, 3}};
    const size_t counts[] = {1, 12, 12, 12, 12};
    for (size_t rank = 0; rank <= 4; rank++) {
        struct efm_error error = {0};
        struct efm_npy_view view;
        float values[12];
        struct efm_buffer out = new_buffer();
        assert_int_equal(efm_npy_write_floats(&out, data, shapes[rank], rank), EFM_OK);
        assert_int_equal((out.size - counts[rank] * 4) % 64, 0);
        assert_int_equal(efm_npy_parse(out.data, out.size, &view, &error), EFM_OK);
        assert_int_equal(view.type, EFM_NPY_F32);
        assert_int_equal(view.rank, rank);
        assert_int_equal(view.count, counts[rank]);
        assert_memory_equal(view.shape, shapes[rank], rank * sizeof(size_t));
        assert_int_equal(efm_npy_floats(&view, values, &error), EFM_OK);
        assert_memory_equal(values, data, counts[rank] * 4);
        efm_buffer_release(&out);
    }
    struct efm_buffer out = new_buffer();
    const size_t huge[2] = {SIZE_MAX, 2}, frames[6] = {1, 2, 1, 2, 3, 1};
    assert_int_equal(efm_npy_write_floats(&out, data, frames, 5), EFM_OK);
    assert_non_null(memmem(out.data, out.size, "(1, 2, 1, 2, 3), }", 18));
    assert_memory_equal(out.data + out.size - sizeof data, data, sizeof data);
    efm_buffer_release(&out);
    assert_int_equal(efm_npy_write_floats(&out, data, frames, 6), EFM_E_ARGUMENT);
    assert_int_equal(efm_npy_write_floats(&out, data, huge, 2), EFM_E_ARGUMENT);
    assert_int_equal(out.size, 0);
    out.limit = 100;
    assert_int_equal(efm_npy_write_floats(&out, data, shapes[2], 2), EFM_E_LIMIT);
    efm_buffer_release(&out);
}

static void header_is_as_numpy_writes_it(void **state)
{
    (void)state;
    const float data[2] = {1, 2};
    const size_t shape[1] = {2};
    struct efm_buffer out = new_buffer();
    assert_int_equal(efm_npy_write_floats(&out, data, shape, 1), EFM_OK);
    const char text[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    assert_memory_equal(out.data, "\x93NUMPY\1\0\x76\0", 10);
    assert_memory_equal(out.data + 10, text, sizeof text - 1);
    assert_int_equal(out.data[127], '\n');
    assert_int_equal(out.size, 136);
    efm_buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_vectors),        cmocka_unit_test(reads_doubles_and_images),
        cmocka_unit_test(refuses_bad_headers),  cmocka_unit_test(refuses_empty_and_versions),
        cmocka_unit_test(refuses_not_finite),   cmocka_unit_test(holds_shape_and_limits),
        cmocka_unit_test(writes_what_it_reads), cmocka_unit_test(header_is_as_numpy_writes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
