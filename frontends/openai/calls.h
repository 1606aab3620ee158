/* calls: an answer's text apart from the calls of tools in it, as it comes.
 *
 * How a model writes calls is data (bp_tool_format); small models often leave out the marks, so an answer that begins with
 * a call's object calls as well. What looks like a call and turns out to be none, because it is not JSON, or
 * names no tool of the request, is text like the rest; a call counts once its name is known and its arguments have begun, and
 * from then on they are handed out as they come. White space before a call is not part of the text.
 *
 * Any thread, one at a time. */
#ifndef BACKPLANE_OPENAI_CALLS_H
#define BACKPLANE_OPENAI_CALLS_H

#include "openai/request.h"

enum { CALL_ID_ROOM = 10 };

typedef struct call {
    char id[CALL_ID_ROOM]; /* nine letters and digits, which is what every template takes */
    const char *name;      /* the request's */
    text arguments;        /* a JSON object, as far as it came */
    size_t told;           /* of the arguments: for whoever streams them */
    bool begun, whole;     /* begun: for whoever streams it */
} call;

/* Where the text is: before a call, in its object, behind it; or no call can come any more. */
typedef enum calls_place { CALLS_TEXT, CALLS_OBJECT, CALLS_BEHIND, CALLS_OVER } calls_place;
/* What is next in the object itself, not in what is nested in it. */
typedef enum calls_part { CALLS_KEY, CALLS_COLON, CALLS_VALUE, CALLS_COMMA } calls_part;

typedef struct calls {
    bool on; /* the request has tools and the model calls them in a known way; else all is text */
    bp_tool_format format;
    const json_t *tools; /* the request's */
    const char *seed;    /* of ids */
    calls_place place;
    text held;           /* what is not decided yet: all of it is text if it turns out to be no call */
    size_t blanks;       /* of held: those it begins with */
    bool listed;         /* within the brackets of a list of calls */
    bool bare;           /* there was no text so far, and no mark: an object is a call without one */

    text object;         /* of the call at hand, from its brace on */
    calls_part part;
    uint32_t depth;      /* of braces and brackets in it */
    bool quoted, escaped;
    size_t key, key_size, value;           /* of object: the last key, and where its value begins; 0: not yet */
    size_t arguments_from, arguments_to;   /* of object; 0: not known */
    size_t quote_from, quote_to;           /* likewise, of arguments that are a string */
    const char *name;    /* the tool's, once known */
    bool counted;        /* list[count - 1] is this call */

    call *list; /* [count] */
    size_t count, capacity;
} calls;

/* Of a request that was submitted, so that the model is there. */
void calls_open(calls *c, const openai_request *r, const bp_engine_api *api, bp_engine *engine, const char *seed);
void calls_clear(calls *c);
/* Appends to *out what of the text is no call. False when out of memory, here and below. */
bool calls_push(calls *c, const char *bytes, size_t count, text *out);
bool calls_finish(calls *c, text *out); /* nothing more comes */

/* {"id", "type", "function": {"name", "arguments"}} of all calls, NULL when out of memory. */
json_t *calls_json(const calls *c);
/* The next piece of tool_calls of a streamed answer; NULL and true where there is none: the first one of a call has index, id,
 * type and name, later ones index and more of the arguments. */
bool calls_delta(calls *c, json_t **out);

#endif
