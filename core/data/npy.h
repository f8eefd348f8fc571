/* npy.h - NumPy arrays in and out: a checked view of NPY bytes, and NPY bytes of floats.
 *
 * Versions 1.0 and 2.0; unsigned bytes (|u1), float32 (<f4) and float64 (<f8) in C order, up to 4
 * dimensions. The header is untrusted: it is read by a small parser of exactly the three keys it may have.
 *
 *     struct efm_npy_view view;
 *     efm_npy_parse(bytes, size, &view, &error);
 *     efm_npy_floats(&view, floats, &error);             view.count of them
 *     efm_npy_write_floats(&out, floats, view.shape, view.rank);
 *
 * Threads: all functions are pure.
 */
#ifndef EFM_DATA_NPY_H
#define EFM_DATA_NPY_H

#include "core/base/buffer.h"
#include "core/base/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    EFM_NPY_MAX_RANK = 4,         /* read */
    EFM_NPY_MAX_WRITTEN_RANK = 5, /* trajectories of images: [n, frames, height, width, channels] */
    EFM_NPY_MAX_HEADER = 65535
};

enum efm_npy_type { EFM_NPY_U8, EFM_NPY_F32, EFM_NPY_F64 };

struct efm_npy_view {
    enum efm_npy_type type;
    size_t rank; /* 0 for a single number */
    size_t shape[EFM_NPY_MAX_RANK];
    size_t count;        /* elements, the product of the shape; may be 0 */
    const uint8_t *data; /* borrowed from the bytes; unaligned */
};

/* EFM_E_FORMAT: not NPY, damaged, truncated, or bytes left over; EFM_E_UNSUPPORTED: another version, type,
 * byte order, more dimensions, Fortran order. */
EFM_MUST_CHECK enum efm_status efm_npy_parse(const uint8_t *bytes, size_t size, struct efm_npy_view *view,
                                             struct efm_error *error);

/* The elements as floats, out [view->count]: bytes become v / 127.5 - 1 as pixels do, other numbers are
 * taken as they are. EFM_E_NUMERIC names the first element that is not finite as a float32. */
EFM_MUST_CHECK enum efm_status efm_npy_floats(const struct efm_npy_view *view, float *out,
                                              struct efm_error *error);

/* Appends version 1.0, float32, C order; the data starts at a multiple of 64 from where the file starts.
 * `rank` <= EFM_NPY_MAX_WRITTEN_RANK. EFM_E_ARGUMENT, or what the buffer says. */
EFM_MUST_CHECK enum efm_status efm_npy_write_floats(struct efm_buffer *out, const float *values,
                                                    const size_t *shape, size_t rank);

#endif
