/* The plugin `http`: its options, and the life of the server. */
#include "http/http.h"

#include "common/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FLUSH_SECONDS = 2 };

#define CONFIG(field) .offset = offsetof(http_config, field)

static const bp_option options[] = {
    {.name = "host", .type = BP_OPTION_STRING, .fallback = "127.0.0.1", CONFIG(host),
     .help = "The address to listen on; 0.0.0.0 is every IPv4 address of this machine."},
    {.name = "port", .type = BP_OPTION_INT, .fallback = "8080", .min = 0, .max = 65535, CONFIG(port),
     .help = "The port; 0 takes a free one and names it in the log."},
    {.name = "api_key", .type = BP_OPTION_STRING, CONFIG(api_key),
     .help = "The key that requests must bring; without this and api_key_file everybody may ask."},
    {.name = "api_key_file", .type = BP_OPTION_PATH, CONFIG(api_key_file),
     .help = "A file of further keys, one a line; lines that begin with # are comments."},
    {.name = "key_requests", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 1000000, CONFIG(key_requests),
     .help = "Requests a minute that one key may send; 0 is no limit."},
    {.name = "key_concurrency", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 65536, CONFIG(key_concurrency),
     .help = "Requests of one key that may run at a time; 0 is no limit."},
    {.name = "max_priority", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 100, CONFIG(max_priority),
     .help = "The highest priority that a request may have; with 0 requests may only stand back."},
    {.name = "access_log", .type = BP_OPTION_PATH, CONFIG(access_log),
     .help = "A file that gets a JSON object a line for every request; without one none is written."},
    {.name = "certificate", .type = BP_OPTION_PATH, CONFIG(certificate),
     .help = "A PEM file of certificate and private key: the port speaks TLS."},
    {.name = "connections", .type = BP_OPTION_INT, .fallback = "512", .min = 2, .max = 16384, CONFIG(connections),
     .help = "Connections that are open at a time, each with a thread; more wait. The last eighth, at most 32, are closed after one answer, "
             "and half of those are for /health, /metrics and what else needs no model."},
    {.name = "body_limit", .type = BP_OPTION_SIZE, .fallback = "16MiB", .min = 1024, .max = 1 << 30, CONFIG(body_limit),
     .help = "The longest request body."},
    {.name = "body_seconds", .type = BP_OPTION_INT, .fallback = "30", .min = 1, .max = 3600, CONFIG(body_seconds),
     .help = "What a request may take to arrive."},
    {.name = "idle_seconds", .type = BP_OPTION_INT, .fallback = "15", .min = 1, .max = 3600, CONFIG(idle_seconds),
     .help = "How long a connection without requests stays open."},
    {0},
};

static void http_close(bp_frontend *h)
{
    if (!h)
        return;
    if (h->web)
        mg_stop(h->web);
    mg_exit_library();
    keys_free(h);
    log_close(h);
    measures_free(&h->measures);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* CivetWeb's own complaints are about peers, mostly. */
static int log_message(const struct mg_connection *connection, const char *message)
{
    http *h = mg_get_user_data(mg_get_context(connection));
    if (h && !atomic_load(&h->started) && !h->complaint[0])
        snprintf(h->complaint, sizeof h->complaint, "%s", message);
    if (h)
        h->host->log(h->host->context, BP_LOG_DEBUG, "http: %s", message);
    return 1;
}

static int log_nothing(const struct mg_connection *connection, const char *message)
{
    (void)connection, (void)message;
    return 1;
}

/* A connection that is marked is counted; one whose handshake failed never comes here. The mark is when it began. */
static int count_connection(const struct mg_connection *connection, void **mark)
{
    http *h = mg_get_user_data(mg_get_context(connection));
    atomic_fetch_add(&h->connections, 1);
    *mark = exchange_mark(h);
    return 0;
}

static void discount_connection(const struct mg_connection *connection)
{
    http *h = mg_get_user_data(mg_get_context(connection));
    if (mg_get_user_connection_data(connection))
        atomic_fetch_sub(&h->connections, 1);
}

static bp_status listen_on(http *h, bp_error *error)
{
    const http_config *c = h->config;
    char port[300], threads[24], body_ms[24], idle_ms[24];
    snprintf(port, sizeof port, strchr(c->host, ':') ? "[%s]:%d%s" : "%s:%d%s", c->host, (int)c->port, c->certificate ? "s" : "");
    snprintf(threads, sizeof threads, "%d", (int)c->connections);
    snprintf(body_ms, sizeof body_ms, "%d", (int)c->body_seconds * 1000);
    snprintf(idle_ms, sizeof idle_ms, "%d", (int)c->idle_seconds * 1000);
    const char *settings[] = {
        "listening_ports", port, "num_threads", threads, "connection_queue", "256", "request_timeout_ms", body_ms,
        "enable_keep_alive", "yes", "keep_alive_timeout_ms", idle_ms, "tcp_nodelay", "1", "max_request_size", "32768",
        "access_control_allow_methods", "", "access_control_allow_origin", "",
        c->certificate ? "ssl_certificate" : NULL, c->certificate, NULL};
    const struct mg_callbacks callbacks = {.begin_request = exchange_begin, .http_error = exchange_error,
                                           .log_message = log_message, .log_access = log_nothing,
                                           .init_connection = count_connection, .connection_close = discount_connection};
    h->web = mg_start(&callbacks, h, settings);
    atomic_store(&h->started, true);
    if (!h->web)
        return fail(error, BP_EIO, "cannot listen on %.100s port %d%s%s%s", c->host, (int)c->port, *h->complaint ? ": " : "", h->complaint,
                    !*h->complaint || strstr(h->complaint, "bind") ? "; choose another host or port" : "");
    return BP_OK;
}

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

static bp_status http_open(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *config,
                           bp_frontend **out, bp_error *error)
{
    http *h = calloc(1, sizeof *h);
    if (!h)
        return fail_memory(error);
    h->host = host;
    h->api = api;
    h->engine = engine;
    h->config = config;
    h->loopback = is_loopback(h->config->host);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    bp_error why = {0};
    bool ready = secure_prepare(h, &why);
    mg_init_library(ready && h->config->certificate ? MG_FEATURES_TLS : 0);
    measures_init(&h->measures);
    bp_status status = ready && log_open(h, &why) && keys_load(h, &why) ? listen_on(h, &why) : why.code;
    if (status != BP_OK) {
        http_close(h);
        return fail(error, status, "%s", why.message);
    }
    *out = h;
    return BP_OK;
}

static void say_where(const http *h)
{
    struct mg_server_port ports[4];
    int count = mg_get_server_ports(h->web, 4, ports);
    for (int i = 0; i < count; i++)
        h->host->log(h->host->context, BP_LOG_INFO, "listening on %s://%s%s%s:%d", ports[i].is_ssl ? "https" : "http",
                     strchr(h->config->host, ':') ? "[" : "", h->config->host, strchr(h->config->host, ':') ? "]" : "",
                     ports[i].port);
}

/* Requests come on CivetWeb's threads; this one waits for the end. The engine has no requests left by then, but their last
 * events may still be on their way out. */
static bp_status http_run(bp_frontend *h, bp_error *error)
{
    (void)error;
    say_where(h);
    pthread_mutex_lock(&h->lock);
    while (!atomic_load(&h->stopping))
        pthread_cond_wait(&h->changed, &h->lock);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FLUSH_SECONDS;
    while (h->active > 0 && pthread_cond_timedwait(&h->changed, &h->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&h->lock);
    clients_hang_up(h);
    mg_stop(h->web);
    h->web = NULL;
    return BP_OK;
}

static void http_stop(bp_frontend *h)
{
    pthread_mutex_lock(&h->lock);
    atomic_store(&h->stopping, true);
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static const bp_frontend_ops ops = {
    .size = sizeof ops, .open = http_open, .run = http_run, .stop = http_stop, .close = http_close};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_FRONTEND,
    .config_size = sizeof(http_config),
    .name = "http",
    .version = BACKPLANE_VERSION,
    .summary = "OpenAI's HTTP API for every model of the configuration, on one port.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
