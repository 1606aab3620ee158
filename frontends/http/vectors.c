#include "http/vectors.h"

#include <stdlib.h>

enum { IN_FLIGHT = 64, WAIT_NS = 100000000 };

static bp_stream *any_running(const vectors *v)
{
    for (uint32_t i = 0; i < v->submitted; i++)
        if (v->streams[i])
            return v->streams[i];
    return NULL;
}

static bool submit_more(vectors *v)
{
    while (v->submitted < v->count && v->running < IN_FLIGHT) {
        bp_error error = {0};
        v->choose(v->user, v->submitted);
        v->request->beside = any_running(v);
        bp_status status = client_submit(v->exchange, v->request, &v->streams[v->submitted], &error);
        if (status == BP_EBUSY && v->running > 0)
            return true;
        if (status != BP_OK) {
            v->streams[v->submitted] = NULL;
            v->blame(v->user, &error, &v->why);
            return false;
        }
        v->submitted++;
        v->running++;
    }
    return true;
}

static bool take(vectors *v, uint32_t index, const bp_event *event)
{
    if (event->kind == BP_EVENT_EMBEDDING)
        return v->keep(v->user, index, event) || refuse_memory(&v->why);
    if (event->kind != BP_EVENT_DONE && event->kind != BP_EVENT_ERROR)
        return true;
    v->exchange->usage.prompt_tokens += event->usage.prompt_tokens;
    v->exchange->server->api->release(v->streams[index]);
    v->streams[index] = NULL;
    v->running--;
    if (event->kind == BP_EVENT_DONE && event->finish == BP_FINISH_STOP)
        return true;
    bp_error cancelled = {BP_ECANCELLED, "the server is shutting down"};
    refuse_failure(&v->why, event->kind == BP_EVENT_ERROR ? &event->error : &cancelled);
    return false;
}

/* Takes the events that are there, waiting a while for the first. */
static bool take_round(vectors *v)
{
    const bp_engine_api *api = v->exchange->server->api;
    uint64_t wait = WAIT_NS;
    for (uint32_t i = 0; i < v->submitted; i++) {
        while (v->streams[i]) {
            bp_event event = {.size = sizeof event};
            bp_error error = {0};
            bp_status status = api->next(v->streams[i], wait, &event, &error);
            wait = 0;
            if (status == BP_ETIMEOUT)
                break;
            if (status != BP_OK) {
                refuse_status(&v->why, &error);
                return false;
            }
            if (!take(v, i, &event))
                return false;
        }
    }
    return true;
}

int vectors_run(vectors *v)
{
    v->streams = calloc(v->count, sizeof(bp_stream *));
    if (!v->streams) {
        refuse_memory(&v->why);
        return VECTORS_REFUSED;
    }
    while (v->running > 0 || v->submitted < v->count) {
        if (!submit_more(v) || !take_round(v))
            return VECTORS_REFUSED;
        if (v->running > 0 && client_gone(v->exchange))
            return VECTORS_GONE;
    }
    return VECTORS_DONE;
}

void vectors_clear(vectors *v)
{
    for (uint32_t i = 0; v->streams && i < v->count; i++)
        if (v->streams[i])
            v->exchange->server->api->release(v->streams[i]);
    free(v->streams);
    v->streams = NULL;
}

void vectors_reply(vectors *v, int end)
{
    if (end == VECTORS_REFUSED)
        reply_refused(v->exchange, &v->why);
    else
        client_left(v->exchange);
}
