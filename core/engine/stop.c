#include "engine/stop.h"

#include "base/error.h"
#include "base/utf8.h"

#include <backplane/engine.h>
#include <stdlib.h>
#include <string.h>

typedef struct automaton {
    size_t length, matched; /* matched < length between pushes */
    char *bytes;            /* [length] */
    uint16_t *border;       /* [length] border[i]: longest proper border of bytes[0 … i] */
} automaton;

struct stop {
    uint32_t count;
    automaton automata[];
};

/* The failure function of Knuth, Morris and Pratt 1977. */
static void fill_borders(automaton *a)
{
    size_t border = 0;
    a->border[0] = 0;
    for (size_t i = 1; i < a->length; i++) {
        while (border && a->bytes[i] != a->bytes[border])
            border = a->border[border - 1];
        border += a->bytes[i] == a->bytes[border];
        a->border[i] = (uint16_t)border;
    }
}

static bp_status fill_automaton(automaton *a, const char *string, uint32_t index, bp_error *error)
{
    if (!string || !*string)
        return error_set(error, BP_EINVAL, "stop string %u is empty", index);
    a->length = strnlen(string, STOP_MAX_BYTES + 1);
    if (a->length > STOP_MAX_BYTES)
        return error_set(error, BP_EINVAL, "stop string %u is longer than %d bytes", index, STOP_MAX_BYTES);
    if (!utf8_valid(string, a->length))
        return error_set(error, BP_EINVAL, "stop string %u is not valid UTF-8", index);
    a->bytes = malloc(a->length);
    a->border = calloc(a->length, sizeof *a->border);
    if (!a->bytes || !a->border)
        return error_set(error, BP_ENOMEM, "no memory for stop string %u", index);
    memcpy(a->bytes, string, a->length);
    fill_borders(a);
    return BP_OK;
}

bp_status stop_new(const char *const *strings, uint32_t count, stop **out, bp_error *error)
{
    *out = NULL;
    if (count == 0)
        return BP_OK;
    if (!strings || count > BP_MAX_STOPS)
        return error_set(error, BP_EINVAL, "%u stop strings are more than %d", count, BP_MAX_STOPS);
    stop *s = calloc(1, sizeof *s + count * sizeof *s->automata);
    if (!s)
        return error_set(error, BP_ENOMEM, "no memory for stop strings");
    s->count = count;
    for (uint32_t i = 0; i < count; i++) {
        bp_status status = fill_automaton(&s->automata[i], strings[i], i, error);
        if (status != BP_OK) {
            stop_free(s);
            return status;
        }
    }
    *out = s;
    return BP_OK;
}

void stop_free(stop *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->count; i++) {
        free(s->automata[i].bytes);
        free(s->automata[i].border);
    }
    free(s);
}

/* One byte further; true when the string is complete. */
static bool step(automaton *a, char byte)
{
    while (a->matched && a->bytes[a->matched] != byte)
        a->matched = a->border[a->matched - 1];
    a->matched += a->bytes[a->matched] == byte;
    if (a->matched < a->length)
        return false;
    a->matched = a->border[a->length - 1];
    return true;
}

bool stop_push(stop *s, const char *text, size_t bytes, stop_match *out)
{
    if (!s)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        bool found = false;
        for (uint32_t k = 0; k < s->count; k++) {
            automaton *a = &s->automata[k];
            if (!step(a, text[i]) || (found && out->length >= a->length))
                continue;
            *out = (stop_match){.index = k, .end = i + 1, .length = a->length};
            found = true;
        }
        if (found)
            return true;
    }
    return false;
}

size_t stop_held(const stop *s)
{
    size_t held = 0;
    for (uint32_t k = 0; s && k < s->count; k++)
        if (s->automata[k].matched > held)
            held = s->automata[k].matched;
    return held;
}
