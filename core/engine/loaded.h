/* loaded: a model in memory: its file, tokenizer, chat template and what the backend compiled of it.
 *
 * Loading has two halves: loaded_open works on the host alone; loaded_compile and loaded_free call the backend and need
 * the device to themselves. Tokenizer and template are built beside both, in a thread that loaded_text waits for.
 * Immutable between compile and free; any thread. */
#ifndef BACKPLANE_ENGINE_LOADED_H
#define BACKPLANE_ENGINE_LOADED_H

#include "engine/engine.h"
#include "engine/grammars.h"
#include "model/model.h"
#include "text/template.h"
#include "text/tokenizer.h"
#include "text/tools.h"

#include <pthread.h>

typedef struct loaded {
    const engine_model *config; /* borrowed */
    const engine_backend *backend;
    model_file *file;
    tokenizer *tokenizer;
    chat_template *chat;        /* NULL: none, or one that this build cannot read: chat_error says so */
    bp_error chat_error;
    bool takes_tools;           /* the template looks at tools */
    const bp_tool_format *tools; /* how the model calls them; NULL: not known */
    bp_limits limits;
    bp_model *model;
    bp_model_memory memory;     /* changes with what other models share: guarded by the registry's lock */
    uint32_t context;           /* tokens of one sequence: never more than the whole cache holds */
    uint32_t mixed_step_tokens;
    uint32_t vocab_size, output_width;
    grammars *grammars;
    uint32_t task;              /* BP_TASK_… */
    bool embedder;              /* gives one vector of a whole text, output_width wide, and no logits; of RANK, a number */
    bool ends_texts;            /* an embedder's text ends with the end token */
    bool normalises;            /* an embedder's vectors are of length 1 */
    pthread_t reader; /* builds what text needs, while `reading` */
    bool reading;
    bp_status text_status;
    bp_error text_error;
} loaded;

/* What the file's header tells, without text and device: enough for loaded_expect and for loaded_free. */
bp_status loaded_plan(const engine_model *config, loaded **out, bp_error *error);
bp_status loaded_open(const engine_model *config, const engine_backend *backend, loaded **out, bp_error *error);
bp_status loaded_compile(loaded *l, bp_error *error);
/* Waits until tokenizer and template are there. loaded_compile has done so; without it, before they are used. */
bp_status loaded_text(loaded *l, bp_error *error);
/* What the model holds now: the backend's figures, to whose workspace is added what the core has for it. With the device. False: the
 * backend does not say. */
bool loaded_measure(const loaded *l, bp_model_memory *out);
/* What it will hold, as far as that can be told beforehand: weights as the file has them, all of the cache, and as workspace a sixteenth
 * of both for the backend and what the core has. With `shared`, weights that are there already are not counted. */
void loaded_expect(const loaded *l, bool shared, bp_model_memory *out);
/* Weights, cache and workspace; UINT64_MAX where that is too large a number. */
uint64_t loaded_sum(const bp_model_memory *memory);
/* Bytes as people are told what is needed or missing: MiB, rounded up. */
static inline unsigned long long loaded_mebibytes(uint64_t bytes)
{
    return (unsigned long long)((bytes >> 20) + (bytes % (1 << 20) != 0));
}
void loaded_free(loaded *l); /* NULL is fine */

#endif
