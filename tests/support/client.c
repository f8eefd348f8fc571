// SPDX-License-Identifier: Apache-2.0
#include "tests/support/client.h"

#include "tests/support/check.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_PARALLEL = 512 };

struct growing {
    char *data;
    size_t size;
};

/* One request under way. */
struct transfer {
    CURL *easy;
    curl_mime *form;
    struct curl_slist *headers;
    struct growing head, body;
    char url[1024];
};

static size_t collect(char *data, size_t unit, size_t count, void *context)
{
    struct growing *growing = context;
    char *larger = realloc(growing->data, growing->size + unit * count + 1);
    if (larger == NULL)
        return 0;
    memcpy(larger + growing->size, data, unit * count);
    growing->data = larger;
    growing->size += unit * count;
    larger[growing->size] = '\0';
    return unit * count;
}

static size_t collect_header(char *data, size_t unit, size_t count, void *context)
{
    struct growing *growing = context;
    if (unit * count > 5 && memcmp(data, "HTTP/", 5) == 0)
        growing->size = 0; // an interim answer came before
    return collect(data, unit, count, context);
}

static void add_header(struct transfer *transfer, const char *line)
{
    struct curl_slist *longer = curl_slist_append(transfer->headers, line);
    assert_non_null(longer);
    transfer->headers = longer;
}

static void set_body(struct transfer *transfer, const struct test_request *request)
{
    if (request->part_count > 0) {
        transfer->form = curl_mime_init(transfer->easy);
        for (size_t i = 0; i < request->part_count; ++i) {
            const struct test_part *part = &request->parts[i];
            curl_mimepart *field = curl_mime_addpart(transfer->form);
            curl_mime_name(field, part->name);
            curl_mime_data(field, part->data, part->size);
            if (part->filename != NULL)
                curl_mime_filename(field, part->filename);
            if (part->type != NULL)
                curl_mime_type(field, part->type);
        }
        curl_easy_setopt(transfer->easy, CURLOPT_MIMEPOST, transfer->form);
    } else if (request->body != NULL || request->size > 0) {
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->size);
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, request->body);
    } else if (request->method != NULL && strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, "");
    }
}

static void begin(struct transfer *transfer, const struct test_daemon *daemon,
                  const struct test_request *request)
{
    char line[512];
    memset(transfer, 0, sizeof *transfer);
    transfer->easy = curl_easy_init();
    assert_non_null(transfer->easy);
    assert_true(snprintf(transfer->url, sizeof transfer->url, "%s%s", daemon->url, request->path) <
                (int)sizeof transfer->url);
    curl_easy_setopt(transfer->easy, CURLOPT_URL, transfer->url);
    curl_easy_setopt(transfer->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(transfer->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(transfer->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(transfer->easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 5000L);
    curl_easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(transfer->easy, CURLOPT_WRITEDATA, &transfer->body);
    curl_easy_setopt(transfer->easy, CURLOPT_HEADERFUNCTION, collect_header);
    curl_easy_setopt(transfer->easy, CURLOPT_HEADERDATA, &transfer->head);
    double timeout = (request->timeout > 0 ? request->timeout : 60) * test_patience();
    curl_easy_setopt(transfer->easy, CURLOPT_TIMEOUT_MS, (long)(timeout * 1000));
    set_body(transfer, request);
    if (request->method != NULL)
        curl_easy_setopt(transfer->easy, CURLOPT_CUSTOMREQUEST, request->method);
    if (request->method != NULL && strcmp(request->method, "HEAD") == 0)
        curl_easy_setopt(transfer->easy, CURLOPT_NOBODY, 1L);
    if (request->accept != NULL) {
        snprintf(line, sizeof line, "Accept: %s", request->accept);
        add_header(transfer, line);
    }
    if (request->type != NULL) {
        snprintf(line, sizeof line, "Content-Type: %s", request->type);
        add_header(transfer, line);
    } else if (request->part_count == 0) {
        add_header(transfer, "Content-Type:");
    }
    for (const char *header = request->header; header != NULL;) {
        const char *end = strchr(header, '\n');
        const int length = end == NULL ? (int)strlen(header) : (int)(end - header);
        assert_true(length < (int)sizeof line);
        snprintf(line, sizeof line, "%.*s", length, header);
        add_header(transfer, line);
        header = end == NULL ? NULL : end + 1;
    }
    curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
}

static void finish(struct transfer *transfer, struct test_reply *reply)
{
    long status = 0;
    memset(reply, 0, sizeof *reply);
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    reply->status = (int)status;
    reply->headers = transfer->head.data != NULL ? transfer->head.data : calloc(1, 1);
    reply->body = transfer->body.data != NULL ? (uint8_t *)transfer->body.data : calloc(1, 1);
    reply->size = transfer->body.size;
    curl_mime_free(transfer->form);
    curl_slist_free_all(transfer->headers);
    curl_easy_cleanup(transfer->easy);
}

bool test_send_quietly(const struct test_daemon *daemon, const struct test_request *request,
                       struct test_reply *reply)
{
    struct transfer transfer;
    begin(&transfer, daemon, request);
    CURLcode result = curl_easy_perform(transfer.easy);
    finish(&transfer, reply);
    // a server may answer and close before it has read the whole body
    return result == CURLE_OK ||
           ((result == CURLE_SEND_ERROR || result == CURLE_RECV_ERROR) && reply->status >= 400);
}

void test_send(const struct test_daemon *daemon, const struct test_request *request, struct test_reply *reply)
{
    if (!test_send_quietly(daemon, request, reply)) {
        test_daemon_show_log(daemon);
        fail_msg("%s %s: no answer", request->method != NULL ? request->method : "GET or POST",
                 request->path);
    }
}

void test_send_all(const struct test_daemon *daemon, const struct test_request *requests, size_t count,
                   struct test_reply *replies)
{
    assert_true(count <= MAX_PARALLEL);
    struct transfer *transfers = calloc(count, sizeof *transfers);
    CURLM *multi = curl_multi_init();
    assert_true(transfers != NULL && multi != NULL);
    for (size_t i = 0; i < count; ++i) {
        begin(&transfers[i], daemon, &requests[i]);
        curl_easy_setopt(transfers[i].easy, CURLOPT_FORBID_REUSE, 1L);
        curl_multi_add_handle(multi, transfers[i].easy);
    }
    int running = 1;
    while (running > 0) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            break;
        if (running > 0)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    for (size_t i = 0; i < count; ++i) {
        curl_multi_remove_handle(multi, transfers[i].easy);
        finish(&transfers[i], &replies[i]);
    }
    curl_multi_cleanup(multi);
    free(transfers);
}

void test_reply_release(struct test_reply *reply)
{
    free(reply->headers);
    free(reply->body);
    memset(reply, 0, sizeof *reply);
}

const char *test_reply_header(const struct test_reply *reply, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);
    out[0] = '\0';
    for (const char *line = reply->headers; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            const char *value = line + length + 1 + strspn(line + length + 1, " \t");
            snprintf(out, size, "%.*s", (int)strcspn(value, "\r\n"), value);
            break;
        }
    }
    return out;
}

json_t *test_reply_json(const struct test_reply *reply)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)reply->body, reply->size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        fail_msg("the answer is not JSON: %s: %.200s", error.text, (const char *)reply->body);
    return json;
}

void test_expect(const struct test_reply *reply, int status, const char *media_type)
{
    char type[128];
    test_reply_header(reply, "Content-Type", type, sizeof type);
    type[strcspn(type, ";")] = '\0';
    bool is_text = strstr(type, "json") != NULL || strncmp(type, "text/", 5) == 0;
    if (reply->status != status)
        fail_msg("status %d instead of %d: %.500s", reply->status, status,
                 is_text ? (const char *)reply->body : type);
    if (media_type != NULL && strcmp(type, media_type) != 0)
        fail_msg("media type %s instead of %s: %.500s", type, media_type,
                 is_text ? (const char *)reply->body : "");
}

void test_expect_request(const struct test_daemon *daemon, const struct test_request *request, int status)
{
    struct test_reply reply;
    test_send(daemon, request, &reply);
    if (reply.status != status)
        print_error("%s\n", request->path);
    test_expect(&reply, status, NULL);
    test_reply_release(&reply);
}

int test_connect(const struct test_daemon *daemon)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)daemon->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(connection >= 0);
    assert_int_equal(connect(connection, (const struct sockaddr *)&address, sizeof address), 0);
    return connection;
}

void test_write(int connection, const void *bytes, size_t size)
{
    const char *next = bytes;
    while (size > 0) {
        ssize_t count = send(connection, next, size, MSG_NOSIGNAL);
        if (count <= 0)
            return; // the other side has closed: what it said is still to be read
        next += count;
        size -= (size_t)count;
    }
}

void test_read_reply(int connection, struct test_reply *reply, double seconds)
{
    struct growing all = {0};
    double give_up = test_now() + seconds * test_patience();
    char block[4096];
    while (test_now() < give_up) {
        struct pollfd wait = {.fd = connection, .events = POLLIN};
        if (poll(&wait, 1, 50) <= 0)
            continue;
        ssize_t count = recv(connection, block, sizeof block, 0);
        if (count <= 0 || collect(block, 1, (size_t)count, &all) == 0)
            break;
    }
    memset(reply, 0, sizeof *reply);
    reply->headers = all.data != NULL ? all.data : calloc(1, 1);
    reply->body = calloc(1, 1);
    char *gap = strstr(reply->headers, "\r\n\r\n");
    if (gap != NULL) {
        free(reply->body);
        reply->size = all.size - (size_t)(gap + 4 - reply->headers);
        reply->body = malloc(reply->size + 1);
        assert_non_null(reply->body);
        memcpy(reply->body, gap + 4, reply->size + 1);
        gap[2] = '\0';
    }
    if (strncmp(reply->headers, "HTTP/1.", 7) == 0 && strlen(reply->headers) > 12)
        reply->status = (int)strtol(reply->headers + 9, NULL, 10);
}
