// SPDX-License-Identifier: Apache-2.0
// Input: a URL. What is allowed is, read naively, a URL of one of the two prefixes, and nothing climbs out of it.
#include "server/jobs/outbound.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char ROOT[] = "http://allowed.example", SETS[] = "https://data.example:8443";

static bool starts(const char *text, const char *prefix)
{
    const size_t length = strlen(prefix);
    return strncasecmp(text, prefix, length) == 0 &&
           (text[length] == '\0' || strchr("/?#", text[length]) != NULL);
}

/* The port may be written out, with zeros before it. */
static bool starts_with_port(const char *text, const char *prefix)
{
    const size_t length = strlen(prefix);
    if (strncasecmp(text, prefix, length) != 0 || text[length] != ':')
        return false;
    text += length + 1;
    text += strspn(text, "0");
    return strncmp(text, "80", 2) == 0 ? starts(text, "80") : *text == '\0' || strchr("/?#", *text) != NULL;
}

static bool is_naive(const char *url)
{
    for (const char *c = url; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~' || *c == '\\')
            return false;
    }
    if (starts(url, ROOT) || starts_with_port(url, ROOT))
        return true;
    // leading zeros of the other port, and dot segments before "sets", are too much for a naive reader
    return strncasecmp(url, SETS, sizeof SETS - 6) == 0 && strstr(url, "sets") != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct srv_outbound_options options = {"http://allowed.example https://data.example:8443/sets",
                                                 "10.0.0.0/8"};
    struct srv_outbound *outbound;
    struct api_problem problem = {0};
    char *text = malloc(size + 1);
    if (text == NULL || srv_outbound_create(&outbound, &options, NULL) != EFM_OK)
        abort();
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    const bool goes = srv_outbound_check(outbound, text, "/url", &problem);
    if (goes != (problem.code == API_P_NONE) || (goes && !is_naive(text)))
        abort();
    srv_outbound_destroy(outbound);
    free(text);
    // prefixes and networks come from an operator, and may be anything all the same
    char *words = malloc(size + 1);
    if (words == NULL)
        abort();
    if (size > 0)
        memcpy(words, data, size);
    words[size] = '\0';
    const struct srv_outbound_options given = {words, words};
    if (srv_outbound_create(&outbound, &given, NULL) == EFM_OK)
        srv_outbound_destroy(outbound);
    free(words);
    return 0;
}
