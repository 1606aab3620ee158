#include "engine/queue.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static void forget(tenant **place)
{
    tenant *gone = *place;
    *place = gone->next;
    free(gone);
}

void queue_clear(queue *w)
{
    while (w->tenants)
        forget(&w->tenants);
    *w = (queue){.arrivals = w->arrivals};
}

/* W2; the newest stand first. */
static void forget_those_away(queue *w)
{
    uint32_t away = 0;
    for (tenant **place = &w->tenants; *place;) {
        const tenant *t = *place;
        if (t->present == 0 && (t->served <= w->turns.now || ++away > QUEUE_AWAY))
            forget(place);
        else
            place = &(*place)->next;
    }
}

static tenant *find_tenant(queue *w, const char *salt)
{
    for (tenant *t = w->tenants; t; t = t->next)
        if (strcmp(t->salt, salt) == 0)
            return t;
    forget_those_away(w);
    size_t bytes = strlen(salt) + 1;
    tenant *t = calloc(1, sizeof *t + bytes);
    if (!t)
        return NULL;
    memcpy(t->salt, salt, bytes);
    t->next = w->tenants;
    w->tenants = t;
    return t;
}

static void insert(queue *w, sequence *q)
{
    sequence **place = &w->first;
    while (*place && ((*place)->priority != q->priority ? (*place)->priority > q->priority : (*place)->number < q->number))
        place = &(*place)->next;
    q->next = *place;
    *place = q;
    q->state = SEQUENCE_WAITING;
    w->count++;
}

bp_status queue_enter(queue *w, sequence *q, bp_error *error)
{
    tenant *t = find_tenant(w, q->salt ? q->salt : "");
    if (!t)
        return error_set(error, BP_ENOMEM, "no memory for a tenant's turns");
    if (t->present++ == 0)
        t->served = turns_come(&w->turns, t->served);
    w->present++;
    q->tenant = t;
    q->turn = SEQUENCE_NO_TURN;
    q->number = w->arrivals++;
    insert(w, q);
    return BP_OK;
}

void queue_return(queue *w, sequence *q)
{
    insert(w, q);
}

static uint64_t turn_of(const sequence *q)
{
    return q->turn == SEQUENCE_NO_TURN ? q->tenant->served : q->turn;
}

sequence *queue_next(const queue *w)
{
    sequence *next = w->first;
    for (sequence *q = next; q && q->priority == next->priority; q = q->next)
        if (turn_of(q) < turn_of(next))
            next = q;
    return next;
}

void queue_take(queue *w, sequence *q)
{
    sequence **place = &w->first;
    while (*place != q)
        place = &(*place)->next;
    *place = q->next;
    q->next = NULL;
    w->count--;
}

void queue_admit(queue *w, sequence *q, uint32_t tokens)
{
    queue_take(w, q);
    if (q->turn != SEQUENCE_NO_TURN)
        return;
    q->turn = q->tenant->served;
    turns_begin(&w->turns, q->turn);
    queue_serve(q, tokens);
}

void queue_serve(sequence *q, uint32_t tokens)
{
    q->tenant->served += tokens;
}

void queue_leave(queue *w, sequence *q)
{
    q->tenant->present--;
    q->tenant = NULL;
    if (--w->present == 0)
        queue_clear(w);
}
