/* repl: a conversation with one model, on a terminal, over a plain pipe, or of a single question.
 *
 * Invariants:
 *   - A question that gets no answer leaves the conversation as it was before it; one whose answer was stopped keeps the
 *     part that came.
 *   - The host's stop() and a closed output end run() soon, whatever it waits for.
 * Threads: stop() from any; the rest from run()'s. */
#ifndef BACKPLANE_REPL_REPL_H
#define BACKPLANE_REPL_REPL_H

#include "repl/conversation.h"
#include "repl/screen.h"
#include "repl/settings.h"
#include "repl/wake.h"

typedef struct repl_config {
    const char *model, *system, *prompt, *history, *separator;
    double temperature, top_p, min_p, repetition_penalty; /* below 0: the model's own */
    int64_t top_k, seed, max_tokens;                       /* INT64_MIN: the model's own */
    uint8_t color;
} repl_config;

struct bp_frontend {
    const bp_host *host;
    const bp_engine_api *api;
    bp_engine *engine;
    const repl_config *config;
    screen out, err;
    wake wake;
    conversation conversation;
    setting settings[SETTING_COUNT];
    char model[64];
    uint64_t repetitions;      /* of the last question: each is drawn with another seed */
    bp_usage total;            /* of this conversation's answers */
    uint64_t answers, entries, failures;
    bool terminal, leaving;
};
typedef struct bp_frontend repl;

/* defaults() with the settings over them; without messages. */
void repl_request(const repl *r, bp_request *out);
/* Loads a model by name, with a progress bar, and makes it the one that answers. */
bp_status repl_use_model(repl *r, const char *name, bp_error *error);
/* One sentence on the standard error output. */
void repl_complain(repl *r, const bp_error *error);
bool repl_stopping(const repl *r);

/* Asks for what follows the first `asked` turns; the answer takes the place of all that was behind them. Ctrl-C before the
 * first word is BP_ECANCELLED without a message. */
bp_status answer_turns(repl *r, size_t asked, bp_error *error);
/* Adds a question and asks it. */
bp_status answer_question(repl *r, const char *question, bp_error *error);

/* "/name arguments". An unknown command is an error with the likeliest known one. */
bp_status command_run(repl *r, const char *line, bp_error *error);

#endif
