/* conversation: what was said so far.
 *
 * Invariants:
 *   - At most one system message, kept apart from the turns; turns are whatever a file held or user and assistant in turn.
 *   - All text is valid UTF-8 without NUL.
 * Threads: one at a time per conversation. */
#ifndef BACKPLANE_REPL_CONVERSATION_H
#define BACKPLANE_REPL_CONVERSATION_H

#include <backplane/engine.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct turn {
    char *role, *content;
} turn;

typedef struct conversation {
    char *system; /* NULL: none */
    turn *turns;  /* [count] */
    size_t count, capacity;
} conversation;

/* A zeroed one is empty and valid. */
void conversation_free(conversation *c);
bool conversation_set_system(conversation *c, const char *text); /* NULL or "" takes it away; false when out of memory */
bool conversation_add(conversation *c, const char *role, const char *content);
void conversation_drop(conversation *c, size_t kept); /* all turns from number `kept` on */
/* The number of the last turn that a user took; `count` where there is none. */
size_t conversation_last_question(const conversation *c);
/* The system message and the first `turns` turns as a request has them, in memory that the caller frees; texts stay the
 * conversation's. NULL when out of memory. */
bp_message *conversation_messages(const conversation *c, size_t turns, uint32_t *count);

/* {"messages": [{"role": …, "content": …}, …]}, the system message first. A file is written whole or not at all. */
bp_status conversation_save(const conversation *c, const char *path, bp_error *error);
/* The conversation stays as it is where the file is not one. */
bp_status conversation_load(conversation *c, const char *path, bp_error *error);

#endif
