#include "sample/changes.h"

#include "base/error.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* The token's entry, made if need be; NULL when out of memory. */
static change *entry_of(changes *c, uint32_t token)
{
    if (!c->heads) {
        c->heads = calloc(c->vocab_size / ROW_BLOCK + 1, sizeof *c->heads);
        if (!c->heads)
            return NULL;
    }
    uint32_t *head = &c->heads[token / ROW_BLOCK];
    for (uint32_t i = *head; i; i = c->entries[i - 1].next)
        if (c->entries[i - 1].token == token)
            return &c->entries[i - 1];
    if (c->entry_count == c->entry_capacity) {
        uint32_t capacity = c->entry_capacity ? c->entry_capacity * 2 : 64; /* at most one entry a token: no overflow */
        change *larger = realloc(c->entries, capacity * sizeof *larger);
        if (!larger)
            return NULL;
        c->entries = larger;
        c->entry_capacity = capacity;
    }
    c->entries[c->entry_count++] = (change){.token = token, .next = *head};
    *head = c->entry_count;
    return &c->entries[c->entry_count - 1];
}

static bp_status no_memory(const changes *c, bp_error *error)
{
    return error_set(error, BP_ENOMEM, "no memory to change the logits of %u tokens", c->entry_count + 1);
}

bp_status changes_init(changes *c, const bp_sampling *p, uint32_t vocab_size, bp_error *error)
{
    *c = (changes){.vocab_size = vocab_size, .repetition = p->repetition_penalty, .frequency = p->frequency_penalty,
                   .presence = p->presence_penalty, .window = p->penalty_window};
    c->penalties = c->repetition != 1.0f || c->frequency != 0.0f || c->presence != 0.0f;
    if (p->logit_bias_count && !p->logit_bias)
        return error_set(error, BP_EINVAL, "logit_bias is missing although %u entries are announced", p->logit_bias_count);
    for (uint32_t i = 0; i < p->logit_bias_count; i++) {
        const bp_logit_bias *b = &p->logit_bias[i];
        if (b->token < 0 || (uint32_t)b->token >= vocab_size)
            return error_set(error, BP_EINVAL, "logit_bias names token %d, which is not in the vocabulary of %u tokens",
                             b->token, vocab_size);
        if (!(b->bias >= -100.0f && b->bias <= 100.0f))
            return error_set(error, BP_EINVAL, "logit_bias of token %d is %g; it must be between -100 and 100", b->token,
                             (double)b->bias);
        change *entry = entry_of(c, (uint32_t)b->token);
        if (!entry)
            return no_memory(c, error);
        entry->bias += b->bias;
    }
    return BP_OK;
}

void changes_clear(changes *c)
{
    free(c->heads);
    free(c->entries);
    free(c->history);
    *c = (changes){0};
}

/* Room for one more token in the window's history. */
static bool reserve_history(changes *c)
{
    if (c->accepted < c->history_capacity || c->history_capacity == c->window)
        return true;
    uint32_t capacity = c->history_capacity ? c->history_capacity : 64;
    capacity = capacity < c->window / 2 ? capacity * 2 : c->window;
    int32_t *larger = realloc(c->history, capacity * sizeof *larger);
    if (!larger)
        return false;
    c->history = larger;
    c->history_capacity = capacity;
    return true;
}

bp_status changes_accept(changes *c, int32_t token, bp_error *error)
{
    if (token < 0 || (uint32_t)token >= c->vocab_size)
        return error_set(error, BP_EINVAL, "token %d is not in the vocabulary of %u tokens", token, c->vocab_size);
    if (!c->penalties)
        return BP_OK;
    if (c->window && !reserve_history(c))
        return no_memory(c, error);
    change *entry = entry_of(c, (uint32_t)token);
    if (!entry)
        return no_memory(c, error);
    entry->count++;
    if (c->window) {
        int32_t *slot = &c->history[c->accepted % c->window];
        if (c->accepted >= c->window)
            entry_of(c, (uint32_t)*slot)->count--; /* it has an entry: it was accepted once */
        *slot = token;
    }
    c->accepted++;
    return BP_OK;
}

static float bounded(float x)
{
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : x;
}

/* Repetition penalty: N. Keskar et al., "CTRL", 2019. The other two are the OpenAI API's. */
static float changed(const changes *c, const change *entry, float z)
{
    if (z == -INFINITY)
        return z;
    z = bounded(bounded(z) + entry->bias);
    if (entry->count == 0 || !c->penalties)
        return z;
    z = bounded(z > 0.0f ? z / c->repetition : z * c->repetition);
    z = bounded(z - c->frequency * (float)entry->count);
    return bounded(z - c->presence);
}

void changes_apply(const changes *c, uint32_t block, float *logits)
{
    for (uint32_t i = c->heads[block]; i; i = c->entries[i - 1].next) {
        const change *entry = &c->entries[i - 1];
        float *z = &logits[entry->token % ROW_BLOCK];
        *z = changed(c, entry, *z);
    }
}
