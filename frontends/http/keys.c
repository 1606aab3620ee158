/* Keys: who may ask, how often, and how much at a time.
 *
 * A key's requests are counted by a bucket that holds one minute of them and fills evenly. The number of a key is the tenant's
 * name in the engine: prompts of one key never find what another key's prompts left in the prefix cache, and those who wait are
 * admitted in turns of keys. */
#include "http/http.h"

#include "common/fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_KEYS = 4096, MAX_KEY = 512 };

struct api_key {
    char *text;
    char tenant[16];
    uint32_t running;
    double allowance; /* requests that may come now */
    uint64_t filled_at;
};

/* Takes as long for a wrong key as for a right one. */
static bool same_key(const char *given, const char *key)
{
    size_t given_length = strlen(given), length = strlen(key);
    unsigned different = given_length != length;
    for (size_t i = 0; i < length; i++)
        different |= (unsigned char)(given[i < given_length ? i : 0] ^ key[i]);
    return !different;
}

static api_key *find_key(const http *server, const char *given)
{
    api_key *found = NULL;
    for (size_t i = 0; i < server->key_count; i++)
        if (same_key(given, server->keys[i].text))
            found = &server->keys[i];
    return found;
}

bool keys_check(exchange *e, refusal *why)
{
    size_t count;
    const char *given = header_of(e, "Authorization", &count);
    if (!e->server->keys)
        return true;
    if (given && count == 1 && strncasecmp(given, "Bearer ", 7) == 0)
        e->key = find_key(e->server, given + 7);
    if (e->key)
        return true;
    refuse(why, "", "invalid_api_key", "%s", given ? "the API key is not one of this server's"
                                                   : "an API key is needed: send Authorization: Bearer KEY");
    why->type = "authentication_error";
    return false;
}

/* One more request of a key, with the lock held. Else *seconds is when to come again. */
static bool take_place(const http *server, api_key *key, unsigned *seconds)
{
    const http_config *c = server->config;
    double rate = (double)c->key_requests / 60e9;
    uint64_t now = server->host->now(server->host->context);
    if (c->key_requests) {
        key->allowance += (double)(now - key->filled_at) * rate;
        if (key->allowance > (double)c->key_requests)
            key->allowance = (double)c->key_requests;
        key->filled_at = now;
    }
    *seconds = 1;
    if (c->key_concurrency && key->running >= (uint32_t)c->key_concurrency)
        return false;
    if (c->key_requests && key->allowance < 1) {
        *seconds = 1 + (unsigned)((1 - key->allowance) / rate / 1e9);
        return false;
    }
    key->allowance -= 1;
    key->running++;
    return true;
}

bool keys_enter(exchange *e, refusal *why)
{
    if (!e->key)
        return true;
    pthread_mutex_lock(&e->server->lock);
    bool good = take_place(e->server, e->key, &e->retry_seconds);
    pthread_mutex_unlock(&e->server->lock);
    e->entered = good;
    if (good)
        return true;
    refuse(why, "", "rate_limit_exceeded", "this key has too many requests; try again in %u s", e->retry_seconds);
    why->type = "rate_limit_error";
    return false;
}

void keys_leave(exchange *e)
{
    if (!e->entered)
        return;
    pthread_mutex_lock(&e->server->lock);
    e->key->running--;
    pthread_mutex_unlock(&e->server->lock);
    e->entered = false;
}

const char *keys_tenant(const exchange *e)
{
    return e->key ? e->key->tenant : NULL;
}

bool keys_apply(const exchange *e, bp_request *r, refusal *why)
{
    int64_t most = e->server->config->max_priority;
    r->salt = keys_tenant(e);
    return r->priority <= most || refuse(why, "priority", "invalid_value", "priority is %d, and this server allows %lld at most",
                                         r->priority, (long long)most);
}

/* --- where they come from ------------------------------------------------------------------------------------------ */

static bool add_key(http *server, const char *word, bp_error *error)
{
    if (server->key_count == MAX_KEYS)
        return fail(error, BP_ELIMIT, "api_key_file: there are more than %d keys", MAX_KEYS), false;
    api_key *key = &server->keys[server->key_count];
    key->text = strdup(word);
    key->allowance = (double)server->config->key_requests;
    key->filled_at = server->host->now(server->host->context);
    snprintf(key->tenant, sizeof key->tenant, "key %zu", server->key_count);
    if (!key->text)
        return fail_memory(error), false;
    server->key_count++;
    return true;
}

static bool read_key_file(http *server, bp_error *error)
{
    const char *path = server->config->api_key_file;
    FILE *file = fopen(path, "re");
    char line[MAX_KEY + 2];
    bool good = true;
    size_t before = server->key_count;
    if (!file)
        return fail(error, BP_EIO, "api_key_file \"%.200s\" cannot be read: %s", path, strerror(errno)), false;
    for (size_t number = 1; good && fgets(line, sizeof line, file); number++) {
        size_t length = strcspn(line, "\r\n");
        if (length > MAX_KEY) {
            fail(error, BP_EINVAL, "api_key_file \"%.200s\": line %zu is longer than %d bytes", path, number, MAX_KEY);
            good = false;
        }
        line[length] = '\0';
        if (good && length && line[0] != '#')
            good = add_key(server, line, error);
    }
    fclose(file);
    if (good && server->key_count == before)
        return fail(error, BP_EINVAL, "api_key_file \"%.200s\" holds no key", path), false;
    return good;
}

bool keys_load(http *server, bp_error *error)
{
    const http_config *c = server->config;
    if (!c->api_key && !c->api_key_file)
        return true;
    server->keys = calloc(MAX_KEYS, sizeof *server->keys);
    if (!server->keys)
        return fail_memory(error), false;
    if (c->api_key && !*c->api_key)
        return fail(error, BP_EINVAL, "api_key is empty; leave it out to let everybody in"), false;
    return (!c->api_key || add_key(server, c->api_key, error)) && (!c->api_key_file || read_key_file(server, error));
}

void keys_free(http *server)
{
    for (size_t i = 0; i < server->key_count; i++)
        free(server->keys[i].text);
    free(server->keys);
}
