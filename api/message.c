// SPDX-License-Identifier: Apache-2.0
#include "api/message.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void api_reply_init(struct api_reply *reply, size_t limit)
{
    *reply = (struct api_reply){.status = 200, .body = efm_buffer_limited(limit)};
}

void api_reply_release(struct api_reply *reply)
{
    efm_buffer_release(&reply->body);
    reply->header_count = 0;
}

static void strip_control(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++)
        if ((unsigned char)*from >= 0x20 && *from != 0x7f)
            *to++ = *from;
    *to = '\0';
}

void api_reply_header(struct api_reply *reply, const char *name, const char *format, ...)
{
    if (reply->header_count == API_REPLY_HEADERS)
        return;
    struct api_header *header = &reply->headers[reply->header_count];
    const int length = snprintf(header->name, sizeof header->name, "%s", name);
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(header->value, sizeof header->value, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof header->name || size < 0 ||
        (size_t)size >= sizeof header->value)
        return;
    strip_control(header->name);
    strip_control(header->value);
    reply->header_count++;
}

const struct api_header *api_reply_find(const struct api_reply *reply, const char *name)
{
    for (size_t i = 0; i < reply->header_count; i++) {
        if (strcasecmp(reply->headers[i].name, name) == 0)
            return &reply->headers[i];
    }
    return NULL;
}

void api_content_type(const char *header, char *out, size_t size)
{
    size_t length = 0;
    while (*header == ' ' || *header == '\t')
        header++;
    while (length + 1 < size && header[length] != '\0' && strchr("; \t,", header[length]) == NULL) {
        out[length] = (char)tolower((unsigned char)header[length]);
        length++;
    }
    out[length] = '\0';
}
