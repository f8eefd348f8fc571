/* range.h - the Range header (RFC 9110, 14.2) for one range of bytes. Threads: pure. */
#ifndef SRV_HTTP_RANGE_H
#define SRV_HTTP_RANGE_H

#include <stdint.h>

enum srv_range {
    SRV_RANGE_WHOLE, /* no range, several, or one that cannot be read: all is sent */
    SRV_RANGE_PART,
    SRV_RANGE_NONE /* one that lies outside: 416 */
};

/* "bytes=0-99", "bytes=100-", "bytes=-50" of a file of `size` bytes;
 * *offset and *length are set for a PART. */
enum srv_range srv_range_parse(const char *header, uint64_t size, uint64_t *offset, uint64_t *length);

#endif
