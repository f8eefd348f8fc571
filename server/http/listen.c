// SPDX-License-Identifier: Apache-2.0
#include "server/http/http_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t fill_address(const char *text, uint16_t port, union address *address)
{
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(port);
        return sizeof address->v4;
    }
    if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(port);
        return sizeof address->v6;
    }
    return 0;
}

enum efm_status srv_listen(const char *address, uint16_t port, int *result, uint16_t *bound,
                           struct efm_error *error)
{
    union address where;
    const int on = 1;
    socklen_t size = fill_address(address, port, &where);
    if (size == 0)
        return efm_error_set(error, EFM_E_ARGUMENT, "\"%.64s\" is not an IPv4 or IPv6 address", address);
    int file = socket(where.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (file < 0)
        return efm_error_set(error, EFM_E_IO, "cannot make a socket for %.64s: %s", address, strerror(errno));
    // Restarts must not wait for old connections to fade; a port in use stays refused.
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    enum efm_status status = EFM_OK;
    if (bind(file, &where.any, size) != 0 || listen(file, SOMAXCONN) != 0 ||
        getsockname(file, &where.any, &size) != 0)
        status = efm_error_set(error, EFM_E_IO, "cannot listen on %.64s port %u: %s", address, (unsigned)port,
                               strerror(errno));
    if (status != EFM_OK) {
        close(file);
        return status;
    }
    *bound = ntohs(where.any.sa_family == AF_INET ? where.v4.sin_port : where.v6.sin6_port);
    *result = file;
    return EFM_OK;
}

/* A client whose handshake ends just when the socket is closed is reset, and what it has sent is lost. So a filter of the
 * kernel's drops the first segment of every handshake, while the socket is still read: who tries to connect tries again,
 * and is refused once the socket is closed. */
bool srv_listen_no_more(int socket)
{
    enum { FLAGS = 13, SYN = 0x02, ACK = 0x10 }; // of a TCP header, which is what the filter of a socket sees
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS),      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    const struct sock_fprog program = {sizeof code / sizeof code[0], code};
    return setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}
