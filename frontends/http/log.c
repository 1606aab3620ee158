/* The access log: one JSON object a line and request, written whole by one write. */
#include "http/http.h"

#include "common/fail.h"
#include "openai/answer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool log_open(http *server, bp_error *error)
{
    const char *path = server->config->access_log;
    server->log = -1;
    if (!path)
        return true;
    server->log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (server->log < 0)
        fail(error, BP_EIO, "access_log \"%.200s\" cannot be opened: %s", path, strerror(errno));
    return server->log >= 0;
}

void log_close(http *server)
{
    if (server->log >= 0)
        close(server->log);
}

/* Bytes of the request line are not always text. */
static json_t *clean(const char *bytes)
{
    text copy = {0};
    json_t *string = text_append_clean(&copy, bytes, strnlen(bytes, 256)) ? json_string(text_string(&copy)) : NULL;
    text_free(&copy);
    return string;
}

void log_exchange(const exchange *e, double seconds)
{
    if (e->server->log < 0)
        return;
    struct timespec now;
    struct tm parts;
    char when[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    json_t *line = json_pack("{ss ss ss so so si sf ss? ss? sI sI sI so}", "time", when, "id", e->id, "address", e->info->remote_addr,
                             "method", clean(e->info->request_method), "path", clean(e->path), "status", e->status, "seconds",
                             seconds, "key", keys_tenant(e), "model", e->model[0] ? e->model : NULL, "prompt_tokens",
                             (json_int_t)e->usage.prompt_tokens, "completion_tokens", (json_int_t)e->usage.completion_tokens,
                             "cached_tokens", (json_int_t)e->usage.cached_tokens, "first_token_seconds",
                             e->first_token > 0 ? json_real(e->first_token) : json_null());
    text out = {0};
    if (openai_dump(&out, line, JSON_REAL_PRECISION(6)) && text_append(&out, "\n", 1)) {
        ssize_t written = write(e->server->log, out.data, out.size);
        (void)written; /* a full disk costs lines, not requests */
    }
    text_free(&out);
    json_decref(line);
}
