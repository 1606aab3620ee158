#include "sample/constraint.h"

#include "base/error.h"
#include "sample/grammar.h"
#include "sample/masks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 10 };

/* A compiled grammar. Guarded by the lock, but for `machine` and `collect_at`, which are the walking thread's. */
typedef struct shared {
    struct shared *next;            /* of its bucket */
    struct shared *older, *younger; /* of those that nobody uses */
    machine *machine;
    uint64_t number;
    size_t collect_at, idle_bytes;  /* idle_bytes: while nobody uses it */
    constraint *users;
    uint32_t kind;
    size_t bytes;
    char text[];
} shared;

struct constraint {
    constraints *owner;
    shared *grammar;
    constraint *next, **link; /* of the grammar's users; *link points here */
    uint32_t state;
};

struct constraints {
    pthread_mutex_t lock;
    masks *masks;
    shared *buckets[BUCKETS];
    shared *oldest, *youngest;
    size_t idle_bytes;
    uint64_t numbers;
};

bp_status constraints_new(const token_source *source, constraints **out, bp_error *error)
{
    constraints *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(error, BP_ENOMEM, "no memory for grammars");
    bp_status status = masks_new(source, CONSTRAINTS_MASK_BYTES, &c->masks, error);
    if (status != BP_OK) {
        free(c);
        return status;
    }
    pthread_mutex_init(&c->lock, NULL);
    *out = c;
    return BP_OK;
}

static void free_shared(shared *s)
{
    if (s)
        machine_free(s->machine);
    free(s);
}

void constraints_free(constraints *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (shared *s = c->buckets[i], *next; s; s = next) {
            next = s->next;
            free_shared(s);
        }
    }
    masks_free(c->masks);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

size_t constraints_idle_bytes(constraints *c)
{
    pthread_mutex_lock(&c->lock);
    size_t bytes = c->idle_bytes;
    pthread_mutex_unlock(&c->lock);
    return bytes;
}

/* --- grammars, with the lock held ------------------------------------------------------------------------------------------- */

static shared **bucket_of(constraints *c, uint32_t kind, const char *text, size_t bytes)
{
    uint64_t hash = kind + 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return &c->buckets[hash >> 32 & (BUCKETS - 1)];
}

static shared *find(constraints *c, uint32_t kind, const char *text, size_t bytes)
{
    shared *s = *bucket_of(c, kind, text, bytes);
    while (s && (s->kind != kind || s->bytes != bytes || memcmp(s->text, text, bytes) != 0))
        s = s->next;
    return s;
}

static void leave_idle(constraints *c, shared *s)
{
    *(s->older ? &s->older->younger : &c->oldest) = s->younger;
    *(s->younger ? &s->younger->older : &c->youngest) = s->older;
    s->older = s->younger = NULL;
    c->idle_bytes -= s->idle_bytes;
    s->idle_bytes = 0;
}

static void evict(constraints *c, shared *s)
{
    leave_idle(c, s);
    shared **at = bucket_of(c, s->kind, s->text, s->bytes);
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free_shared(s);
}

static void enter_idle(constraints *c, shared *s)
{
    s->older = c->youngest;
    *(c->youngest ? &c->youngest->younger : &c->oldest) = s;
    c->youngest = s;
    s->idle_bytes = sizeof *s + s->bytes + machine_bytes(s->machine);
    c->idle_bytes += s->idle_bytes;
    while (c->idle_bytes > CONSTRAINTS_IDLE_BYTES) /* O2 */
        evict(c, c->oldest);
}

static void join(constraints *c, shared *s, constraint *user)
{
    if (!s->users && s->idle_bytes)
        leave_idle(c, s);
    user->grammar = s;
    user->next = s->users;
    user->link = &s->users;
    if (s->users)
        s->users->link = &user->next;
    s->users = user;
}

/* --- constraints ---------------------------------------------------------------------------------------------------------------- */

static bp_status compile(uint32_t kind, const char *text, size_t bytes, shared **out, bp_error *error)
{
    machine *m = NULL;
    bp_status status = grammar_compile(kind, text, bytes, &m, error);
    if (status != BP_OK)
        return status;
    shared *s = calloc(1, sizeof *s + bytes);
    if (!s) {
        machine_free(m);
        return error_set(error, BP_ENOMEM, "no memory for a grammar of %zu bytes", bytes);
    }
    s->machine = m;
    s->collect_at = 2 * machine_bytes(m) + CONSTRAINTS_COLLECT_BYTES;
    s->kind = kind;
    s->bytes = bytes;
    memcpy(s->text, text, bytes);
    *out = s;
    return BP_OK;
}

bp_status constraint_new(constraints *c, uint32_t kind, const char *text, size_t bytes, constraint **out, bp_error *error)
{
    constraint *user = calloc(1, sizeof *user);
    if (!user)
        return error_set(error, BP_ENOMEM, "no memory for a grammar");
    *user = (constraint){.owner = c, .state = MACHINE_START};
    pthread_mutex_lock(&c->lock);
    shared *found = find(c, kind, text, bytes), *made = NULL;
    if (found)
        join(c, found, user);
    pthread_mutex_unlock(&c->lock);
    bp_status status = found ? BP_OK : compile(kind, text, bytes, &made, error);
    if (status != BP_OK) {
        free(user);
        return status;
    }
    if (made) {
        pthread_mutex_lock(&c->lock);
        found = find(c, kind, text, bytes); /* another thread may have been as quick */
        if (!found) {
            shared **bucket = bucket_of(c, kind, text, bytes);
            made->number = ++c->numbers;
            made->next = *bucket;
            *bucket = found = made;
            made = NULL;
        }
        join(c, found, user);
        pthread_mutex_unlock(&c->lock);
        free_shared(made);
    }
    *out = user;
    return BP_OK;
}

void constraint_free(constraint *user)
{
    if (!user)
        return;
    constraints *c = user->owner;
    shared *s = user->grammar;
    pthread_mutex_lock(&c->lock);
    *user->link = user->next;
    if (user->next)
        user->next->link = user->link;
    if (!s->users)
        enter_idle(c, s);
    pthread_mutex_unlock(&c->lock);
    free(user);
}

/* --- walking ---------------------------------------------------------------------------------------------------------------------- */

/* O3. With the lock held, so that the users stay; only this thread changes where they are. */
static bp_status collect(shared *s, bp_error *error)
{
    size_t count = 0;
    for (constraint *u = s->users; u; u = u->next)
        count++;
    uint32_t **states = malloc((count + 1) * sizeof *states);
    if (!states)
        return error_set(error, BP_ENOMEM, "no memory to tidy a grammar");
    count = 0;
    for (constraint *u = s->users; u; u = u->next)
        states[count++] = &u->state;
    bp_status status = machine_collect(s->machine, states, count, error);
    free(states);
    s->collect_at = 2 * machine_bytes(s->machine) + CONSTRAINTS_COLLECT_BYTES;
    return status;
}

static bp_status tidy(constraint *user, bp_error *error)
{
    shared *s = user->grammar;
    if (machine_bytes(s->machine) <= s->collect_at)
        return BP_OK;
    pthread_mutex_lock(&user->owner->lock);
    bp_status status = collect(s, error);
    pthread_mutex_unlock(&user->owner->lock);
    return status;
}

bp_status constraint_mask(constraint *user, bool with_ends, const uint64_t **out, bp_error *error)
{
    bp_status status = tidy(user, error);
    if (status == BP_OK)
        status = masks_get(user->owner->masks, user->grammar->machine, user->grammar->number, user->state, with_ends, out, error);
    return status;
}

bp_status constraint_accept(constraint *user, uint32_t token, bp_error *error)
{
    uint32_t length = 0, state = user->state;
    const char *bytes = masks_text(user->owner->masks, token, &length);
    for (uint32_t i = 0; i < length; i++) {
        bp_status status = machine_next(user->grammar->machine, state, (unsigned char)bytes[i], &state, error);
        if (status != BP_OK)
            return status;
    }
    if (!bytes || length == 0 || state == MACHINE_DEAD)
        return error_set(error, BP_EINTERNAL, "token %u does not fit the grammar", token);
    user->state = state;
    return BP_OK;
}

bool constraint_over(const constraint *user)
{
    return machine_must_end(user->grammar->machine, user->state);
}
