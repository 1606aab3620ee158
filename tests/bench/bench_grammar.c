/* bench_grammar MODEL...: what holding an answer to a grammar costs a token, with the vocabulary of a model's file, in microseconds
 * on one thread: to compile the grammar; the first time an answer goes that way, on average and at most; and every other time. */
#include "engine/loaded.h"
#include "sample/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct subject {
    const char *name;
    uint32_t kind;
    const char *grammar, *answer;
} subject;

static const subject subjects[] = {
    {"any JSON object", BP_GRAMMAR_JSON_SCHEMA, "{\"type\":\"object\"}",
     "{\n  \"name\": \"Ada Lovelace\",\n  \"born\": 1815,\n  \"works\": [\"Notes on the analytical engine\", {\"year\": 1843, \"pages\": [1, 2]}]\n}"},
    {"a schema", BP_GRAMMAR_JSON_SCHEMA,
     "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"born\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":2100},\"field\":"
     "{\"enum\":[\"mathematics\",\"physics\",\"chemistry\"]},\"works\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}},\"required\":"
     "[\"name\",\"born\",\"field\"]}",
     "{\n  \"name\": \"Ada Lovelace\",\n  \"born\": 1815,\n  \"field\": \"mathematics\",\n  \"works\": [\"Notes on the analytical engine\", \"Letters\"]\n}"},
    {"a text of at most 200", BP_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"maxLength\":200}",
     "\"The analytical engine weaves algebraic patterns just as the loom weaves flowers and leaves, and it might act upon other things.\""},
    {"a date, by a pattern", BP_GRAMMAR_REGEX, "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])", "1815-12-10"},
    {"a list, by GBNF", BP_GRAMMAR_GBNF, "root ::= item (\"\\n\" item){2,9}\nitem ::= \"- \" [A-Za-z ,]{3,60}",
     "- The engine weaves patterns\n- It has no pretensions to originate anything\n- It can follow analysis"}};

static void fail(const char *what, const bp_error *why)
{
    fprintf(stderr, "bench_grammar: %s: %s\n", what, why->message);
    exit(1);
}

/* Of this thread: the machine may have other work. */
static uint64_t thread_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double since(uint64_t begin)
{
    return (double)(thread_now() - begin) / 1e3;
}

/* One answer; gives its microseconds, and in *most, unless that is NULL, those of the token that took longest. */
static double follow(const subject *s, constraint *c, const token_list *tokens, double *most)
{
    bp_error why = {0};
    uint64_t start = thread_now();
    for (size_t i = 0; i < tokens->count; i++) {
        const uint64_t *allowed;
        uint32_t token = (uint32_t)tokens->ids[i];
        uint64_t begin = most ? thread_now() : 0;
        if (constraint_mask(c, true, &allowed, &why) != BP_OK || !(allowed[token / 64] >> (token % 64) & 1) ||
            constraint_accept(c, token, &why) != BP_OK)
            fail(s->name, &why);
        double time = most ? since(begin) : 0;
        if (most && time > *most)
            *most = time;
    }
    return since(start);
}

static void measure(const loaded *l, const subject *s, bool first)
{
    bp_request request = {.size = sizeof request, .grammar = s->grammar, .grammar_bytes = (uint32_t)strlen(s->grammar), .grammar_kind = s->kind};
    token_list tokens = {0};
    constraint *c = NULL;
    machine *m = NULL;
    bp_error why = {0};
    double cold, most = 0, warm = 1e9;
    if (tokenizer_encode(l->tokenizer, s->answer, strlen(s->answer), NULL, 0, &tokens, &why) != BP_OK)
        fail(s->name, &why);
    uint64_t begin = thread_now();
    if (grammar_compile(s->kind, s->grammar, strlen(s->grammar), &m, &why) != BP_OK)
        fail(s->name, &why);
    double compile = since(begin);
    machine_free(m);
    begin = thread_now();
    if (grammars_constrain(l->grammars, l->tokenizer, l->vocab_size, NULL, &request, &c, &why) != BP_OK)
        fail(s->name, &why);
    if (first)
        printf("%u tokens; the vocabulary is read in %.0f ms\n%-24s %8s %8s %8s %8s\n", l->vocab_size, since(begin) / 1e3, "", "compile", "first",
               "at most", "later");
    constraint *kept = c;
    cold = follow(s, c, &tokens, &most);
    for (int i = 0; i < 20; i++) {
        if (grammars_constrain(l->grammars, l->tokenizer, l->vocab_size, NULL, &request, &c, &why) != BP_OK)
            fail(s->name, &why);
        double time = follow(s, c, &tokens, NULL);
        warm = time < warm ? time : warm;
        constraint_free(c);
    }
    constraint_free(kept);
    printf("%-24s %8.0f %8.0f %8.0f %8.2f\n", s->name, compile, cold / (double)tokens.count, most, warm / (double)tokens.count);
    token_list_free(&tokens);
}

int main(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        engine_model model = {.name = "model", .file = arguments[i]};
        loaded *l = NULL;
        bp_error why = {0};
        if (loaded_open(&model, NULL, &l, &why) != BP_OK || loaded_text(l, &why) != BP_OK)
            fail(arguments[i], &why);
        for (size_t k = 0; k < sizeof subjects / sizeof *subjects; k++)
            measure(l, &subjects[k], k == 0);
        loaded_free(l);
    }
    return 0;
}
