/* trace.h - the traceparent header of W3C Trace Context, read strictly.
 *
 *     char traceparent[SRV_TRACEPARENT_SIZE];
 *     if (srv_trace_parse(header, traceparent))
 *         printf("trace %.32s\n", srv_trace_id(traceparent));
 *
 * Threads: any; plain functions. */
#ifndef SRV_HTTP_TRACE_H
#define SRV_HTTP_TRACE_H

#include <stdbool.h>

enum { SRV_TRACEPARENT_SIZE = 56, SRV_TRACE_ID_LENGTH = 32 };

/* "00-<32 lower hex>-<16 lower hex>-<2 hex>" without an id of zeros, copied as it is. A header of a later
 * version counts by its first four fields, whatever follows them after a dash, and is written down as version
 * 00 with the one flag that version 00 knows. Anything else: false, and "" in `traceparent`. */
bool srv_trace_parse(const char *header, char traceparent[SRV_TRACEPARENT_SIZE]);

/* Where the SRV_TRACE_ID_LENGTH characters of the trace id begin, in what srv_trace_parse wrote; "" of "". */
const char *srv_trace_id(const char *traceparent);

#endif
