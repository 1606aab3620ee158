/* JSON from text and as text, whole or not at all. Where memory ends inside a string, jansson's own json_loadb leaves out
 * characters of it and json_dumps the quotes of a key, and both call it a success. */
#include "openai/answer.h"

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

json_t *openai_load(const char *bytes, size_t count, size_t flags, json_error_t *at, bool *memory)
{
    source s = {bytes, bytes + count};
    errno = 0;
    json_t *value = json_load_callback(give, &s, flags, at);
    *memory = errno == ENOMEM;
    if (!*memory)
        return value;
    json_decref(value);
    return NULL;
}

typedef struct sink {
    text *out;
    bool full;
} sink;

static int take(const char *bytes, size_t count, void *user)
{
    sink *s = user;
    s->full = s->full || !text_append(s->out, bytes, count);
    return s->full ? -1 : 0;
}

bool openai_dump(text *out, const json_t *value, size_t flags)
{
    size_t before = out->size;
    sink s = {.out = out};
    if (value && json_dump_callback(value, take, &s, JSON_COMPACT | flags) == 0 && !s.full)
        return true;
    text_cut(out, before);
    return false;
}

json_t *openai_copy(json_t *object)
{
    json_t *copy = json_copy(object);
    if (copy && json_object_size(copy) == json_object_size(object))
        return copy;
    json_decref(copy);
    return NULL;
}

json_t *openai_push(json_t *list, json_t *item)
{
    if (list && json_array_append_new(list, item) == 0)
        return list;
    if (!list)
        json_decref(item);
    json_decref(list);
    return NULL;
}
