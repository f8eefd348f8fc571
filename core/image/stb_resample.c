// SPDX-License-Identifier: Apache-2.0
/* The only file that knows stb. Built without warnings and without fused multiply-add, so that the plain C
 * of stb gives the same bytes on every processor. Both generations of the header are served; the older comes
 * first so that a machine that has both keeps its results. */
#include "core/image/image_internal.h"

#include "core/base/memory.h"

#define STBIR_MALLOC(size, context) ((void)(context), efm_allocate(size))
#define STBIR_FREE(block, context) ((void)(context), efm_free(block))

#if __has_include(<stb/stb_image_resize.h>)
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
#include <stb/stb_image_resize.h>
#define STB_GENERATION 1
#elif __has_include(<stb_image_resize.h>)
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
#include <stb_image_resize.h>
#define STB_GENERATION 1
#else
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
#define STBIR_NO_SIMD
#if __has_include(<stb/stb_image_resize2.h>)
#include <stb/stb_image_resize2.h>
#else
#include <stb_image_resize2.h>
#endif
#define STB_GENERATION 2
#endif

/* Mitchell shrinks without rings. Catmull-Rom grows sharply and is the identity along a side that stays. */
static stbir_filter choose_filter(uint32_t from, uint32_t to)
{
    return to < from ? STBIR_FILTER_MITCHELL : STBIR_FILTER_CATMULLROM;
}

bool efm_resample(const struct efm_view *target, const struct efm_view *source, uint32_t channels)
{
    stbir_filter across = choose_filter(source->width, target->width);
    stbir_filter down = choose_filter(source->height, target->height);
#if STB_GENERATION == 1
    return stbir_resize(source->pixels, (int)source->width, (int)source->height, (int)source->stride,
                        target->pixels, (int)target->width, (int)target->height, (int)target->stride,
                        STBIR_TYPE_UINT8, (int)channels, STBIR_ALPHA_CHANNEL_NONE, 0, STBIR_EDGE_CLAMP,
                        STBIR_EDGE_CLAMP, across, down, STBIR_COLORSPACE_LINEAR, NULL) != 0;
#else
    STBIR_RESIZE resize;
    stbir_resize_init(&resize, source->pixels, (int)source->width, (int)source->height, (int)source->stride,
                      target->pixels, (int)target->width, (int)target->height, (int)target->stride,
                      channels == 1 ? STBIR_1CHANNEL : STBIR_RGB, STBIR_TYPE_UINT8);
    stbir_set_edgemodes(&resize, STBIR_EDGE_CLAMP, STBIR_EDGE_CLAMP);
    stbir_set_filters(&resize, across, down);
    return stbir_resize_extended(&resize) != 0;
#endif
}
