/* http: what the files of the frontend share.
 *
 *   plugin.c    options, life of the server
 *   exchange.c  one request from its first byte to its line in the log: guard, route, handler
 *   guard.c     what is wrong with a request before anybody reads it
 *   body.c      the request's body, within its limits of size and time
 *   client.c    whether the client is still there
 *   reply.c     responses and errors
 *   generate.c  chat and text completions; whole.c and events.c write them
 *   embeddings.c /v1/embeddings; rerank.c /v1/rerank; vectors.c is the loop of both
 *   responses.c /v1/responses, on the same machinery; responses_input.c reads its requests
 *   models.c    /v1/models
 *   tokens.c    /tokenize, /detokenize, /apply-template, /tokenizer_info
 *   status.c    /health, /version, /openapi.json
 *   metrics.c   /metrics, of measure.c's counts and the engine's
 *   page.c      the page at /, whose files are in ui/
 *   keys.c      who may ask, and how often
 *   log.c       the access log
 *   secure.c    TLS
 *
 * Threads: CivetWeb gives each connection a thread, which runs one exchange at a time. The server's own fields do not change
 * while it serves, but for those that are atomic. */
#ifndef BACKPLANE_HTTP_HTTP_H
#define BACKPLANE_HTTP_HTTP_H

#include "common/text.h"
#include "http/measure.h"
#include "openai/request.h"

#include <civetweb.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct http_config {
    const char *host, *api_key, *api_key_file, *certificate, *access_log;
    int64_t port, connections, body_seconds, idle_seconds, key_requests, key_concurrency, max_priority;
    uint64_t body_limit;
} http_config;

typedef struct api_key api_key;

struct bp_frontend {
    const bp_host *host;
    const bp_engine_api *api;
    bp_engine *engine;
    const http_config *config;
    struct mg_context *web;
    char complaint[256]; /* CivetWeb's first one while it starts */
    api_key *keys; /* [key_count]; NULL: everybody may */
    size_t key_count;
    int log; /* -1: none */
    measures measures;
    bool loopback;
    atomic_bool started, stopping;
    atomic_uint_fast64_t exchanges; /* so far */
    atomic_uint connections;        /* open, and with a thread */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* `stopping` was set, or `active` fell to 0 */
    uint32_t active;        /* exchanges at work */
};
typedef struct bp_frontend http;

enum { HTTP_ID_ROOM = 129 };

typedef struct exchange {
    http *server;
    struct mg_connection *connection;
    const struct mg_request_info *info;
    const char *path;       /* decoded, without the query */
    const char *tail;       /* what follows the path of a route that ends in '/' */
    char id[HTTP_ID_ROOM];  /* the client's X-Request-Id, or ours */
    text body;              /* of a POST */
    bool close;             /* the connection is not used again */
    int status;             /* 0 until a response was begun */
    api_key *key;           /* NULL where none is asked for */
    bool entered;           /* the request has one of the key's places */
    unsigned retry_seconds; /* of a 429 or 503 */
    uint64_t began;         /* nanoseconds on the host's clock */
    double first_token;     /* seconds after that; 0: none yet */
    char model[64];
    bp_usage usage;         /* of all its answers */
    int socket;             /* the connection's, once looked for; -1 where it is not found */
    bool looked, probed;
    bool left;              /* nobody waits for the response: there will be none */
    pthread_mutex_t lock;   /* of what follows */
    pthread_cond_t changed; /* `arrived` was set */
    bool arriving, arrived; /* the body is being read; was read, or never will be */
    bool late;              /* and its time was up before that */
} exchange;

/* exchange.c: CivetWeb's callback for every request. */
int exchange_begin(struct mg_connection *connection);
/* What a connection is marked with while its next request is waited for: milliseconds of now, never NULL. */
void *exchange_mark(const http *server);
/* CivetWeb's callback for what it refuses itself. */
int exchange_error(struct mg_connection *connection, int status, const char *message);

/* guard.c: false with a status and a reason. */
bool guard_transport(exchange *e, int *status, refusal *why); /* closes: the rest of the connection cannot be trusted */
bool guard_json(const exchange *e, int *status, refusal *why); /* what a POST needs: JSON, and not of another's page */
/* The value of a header, NULL if there is none; *count is how often it is there. */
const char *header_of(const exchange *e, const char *name, size_t *count);

/* keys.c */
bool keys_load(http *server, bp_error *error);
void keys_free(http *server);
bool keys_check(exchange *e, refusal *why); /* finds the request's key */
bool keys_enter(exchange *e, refusal *why); /* takes a place of it */
void keys_leave(exchange *e);
const char *keys_tenant(const exchange *e); /* NULL without keys */
/* Makes the request one of its key's; not with a priority above what the server allows. */
bool keys_apply(const exchange *e, bp_request *r, refusal *why);

/* secure.c: before CivetWeb is told to speak TLS */
bool secure_prepare(const http *server, bp_error *error);

/* log.c */
bool log_open(http *server, bp_error *error);
void log_close(http *server);
void log_exchange(const exchange *e, double seconds);

/* body.c: reads all of it; false with a status and a reason. */
bool body_read(exchange *e, int *status, refusal *why);
/* Waits on another thread until the body has arrived, and ends the connection's reading when its time is up. */
void body_watch(exchange *e);
void body_arrived(exchange *e); /* or will never be read */
/* The body as a JSON object, a new reference. */
json_t *body_json(const exchange *e, refusal *why);

/* reply.c: each writes one whole response and sets e->status. */
void reply_json(exchange *e, int status, json_t *value); /* takes the reference; NULL is out of memory */
/* `extra` is whole lines of further headers, or "". */
void reply_bytes(exchange *e, int status, const char *type, const char *extra, const char *bytes, size_t count);
void reply_refusal(exchange *e, int status, const refusal *why);
void reply_refused(exchange *e, const refusal *why); /* the status follows from the reason's code */
void reply_allow(exchange *e, const char *method);   /* 405 */
/* Begins a response of server-sent events; false if the client is gone. */
bool reply_stream_begin(exchange *e);
bool reply_stream_write(exchange *e, const text *bytes);
bool reply_stream_end(exchange *e);

/* client.c: whether nobody waits for the response any more. Looks at the connection without waiting. */
bool client_gone(exchange *e);
/* Ends the exchange without a response. */
void client_left(exchange *e);
/* The engine's submit(). While the model is on its way the connection is looked at; once nobody waits it is BP_ECANCELLED, and
 * what is replied goes nowhere. */
bp_status client_submit(exchange *e, const bp_request *request, bp_stream **out, bp_error *error);
/* Whether more has come from it than was read. */
bool client_sends_more(const exchange *e);
/* Ends what is read from the connection: who waits for more finds its end. */
void client_silence(const exchange *e);
/* Ends what is read from every connection, and new ones: CivetWeb's threads, which look only every two seconds whether they
 * are to stop, wake. What is being written goes on. */
void clients_hang_up(const http *server);

/* Routes. */
void route_chat(exchange *e);
void route_completions(exchange *e);
void route_embeddings(exchange *e);
void route_rerank(exchange *e);
void route_responses(exchange *e);
void route_models(exchange *e);
void route_model(exchange *e);
void route_load(exchange *e);
void route_unload(exchange *e);
void route_tokenize(exchange *e);
void route_detokenize(exchange *e);
void route_apply_template(exchange *e);
void route_tokenizer_info(exchange *e);
void route_health(exchange *e);
void route_version(exchange *e);
void route_metrics(exchange *e);
void route_openapi(exchange *e);
void route_page(exchange *e);
void route_page_css(exchange *e);
void route_page_js(exchange *e);

#endif
