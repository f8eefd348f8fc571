// SPDX-License-Identifier: Apache-2.0
#include "api/parameters.h"

#include "core/base/memory.h"

#include <ctype.h>
#include <string.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { NOT_A_DIGIT = -1 };

static int digit_of(char character)
{
    if (character >= 'A' && character <= 'Z')
        return character - 'A';
    if (character >= 'a' && character <= 'z')
        return character - 'a' + 26;
    if (character >= '0' && character <= '9')
        return character - '0' + 52;
    return character == '+' ? 62 : character == '/' ? 63 : NOT_A_DIGIT;
}

static bool is_skipped(char character)
{
    return character == '\r' || character == '\n' || character == ' ' || character == '\t';
}

/* Bytes of "data:image/png;base64," at the front; 0 when there is no such prefix. False for a data URI of
 * another encoding. */
static bool data_prefix(const char *text, size_t length, size_t *prefix)
{
    *prefix = 0;
    if (length < 5 || strncasecmp(text, "data:", 5) != 0)
        return true;
    size_t bound = length < 256 ? length : 256;
    const char *comma = memchr(text, ',', bound);
    if (comma == NULL || comma - text < 7 || strncasecmp(comma - 7, ";base64", 7) != 0)
        return false;
    *prefix = (size_t)(comma - text) + 1;
    return true;
}

/* Decodes into `out`, which has room for 3/4 of `length`. False with *at where it went wrong. */
static bool decode(const char *text, size_t length, uint8_t *out, size_t *size, size_t *at)
{
    uint32_t bits = 0;
    size_t held = 0, padding = 0, written = 0, i;
    for (i = 0; i < length; i++) {
        if (is_skipped(text[i]))
            continue;
        if (text[i] == '=' && padding < 2) {
            padding++;
            continue;
        }
        int digit = digit_of(text[i]);
        if (digit == NOT_A_DIGIT || padding > 0)
            goto bad;
        bits = bits << 6 | (uint32_t)digit;
        held++;
        if (held == 4) {
            out[written++] = (uint8_t)(bits >> 16);
            out[written++] = (uint8_t)(bits >> 8);
            out[written++] = (uint8_t)bits;
            held = 0;
            bits = 0;
        }
    }
    /* What is left over must be 2 or 3 digits whose unused bits are zero, and padded right if at all. */
    if (held == 1 || (padding > 0 && held + padding != 4) || (held == 2 && (bits & 0xf) != 0) ||
        (held == 3 && (bits & 0x3) != 0))
        goto bad;
    if (held == 2)
        out[written++] = (uint8_t)(bits >> 4);
    if (held == 3) {
        out[written++] = (uint8_t)(bits >> 10);
        out[written++] = (uint8_t)(bits >> 2);
    }
    *size = written;
    return true;
bad:
    *at = i;
    return false;
}

bool api_base64_decode(const char *text, size_t length, uint8_t **out, size_t *size,
                       struct api_problem *problem, const char *pointer)
{
    size_t prefix, at = 0;
    if (!data_prefix(text, length, &prefix))
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                               "is a data: address that does not say base64");
    text += prefix;
    length -= prefix;
    uint8_t *bytes = efm_allocate(length / 4 * 3 + 3);
    if (bytes == NULL)
        return api_problem_set(problem, API_P_NO_MEMORY, pointer, "no memory to decode %zu bytes of base64",
                               length);
    if (!decode(text, length, bytes, size, &at)) {
        efm_free(bytes);
        if (at < length && isprint((unsigned char)text[at]))
            return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                                   "is not base64: '%c' at position %zu", text[at], prefix + at);
        return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer, "is not base64: %s at position %zu",
                               at < length ? "a byte" : "cut off", prefix + at);
    }
    *out = bytes;
    return true;
}

void api_base64_encode(struct efm_buffer *out, const uint8_t *bytes, size_t size)
{
    /* Pieces of a multiple of three bytes, so that only the last one is padded. */
    enum { PIECE = 3 * 256 };
    char text[PIECE / 3 * 4];
    for (size_t done = 0; done < size && out->status == EFM_OK;) {
        size_t piece = size - done < PIECE ? size - done : PIECE, length = 0;
        for (size_t i = 0; i < piece; i += 3) {
            size_t left = piece - i;
            uint32_t bits = (uint32_t)bytes[done + i] << 16;
            if (left > 1)
                bits |= (uint32_t)bytes[done + i + 1] << 8;
            if (left > 2)
                bits |= bytes[done + i + 2];
            text[length++] = ALPHABET[bits >> 18];
            text[length++] = ALPHABET[bits >> 12 & 63];
            text[length++] = left > 1 ? ALPHABET[bits >> 6 & 63] : '=';
            text[length++] = left > 2 ? ALPHABET[bits & 63] : '=';
        }
        efm_buffer_append(out, text, length);
        done += piece;
    }
}
