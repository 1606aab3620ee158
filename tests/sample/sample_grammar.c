/* sample_grammar: answers of a model that likes every token alike, held to a grammar.
 *
 * Reads lines {"kind": 1 GBNF | 2 schema | 3 regex, "text": …} with either "seed" and "count", for that many answers, or "fits", texts
 * to be judged. Writes for each {"error": …}, {"answers": [[text, whole], …]} or {"fits": [true, …]}. An answer that has become
 * long is led to its end: what closes is liked more and more. */
#include "sample/constraint.h"
#include "sample/grammar.h"

#include <backplane/engine.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 4096, END = 4095, MOST_BYTES = 4000, PATIENCE = 60 };

static char texts[TOKENS][24];
static uint32_t lengths[TOKENS];

static uint32_t chance(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % below;
}

static const char *text_of(const void *user, uint32_t token, uint32_t *length)
{
    (void)user;
    *length = lengths[token];
    return texts[token];
}

static bool ends(const void *user, uint32_t token)
{
    (void)user;
    return token == END;
}

/* Every byte, and mixtures of what JSON is made of. */
static void fill_vocabulary(void)
{
    static const char *const pieces[] = {"\"", "{", "}", "[", "]", ":", ",", " ", "\n", "\\", "u00", "0", "1", "27", "9", ".", "-", "e", "true",
                                         "null", "a", "b", "xy", "Z", "\xc3\xa9", "\xe2\x82", "\xac", "\xf0\x9f\x98\x80", "name", "T", "@"};
    uint64_t seed = 3;
    for (uint32_t i = 0; i < END; i++) {
        for (uint32_t k = i < 256 ? 0 : 1 + chance(&seed, 4); k > 0; k--)
            strcat(texts[i], pieces[chance(&seed, sizeof pieces / sizeof *pieces)]);
        lengths[i] = (uint32_t)strlen(texts[i]);
        if (i < 256) {
            texts[i][0] = (char)i;
            lengths[i] = 1;
        }
    }
}

/* An allowed token: of several looked at, the one that closes best once the answer is long. */
static uint32_t choose(const uint64_t *allowed, uint64_t *seed, int step)
{
    uint32_t best = UINT32_MAX;
    int best_liking = -1;
    if ((allowed[END / 64] >> (END % 64) & 1) && (int)chance(seed, 4 * PATIENCE) < step)
        return END;
    for (int looks = step > PATIENCE ? 64 : 1; looks > 0; looks--) {
        uint32_t start = chance(seed, TOKENS), i = 0;
        while (i < TOKENS && !(allowed[(start + i) % TOKENS / 64] >> ((start + i) % TOKENS % 64) & 1))
            i++;
        if (i == TOKENS)
            return UINT32_MAX;
        uint32_t token = (start + i) % TOKENS;
        char last = lengths[token] ? texts[token][lengths[token] - 1] : '}';
        int liking = token == END ? 9 : strchr("}]", last) ? 8 : last == '"' ? 7 : strchr("{[,", last) ? 0 : 3;
        if (liking > best_liking) {
            best = token;
            best_liking = liking;
        }
    }
    return best;
}

static json_t *answer(constraints *all, uint32_t kind, const char *text, size_t bytes, uint64_t seed)
{
    constraint *c = NULL;
    bp_error why = {0};
    char out[MOST_BYTES + 32];
    size_t size = 0;
    bool whole = false;
    if (constraint_new(all, kind, text, bytes, &c, &why) != BP_OK)
        return json_pack("{ss}", "error", why.message);
    for (int step = 0; size < MOST_BYTES && !whole; step++) {
        const uint64_t *allowed = NULL;
        bp_status status = constraint_mask(c, true, &allowed, &why);
        uint32_t token = status == BP_OK ? choose(allowed, &seed, step) : UINT32_MAX;
        if (token == UINT32_MAX)
            break;
        whole = token == END;
        if (whole || constraint_accept(c, token, &why) != BP_OK)
            break;
        memcpy(out + size, texts[token], lengths[token]);
        size += lengths[token];
        whole = constraint_over(c);
    }
    constraint_free(c);
    return why.code ? json_pack("{ss}", "error", why.message) : json_pack("[s%b]", out, size, whole);
}

static json_t *answers(constraints *all, uint32_t kind, const char *text, size_t bytes, const json_t *line)
{
    json_t *list = json_array();
    for (json_int_t i = 0; i < json_integer_value(json_object_get(line, "count")); i++) {
        json_t *one = answer(all, kind, text, bytes, (uint64_t)(json_integer_value(json_object_get(line, "seed")) * 1000 + i));
        if (json_is_object(one) || !one) {
            json_decref(list);
            return one ? one : json_pack("{ss}", "error", "an answer that is no UTF-8");
        }
        json_array_append_new(list, one);
    }
    return json_pack("{so}", "answers", list);
}

static json_t *judge(uint32_t kind, const char *text, size_t bytes, const json_t *asked)
{
    machine *m = NULL;
    bp_error why = {0};
    if (grammar_compile(kind, text, bytes, &m, &why) != BP_OK)
        return json_pack("{ss}", "error", why.message);
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(asked); i++) {
        const json_t *one = json_array_get(asked, i);
        uint32_t state = MACHINE_START;
        for (size_t k = 0; k < json_string_length(one) && state != MACHINE_DEAD; k++)
            if (machine_next(m, state, (unsigned char)json_string_value(one)[k], &state, &why) != BP_OK)
                state = MACHINE_DEAD;
        json_array_append_new(list, json_boolean(machine_may_end(m, state)));
    }
    machine_free(m);
    return json_pack("{so}", "fits", list);
}

int main(void)
{
    constraints *all = NULL;
    token_source source = {.count = TOKENS, .text = text_of, .ends = ends};
    fill_vocabulary();
    if (constraints_new(&source, &all, NULL) != BP_OK)
        return 1;
    json_t *line;
    while ((line = json_loadf(stdin, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)) != NULL) {
        const json_t *text = json_object_get(line, "text"), *fits = json_object_get(line, "fits");
        uint32_t kind = (uint32_t)json_integer_value(json_object_get(line, "kind"));
        json_t *out = fits ? judge(kind, json_string_value(text), json_string_length(text), fits)
                           : answers(all, kind, json_string_value(text), json_string_length(text), line);
        json_dumpf(out, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(line);
    }
    constraints_free(all);
    return 0;
}
