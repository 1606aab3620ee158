#include "base/json.h"

#include "base/buffer.h"

#include <errno.h>

typedef struct source {
    const char *at, *end;
} source;

/* A byte at a time: before each it is seen whether the last one found memory. Numbers clear errno, but not before the byte
 * behind them was asked for. */
static size_t give(void *out, size_t room, void *user)
{
    source *s = user;
    if (errno == ENOMEM)
        return (size_t)-1;
    if (s->at == s->end || room == 0)
        return 0;
    *(char *)out = *s->at++;
    return 1;
}

json_t *json_read(const char *bytes, size_t count, size_t flags, json_error_t *why, bool *memory)
{
    source s = {bytes, bytes + count};
    errno = 0;
    json_t *value = json_load_callback(give, &s, flags, why);
    *memory = errno == ENOMEM;
    if (!*memory)
        return value;
    json_decref(value);
    return NULL;
}

typedef struct sink {
    buffer out;
    bool full;
} sink;

static int take(const char *bytes, size_t count, void *user)
{
    sink *s = user;
    s->full = s->full || !buffer_append(&s->out, bytes, count);
    return s->full ? -1 : 0;
}

char *json_write(const json_t *value, size_t flags)
{
    sink s = {.full = false};
    if (json_dump_callback(value, take, &s, flags) == 0 && !s.full && s.out.data)
        return s.out.data;
    buffer_free(&s.out);
    return NULL;
}

json_t *json_copy_whole(json_t *value)
{
    json_t *copy = json_copy(value);
    if (copy && json_object_size(copy) == json_object_size(value) && json_array_size(copy) == json_array_size(value))
        return copy;
    json_decref(copy);
    return NULL;
}
