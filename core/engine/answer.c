#include "engine/answer.h"

#include "base/error.h"

#include <string.h>

void answer_init(answer *a, const tokenizer *t, stream *events, stop *stops, bool emit_special)
{
    *a = (answer){.tokenizer = t, .events = events, .stops = stops, .mark = -1, .characters.emit_special = emit_special};
}

void answer_clear(answer *a)
{
    stop_free(a->stops);
    buffer_free(&a->text);
    *a = (answer){0};
}

static void describe(const tokenizer *t, int32_t token, float logprob, bp_token_logprob *out)
{
    text_piece piece = tokenizer_bytes(t, token);
    *out = (bp_token_logprob){.token = token, .logprob = logprob, .bytes = piece.bytes, .byte_count = piece.length};
}

/* Returns how many there are in `out`, which has room for as many as the stream's slots. */
static uint32_t describe_tops(const answer *a, const sampler_choice *choice, bp_token_logprob *out)
{
    uint32_t count = choice->top_count < a->events->tops ? choice->top_count : a->events->tops;
    for (uint32_t i = 0; i < count; i++)
        describe(a->tokenizer, choice->top_tokens[i], choice->top_logprobs[i], &out[i]);
    return count;
}

static bp_status stage_token(answer *a, const sampler_choice *choice, stream_slot **out, bp_error *error)
{
    stream_slot *slot = *out = stream_stage(a->events);
    if (!slot)
        return error_set(error, BP_ELIMIT, "the reader of this answer is %u events behind and has lost it",
                         a->events->capacity);
    describe(a->tokenizer, choice->token, choice->logprob, &slot->chosen);
    slot->top_count = describe_tops(a, choice, slot->top);
    return BP_OK;
}

static bp_status stage(answer *a, const sampler_choice *choice, bp_error *error)
{
    stream_slot *slot;
    bp_status status = stage_token(a, choice, &slot, error);
    if (status != BP_OK)
        return status;
    uint8_t emit_special = a->characters.emit_special;
    a->characters.emit_special = emit_special || choice->token == a->mark;
    bool enough = detokenizer_push(&a->characters, a->tokenizer, choice->token, &a->text);
    a->characters.emit_special = emit_special;
    if (!enough)
        return error_set(error, BP_ENOMEM, "no memory for the answer's text");
    slot->text_end = a->start + a->text.size;
    slot->certain_at = slot->text_end + (a->stops && a->characters.held_count ? 1 : 0);
    return BP_OK;
}

/* Looks for a stop string in what was appended after `before` and cuts the text there. */
static bool cut_at_stop(answer *a, size_t before)
{
    stop_match match;
    if (!stop_push(a->stops, a->text.data ? a->text.data + before : "", a->text.size - before, &match))
        return false;
    a->text.size = before + match.end - match.length;
    a->stop_index = match.index + 1;
    return true;
}

/* A2, A3 */
static bp_status publish(answer *a, uint64_t certain, bp_error *error)
{
    uint64_t from = a->start;
    const stream_slot *slot;
    bool enough = true;
    while (enough && (slot = stream_oldest(a->events)) != NULL &&
           (slot->certain_at <= certain || stream_staged(a->events) > STREAM_EVENTS / 2)) {
        uint64_t end = slot->text_end < certain ? slot->text_end : certain;
        size_t bytes = end > from ? (size_t)(end - from) : 0;
        enough = stream_publish(a->events, bytes ? a->text.data + (from - a->start) : "", bytes);
        from += bytes;
    }
    size_t gone = (size_t)(from - a->start);
    if (gone)
        memmove(a->text.data, a->text.data + gone, a->text.size - gone);
    a->text.size -= gone;
    a->start = from;
    return enough ? BP_OK : error_set(error, BP_ENOMEM, "no memory for the answer's text");
}

bp_status answer_push(answer *a, const sampler_choice *choice, bool *stopped, bp_error *error)
{
    size_t before = a->text.size;
    bp_status status = stage(a, choice, error);
    if (status != BP_OK)
        return status;
    *stopped = cut_at_stop(a, before);
    uint64_t end = a->start + a->text.size;
    status = publish(a, *stopped ? end : end - stop_held(a->stops), error);
    if (*stopped)
        stream_unstage(a->events);
    return status;
}

bp_status answer_show_prompt(answer *a, uint32_t position, const sampler_choice *choice, bp_error *error)
{
    stream_slot *slot;
    bp_status status = stage_token(a, choice, &slot, error);
    if (status != BP_OK)
        return status;
    slot->kind = BP_EVENT_PROMPT;
    slot->position = position;
    stream_publish(a->events, "", 0);
    return BP_OK;
}

void answer_note_end(answer *a, const sampler_choice *choice)
{
    describe(a->tokenizer, choice->token, choice->logprob, &a->end);
    a->end_tops = describe_tops(a, choice, a->events->last_top);
}

/* The text that is left once the answer takes no more tokens. */
static bp_status finish(answer *a, bp_error *error)
{
    if (a->stop_index)
        return BP_OK;
    size_t before = a->text.size;
    if (!detokenizer_finish(&a->characters, &a->text))
        return error_set(error, BP_ENOMEM, "no memory for the answer's text");
    bool stopped = cut_at_stop(a, before);
    /* A token that left a character incomplete is shown with the U+FFFD that the character became, unless that was cut. */
    bp_status status = publish(a, a->start + a->text.size, error);
    if (stopped)
        stream_unstage(a->events);
    return status;
}

void answer_end(answer *a, const bp_event *last)
{
    bp_event event = *last;
    if (event.kind == BP_EVENT_DONE) {
        if (finish(a, &event.error) != BP_OK)
            event.kind = BP_EVENT_ERROR;
        event.stop_index = a->stop_index;
        event.chosen = a->end;
        event.top = a->end_tops ? a->events->last_top : NULL;
        event.top_count = a->end_tops;
    }
    stream_unstage(a->events);
    if (event.kind == BP_EVENT_DONE)
        stream_end(a->events, &event, a->text.data, a->text.size);
    else
        stream_end(a->events, &event, NULL, 0);
}
