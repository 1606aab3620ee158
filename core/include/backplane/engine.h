/* backplane/engine.h: what a frontend may ask of the core.
 *
 * A frontend submits a request and gets a stream; it reads events from the stream until BP_EVENT_DONE or BP_EVENT_ERROR,
 * then releases it. It never blocks the engine: events wait in a bounded ring per stream, and a reader that lets its ring
 * fill loses its own request only (BP_ELIMIT).
 *
 * Threads: every function of bp_engine_api may be called from any thread; one stream is read by one thread at a time, and
 * cancelled from any. */
#ifndef BACKPLANE_ENGINE_H
#define BACKPLANE_ENGINE_H

#include <backplane/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bp_engine bp_engine;
typedef struct bp_stream bp_stream;

/* How the next token is chosen. Stages run in this order: logit bias, repetition penalty, frequency and presence
 * penalties, temperature, top-k, typical, top-p, min-p, draw. docs/sampling.md defines each.
 * Fill with api->defaults() first, then change. */
typedef struct bp_logit_bias { int32_t token; float bias; } bp_logit_bias;
typedef struct bp_sampling {
    uint32_t size;
    uint32_t top_k;            /* 0 is off */
    float temperature;         /* 0 is greedy: the highest logit, ties to the lowest id */
    float top_p;               /* 1 is off */
    float min_p;               /* 0 is off */
    float typical_p;           /* 1 is off */
    float repetition_penalty;  /* 1 is off */
    float frequency_penalty;   /* 0 is off */
    float presence_penalty;    /* 0 is off */
    uint32_t penalty_window;   /* the last n tokens of prompt and answer that penalties look at; 0 is all */
    uint64_t seed;
    const bp_logit_bias *logit_bias;
    uint32_t logit_bias_count;
    int32_t logprobs;          /* -1 none; n >= 0: of the chosen token and of the n highest (at most BP_MAX_LOGPROBS) */
} bp_sampling;
enum { BP_MAX_LOGPROBS = 64, BP_MAX_STOPS = 16 };

typedef struct bp_message {
    const char *role;            /* "system", "user", "assistant", "tool", … as the model's template knows them */
    const char *content;         /* NULL where there is none */
    const char *name;            /* NULL or the speaker's, or the tool's, name */
    const char *tool_call_id;    /* NULL or, for role "tool", the call it answers */
    const char *tool_calls_json; /* NULL or a JSON array in OpenAI's shape */
    uint64_t content_bytes;      /* of content, which may then hold NUL bytes; 0: it ends at its first NUL */
    uint64_t reserved[2];
} bp_message;

enum { BP_INPUT_MESSAGES = 0, BP_INPUT_TEXT = 1, BP_INPUT_TOKENS = 2 };
enum {
    BP_REQUEST_PARSE_SPECIAL = 1 << 0, /* INPUT_TEXT: spellings of special tokens become those tokens */
    BP_REQUEST_NO_BOS = 1 << 1,        /* INPUT_TEXT: do not prepend what the model's file asks for */
    BP_REQUEST_IGNORE_EOS = 1 << 2,    /* end-of-text tokens do not end the answer */
    BP_REQUEST_EMIT_SPECIAL = 1 << 3,  /* special tokens appear in the text */
    BP_REQUEST_CONTINUE = 1 << 4,      /* INPUT_MESSAGES: continue the last assistant message, start no new one */
    BP_REQUEST_TRUNCATE = 1 << 5,      /* EMBED, RANK: of an input over the context its beginning; else it is refused */
    BP_REQUEST_PROMPT_LOGPROBS = 1 << 6, /* PROMPT events before the answer; needs sampling.logprobs >= 0. The prompt is
                                          * computed whole, whatever of it the prefix cache holds */
    BP_REQUEST_ONE_TOOL_CALL = 1 << 8, /* with tools_json: an answer calls one tool at most */
    BP_REQUEST_NO_ANSWER = 1 << 7      /* the request is over, as one of full length, once its prompt is computed */
};
/* The kinds of texts that say what an answer is (docs/structured.md): an EBNF grammar, a JSON schema, a regular expression.
 * Tokens that could not lead to such an answer are never chosen. */
enum { BP_GRAMMAR_NONE = 0, BP_GRAMMAR_GBNF = 1, BP_GRAMMAR_JSON_SCHEMA = 2, BP_GRAMMAR_REGEX = 3 };
/* With tools_json: whether tools are called is the model's choice, or they are called and nothing else is said. */
enum { BP_TOOLS_AUTO = 0, BP_TOOLS_REQUIRED = 1 };
/* How a model writes that it calls tools; all zero where it has no way that is known. A call is
 *     begin {"name": "…", "arguments": {…}} end
 * and with `list` all of them are: begin [{…}, {…}]. Either mark may be "". Where begin is, a call can only be the whole
 * answer. */
typedef struct bp_tool_format {
    char name[16];
    char begin[32], end[32]; /* begin appears in the text even if it is a special token */
    char arguments[16];      /* the key of a call's arguments */
    uint32_t list, reserved[5];
} bp_tool_format;
/* What is wanted: an answer, one vector of the whole input, or how well a second text answers to the first. A model does one of
 * them: bp_model_info.task. */
enum { BP_TASK_GENERATE = 0, BP_TASK_EMBED = 1, BP_TASK_RANK = 2 };
typedef struct bp_request {
    uint32_t size, flags;
    const char *model; /* a name from the configuration; NULL is the only one, or an error */
    uint32_t input;    /* BP_INPUT_…: which of the following is set */
    uint32_t message_count;
    const bp_message *messages;
    const char *tools_json;           /* NULL or a JSON array */
    const char *template_kwargs_json; /* NULL or a JSON object of further template variables */
    const char *text;
    uint64_t text_bytes; /* may hold NUL bytes */
    const int32_t *tokens;
    uint64_t token_count;
    uint32_t max_tokens;   /* 0: as many as fit the context */
    int32_t priority;      /* higher first; 0 is normal */
    uint64_t timeout_ns;   /* from submission; 0 is none */
    const char *const *stop; /* the answer ends before the first of these */
    uint32_t stop_count;
    uint32_t stop_token_count;
    const int32_t *stop_tokens;
    const char *salt; /* a tenant's name: requests share cached prefixes only under one salt, and tenants are admitted in turns; NULL is "" */
    uint32_t task;    /* BP_TASK_…; EMBED takes text or tokens, RANK two messages, whose roles do not matter: the first text
                       * and the second. Nothing of what shapes an answer matters to either */
    uint32_t dimensions; /* EMBED: only so many of the vector's first numbers, of length 1 again where vectors are; 0 is all */
    const bp_stream *beside; /* NULL, or a stream of the same model that is not released: this request comes with it, and does
                              * not wait where models make room for others */
    const char *prompt_name; /* EMBED of a text: which of the model's prompts stands before it; NULL is its default */
    const char *grammar; /* NULL: an answer may be any text */
    uint32_t grammar_bytes, grammar_kind; /* BP_GRAMMAR_… */
    const char *tool_name; /* TOOLS_REQUIRED: the tool that is called; NULL: any */
    uint32_t tool_choice;  /* BP_TOOLS_…; with AUTO and a grammar the answer calls tools or fits the grammar */
    uint32_t wait_ms;      /* how long submit() waits for a model that is not in memory; 0: two minutes, as for all else */
    uint64_t reserved[1]; /* new fields go here, so that `sampling` may grow at the end */
    bp_sampling sampling; /* stays last */
} bp_request;

typedef struct bp_token_logprob {
    int32_t token;
    float logprob;     /* natural; of the model's distribution before sampling stages */
    const char *bytes; /* the token's own bytes, not always whole characters; not NUL-terminated */
    uint32_t byte_count, reserved;
} bp_token_logprob;

enum {
    BP_EVENT_START = 1, BP_EVENT_TOKEN = 2, BP_EVENT_DONE = 3, BP_EVENT_ERROR = 4, BP_EVENT_EMBEDDING = 5, BP_EVENT_PROMPT = 6
};
enum { BP_FINISH_STOP = 1, BP_FINISH_LENGTH = 2, BP_FINISH_CANCELLED = 3 };

typedef struct bp_usage {
    uint32_t prompt_tokens, completion_tokens;
    uint32_t cached_tokens; /* of the prompt, found in the prefix cache instead of computed */
    uint32_t preemptions;
    uint64_t queued_ns, prefill_ns, decode_ns; /* prefill ends with the first token */
    uint32_t drafted_tokens, accepted_tokens;  /* guessed ahead, and of these the ones that were right */
    uint64_t reserved[3];
} bp_usage;

/* Pointers stay valid until the next call of next() or release() on the stream. */
typedef struct bp_event {
    uint32_t size;
    uint32_t kind;    /* START: admitted, usage.prompt_tokens is known. PROMPT, one for each of its tokens, where asked. TOKEN or
                       * EMBEDDING. DONE. ERROR. */
    uint32_t finish;  /* DONE: BP_FINISH_… */
    uint32_t text_bytes;
    const char *text; /* TOKEN, DONE: text that became certain: whole UTF-8 characters, no part of a stop string */
    /* TOKEN: the token always, its logprob where asked. PROMPT: the token that stands there, with the logprob it has behind
     * those before it; the first has none. DONE by a token that ends text, or a stop token: that token as in TOKEN, with
     * byte_count > 0; its bytes are no part of the text. */
    bp_token_logprob chosen;
    const bp_token_logprob *top;   /* beside each `chosen` with a logprob: the highest, descending, ties to the lowest id */
    uint32_t top_count, stop_index; /* DONE by a stop string: its index + 1, else 0 */
    bp_usage usage;                /* DONE, ERROR */
    bp_error error;                /* ERROR */
    const float *embedding;        /* EMBEDDING: the vector, or of RANK one number, higher for what is nearer */
    uint32_t embedding_width;
    uint32_t position;             /* PROMPT: of the token in the prompt, from 0 */
} bp_event;

enum { BP_MODEL_UNLOADED = 0, BP_MODEL_LOADING = 1, BP_MODEL_READY = 2, BP_MODEL_FAILED = 3 };
typedef struct bp_model_info {
    uint32_t size, state; /* BP_MODEL_… */
    char name[64], backend[64], family[32], weight_type[32], path[512];
    char message[508];    /* FAILED: why */
    uint64_t parameters, file_bytes, weight_bytes, kv_bytes, workspace_bytes; /* weights and later: 0 unless READY */
    uint32_t context, train_context, vocab_size, layers, width;
    uint32_t has_chat_template;
    uint32_t task;            /* BP_TASK_… that it does; 0 unless READY */
    uint32_t embedding_width; /* TASK_EMBED: numbers of a vector */
    int32_t bos_token, eos_token; /* that begins a text, that ends one; -1: there is none, or not READY */
    bp_tool_format tools;     /* READY, of its chat template */
} bp_model_info;

typedef struct bp_model_stats {
    uint32_t size, running, waiting;
    uint32_t pages_used, pages_total, pages_cached; /* held by requests; in all; kept for prefixes alone, and as good as free */
    uint64_t requests, failed, prompt_tokens, completion_tokens, steps, preemptions;
    uint64_t prefix_hit_tokens; /* tokens of prompts, or of preempted answers, that were found in the prefix cache */
    uint64_t loads;             /* how often the model came into memory */
    uint64_t drafted_tokens, accepted_tokens; /* guessed ahead, and of these the ones that were right */
} bp_model_stats;

/* fraction 0 … 1 and what is being done; called from the loading thread. */
typedef void (*bp_progress_fn)(void *user, double fraction, const char *what);

enum { BP_TOKENIZE_SPECIAL = 1 << 0, BP_TOKENIZE_BOS = 1 << 1 };

typedef struct bp_engine_api {
    uint32_t size, reserved;
    /* Here and below, out->size is set by the caller. */
    void (*defaults)(bp_engine *engine, const char *model, bp_request *out);
    /* Checks the request, copies what it needs and queues it. Errors: BP_EINVAL, BP_ENOTFOUND (model), BP_ECONTEXT,
     * BP_EGRAMMAR, BP_EBUSY (the queue is full, or other models kept this one out for two minutes: try again later), BP_ENOMEM. A model that is
     * not in memory is loaded first, and as many requests wait for it as its queue has room for. BP_ETIMEOUT: that took longer
     * than wait_ms or timeout_ns; the model comes for two seconds more, so who submits again goes on waiting. */
    bp_status (*submit)(bp_engine *engine, const bp_request *request, bp_stream **out, bp_error *error);
    /* Waits for the next event, at most timeout_ns (UINT64_MAX: no limit); BP_ETIMEOUT leaves the stream as it was. */
    bp_status (*next)(bp_stream *stream, uint64_t timeout_ns, bp_event *out, bp_error *error);
    void (*cancel)(bp_stream *stream);  /* the stream still ends with DONE, BP_FINISH_CANCELLED; NULL is fine */
    void (*release)(bp_stream *stream); /* cancels what still runs; NULL is fine */
    /* Models come and go when the configuration is read again: an index is good for the call after it, and model_info for one that
     * is no more says BP_ENOTFOUND. Their names are what stays. */
    uint32_t (*model_count)(bp_engine *engine);
    bp_status (*model_info)(bp_engine *engine, uint32_t index, bp_model_info *out, bp_error *error);
    bp_status (*find_model)(bp_engine *engine, const char *name, uint32_t *index, bp_error *error);
    bp_status (*load)(bp_engine *engine, const char *model, bp_progress_fn progress, void *user, bp_error *error);
    bp_status (*stats)(bp_engine *engine, const char *model, bp_model_stats *out, bp_error *error);
    /* Writes up to `capacity` ids and sets *count to how many there are. BP_TOKENIZE_… flags. */
    bp_status (*tokenize)(bp_engine *engine, const char *model, const char *text, uint64_t bytes, uint32_t flags,
                          int32_t *ids, uint64_t capacity, uint64_t *count, bp_error *error);
    /* Writes up to `capacity` bytes of text (no NUL) and sets *bytes to how many there are. */
    bp_status (*detokenize)(bp_engine *engine, const char *model, const int32_t *ids, uint64_t count,
                            char *text, uint64_t capacity, uint64_t *bytes, bp_error *error);
    /* The prompt that the model's chat template makes of request's messages; as detokenize. */
    bp_status (*render)(bp_engine *engine, const bp_request *request, char *text, uint64_t capacity, uint64_t *bytes,
                        bp_error *error);
    /* Gives back the memory of a model that is not in use; it is loaded again when it is asked for. BP_EBUSY: it is in use. */
    bp_status (*unload)(bp_engine *engine, const char *model, bp_error *error);
    /* 1 once the engine takes no new requests and waits for those that run; stop() follows. */
    uint32_t (*draining)(bp_engine *engine);
} bp_engine_api;

typedef struct bp_frontend bp_frontend; /* the frontend's own */

/* Empty slots become functions that return BP_EUNSUPPORTED. */
typedef struct bp_frontend_ops {
    uint32_t size, reserved;
    /* `config` is the struct the options filled; it, the host and the engine live until close(). */
    bp_status (*open)(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *config,
                      bp_frontend **out, bp_error *error);
    /* Serves until it is done or stop() is called; on a thread of its own, or the main thread if it is the only one. */
    bp_status (*run)(bp_frontend *frontend, bp_error *error);
    /* From any thread, not from a signal handler: finish soon. */
    void (*stop)(bp_frontend *frontend);
    void (*close)(bp_frontend *frontend); /* after run() has returned; NULL is fine */
} bp_frontend_ops;

#ifdef __cplusplus
}
#endif
#endif
