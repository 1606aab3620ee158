/* generate: one completion request on its way: n answers to each of its prompts, or best_of them to choose n from, each a stream
 * of the engine.
 *
 * Answer i of prompt p is answers[p * best_of + i] and has the seed of the request plus i. Events of all answers are taken as they
 * come, since the engine keeps few of them for a reader that does not read. Of many answers some are submitted as others
 * end, so that a request of thousands does not fill the model's queue. */
#ifndef BACKPLANE_HTTP_GENERATE_H
#define BACKPLANE_HTTP_GENERATE_H

#include "http/http.h"
#include "openai/calls.h"

typedef struct answer {
    uint32_t index;
    bp_stream *stream; /* NULL once it is over */
    text text;         /* whole.c: all of it; events.c: what is not sent yet */
    calls calls;       /* of tools, which are no part of the text */
    json_t *logprobs;  /* likewise, entries; NULL where they are not asked for */
    json_t *prompt;    /* entries of the prompt; NULL where they are not asked for */
    size_t characters; /* of the prompt echoed and the logprobs sent, for text_offset */
    double likelihood; /* the sum of its tokens' logprobs, where best_of needs it */
    bool begun;        /* events.c: its first chunk was made */
    uint32_t finish;
    bp_usage usage;
} answer;

typedef struct generation {
    exchange *exchange;
    openai_request request;
    char id[48];
    int64_t created;
    answer *answers; /* [count] */
    uint32_t count, submitted, running;
    uint64_t scored; /* tokens of prompts, whose lists are kept until they are sent */
    bool failed; /* with `why` */
    refusal why;
} generation;

/* Reads `body` and submits its answers; `prefix` begins the id. False with the reason in g->why, and nothing else. */
bool generation_open(generation *g, exchange *e, json_t *body, unsigned kind, const char *prefix);
void generation_clear(generation *g); /* ends what still runs */

/* What an output does with an event, after its text and logprob were added to the answer. False: `why` is set. */
typedef bool (*take_event)(generation *g, answer *a, const bp_event *event);

/* Whether there is more to come. */
static inline bool generation_going(const generation *g)
{
    return g->running > 0 || g->submitted < g->count;
}
/* Takes the events that are there, waiting a while for the first, and submits more answers. False when one failed. */
bool generation_round(generation *g, take_event take);
json_t *generation_usage(const generation *g);
/* The text of the prompt, where it is echoed, a string; else NULL. False when out of memory. */
bool generation_echo(const generation *g, const answer *a, json_t **out);

void generation_whole(generation *g);  /* whole.c */
void generation_events(generation *g); /* events.c */

/* The client went away: nothing more is written. */
void generation_lost(generation *g);
/* Server-sent events on their way to the client, which begin with the first one. */
typedef struct outgoing {
    text bytes;
    bool begun;
} outgoing;
/* "data: " and the value, which is taken; "event: NAME" before it unless that is NULL. False, with nothing added, when out of
 * memory or without a value. */
bool outgoing_add(outgoing *o, const char *name, json_t *value);
/* Writes what is there, or asks whether the client is; false where it is gone. */
bool outgoing_send(generation *g, outgoing *o);

#endif
