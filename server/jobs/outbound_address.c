// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/outbound_address.h"

#include "core/base/memory.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { IPV4_AT = 12, IPV4_SIZE = 4, IPV4_BITS = 96 };

#define MAPPED 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255

/* Networks that are not the public internet: the registries of IANA for special purposes (RFC 6890 and those that
 * followed). IPv6 outside of 2000::/3 is not given out at all and is refused without a row of its own. */
static const struct srv_network special[] = {
    {{MAPPED, 0}, IPV4_BITS + 8},             // this network
    {{MAPPED, 10}, IPV4_BITS + 8},            // private
    {{MAPPED, 100, 64}, IPV4_BITS + 10},      // carriers' NAT
    {{MAPPED, 127}, IPV4_BITS + 8},           // loopback
    {{MAPPED, 169, 254}, IPV4_BITS + 16},     // link-local, where clouds keep their metadata
    {{MAPPED, 172, 16}, IPV4_BITS + 12},      // private
    {{MAPPED, 192, 0, 0}, IPV4_BITS + 24},    // protocol assignments
    {{MAPPED, 192, 0, 2}, IPV4_BITS + 24},    // documentation
    {{MAPPED, 192, 88, 99}, IPV4_BITS + 24},  // relays of 6to4
    {{MAPPED, 192, 168}, IPV4_BITS + 16},     // private
    {{MAPPED, 198, 18}, IPV4_BITS + 15},      // benchmarks
    {{MAPPED, 198, 51, 100}, IPV4_BITS + 24}, // documentation
    {{MAPPED, 203, 0, 113}, IPV4_BITS + 24},  // documentation
    {{MAPPED, 224}, IPV4_BITS + 4},           // multicast
    {{MAPPED, 240}, IPV4_BITS + 4},           // reserved, and broadcast
    {{0x20, 0x01, 0x00}, 23},                 // protocol assignments, Teredo among them
    {{0x20, 0x01, 0x0d, 0xb8}, 32},           // documentation
    {{0x3f, 0xff, 0x00}, 20},                 // documentation
};

static const struct srv_network ipv4 = {{MAPPED}, IPV4_BITS};
static const struct srv_network unicast = {{0x20}, 3};
static const struct srv_network nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96};
static const struct srv_network six_to_four = {{0x20, 0x02}, 16};

static bool is_in(const struct srv_network *network, const uint8_t address[SRV_IP_SIZE])
{
    const unsigned whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(network->address, address, whole) != 0)
        return false;
    return rest == 0 || (network->address[whole] ^ address[whole]) >> (8 - rest) == 0;
}

static bool is_in_any(const struct srv_network *networks, size_t count, const uint8_t address[SRV_IP_SIZE])
{
    for (size_t i = 0; i < count; i++) {
        if (is_in(&networks[i], address))
            return true;
    }
    return false;
}

static void map_ipv4(uint8_t out[SRV_IP_SIZE], const void *address)
{
    memcpy(out, ipv4.address, IPV4_AT);
    memcpy(out + IPV4_AT, address, IPV4_SIZE);
}

static bool allow(const struct srv_networks *networks, const uint8_t address[SRV_IP_SIZE])
{
    uint8_t inner[SRV_IP_SIZE];
    if (is_in_any(networks->items, networks->count, address))
        return true;
    if (is_in_any(special, sizeof special / sizeof special[0], address))
        return false;
    if (is_in(&nat64, address)) {
        map_ipv4(inner, address + IPV4_AT);
        return allow(networks, inner);
    }
    if (is_in(&six_to_four, address)) {
        map_ipv4(inner, address + 2);
        return allow(networks, inner);
    }
    return is_in(&ipv4, address) || is_in(&unicast, address);
}

bool srv_networks_allow(const struct srv_networks *networks, const struct sockaddr *address)
{
    uint8_t bytes[SRV_IP_SIZE];
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        map_ipv4(bytes, &in.sin_addr);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof in);
        memcpy(bytes, &in.sin6_addr, sizeof bytes);
    } else {
        return false;
    }
    return allow(networks, bytes);
}

static bool parse_address(const char *text, uint8_t out[SRV_IP_SIZE], bool *is_ipv4)
{
    uint8_t four[IPV4_SIZE];
    *is_ipv4 = inet_pton(AF_INET, text, four) == 1;
    if (*is_ipv4)
        map_ipv4(out, four);
    return *is_ipv4 || inet_pton(AF_INET6, text, out) == 1;
}

bool srv_networks_allow_literal(const struct srv_networks *networks, const char *host)
{
    uint8_t bytes[SRV_IP_SIZE];
    char text[INET6_ADDRSTRLEN];
    bool is_ipv4;
    const bool bracketed = host[0] == '[';
    const size_t length = strcspn(host + bracketed, "]");
    if (length >= sizeof text)
        return !bracketed;
    memcpy(text, host + bracketed, length);
    text[length] = '\0';
    if (!parse_address(text, bytes, &is_ipv4))
        return !bracketed;
    return allow(networks, bytes);
}

/* ---- networks of the operator ---- */

const char *srv_next_word(const char *text, size_t *length)
{
    static const char white[] = " \t\r\n\f\v";
    text += strspn(text, white);
    *length = strcspn(text, white);
    return *length == 0 ? NULL : text;
}

/* A whole number without sign, at most `most`. */
static bool parse_bits(const char *text, unsigned most, unsigned *bits)
{
    *bits = 0;
    if (*text == '\0' || strlen(text) > 3)
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        *bits = *bits * 10 + (unsigned)(*text - '0');
    }
    return *bits <= most;
}

static bool has_bits_past(const struct srv_network *network)
{
    for (unsigned bit = network->bits; bit < 8 * SRV_IP_SIZE; bit++) {
        if ((network->address[bit / 8] >> (7 - bit % 8) & 1) != 0)
            return true;
    }
    return false;
}

static bool parse_network(struct srv_network *network, const char *word, size_t length)
{
    char text[INET6_ADDRSTRLEN + 8];
    bool is_ipv4;
    if (length >= sizeof text)
        return false;
    memcpy(text, word, length);
    text[length] = '\0';
    char *slash = strchr(text, '/');
    if (slash != NULL)
        *slash = '\0';
    if (!parse_address(text, network->address, &is_ipv4))
        return false;
    const unsigned most = is_ipv4 ? 8 * IPV4_SIZE : 8 * SRV_IP_SIZE;
    unsigned bits = most;
    if (slash != NULL && !parse_bits(slash + 1, most, &bits))
        return false;
    network->bits = is_ipv4 ? IPV4_BITS + bits : bits;
    return !has_bits_past(network); // 10.1.2.3/8 is more likely a slip than meant
}

enum efm_status srv_networks_parse(struct srv_networks *networks, const char *text, struct efm_error *error)
{
    size_t length, count = 0;
    *networks = (struct srv_networks){0};
    for (const char *word = srv_next_word(text, &length); word != NULL;
         word = srv_next_word(word + length, &length))
        count++;
    networks->items = efm_allocate_array(count, sizeof *networks->items);
    if (networks->items == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for %zu networks", count);
    for (const char *word = srv_next_word(text, &length); word != NULL;
         word = srv_next_word(word + length, &length)) {
        if (!parse_network(&networks->items[networks->count++], word, length)) {
            srv_networks_release(networks);
            return efm_error_set(error, EFM_E_ARGUMENT, "%.*s is no network as 10.1.0.0/16 or fd00::/8",
                                 length < 80 ? (int)length : 80, word);
        }
    }
    return EFM_OK;
}

void srv_networks_release(struct srv_networks *networks)
{
    efm_free(networks->items);
    *networks = (struct srv_networks){0};
}
