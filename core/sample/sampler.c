#include "sample/sampler.h"

#include "base/error.h"
#include "sample/candidates.h"
#include "sample/logprobs.h"
#include "sample/random.h"
#include "sample/weight.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

struct sampler {
    uint32_t vocab_size, top_k; /* top_k 0: off */
    float slope;                /* 1 / temperature; 0: greedy */
    float top_p, typical_p;
    float min_reach; /* -ln(min_p); infinity: off */
    uint64_t seed;
    int32_t logprobs;
    changes changes;
    candidates candidates; /* kept from step to step for its memory alone */
    row_tools tools;
};

void sampling_defaults(bp_sampling *out)
{
    *out = (bp_sampling){.size = sizeof *out, .temperature = 1.0f, .top_p = 1.0f, .typical_p = 1.0f,
                         .repetition_penalty = 1.0f, .logprobs = -1};
}

/* --- parameters ------------------------------------------------------------------------------------------------------- */

static bp_status check_range(const char *field, float value, float least, float most, bp_error *error)
{
    if (value >= least && value <= most) /* false for NaN */
        return BP_OK;
    return error_set(error, BP_EINVAL, "%s is %g; it must be between %g and %g", field, (double)value, (double)least,
                     (double)most);
}

static bp_status check(const bp_sampling *p, uint32_t vocab_size, bp_error *error)
{
    const struct { const char *field; float value, least, most; } ranges[] = {
        {"temperature", p->temperature, 0.0f, 2.0f},
        {"top_p", p->top_p, 0.0f, 1.0f},
        {"min_p", p->min_p, 0.0f, 1.0f},
        {"typical_p", p->typical_p, 0.0f, 1.0f},
        {"repetition_penalty", p->repetition_penalty, 0.01f, 100.0f},
        {"frequency_penalty", p->frequency_penalty, -2.0f, 2.0f},
        {"presence_penalty", p->presence_penalty, -2.0f, 2.0f},
    };
    if (vocab_size == 0 || vocab_size > WEIGHT_TOKENS)
        return error_set(error, BP_EINVAL, "a vocabulary of %u tokens cannot be sampled from; 1 to %u can", vocab_size,
                         WEIGHT_TOKENS);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        bp_status status = check_range(ranges[i].field, ranges[i].value, ranges[i].least, ranges[i].most, error);
        if (status != BP_OK)
            return status;
    }
    if (p->logprobs < -1 || p->logprobs > BP_MAX_LOGPROBS)
        return error_set(error, BP_EINVAL, "logprobs is %d; it must be between 0 and %d, or -1 for none", p->logprobs,
                         BP_MAX_LOGPROBS);
    return BP_OK;
}

static float slope_of(float temperature)
{
    if (temperature == 0.0f)
        return 0.0f;
    return 1.0f / (temperature < FLT_MIN ? FLT_MIN : temperature); /* finite: the highest logit's distance must be 0 */
}

bp_status sampler_new(const bp_sampling *p, uint32_t vocab_size, sampler **out, bp_error *error)
{
    bp_status status = check(p, vocab_size, error);
    if (status != BP_OK)
        return status;
    sampler *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(error, BP_ENOMEM, "no memory for a sampler");
    s->vocab_size = vocab_size;
    s->top_k = p->top_k < vocab_size ? p->top_k : 0;
    s->slope = slope_of(p->temperature);
    s->top_p = p->top_p;
    s->typical_p = p->typical_p;
    s->min_reach = p->min_p > 0.0f ? 0.0f - (float)weight_log((double)p->min_p) : INFINITY; /* not -0 */
    s->seed = p->seed;
    s->logprobs = p->logprobs;
    s->tools = (row_tools){.scan = scan_of(wide_best()), .tops = calloc(row_blocks_of(vocab_size), sizeof(float))};
    status = s->tools.tops ? changes_init(&s->changes, p, vocab_size, error)
                           : error_set(error, BP_ENOMEM, "no memory for a sampler");
    if (status != BP_OK) {
        sampler_free(s);
        return status;
    }
    *out = s;
    return BP_OK;
}

void sampler_free(sampler *s)
{
    if (!s)
        return;
    changes_clear(&s->changes);
    candidates_clear(&s->candidates);
    free(s->tools.tops);
    free(s);
}

void sampler_use(sampler *s, wide_set set)
{
    s->tools.scan = scan_of(set);
}

bp_status sampler_accept(sampler *s, int32_t token, bp_error *error)
{
    return changes_accept(&s->changes, token, error);
}

/* --- a token ---------------------------------------------------------------------------------------------------------- */

/* Gathers the k nearest at least: what is as near as the k-th nearest block's highest, if there are so many blocks. */
static bool gather_nearest(sampler *s, const row *r, uint32_t k)
{
    float reach = row_reach(r, s->slope, k);
    if (!candidates_gather(&s->candidates, r, s->slope, reach))
        return false;
    return s->candidates.count >= k || reach >= WEIGHT_REACH || candidates_gather(&s->candidates, r, s->slope, WEIGHT_REACH);
}

/* Gathers what is near enough to weigh the share top_p of the whole row, which *nucleus becomes. Mostly that is within the
 * first reach, a few hundred tokens of the vocabulary; else the reach is found before it is gathered. */
static bool gather_nucleus(sampler *s, const row *r, uint64_t *nucleus)
{
    static const float reaches[] = SCAN_REACH_VALUES;
    uint64_t near[SCAN_REACHES];
    row_mass mass;
    row_weigh(r, s->slope, &mass);
    *nucleus = weight_share(s->top_p, mass.total);
    if (!candidates_gather(&s->candidates, r, s->slope, reaches[0]))
        return false;
    if (s->candidates.mass >= *nucleus)
        return true;
    row_weigh_near(r, s->slope, near);
    int i = 1;
    while (i < SCAN_REACHES && near[i] < *nucleus)
        i++;
    return candidates_gather(&s->candidates, r, s->slope, i < SCAN_REACHES ? reaches[i] : WEIGHT_REACH);
}

/* Stages from top-k on: the candidates that are left, at least one. False when out of memory. */
static bool select_candidates(sampler *s, const row *r)
{
    candidates *c = &s->candidates;
    bool typical = s->typical_p < 1.0f;
    uint64_t nucleus = 0; /* 0: of the candidates' own mass */
    bool enough;
    if (s->top_k) {
        enough = gather_nearest(s, r, s->top_k);
    } else if (s->top_p < 1.0f && !typical) {
        enough = gather_nucleus(s, r, &nucleus);
    } else {
        float reach = typical || s->min_reach > WEIGHT_REACH ? WEIGHT_REACH : s->min_reach;
        enough = candidates_gather(c, r, s->slope, reach);
    }
    if (!enough)
        return false;
    if (s->top_k && s->top_k < c->count)
        candidates_keep(c, CANDIDATES_BY_COUNT, 0.0f, s->top_k);
    if (typical)
        candidates_keep(c, CANDIDATES_BY_WEIGHT, candidates_centre(c), weight_share(s->typical_p, c->mass));
    if (s->top_p < 1.0f)
        candidates_keep(c, CANDIDATES_BY_WEIGHT, 0.0f, nucleus ? nucleus : weight_share(s->top_p, c->mass));
    if (s->min_reach < INFINITY)
        candidates_limit(c, s->min_reach);
    return true;
}

static bp_status draw(sampler *s, const row *r, uint64_t position, uint32_t *token, bp_error *error)
{
    uint64_t random = random_at(s->seed, position);
    if (!s->top_k && s->top_p >= 1.0f && s->typical_p >= 1.0f && s->min_reach == INFINITY) {
        row_mass mass;
        row_weigh(r, s->slope, &mass);
        *token = row_draw(r, s->slope, &mass, random);
        return BP_OK;
    }
    if (!select_candidates(s, r))
        return error_set(error, BP_ENOMEM, "no memory to sample from %u tokens", s->vocab_size);
    *token = candidates_draw(&s->candidates, random);
    return BP_OK;
}

bp_status sampler_choose(sampler *s, const float *logits, const uint64_t *allowed, uint64_t position, sampler_choice *out,
                         bp_error *error)
{
    *out = (sampler_choice){0};
    row changed, own;
    bp_status status = row_open(&changed, logits, s->vocab_size, &s->changes, allowed, &s->tools, error);
    if (status != BP_OK)
        return status;
    uint32_t token = changed.best;
    if (s->slope > 0.0f)
        status = draw(s, &changed, position, &token, error);
    if (status == BP_OK && s->logprobs >= 0)
        status = row_open(&own, logits, s->vocab_size, NULL, NULL, &s->tools, error);
    if (status != BP_OK)
        return status;
    out->token = (int32_t)token;
    if (s->logprobs >= 0)
        logprobs_fill(&own, out->token, (uint32_t)s->logprobs, out);
    return BP_OK;
}

bool sampler_is_greedy(const sampler *s)
{
    return s->slope == 0.0f && s->logprobs < 0 && !s->changes.penalties && s->changes.entry_count == 0;
}

bp_status sampler_choose_highest(const sampler *s, int32_t token, float top, sampler_choice *out, bp_error *error)
{
    *out = (sampler_choice){0};
    if (token < 0 || (uint32_t)token >= s->vocab_size)
        return error_set(error, BP_EINTERNAL, "the backend gave the token %d of %u as the likeliest", token, s->vocab_size);
    if (top != top)
        return error_set(error, BP_EINTERNAL, "the model gave NaN as the logit of token %d", token);
    if (top == -INFINITY)
        return error_set(error, BP_EINTERNAL, "the model gave no token a logit above -infinity");
    out->token = token;
    return BP_OK;
}

bp_status sampler_score(sampler *s, const float *logits, int32_t token, sampler_choice *out, bp_error *error)
{
    *out = (sampler_choice){.token = token};
    row own;
    bp_status status = row_open(&own, logits, s->vocab_size, NULL, NULL, &s->tools, error);
    if (status == BP_OK)
        logprobs_fill(&own, token, s->logprobs > 0 ? (uint32_t)s->logprobs : 0, out);
    return status;
}
