/* shape.h - what one sample of a domain is: an image or a plain vector.
 *
 * The floats of an image lie in the order [height, width, channels] everywhere in efmd: in memory,
 * in NPY, in JSON and in a model file. Threads: plain values. */
#ifndef EFM_BASE_SHAPE_H
#define EFM_BASE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct efm_shape {
    uint32_t height;   /* 0 for a plain vector */
    uint32_t width;    /* 0 for a plain vector */
    uint32_t channels; /* 1 grey, 3 RGB; 0 for a plain vector */
    size_t dimension;  /* D: height * width * channels, or the length of the vector */
};

static inline bool efm_shape_is_image(const struct efm_shape *shape)
{
    return shape->channels > 0;
}

static inline bool efm_shape_equal(const struct efm_shape *a, const struct efm_shape *b)
{
    return a->height == b->height && a->width == b->width && a->channels == b->channels &&
           a->dimension == b->dimension;
}

static inline struct efm_shape efm_shape_image(uint32_t height, uint32_t width, uint32_t channels)
{
    return (struct efm_shape){height, width, channels, (size_t)height * width * channels};
}

static inline struct efm_shape efm_shape_vector(size_t dimension)
{
    return (struct efm_shape){0, 0, 0, dimension};
}

#endif
