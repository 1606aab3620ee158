/* What is wrong with a request before anybody reads it.
 *
 * CivetWeb drops the 65th header and later ones, takes the first of several Content-Lengths and whatever number it begins
 * with, and honours Content-Length beside Transfer-Encoding. Each would let a body run as a second request, so such
 * requests are refused here and their connections closed. */
#include "http/http.h"

#include "common/fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_KEYS = 4096, MAX_KEY = 512 };

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

/* How the body's end is told. */
static bool guard_framing(const exchange *e, int *status, refusal *why)
{
    size_t lengths, encodings;
    const char *length = header_of(e, "Content-Length", &lengths), *encoding = header_of(e, "Transfer-Encoding", &encodings);
    if (lengths > 1 || encodings > 1 || (lengths && encodings))
        return refuse_transport(status, 400, why, "the body's length is given more than once");
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
    return guard_framing(e, status, why) && guard_host(e, status, why);
}

bool guard_json(const exchange *e, int *status, refusal *why)
{
    size_t count;
    const char *type = header_of(e, "Content-Type", &count), *coding = header_of(e, "Content-Encoding", &count);
    static const char json[] = "application/json";
    size_t length = sizeof json - 1;
    *status = 415;
    if (type && (strncasecmp(type, json, length) != 0 || (type[length] && !strchr("; \t", type[length]))))
        return refuse(why, "", "unsupported_media_type", "Content-Type is not application/json");
    if (coding && strcasecmp(coding, "identity") != 0)
        return refuse(why, "", "unsupported_media_type", "Content-Encoding is not supported; send the body as it is");
    return true;
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

/* Takes as long for a wrong key as for a right one. */
static bool same_key(const char *given, const char *key)
{
    size_t given_length = strlen(given), length = strlen(key);
    unsigned different = given_length != length;
    for (size_t i = 0; i < length; i++)
        different |= (unsigned char)(given[i < given_length ? i : 0] ^ key[i]);
    return !different;
}

bool guard_key(const exchange *e, refusal *why)
{
    size_t count;
    const char *given = header_of(e, "Authorization", &count);
    if (!e->server->keys)
        return true;
    bool good = false;
    if (given && count == 1 && strncasecmp(given, "Bearer ", 7) == 0)
        for (char **key = e->server->keys; *key; key++)
            good |= same_key(given + 7, *key);
    if (good)
        return true;
    refuse(why, "", "invalid_api_key", "%s", given ? "the API key is not one of this server's" :
                                                     "an API key is needed: send Authorization: Bearer KEY");
    why->type = "authentication_error";
    return false;
}

static bool add_key(http *server, size_t *count, const char *key, bp_error *error)
{
    if (*count == MAX_KEYS)
        return fail(error, BP_ELIMIT, "api_key_file: there are more than %d keys", MAX_KEYS), false;
    server->keys[*count] = strdup(key);
    return server->keys[(*count)++] ? true : (fail_memory(error), false);
}

static bool read_key_file(http *server, size_t *count, bp_error *error)
{
    const char *path = server->config->api_key_file;
    FILE *file = fopen(path, "re");
    char line[MAX_KEY + 2];
    bool good = true;
    if (!file)
        return fail(error, BP_EIO, "api_key_file \"%.200s\" cannot be read: %s", path, strerror(errno)), false;
    while (good && fgets(line, sizeof line, file)) {
        size_t length = strcspn(line, "\r\n");
        if (length > MAX_KEY) {
            good = false;
            fail(error, BP_EINVAL, "api_key_file \"%.200s\": key %zu is longer than %d bytes", path, *count + 1, MAX_KEY);
        }
        line[length] = '\0';
        if (good && length && line[0] != '#')
            good = add_key(server, count, line, error);
    }
    fclose(file);
    if (good && *count == (server->config->api_key != NULL))
        return fail(error, BP_EINVAL, "api_key_file \"%.200s\" holds no key", path), false;
    return good;
}

bool keys_load(http *server, bp_error *error)
{
    const http_config *c = server->config;
    size_t count = 0;
    if (!c->api_key && !c->api_key_file)
        return true;
    server->keys = calloc(MAX_KEYS + 1, sizeof *server->keys);
    if (!server->keys)
        return fail_memory(error), false;
    if (c->api_key && !*c->api_key)
        return fail(error, BP_EINVAL, "api_key is empty; leave it out to let everybody in"), false;
    return (!c->api_key || add_key(server, &count, c->api_key, error)) &&
           (!c->api_key_file || read_key_file(server, &count, error));
}

void keys_free(http *server)
{
    for (char **key = server->keys; key && *key; key++)
        free(*key);
    free(server->keys);
}
