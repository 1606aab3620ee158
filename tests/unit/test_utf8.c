/* utf8: decoding of every kind of broken sequence, encoding, and tails that may become characters. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Every character comes back from its encoding, and no shorter or longer prefix of it is taken. */
static void characters_survive_encoding_and_decoding(void **state)
{
    (void)state;
    for (int32_t code = 0; code <= 0x10FFFF; code++) {
        if (code >= 0xD800 && code <= 0xDFFF)
            continue;
        char text[5] = {0};
        int32_t back = -2;
        size_t length = utf8_encode(code, text);
        size_t expected = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        if (length != expected || utf8_decode(text, 5, &back) != length || back != code)
            fail_msg("U+%04X has %zu bytes and comes back as %d", (unsigned)code, length, back);
        for (size_t cut = 1; cut < length; cut++)
            if (utf8_decode(text, cut, &back) != cut || back != -1 || utf8_incomplete_tail(text, cut) != cut)
                fail_msg("U+%04X cut to %zu bytes is not one incomplete character", (unsigned)code, cut);
    }
}

static void what_is_no_character_is_encoded_as_a_replacement(void **state)
{
    (void)state;
    static const int32_t codes[] = {-1, 0xD800, 0xDFFF, 0x110000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char text[4];
        assert_int_equal(utf8_encode(codes[i], text), 3);
        assert_memory_equal(text, "\xEF\xBF\xBD", 3);
    }
}

/* Lengths of the maximal subparts, from table 3-8 of the Unicode standard and WHATWG's decoder; upper case where valid. */
static void invalid_sequences_are_cut_into_maximal_subparts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *parts;
    } cases[] = {
        {"a\x80z", "Aa" "A"}, {"\xC0\xAF", "aa"}, {"\xC1\xBF", "aa"}, {"\xE0\x80\xAF", "aaa"}, {"\xE0\x9F\xBF", "aaa"},
        {"\xF0\x80\x80\xAF", "aaaa"}, {"\xED\xA0\x80", "aaa"}, {"\xED\x9F\xBF", "C"}, {"\xF4\x90\x80\x80", "aaaa"},
        {"\xF4\x8F\xBF\xBF", "D"}, {"\xF5\x80", "aa"}, {"\xFF\xFE", "aa"}, {"\xE4\xBD" "a", "bA"},
        {"\xF0\x9F\x98" "a", "cA"},
        {"\xE4\xBD\xE4\xBD\xA0", "bC"}, {"\xC3\xC3\xA9", "aB"}, {"\xF1\x80\x80\xE1\x80\xC2" "a", "cbaA"},
        {"\xF0\x9F\x98", "c"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bytes = strlen(cases[i].text), count = 0;
        char parts[16] = {0};
        bool valid = true;
        for (size_t at = 0; at < bytes;) {
            int32_t code;
            size_t length = utf8_decode(cases[i].text + at, bytes - at, &code);
            parts[count++] = (char)((code < 0 ? 'a' : 'A') + (int)length - 1);
            valid = valid && code >= 0;
            at += length;
        }
        if (strcmp(parts, cases[i].parts) != 0)
            fail_msg("case %zu is cut into %s and not %s", i, parts, cases[i].parts);
        assert_int_equal(utf8_valid(cases[i].text, bytes), valid);
    }
}

static void only_what_can_be_completed_is_a_tail(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t tail;
    } cases[] = {
        {"", 0}, {"a", 0}, {"\xC3", 1}, {"a\xC3", 1}, {"\xC3\xA9", 0}, {"\xE4\xBD", 2}, {"\xE4", 1}, {"\xF0\x9F\x98", 3},
        {"\xF0\x9F", 2}, {"\xF0\x9F\x98\x80", 0}, {"\x80", 0}, {"\x80\x80\x80", 0}, {"\xC0", 0}, {"\xE0\x80", 0},
        {"\xED\xA0", 0},
        {"\xF4\x90", 0}, {"\xFF", 0}, {"\xC3\x80\x80", 0}, {"\xF0\x9F\x98\x80\x80", 0}, {"\xE4\xBD\xE4", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (utf8_incomplete_tail(cases[i].text, strlen(cases[i].text)) != cases[i].tail)
            fail_msg("case %zu has a tail of %zu bytes and not %zu", i,
                     utf8_incomplete_tail(cases[i].text, strlen(cases[i].text)), cases[i].tail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_survive_encoding_and_decoding),
        cmocka_unit_test(what_is_no_character_is_encoded_as_a_replacement),
        cmocka_unit_test(invalid_sequences_are_cut_into_maximal_subparts),
        cmocka_unit_test(only_what_can_be_completed_is_a_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
