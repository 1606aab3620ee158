/* One request from its first byte to its line in the log.
 *
 * A request passes, in this order: transport (what is wrong closes the connection), route, method, key, headers of the body,
 * the body itself, its handler. Paths are compared as they were sent: nothing is collapsed or matched without case, and only names of models may be
 * escaped. */
#include "http/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

enum { MOST_RESERVED = 32 };

typedef struct route {
    const char *path, *method; /* a path that ends in '/', but the first, takes a name behind it */
    bool open;                 /* needs no key */
    void (*handle)(exchange *e);
} route;

static const route routes[] = {
    {"/v1/chat/completions", "POST", false, route_chat},
    {"/v1/completions", "POST", false, route_completions},
    {"/v1/embeddings", "POST", false, route_embeddings},
    {"/v1/rerank", "POST", false, route_rerank},
    {"/rerank", "POST", false, route_rerank},
    {"/v1/responses", "POST", false, route_responses},
    {"/v1/models", "GET", false, route_models},
    {"/v1/models/", "GET", false, route_model},
    {"/models/load", "POST", false, route_load},
    {"/models/unload", "POST", false, route_unload},
    {"/tokenize", "POST", false, route_tokenize},
    {"/detokenize", "POST", false, route_detokenize},
    {"/apply-template", "POST", false, route_apply_template},
    {"/tokenizer_info", "GET", false, route_tokenizer_info},
    {"/health", "GET", true, route_health},
    {"/version", "GET", true, route_version},
    {"/metrics", "GET", false, route_metrics},
    {"/openapi.json", "GET", true, route_openapi},
    {"/", "GET", true, route_page},
    {"/page.css", "GET", true, route_page_css},
    {"/page.js", "GET", true, route_page_js},
};

/* CivetWeb decodes a path where it lies, between the method and what follows it in the request's first line. */
static size_t raw_length(const exchange *e)
{
    const char *end = e->info->query_string ? e->info->query_string - 1 : e->info->http_version - sizeof " HTTP";
    return (size_t)(end - e->path);
}

static bool is_escaped(const exchange *e)
{
    return raw_length(e) != strlen(e->path);
}

/* Whether a NUL was among what was escaped, behind which a name would go on: behind the decoded path's own end lie the bytes that were
 * sent, which have none. */
static bool holds_nul(const exchange *e)
{
    size_t length = strlen(e->path), sent = raw_length(e);
    return sent > length && memchr(e->path + length + 1, '\0', sent - length - 1);
}

static const route *find_route(exchange *e)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        size_t length = strlen(routes[i].path);
        if (strncmp(e->path, routes[i].path, length) != 0)
            continue;
        e->tail = e->path + length;
        if (length > 1 && routes[i].path[length - 1] == '/' ? *e->tail && !holds_nul(e) : !*e->tail && !is_escaped(e))
            return &routes[i];
    }
    return NULL;
}

/* What the client calls the request, where that can stand in a header and a log; else 16 random digits. */
static void name_exchange(exchange *e)
{
    size_t count, length;
    const char *given = header_of(e, "X-Request-Id", &count);
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.:";
    if (count == 1 && given && (length = strlen(given)) > 0 && length < HTTP_ID_ROOM && !given[strspn(given, allowed)]) {
        memcpy(e->id, given, length + 1);
        return;
    }
    uint64_t number = atomic_load(&e->server->exchanges);
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
        number = number * 0x9E3779B97F4A7C15u;
    snprintf(e->id, sizeof e->id, "%016llx", (unsigned long long)number);
}

/* Threads that are kept from connections which would hold them: idle ones, and those that wait for answers. */
static unsigned reserve(const http *server)
{
    unsigned most = (unsigned)server->config->connections / 8;
    return most < MOST_RESERVED ? most : MOST_RESERVED;
}

/* Whether no more than `spared` of the threads are free, this connection's counted as taken. */
static bool is_crowded(const http *server, unsigned spared)
{
    return spared && atomic_load(&server->connections) + spared > (unsigned)server->config->connections;
}

static bool has_thread(exchange *e, refusal *why)
{
    if (!is_crowded(e->server, reserve(e->server) / 2))
        return true;
    refuse(why, "", "overloaded", "all %d connections are in use; try again later", (int)e->server->config->connections);
    why->type = "server_error";
    return false;
}

/* Whether CivetWeb ends the connection behind the response by itself; HTTP/1.0 could ask it not to. */
static bool is_last(const exchange *e)
{
    size_t count;
    const char *wish = header_of(e, "Connection", &count);
    return strcmp(e->info->http_version, "1.0") == 0 || (wish && strcasecmp(wish, "close") == 0);
}

static void handle(exchange *e)
{
    refusal why;
    int status = 400;
    if (!guard_transport(e, &status, &why)) {
        e->close = true;
        reply_refusal(e, status, &why);
        return;
    }
    e->close |= is_last(e);
    const route *r = find_route(e);
    if (!r) {
        refuse(&why, "", "unknown_url", "there is no %s %.200s here", e->info->request_method, e->path);
        e->close = true; /* its body was not read */
        reply_refusal(e, 404, &why);
        return;
    }
    bool head = strcmp(r->method, "GET") == 0 && strcmp(e->info->request_method, "HEAD") == 0;
    if (strcmp(e->info->request_method, r->method) != 0 && !head) {
        e->close = true;
        reply_allow(e, r->method);
        return;
    }
    bool posted = strcmp(r->method, "POST") == 0;
    if (!r->open && !keys_check(e, &why))
        status = 401;
    else if (posted && !has_thread(e, &why))
        status = 503;
    else if (posted && !keys_enter(e, &why))
        status = 429;
    else if (posted && (!guard_json(e, &status, &why) || !body_read(e, &status, &why)))
        e->close = true;
    else {
        r->handle(e);
        return;
    }
    e->close = true;
    reply_refusal(e, status, &why);
}

static void *handle_on_thread(void *user)
{
    handle(user);
    body_arrived(user);
    return NULL;
}

/* CivetWeb's threads have stacks of 100 KiB, which templates and JSON may need more than. */
static void handle_with_room(exchange *e)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, handle_on_thread, e) == 0) {
        body_watch(e);
        pthread_join(thread, NULL);
        return;
    }
    refusal why;
    refuse(&why, "", "overloaded", "there is no thread left for this request");
    why.type = "server_error";
    e->close = true;
    reply_refusal(e, 503, &why);
}

static void count_active(http *server, int change)
{
    pthread_mutex_lock(&server->lock);
    server->active += (uint32_t)change;
    if (server->active == 0)
        pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

int exchange_begin(struct mg_connection *connection)
{
    const struct mg_request_info *info = mg_get_request_info(connection);
    http *server = info->user_data;
    exchange e = {.server = server, .connection = connection, .info = info, .socket = -1,
                  .path = info->request_uri ? info->request_uri : "", .began = server->host->now(server->host->context)};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&e.changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&e.lock, NULL);
    atomic_fetch_add(&server->exchanges, 1);
    count_active(server, 1);
    name_exchange(&e);
    e.close = is_crowded(server, reserve(server));
    handle_with_room(&e);
    count_active(server, -1);
    double seconds = (double)(server->host->now(server->host->context) - e.began) / 1e9;
    measures_request(&server->measures, e.status, seconds);
    log_exchange(&e, seconds);
    mg_set_user_connection_data(connection, exchange_mark(server));
    keys_leave(&e);
    text_free(&e.body);
    pthread_cond_destroy(&e.changed);
    pthread_mutex_destroy(&e.lock);
    return e.status ? e.status : 500;
}

void *exchange_mark(const http *server)
{
    return (void *)(uintptr_t)(server->host->now(server->host->context) / 1000000 | 1);
}

/* CivetWeb has one word for lines that are none, that are longer than its room, and that took too long. What lies in the
 * socket and the time tell them apart. */
static int status_of(const exchange *e, int status)
{
    uintptr_t began = (uintptr_t)mg_get_user_connection_data(e->connection), now = (uintptr_t)exchange_mark(e->server);
    if (status == 411)
        return 400; /* a length that is no number */
    if (status != 400)
        return status;
    if (client_sends_more(e))
        return 431;
    return began && now - began + 50 >= (uintptr_t)e->server->config->body_seconds * 1000 ? 408 : 400;
}

/* There may be no request to tell of: not a line of it was understood. */
int exchange_error(struct mg_connection *connection, int status, const char *message)
{
    static const struct mg_request_info nothing = {.request_method = "", .http_version = "1.1"};
    const struct mg_request_info *info = mg_get_request_info(connection);
    exchange e = {.server = mg_get_user_data(mg_get_context(connection)), .connection = connection, .path = "", .close = true,
                  .info = info ? info : &nothing, .id = "none", .socket = -1};
    bool ours = status == 500 || status == 503;
    refusal why;
    status = status_of(&e, status);
    refuse(&why, "", ours ? "internal_error" : "invalid_request", "the request cannot be read: %.200s",
           status == 431 ? "its headers are too long" : status == 408 ? "it took too long to arrive"
           : message && *message ? message : "it is not HTTP");
    if (ours)
        why.type = "server_error";
    if (!e.info->http_version || !e.info->request_method)
        e.info = &nothing;
    reply_refusal(&e, status, &why);
    return 0;
}
