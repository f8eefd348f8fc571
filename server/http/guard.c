// SPDX-License-Identifier: Apache-2.0
#include "server/http/guard.h"

#include "core/base/memory.h"
#include "server/http/guard_keys.h"
#include "server/http/secret_file.h"
#include "server/log.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

enum { CLIENTS = 4096, LOOK_SECONDS = 1, WORDS_MOST = 32, WORD_SIZE = 128 };

struct word_list {
    char words[WORDS_MOST][WORD_SIZE];
    size_t count;
};

struct client {
    char name[SRV_CLIENT_SIZE];
    size_t requests; /* 0: the place is free */
};

struct srv_guard {
    struct word_list hosts, origins;
    bool any_origin, any_host, loopback, admin_open;
    struct srv_log *log;
    size_t client_requests;
    char keys_file[512];
    pthread_mutex_t lock; /* of all below */
    struct srv_keys keys;
    struct stat seen; /* the file of keys as it was read, or refused */
    bool lost;        /* and gone since */
    time_t looked;
    struct client *clients; /* [CLIENTS], open addressing */
};

/* ---- words of the options ---- */

static enum efm_status parse_words(struct word_list *list, const char *text, bool (*good)(const char *word),
                                   const char *noun, struct efm_error *error)
{
    while (*(text += strspn(text, " \t,")) != '\0') {
        const size_t length = strcspn(text, " \t,");
        if (list->count == WORDS_MOST || length >= WORD_SIZE)
            return efm_error_set(error, EFM_E_ARGUMENT, "there are too many of %s, or one is too long", noun);
        char *word = list->words[list->count];
        for (size_t i = 0; i < length; i++)
            word[i] = (char)tolower((unsigned char)text[i]);
        word[length] = '\0';
        if (!good(word))
            return efm_error_set(error, EFM_E_ARGUMENT, "'%s' is none of %s", word, noun);
        list->count++;
        text += length;
    }
    return EFM_OK;
}

static bool is_host(const char *word)
{
    return word[0] != '\0' && strpbrk(word, "/@?#\\") == NULL;
}

/* One that a Host header can have before its port: anything else would be taken here and never be met. */
static bool is_own_name(const char *word)
{
    const size_t length = strlen(word);
    const bool bracketed = length > 2 && word[0] == '[' && strcspn(word, "]") == length - 1;
    return is_host(word) && strchr(word, '*') == NULL && (bracketed || strpbrk(word, ":[]") == NULL);
}

static bool is_origin(const char *word)
{
    if (strcmp(word, "*") == 0)
        return true;
    const char *host = strncmp(word, "https://", 8) == 0  ? word + 8
                       : strncmp(word, "http://", 7) == 0 ? word + 7
                                                          : "";
    return is_host(host);
}

static bool lists(const struct word_list *list, const char *word)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcasecmp(list->words[i], word) == 0)
            return true;
    return false;
}

/* ---- the file of keys ---- */

/* (locked, or at creation) Puts what the file says in place of what was read before; on failure that stays. */
static enum efm_status read_keys(struct srv_guard *guard, struct efm_error *error)
{
    struct efm_buffer text;
    struct srv_keys keys = {0};
    struct stat facts;
    enum efm_status status = srv_secret_file_read(&text, guard->keys_file, "the file of keys", &facts, error);
    if (status == EFM_OK)
        status = srv_keys_parse(&keys, (const char *)text.data, text.size, error);
    srv_secret_file_release(&text);
    if (status != EFM_OK)
        return status;
    srv_keys_release(&guard->keys);
    guard->keys = keys;
    guard->seen = facts;
    return EFM_OK;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Copies keep the time and often have the size, and are told by the file that they are and when it was last touched, which is
 * also when somebody let us read it. */
static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

static void log_refusal(const struct srv_guard *guard, const char *message)
{
    char quoted[2 * sizeof((struct efm_error *)NULL)->message];
    srv_log(guard->log, SRV_LOG_ERROR, "keys_refused", "\"error\":%s",
            srv_log_quote(message, quoted, sizeof quoted));
}

/* (locked) Whatever is wrong with the file leaves the keys as they were: half of it must not lock everybody out, or let anybody
 * in. Said once, until it changes again. */
static void look_at_file(struct srv_guard *guard)
{
    struct stat facts;
    struct efm_error error = {0};
    const time_t now = time(NULL);
    if (guard->keys_file[0] == '\0' || now - guard->looked < LOOK_SECONDS)
        return;
    guard->looked = now;
    const bool lost = stat(guard->keys_file, &facts) != 0, was_lost = guard->lost;
    guard->lost = lost;
    if (lost && !was_lost)
        log_refusal(guard, "the file of keys is not there");
    if (lost || (!was_lost && same_file(&facts, &guard->seen)))
        return;
    if (read_keys(guard, &error) == EFM_OK) {
        srv_log(guard->log, SRV_LOG_INFO, "keys_read", "\"keys\":%zu", guard->keys.count);
        return;
    }
    guard->seen = facts;
    log_refusal(guard, error.message);
}

/* ---- life ---- */

enum efm_status srv_guard_create(struct srv_guard **guard, const struct srv_guard_options *options,
                                 struct efm_error *error)
{
    struct srv_guard *made = efm_allocate_array(1, sizeof *made);
    *guard = NULL;
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the guard");
    pthread_mutex_init(&made->lock, NULL);
    made->loopback = options->loopback;
    made->admin_open = options->admin_open;
    made->client_requests = options->client_requests;
    made->log = options->log;
    made->clients = efm_allocate_array(CLIENTS, sizeof *made->clients);
    snprintf(made->keys_file, sizeof made->keys_file, "%s", options->keys_file);
    enum efm_status status =
        made->clients == NULL ? efm_error_set(error, EFM_E_MEMORY, "no memory for the guard") : EFM_OK;
    made->any_host = options->hosts[0] == '\0' && !options->loopback;
    if (status == EFM_OK)
        status = parse_words(&made->hosts, options->hosts, is_own_name,
                             "the host names, which have no port and no '*'", error);
    if (status == EFM_OK)
        status = parse_words(&made->origins, options->origins, is_origin, "the origins", error);
    if (status == EFM_OK && made->keys_file[0] != '\0')
        status = read_keys(made, error);
    made->any_origin = lists(&made->origins, "*");
    if (status != EFM_OK) {
        srv_guard_destroy(made);
        return status;
    }
    *guard = made;
    return EFM_OK;
}

void srv_guard_destroy(struct srv_guard *guard)
{
    if (guard == NULL)
        return;
    srv_keys_release(&guard->keys);
    efm_free(guard->clients);
    pthread_mutex_destroy(&guard->lock);
    efm_free(guard);
}

bool srv_guard_has_keys(struct srv_guard *guard)
{
    return guard->keys_file[0] != '\0';
}

int64_t srv_guard_next_expiry(struct srv_guard *guard)
{
    const int64_t now = (int64_t)time(NULL);
    int64_t next = INT64_MAX;
    pthread_mutex_lock(&guard->lock);
    for (size_t i = 0; i < guard->keys.count; i++) {
        const int64_t expires = guard->keys.items[i].expires;
        if (expires > now && expires < next)
            next = expires;
    }
    pthread_mutex_unlock(&guard->lock);
    return next;
}

/* ---- names and pages ---- */

/* The name in a Host header without its port. */
static bool host_name(const char *header, char out[WORD_SIZE])
{
    const size_t length = header[0] == '[' ? strcspn(header, "]") + 1 : strcspn(header, ":");
    if (length == 0 || length >= WORD_SIZE || length > strlen(header))
        return false;
    const char *port = header + length;
    if (*port == ':')
        port++;
    else if (*port != '\0')
        return false;
    if (port[strspn(port, "0123456789")] != '\0')
        return false;
    memcpy(out, header, length);
    out[length] = '\0';
    return true;
}

static bool is_address(const char *name)
{
    struct in6_addr address;
    char inner[WORD_SIZE];
    if (name[0] != '[')
        return inet_pton(AF_INET, name, &address) == 1;
    snprintf(inner, sizeof inner, "%s", name + 1);
    inner[strcspn(inner, "]")] = '\0';
    return inet_pton(AF_INET6, inner, &address) == 1;
}

/* Whether a stranger's page cannot come to be under that Host: it takes a name that its owner can point here. */
static bool is_own_host(const struct srv_guard *guard, const char *header)
{
    char name[WORD_SIZE];
    return host_name(header, name) &&
           (is_address(name) || strcasecmp(name, "localhost") == 0 || lists(&guard->hosts, name));
}

static bool check_host(const struct srv_guard *guard, const char *header, struct api_problem *problem)
{
    return guard->any_host || is_own_host(guard, header) ||
           api_problem_set(problem, API_P_MISDIRECTED, NULL,
                           "the Host header names none of the hosts that this server is (see --allow-host)");
}

/* A page that the server itself gave may ask it. Under any other name the page may be a stranger's who has pointed that name
 * here. */
static bool is_own_origin(const struct srv_guard *guard, const struct srv_guard_request *request)
{
    const char *scheme = request->tls ? "https://" : "http://";
    const size_t length = strlen(scheme);
    return strncasecmp(request->origin, scheme, length) == 0 &&
           strcasecmp(request->origin + length, request->host) == 0 && is_own_host(guard, request->host);
}

static bool check_origin(const struct srv_guard *guard, const struct srv_guard_request *request,
                         struct srv_guard_pass *pass, struct api_problem *problem)
{
    pass->cors = false;
    if (request->origin[0] == '\0') {
        if (strcasecmp(request->fetch_site, "cross-site") != 0 || guard->any_origin)
            return true;
    } else if (is_own_origin(guard, request)) {
        return true;
    } else if (guard->any_origin || lists(&guard->origins, request->origin)) {
        pass->cors = true;
        return true;
    }
    return api_problem_set(
        problem, API_P_FOREIGN_ORIGIN, NULL,
        "pages of other origins may not ask this server (see --cors-origin and --allow-host)");
}

/* ---- keys ---- */

/* What follows "Bearer "; "" when there is nothing of the kind. */
static const char *bearer_token(const char *header)
{
    if (strncasecmp(header, "Bearer", 6) != 0 || (header[6] != ' ' && header[6] != '\t'))
        return "";
    return header + 6 + strspn(header + 6, " \t");
}

static bool check_without_keys(const struct srv_guard *guard, enum srv_scope scope,
                               struct srv_guard_pass *pass, const char **reason, struct api_problem *problem)
{
    pass->admin = guard->loopback || guard->admin_open;
    if (scope != SRV_SCOPE_ADMIN || pass->admin)
        return true;
    *reason = "admin";
    return api_problem_set(
        problem, API_P_FORBIDDEN, NULL,
        "this server can be reached from outside and has no keys: give it --api-keys-file, or "
        "--admin open when something before it checks who asks");
}

static bool refuse_key(const char *word, const char *text, const char **reason, struct api_problem *problem)
{
    *reason = word;
    return api_problem_set(problem, API_P_UNAUTHORIZED, NULL, "%s", text);
}

static bool check_key(struct srv_guard *guard, const struct srv_guard_request *request, enum srv_scope scope,
                      struct srv_guard_pass *pass, const char **reason, struct api_problem *problem)
{
    const char *token = bearer_token(request->authorization);
    struct srv_key key = {0};
    if (scope == SRV_SCOPE_OPEN)
        return true;
    if (!srv_guard_has_keys(guard))
        return check_without_keys(guard, scope, pass, reason, problem);
    if (token[0] == '\0')
        return refuse_key("no_key", "send a key: Authorization: Bearer KEY", reason, problem);
    pthread_mutex_lock(&guard->lock);
    look_at_file(guard);
    const struct srv_key *found = srv_keys_find(&guard->keys, token);
    if (found != NULL)
        key = *found;
    pthread_mutex_unlock(&guard->lock);
    if (found == NULL)
        return refuse_key("wrong_key", "the key is not one of this server's", reason, problem);
    if (time(NULL) >= key.expires)
        return refuse_key("expired_key", "the key has expired", reason, problem);
    snprintf(pass->client, sizeof pass->client, "key:%s", key.name);
    pass->admin = key.admin;
    if (scope == SRV_SCOPE_ADMIN ? key.admin : key.infer || key.admin)
        return true;
    *reason = "scope";
    return api_problem_set(problem, API_P_FORBIDDEN, NULL, "the key is not for this: it takes the scope %s",
                           scope == SRV_SCOPE_ADMIN ? "admin" : "infer");
}

bool srv_guard_check(struct srv_guard *guard, const struct srv_guard_request *request, enum srv_scope scope,
                     struct srv_guard_pass *pass, const char **reason, struct api_problem *problem)
{
    *pass = (struct srv_guard_pass){0};
    snprintf(pass->client, sizeof pass->client, "%.60s", request->address);
    *reason = "host";
    if (!request->probe && !check_host(guard, request->host, problem))
        return false;
    *reason = "origin";
    if (!check_origin(guard, request, pass, problem))
        return false;
    return check_key(guard, request, scope, pass, reason, problem);
}

/* ---- the share of one client ---- */

static size_t place_of(const char *client)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    for (; *client != '\0'; client++)
        hash = (hash ^ (unsigned char)*client) * 1099511628211u;
    return (size_t)(hash % CLIENTS);
}

/* (locked) The client's place, or a free one; NULL when all are taken. Places are freed in any order, so the search goes on past
 * free ones: a bounded number of steps. */
static struct client *find_client(struct srv_guard *guard, const char *name)
{
    enum { STEPS = 64 };
    struct client *free_place = NULL;
    const size_t first = place_of(name);
    for (size_t step = 0; step < STEPS; step++) {
        struct client *client = &guard->clients[(first + step) % CLIENTS];
        if (client->requests == 0 && free_place == NULL)
            free_place = client;
        else if (client->requests > 0 && strcmp(client->name, name) == 0)
            return client;
    }
    return free_place;
}

bool srv_guard_enter(struct srv_guard *guard, const char *client, struct api_problem *problem)
{
    bool good = true;
    if (guard->client_requests == 0)
        return true;
    pthread_mutex_lock(&guard->lock);
    struct client *place = find_client(guard, client);
    if (place == NULL || place->requests >= guard->client_requests) {
        good = false;
    } else {
        if (place->requests == 0)
            snprintf(place->name, sizeof place->name, "%s", client);
        place->requests++;
    }
    pthread_mutex_unlock(&guard->lock);
    if (good)
        return true;
    problem->retry_after = 1;
    return api_problem_set(problem, API_P_CLIENT_LIMIT, NULL,
                           "this client has %zu requests under way, which is what one may have",
                           guard->client_requests);
}

void srv_guard_leave(struct srv_guard *guard, const char *client)
{
    if (guard->client_requests == 0)
        return;
    pthread_mutex_lock(&guard->lock);
    struct client *place = find_client(guard, client);
    if (place != NULL && place->requests > 0)
        place->requests--;
    pthread_mutex_unlock(&guard->lock);
}
