/* check: one promise of the SDK, and how a plugin is held to it.
 *
 * A check runs in a process of its own and ends in one of three ways: it returns (the promise is kept), failed() or
 * not_offered(). Whatever the plugin does to that process is the check's failure and nobody else's. */
#ifndef CONFORMANCE_CHECK_H
#define CONFORMANCE_CHECK_H

#include <backplane/plugin.h>

#include <stdbool.h>
#include <stddef.h>

typedef struct subject subject; /* the plugin and what it is run with: subject.h */

typedef struct check {
    char name[40];
    const char *proves; /* one sentence, for --list */
    void (*run)(subject *u, uint32_t which);
    uint32_t which; /* of several alike: a weight type, a net */
} check;

/* What a plugin is held to, in the order in which it is run. */
typedef struct check_list {
    check *items;
    size_t count, room;
} check_list;

void checks_add(check_list *list, const char *name, void (*run)(subject *u, uint32_t which), uint32_t which, const char *proves);

/* Of any plugin, of a backend, of a frontend. */
void checks_add_plugin(check_list *list);
void checks_add_device(check_list *list);
void checks_add_calls(check_list *list);
void checks_add_ops(check_list *list);
void checks_add_steps(check_list *list);
void checks_add_caps(check_list *list);
void checks_add_lives(check_list *list);
void checks_add_frontend(check_list *list);

/* --- inside a check ---------------------------------------------------------------------------------------------------- */

/* One sentence. Both end the process. */
void failed(const char *format, ...) BP_PRINTF(1, 2) __attribute__((noreturn));
void not_offered(const char *format, ...) BP_PRINTF(1, 2) __attribute__((noreturn));
/* What the plugin has been asked to do, a literal, for the sentence if it does not come back. NULL: nothing. */
void doing(const char *what);

/* --- around a check ---------------------------------------------------------------------------------------------------- */

typedef enum verdict { KEPT, BROKEN, NOT_OFFERED } verdict;
enum { SENTENCE_BYTES = 700 };

/* Runs it in a process of its own, for at most so many seconds, and says what came of it. */
verdict check_run(const check *c, subject *u, unsigned seconds, char sentence[SENTENCE_BYTES]);

#endif
