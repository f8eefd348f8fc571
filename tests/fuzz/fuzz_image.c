// SPDX-License-Identifier: Apache-2.0
/* Whatever the bytes, decoding gives a picture of the wanted shape or an error with a message, and what was
 * decoded survives a PNG unchanged. The first byte chooses among shapes and fits, the rest is the file. */
#include "core/image/image.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void check_round_trip(const struct efm_image *image)
{
    struct efm_buffer file = efm_buffer_limited((size_t)1 << 24);
    check(efm_image_encode(&file, image, EFM_IMAGE_PNG, 0, NULL, 0, NULL) == EFM_OK);
    struct efm_image_options options = {.limits = efm_image_limits_default()};
    struct efm_image back;
    check(efm_image_decode(&back, file.data, file.size, &options, NULL) == EFM_OK);
    check(back.width == image->width && back.height == image->height && back.channels == image->channels);
    check(memcmp(back.pixels, image->pixels, (size_t)image->width * image->height * image->channels) == 0);
    efm_image_release(&back);
    efm_buffer_release(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint8_t choice = data[0];
    struct efm_image_options options = {.background = {10, 200, 30},
                                        .limits = {.max_side = 512, .max_pixels = 1 << 16},
                                        .fit = (enum efm_image_fit)(choice % 3)};
    if (choice / 3 % 3 > 0)
        options.shape = efm_shape_image(1 + choice / 9 % 7 * 4, 8, choice / 3 % 3 == 1 ? 1 : 3);
    struct efm_image image;
    struct efm_error error = {0};
    enum efm_status status = efm_image_decode(&image, data + 1, size - 1, &options, &error);
    check(status == error.status);
    check((status == EFM_OK) == (image.pixels != NULL));
    check(status == EFM_OK || error.message[0] != '\0');
    if (status == EFM_OK) {
        check(options.shape.channels == 0 || options.shape.channels == image.channels);
        check_round_trip(&image);
    }
    efm_image_release(&image);
    return 0;
}
