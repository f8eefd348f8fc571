/* job_internal.h - what the files that write jobs and events share. Not for other rooms. */
#ifndef API_JOB_INTERNAL_H
#define API_JOB_INTERNAL_H

#include "core/base/buffer.h"

/* JSON on one line: without the white space that is outside of its strings. */
void api_job_compact(struct efm_buffer *out, const char *json);

/* Whole Unix seconds; null where the time is not known. */
void api_job_time(struct efm_buffer *out, double seconds);

/* "2026-01-02T03:04:05Z" (RFC 3339) of Unix seconds within the years 1970 to 9999. */
void api_job_timestamp(struct efm_buffer *out, double seconds);

#endif
