/* tokenizer: texts and vocabularies made to cost more than they should. */
#include "text/tokenizer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

typedef struct bytes_vocabulary {
    char spellings[256][4];
    text_piece pieces[256];
} bytes_vocabulary;

/* Every byte, in GPT-2's alphabet. */
static void spell_bytes(bytes_vocabulary *v)
{
    int32_t next = 0x100;
    for (int i = 0; i < 256; i++) {
        bool itself = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i != 0xAD);
        int32_t code = itself ? i : next++;
        char *out = v->spellings[i];
        uint32_t length = code < 0x80 ? 1 : 2;
        out[0] = (char)(code < 0x80 ? code : 0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        v->pieces[i] = (text_piece){out, length};
    }
}

/* Without merges. */
static tokenizer *build(const char *pre, bytes_vocabulary *v)
{
    spell_bytes(v);
    const tokenizer_spec spec = {.model = "gpt2", .pre = pre, .pieces = v->pieces, .count = 256, .bos = -1, .eos = -1, .eot = -1,
                                 .unknown = -1, .padding = -1};
    tokenizer *t = NULL;
    bp_error error = {0};
    if (tokenizer_new(&spec, &t, &error) != BP_OK)
        fail_msg("%s", error.message);
    return t;
}

/* --- long runs ---------------------------------------------------------------------------------------------------------- */

static const char *const runs[] = {"\xE6\xBC\xA2", "A", "a", "\xCC\x81", "1", " ", "\n", "'", "!", "\xC4\xB2", "\xE3\x80\x80",
                                   "Q\xCC\x81", "aA", " \n"};
static const char *const families[] = {"gpt-2", "smollm", "command-r", "llama-bpe", "dbrx", "qwen2", "tekken", "gpt-4o"};
enum { RUN = 100000 };

/* Tokens of a run of the characters, with something else at its end or not; 0 where it fails. */
static size_t encode_run(const tokenizer *t, const char *character, const char *end)
{
    size_t each = strlen(character), bytes = each * RUN + strlen(end);
    char *text = malloc(bytes + 1);
    token_list ids = {0};
    bp_error error = {0};
    size_t count = 0;
    for (size_t i = 0; text && i < RUN; i++)
        memcpy(text + i * each, character, each);
    if (text)
        strcpy(text + each * RUN, end);
    if (text && tokenizer_encode(t, text, bytes, NULL, 0, &ids, &error) == BP_OK)
        count = ids.count == bytes ? bytes : 0;
    else
        print_error("%s\n", error.message);
    token_list_free(&ids);
    free(text);
    return count;
}

typedef struct encoder {
    const tokenizer *t;
    const char *character;
    size_t wrong;
} encoder;

static void *encode_all_ends(void *user)
{
    static const char *const ends[] = {"", "a", " "};
    encoder *e = user;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        e->wrong += encode_run(e->t, e->character, ends[i]) == 0;
    return NULL;
}

/* In threads, whose stacks are small, at once. */
static void runs_of_one_character_are_split(void **state)
{
    (void)state;
    enum { RUNS = sizeof runs / sizeof *runs };
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        bytes_vocabulary v;
        tokenizer *t = build(families[f], &v);
        pthread_t threads[RUNS];
        pthread_attr_t small;
        encoder encoders[RUNS];
        pthread_attr_init(&small);
        assert_int_equal(pthread_attr_setstacksize(&small, 256 << 10), 0);
        for (size_t i = 0; i < RUNS; i++) {
            encoders[i] = (encoder){.t = t, .character = runs[i]};
            assert_int_equal(pthread_create(&threads[i], &small, encode_all_ends, &encoders[i]), 0);
        }
        for (size_t i = 0; i < RUNS; i++) {
            pthread_join(threads[i], NULL);
            if (encoders[i].wrong)
                fail_msg("%s fails at a run of \"%s\"", families[f], runs[i]);
        }
        pthread_attr_destroy(&small);
        tokenizer_free(t);
    }
}

/* --- vocabularies ------------------------------------------------------------------------------------------------------- */

enum { COLLIDING = 200000, COLLIDING_BYTES = 16, COLLIDING_ROOM = 2 * COLLIDING_BYTES };

/* Sixteen bytes that a multiplicative hash with well-known factors puts into the same place for each number. */
static void collide(uint64_t number, unsigned char out[COLLIDING_BYTES])
{
    uint64_t first = (COLLIDING_BYTES * UINT64_C(0x9E3779B97F4A7C15) ^ number) * UINT64_C(0xD6E8FEB86659FD93);
    uint64_t second = first ^ first >> 32;
    memcpy(out, &number, 8);
    memcpy(out + 8, &second, 8);
}

static void pieces_that_were_made_to_collide_do_not(void **state)
{
    (void)state;
    bytes_vocabulary v;
    spell_bytes(&v);
    char *spelled = malloc((size_t)COLLIDING * COLLIDING_ROOM);
    text_piece *pieces = calloc(COLLIDING, sizeof *pieces);
    assert_true(spelled && pieces);
    for (uint32_t i = 0; i < COLLIDING; i++) {
        unsigned char bytes[COLLIDING_BYTES];
        char *at = spelled + (size_t)i * COLLIDING_ROOM;
        pieces[i].bytes = at;
        collide(i, bytes);
        for (int k = 0; k < COLLIDING_BYTES; k++) {
            const text_piece *spelling = &v.pieces[bytes[k]];
            memcpy(at, spelling->bytes, spelling->length);
            at += spelling->length;
        }
        pieces[i].length = (uint32_t)(at - pieces[i].bytes);
    }
    const tokenizer_spec spec = {.model = "gpt2", .pre = "gpt-2", .pieces = pieces, .count = COLLIDING, .bos = -1, .eos = -1,
                                 .eot = -1, .unknown = -1, .padding = -1};
    clock_t began = clock();
    tokenizer *t = NULL;
    assert_int_equal(tokenizer_new(&spec, &t, NULL), BP_OK);
    for (uint32_t i = 0; i < COLLIDING; i += 997) {
        unsigned char bytes[COLLIDING_BYTES];
        collide(i, bytes);
        assert_int_equal(tokenizer_find(t, (const char *)bytes, sizeof bytes), i);
    }
    double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    if (seconds > 5)
        fail_msg("a vocabulary of %d pieces took %.1f seconds", COLLIDING, seconds);
    tokenizer_free(t);
    free(pieces);
    free(spelled);
}

/* Cutting a word takes the square of what the file says a word may be. */
static void a_word_is_not_as_long_as_a_file_likes(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {1, 100, 1000, 1001, UINT32_MAX};
    static const text_piece pieces[] = {{"[UNK]", 5}, {"x", 1}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const tokenizer_spec spec = {.model = "bert", .pieces = pieces, .count = 2, .bos = -1, .eos = -1, .eot = -1,
                                     .padding = -1, .wordpiece = {.max_word = lengths[i]}};
        tokenizer *t = NULL;
        bp_error error = {0};
        bool good = lengths[i] <= 1000;
        assert_int_equal(tokenizer_new(&spec, &t, &error), good ? BP_OK : BP_EINVAL);
        assert_true(good || strstr(error.message, "over the limit of 1000"));
        tokenizer_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_that_were_made_to_collide_do_not),
        cmocka_unit_test(a_word_is_not_as_long_as_a_file_likes),
        cmocka_unit_test(runs_of_one_character_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
