// SPDX-License-Identifier: Apache-2.0
#include "server/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool srv_notify(const char *address, const char *message)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    const size_t length = address == NULL ? 0 : strlen(address);
    if (length < 2 || length >= sizeof where.sun_path || (address[0] != '/' && address[0] != '@'))
        return false;
    memcpy(where.sun_path, address, length);
    if (address[0] == '@')
        where.sun_path[0] = '\0';
    const int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (file < 0)
        return false;
    const size_t size = strlen(message);
    const socklen_t where_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    const ssize_t sent =
        sendto(file, message, size, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&where, where_size);
    close(file);
    return sent == (ssize_t)size;
}

/* A whole number above 0; 0 for anything else. */
static unsigned long long read_number(const char *text)
{
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    const unsigned long long number = strtoull(text, &end, 10);
    return *end == '\0' ? number : 0;
}

double srv_notify_watchdog(const char *microseconds, const char *process)
{
    if (process != NULL && read_number(process) != (unsigned long long)getpid())
        return 0;
    return (double)read_number(microseconds) / 2e6;
}
