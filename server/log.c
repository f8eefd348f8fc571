// SPDX-License-Identifier: Apache-2.0
#include "server/log.h"

#include "core/base/memory.h"
#include "core/base/words.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 4096 };

struct srv_log {
    enum srv_log_level level;
    int file;
};

static const char *const level_words[] = {"debug", "info", "warning", "error"};
enum { LEVEL_COUNT = sizeof level_words / sizeof level_words[0] };

bool srv_log_level_parse(const char *word, enum srv_log_level *level)
{
    size_t index;
    if (!efm_word_find(level_words, LEVEL_COUNT, word, &index))
        return false;
    *level = (enum srv_log_level)index;
    return true;
}

bool srv_access_log_parse(const char *word, enum srv_access_log *which)
{
    static const char *const words[] = {[SRV_ACCESS_LOG_OFF] = "off",
                                        [SRV_ACCESS_LOG_ON] = "on",
                                        [SRV_ACCESS_LOG_WORK] = "work",
                                        [SRV_ACCESS_LOG_ERRORS] = "errors"};
    size_t index;
    if (!efm_word_find(words, sizeof words / sizeof words[0], word, &index))
        return false;
    *which = (enum srv_access_log)index;
    return true;
}

enum efm_status srv_log_create(struct srv_log **log, enum srv_log_level level, int file,
                               struct efm_error *error)
{
    struct srv_log *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "there is no memory for the log");
    made->level = level;
    made->file = file;
    *log = made;
    return EFM_OK;
}

void srv_log_destroy(struct srv_log *log)
{
    efm_free(log);
}

/* "2025-01-31T12:00:00.123Z" */
static void format_time(char *out, size_t size)
{
    struct timespec now;
    struct tm parts;
    char seconds[24];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out, size, "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
}

void srv_log(struct srv_log *log, enum srv_log_level level, const char *event, const char *members, ...)
{
    if (log == NULL || level < log->level)
        return;
    char line[LINE_SIZE], when[40];
    format_time(when, sizeof when);
    int head = snprintf(line, sizeof line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", when,
                        level_words[level], event);
    if (head < 0 || head > LINE_SIZE / 2)
        return;
    size_t used = (size_t)head;
    if (members != NULL) {
        const size_t room = sizeof line - used - 3; // for the comma, the brace and the line feed
        va_list arguments;
        va_start(arguments, members);
        line[used] = ',';
        int length = vsnprintf(line + used + 1, room, members, arguments);
        va_end(arguments);
        if (length >= 0 && (size_t)length < room)
            used += 1 + (size_t)length;
        else // half of a member is no JSON: say only that there was more
            used += (size_t)snprintf(line + used, room, ",\"truncated\":true");
    }
    line[used++] = '}';
    line[used++] = '\n';
    // A log that cannot be written has nobody to tell.
    ssize_t written = write(log->file, line, used);
    (void)written;
}

/* Bytes of the UTF-8 sequence at `text`, 0 when it is none (also for overlong forms and surrogates). */
static size_t utf8_length(const unsigned char *text)
{
    if (text[0] < 0x80)
        return 1;
    size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

/* One character of `text` as it stands inside of a JSON string; returns the bytes taken from `text`. */
static size_t quote_one(const unsigned char *text, char piece[8])
{
    size_t length = utf8_length(text);
    if (length == 0) {
        memcpy(piece, "\\ufffd", 7);
        return 1;
    }
    if (*text < 0x20 || *text == 0x7f) {
        snprintf(piece, 8, "\\u%04x", *text);
    } else if (*text == '"' || *text == '\\') {
        piece[0] = '\\';
        piece[1] = (char)*text;
        piece[2] = '\0';
    } else {
        memcpy(piece, text, length);
        piece[length] = '\0';
    }
    return length;
}

const char *srv_log_quote(const char *text, char *out, size_t size)
{
    if (size < 3) {
        if (size > 0)
            out[0] = '\0';
        return out;
    }
    size_t used = 0;
    out[used++] = '"';
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        char piece[8];
        size_t taken = quote_one(at, piece);
        size_t length = strlen(piece);
        if (used + length + 2 > size)
            break;
        memcpy(out + used, piece, length);
        used += length;
        at += taken;
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}
