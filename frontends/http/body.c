#include "http/http.h"

#include "openai/answer.h"

#include <strings.h>

enum { PIECE = 64 << 10 };

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

bool body_read(exchange *e, int *status, refusal *why)
{
    const http_config *c = e->server->config;
    const bp_host *host = e->server->host;
    uint64_t until = host->now(host->context) + (uint64_t)c->body_seconds * 1000000000u;
    long long expected = e->info->content_length;
    char piece[PIECE];
    invite(e);
    for (;;) {
        int got = mg_read(e->connection, piece, sizeof piece);
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
        if (host->now(host->context) > until)
            return refuse_body(status, 408, why, "the body took too long to arrive");
    }
    if (expected >= 0 && e->body.size < (size_t)expected)
        return refuse_body(status, 408, why, "the body ended before its Content-Length");
    return true;
}

json_t *body_json(const exchange *e, refusal *why)
{
    json_error_t at;
    bool memory;
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
