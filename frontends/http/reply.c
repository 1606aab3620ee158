#include "http/http.h"

#include "openai/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool begin(exchange *e, int status, const char *type, const char *more)
{
    e->status = status;
    text head = {0};
    char line[1024];
    int length = snprintf(line, sizeof line,
                          "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nX-Request-Id: %s\r\nConnection: %s\r\n%s\r\n", status,
                          mg_get_response_code_text(e->connection, status), type, e->id, e->close ? "close" : "keep-alive", more);
    bool good = length > 0 && (size_t)length < sizeof line && text_append(&head, line, (size_t)length) &&
                mg_write(e->connection, head.data, head.size) == (int)head.size;
    text_free(&head);
    return good;
}

void reply_bytes(exchange *e, int status, const char *type, const char *extra, const char *bytes, size_t count)
{
    char more[512];
    snprintf(more, sizeof more, "Content-Length: %zu\r\n%s", count, extra);
    if (e->close)
        mg_disable_connection_keep_alive(e->connection);
    if (begin(e, status, type, more) && count && strcmp(e->info->request_method, "HEAD") != 0)
        mg_write(e->connection, bytes, count);
}

static void reply_json_with(exchange *e, int status, const char *extra, json_t *value)
{
    text bytes = {0};
    bool good = openai_dump(&bytes, value, JSON_REAL_PRECISION(9));
    json_decref(value);
    static const char none[] =
        "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":\"internal_error\"}}";
    if (good)
        reply_bytes(e, status, "application/json", extra, bytes.data, bytes.size);
    else
        reply_bytes(e, 500, "application/json", "", none, sizeof none - 1);
    text_free(&bytes);
}

void reply_json(exchange *e, int status, json_t *value)
{
    reply_json_with(e, status, "", value);
}

void reply_refusal(exchange *e, int status, const refusal *why)
{
    char extra[64] = "";
    if (e->left) {
        client_left(e);
        return;
    }
    if (status == 401)
        snprintf(extra, sizeof extra, "WWW-Authenticate: Bearer\r\n");
    if (status == 429 || status == 503)
        snprintf(extra, sizeof extra, "Retry-After: %u\r\n", e->retry_seconds ? e->retry_seconds : 1);
    reply_json_with(e, status, extra, json_pack("{so}", "error", refusal_json(why)));
}

void reply_refused(exchange *e, const refusal *why)
{
    static const struct { const char *code; int status; } statuses[] = {
        {"model_not_found", 404}, {"internal_error", 500},    {"backend_error", 500}, {"timeout", 500},
        {"overloaded", 503},      {"model_unavailable", 503}, {"shutting_down", 503}};
    int status = 400;
    for (size_t i = 0; why->code && i < sizeof statuses / sizeof *statuses; i++)
        if (strcmp(why->code, statuses[i].code) == 0)
            status = statuses[i].status;
    reply_refusal(e, status, why);
}

void reply_allow(exchange *e, const char *method)
{
    char extra[64];
    refusal why;
    refuse(&why, "", "method_not_allowed", "%s is for %s only", e->path, method);
    snprintf(extra, sizeof extra, "Allow: %s\r\n", method);
    reply_json_with(e, 405, extra, json_pack("{so}", "error", refusal_json(&why)));
}

/* --- server-sent events ------------------------------------------------------------------------------------------- */

/* HTTP/1.0 knows no chunks: there the stream ends with the connection. */
static bool is_chunked(const exchange *e)
{
    return strcmp(e->info->http_version, "1.0") != 0;
}

bool reply_stream_begin(exchange *e)
{
    e->close |= !is_chunked(e);
    if (e->close)
        mg_disable_connection_keep_alive(e->connection);
    return begin(e, 200, "text/event-stream",
                 is_chunked(e) ? "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n" : "Cache-Control: no-cache\r\n");
}

bool reply_stream_write(exchange *e, const text *bytes)
{
    if (bytes->size == 0)
        return true;
    if (bytes->size > INT32_MAX)
        return false;
    if (!is_chunked(e))
        return mg_write(e->connection, bytes->data, bytes->size) == (int)bytes->size;
    return mg_send_chunk(e->connection, bytes->data, (unsigned)bytes->size) > 0;
}

bool reply_stream_end(exchange *e)
{
    return !is_chunked(e) || mg_send_chunk(e->connection, "", 0) > 0;
}
