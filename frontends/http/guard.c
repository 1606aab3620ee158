/* What is wrong with a request before anybody reads it.
 *
 * CivetWeb drops the 65th header and later ones, and all that follow a line which begins with none of a name's characters;
 * it takes the first of several Content-Lengths and whatever number it begins with, and honours Content-Length beside
 * Transfer-Encoding. Each would let a body run as a second request, so such requests are refused here and their
 * connections closed. */
#include "http/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *header_of(const exchange *e, const char *name, size_t *count)
{
    const char *value = NULL;
    *count = 0;
    for (int i = 0; i < e->info->num_headers; i++) {
        if (strcasecmp(e->info->http_headers[i].name, name) != 0)
            continue;
        if ((*count)++ == 0)
            value = e->info->http_headers[i].value;
    }
    return value;
}

static bool refuse_transport(int *status, int code, refusal *why, const char *sentence)
{
    *status = code;
    return refuse(why, "", "invalid_request", "%s", sentence);
}

/* Whether CivetWeb read all headers. Of what follows a value it has made NULs of that line's CR and LF, and of the last byte
 * of all, so that NUL NUL CR NUL stands behind the last value of headers that end as they should; no header holds a NUL of
 * its own. Anything else is a line that it did not read: folded, without a name, or behind what it took for an empty line. Lines
 * that end with LF alone fail here too. */
static bool is_read_whole(const struct mg_request_info *info)
{
    if (info->num_headers == 0)
        return true; /* HTTP/1.0, after which the connection ends, or refused for want of a Host */
    const char *value = info->http_headers[info->num_headers - 1].value;
    const char *end = value + strlen(value);
    return end[1] == '\0' && end[2] == '\r' && end[3] == '\0';
}

/* How the body's end is told. */
static bool guard_framing(const exchange *e, int *status, refusal *why)
{
    size_t lengths, encodings;
    const char *length = header_of(e, "Content-Length", &lengths), *encoding = header_of(e, "Transfer-Encoding", &encodings);
    if (lengths > 1 || encodings > 1 || (lengths && encodings))
        return refuse_transport(status, 400, why, "the body's length is given more than once");
    if (encodings && strcmp(e->info->http_version, "1.0") == 0)
        return refuse_transport(status, 400, why, "HTTP/1.0 has no Transfer-Encoding");
    if (encodings && strcasecmp(encoding, "chunked") != 0)
        return refuse_transport(status, 400, why, "Transfer-Encoding is not chunked");
    if (!lengths)
        return true;
    size_t digits = strlen(length);
    if (digits == 0 || digits > 18 || length[strspn(length, "0123456789")])
        return refuse_transport(status, 400, why, "Content-Length is not a number of bytes");
    if (strtoull(length, NULL, 10) <= e->server->config->body_limit)
        return true;
    *status = 413;
    return refuse(why, "", "request_too_large", "the body is longer than %llu bytes",
                  (unsigned long long)e->server->config->body_limit);
}

static bool is_loopback_name(const char *host)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i]);
        const char *port = host + length;
        if (strncasecmp(host, names[i], length) == 0 && (!*port || (*port == ':' && !port[1 + strspn(port + 1, "0123456789")])))
            return true;
    }
    return false;
}

/* A page from elsewhere can reach a server on loopback under a name of its own choosing; its Host tells. */
static bool guard_host(const exchange *e, int *status, refusal *why)
{
    size_t count;
    const char *host = header_of(e, "Host", &count);
    if (count > 1 || (count == 0 && strcmp(e->info->http_version, "1.0") != 0))
        return refuse_transport(status, 400, why, "there must be one Host header");
    if (host && e->server->loopback && !is_loopback_name(host)) {
        *status = 403;
        refuse(why, "", "forbidden_host", "this server listens on loopback and Host names another machine");
        why->type = "permission_error";
        return false;
    }
    return true;
}

bool guard_transport(exchange *e, int *status, refusal *why)
{
    const char *version = e->info->http_version;
    if (!version || (strcmp(version, "1.1") != 0 && strcmp(version, "1.0") != 0))
        return refuse_transport(status, 505, why, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    if (e->info->num_headers >= MG_MAX_HEADERS)
        return refuse_transport(status, 431, why, "there are too many headers");
    if (!is_read_whole(e->info))
        return refuse_transport(status, 400, why, "a header line has no name, is folded, or does not end with CR and LF");
    return guard_framing(e, status, why) && guard_host(e, status, why);
}

/* Browsers say where a page comes from that acts on this server, which other clients do not; "same-origin" also where a proxy
 * has another Host than the page. Older ones, and those that do not trust the connection, name the origin alone. */
static bool is_foreign(const exchange *e)
{
    size_t count;
    const char *site = header_of(e, "Sec-Fetch-Site", &count), *origin = header_of(e, "Origin", &count);
    if (site)
        return strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
    const char *host = header_of(e, "Host", &count), *name = origin ? strstr(origin, "://") : NULL;
    return origin && (!name || !host || strcasecmp(name + 3, host) != 0);
}

bool guard_json(const exchange *e, int *status, refusal *why)
{
    size_t count;
    const char *type = header_of(e, "Content-Type", &count), *coding = header_of(e, "Content-Encoding", &count);
    static const char json[] = "application/json";
    size_t length = sizeof json - 1;
    if (is_foreign(e)) {
        *status = 403;
        refuse(why, "", "forbidden_origin", "a web page of another origin cannot use this server");
        why->type = "permission_error";
        return false;
    }
    *status = 415;
    if (!type || (strncasecmp(type, json, length) != 0 || (type[length] && !strchr("; \t", type[length]))))
        return refuse(why, "", "unsupported_media_type", "the header Content-Type must be application/json");
    if (coding && strcasecmp(coding, "identity") != 0)
        return refuse(why, "", "unsupported_media_type", "Content-Encoding is not supported; send the body as it is");
    return true;
}
