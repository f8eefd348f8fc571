// SPDX-License-Identifier: Apache-2.0
/* Bytes as an Accept header: what is chosen is offered and not refused. */
#include "tests/fuzz/api_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum api_media offers[] = {API_MEDIA_PNG, API_MEDIA_JPEG, API_MEDIA_WEBP, API_MEDIA_JSON,
                                            API_MEDIA_NPY};
    char type[64];
    char *header = malloc(size + 1);
    if (header == NULL)
        abort();
    memcpy(header, data, size);
    header[size] = '\0';
    enum api_media media = api_accept(header, offers, 5);
    if (media != API_MEDIA_NONE && api_accept_refuses(header, media))
        abort();
    if (api_accept_npy_type(header)[0] == '\0')
        abort();
    api_content_type(header, type, sizeof type);
    free(header);
    return 0;
}
