/* template: chat templates, the subset of Jinja 2 that chat models ship.
 *
 * A template is code from a model file: it runs under a step limit and an output limit and reaches nothing but the
 * variables it is given. Immutable once parsed; any thread may render it.
 *
 * Provenance: each byte of the output is marked trusted when it stems from the template's own text, from bos_token and
 * eos_token or from a message's role that is a usual one, untrusted when it stems from the other variables; only trusted
 * spellings become special tokens, so a user's "<|im_end|>" stays text. */
#ifndef BACKPLANE_TEXT_TEMPLATE_H
#define BACKPLANE_TEXT_TEMPLATE_H

#include "base/buffer.h"

#include <backplane/plugin.h>
#include <jansson.h>

typedef struct chat_template chat_template;

bp_status chat_template_new(const char *source, size_t bytes, chat_template **out, bp_error *error);
void chat_template_free(chat_template *t); /* NULL is fine */

typedef struct chat_template_input {
    const json_t *variables;        /* an object: messages, tools, add_generation_prompt, … */
    const char *bos_token, *eos_token; /* trusted; NULL is "" */
    const char *date;               /* what strftime_now formats: NULL is today, "YYYY-MM-DD" fixes it for tests */
    uint64_t max_steps, max_output; /* 0: the defaults, 10 million and 64 MiB */
} chat_template_input;

/* Appends the text to *out and one byte per byte of it, 1 trusted and 0 not, to *trusted. raise_exception and every other
 * failure are BP_EINVAL (limits BP_ELIMIT) with line number and message. */
bp_status chat_template_render(const chat_template *t, const chat_template_input *input, buffer *out, buffer *trusted,
                               bp_error *error);

#endif
