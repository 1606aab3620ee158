#include "walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *room(size_t count, size_t size)
{
    void *data = calloc(count ? count : 1, size);
    if (!data)
        die("no memory for a walk");
    return data;
}

walk *walk_begin(const subject *s, const machine_setup *how)
{
    walk *w = room(1, sizeof *w);
    w->s = s;
    w->how = *how;
    w->m = machine_open(&s->program, how);
    w->axis = "begin";
    w->random = how->threads * 977 + how->page_tokens;
    w->page_users = room(how->page_count, sizeof *w->page_users);
    w->stale = room(how->page_count, sizeof *w->stale);
    w->free_pages = room(how->page_count, sizeof *w->free_pages);
    w->out = room((size_t)MACHINE_STEP * s->program.output_width, sizeof *w->out);
    for (uint32_t i = 0; i < how->page_count; i++)
        w->free_pages[w->free_count++] = (int32_t)i;
    return w;
}

void walk_end(walk *w)
{
    machine_close(w->m);
    free(w->page_users);
    free(w->stale);
    free(w->free_pages);
    free(w->out);
    free(w);
}

uint32_t walk_random(walk *w, uint32_t below)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % below;
}

static int32_t take_page(walk *w, int32_t prompt)
{
    if (w->free_count == 0)
        die("%s: out of pages", w->axis);
    /* Of the ones freed last, so that what others left is met soon. */
    uint32_t recent = w->free_count < 8 ? w->free_count : 8, index = w->free_count - 1 - walk_random(w, recent);
    int32_t page = w->free_pages[index];
    w->free_pages[index] = w->free_pages[--w->free_count];
    w->page_users[page] = 1;
    if (prompt != POISONED && w->stale[page])
        visit(AXIS_NEIGHBOUR, 2);
    w->stale[page] = prompt == POISONED;
    return page;
}

sequence *walk_new(walk *w, int32_t prompt)
{
    for (uint32_t i = 0; i < WALK_LIVE; i++) {
        sequence *q = &w->sequences[i];
        if (q->live)
            continue;
        *q = (sequence){.live = true, .prompt = prompt};
        return q;
    }
    die("%s: more than %d sequences", w->axis, WALK_LIVE);
}

void walk_preempt(walk *w, sequence *q)
{
    for (int32_t i = 0; i < q->page_count; i++)
        if (--w->page_users[q->pages[i]] == 0)
            w->free_pages[w->free_count++] = q->pages[i];
    q->page_count = q->at = 0;
}

void walk_free(walk *w, sequence *q)
{
    walk_preempt(w, q);
    q->live = false;
}

sequence *walk_fork(walk *w, const sequence *from, int32_t length)
{
    int32_t page = (int32_t)w->how.page_tokens, whole = length / page;
    sequence *q = walk_new(w, from->prompt);
    for (int32_t i = 0; i < whole; i++) {
        q->pages[q->page_count++] = from->pages[i];
        w->page_users[from->pages[i]]++;
    }
    visit(AXIS_SHARE, whole > 0 ? 0 : VISITS_VALUES);
    if (length % page != 0 && !w->trouble[0]) {
        q->pages[q->page_count++] = take_page(w, q->prompt);
        machine_copy_pages(w->m, &from->pages[whole], &q->pages[whole], 1);
        visit(AXIS_SHARE, 1);
    }
    q->at = length;
    return q;
}

static void differs(walk *w, const sequence *q, int32_t position, const char *what)
{
    snprintf(w->trouble, sizeof w->trouble, "%s, %s, %u threads, pages of %u, %s: prompt %d, position %d: %s", w->s->name,
             w->how.isa, w->how.threads, w->how.page_tokens, w->axis, q->prompt, position, what);
}

void walk_check_kv(walk *w, const sequence *q, int32_t from)
{
    uint32_t caches = w->s->program.cache_count;
    int32_t page = (int32_t)w->how.page_tokens;
    for (uint32_t c = 0; c < caches && !w->trouble[0]; c++) {
        for (int32_t at = from; at < q->at; at++) {
            uint64_t hash = machine_kv_hash(w->m, c, q->pages[at / page], (uint32_t)(at % page));
            if (hash == w->s->kv[q->prompt][(size_t)at * caches + c])
                continue;
            char what[80];
            snprintf(what, sizeof what, "K and V of layer %u are the first that differ", c);
            differs(w, q, at, what);
            break;
        }
    }
}

/* The rows of one move. */
static void compare(walk *w, const move *v, const float *rows)
{
    size_t width = w->s->program.output_width, count = w->s->pools ? 1 : (size_t)v->count;
    const sequence *q = v->q;
    if (q->prompt == POISONED) {
        if (rows[0] == rows[0])
            die("%s, %s: a poisoned sequence did not become NaN", w->s->name, w->axis);
        for (int32_t t = 0; t < v->count; t++)
            visit(AXIS_NEIGHBOUR, w->s->poison[q->at + t] == RECIPE_VOCABULARY - 1 ? 0 : 1);
        return;
    }
    const float *expected = w->s->logits[q->prompt] + (w->s->pools ? 0 : (size_t)q->at * width);
    long index = first_difference(expected, rows, count * width);
    if (index < 0) {
        visit(AXIS_POSITION, (uint32_t)(q->at + v->count - 1));
        return;
    }
    char what[120];
    int32_t position = q->at + (int32_t)((size_t)index / width);
    snprintf(what, sizeof what, "output %zu is %a and not %a", (size_t)index % width, (double)rows[index],
             (double)expected[index]);
    /* Where K and V differ too, the layer says more. */
    sequence ahead = *q;
    ahead.at = q->at + v->count;
    walk_check_kv(w, &ahead, 0);
    size_t length = strlen(w->trouble);
    if (length)
        snprintf(w->trouble + length, sizeof w->trouble - length, "; %s", what);
    else
        differs(w, q, position, what);
}

static void reserve(walk *w, sequence *q, int32_t tokens)
{
    int32_t page = (int32_t)w->how.page_tokens, needed = (tokens + page - 1) / page;
    while (q->page_count < needed)
        q->pages[q->page_count++] = take_page(w, q->prompt);
}

void walk_step(walk *w, const move *moves, uint32_t count)
{
    static piece pieces[MACHINE_SEQUENCES];
    static int32_t tokens[MACHINE_STEP];
    uint32_t used = 0, vocabulary = w->s->recipe ? RECIPE_VOCABULARY - 2 : w->s->program.vocab_size;
    bool prefill = false, decode = false;
    if (w->trouble[0])
        return;
    for (uint32_t i = 0; i < count; i++) {
        sequence *q = moves[i].q;
        const int32_t *prompt = q->prompt == POISONED ? w->s->poison : w->s->tokens[q->prompt];
        int32_t rows = moves[i].count + moves[i].wrong;
        if (used + (uint32_t)rows > MACHINE_STEP)
            die("%s: a step of too many tokens", w->axis);
        memcpy(tokens + used, prompt + q->at, (size_t)moves[i].count * sizeof *tokens);
        for (int32_t t = moves[i].count; t < rows; t++)
            tokens[used + (uint32_t)t] = (int32_t)walk_random(w, vocabulary);
        reserve(w, q, q->at + rows);
        pieces[i] = (piece){tokens + used, q->at, rows, q->pages};
        used += (uint32_t)rows;
        prefill = prefill || rows > 1;
        decode = decode || (rows == 1 && q->at > 0);
        visit(AXIS_ROW, i);
    }
    memset(w->out, 0xff, (size_t)used * w->s->program.output_width * sizeof *w->out);
    machine_step(w->m, pieces, count, w->out);
    visit(AXIS_BATCH, count);
    if (prefill && decode)
        visit(AXIS_NEIGHBOUR, 3);
    const float *rows = w->out;
    for (uint32_t i = 0; i < count && !w->trouble[0]; i++) {
        compare(w, &moves[i], rows);
        moves[i].q->at += moves[i].count;
        rows += (size_t)(w->s->pools ? 1 : moves[i].count + moves[i].wrong) * w->s->program.output_width;
    }
}

void walk_run(walk *w, sequence *q, int32_t to, int32_t chunk)
{
    while (q->at < to && !w->trouble[0]) {
        int32_t count = to - q->at < chunk ? to - q->at : chunk;
        walk_step(w, &(move){q, count, 0}, 1);
        visit(AXIS_CHUNK, (uint32_t)count);
    }
}
