#include "repl/conversation.h"

#include <stdlib.h>
#include <string.h>

static void free_turns(conversation *c, size_t kept)
{
    for (size_t i = kept; i < c->count; i++) {
        free(c->turns[i].role);
        free(c->turns[i].content);
    }
    if (kept < c->count)
        c->count = kept;
}

void conversation_free(conversation *c)
{
    free_turns(c, 0);
    free(c->turns);
    free(c->system);
    *c = (conversation){0};
}

bool conversation_set_system(conversation *c, const char *text)
{
    char *copy = text && *text ? strdup(text) : NULL;
    if (text && *text && !copy)
        return false;
    free(c->system);
    c->system = copy;
    return true;
}

static bool grow(conversation *c)
{
    if (c->count < c->capacity)
        return true;
    size_t capacity = c->capacity ? 2 * c->capacity : 16;
    turn *turns = realloc(c->turns, capacity * sizeof *turns);
    if (!turns)
        return false;
    c->turns = turns;
    c->capacity = capacity;
    return true;
}

bool conversation_add(conversation *c, const char *role, const char *content)
{
    turn added = {.role = strdup(role), .content = strdup(content)};
    if (!added.role || !added.content || !grow(c)) {
        free(added.role);
        free(added.content);
        return false;
    }
    c->turns[c->count++] = added;
    return true;
}

void conversation_drop(conversation *c, size_t kept)
{
    free_turns(c, kept);
}

size_t conversation_last_question(const conversation *c)
{
    for (size_t i = c->count; i > 0; i--)
        if (strcmp(c->turns[i - 1].role, "user") == 0)
            return i - 1;
    return c->count;
}

bp_message *conversation_messages(const conversation *c, size_t turns, uint32_t *count)
{
    size_t kept = turns < c->count ? turns : c->count, total = kept + (c->system != NULL);
    bp_message *messages = total < UINT32_MAX ? calloc(total + 1, sizeof *messages) : NULL;
    if (!messages)
        return NULL;
    size_t n = 0;
    if (c->system)
        messages[n++] = (bp_message){.role = "system", .content = c->system};
    for (size_t i = 0; i < kept; i++)
        messages[n++] = (bp_message){.role = c->turns[i].role, .content = c->turns[i].content};
    *count = (uint32_t)n;
    return messages;
}
