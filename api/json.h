/* json.h - writing JSON: text that is always valid UTF-8, numbers that read back.
 *
 *     api_json_string(out, name);          "caf\u00e9" with quotes; bytes that are no UTF-8 become U+FFFD
 *     api_json_real(out, 0.1);             17 digits; null for NaN and infinity
 *
 * A failed append stays in out->status. Reading JSON: api_json_parse in parameters.h. Threads: pure. */
#ifndef API_JSON_H
#define API_JSON_H

#include "core/base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The text in quotes, escaped. */
void api_json_string(struct efm_buffer *out, const char *text);

/* Shortest of the forms that read back to the same number; null when it is not finite. */
void api_json_real(struct efm_buffer *out, double value);
void api_json_float(struct efm_buffer *out, float value);

/* [a, b, ...] of `count` floats. */
void api_json_floats(struct efm_buffer *out, const float *values, size_t count);

/* True when the first byte that is not white space is '{'. */
bool api_json_is_object(const uint8_t *bytes, size_t size);

/* Bytes of the UTF-8 sequence that starts at text[0]; 0 when it is none. */
size_t api_utf8_length(const uint8_t *text, size_t size);

#endif
