/* Plugin ABI 1.1, frozen: a frontend's side. Messages of 1.0 were shorter, and arrays of them are no more read. */
#ifndef OLD_FRONTEND_H
#define OLD_FRONTEND_H

#include "plugin.h"

typedef struct bp_engine bp_engine;
typedef struct bp_stream bp_stream;
typedef struct bp_logit_bias { int32_t token; float bias; } bp_logit_bias;

typedef struct bp_sampling {
    uint32_t size;
    uint32_t top_k;
    float temperature;
    float top_p;
    float min_p;
    float typical_p;
    float repetition_penalty;
    float frequency_penalty;
    float presence_penalty;
    uint32_t penalty_window;
    uint64_t seed;
    const bp_logit_bias *logit_bias;
    uint32_t logit_bias_count;
    int32_t logprobs;
} bp_sampling;
enum { BP_MAX_LOGPROBS = 64, BP_MAX_STOPS = 16 };

typedef struct bp_message {
    const char *role;
    const char *content;
    const char *name;
    const char *tool_call_id;
    const char *tool_calls_json;
    uint64_t content_bytes;
    uint64_t reserved[2];
} bp_message;
enum { BP_INPUT_MESSAGES = 0, BP_INPUT_TEXT = 1, BP_INPUT_TOKENS = 2 };

enum {
    BP_REQUEST_PARSE_SPECIAL = 1 << 0,
    BP_REQUEST_NO_BOS = 1 << 1,
    BP_REQUEST_IGNORE_EOS = 1 << 2,
    BP_REQUEST_EMIT_SPECIAL = 1 << 3,
    BP_REQUEST_CONTINUE = 1 << 4,
    BP_REQUEST_TRUNCATE = 1 << 5,
    BP_REQUEST_PROMPT_LOGPROBS = 1 << 6,
    BP_REQUEST_ONE_TOOL_CALL = 1 << 8,
    BP_REQUEST_NO_ANSWER = 1 << 7
};
enum { BP_GRAMMAR_NONE = 0, BP_GRAMMAR_GBNF = 1, BP_GRAMMAR_JSON_SCHEMA = 2, BP_GRAMMAR_REGEX = 3 };
enum { BP_TOOLS_AUTO = 0, BP_TOOLS_REQUIRED = 1 };

typedef struct bp_tool_format {
    char name[16];
    char begin[32], end[32];
    char arguments[16];
    uint32_t list, reserved[5];
} bp_tool_format;
enum { BP_TASK_GENERATE = 0, BP_TASK_EMBED = 1 };

typedef struct bp_request {
    uint32_t size, flags;
    const char *model;
    uint32_t input;
    uint32_t message_count;
    const bp_message *messages;
    const char *tools_json;
    const char *template_kwargs_json;
    const char *text;
    uint64_t text_bytes;
    const int32_t *tokens;
    uint64_t token_count;
    uint32_t max_tokens;
    int32_t priority;
    uint64_t timeout_ns;
    const char *const *stop;
    uint32_t stop_count;
    uint32_t stop_token_count;
    const int32_t *stop_tokens;
    const char *salt;
    uint32_t task;
    uint32_t dimensions;
    const bp_stream *beside;
    const char *prompt_name;
    const char *grammar;
    uint32_t grammar_bytes, grammar_kind;
    const char *tool_name;
    uint32_t tool_choice;
    uint32_t unused;
    uint64_t reserved[1];
    bp_sampling sampling;
} bp_request;

typedef struct bp_token_logprob {
    int32_t token;
    float logprob;
    const char *bytes;
    uint32_t byte_count, reserved;
} bp_token_logprob;

enum {
    BP_EVENT_START = 1, BP_EVENT_TOKEN = 2, BP_EVENT_DONE = 3, BP_EVENT_ERROR = 4, BP_EVENT_EMBEDDING = 5, BP_EVENT_PROMPT = 6
};
enum { BP_FINISH_STOP = 1, BP_FINISH_LENGTH = 2, BP_FINISH_CANCELLED = 3 };

typedef struct bp_usage {
    uint32_t prompt_tokens, completion_tokens;
    uint32_t cached_tokens;
    uint32_t preemptions;
    uint64_t queued_ns, prefill_ns, decode_ns;
    uint32_t drafted_tokens, accepted_tokens;
    uint64_t reserved[3];
} bp_usage;

typedef struct bp_event {
    uint32_t size;
    uint32_t kind;
    uint32_t finish;
    uint32_t text_bytes;
    const char *text;
    bp_token_logprob chosen;
    const bp_token_logprob *top;
    uint32_t top_count, stop_index;
    bp_usage usage;
    bp_error error;
    const float *embedding;
    uint32_t embedding_width;
    uint32_t position;
} bp_event;
enum { BP_MODEL_UNLOADED = 0, BP_MODEL_LOADING = 1, BP_MODEL_READY = 2, BP_MODEL_FAILED = 3 };

typedef struct bp_model_info {
    uint32_t size, state;
    char name[64], backend[64], family[32], weight_type[32], path[512];
    char message[508];
    uint64_t parameters, file_bytes, weight_bytes, kv_bytes, workspace_bytes;
    uint32_t context, train_context, vocab_size, layers, width;
    uint32_t has_chat_template;
    uint32_t task;
    uint32_t embedding_width;
    int32_t bos_token, eos_token;
    bp_tool_format tools;
} bp_model_info;

typedef struct bp_model_stats {
    uint32_t size, running, waiting;
    uint32_t pages_used, pages_total, pages_cached;
    uint64_t requests, failed, prompt_tokens, completion_tokens, steps, preemptions;
    uint64_t prefix_hit_tokens;
    uint64_t loads;
    uint64_t drafted_tokens, accepted_tokens;
} bp_model_stats;
typedef void (*bp_progress_fn)(void *user, double fraction, const char *what);
enum { BP_TOKENIZE_SPECIAL = 1 << 0, BP_TOKENIZE_BOS = 1 << 1 };

typedef struct bp_engine_api {
    uint32_t size, reserved;
    void (*defaults)(bp_engine *engine, const char *model, bp_request *out);
    bp_status (*submit)(bp_engine *engine, const bp_request *request, bp_stream **out, bp_error *error);
    bp_status (*next)(bp_stream *stream, uint64_t timeout_ns, bp_event *out, bp_error *error);
    void (*cancel)(bp_stream *stream);
    void (*release)(bp_stream *stream);
    uint32_t (*model_count)(bp_engine *engine);
    bp_status (*model_info)(bp_engine *engine, uint32_t index, bp_model_info *out, bp_error *error);
    bp_status (*find_model)(bp_engine *engine, const char *name, uint32_t *index, bp_error *error);
    bp_status (*load)(bp_engine *engine, const char *model, bp_progress_fn progress, void *user, bp_error *error);
    bp_status (*stats)(bp_engine *engine, const char *model, bp_model_stats *out, bp_error *error);
    bp_status (*tokenize)(bp_engine *engine, const char *model, const char *text, uint64_t bytes, uint32_t flags,
                          int32_t *ids, uint64_t capacity, uint64_t *count, bp_error *error);
    bp_status (*detokenize)(bp_engine *engine, const char *model, const int32_t *ids, uint64_t count,
                            char *text, uint64_t capacity, uint64_t *bytes, bp_error *error);
    bp_status (*render)(bp_engine *engine, const bp_request *request, char *text, uint64_t capacity, uint64_t *bytes,
                        bp_error *error);
    bp_status (*unload)(bp_engine *engine, const char *model, bp_error *error);
} bp_engine_api;

typedef struct bp_frontend bp_frontend;

typedef struct bp_frontend_ops {
    uint32_t size, reserved;
    bp_status (*open)(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *config,
                      bp_frontend **out, bp_error *error);
    bp_status (*run)(bp_frontend *frontend, bp_error *error);
    void (*stop)(bp_frontend *frontend);
    void (*close)(bp_frontend *frontend);
} bp_frontend_ops;

#endif
