/* prompt: from a request's messages, text or tokens to the tokens of its prompt.
 *
 * Spellings of special tokens in what a user wrote stay text: messages go through the template with each byte's provenance,
 * and plain text is read as plain unless the request says otherwise. Any thread. */
#ifndef BACKPLANE_ENGINE_PROMPT_H
#define BACKPLANE_ENGINE_PROMPT_H

#include "engine/loaded.h"

/* BP_INPUT_MESSAGES through the chat template, appended to *text; *trusted gets a byte per byte. BP_REQUEST_CONTINUE ends
 * the prompt right behind the last message's text. */
bp_status prompt_render(const loaded *l, const bp_request *request, buffer *text, buffer *trusted, bp_error *error);

/* Appends the prompt's tokens, all within the vocabulary. */
bp_status prompt_encode(const loaded *l, const bp_request *request, token_list *out, bp_error *error);

#endif
