/* grammar: the machine takes exactly the texts that its rules are for, and masks say the same as trying every token. */
#include "sample/gbnf.h"
#include "sample/grammar.h"
#include "sample/masks.h"

#include <backplane/engine.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- rules by their meaning alone: every way is tried -------------------------------------------------------------------------- */

/* What is still to come: an expression, `min` to `max` times, and then the rest. */
typedef struct todo {
    expression e;
    uint32_t min, max;
    const char *began; /* of a repetition: where its last round did */
    const struct todo *rest;
} todo;

typedef struct trial {
    const rules *rules;
    const char *end;
    bool prefix, whole; /* the text may go on; it fits */
    int depth;
} trial;

static void attempt(trial *t, const todo *d, const char *at)
{
    if (at == t->end)
        t->prefix = true; /* rules without RULES_NEVER: all that is to come can be had */
    if (!d) {
        t->whole = t->whole || at == t->end;
        return;
    }
    if (t->depth > 200)
        return;
    t->depth++;
    const rule_node *n = &t->rules->nodes[d->e];
    if (d->max != 1 || d->min != 1) {
        bool moved = !d->began || d->began < at || d->min > 0;
        if (d->min == 0)
            attempt(t, d->rest, at);
        if (d->max > 0 && moved) {
            todo again = {d->e, d->min ? d->min - 1 : 0, d->max == RULES_UNBOUNDED ? d->max : d->max - 1, at, d->rest};
            const todo *after = again.max ? &again : d->rest;
            todo last = {d->e, 1, 1, NULL, after};
            if (again.max == 1 && again.min == 1) { /* would be taken for a part without bounds, which it is */
                again.began = NULL;
                attempt(t, &last, at);
            } else {
                attempt(t, &last, at);
            }
        }
    } else if (n->kind == NODE_EMPTY) {
        attempt(t, d->rest, at);
    } else if (n->kind == NODE_BYTES) {
        if (at < t->end && byte_set_has(&t->rules->sets[n->a], (unsigned char)*at))
            attempt(t, d->rest, at + 1);
    } else if (n->kind == NODE_LITERAL) {
        uint32_t i = 0;
        while (i < n->b && at + i < t->end && at[i] == t->rules->text[n->a + i])
            i++;
        if (at + i == t->end)
            t->prefix = true;
        if (i == n->b)
            attempt(t, d->rest, at + i);
    } else if (n->kind == NODE_SEQUENCE) {
        attempt(t, &(todo){n->a, 1, 1, NULL, &(todo){n->b, 1, 1, NULL, d->rest}}, at);
    } else if (n->kind == NODE_CHOICE) {
        attempt(t, &(todo){n->a, 1, 1, NULL, d->rest}, at);
        attempt(t, &(todo){n->b, 1, 1, NULL, d->rest}, at);
    } else if (n->kind == NODE_REPEAT) {
        attempt(t, &(todo){n->a, n->min, n->max, NULL, d->rest}, at);
    } else if (n->kind == NODE_RULE) {
        attempt(t, &(todo){t->rules->bodies[n->a], 1, 1, NULL, d->rest}, at);
    }
    t->depth--;
}

/* --- machines ------------------------------------------------------------------------------------------------------------------------ */

static uint32_t next_of(machine *m, uint32_t state, char byte)
{
    bp_error why = {0};
    uint32_t out = MACHINE_DEAD;
    if (state != MACHINE_DEAD && machine_next(m, state, (unsigned char)byte, &out, &why) != BP_OK)
        fail_msg("%s", why.message);
    return out;
}

static machine *compile(const char *gbnf, rules *r)
{
    uint32_t root = 0;
    program p = {0};
    machine *m = NULL;
    bp_error why = {0};
    rules_init(r);
    gbnf_parse(r, gbnf, strlen(gbnf), &root);
    bp_status status = program_compile(r, root, &p, &why);
    if (status == BP_OK)
        status = machine_new(&p, &m, &why);
    if (status != BP_OK)
        fail_msg("%s: %s", gbnf, why.message);
    assert_int_equal(root, 0); /* rules here begin with root */
    return m;
}

/* All texts over the letters up to a length. */
static void check_texts(machine *m, const rules *r, const char *letters, char *text, size_t length, size_t most, uint32_t state)
{
    trial t = {.rules = r, .end = text + length};
    attempt(&t, &(todo){r->bodies[0], 1, 1, NULL, NULL}, text);
    if (t.prefix != (state != MACHINE_DEAD) || t.whole != machine_may_end(m, state))
        fail_msg("after \"%.*s\": may go on %d not %d, may end %d not %d", (int)length, text, state != MACHINE_DEAD, t.prefix,
                 machine_may_end(m, state), t.whole);
    if (length == most || state == MACHINE_DEAD)
        return;
    for (const char *c = letters; *c; c++) {
        text[length] = *c;
        check_texts(m, r, letters, text, length + 1, most, next_of(m, state, *c));
    }
}

static void check_grammar(const char *gbnf, const char *letters, size_t most)
{
    rules r;
    char text[32];
    machine *m = compile(gbnf, &r);
    check_texts(m, &r, letters, text, 0, most, MACHINE_START);
    machine_free(m);
    rules_clear(&r);
}

static void test_it_takes_what_the_rules_say(void **context)
{
    (void)context;
    static const char *const grammars[] = {
        "root ::= \"ab\" | \"a\" \"c\"*", "root ::= [ab]{2,4} \"c\"?", "root ::= (\"a\" | \"ab\"){1,3} \"b\"{2}",
        "root ::= \"a\" root \"b\" | \"c\"", "root ::= \"a\" root | \"b\" root | \"a\"", "root ::= x x | x\nx ::= \"a\" x | \"a\" x \"b\" | \"c\"",
        "root ::= (\"a\"? \"b\"?){0,3} \"c\"", "root ::= ((\"a\" | \"b\"){1,2}){1,2} \"c\"", "root ::= \"\" | \"a\" | [^a] root",
        "root ::= x*\nx ::= \"a\" | \"b\" \"c\"+", "root ::= (\"a\"{2,3} \"b\"?){2,} # words", "root ::= a \"a\" | a \"b\"\na ::= \"a\"*",
        "root ::= \"a\" |\n  \"b\"\n  | \"c\" x\nx ::=\n \"a\" x \"a\" | \"b\"?", "root ::= (\"a\" \"b\"?)* \"a\"? \"c\"",
        "root ::= l*\nl ::= \"a\" l* \"b\"", "root ::= (\"a\"{0,2}){2} \"b\""};
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++)
        check_grammar(grammars[i], "abc", 8);
}

/* --- grammars by chance ------------------------------------------------------------------------------------------------------------- */

static uint32_t chance(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % below;
}

/* An expression; rules call only later ones, or themselves behind a letter. */
static void write_expression(uint64_t *seed, char *out, size_t room, int depth, int rule, int rule_count)
{
    size_t used = strlen(out);
    if (used + 200 > room)
        depth = 0;
    switch (chance(seed, depth > 0 ? 8 : 3)) {
    case 0: strcat(out, "\"a\" "); break;
    case 1: strcat(out, "[bc] "); break;
    case 2: strcat(out, "\"cb\" "); break;
    case 3:
        if (rule + 1 < rule_count)
            snprintf(out + used, room - used, "r%u ", (unsigned)rule + 1 + chance(seed, (uint32_t)(rule_count - rule - 1)));
        else
            strcat(out, "\"b\" ");
        break;
    case 4:
    case 5:
        strcat(out, "(");
        write_expression(seed, out, room, depth - 1, rule, rule_count);
        strcat(out, "| ");
        write_expression(seed, out, room, depth - 1, rule, rule_count);
        strcat(out, ") ");
        break;
    case 6: {
        static const char *const bounds[] = {"?", "*", "{2}", "{1,3}", "{0,2}", "{2,}"};
        strcat(out, "(\"a\" ");
        write_expression(seed, out, room, depth - 1, rule, rule_count);
        strcat(out, ")");
        strcat(out, bounds[chance(seed, 6)]);
        strcat(out, " ");
        break;
    }
    default:
        write_expression(seed, out, room, depth - 1, rule, rule_count);
        write_expression(seed, out, room, depth - 1, rule, rule_count);
    }
}

static void write_grammar(uint64_t *seed, char *out, size_t room)
{
    int rule_count = 1 + (int)chance(seed, 3);
    out[0] = '\0';
    for (int rule = 0; rule < rule_count; rule++) {
        char body[1024] = "";
        write_expression(seed, body, sizeof body, 3, rule, rule_count);
        size_t used = strlen(out);
        if (rule == 0)
            snprintf(out + used, room - used, "root ::= %s\n", body);
        else
            snprintf(out + used, room - used, "r%d ::= %s| \"c\" r%d \"a\"\n", rule, body, rule);
    }
}

static void test_it_takes_what_random_rules_say(void **context)
{
    (void)context;
    char gbnf[8192];
    for (uint64_t k = 0; k < 300; k++) {
        uint64_t seed = k;
        write_grammar(&seed, gbnf, sizeof gbnf);
        check_grammar(gbnf, "abc", 5);
    }
}

/* --- masks ----------------------------------------------------------------------------------------------------------------------------- */

/* A vocabulary of texts over some pieces, short and long ones, some twice, and tokens without a text; 300 and 301 end. */
enum { TOKENS = 1300 };
typedef struct vocabulary {
    char texts[TOKENS][64];
} vocabulary;

static const char *vocabulary_text(const void *user, uint32_t token, uint32_t *length)
{
    const vocabulary *v = user;
    *length = token < TOKENS ? (uint32_t)strlen(v->texts[token]) : 0;
    return token < TOKENS ? v->texts[token] : NULL;
}

static bool vocabulary_ends(const void *user, uint32_t token)
{
    (void)user;
    return token == 300 || token == 301;
}

static void fill_vocabulary(vocabulary *v)
{
    static const char *const pieces[] = {"a", "b", "c", "\"", "\\", "n", "1", "\xc3", "\xa9", "\xe2\x82\xac", " ", ",", "{", "}"};
    uint64_t seed = 7;
    memset(v, 0, sizeof *v);
    for (uint32_t i = 0; i < TOKENS; i++) {
        if (i == 300 || i == 301 || i % 97 == 5)
            continue;
        uint32_t count = i < 14 ? 1 : 1 + chance(&seed, i % 5 ? 5 : 20);
        for (uint32_t k = 0; k < count; k++)
            strcat(v->texts[i], i < 14 ? pieces[i] : pieces[chance(&seed, i % 2 ? 3 : 14)]);
    }
}

static void check_mask(masks *k, machine *m, uint64_t number, uint32_t state, const vocabulary *v)
{
    const uint64_t *bits = NULL;
    bp_error why = {0};
    bool ends = state % 2;
    if (masks_get(k, m, number, state, ends, &bits, &why) != BP_OK)
        fail_msg("%s", why.message);
    for (uint32_t token = 0; token < TOKENS; token++) {
        uint32_t at = state;
        const char *c = v->texts[token];
        for (; *c; c++)
            at = next_of(m, at, *c);
        bool expected = vocabulary_ends(v, token) ? ends && machine_may_end(m, state) : *v->texts[token] && at != MACHINE_DEAD;
        if ((bits[token / 64] >> (token % 64) & 1) != expected)
            fail_msg("token %u, \"%s\": allowed is %d", token, v->texts[token], !expected);
    }
}

/* Follows texts of allowed tokens and looks at the mask everywhere; small caches and a collection now and then. */
static void test_masks_are_what_every_token_says(void **context)
{
    (void)context;
    static const char *const grammars[] = {
        "root ::= \"\\\"\" [^\"\\\\]* \"\\\"\"", "root ::= \"\\\"\" ([^\"\\\\\\n] | \"\\\\\" [n\"\\\\]){0,9} \"\\\"\"",
        "root ::= [abc]{3,40} | \"{\" root (\",\" root){0,2} \"}\"", "root ::= ([a-c]{1,3} \" \"?){2,30} \"1\"", "root ::= .*",
        "root ::= [^a]* \"a\" [^\"]{5,}", "root ::= [^a-z\"\\\\]* \"z\"", "root ::= [^\xe2\x82\xac\"\\\\]* \"\xe2\x82\xac\"",
        "root ::= \"a\" root \"b\" | \"c\" | \"a\" root \"c\""};
    vocabulary *v = malloc(sizeof *v);
    fill_vocabulary(v);
    token_source source = {.count = TOKENS, .user = v, .text = vocabulary_text, .ends = vocabulary_ends};
    masks *k = NULL;
    bp_error why = {0};
    assert_int_equal(masks_new(&source, 4096, &k, &why), BP_OK);
    for (size_t g = 0; g < sizeof grammars / sizeof *grammars; g++) {
        rules r;
        machine *m = compile(grammars[g], &r);
        uint64_t seed = g;
        for (int round = 0; round < 6; round++) {
            uint32_t state = MACHINE_START;
            for (int step = 0; step < 25 && !machine_must_end(m, state); step++) {
                check_mask(k, m, g + 1, state, v);
                uint32_t token, after;
                int tries = 0;
                do { /* by chance one that is allowed */
                    token = chance(&seed, TOKENS);
                    after = state;
                    for (const char *c = v->texts[token]; *c; c++)
                        after = next_of(m, after, *c);
                } while ((after == MACHINE_DEAD || !*v->texts[token]) && ++tries < 5000);
                if (tries == 5000)
                    break;
                state = after;
                if (chance(&seed, 7) == 0)
                    assert_int_equal(machine_collect(m, (uint32_t *[]){&state}, 1, &why), BP_OK);
            }
        }
        machine_free(m);
        rules_clear(&r);
    }
    masks_free(k);
    free(v);
}

/* --- what takes too long --------------------------------------------------------------------------------------------------------- */

/* Each line may end any number of items that were begun before: ways to become one are more with each byte. */
static void test_what_is_too_ambiguous_ends(void **state)
{
    (void)state;
    static const char text[] = "root ::= \"a\" item{2,4} | [x-z]+\nitem ::= (\"\\n\" root)? \"b\"*";
    machine *m = NULL;
    bp_error why = {0};
    assert_int_equal(grammar_compile(BP_GRAMMAR_GBNF, text, strlen(text), &m, &why), BP_OK);
    uint32_t at = MACHINE_START;
    bp_status status = BP_OK;
    uint64_t seed = 1;
    for (int i = 0; i < 400 && status == BP_OK; i++) {
        uint32_t next = MACHINE_DEAD;
        for (uint32_t first = chance(&seed, 3), k = 0; k < 3 && status == BP_OK && next == MACHINE_DEAD; k++)
            status = machine_next(m, at, (unsigned char)"a\nb"[(first + k) % 3], &next, &why);
        at = next;
    }
    assert_int_equal(status, BP_EGRAMMAR);
    assert_non_null(strstr(why.message, "the grammar is too ambiguous: one byte leads to more than"));
    machine_free(m);
}

/* --- what is refused ------------------------------------------------------------------------------------------------------------------- */

static void expect_refusal(uint32_t kind, const char *text, const char *part)
{
    machine *m = NULL;
    bp_error why = {0};
    if (grammar_compile(kind, text, strlen(text), &m, &why) == BP_OK) {
        machine_free(m);
        fail_msg("not refused: %.200s", text);
    }
    assert_int_equal(why.code, BP_EGRAMMAR);
    if (!strstr(why.message, part))
        fail_msg("\"%s\" does not say \"%s\"", why.message, part);
}

static void expect_taken(uint32_t kind, const char *text)
{
    machine *m = NULL;
    bp_error why = {0};
    if (grammar_compile(kind, text, strlen(text), &m, &why) != BP_OK)
        fail_msg("%.200s: %s", text, why.message);
    machine_free(m);
}

static char *repeated(const char *text, size_t times, const char *last)
{
    size_t length = strlen(text);
    char *out = calloc(times * length + strlen(last) + 1, 1);
    for (size_t i = 0; i < times; i++)
        memcpy(out + i * length, text, length);
    strcpy(out + times * length, last);
    return out;
}

static void test_what_cannot_be_is_refused(void **context)
{
    (void)context;
    static const char *const gbnf[][2] = {
        {"", "no rule root"}, {"x ::= \"a\"", "no rule root"}, {"root ::= y", "no rule y"}, {"root ::= \"a", "closing quote"},
        {"root ::= root \"a\" | \"b\"", "left-recursive"}, {"root ::= x \"b\" | \"c\"\nx ::= \"a\"? root", "left-recursive"},
        {"root ::= \"a\" root", "no finite text"}, {"root ::= [b-a]", "line 1"}, {"root ::= (\"a\"", "without its end"},
        {"root ::= \"a\")", "closes nothing"}, {"root ::= \"a\"{70000}", "65535"}, {"root ::= \"a\"{3,2}", "impossible"},
        {"root ::= (\"a\"+)+ \"b\"", "ambiguous"}, {"root ::= \"\\q\"", "escape"}, {"root ::= \"a\"\nroot ::= \"b\"", "second time"},
        {"root ::= [a", "without its end"}, {"root ::= *", "begins nothing"}, {"root \"a\"", "::="}, {"root ::= \xff", "begins nothing"},
        {"root ::= (\"a\"?){2,100}", "may be empty"}, {"root ::= \"\\uD8\"", "hexadecimal"}};
    for (size_t i = 0; i < sizeof gbnf / sizeof *gbnf; i++)
        expect_refusal(BP_GRAMMAR_GBNF, gbnf[i][0], gbnf[i][1]);
    static const char *const regex[][2] = {
        {"(a+)+b", "ambiguous"}, {"(?<=x)*", "look-around"}, {"(?=x)", "look-around"}, {"(?!x)", "look-around"}, {"a{0,1000000000}", "65535"},
        {"(", "without an end"}, {")", "closes nothing"}, {"[z-a]", "range"}, {"a**", "repetition of a repetition"}, {"\\1", "escape"},
        {"\\bx", "escape"}, {"\\p{L}", "escape"}, {"a^b", "anchor"}, {"a$b", "anchor"}, {"+", "nothing"}, {"a{,3}", "brace"}, {"\\", "backslash"},
        {"[a", "without an end"}, {"a{2", "without an end"}, {"\\u{110000}", "escape"}};
    for (size_t i = 0; i < sizeof regex / sizeof *regex; i++)
        expect_refusal(BP_GRAMMAR_REGEX, regex[i][0], regex[i][1]);
    char *deep = repeated("(", 60000, ""), *rule = repeated("(", 60000, "\"a\""), *schema = repeated("{\"items\":", 5000, "");
    expect_refusal(BP_GRAMMAR_REGEX, deep, "within each other");
    char *root = calloc(strlen(rule) + 16, 1);
    strcat(strcpy(root, "root ::= "), rule);
    expect_refusal(BP_GRAMMAR_GBNF, root, "within each other");
    expect_refusal(BP_GRAMMAR_JSON_SCHEMA, schema, "not JSON");
    free(deep);
    free(rule);
    free(root);
    free(schema);
    expect_refusal(9, "x", "not known");
}

static void test_schemas_are_refused_by_their_path(void **context)
{
    (void)context;
    static const char *const schemas[][2] = {
        {"", "not JSON"}, {"123", "object, true or false"}, {"{\"type\": \"hiccup\"}", "schema: the type \"hiccup\""},
        {"{\"properties\": {\"a\": {\"items\": {\"not\": {}}}}}", "schema/properties/a/items: not is not supported"},
        {"{\"anyOf\": [{}, {\"multipleOf\": 3}]}", "schema/anyOf/1: multipleOf"}, {"{\"$ref\": \"http://x/y\"}", "nothing is fetched"},
        {"{\"$ref\": \"#/$defs/none\"}", "leads nowhere"}, {"{\"$ref\": \"#\"}", "no finite text"},
        {"{\"$defs\": {\"a\": {\"$ref\": \"#/$defs/b\"}, \"b\": {\"$ref\": \"#/$defs/a\"}}, \"$ref\": \"#/$defs/a\"}", "no finite text"},
        {"{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#\"}}, \"required\": [\"a\"]}", "no finite text"},
        {"{\"anyOf\": [{\"$ref\": \"#\"}, {\"type\": \"null\"}]}", "left-recursive"}, {"{\"enum\": []}", "enum"}, {"false", "no finite text"},
        {"{\"type\": \"string\", \"pattern\": \"(a+)+b\"}", "schema/pattern"}, {"{\"type\": \"string\", \"format\": \"colour\"}", "colour"},
        {"{\"type\": \"string\", \"minLength\": -1}", "minLength"}, {"{\"type\": \"array\", \"uniqueItems\": true}", "uniqueItems"},
        {"{\"type\": \"string\", \"minLength\": 3, \"maxLength\": 2}", "no finite text"},
        {"{\"type\": \"integer\", \"minimum\": 3, \"maximum\": 2}", "no finite text"}};
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++)
        expect_refusal(BP_GRAMMAR_JSON_SCHEMA, schemas[i][0], schemas[i][1]);
    expect_taken(BP_GRAMMAR_JSON_SCHEMA, "{\"type\": \"string\", \"maxLength\": 1000000000}");
    expect_taken(BP_GRAMMAR_JSON_SCHEMA, "{\"allOf\": [{\"$ref\": \"#/$defs/a\"}, {\"required\": [\"y\"]}], \"$defs\": {\"a\": {\"properties\": "
                                         "{\"x\": {\"$ref\": \"#/$defs/a\"}, \"y\": {\"type\": \"null\"}}}}}");
    expect_taken(BP_GRAMMAR_REGEX, "^(?:[a-z]+(?:-[a-z]+)*|\\d{1,65535})$");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_takes_what_the_rules_say), cmocka_unit_test(test_it_takes_what_random_rules_say),
        cmocka_unit_test(test_masks_are_what_every_token_says), cmocka_unit_test(test_what_cannot_be_is_refused),
        cmocka_unit_test(test_what_is_too_ambiguous_ends),
        cmocka_unit_test(test_schemas_are_refused_by_their_path)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
