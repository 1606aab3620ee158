#include "engine/request.h"

#include "base/checked.h"
#include "base/error.h"
#include "engine/score.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STOP_TOKENS = 1024 };
#define ALL_FLAGS                                                                                                       \
    (BP_REQUEST_PARSE_SPECIAL | BP_REQUEST_NO_BOS | BP_REQUEST_IGNORE_EOS | BP_REQUEST_EMIT_SPECIAL | BP_REQUEST_CONTINUE | \
     BP_REQUEST_TRUNCATE | BP_REQUEST_PROMPT_LOGPROBS | BP_REQUEST_NO_ANSWER | BP_REQUEST_ONE_TOOL_CALL)

bp_status request_check(const bp_request *request, bp_error *error)
{
    if (request->flags & ~(uint32_t)ALL_FLAGS)
        return error_set(error, BP_EINVAL, "request flags 0x%x are not known", request->flags & ~(uint32_t)ALL_FLAGS);
    if (request->input > BP_INPUT_TOKENS)
        return error_set(error, BP_EINVAL, "input kind %u is not known", request->input);
    if (request->task > BP_TASK_RANK)
        return error_set(error, BP_EINVAL, "task %u is not known", request->task);
    if ((request->flags & BP_REQUEST_TRUNCATE) && request->task == BP_TASK_GENERATE)
        return error_set(error, BP_EINVAL, "only an input to embed or to rank can be truncated");
    if ((request->flags & BP_REQUEST_CONTINUE) && request->input != BP_INPUT_MESSAGES)
        return error_set(error, BP_EINVAL, "only messages can be continued");
    if (request->stop_count > BP_MAX_STOPS || (request->stop_count && !request->stop))
        return error_set(error, BP_EINVAL, "%u stop strings; at most %d are possible", request->stop_count, BP_MAX_STOPS);
    if (request->stop_token_count > MAX_STOP_TOKENS || (request->stop_token_count && !request->stop_tokens))
        return error_set(error, BP_EINVAL, "%u stop tokens; at most %d are possible", request->stop_token_count,
                         MAX_STOP_TOKENS);
    if (request->grammar_kind > BP_GRAMMAR_REGEX || (request->grammar_kind && !request->grammar))
        return error_set(error, BP_EINVAL, "grammar kind %u is not known, or there is no grammar", request->grammar_kind);
    if (request->tool_choice > BP_TOOLS_REQUIRED || (request->tool_choice == BP_TOOLS_REQUIRED && request->grammar_kind))
        return error_set(error, BP_EINVAL, "tool choice %u is not known, or there is a grammar beside it", request->tool_choice);
    if (request->grammar_kind && request->task == BP_TASK_EMBED)
        return error_set(error, BP_EINVAL, "an embedding has no grammar");
    return score_check(request, error);
}

/* --- making one ----------------------------------------------------------------------------------------------------------- */

static bp_status copy_stop_tokens(bp_stream *r, const loaded *l, const bp_request *request, bp_error *error)
{
    if (request->stop_token_count == 0)
        return BP_OK;
    r->stop_tokens = calloc(request->stop_token_count, sizeof *r->stop_tokens);
    if (!r->stop_tokens)
        return error_set(error, BP_ENOMEM, "no memory for stop tokens");
    r->stop_token_count = request->stop_token_count;
    for (uint32_t i = 0; i < r->stop_token_count; i++) {
        r->stop_tokens[i] = request->stop_tokens[i];
        if (r->stop_tokens[i] < 0 || (uint32_t)r->stop_tokens[i] >= l->vocab_size)
            return error_set(error, BP_EINVAL, "stop token %d is not in the vocabulary of %u tokens", r->stop_tokens[i],
                             l->vocab_size);
    }
    return BP_OK;
}

static bp_status size_sequence(bp_stream *r, const loaded *l, const bp_request *request, const token_list *prompt,
                               bp_error *error)
{
    bool answers = !l->embedder && !(request->flags & BP_REQUEST_NO_ANSWER);
    if (prompt->count == 0)
        return error_set(error, BP_EINVAL, "the prompt is empty");
    if (prompt->count + answers > l->context)
        return error_set(error, BP_ECONTEXT, "the prompt has %zu tokens and the context of model \"%s\" is %u: it must be shorter",
                         prompt->count, l->config->name, l->context);
    sequence *q = &r->sequence;
    q->prompt_count = q->token_count = (uint32_t)prompt->count;
    uint32_t room = l->context - q->prompt_count;
    r->answer_limit = !answers ? 0 : request->max_tokens && request->max_tokens < room ? request->max_tokens : room;
    q->token_limit = q->prompt_count + r->answer_limit;
    q->scores = request->flags & BP_REQUEST_PROMPT_LOGPROBS;
    /* For the whole answer at once, so that the loop never allocates for a token: pages never touched cost nothing. */
    q->tokens = malloc(q->token_limit * sizeof *q->tokens);
    q->pages = malloc((q->token_limit / l->limits.page_tokens + 1) * sizeof *q->pages);
    if (!q->tokens || !q->pages)
        return error_set(error, BP_ENOMEM, "no memory for a sequence of %u tokens", q->token_limit);
    memcpy(q->tokens, prompt->ids, prompt->count * sizeof *q->tokens);
    return BP_OK;
}

static bp_status copy_salt(bp_stream *r, const bp_request *request, bp_error *error)
{
    if (!request->salt)
        return BP_OK;
    size_t length = strlen(request->salt);
    r->sequence.salt = r->salt = malloc(length + 1);
    if (!r->salt)
        return error_set(error, BP_ENOMEM, "no memory for a salt of %zu bytes", length);
    memcpy(r->salt, request->salt, length + 1);
    return BP_OK;
}

static bp_status build_sampler(bp_stream *r, const loaded *l, const bp_request *request, bp_error *error)
{
    bp_status status = sampler_new(&request->sampling, l->vocab_size, &r->sampler, error);
    for (uint32_t i = 0; status == BP_OK && i < r->sequence.prompt_count; i++)
        status = sampler_accept(r->sampler, r->sequence.tokens[i], error);
    if (status == BP_OK)
        status = grammars_constrain(l->grammars, l->tokenizer, l->vocab_size, l->tools, request, &r->constraint, error);
    return status;
}

static bp_status build_vector(bp_stream *r, const loaded *l, const bp_request *request, bp_error *error)
{
    r->vector_width = request->dimensions ? request->dimensions : l->output_width;
    r->sigmoid = l->task == BP_TASK_RANK && model_shape_of(l->file)->sigmoid;
    r->cut_unit_vector = l->normalises && r->vector_width < l->output_width;
    r->vector = malloc(r->vector_width * sizeof *r->vector);
    return r->vector ? BP_OK : error_set(error, BP_ENOMEM, "no memory for a vector of %u numbers", r->vector_width);
}

static bp_status build_events(bp_stream *r, const loaded *l, const bp_request *request, bp_error *error)
{
    uint32_t events = r->answer_limit < STREAM_EVENTS - 2 ? r->answer_limit + 2 : STREAM_EVENTS;
    if (r->sequence.scores)
        events += r->sequence.prompt_count; /* they come many a step: no reader is to lose its answer over them */
    int32_t tops = request->sampling.logprobs;
    tops = tops < 0 ? 0 : tops > BP_MAX_LOGPROBS ? BP_MAX_LOGPROBS : tops;
    stop *stops = NULL;
    bp_status status = stop_new(request->stop, request->stop_count, &stops, error);
    if (status == BP_OK)
        status = stream_init(&r->events, events, (uint32_t)tops, error);
    answer_init(&r->answer, r->tokenizer, &r->events, stops, request->flags & BP_REQUEST_EMIT_SPECIAL);
    if (request->tools_json || r->constraint)
        r->answer.mark = grammars_mark(l->tokenizer, l->tools);
    return status;
}

bp_status request_new(const loaded *l, const bp_request *request, const token_list *prompt, uint64_t now, bp_stream **out,
                      bp_error *error)
{
    bp_stream *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(error, BP_ENOMEM, "no memory for a request");
    atomic_init(&r->references, 1);
    atomic_init(&r->sequence.cancelled, false);
    r->tokenizer = l->tokenizer;
    r->submitted_at = now;
    r->ignore_eos = request->flags & BP_REQUEST_IGNORE_EOS;
    r->sequence.priority = request->priority;
    if (request->timeout_ns && !checked_add_u64(now, request->timeout_ns, &r->sequence.deadline))
        r->sequence.deadline = 0;
    bp_status status = size_sequence(r, l, request, prompt, error);
    if (status == BP_OK)
        status = copy_stop_tokens(r, l, request, error);
    if (status == BP_OK)
        status = copy_salt(r, request, error);
    if (status == BP_OK)
        status = l->embedder ? build_vector(r, l, request, error) : build_sampler(r, l, request, error);
    if (status == BP_OK)
        status = build_events(r, l, request, error);
    if (status != BP_OK) {
        request_drop(r);
        return status;
    }
    *out = r;
    return BP_OK;
}

void request_share(bp_stream *r)
{
    atomic_fetch_add_explicit(&r->references, 1, memory_order_relaxed);
}

void request_drop(bp_stream *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) != 1)
        return;
    answer_clear(&r->answer);
    stream_clear(&r->events);
    sampler_free(r->sampler);
    constraint_free(r->constraint);
    free(r->vector);
    free(r->stop_tokens);
    free(r->salt);
    free(r->sequence.tokens);
    free(r->sequence.pages);
    if (r->let_go)
        r->let_go(r->held);
    free(r);
}

/* --- its tokens ----------------------------------------------------------------------------------------------------------- */

static void finish(bp_stream *r, uint32_t reason)
{
    if (r->outcome.kind)
        return;
    r->outcome.kind = BP_EVENT_DONE;
    r->outcome.finish = reason;
}

void request_fail(bp_stream *r, const bp_error *why)
{
    if (r->outcome.kind)
        return;
    r->outcome.kind = BP_EVENT_ERROR;
    r->outcome.error = *why;
}

void request_announce(bp_stream *r)
{
    if (r->announced)
        return;
    r->announced = true;
    stream_slot *slot = stream_stage(&r->events); /* the first slot of a ring is free */
    slot->kind = BP_EVENT_START;
    slot->prompt_tokens = r->sequence.prompt_count;
    stream_publish(&r->events, "", 0);
    score_begin(r);
}

static bool ends_answer(const bp_stream *r, int32_t token)
{
    for (uint32_t i = 0; i < r->stop_token_count; i++)
        if (r->stop_tokens[i] == token)
            return true;
    return !r->ignore_eos && tokenizer_ends_text(r->tokenizer, token);
}

bool request_is_greedy(const bp_stream *r)
{
    return !r->constraint && sampler_is_greedy(r->sampler);
}

/* A row is masked by what its grammar allows after the tokens before it, be they certain or guessed. */
static bp_status choose(bp_stream *r, const request_row *row, uint32_t position, sampler_choice *choice, bp_error *error)
{
    if (!row->logits)
        return sampler_choose_highest(r->sampler, row->token, row->top, choice, error);
    const uint64_t *allowed = NULL;
    bp_status status = r->constraint ? constraint_mask(r->constraint, !r->ignore_eos, &allowed, error) : BP_OK;
    return status == BP_OK ? sampler_choose(r->sampler, row->logits, allowed, position, choice, error) : status;
}

bool request_accept(bp_stream *r, const request_row *row, uint32_t position, uint64_t now, int32_t *token)
{
    sampler_choice choice;
    choice.token = -1;
    bp_error why = {0};
    bool stopped = false;
    if (r->answer_limit == 0) {
        r->first_token_at = now;
        finish(r, BP_FINISH_LENGTH);
        return false;
    }
    bp_status status = choose(r, row, position, &choice, &why);
    if (status == BP_OK) {
        r->generated++;
        if (!r->first_token_at)
            r->first_token_at = now;
        if (ends_answer(r, choice.token)) {
            answer_note_end(&r->answer, &choice);
            finish(r, BP_FINISH_STOP);
            return false;
        }
        status = sampler_accept(r->sampler, choice.token, &why);
    }
    if (status == BP_OK && r->constraint)
        status = constraint_accept(r->constraint, (uint32_t)choice.token, &why);
    if (status == BP_OK)
        status = answer_push(&r->answer, &choice, &stopped, &why);
    if (status != BP_OK)
        request_fail(r, &why);
    else if (stopped || (r->constraint && constraint_over(r->constraint)))
        finish(r, BP_FINISH_STOP);
    else if (r->generated >= r->answer_limit)
        finish(r, BP_FINISH_LENGTH);
    *token = choice.token;
    return r->outcome.kind == 0;
}

/* --- its end -------------------------------------------------------------------------------------------------------------- */

static bp_usage usage_of(const bp_stream *r, uint64_t now)
{
    const sequence *q = &r->sequence;
    uint64_t admitted = q->admitted_at ? q->admitted_at : now, first = r->first_token_at ? r->first_token_at : now;
    return (bp_usage){.prompt_tokens = q->prompt_count,
                      .completion_tokens = r->generated,
                      .cached_tokens = q->cached,
                      .preemptions = q->preemptions,
                      .drafted_tokens = q->draft.drafted,
                      .accepted_tokens = q->draft.accepted,
                      .queued_ns = admitted - r->submitted_at,
                      .prefill_ns = first - admitted,
                      .decode_ns = now - first};
}

bool request_end(bp_stream *r, uint64_t now)
{
    if (r->sequence.cause == SEQUENCE_CAUSE_CANCELLED)
        finish(r, BP_FINISH_CANCELLED);
    if (!r->outcome.kind) {
        bp_error why = {0};
        if (r->sequence.cause == SEQUENCE_CAUSE_EXPIRED)
            error_set(&why, BP_ETIMEOUT, "the request was not complete within its %.3f s",
                      (double)(r->sequence.deadline - r->submitted_at) / 1e9);
        else
            error_set(&why, BP_EINTERNAL, "the request ended without a reason");
        request_fail(r, &why);
    }
    bp_event last = {.size = sizeof last, .kind = r->outcome.kind, .finish = r->outcome.finish, .error = r->outcome.error,
                     .usage = usage_of(r, now)};
    answer_end(&r->answer, &last);
    return last.kind == BP_EVENT_ERROR;
}
