// SPDX-License-Identifier: Apache-2.0
#include "server/jobs/outbound_url.h"

#include "core/base/memory.h"

#include <string.h>

enum { MAX_DECODINGS = 4 /* of a path that is escaped again and again */ };

void srv_url_release(struct srv_url *url)
{
    curl_free(url->scheme);
    curl_free(url->host);
    curl_free(url->port);
    curl_free(url->path);
    curl_url_cleanup(url->handle);
    *url = (struct srv_url){0};
}

/* libcurl repairs what it can; what needs repair may be read differently by somebody else, and is refused: white
 * space, backslashes, more slashes than two, escapes in a host, anything but ASCII (names are written in their xn-- form). */
static bool is_plain(const char *url)
{
    const size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
                          : strncasecmp(url, "https://", 8) == 0 ? 8
                                                                 : 0;
    if (scheme == 0 || url[scheme] == '/' || url[scheme] == '\0')
        return false;
    size_t length = 0;
    for (; url[length] != '\0'; length++) {
        const char c = url[length];
        if (length >= SRV_URL_MOST || c <= ' ' || c > '~' || c == '\\')
            return false;
    }
    const char *end = url + scheme + strcspn(url + scheme, "/?#");
    return url + scheme + strcspn(url + scheme, "@%") >= end;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes one layer of %xx in place; false when there was none. */
static bool decode_path(char *path)
{
    char *out = path;
    bool found = false;
    for (const char *in = path; *in != '\0'; in++) {
        const int high = in[0] == '%' ? hex_digit(in[1]) : -1;
        const int low = high >= 0 ? hex_digit(in[2]) : -1;
        if (low < 0) {
            *out++ = *in;
            continue;
        }
        found = true;
        *out++ = high == 0 && low == 0 ? '?' : (char)(high * 16 + low); // no NUL: it would end the text
        in += 2;
    }
    *out = '\0';
    return found;
}

/* Is a segment "." or "..", parameters after a ';' apart? */
static bool climbs(const char *path)
{
    while (*path != '\0') {
        const size_t separator = strcspn(path, "/\\");
        const size_t name = strcspn(path, "/\\;");
        if ((name == 1 && path[0] == '.') || (name == 2 && path[0] == '.' && path[1] == '.'))
            return true;
        path += separator + (path[separator] != '\0');
    }
    return false;
}

/* libcurl takes "." and ".." out of a path; a server may see more of them, once it has undone escapes. */
static enum efm_status check_path(const char *path, struct efm_error *error)
{
    enum efm_status status = EFM_OK;
    bool decoded = true;
    char *copy = efm_copy_string(path);
    if (copy == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to check a URL");
    for (int i = 0; i <= MAX_DECODINGS && decoded && status == EFM_OK; i++) {
        if (climbs(copy))
            status = efm_error_set(error, EFM_E_ARGUMENT, "the path has hidden dot segments");
        decoded = decode_path(copy);
    }
    if (status == EFM_OK && decoded)
        status = efm_error_set(error, EFM_E_ARGUMENT, "the path is escaped too often");
    efm_free(copy);
    return status;
}

static enum efm_status from_library(CURLUcode code, struct efm_error *error)
{
    if (code == CURLUE_OK)
        return EFM_OK;
    if (code == CURLUE_OUT_OF_MEMORY)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to check a URL");
    return efm_error_set(error, EFM_E_ARGUMENT, "it is no URL: %s", curl_url_strerror(code));
}

enum efm_status srv_url_parse(struct srv_url *url, const char *text, struct efm_error *error)
{
    *url = (struct srv_url){0};
    if (!is_plain(text))
        return efm_error_set(
            error, EFM_E_ARGUMENT,
            "it must begin with http:// or https:// and a host, without user information and escapes, and be "
            "printable ASCII without spaces and backslashes, at most %d bytes",
            SRV_URL_MOST);
    url->handle = curl_url();
    if (url->handle == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to check a URL");
    CURLUcode code = curl_url_set(url->handle, CURLUPART_URL, text, CURLU_DISALLOW_USER);
    if (code == CURLUE_OK)
        code = curl_url_get(url->handle, CURLUPART_SCHEME, &url->scheme, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(url->handle, CURLUPART_HOST, &url->host, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(url->handle, CURLUPART_PORT, &url->port, CURLU_DEFAULT_PORT);
    if (code == CURLUE_OK)
        code = curl_url_get(url->handle, CURLUPART_PATH, &url->path, 0);
    enum efm_status status = from_library(code, error);
    if (status == EFM_OK && (url->host[0] == '\0' || strcmp(url->port, "0") == 0))
        status = efm_error_set(error, EFM_E_ARGUMENT, "its host or port is none");
    if (status == EFM_OK)
        status = check_path(url->path, error);
    if (status != EFM_OK)
        srv_url_release(url);
    return status;
}

bool srv_url_begins_with(const struct srv_url *url, const struct srv_url_prefix *prefix)
{
    if (strcmp(url->scheme, prefix->url.scheme) != 0 || strcasecmp(url->host, prefix->url.host) != 0 ||
        strcmp(url->port, prefix->url.port) != 0 || strncmp(url->path, prefix->url.path, prefix->path) != 0)
        return false;
    const char after = url->path[prefix->path];
    return after == '/' || after == '\0';
}

enum efm_status srv_url_prefix_parse(struct srv_url_prefix *prefix, const char *word, size_t length,
                                     struct efm_error *error)
{
    struct efm_error reason = {0};
    char text[SRV_URL_MOST + 1];
    if (length >= sizeof text)
        return efm_error_set(error, EFM_E_ARGUMENT, "a prefix of %zu bytes is too long", length);
    memcpy(text, word, length);
    text[length] = '\0';
    if (strpbrk(text, "?#") != NULL)
        return efm_error_set(error, EFM_E_ARGUMENT, "the prefix %.100s has a query or a fragment", text);
    enum efm_status status = srv_url_parse(&prefix->url, text, &reason);
    if (status != EFM_OK)
        return efm_error_set(error, status, "the prefix %.60s is refused: %.160s",
                             strchr(text, '@') == NULL ? text : "with an '@'", reason.message);
    prefix->path = strlen(prefix->url.path);
    while (prefix->path > 0 && prefix->url.path[prefix->path - 1] == '/')
        prefix->path--;
    return EFM_OK;
}
