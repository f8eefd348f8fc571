/* log.h - one line of JSON an event on standard error. Never a body, a key, or a whole header.
 * Threads: any; a line is written by one write. */
#ifndef SRV_LOG_H
#define SRV_LOG_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum srv_log_level { SRV_LOG_DEBUG, SRV_LOG_INFO, SRV_LOG_WARNING, SRV_LOG_ERROR };

/* Which requests have a line in the log. */
enum srv_access_log {
    SRV_ACCESS_LOG_OFF,
    SRV_ACCESS_LOG_ON,     /* all */
    SRV_ACCESS_LOG_WORK,   /* all but health and metrics */
    SRV_ACCESS_LOG_ERRORS, /* those that are answered with 400 or more */
};

struct srv_log;

/* "debug", "info", "warning", "error"; false for any other word. */
EFM_MUST_CHECK bool srv_log_level_parse(const char *word, enum srv_log_level *level);

/* "off", "on", "work", "errors"; false for any other word. */
EFM_MUST_CHECK bool srv_access_log_parse(const char *word, enum srv_access_log *which);

EFM_MUST_CHECK enum efm_status srv_log_create(struct srv_log **log, enum srv_log_level level, int file,
                                              struct efm_error *error);
void srv_log_destroy(struct srv_log *log);

/* A NULL log says nothing.
 * {"time":"...","level":"info","event":"listening", ...}. `members` is a printf format of further JSON
 * members without the leading comma ("\"port\":%d"), NULL for none; text from outside goes through
 * srv_log_quote. */
void srv_log(struct srv_log *log, enum srv_log_level level, const char *event, const char *members, ...)
    EFM_PRINTF(4, 5);

/* `text` as a JSON string with quotes into out[size], cut to fit, always valid when size >= 3.
 * Returns out. */
const char *srv_log_quote(const char *text, char *out, size_t size);

#endif
