/* The request's body, within its limits of size and time.
 *
 * mg_read waits for all that it is asked for as long as anything comes, a byte now and then being enough. What bounds a body in
 * time is therefore CivetWeb's own thread, which has nothing to do while the exchange has another: when the time is up and
 * the body is still being read, it ends what can be read from the connection. */
#include "http/http.h"

#include "openai/answer.h"

#include <errno.h>
#include <strings.h>
#include <time.h>

enum {
    PIECE = 64 << 10,
    VALUES_TIMES = 8,        /* what the values of a body may take, in times of body_limit */
    VALUES_LEAST = 16 << 20  /* and bytes that they always may */
};

static bool refuse_body(int *status, int code, refusal *why, const char *sentence)
{
    *status = code;
    return refuse(why, "", code == 413 ? "request_too_large" : "invalid_request", "%s", sentence);
}

/* A client may wait for a word before it sends its body. */
static void invite(const exchange *e)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t count;
    const char *expected = header_of(e, "Expect", &count);
    if (expected && strcasecmp(expected, "100-continue") == 0)
        mg_write(e->connection, interim, sizeof interim - 1);
}

void body_arrived(exchange *e)
{
    pthread_mutex_lock(&e->lock);
    e->arriving = false;
    e->arrived = true;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

void body_watch(exchange *e)
{
    uint64_t until = e->began + (uint64_t)e->server->config->body_seconds * 1000000000u;
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
    pthread_mutex_lock(&e->lock);
    while (!e->arrived && pthread_cond_timedwait(&e->changed, &e->lock, &t) != ETIMEDOUT)
        ;
    if (e->arriving) {
        e->late = true;
        client_silence(e);
    }
    pthread_mutex_unlock(&e->lock);
}

/* Reads until the end, which body_watch may bring forward. A body of chunks that breaks off ends with -1; one
 * of a given length is compared with that. */
static bool read_pieces(exchange *e, int *status, refusal *why)
{
    const http_config *c = e->server->config;
    long long expected = e->info->content_length;
    char piece[PIECE];
    for (;;) {
        int got = mg_read(e->connection, piece, sizeof piece);
        if (got < 0 && expected < 0)
            return refuse_body(status, 400, why, "the body's chunks are broken");
        if (got <= 0)
            break;
        if ((uint64_t)got > c->body_limit - e->body.size)
            return refuse_body(status, 413, why, "the body is longer than this server takes");
        if (!text_append(&e->body, piece, (size_t)got)) {
            *status = 500;
            return refuse_memory(why);
        }
        if (expected >= 0 && e->body.size >= (size_t)expected)
            break;
    }
    if (expected >= 0 && e->body.size < (size_t)expected)
        return refuse_body(status, 408, why, "the body ended before its Content-Length");
    return true;
}

bool body_read(exchange *e, int *status, refusal *why)
{
    pthread_mutex_lock(&e->lock);
    e->arriving = true;
    pthread_mutex_unlock(&e->lock);
    invite(e);
    bool good = read_pieces(e, status, why);
    body_arrived(e);
    return e->late ? refuse_body(status, 408, why, "the body took too long to arrive") : good;
}

/* About what the values of a body take when they are read, whether it is JSON or not: an empty object is three bytes of it, and
 * nearly five hundred of memory (measured with jansson 2.14). */
static uint64_t weigh(const text *body)
{
    enum { EACH = 40, STRING = 96, LIST = 216, OBJECT = 440 };
    const char *at = text_string(body), *end = at + body->size;
    uint64_t weight = 0;
    for (bool quoted = false; at < end; at++) {
        if (*at == '"') {
            weight += quoted ? 0 : STRING;
            quoted = !quoted;
        } else if (quoted) {
            at += *at == '\\';
        } else {
            weight += *at == ',' ? EACH : *at == '[' ? LIST : *at == '{' ? OBJECT : 0;
        }
    }
    return weight;
}

json_t *body_json(const exchange *e, refusal *why)
{
    json_error_t at;
    bool memory;
    uint64_t weight = weigh(&e->body), most = e->server->config->body_limit * VALUES_TIMES;
    if (weight > (most > VALUES_LEAST ? most : VALUES_LEAST)) {
        refuse(why, "", "limit_exceeded", "the body has too many values: read, they would take %llu MiB",
               (unsigned long long)(weight >> 20));
        return NULL;
    }
    json_t *body = openai_load(text_string(&e->body), e->body.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at, &memory);
    if (memory) {
        refuse_memory(why);
    } else if (!body) {
        refuse(why, "", "invalid_json", "the body is not JSON: line %d, column %d", at.line, at.column);
    } else if (!json_is_object(body)) {
        refuse(why, "", "invalid_json", "the body is not a JSON object");
        json_decref(body);
        body = NULL;
    }
    return body;
}
