#include "engine/loaded.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static bool copy_pieces(const gguf_string *from, uint32_t count, text_piece **out)
{
    text_piece *pieces = calloc(count ? count : 1, sizeof *pieces);
    for (uint32_t i = 0; pieces && i < count; i++) {
        if (from[i].length > UINT32_MAX) {
            free(pieces);
            pieces = NULL;
            break;
        }
        pieces[i] = (text_piece){.bytes = from[i].bytes, .length = (uint32_t)from[i].length};
    }
    *out = pieces;
    return pieces != NULL;
}

static bp_status build_tokenizer(loaded *l, bp_error *error)
{
    const model_vocabulary *v = model_vocabulary_of(l->file);
    if (!v || v->count == 0)
        return error_set(error, BP_EINVAL, "%s holds no vocabulary", l->config->file);
    text_piece *pieces = NULL, *merges = NULL;
    bp_status status;
    if (!copy_pieces(v->pieces, v->count, &pieces) || !copy_pieces(v->merges, v->merge_count, &merges)) {
        status = error_set(error, BP_ENOMEM, "no memory for the vocabulary of %s", l->config->file);
    } else {
        tokenizer_spec spec = {.model = v->model, .pre = v->pre, .pieces = pieces, .types = v->types, .count = v->count,
                               .merges = merges, .merge_count = v->merge_count, .scores = v->scores,
                               .space_prefix = v->space_prefix, .bos = v->bos, .eos = v->eos, .eot = v->eot,
                               .unknown = v->unknown, .padding = v->padding, .add_bos = v->add_bos, .add_eos = v->add_eos,
                               .wordpiece = {.lowercase = v->wordpiece.lowercase, .strip_accents = v->wordpiece.strip_accents,
                                             .clean_text = v->wordpiece.clean_text,
                                             .split_chinese = v->wordpiece.split_chinese,
                                             .max_word = v->wordpiece.max_word}};
        status = tokenizer_new(&spec, &l->tokenizer, error);
    }
    free(pieces);
    free(merges);
    return status;
}

/* A template that cannot be read costs the model its chat, not its life. */
static bp_status build_template(loaded *l, bp_error *error)
{
    const char *source = model_chat_template(l->file);
    if (!source) {
        error_set(&l->chat_error, BP_EINVAL, "model \"%s\" has no chat template: send text instead", l->config->name);
        return BP_OK;
    }
    bp_error why = {0};
    bp_status status = chat_template_new(source, strlen(source), &l->chat, &why);
    if (status == BP_ENOMEM)
        return error_set(error, status, "%s", why.message);
    if (status != BP_OK)
        error_set(&l->chat_error, BP_EUNSUPPORTED, "the chat template of model \"%s\": %.380s", l->config->name, why.message);
    l->takes_tools = tools_known(source);
    l->tools = tools_format(source);
    return BP_OK;
}

/* How many tokens all sequences together may have cached. */
static uint64_t cache_tokens(const loaded *l, uint32_t context, uint32_t max_batch, uint32_t step, uint32_t page)
{
    const engine_model *c = l->config;
    if (c->kv_tokens)
        return c->kv_tokens;
    uint64_t each = model_kv_bytes_per_token(l->file, c->kv_dtype);
    if (c->kv_memory && each)
        return c->kv_memory / each;
    if (l->embedder) /* what a step reads and what is admitted for the next, with a page that is not full for each */
        return 2 * (uint64_t)step + context + (uint64_t)2 * max_batch * page;
    return (uint64_t)context * (max_batch < ENGINE_KV_CONTEXTS ? max_batch : ENGINE_KV_CONTEXTS);
}

static bp_status plan_limits(loaded *l, bp_error *error)
{
    const engine_model *c = l->config;
    const bp_program *program = model_program(l->file);
    uint32_t context = c->context && c->context < program->max_context ? c->context : program->max_context;
    uint32_t step = or_default(c->max_step_tokens, ENGINE_STEP_TOKENS), batch = or_default(c->max_batch, ENGINE_MAX_BATCH);
    uint32_t page = or_default(c->page_tokens, ENGINE_PAGE_TOKENS);
    if (page < 16 || page > 256 || page % 16 != 0 || 256 % page != 0)
        return error_set(error, BP_EINVAL, "pages of %u tokens are not possible; 16, 32, 64, 128 and 256 are", page);
    if (l->embedder && step < context)
        step = context; /* a text comes in one step */
    if (batch > step)
        batch = step;
    uint64_t tokens = cache_tokens(l, context, batch, step, page), count = tokens / page + (tokens % page != 0);
    if (context < 2 || count == 0 || count > INT32_MAX)
        return error_set(error, BP_EINVAL, "a context of %u tokens with a cache of %llu is not possible", context,
                         (unsigned long long)tokens);
    if (tokens < context)
        context = (uint32_t)(count * page < context ? count * page : context);
    l->context = context;
    l->mixed_step_tokens = or_default(c->mixed_step_tokens, ENGINE_MIXED_STEP_TOKENS);
    uint32_t rows = batch < ENGINE_SCORE_ROWS ? ENGINE_SCORE_ROWS : batch;
    rows = c->drafts < rows ? rows : c->drafts < step ? c->drafts + 1 : step;
    rows = rows < step ? rows : step;
    l->limits = (bp_limits){.size = sizeof l->limits, .max_tokens = step, .max_seqs = batch, .max_rows = rows,
                            .page_tokens = page, .page_count = (uint32_t)count, .max_context = context,
                            .kv_dtype = c->kv_dtype};
    return BP_OK;
}

/* --- text, in a thread of its own --------------------------------------------------------------------------------------- */

static void *read_text(void *user)
{
    loaded *l = user;
    l->text_status = build_tokenizer(l, &l->text_error);
    if (l->text_status == BP_OK)
        l->text_status = build_template(l, &l->text_error);
    return NULL;
}

/* Where there is no thread to be had it is done here and now. */
static void start_reading_text(loaded *l)
{
    l->reading = pthread_create(&l->reader, NULL, read_text, l) == 0;
    if (!l->reading)
        read_text(l);
}

static void stop_reading_text(loaded *l)
{
    if (l->reading)
        pthread_join(l->reader, NULL);
    l->reading = false;
}

bp_status loaded_text(loaded *l, bp_error *error)
{
    stop_reading_text(l);
    if (l->text_status != BP_OK)
        return error_set(error, l->text_status, "%s", l->text_error.message);
    if (tokenizer_count(l->tokenizer) > l->vocab_size)
        return error_set(error, BP_EINVAL, "%s: the tokenizer has %u tokens and the model %u", l->config->file,
                         tokenizer_count(l->tokenizer), l->vocab_size);
    return BP_OK;
}

/* What of an embedder is not in its program: what stands around its texts. */
static bp_status choose_surroundings(loaded *l, bp_error *error)
{
    const model_vocabulary *v = model_vocabulary_of(l->file);
    uint32_t wanted = l->config->append_eos;
    if (l->task != BP_TASK_EMBED && (wanted || l->config->prefix))
        return error_set(error, BP_EINVAL, "%s is an embedder's, and %s %s", wanted ? "append_eos" : "prefix", l->config->file,
                         l->task == BP_TASK_RANK ? "scores pairs" : "gives answers: write task: embed");
    if (l->task == BP_TASK_RANK && (v->bos < 0 || v->eos < 0))
        return error_set(error, BP_EINVAL, "the vocabulary of %s has no tokens to put around a pair of texts", l->config->file);
    if (wanted == MODEL_YES && v->eos < 0)
        return error_set(error, BP_EINVAL, "append_eos is true and the vocabulary of %s has no end token", l->config->file);
    bool automatic = v->eos >= 0 && (v->add_eos || model_shape_of(l->file)->pooling == MODEL_POOLING_LAST);
    l->ends_texts = l->task == BP_TASK_EMBED && (wanted == MODEL_AUTO ? automatic : wanted == MODEL_YES);
    return BP_OK;
}

/* --- the two halves ----------------------------------------------------------------------------------------------------- */

static bp_status check_program(loaded *l, bp_error *error)
{
    const bp_program *program = model_program(l->file);
    l->vocab_size = program->vocab_size;
    l->output_width = program->output_width;
    const bp_op *last = program->op_count ? &program->ops[program->op_count - 1] : NULL;
    const bp_pool_args *pool = last ? last->args : NULL;
    l->embedder = last && last->kind == BP_OP_POOL;
    l->task = l->embedder ? BP_TASK_EMBED : BP_TASK_GENERATE;
    if (model_shape_of(l->file)->task == BP_TASK_RANK)
        l->task = BP_TASK_RANK;
    l->normalises = l->embedder && pool && pool->normalise;
    if (!l->embedder && (program->vocab_size == 0 || program->output_width != program->vocab_size))
        return error_set(error, BP_EUNSUPPORTED, "%s is no decoder: it gives %u numbers a row for %u tokens", l->config->file,
                         program->output_width, program->vocab_size);
    return BP_OK;
}

bp_status loaded_plan(const engine_model *config, loaded **out, bp_error *error)
{
    loaded *l = calloc(1, sizeof *l);
    if (!l)
        return error_set(error, BP_ENOMEM, "no memory to load model \"%s\"", config->name);
    l->config = config;
    model_options options = {.mapping_flags = config->mapping_flags, .context = config->context, .numerics = config->numerics,
                             .task = config->task, .pooling = config->pooling, .normalise = config->normalise,
                             .shelf = config->shelf};
    bp_status status = model_open(config->file, &options, &l->file, error);
    if (status == BP_OK)
        status = check_program(l, error);
    if (status == BP_OK)
        status = choose_surroundings(l, error);
    if (status == BP_OK)
        status = plan_limits(l, error);
    if (status != BP_OK) {
        loaded_free(l);
        return status;
    }
    *out = l;
    return BP_OK;
}

bp_status loaded_open(const engine_model *config, const engine_backend *backend, loaded **out, bp_error *error)
{
    loaded *l;
    bp_status status = loaded_plan(config, &l, error);
    if (status != BP_OK)
        return status;
    l->backend = backend;
    start_reading_text(l);
    status = grammars_new(&l->grammars, error);
    if (status != BP_OK) {
        loaded_free(l);
        return status;
    }
    *out = l;
    return BP_OK;
}

/* The output of a step. */
static uint64_t output_bytes(const loaded *l)
{
    return (uint64_t)l->limits.max_rows * l->output_width * sizeof(float);
}

uint64_t loaded_sum(const bp_model_memory *memory)
{
    return capped_add_u64(capped_add_u64(memory->weights, memory->kv), memory->workspace);
}

void loaded_expect(const loaded *l, bool shared, bp_model_memory *out)
{
    uint64_t tokens = (uint64_t)l->limits.page_tokens * l->limits.page_count;
    *out = (bp_model_memory){.size = sizeof *out, .weights = shared ? 0 : model_shape_of(l->file)->weight_bytes};
    if (!checked_mul_u64(tokens, model_kv_bytes_per_token(l->file, l->config->kv_dtype), &out->kv))
        out->kv = UINT64_MAX;
    out->workspace = capped_add_u64(capped_add_u64(out->weights, out->kv) / 16, output_bytes(l));
}

bool loaded_measure(const loaded *l, bp_model_memory *out)
{
    *out = (bp_model_memory){.size = sizeof *out};
    if (l->backend->ops->memory(l->model, out, NULL) != BP_OK)
        return false;
    out->workspace = capped_add_u64(out->workspace, output_bytes(l) + tokenizer_memory(l->tokenizer));
    return true;
}

bp_status loaded_compile(loaded *l, bp_error *error)
{
    const bp_backend_ops *ops = l->backend->ops;
    const bp_program *program = model_program(l->file);
    bp_status status = ops->supports(l->backend->device, program, error);
    if (status == BP_OK)
        status = ops->compile(l->backend->device, program, &l->limits, &l->model, error);
    if (status == BP_OK)
        status = loaded_text(l, error);
    if (status != BP_OK)
        return status;
    if (!loaded_measure(l, &l->memory))
        l->memory = (bp_model_memory){.size = sizeof l->memory};
    return model_damaged(l->file) ? error_set(error, BP_EIO, "%s changed while it was read", l->config->file) : BP_OK;
}

void loaded_free(loaded *l)
{
    if (!l)
        return;
    stop_reading_text(l);
    if (l->model)
        l->backend->ops->release(l->model);
    chat_template_free(l->chat);
    grammars_free(l->grammars);
    tokenizer_free(l->tokenizer);
    model_close(l->file);
    free(l);
}
