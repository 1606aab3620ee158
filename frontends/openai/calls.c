#include "openai/calls.h"

#include "openai/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void calls_open(calls *c, const openai_request *r, const bp_engine_api *api, bp_engine *engine, const char *seed)
{
    uint32_t index;
    bp_model_info info = {.size = sizeof info};
    *c = (calls){.tools = openai_given(r->body, "tools"), .seed = seed};
    if (!r->request.tools_json || api->find_model(engine, r->request.model, &index, NULL) != BP_OK ||
        api->model_info(engine, index, &info, NULL) != BP_OK)
        return;
    c->format = info.tools;
    c->on = *info.tools.name != 0;
    c->bare = true;
}

void calls_clear(calls *c)
{
    for (size_t i = 0; i < c->count; i++)
        text_free(&c->list[i].arguments);
    free(c->list);
    text_free(&c->held);
    text_free(&c->object);
    *c = (calls){0};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* The name of a tool of the request; NULL where it is none. */
static const char *find_tool(const calls *c, const char *name, size_t length)
{
    for (size_t i = 0; i < json_array_size(c->tools); i++) {
        const char *own = json_string_value(json_object_get(json_object_get(json_array_get(c->tools, i), "function"), "name"));
        if (own && strlen(own) == length && memcmp(own, name, length) == 0)
            return own;
    }
    return NULL;
}

/* --- calls that are found ------------------------------------------------------------------------------------------------ */

/* Nine letters and digits of the answer's own id and the call's number. */
static void make_id(const calls *c, size_t number, char out[CALL_ID_ROOM])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    uint64_t hash = 14695981039346656037u + number;
    for (const char *s = c->seed; *s; s++)
        hash = (hash ^ (unsigned char)*s) * 1099511628211u;
    for (int i = 0; i < CALL_ID_ROOM - 1; i++) {
        hash ^= hash >> 29;
        hash *= 0xBF58476D1CE4E5B9u;
        out[i] = digits[(hash >> 33) % 62];
    }
    out[CALL_ID_ROOM - 1] = '\0';
}

static call *add_call(calls *c)
{
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? c->capacity * 2 : 4;
        call *larger = realloc(c->list, capacity * sizeof *larger);
        if (!larger)
            return NULL;
        c->list = larger;
        c->capacity = capacity;
    }
    call *one = &c->list[c->count];
    *one = (call){.name = c->name};
    make_id(c, c->count++, one->id);
    c->counted = true;
    return one;
}

/* The call counts once it has a name and its arguments have begun; what came of them since is handed on. */
static bool note_arguments(calls *c)
{
    if (!c->name || !c->arguments_from)
        return true;
    if (!c->counted && !add_call(c))
        return false;
    text *out = &c->list[c->count - 1].arguments;
    size_t end = c->arguments_to ? c->arguments_to : c->object.size, have = c->arguments_from + out->size;
    return end <= have || text_append(out, c->object.data + have, end - have);
}

/* --- the object of a call, one character at a time ------------------------------------------------------------------------------ */

static void begin_object(calls *c)
{
    text_clear(&c->object);
    c->part = CALLS_KEY;
    c->depth = 0;
    c->quoted = c->escaped = c->counted = false;
    c->key = c->key_size = c->value = c->arguments_from = c->arguments_to = c->quote_from = c->quote_to = 0;
    c->name = NULL;
}

static bool has_key(const calls *c, const char *key)
{
    return c->key && c->key_size == strlen(key) && memcmp(c->object.data + c->key, key, c->key_size) == 0;
}

/* A string, or something nested, of the object itself is complete: it ends before `end`. */
static void end_value(calls *c, size_t end)
{
    const char *value = c->object.data + c->value;
    if (c->part == CALLS_KEY) {
        c->key = c->value + 1;
        c->key_size = end - c->value - 2;
        c->part = CALLS_COLON;
        return;
    }
    if (has_key(c, "name") && *value == '"' && !c->name) {
        c->name = find_tool(c, value + 1, end - c->value - 2);
    } else if (has_key(c, c->format.arguments) && *value == '"' && !c->quote_to) {
        c->quote_from = c->value;
        c->quote_to = end;
    } else if (c->arguments_from && c->value == c->arguments_from && !c->arguments_to) {
        c->arguments_to = end;
    }
    c->part = CALLS_COMMA;
}

static void begin_value(calls *c, size_t at)
{
    c->value = at;
    if (c->part == CALLS_VALUE && c->object.data[at] == '{' && has_key(c, c->format.arguments) && !c->arguments_from)
        c->arguments_from = at;
}

/* A character of the object itself, outside of strings. False: it cannot stand there. */
static bool take_own(calls *c, char ch, size_t at)
{
    bool opens = ch == '"' || ch == '{' || ch == '[';
    if (is_blank(ch))
        return true;
    switch (c->part) {
    case CALLS_KEY:
        if (ch == '"')
            begin_value(c, at);
        return ch == '"' || ch == '}';
    case CALLS_COLON: c->part = CALLS_VALUE; c->value = 0; return ch == ':';
    case CALLS_VALUE:
        if (opens)
            begin_value(c, at);
        else if (ch == ',') /* behind a number, true, false or null */
            c->part = CALLS_KEY;
        return ch != ':' && ch != ']';
    case CALLS_COMMA:
        if (ch == ',')
            c->part = CALLS_KEY;
        return ch == ',' || ch == '}';
    }
    return false;
}

typedef enum taken { TAKEN, TAKEN_LAST, TAKEN_NOT } taken;

/* The object's next character, which was appended to it. */
static taken take_object(calls *c, char ch)
{
    size_t at = c->object.size - 1;
    if (c->quoted) {
        bool ends = ch == '"' && !c->escaped;
        c->escaped = ch == '\\' && !c->escaped;
        c->quoted = !ends;
        if (ends && c->depth == 1)
            end_value(c, at + 1);
        return TAKEN;
    }
    if (c->depth == 1 && !take_own(c, ch, at))
        return TAKEN_NOT;
    c->quoted = ch == '"';
    c->depth += ch == '{' || ch == '[';
    if (ch == '}' || ch == ']') {
        c->depth--;
        if (c->depth == 1)
            end_value(c, at + 1);
    }
    return c->depth == 0 ? TAKEN_LAST : TAKEN;
}

/* --- from text to calls and back -------------------------------------------------------------------------------------------------- */

static bool take(calls *c, char ch, text *out);

static bool hold(calls *c, char ch)
{
    c->blanks += c->blanks == c->held.size && is_blank(ch);
    return text_append(&c->held, &ch, 1);
}

static void drop_held(calls *c)
{
    text_clear(&c->held);
    c->blanks = 0;
}

/* What is held was no call: it is text. */
static bool release(calls *c, text *out)
{
    bool good = text_append(out, text_string(&c->held), c->held.size);
    c->bare = false;
    c->place = *c->format.begin ? CALLS_TEXT : CALLS_OVER;
    c->listed = false;
    drop_held(c);
    return good;
}

/* The same of little text, behind whose first `sure` bytes a call may begin: what follows them is taken again. Depth: the length
 * of a mark, since blanks before what is no mark are sure. */
static bool give_back(calls *c, size_t sure, text *out)
{
    text held = c->held;
    c->held = (text){0};
    c->blanks = 0;
    c->place = *c->format.begin ? CALLS_TEXT : CALLS_OVER;
    c->listed = false;
    bool good = text_append(out, text_string(&held), sure);
    for (size_t i = sure; good && i < held.size; i++)
        good = take(c, held.data[i], out);
    text_free(&held);
    return good;
}

/* Whether what is held, after blanks, is a beginning of the mark; *whole: all of it. */
static bool holds_mark(const calls *c, const char *mark, bool *whole)
{
    size_t length = c->held.size - c->blanks;
    *whole = length == strlen(mark);
    return length <= strlen(mark) && memcmp(c->held.data + c->blanks, mark, length) == 0;
}

static bool take_text(calls *c, char ch, text *out)
{
    bool whole = false;
    if (!hold(c, ch))
        return false;
    if (c->bare && ch == '{') {
        begin_object(c);
        c->place = CALLS_OBJECT;
        return text_append(&c->object, &ch, 1) && take_object(c, ch) == TAKEN;
    }
    if (c->blanks == c->held.size)
        return true;
    c->bare = false;
    if (!*c->format.begin || !holds_mark(c, c->format.begin, &whole))
        return give_back(c, c->blanks + 1, out);
    if (whole) {
        c->place = CALLS_OBJECT;
        begin_object(c);
    }
    return true;
}

/* The object is complete: a call without arguments has none. Some models write the text of an object. */
static bool end_object(calls *c, text *out)
{
    if (!c->name)
        return release(c, out);
    if (!c->counted) {
        call *one = add_call(c);
        json_t *quoted = c->quote_to ? json_loadb(c->object.data + c->quote_from, c->quote_to - c->quote_from, JSON_DECODE_ANY, NULL) : NULL;
        const char *arguments = openai_string(quoted);
        bool good = one && text_append(&one->arguments, arguments ? arguments : "{}", arguments ? strlen(arguments) : 2);
        json_decref(quoted);
        if (!good)
            return false;
    }
    c->list[c->count - 1].whole = true;
    c->place = CALLS_BEHIND;
    drop_held(c);
    return true;
}

static bool take_call(calls *c, char ch, text *out)
{
    if (!hold(c, ch))
        return false;
    if (c->object.size == 0 && ch != '{') {
        bool opens = c->format.list && !c->listed && ch == '[';
        c->listed = c->listed || opens;
        return opens || is_blank(ch) || give_back(c, c->blanks + 1, out);
    }
    if (!text_append(&c->object, &ch, 1))
        return false;
    taken result = take_object(c, ch);
    if (!note_arguments(c))
        return false;
    if (result == TAKEN_NOT && !c->counted)
        return release(c, out);
    return result == TAKEN || end_object(c, out);
}

/* Behind a call: its end mark, the next one of a list, or text again. */
static bool take_behind(calls *c, char ch, text *out)
{
    bool whole = false;
    if (!hold(c, ch))
        return false;
    if (c->blanks == c->held.size)
        return true;
    if ((c->listed && ch == ',') || (c->bare && ch == ';')) {
        c->place = CALLS_OBJECT;
        begin_object(c);
        drop_held(c);
        return true;
    }
    if (c->bare) {
        c->place = CALLS_TEXT;
        drop_held(c);
        return take_text(c, ch, out);
    }
    if (c->listed && ch == ']') {
        c->listed = false;
        whole = true;
    } else if (!*c->format.end || !holds_mark(c, c->format.end, &whole)) {
        return give_back(c, 0, out);
    }
    if (whole) {
        c->place = CALLS_TEXT;
        drop_held(c);
    }
    return true;
}

static bool take(calls *c, char ch, text *out)
{
    switch (c->place) {
    case CALLS_TEXT: return take_text(c, ch, out);
    case CALLS_OBJECT: return take_call(c, ch, out);
    case CALLS_BEHIND: return take_behind(c, ch, out);
    case CALLS_OVER: return text_append(out, &ch, 1);
    }
    return false;
}

bool calls_push(calls *c, const char *bytes, size_t count, text *out)
{
    if (!c->on)
        return text_append(out, bytes, count);
    bool good = true;
    for (size_t i = 0; good && i < count; i++)
        good = take(c, bytes[i], out);
    return good;
}

bool calls_finish(calls *c, text *out)
{
    bool blank = true, open = c->place == CALLS_OBJECT && c->counted;
    for (size_t i = 0; i < c->held.size; i++)
        blank = blank && is_blank(c->held.data[i]);
    bool good = open || (blank && c->count) || text_append(out, text_string(&c->held), c->held.size);
    drop_held(c);
    return good;
}

/* --- as JSON ---------------------------------------------------------------------------------------------------------------------- */

json_t *calls_json(const calls *c)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < c->count; i++) {
        const call *one = &c->list[i];
        json_t *entry = json_pack("{ss ss s{ss ss%}}", "id", one->id, "type", "function", "function", "name", one->name, "arguments",
                                  text_string(&one->arguments), one->arguments.size);
        list = openai_push(list, entry);
    }
    return list;
}

bool calls_delta(calls *c, json_t **out)
{
    *out = NULL;
    for (size_t i = 0; i < c->count; i++) {
        call *one = &c->list[i];
        size_t more = one->arguments.size - one->told;
        if (!one->begun)
            *out = json_pack("{si ss ss s{ss ss}}", "index", (int)i, "id", one->id, "type", "function", "function", "name", one->name,
                             "arguments", "");
        else if (more)
            *out = json_pack("{si s{ss%}}", "index", (int)i, "function", "arguments", one->arguments.data + one->told, more);
        else
            continue;
        one->told += one->begun ? more : 0;
        one->begun = true;
        return *out != NULL;
    }
    return true;
}
