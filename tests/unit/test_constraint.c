/* constraint: grammars are shared, forgotten and found again, in bounded memory, and none of it shows in what they allow. */
#include "sample/constraint.h"

#include <backplane/engine.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 257, END = 256 };

static const char *byte_text(const void *user, uint32_t token, uint32_t *length)
{
    const char *bytes = user;
    *length = token < END;
    return token < END ? bytes + token : NULL;
}

static bool is_end(const void *user, uint32_t token)
{
    (void)user;
    return token == END;
}

static constraints *open_constraints(void)
{
    static char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    constraints *all = NULL;
    token_source source = {.count = TOKENS, .user = bytes, .text = byte_text, .ends = is_end};
    assert_int_equal(constraints_new(&source, &all, NULL), BP_OK);
    return all;
}

static constraint *open_one(constraints *all, uint32_t kind, const char *text)
{
    constraint *c = NULL;
    bp_error why = {0};
    if (constraint_new(all, kind, text, strlen(text), &c, &why) != BP_OK)
        fail_msg("%s", why.message);
    return c;
}

static bool allows(constraint *c, uint32_t token, bool with_ends)
{
    const uint64_t *bits = NULL;
    bp_error why = {0};
    if (constraint_mask(c, with_ends, &bits, &why) != BP_OK)
        fail_msg("%s", why.message);
    return bits[token / 64] >> (token % 64) & 1;
}

static void accept_text(constraint *c, const char *text)
{
    bp_error why = {0};
    for (; *text; text++) {
        assert_true(allows(c, (unsigned char)*text, true));
        if (constraint_accept(c, (unsigned char)*text, &why) != BP_OK)
            fail_msg("%s", why.message);
    }
}

static void test_an_answer_from_begin_to_end(void **context)
{
    (void)context;
    constraints *all = open_constraints();
    constraint *c = open_one(all, BP_GRAMMAR_REGEX, "ab?|b{3}");
    bp_error why = {0};
    assert_true(allows(c, 'a', true) && allows(c, 'b', true) && !allows(c, 'c', true) && !allows(c, END, true));
    accept_text(c, "a");
    assert_true(allows(c, END, true) && !allows(c, END, false) && !constraint_over(c));
    assert_int_equal(constraint_accept(c, 'c', &why), BP_EINTERNAL);
    accept_text(c, "b");
    assert_true(constraint_over(c) && allows(c, END, true) && !allows(c, 'b', true));
    constraint_free(c);
    constraint_free(NULL);
    constraints_free(all);
    constraints_free(NULL);
}

static void test_54_ten_thousand_schemas(void **context)
{
    (void)context;
    constraints *all = open_constraints();
    constraint *held = open_one(all, BP_GRAMMAR_GBNF, "root ::= \"a\" root | \"b\"");
    accept_text(held, "aaa");
    size_t most = 0;
    for (int i = 0; i < 10000; i++) {
        char schema[200], answer[64];
        snprintf(schema, sizeof schema, "{\"properties\": {\"k%d\": {\"type\": \"integer\", \"maximum\": %d}}, \"required\": [\"k%d\"]}", i, i, i);
        snprintf(answer, sizeof answer, "{\"k%d\": %d}", i, i);
        constraint *c = open_one(all, BP_GRAMMAR_JSON_SCHEMA, schema);
        if (i % 50 == 0) {
            accept_text(c, answer);
            assert_true(constraint_over(c));
        }
        constraint_free(c);
        most = constraints_idle_bytes(all) > most ? constraints_idle_bytes(all) : most;
    }
    assert_in_range(most, CONSTRAINTS_IDLE_BYTES / 2, CONSTRAINTS_IDLE_BYTES);
    accept_text(held, "ab");
    assert_true(constraint_over(held));
    constraint_free(held);
    constraints_free(all);
}

/* Every byte of this answer leads to a state of its own. */
static void test_a_long_answer_forgets_where_it_was(void **context)
{
    (void)context;
    constraints *all = open_constraints();
    const char *const regex = "(a{1,9}b){60000}(c{2}d){3,60000}";
    constraint *one = open_one(all, BP_GRAMMAR_REGEX, regex), *other = open_one(all, BP_GRAMMAR_REGEX, regex);
    accept_text(other, "ab");
    for (int i = 0; i < 60000; i++) {
        assert_false(i && i % 1000 == 0 && allows(one, 'c', true));
        accept_text(one, i % 7 ? "ab" : "aaaab");
    }
    accept_text(one, "ccdccd");
    assert_false(allows(one, END, true));
    accept_text(one, "ccd");
    assert_true(allows(one, END, true));
    accept_text(other, "aab");
    assert_false(allows(other, 'c', true));
    constraint_free(one);
    size_t idle = constraints_idle_bytes(all);
    constraint_free(other);
    assert_true(idle == 0 && constraints_idle_bytes(all) < 4 * CONSTRAINTS_COLLECT_BYTES);
    constraints_free(all);
}

static void test_what_is_deeper_than_the_machine_goes_is_not_allowed(void **context)
{
    (void)context;
    constraints *all = open_constraints();
    constraint *c = open_one(all, BP_GRAMMAR_JSON_SCHEMA, "{\"type\": \"array\"}");
    int depth = 0;
    for (; depth < 5000 && allows(c, '[', true); depth++)
        accept_text(c, "[");
    assert_in_range(depth, 200, 1000);
    for (; depth > 0; depth--)
        accept_text(c, "]");
    assert_true(constraint_over(c));
    constraint_free(c);
    constraints_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_from_begin_to_end), cmocka_unit_test(test_54_ten_thousand_schemas),
        cmocka_unit_test(test_a_long_answer_forgets_where_it_was),
        cmocka_unit_test(test_what_is_deeper_than_the_machine_goes_is_not_allowed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
