/* make.h - files made in memory: pictures, NPY, tar, IDX; and NPY read back.
 *
 *     struct efm_buffer png = efm_buffer_limited(TEST_FILE_LIMIT);
 *     test_make_picture(&png, 8, 3, 42, EFM_IMAGE_PNG);
 *     ... png.data, png.size ...
 *     efm_buffer_release(&png);
 *
 * The same arguments make the same bytes. Errors: every function fails the running cmocka test. */
#ifndef TEST_MAKE_H
#define TEST_MAKE_H

#include "core/base/buffer.h"
#include "core/image/image.h"

#include <stddef.h>
#include <stdint.h>

#define TEST_FILE_LIMIT ((size_t)256 << 20)

/* A bright spot on black; where it lies and its colour depend on `seed`. channels 1 or 3. */
void test_make_pixels(uint8_t *pixels, uint32_t side, uint32_t channels, uint64_t seed);
void test_make_picture(struct efm_buffer *out, uint32_t side, uint32_t channels, uint64_t seed,
                       enum efm_image_format format);

/* A PNG of one colour, in a size of its own for each direction. */
void test_make_plain_picture(struct efm_buffer *out, uint32_t width, uint32_t height);

/* NPY version 1, C order. `type` is '<f4', '<f8' or '|u1'; `data` holds the product of the shape. */
void test_make_npy(struct efm_buffer *out, const char *type, const size_t *shape, size_t rank,
                   const void *data);

/* `count` pictures with seeds first, first + 1, ...: as uint8 NPY [count, side, side, channels], as a tar of
 * PNG files, and (channels 1) as IDX. */
void test_make_pictures_npy(struct efm_buffer *out, size_t count, uint32_t side, uint32_t channels,
                            uint64_t first);
void test_make_pictures_tar(struct efm_buffer *out, size_t count, uint32_t side, uint32_t channels,
                            uint64_t first);
void test_make_pictures_idx(struct efm_buffer *out, size_t count, uint32_t side, uint64_t first);

/* A tar piece by piece. */
void test_tar_add(struct efm_buffer *out, const char *name, const void *data, size_t size);
void test_tar_end(struct efm_buffer *out);

/* The float32 numbers of an NPY file, aligned, owned by the caller (efm_free); its shape into shape[8]. */
float *test_read_npy(const uint8_t *bytes, size_t size, size_t *shape, size_t *rank);

/* Decodes an answer; release it with efm_image_release. */
void test_read_picture(struct efm_image *image, const uint8_t *bytes, size_t size);

/* A whole file of tests/data (path from there), owned by the caller (efm_buffer_release). */
struct efm_buffer test_data_file(const char *path);

#endif
