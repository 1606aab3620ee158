/* answer: whatever way the text is cut into tokens, the reader sees whole characters, nothing of a stop string and nothing of
 * the tokens that reach into it. */
#include "engine/answer.h"

#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The bytes of each token, and how GPT-2's alphabet spells them (C3 is U+00C3, A9 is U+00A9, a space is U+0120). */
static const char *const bytes_of[] = {"a", "b", "\xc3", "\xa9", "ab", "ba\xc3", "\xa9\x61", "aab", "\nUs", "er:", " x"};
static const char *const pieces_of[] = {"a", "b", "\xc3\x83", "\xc2\xa9", "ab", "ba\xc3\x83", "\xc2\xa9\x61", "aab",
                                        "\xc4\x8aUs", "er:", "\xc4\xa0x"};
enum { TOKENS = sizeof bytes_of / sizeof *bytes_of, END = TOKENS, MAX_PUSHED = 1200, MAX_TEXT = 8192 };

static tokenizer *open_tokenizer(void)
{
    text_piece pieces[TOKENS + 1];
    int32_t types[TOKENS + 1];
    bp_error error = {0};
    tokenizer *out = NULL;
    for (uint32_t i = 0; i < TOKENS; i++) {
        pieces[i] = (text_piece){.bytes = pieces_of[i], .length = (uint32_t)strlen(pieces_of[i])};
        types[i] = TOKEN_NORMAL;
    }
    pieces[END] = (text_piece){.bytes = "<end>", .length = 5};
    types[END] = TOKEN_CONTROL;
    tokenizer_spec spec = {.model = "gpt2", .pre = "gpt-2", .pieces = pieces, .types = types, .count = TOKENS + 1, .bos = -1,
                           .eos = END, .eot = -1, .unknown = -1, .padding = -1};
    if (tokenizer_new(&spec, &out, &error) != BP_OK)
        fail_msg("%s", error.message);
    return out;
}

static tokenizer *t; /* one for all tests */

static int open_all(void **state)
{
    (void)state;
    t = open_tokenizer();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    tokenizer_free(t);
    return 0;
}

typedef struct scene {
    stream events;
    answer answer;
} scene;

static void open_scene(scene *s, uint32_t events, const char *const *stops, uint32_t count)
{
    bp_error error = {0};
    stop *strings = NULL;
    if (stop_new(stops, count, &strings, &error) != BP_OK || stream_init(&s->events, events, 2, &error) != BP_OK)
        fail_msg("%s", error.message);
    answer_init(&s->answer, t, &s->events, strings, false);
}

static void close_scene(scene *s)
{
    answer_clear(&s->answer);
    stream_clear(&s->events);
}

static bool push(scene *s, int32_t token)
{
    bool stopped = false;
    bp_error error = {0};
    sampler_choice choice = {.token = token, .logprob = -0.5f, .top_count = 2, .top_tokens = {token, 0}};
    if (answer_push(&s->answer, &choice, &stopped, &error) != BP_OK)
        fail_msg("%s", error.message);
    return stopped;
}

/* What the reader got so far. */
typedef struct heard {
    int32_t tokens[MAX_PUSHED];
    uint32_t count, kind, stop_index;
    char text[MAX_TEXT];
    size_t bytes;
} heard;

static void hear(scene *s, heard *h)
{
    bp_event e;
    while (h->kind != BP_EVENT_DONE && h->kind != BP_EVENT_ERROR && stream_next(&s->events, 0, &e, NULL) == BP_OK) {
        assert_true(utf8_valid(e.text ? e.text : "", e.text_bytes));
        if (e.text_bytes)
            memcpy(h->text + h->bytes, e.text, e.text_bytes);
        h->bytes += e.text_bytes;
        h->text[h->bytes] = '\0';
        h->kind = e.kind;
        h->stop_index = e.stop_index;
        if (e.kind != BP_EVENT_TOKEN)
            continue;
        h->tokens[h->count++] = e.chosen.token;
        assert_int_equal(e.chosen.byte_count, strlen(bytes_of[e.chosen.token]));
        assert_memory_equal(e.chosen.bytes, bytes_of[e.chosen.token], e.chosen.byte_count);
        assert_int_equal(e.top_count, 2);
    }
}

static void end(scene *s, heard *h)
{
    answer_end(&s->answer, &(bp_event){.kind = BP_EVENT_DONE, .finish = BP_FINISH_STOP});
    hear(s, h);
    assert_int_equal(h->kind, BP_EVENT_DONE);
}

/* --- the definition ------------------------------------------------------------------------------------------------------- */

typedef struct expected {
    char text[MAX_TEXT];
    size_t bytes;     /* that are shown */
    uint32_t tokens;  /* that are shown */
    uint32_t pushed;  /* until the answer stopped */
    uint32_t stop_index;
} expected;

/* The first stop string in text[0 … bytes); false if there is none. */
static bool find_stop(const char *text, size_t bytes, const char *const *stops, uint32_t count, size_t *begin, uint32_t *index)
{
    for (size_t to = 1; to <= bytes; to++) {
        bool found = false;
        for (uint32_t k = 0; k < count; k++) {
            size_t length = strlen(stops[k]);
            if (length > to || memcmp(text + to - length, stops[k], length) != 0 || (found && to - length >= *begin))
                continue;
            *begin = to - length;
            *index = k + 1;
            found = true;
        }
        if (found)
            return true;
    }
    return false;
}

static void define(const int32_t *tokens, uint32_t count, const char *const *stops, uint32_t stop_count, expected *out)
{
    detokenizer d = {0};
    buffer text = {0};
    static size_t ends[MAX_PUSHED];
    size_t begin = 0;
    *out = (expected){0};
    bool stopped = false;
    while (out->pushed < count && !stopped) {
        assert_true(detokenizer_push(&d, t, tokens[out->pushed], &text));
        ends[out->pushed++] = text.size + (stop_count && d.held_count ? 1 : 0);
        stopped = find_stop(text.data ? text.data : "", text.size, stops, stop_count, &begin, &out->stop_index);
    }
    if (!stopped) {
        assert_true(detokenizer_finish(&d, &text));
        stopped = find_stop(text.data ? text.data : "", text.size, stops, stop_count, &begin, &out->stop_index);
    }
    out->bytes = stopped ? begin : text.size;
    if (out->bytes)
        memcpy(out->text, text.data, out->bytes);
    for (uint32_t i = 0; i < out->pushed; i++)
        out->tokens += !stopped || ends[i] <= begin;
    buffer_free(&text);
}

static void check(const int32_t *tokens, uint32_t count, const char *const *stops, uint32_t stop_count)
{
    static expected e;
    static heard h;
    scene s;
    h = (heard){0};
    define(tokens, count, stops, stop_count, &e);
    open_scene(&s, 512, stops, stop_count);
    uint32_t pushed = 0;
    bool stopped = false;
    while (pushed < count && !stopped) {
        stopped = push(&s, tokens[pushed++]);
        hear(&s, &h);
        assert_true(h.bytes <= e.bytes); /* never a byte that has to be taken back */
        assert_true(h.count <= e.tokens);
    }
    end(&s, &h);
    assert_int_equal(pushed, e.pushed);
    assert_int_equal(h.stop_index, e.stop_index);
    assert_int_equal(h.bytes, e.bytes);
    assert_memory_equal(h.text, e.text, e.bytes);
    assert_int_equal(h.count, e.tokens);
    assert_memory_equal(h.tokens, tokens, e.tokens * sizeof *tokens);
    close_scene(&s);
}

/* --- tests ---------------------------------------------------------------------------------------------------------------- */

static void random_answers_agree_with_the_definition(void **state)
{
    (void)state;
    static const char *const words[] = {"ab", "ba", "\xc3\xa9", "a\xc3\xa9", "bb", "\xc3\xa9\x61", "\xef\xbf\xbd", "aabab",
                                        "\nUser:", "b\xef\xbf\xbd"};
    uint64_t random = 3;
    for (uint32_t trial = 0; trial < 3000; trial++) {
        int32_t tokens[12];
        const char *stops[3];
        for (uint32_t i = 0; i < 12; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            tokens[i] = (int32_t)((random >> 33) % (trial % 2 ? TOKENS : 4));
        }
        for (uint32_t i = 0; i < 3; i++)
            stops[i] = words[(random >> (13 + 7 * i)) % (sizeof words / sizeof *words)];
        check(tokens, trial % 13, stops, trial % 4);
    }
}

static void a_stop_string_over_several_tokens_is_never_seen(void **state)
{
    (void)state;
    static heard h;
    scene s;
    h = (heard){0};
    open_scene(&s, 8, (const char *const[]){"\nUser:"}, 1);
    assert_false(push(&s, 0));
    hear(&s, &h);
    assert_int_equal(h.count, 1);
    assert_false(push(&s, 8));
    hear(&s, &h);
    assert_int_equal(h.count, 1); /* "\nUs" waits */
    assert_true(push(&s, 9));
    end(&s, &h);
    assert_string_equal(h.text, "a");
    assert_int_equal(h.count, 1);
    assert_int_equal(h.stop_index, 1);
    close_scene(&s);
}

/* The text of a token before the cut comes with DONE, the token does not. */
static void a_token_that_the_cut_runs_through_is_not_shown(void **state)
{
    (void)state;
    static heard h;
    scene s;
    h = (heard){0};
    open_scene(&s, 8, (const char *const[]){"b"}, 1);
    assert_true(push(&s, 7)); /* "aab" */
    end(&s, &h);
    assert_string_equal(h.text, "aa");
    assert_int_equal(h.count, 0);
    close_scene(&s);
}

static void test_71_an_unfinished_character_becomes_a_replacement(void **state)
{
    (void)state;
    static heard h;
    scene s;
    h = (heard){0};
    open_scene(&s, 8, NULL, 0);
    push(&s, 0);
    push(&s, 2);
    hear(&s, &h);
    assert_int_equal(h.count, 2); /* without stop strings a token does not wait for its character */
    assert_string_equal(h.text, "a");
    end(&s, &h);
    assert_string_equal(h.text, "a\xef\xbf\xbd");
    close_scene(&s);
}

static void an_error_drops_what_is_held(void **state)
{
    (void)state;
    static heard h;
    scene s;
    h = (heard){0};
    open_scene(&s, 8, (const char *const[]){"ab\n"}, 1);
    push(&s, 1);
    push(&s, 4);
    answer_end(&s.answer, &(bp_event){.kind = BP_EVENT_ERROR, .error.code = BP_EINTERNAL});
    hear(&s, &h);
    assert_int_equal(h.kind, BP_EVENT_ERROR);
    assert_string_equal(h.text, "b");
    assert_int_equal(h.count, 1);
    close_scene(&s);
}

static void special_tokens_have_no_text(void **state)
{
    (void)state;
    scene s;
    bp_event e;
    open_scene(&s, 8, NULL, 0);
    push(&s, END);
    assert_int_equal(stream_next(&s.events, 0, &e, NULL), BP_OK);
    assert_int_equal(e.chosen.token, END);
    assert_int_equal(e.text_bytes, 0);
    assert_int_equal(e.chosen.byte_count, 5);
    s.answer.characters.emit_special = 1;
    push(&s, END);
    assert_int_equal(stream_next(&s.events, 0, &e, NULL), BP_OK);
    assert_int_equal(e.text_bytes, 5);
    close_scene(&s);
}

static void a_full_ring_is_the_readers_loss(void **state)
{
    (void)state;
    scene s;
    bool stopped;
    bp_error error = {0};
    open_scene(&s, 3, NULL, 0);
    for (uint32_t i = 0; i < 3; i++)
        push(&s, 0);
    assert_int_equal(answer_push(&s.answer, &(sampler_choice){.token = 0}, &stopped, &error), BP_ELIMIT);
    assert_non_null(strstr(error.message, "3 events behind"));
    close_scene(&s);
}

/* A stop string longer than the ring: tokens go on without their text, which comes once it is certain. */
static void much_held_text_does_not_fill_the_ring(void **state)
{
    (void)state;
    static char word[1001];
    static int32_t tokens[MAX_PUSHED];
    static heard h;
    scene s;
    h = (heard){0};
    memset(word, 'a', 999);
    word[999] = 'b';
    open_scene(&s, STREAM_EVENTS, (const char *const[]){word}, 1);
    for (uint32_t i = 0; i < MAX_PUSHED - 1; i++) {
        assert_false(push(&s, tokens[i]));
        hear(&s, &h);
        assert_true(h.count + STREAM_EVENTS / 2 >= i + 1);
        assert_int_equal(h.bytes, i < 999 ? 0 : i + 1 - 999);
    }
    assert_true(push(&s, 1));
    end(&s, &h);
    assert_int_equal(h.bytes, MAX_PUSHED - 1 - 999);
    assert_int_equal(h.stop_index, 1);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_answers_agree_with_the_definition),
        cmocka_unit_test(a_stop_string_over_several_tokens_is_never_seen),
        cmocka_unit_test(a_token_that_the_cut_runs_through_is_not_shown),
        cmocka_unit_test(test_71_an_unfinished_character_becomes_a_replacement),
        cmocka_unit_test(an_error_drops_what_is_held),
        cmocka_unit_test(special_tokens_have_no_text),
        cmocka_unit_test(a_full_ring_is_the_readers_loss),
        cmocka_unit_test(much_held_text_does_not_fill_the_ring),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
