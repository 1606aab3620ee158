/* One question's way: submit, show what streams in, keep it. */
#include "repl/repl.h"

#include "common/fail.h"
#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GLANCE_NS = 50000000 }; /* how often a waiting answer looks for Ctrl-C */

/* --- streaming ---------------------------------------------------------------------------------------------------- */

/* Cancels once for Ctrl-C, stop() or a closed output. */
static void glance(repl *r, bp_stream *stream, bool *cancelled)
{
    wake_read(&r->wake);
    if (*cancelled || !(r->wake.interrupted || repl_stopping(r) || r->out.failure))
        return;
    r->api->cancel(stream);
    *cancelled = true;
}

static bp_status show(repl *r, bp_stream *stream, text *answer, bp_event *last, bp_error *error)
{
    bool cancelled = false;
    for (;;) {
        glance(r, stream, &cancelled);
        bp_event event = {.size = sizeof event};
        bp_status status = r->api->next(stream, GLANCE_NS, &event, error);
        if (status == BP_ETIMEOUT)
            continue;
        if (status != BP_OK)
            return status;
        if (event.text_bytes && !cancelled) {
            if (!text_append(answer, event.text, event.text_bytes))
                return fail_memory(error);
            screen_write(&r->out, event.text, event.text_bytes);
        }
        if (event.kind == BP_EVENT_ERROR)
            return fail(error, event.error.code, "%s", event.error.message);
        if (event.kind == BP_EVENT_DONE) {
            *last = event;
            return BP_OK;
        }
    }
}

/* --- afterwards --------------------------------------------------------------------------------------------------- */

static void count(repl *r, const bp_usage *usage)
{
    r->answers++;
    r->total.prompt_tokens += usage->prompt_tokens;
    r->total.completion_tokens += usage->completion_tokens;
    r->total.cached_tokens += usage->cached_tokens;
    r->total.prefill_ns += usage->prefill_ns;
    r->total.decode_ns += usage->decode_ns;
}

/* The first token is prefill's. */
static void show_usage(repl *r, const bp_event *last)
{
    const bp_usage *u = &last->usage;
    char line[160];
    double seconds = (double)u->decode_ns / 1e9;
    double rate = u->completion_tokens > 1 && seconds > 0 ? (u->completion_tokens - 1) / seconds : 0;
    const char *why = last->finish == BP_FINISH_CANCELLED ? ", stopped"
                      : last->finish == BP_FINISH_LENGTH  ? ", cut at the limit of tokens"
                                                          : "";
    snprintf(line, sizeof line, "%u tokens, %.1f tokens/s%s", u->completion_tokens, rate, why);
    screen_dim(&r->out, line);
}

static bp_status keep(repl *r, size_t asked, const text *answer, const bp_event *last, bp_error *error)
{
    if (answer->size == 0 && last->finish == BP_FINISH_CANCELLED)
        return repl_stopping(r) ? fail(error, BP_ECANCELLED, "stopped before there was an answer") : BP_ECANCELLED;
    text clean = {0}; /* a model can write a NUL */
    bool enough = text_append_clean(&clean, text_string(answer), answer->size);
    if (enough) {
        conversation_drop(&r->conversation, asked);
        enough = conversation_add(&r->conversation, "assistant", text_string(&clean));
    }
    text_free(&clean);
    return enough ? BP_OK : fail_memory(error);
}

bp_status answer_turns(repl *r, size_t asked, bp_error *error)
{
    bp_request request;
    repl_request(r, &request);
    request.sampling.seed += r->repetitions;
    bp_message *messages = conversation_messages(&r->conversation, asked, &request.message_count);
    if (!messages)
        return fail_memory(error);
    request.messages = messages;
    r->wake.interrupted = false;
    bp_stream *stream = NULL;
    bp_status status = r->api->submit(r->engine, &request, &stream, error);
    free(messages);
    if (status != BP_OK)
        return status;
    text answer = {0};
    bp_event last = {0};
    status = show(r, stream, &answer, &last, error);
    screen_end_line(&r->out);
    if (status == BP_OK) {
        count(r, &last.usage);
        if (r->terminal)
            show_usage(r, &last);
        status = keep(r, asked, &answer, &last, error);
    }
    r->api->release(stream);
    r->wake.interrupted = false;
    text_free(&answer);
    if (r->out.failure)
        return fail(error, BP_EIO, "the answer cannot be written: %s", strerror(r->out.failure));
    return status;
}

bp_status answer_question(repl *r, const char *question, bp_error *error)
{
    size_t before = r->conversation.count;
    if (!conversation_add(&r->conversation, "user", question))
        return fail_memory(error);
    r->repetitions = 0;
    bp_status status = answer_turns(r, before + 1, error);
    if (status != BP_OK)
        conversation_drop(&r->conversation, before);
    return status;
}
