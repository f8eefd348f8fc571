/* outbound_address.h - which addresses of the internet protocols may be connected to: public ones, and those in networks that the
 * operator allowed. What hides an IPv4 address (mapped, 6to4, NAT64) is judged by that address. Threads: pure. */
#ifndef SRV_JOBS_OUTBOUND_ADDRESS_H
#define SRV_JOBS_OUTBOUND_ADDRESS_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SRV_IP_SIZE = 16 };

struct srv_network {
    uint8_t address[SRV_IP_SIZE]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;                /* of the prefix, 0..128 */
};

struct srv_networks {
    struct srv_network *items; /* owned */
    size_t count;
};

/* CIDR with white space between; an address alone is a network of one. EFM_E_ARGUMENT names the one that is none. */
EFM_MUST_CHECK enum efm_status srv_networks_parse(struct srv_networks *networks, const char *text,
                                                  struct efm_error *error);
void srv_networks_release(struct srv_networks *networks);

struct sockaddr;
bool srv_networks_allow(const struct srv_networks *networks, const struct sockaddr *address);

/* The same for a host written as an address (IPv6 with its brackets); every other host is allowed here. */
bool srv_networks_allow_literal(const struct srv_networks *networks, const char *host);

/* The next run of characters that are no white space, NULL at the end; *length is its size. */
const char *srv_next_word(const char *text, size_t *length);

#endif
