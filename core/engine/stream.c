#include "engine/stream.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bp_status stream_init(stream *s, uint32_t events, uint32_t tops, bp_error *error)
{
    *s = (stream){.capacity = events ? events : 1, .tops = tops};
    pthread_condattr_t attributes;
    if (pthread_mutex_init(&s->lock, NULL) != 0)
        return error_set(error, BP_ENOMEM, "no memory for a stream's lock");
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->arrived, &attributes);
    pthread_condattr_destroy(&attributes);
    s->slots = calloc(s->capacity, sizeof *s->slots);
    if (tops)
        s->all_tops = calloc(((size_t)s->capacity + 1) * tops, sizeof *s->all_tops);
    if (!s->slots || (tops && !s->all_tops)) {
        stream_clear(s);
        return error_set(error, BP_ENOMEM, "no memory for a stream of %u events", events);
    }
    for (uint32_t i = 0; tops && i < s->capacity; i++)
        s->slots[i].top = s->all_tops + (size_t)i * tops;
    s->last_top = tops ? s->all_tops + (size_t)s->capacity * tops : NULL;
    return BP_OK;
}

void stream_clear(stream *s)
{
    if (s->capacity == 0)
        return;
    for (uint32_t i = 0; s->slots && i < s->capacity; i++)
        buffer_free(&s->slots[i].longer);
    free(s->slots);
    free(s->all_tops);
    buffer_free(&s->last_text);
    pthread_cond_destroy(&s->arrived);
    pthread_mutex_destroy(&s->lock);
    *s = (stream){0};
}

/* --- writer ----------------------------------------------------------------------------------------------------------- */

stream_slot *stream_stage(stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool full = s->staged - s->read == s->capacity;
    stream_slot *slot = full ? NULL : &s->slots[s->staged++ % s->capacity];
    pthread_mutex_unlock(&s->lock);
    if (slot) {
        slot->kind = BP_EVENT_TOKEN;
        slot->chosen = (bp_token_logprob){0};
        slot->top_count = slot->text_bytes = slot->prompt_tokens = slot->position = 0;
        slot->text_end = slot->certain_at = 0;
        slot->vector = NULL;
        slot->vector_width = 0;
        buffer_clear(&slot->longer);
    }
    return slot;
}

stream_slot *stream_oldest(stream *s)
{
    return s->staged == s->published ? NULL : &s->slots[s->published % s->capacity];
}

uint32_t stream_staged(const stream *s)
{
    return (uint32_t)(s->staged - s->published);
}

bool stream_publish(stream *s, const char *text, size_t bytes)
{
    stream_slot *slot = stream_oldest(s);
    if (bytes > UINT32_MAX)
        return false;
    if (bytes > STREAM_INLINE_TEXT) {
        if (!buffer_append(&slot->longer, text, bytes))
            return false;
    } else if (bytes) {
        memcpy(slot->text, text, bytes);
    }
    slot->text_bytes = (uint32_t)bytes;
    pthread_mutex_lock(&s->lock);
    s->published++;
    pthread_cond_signal(&s->arrived);
    pthread_mutex_unlock(&s->lock);
    return true;
}

void stream_unstage(stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->staged = s->published;
    pthread_mutex_unlock(&s->lock);
}

void stream_end(stream *s, const bp_event *last, const char *text, size_t bytes)
{
    pthread_mutex_lock(&s->lock);
    if (!s->ended) {
        s->last = *last;
        s->last.size = sizeof s->last;
        s->last.text = NULL;
        s->last.text_bytes = 0;
        if (bytes && (bytes > UINT32_MAX || !buffer_append(&s->last_text, text, bytes))) {
            s->last.kind = BP_EVENT_ERROR;
            error_set(&s->last.error, BP_ENOMEM, "no memory for the end of the answer");
        } else if (bytes) {
            s->last.text = s->last_text.data;
            s->last.text_bytes = (uint32_t)bytes;
        }
        s->ended = true;
        pthread_cond_broadcast(&s->arrived);
    }
    pthread_mutex_unlock(&s->lock);
}

/* --- reader ----------------------------------------------------------------------------------------------------------- */

static bool has_event(const stream *s)
{
    return s->read < s->published || s->ended;
}

/* With the lock held: false after `timeout_ns` without an event. */
static bool await(stream *s, uint64_t timeout_ns)
{
    if (timeout_ns == UINT64_MAX) {
        while (!has_event(s))
            pthread_cond_wait(&s->arrived, &s->lock);
        return true;
    }
    uint64_t now = clock_now(), until = now + timeout_ns < now ? UINT64_MAX : now + timeout_ns;
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
    while (!has_event(s))
        if (pthread_cond_timedwait(&s->arrived, &s->lock, &t) == ETIMEDOUT)
            return has_event(s);
    return true;
}

static void give_slot(stream *s, bp_event *out)
{
    const stream_slot *slot = &s->slots[s->read % s->capacity];
    s->given = true;
    *out = (bp_event){.size = sizeof *out,
                      .kind = slot->kind,
                      .text = slot->text_bytes > STREAM_INLINE_TEXT ? slot->longer.data : slot->text,
                      .text_bytes = slot->text_bytes,
                      .chosen = slot->chosen,
                      .top = slot->top_count ? slot->top : NULL,
                      .top_count = slot->top_count,
                      .usage.prompt_tokens = slot->prompt_tokens,
                      .embedding = slot->vector,
                      .embedding_width = slot->vector_width,
                      .position = slot->position};
}

bp_status stream_next(stream *s, uint64_t timeout_ns, bp_event *out, bp_error *error)
{
    bp_status status = BP_OK;
    pthread_mutex_lock(&s->lock);
    if (s->given)
        s->read++;
    s->given = false;
    if (s->last_given)
        status = error_set(error, BP_EINVAL, "the stream has ended");
    else if (!await(s, timeout_ns))
        status = error_set(error, BP_ETIMEOUT, "no event within %.3f s", (double)timeout_ns / 1e9);
    else if (s->read < s->published)
        give_slot(s, out);
    else {
        *out = s->last;
        s->last_given = true;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}
