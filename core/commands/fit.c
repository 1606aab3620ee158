#include "commands/fit.h"

#include "base/buffer.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/loaded.h"

#include <stdlib.h>
#include <string.h>

typedef struct need {
    const config_model *model;
    const engine_model *engine;
    bool known;
    bp_model_memory memory;
} need;

typedef struct fit {
    const config *config;
    const engine_backend *backends;
    need *needs; /* [config->model_count] */
    buffer line;
    fit_say say;
    void *user;
} fit;

/* Whether another one's weights are the same memory. */
static bool shares(const fit *f, const need *n, const need *other)
{
    const uint32_t backend = n->engine->backend;
    return other->known && other->engine->backend == backend && strcmp(other->engine->file, n->engine->file) == 0 &&
           (!f->backends || f->backends[backend].info.caps & BP_CAP_SHARE);
}

/* Of the models up to this one, whose weights are counted for all that share them: not this one. */
static bool is_counted(const fit *f, const need *n, bool pinned_only)
{
    for (const need *other = f->needs; other < n; other++)
        if ((other->model->pinned || !pinned_only) && shares(f, n, other))
            return true;
    return false;
}

/* What all of them hold together, or all that are pinned. */
static uint64_t sum_of(const fit *f, bool pinned_only)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < f->config->model_count; i++) {
        const need *n = &f->needs[i];
        if (!n->known || (pinned_only && !n->model->pinned))
            continue;
        sum = capped_add_u64(sum, is_counted(f, n, pinned_only) ? capped_add_u64(n->memory.kv, n->memory.workspace) : loaded_sum(&n->memory));
    }
    return sum;
}

/* What it needs beside the pinned ones. */
static uint64_t beside_pinned(const fit *f, const need *n)
{
    for (size_t i = 0; i < f->config->model_count; i++)
        if (f->needs[i].model->pinned && shares(f, n, &f->needs[i]))
            return capped_add_u64(n->memory.kv, n->memory.workspace);
    return loaded_sum(&n->memory);
}

static void tell(fit *f, bool problem, bool written)
{
    f->say(f->user, problem, written ? f->line.data : "out of memory to say what fits");
    buffer_clear(&f->line);
}

static void tell_model(fit *f, const need *n)
{
    const char *when = n->model->load == CONFIG_LOAD_EAGER ? "loaded at the start" : "loaded when it is asked for";
    tell(f, false, buffer_format(&f->line, "model %s needs %llu MiB: weights %llu, KV cache %llu, workspace %llu; %s%s", n->model->name,
                                 loaded_mebibytes(loaded_sum(&n->memory)), loaded_mebibytes(n->memory.weights), loaded_mebibytes(n->memory.kv),
                                 loaded_mebibytes(n->memory.workspace), when, n->model->pinned ? ", and stays" : ""));
}

/* The model does not fit whatever leaves. */
static void tell_unfit(fit *f, const need *n, uint64_t pinned)
{
    uint64_t budget = f->config->memory_budget, all = loaded_sum(&n->memory);
    if (n->model->pinned || !n->known)
        return;
    if (all > budget)
        tell(f, true, buffer_format(&f->line, "model %s cannot be loaded: it needs %llu MiB and memory_budget is %llu MiB; raise it, or lower "
                                    "the model's context, kv_tokens or kv_memory", n->model->name, loaded_mebibytes(all), loaded_mebibytes(budget)));
    else if (pinned <= budget && beside_pinned(f, n) > budget - pinned)
        tell(f, true, buffer_format(&f->line, "model %s cannot be loaded: it needs %llu MiB, and pinned models leave %llu MiB of memory_budget; "
                                    "raise it, or pin fewer models", n->model->name, loaded_mebibytes(beside_pinned(f, n)),
                                    (unsigned long long)((budget - pinned) >> 20)));
}

/* Why the sum may be less than what the lines of the models add up to. */
static const char *sharing(const fit *f)
{
    for (size_t i = 0; i < f->config->model_count; i++)
        if (f->needs[i].known && is_counted(f, &f->needs[i], false))
            return ", the weights of a file counted once,";
    return "";
}

static void tell_budget(fit *f)
{
    uint64_t budget = f->config->memory_budget, all = sum_of(f, false), pinned = sum_of(f, true);
    if (!budget) {
        if (f->config->model_count > 1)
            tell(f, false, buffer_format(&f->line, "all models together need %llu MiB%s and there is no memory_budget, so none leaves for another",
                                         loaded_mebibytes(all), sharing(f)));
        return;
    }
    if (pinned > budget)
        tell(f, true, buffer_format(&f->line, "the pinned models cannot all be loaded: they need %llu MiB together and memory_budget is %llu MiB; "
                                    "raise it, or pin fewer models", loaded_mebibytes(pinned), loaded_mebibytes(budget)));
    for (size_t i = 0; i < f->config->model_count; i++)
        tell_unfit(f, &f->needs[i], pinned);
    const char *end = all <= budget ? "all of them fit" : "the one without a request for the longest makes room for who is asked for";
    tell(f, false, buffer_format(&f->line, "all models together need %llu MiB%s and memory_budget is %llu MiB: %s", loaded_mebibytes(all),
                                 sharing(f), loaded_mebibytes(budget), end));
}

bp_status fit_tell(const config *c, const engine_model *models, const engine_backend *backends, fit_say say, void *user, bp_error *error)
{
    fit f = {.config = c, .backends = backends, .needs = calloc(c->model_count + 1, sizeof *f.needs), .say = say, .user = user};
    if (!f.needs)
        return error_set(error, BP_ENOMEM, "out of memory to say what fits");
    for (size_t i = 0; i < c->model_count; i++) {
        loaded *outline = NULL;
        need *n = &f.needs[i];
        *n = (need){.model = &c->models[i], .engine = &models[i]};
        n->known = loaded_plan(&models[i], &outline, NULL) == BP_OK;
        if (n->known)
            loaded_expect(outline, false, &n->memory);
        loaded_free(outline);
        if (n->known)
            tell_model(&f, n);
    }
    tell_budget(&f);
    buffer_free(&f.line);
    free(f.needs);
    return BP_OK;
}
