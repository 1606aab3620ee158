/* config_options: the keys that the configuration itself has. Parsing, messages, help and the reference page are this. */
#include "host/config.h"

#include <stddef.h>

#define TOP(field) .offset = offsetof(config, field)
#define MODEL(field) .offset = offsetof(config_model, field)

const bp_option config_top_options[] = {
    {.name = "log_level", .type = BP_OPTION_ENUM, .choices = "debug|info|warn|error", .fallback = "info", TOP(log_level),
     .help = "The least serious lines that are logged."},
    {0},
};

const bp_option config_model_options[] = {
    {.name = "file", .type = BP_OPTION_PATH, .flags = BP_OPTION_REQUIRED, MODEL(file), .help = "The model's GGUF file."},
    {.name = "backend", .type = BP_OPTION_STRING, MODEL(backend),
     .help = "The name under backends that runs it; not needed where there is one."},
    {.name = "context", .type = BP_OPTION_INT, .flags = BP_OPTION_AUTO, .fallback = "auto", .min = 16, .max = 1 << 24,
     MODEL(context), .help = "The most tokens of one conversation; auto is what the model was trained for."},
    {.name = "numerics", .type = BP_OPTION_ENUM, .choices = "stable|portable", .fallback = "stable", MODEL(numerics),
     .help = "stable: the same bits on one kind of device; portable: across kinds of device too."},
    {.name = "kv_type", .type = BP_OPTION_ENUM, .choices = "f16|f32|bf16", .fallback = "f16", MODEL(kv_type),
     .help = "The type in which keys and values are cached."},
    {.name = "load", .type = BP_OPTION_ENUM, .choices = "lazy|eager", .fallback = "lazy", MODEL(load),
     .help = "lazy: at the first request; eager: at the start."},
    {.name = "max_batch", .type = BP_OPTION_INT, .fallback = "16", .min = 1, .max = 4096, MODEL(max_batch),
     .help = "The most sequences that run together."},
    {.name = "max_step_tokens", .type = BP_OPTION_INT, .fallback = "512", .min = 1, .max = 65536, MODEL(max_step_tokens),
     .help = "The most tokens of one step; longer prompts are read in pieces."},
    {.name = "page_tokens", .type = BP_OPTION_ENUM, .choices = "16|32|64|128|256", .fallback = "32", MODEL(page_size),
     .help = "Tokens of one page of cached keys and values."},
    {.name = "kv_tokens", .type = BP_OPTION_INT, .flags = BP_OPTION_AUTO, .fallback = "auto", .min = 16, .max = 1 << 30,
     MODEL(kv_tokens),
     .help = "Tokens that all sequences together may have cached; auto is four full contexts, or max_batch if that is fewer."},
    {.name = "kv_memory", .type = BP_OPTION_SIZE, MODEL(kv_memory), .help = "The same limit in bytes, instead of kv_tokens."},
    {.name = "prefix_cache", .type = BP_OPTION_BOOL, .fallback = "true", MODEL(prefix_cache),
     .help = "Keep pages that no request holds any more until they are needed, so that prompts which begin alike are computed once."},
    {.name = "queue_limit", .type = BP_OPTION_INT, .fallback = "256", .min = 0, .max = 1 << 20, MODEL(queue_limit),
     .help = "Requests that may wait; further ones are refused."},
    {.name = "max_tokens", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 1 << 24, MODEL(max_tokens),
     .help = "The most tokens of an answer where a request says nothing; 0 is as many as fit."},
    {.name = "temperature", .type = BP_OPTION_FLOAT, .fallback = "0.7", .min = 0, .max = 2, MODEL(temperature),
     .help = "How far from the likeliest token sampling strays; 0 always takes the likeliest."},
    {.name = "top_k", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 1 << 20, MODEL(top_k),
     .help = "Only the k likeliest tokens are drawn from; 0 is off."},
    {.name = "top_p", .type = BP_OPTION_FLOAT, .fallback = "0.95", .min = 0, .max = 1, MODEL(top_p),
     .help = "Only the likeliest tokens that together reach this probability are drawn from; 1 is off."},
    {.name = "min_p", .type = BP_OPTION_FLOAT, .fallback = "0", .min = 0, .max = 1, MODEL(min_p),
     .help = "Only tokens at least this likely, relative to the likeliest, are drawn from; 0 is off."},
    {.name = "typical_p", .type = BP_OPTION_FLOAT, .fallback = "1", .min = 0, .max = 1, MODEL(typical_p),
     .help = "Locally typical sampling; 1 is off."},
    {.name = "repetition_penalty", .type = BP_OPTION_FLOAT, .fallback = "1", .min = 0.01, .max = 100, MODEL(repetition_penalty),
     .help = "Divides the logits of tokens that were there before; 1 is off."},
    {.name = "frequency_penalty", .type = BP_OPTION_FLOAT, .fallback = "0", .min = -2, .max = 2, MODEL(frequency_penalty),
     .help = "Lowers a token's logit by this for each time that it was there; 0 is off."},
    {.name = "presence_penalty", .type = BP_OPTION_FLOAT, .fallback = "0", .min = -2, .max = 2, MODEL(presence_penalty),
     .help = "Lowers the logit of tokens that were there at all by this; 0 is off."},
    {.name = "penalty_window", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 1 << 24, MODEL(penalty_window),
     .help = "How many of the last tokens penalties look at; 0 is all."},
    {.name = "seed", .type = BP_OPTION_INT, .fallback = "0", .min = 0, .max = 9.2e18, MODEL(seed),
     .help = "The seed of requests that bring none: the same seed and request give the same answer."},
    {.name = "system_prompt", .type = BP_OPTION_STRING, MODEL(system_prompt),
     .help = "Put before conversations that have no system message."},
    {0},
};
