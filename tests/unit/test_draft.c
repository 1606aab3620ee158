/* draft: what is guessed, how much, and when nothing is. */
#include "engine/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Guesses behind the tokens of a text, which have a byte each. */
static const char *guess(draft *d, const char *text, uint32_t most)
{
    static char out[256];
    int32_t tokens[512];
    uint32_t count = (uint32_t)strlen(text);
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = text[i];
    uint32_t guessed = draft_propose(d, tokens, count, most);
    assert_true(guessed <= most);
    for (uint32_t i = 0; i < guessed; i++)
        out[i] = (char)tokens[count + i];
    out[guessed] = '\0';
    return out;
}

static void what_followed_before_may_follow_again(void **state)
{
    (void)state;
    assert_string_equal(guess(&(draft){.length = 9}, "the cat sat. the cat", 9), " sat. t"); /* as many as agree */
    assert_string_equal(guess(&(draft){.length = 9}, "the cat sat. the cat", 4), " sat");
    assert_string_equal(guess(&(draft){.length = 9}, "xabc1 abc2 abc", 9), "2 ab");         /* of equal ones the last */
    assert_string_equal(guess(&(draft){.length = 9}, "xabc1 yabc2 zabc3 xabc", 9), "1 ya"); /* the longest agreement */
    assert_string_equal(guess(&(draft){.length = 9}, "ababababab", 9), "abababab");           /* goes on from itself */
    assert_string_equal(guess(&(draft){.length = 9}, "aaaaaaaaaaaaaaaaaaaaaaa", 9), "aaaaaaaaa");
    assert_string_equal(guess(&(draft){0}, "the cat sat. the cat", 9), " s");
}

static void nothing_is_guessed_from_little(void **state)
{
    (void)state;
    assert_string_equal(guess(&(draft){.length = 9}, "no repetition", 9), "");
    assert_string_equal(guess(&(draft){.length = 9}, "ab ab", 9), "");
    assert_string_equal(guess(&(draft){.length = 9}, "a", 9), "");
    assert_string_equal(guess(&(draft){.length = 9}, "abcabc", 0), "");
}

static void success_lengthens_and_failure_pauses(void **state)
{
    (void)state;
    static const char text[] = "abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstu";
    draft d = {0};
    for (uint32_t length = 2; length <= 8; length *= 2) {
        assert_int_equal(strlen(guess(&d, text, 8)), length);
        draft_note(&d, length, length);
    }
    assert_int_equal(strlen(guess(&d, text, 8)), 8);
    draft_note(&d, 8, 3);
    assert_int_equal(strlen(guess(&d, text, 8)), 4);
    uint32_t last = 0;
    for (uint32_t miss = 0; miss < 9; miss++) {
        draft_note(&d, 1, 0);
        uint32_t pause = 0;
        while (*guess(&d, text, 8) == '\0')
            pause++;
        assert_int_equal(pause, last ? last * 2 < DRAFT_MOST_PAUSE ? last * 2 : DRAFT_MOST_PAUSE : 1);
        last = pause;
    }
    draft_note(&d, 1, 1);
    assert_int_equal(strlen(guess(&d, text, 8)), 2);
    assert_int_equal(d.drafted, 2 + 4 + 8 + 8 + 9 + 1);
    assert_int_equal(d.accepted, 2 + 4 + 8 + 3 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_followed_before_may_follow_again),
        cmocka_unit_test(nothing_is_guessed_from_little),
        cmocka_unit_test(success_lengthens_and_failure_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
