#include "sample/logprobs.h"

#include "sample/weight.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { GROUP = 32 };

/* The highest logits so far, descending; equal ones in the order they came, which is that of the tokens. */
typedef struct leaders {
    uint32_t count, limit;
    float floor; /* a logit must be above this to enter */
    float logits[BP_MAX_LOGPROBS];
    int32_t *tokens;
} leaders;

static void enter(leaders *l, float logit, uint32_t token)
{
    uint32_t place = l->count < l->limit ? l->count++ : l->limit - 1;
    for (; place && l->logits[place - 1] < logit; place--) {
        l->logits[place] = l->logits[place - 1];
        l->tokens[place] = l->tokens[place - 1];
    }
    l->logits[place] = logit;
    l->tokens[place] = (int32_t)token;
    if (l->count == l->limit)
        l->floor = l->logits[l->limit - 1];
}

static void find_leaders(const row *r, leaders *l)
{
    float buffer[ROW_BLOCK];
    uint32_t n, blocks = row_blocks(r);
    for (uint32_t b = 0; b < blocks; b++) {
        if (!(r->tops[b] > l->floor))
            continue;
        const float *logits = row_block(r, b, buffer, &n);
        for (uint32_t g = 0; g < n; g += GROUP) {
            uint32_t end = g + GROUP < n ? g + GROUP : n;
            if (!r->scan->any_above(logits + g, end - g, l->floor))
                continue;
            for (uint32_t i = g; i < end; i++)
                if (logits[i] > l->floor)
                    enter(l, logits[i], b * ROW_BLOCK + i);
        }
    }
}

void logprobs_fill(const row *r, int32_t chosen, uint32_t count, sampler_choice *out)
{
    row_mass mass;
    row_weigh(r, 1.0f, &mass);
    double total = weight_log(weight_ratio(mass.total)), top = (double)r->top;
    float logit = r->logits[chosen];
    out->logprob = (float)(((double)(logit < FLT_MAX ? logit : FLT_MAX) - top) - total);
    if (count == 0)
        return;
    leaders l = {.limit = count, .floor = -INFINITY, .tokens = out->top_tokens};
    find_leaders(r, &l);
    out->top_count = l.count;
    for (uint32_t i = 0; i < l.count; i++)
        out->top_logprobs[i] = (float)(((double)l.logits[i] - top) - total);
}
