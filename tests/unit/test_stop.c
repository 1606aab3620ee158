/* stop: stop strings are found wherever the text is cut into pieces, and what may become one is held back. */
#include "engine/stop.h"

#include <backplane/engine.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct found {
    bool any;
    uint32_t index;
    size_t begin, end; /* of the whole text */
} found;

static stop *open_stops(const char *const *strings, uint32_t count)
{
    stop *s = NULL;
    bp_error error = {0};
    if (stop_new(strings, count, &s, &error) != BP_OK)
        fail_msg("%s", error.message);
    return s;
}

/* What stop.h promises, by trying every place: the earliest end, then the earliest begin, then the lowest index. */
static found look(const char *text, size_t bytes, const char *const *strings, uint32_t count)
{
    for (size_t end = 1; end <= bytes; end++) {
        found best = {0};
        for (uint32_t k = 0; k < count; k++) {
            size_t length = strlen(strings[k]);
            if (length <= end && memcmp(text + end - length, strings[k], length) == 0 &&
                (!best.any || end - length < best.begin))
                best = (found){.any = true, .index = k, .begin = end - length, .end = end};
        }
        if (best.any)
            return best;
    }
    return (found){0};
}

/* The longest end of the text that begins a stop string and does not complete it. */
static size_t look_held(const char *text, size_t bytes, const char *const *strings, uint32_t count)
{
    size_t held = 0;
    for (uint32_t k = 0; k < count; k++)
        for (size_t length = strlen(strings[k]) - 1; length > held; length--)
            if (length <= bytes && memcmp(text + bytes - length, strings[k], length) == 0)
                held = length;
    return held;
}

/* Pushes the text in pieces, whose ends are the set bits of `cuts`, and compares with look(). */
static void check_cut(const char *text, size_t bytes, uint32_t cuts, const char *const *strings, uint32_t count)
{
    stop *s = open_stops(strings, count);
    found expected = look(text, bytes, strings, count), got = {0};
    for (size_t from = 0, to = 1; to <= bytes && !got.any; to++) {
        if (to < bytes && !(cuts >> (to - 1) & 1u))
            continue;
        stop_match match;
        size_t before = stop_held(s);
        if (stop_push(s, text + from, to - from, &match)) {
            got = (found){.any = true, .index = match.index, .begin = from + match.end - match.length, .end = from + match.end};
            assert_true(got.begin + before >= from); /* T2 */
        } else {
            assert_int_equal(stop_held(s), look_held(text, to, strings, count));
        }
        from = to;
    }
    if (got.any != expected.any || got.index != expected.index || got.begin != expected.begin || got.end != expected.end)
        fail_msg("\"%s\" cut at %x: string %u at %zu, not %u at %zu", text, cuts, got.index, got.begin, expected.index,
                 expected.begin);
    stop_free(s);
}

static void check_every_cut(const char *text, const char *const *strings, uint32_t count)
{
    size_t bytes = strlen(text);
    for (uint32_t cuts = 0; cuts < 1u << (bytes - 1); cuts++)
        check_cut(text, bytes, cuts, strings, count);
}

static void strings_are_found_across_pieces(void **state)
{
    (void)state;
    check_every_cut("ab\nUser: c", (const char *const[]){"\nUser:"}, 1);
    check_every_cut("aaaaaab", (const char *const[]){"aaab"}, 1);
    check_every_cut("abababac", (const char *const[]){"ababac"}, 1);
    check_every_cut("nothing", (const char *const[]){"STOP"}, 1);
}

static void strings_are_found_inside_characters(void **state)
{
    (void)state;
    check_every_cut("x\xe4\xbd\xa0\xe5\xa5\xbdy", (const char *const[]){"\xe5\xa5\xbd"}, 1);
    check_every_cut("\xf0\x9f\x98\x81\xf0\x9f\x98\x80", (const char *const[]){"\xf0\x9f\x98\x80"}, 1);
}

static void the_first_to_be_complete_wins(void **state)
{
    (void)state;
    check_every_cut("xabcdy", (const char *const[]){"abcd", "bc"}, 2);
    check_every_cut("xabcd", (const char *const[]){"cd", "bcd", "abcd", "d"}, 4); /* at one byte: the one that begins first */
    check_every_cut("xab", (const char *const[]){"ab", "ab"}, 2);                 /* and of equals the lowest index */
    check_every_cut("onontwo", (const char *const[]){"one", "ontwo", "two"}, 3);
}

/* Short random strings over two letters overlap in every way there is. */
static void random_strings_agree_with_the_definition(void **state)
{
    (void)state;
    uint64_t random = 7;
    for (uint32_t trial = 0; trial < 4000; trial++) {
        char text[13], words[3][5];
        const char *strings[3] = {words[0], words[1], words[2]};
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t bits = (uint32_t)(random >> 32), cuts = (uint32_t)(random >> 20);
        for (uint32_t i = 0; i < 12; i++)
            text[i] = bits >> i & 1u ? 'a' : 'b';
        text[12] = '\0';
        for (uint32_t k = 0; k < 3; k++) {
            uint32_t length = 1 + (bits >> (12 + 2 * k) & 3u);
            for (uint32_t i = 0; i < length; i++)
                words[k][i] = random >> (4 * k + i) & 1u ? 'a' : 'b';
            words[k][length] = '\0';
        }
        check_cut(text, 12, cuts, strings, 1 + trial % 3);
    }
}

static void refuse(const char *const *strings, uint32_t count, const char *sentence)
{
    stop *s = NULL;
    bp_error error = {0};
    assert_int_equal(stop_new(strings, count, &s, &error), BP_EINVAL);
    assert_null(s);
    if (!strstr(error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", error.message, sentence);
}

static void bad_strings_are_refused(void **state)
{
    (void)state;
    static char longest[STOP_MAX_BYTES + 2];
    memset(longest, 'x', sizeof longest - 1);
    refuse((const char *const[]){"a", ""}, 2, "stop string 1 is empty");
    refuse((const char *const[]){NULL}, 1, "stop string 0 is empty");
    refuse((const char *const[]){"\xe4\xbd"}, 1, "not valid UTF-8");
    refuse((const char *const[]){longest}, 1, "longer than 4096 bytes");
    const char *many[BP_MAX_STOPS + 1];
    for (uint32_t i = 0; i <= BP_MAX_STOPS; i++)
        many[i] = "x";
    refuse(many, BP_MAX_STOPS + 1, "17 stop strings are more than 16");
    longest[STOP_MAX_BYTES] = '\0';
    stop_free(open_stops((const char *const[]){longest}, 1));
}

static void no_strings_hold_nothing(void **state)
{
    (void)state;
    stop *s = open_stops(NULL, 0);
    stop_match match;
    assert_null(s);
    assert_false(stop_push(s, "abc", 3, &match));
    assert_int_equal(stop_held(s), 0);
    stop_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_found_across_pieces),
        cmocka_unit_test(strings_are_found_inside_characters),
        cmocka_unit_test(the_first_to_be_complete_wins),
        cmocka_unit_test(random_strings_agree_with_the_definition),
        cmocka_unit_test(bad_strings_are_refused),
        cmocka_unit_test(no_strings_hold_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
