/* answer: parts of OpenAI's responses, made of events. Every function gives a new reference, NULL when out of memory.
 * Any thread. */
#ifndef BACKPLANE_OPENAI_ANSWER_H
#define BACKPLANE_OPENAI_ANSWER_H

#include "common/text.h"
#include "openai/calls.h"

#include <backplane/engine.h>
#include <jansson.h>
#include <stdbool.h>

/* Text that may hold NUL or be cut inside a character: both become U+FFFD. */
json_t *openai_text(const char *bytes, size_t count);
/* The token of an event with at most `top` alternatives, for openai_logprobs of the same kind. */
json_t *openai_token(unsigned kind, const bp_event *event, uint32_t top);
/* Entries of openai_token as the endpoint gives them: {"content": entries}, or for text completions parallel lists, whose
 * text_offset counts characters. Before them come those of an echoed prompt of `offset` characters, or NULL; they themselves
 * begin at `offset`. */
json_t *openai_logprobs(unsigned kind, const json_t *prompt, const json_t *entries, size_t offset);
/* Characters of the entries of a text completion. */
size_t openai_characters(const json_t *entries);
/* Characters of a string; 0 of NULL. */
size_t openai_length(const json_t *string);
/* The value of a text; NULL where it is none, with the place, or where *memory says that there was none. */
json_t *openai_load(const char *bytes, size_t count, size_t flags, json_error_t *at, bool *memory);
/* Appends the value as compact text, `flags` being jansson's further ones; false, with the text as it was, when out of memory
 * or without a value. */
bool openai_dump(text *out, const json_t *value, size_t flags);
/* A shallow copy of an object, with all of its members; NULL when out of memory, where json_copy leaves some out. */
json_t *openai_copy(json_t *object);
/* The list with the item, which is taken, at its end; NULL, and no list any more, when out of memory or without either. */
json_t *openai_push(json_t *list, json_t *item);
const char *openai_finish_reason(uint32_t finish, bool called); /* "stop", "tool_calls" or "length" */
/* The assistant's message: its text, which is taken, or null where there are calls alone, and the calls. */
json_t *openai_message(json_t *content, const calls *called);
/* The vector of an EMBEDDING event as one of `data`: a list of numbers or, in base64, their float32 bytes. */
json_t *openai_embedding(const bp_event *event, uint32_t index, bool base64);

#endif
