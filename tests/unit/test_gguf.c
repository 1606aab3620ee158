/* gguf: good files read back, and one malformed file per way to be malformed, each refused with the culprit's name. */
#include "base/arena.h"
#include "model/gguf.h"
#include "support/gguf_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const float numbers[256] = {1, -2, 3, 0.5f};

/* One key of most types and two tensors: what the spoilers below spoil. */
static void fill(gguf_writer *w)
{
    static const char *const words[] = {"one", "", "three"};
    static const int32_t integers[] = {1, -1, 2147483647};
    writer_begin(w);
    writer_text(w, "general.architecture", "test");
    writer_u32(w, "test.count", 7);
    writer_i32(w, "test.negative", -7);
    writer_f32(w, "test.real", 0.25f);
    writer_bool(w, "test.flag", true);
    writer_texts(w, "test.words", words, 3);
    writer_i32s(w, "test.integers", integers, 3);
    writer_value(w, "test.wide", WRITE_U64, "\xFF\xFF\xFF\xFF\x01\0\0\0", 8);
    writer_value(w, "test.small", WRITE_I8, "\x05", 1);
    writer_value(w, "test.double", WRITE_F64, "\0\0\0\0\0\0\xE0\x3F", 8);
    writer_matrix(w, "first", BP_F32, 3, 0, numbers);
    writer_matrix(w, "second", BP_Q8_0, 32, 2, numbers);
}

static gguf *parse(const buffer *bytes)
{
    gguf *g = NULL;
    bp_error error = {0};
    if (gguf_parse(bytes->data, bytes->size, "f", &g, &error) != BP_OK)
        fail_msg("%s", error.message);
    return g;
}

static void check_numbers(const gguf *g)
{
    bp_error error = {0};
    bool present, flag;
    uint32_t u;
    float f;
    assert_int_equal(gguf_u32(g, "test.count", 1, &present, &u, &error), BP_OK);
    assert_true(present && u == 7);
    assert_int_equal(gguf_u32(g, "test.small", 1, NULL, &u, &error), BP_OK);
    assert_int_equal(u, 5);
    assert_int_equal(gguf_u32(g, "test.absent", 9, &present, &u, &error), BP_OK);
    assert_true(!present && u == 9);
    assert_int_equal(gguf_f32(g, "test.real", 1, NULL, &f, &error), BP_OK);
    assert_true(f == 0.25f);
    assert_int_equal(gguf_f32(g, "test.double", 1, NULL, &f, &error), BP_OK);
    assert_true(f == 0.5f);
    assert_int_equal(gguf_bool(g, "test.flag", false, &present, &flag, &error), BP_OK);
    assert_true(present && flag);
}

static void check_arrays(const gguf *g)
{
    bp_error error = {0};
    bool present;
    gguf_string text;
    const gguf_string *words;
    const void *integers;
    uint64_t count;
    uint32_t type;
    assert_int_equal(gguf_text(g, "general.architecture", &present, &text, &error), BP_OK);
    assert_true(present && text.length == 4 && memcmp(text.bytes, "test", 4) == 0);
    assert_int_equal(gguf_strings(g, "test.words", &present, &words, &count, &error), BP_OK);
    assert_true(present && count == 3 && words[1].length == 0 && words[2].length == 5);
    assert_memory_equal(words[2].bytes, "three", 5);
    assert_int_equal(gguf_numbers(g, "test.integers", &present, &type, &integers, &count, &error), BP_OK);
    assert_true(present && count == 3 && type == GGUF_I32);
    assert_memory_equal(integers, "\1\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 12);
}

static void a_file_reads_back(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        gguf_writer w;
        buffer bytes = {0};
        fill(&w);
        w.version = version;
        writer_finish(&w, &bytes);
        gguf *g = parse(&bytes);
        assert_int_equal(gguf_version(g), version);
        assert_true(gguf_key_count(g) == 10 && gguf_tensor_count(g) == 2 && gguf_size(g) == bytes.size);
        assert_false(gguf_damaged(g));
        check_numbers(g);
        check_arrays(g);
        const bp_weight *first = gguf_find_tensor(g, "first"), *second = gguf_find_tensor(g, "second");
        assert_true(first == gguf_tensor(g, 0) && second == gguf_tensor(g, 1) && !gguf_find_tensor(g, "third"));
        assert_true(first->rank == 1 && first->shape[0] == 3 && first->shape[1] == 1 && first->bytes == 12);
        assert_memory_equal(first->data, numbers, 12);
        assert_true(second->dtype == BP_Q8_0 && second->shape[1] == 2 && second->bytes == 68);
        gguf_close(g);
        buffer_free(&bytes);
        writer_free(&w);
    }
}

static void keys_of_another_type_are_refused(void **state)
{
    (void)state;
    gguf_writer w;
    buffer bytes = {0};
    fill(&w);
    writer_value(&w, "test.infinite", WRITE_F32, "\0\0\x80\x7F", 4);
    writer_value(&w, "test.maybe", WRITE_BOOL, "\2", 1);
    writer_finish(&w, &bytes);
    gguf *g = parse(&bytes);
    static const struct { char what; const char *key, *sentence; } table[] = {
        {'u', "test.negative", "key \"test.negative\" is -7, which must not be negative"},
        {'u', "test.wide", "key \"test.wide\" is 8589934591, more than 4294967295"},
        {'u', "test.real", "key \"test.real\" has a value of type float32 where an integer is expected"},
        {'u', "test.words", "key \"test.words\" is an array of 3 values where an integer is expected"},
        {'f', "test.count", "key \"test.count\" has a value of type uint32 where a floating-point number is expected"},
        {'f', "test.infinite", "key \"test.infinite\" is not a finite number"},
        {'b', "test.count", "key \"test.count\" has a value of type uint32 where true or false is expected"},
        {'b', "test.maybe", "key \"test.maybe\" is a bool of value 2; 0 and 1 are allowed"},
        {'t', "test.count", "key \"test.count\" has a value of type uint32 where a string is expected"},
        {'s', "test.integers", "key \"test.integers\" is an array of int32 where strings are expected"},
        {'s', "test.flag", "key \"test.flag\" has a value of type bool where an array of strings is expected"},
        {'n', "test.words", "key \"test.words\" is an array of strings where numbers are expected"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        bp_error error = {0};
        uint32_t u;
        float f;
        bool b;
        gguf_string t;
        const gguf_string *s;
        const void *n;
        uint64_t count;
        bp_status status = table[i].what == 'u'   ? gguf_u32(g, table[i].key, 0, NULL, &u, &error)
                           : table[i].what == 'f' ? gguf_f32(g, table[i].key, 0, NULL, &f, &error)
                           : table[i].what == 'b' ? gguf_bool(g, table[i].key, 0, NULL, &b, &error)
                           : table[i].what == 't' ? gguf_text(g, table[i].key, NULL, &t, &error)
                           : table[i].what == 's' ? gguf_strings(g, table[i].key, NULL, &s, &count, &error)
                                                  : gguf_numbers(g, table[i].key, NULL, &u, &n, &count, &error);
        assert_int_equal(status, BP_EINVAL);
        assert_string_equal(error.message, table[i].sentence);
    }
    gguf_close(g);
    buffer_free(&bytes);
    writer_free(&w);
}

/* --- malformed files -------------------------------------------------------------------------------------------------- */

static writer_tensor *second(gguf_writer *w)
{
    return writer_find_tensor(w, "second");
}

static void bad_magic(gguf_writer *w) { w->magic[3] = 'X'; }
static void version_1(gguf_writer *w) { w->version = 1; }
static void version_4(gguf_writer *w) { w->version = 4; }
static void big_endian(gguf_writer *w) { w->version = 0x03000000; }
static void keys_minus_1(gguf_writer *w) { w->key_count = (uint64_t)-2; /* -1 is WRITER_AUTO */ }
static void keys_2_32(gguf_writer *w) { w->key_count = (uint64_t)1 << 32; }
static void tensors_minus_1(gguf_writer *w) { w->tensor_count = (uint64_t)-2; }
static void tensors_2_32(gguf_writer *w) { w->tensor_count = (uint64_t)1 << 32; }
static void one_key_too_many(gguf_writer *w) { w->key_count = 11; }
static void no_key_name(gguf_writer *w) { buffer_clear(&w->keys[1].name); }
static void odd_key_name(gguf_writer *w) { w->keys[1].name.data[2] = '\n'; }
static void long_key_name(gguf_writer *w)
{
    while (w->keys[1].name.size <= 65535)
        buffer_text(&w->keys[1].name, "more and more ");
}
static void value_type_13(gguf_writer *w) { writer_find(w, "test.count")->type = 13; }
static void value_type_huge(gguf_writer *w) { writer_find(w, "test.count")->type = UINT32_MAX; }
static void string_too_long(gguf_writer *w)
{
    writer_value(w, "general.architecture", WRITE_STRING, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8);
}
static void string_2_32(gguf_writer *w)
{
    writer_value(w, "general.architecture", WRITE_STRING, "\0\0\0\0\1\0\0\0", 8);
}
static void array_of_arrays(gguf_writer *w) { memcpy(writer_find(w, "test.words")->value.data, "\x09", 1); }
static void array_of_type_99(gguf_writer *w) { memcpy(writer_find(w, "test.words")->value.data, "\x63", 1); }
static void too_many_strings(gguf_writer *w) { memset(writer_find(w, "test.words")->value.data + 4, 0xFF, 8); }
static void too_many_numbers(gguf_writer *w) { memset(writer_find(w, "test.integers")->value.data + 4, 0xFF, 8); }
static void overflowing_numbers(gguf_writer *w)
{
    memcpy(writer_find(w, "test.integers")->value.data + 4, "\1\0\0\0\0\0\0\x40", 8); /* times 4 is 4 modulo 2^64 */
}
static void string_in_array(gguf_writer *w) { memset(writer_find(w, "test.words")->value.data + 12, 0x7F, 8); }
static void twin_key(gguf_writer *w) { writer_add(w, "test.count", WRITE_U8, "\1", 1); }
static void alignment_0(gguf_writer *w) { writer_u32(w, "general.alignment", 0); }
static void alignment_2_31(gguf_writer *w) { writer_u32(w, "general.alignment", 0x80000000); }
static void alignment_24(gguf_writer *w) { writer_u32(w, "general.alignment", 24); }
static void alignment_text(gguf_writer *w) { writer_text(w, "general.alignment", "32"); }
static void no_tensor_name(gguf_writer *w) { buffer_clear(&second(w)->name); }
static void long_tensor_name(gguf_writer *w)
{
    buffer *name = &second(w)->name;
    while (name->size <= 64)
        buffer_text(name, "more");
}
static void nul_in_tensor_name(gguf_writer *w) { second(w)->name.data[2] = '\0'; }
static void twin_tensor(gguf_writer *w) { writer_matrix(w, "first", BP_F32, 4, 0, numbers); }
static void rank_0(gguf_writer *w) { second(w)->rank = 0; }
static void rank_5(gguf_writer *w) { second(w)->rank = 5; }
static void rank_huge(gguf_writer *w) { second(w)->rank = UINT32_MAX; }
static void dim_0(gguf_writer *w) { second(w)->shape[1] = 0; }
static void dim_negative(gguf_writer *w) { second(w)->shape[0] = (uint64_t)-32; }
static void product_overflows(gguf_writer *w)
{
    second(w)->shape[0] = (uint64_t)1 << 32;
    second(w)->shape[1] = (uint64_t)1 << 32;
}
static void row_of_33(gguf_writer *w) { second(w)->shape[0] = 33; }
static void tensor_type_15(gguf_writer *w) { second(w)->type = 15; }
static void offset_past_end(gguf_writer *w) { second(w)->offset = 1 << 20; }
static void offset_overflows(gguf_writer *w) { second(w)->offset = (uint64_t)-64; }
static void offset_misaligned(gguf_writer *w) { second(w)->offset = 33; }
static void overlapping(gguf_writer *w) { second(w)->offset = 0; }
static void more_data_than_file(gguf_writer *w) { second(w)->shape[1] = 3; }

#define NO_ROOM ", more than are allowed"
static const struct {
    void (*spoil)(gguf_writer *w);
    const char *sentence;
} malformed[] = {
    {bad_magic, "f: this is not a GGUF file: it does not begin with \"GGUF\""},
    {version_1, "f: this is GGUF version 1; versions 2 and 3 are read"},
    {version_4, "f: this is GGUF version 4; versions 2 and 3 are read"},
    {big_endian, "f: this GGUF file is big-endian; convert it to little-endian"},
    {keys_minus_1, "f: the file claims to have 18446744073709551614 keys" NO_ROOM " (65536) or fit in it"},
    {keys_2_32, "f: the file claims to have 4294967296 keys" NO_ROOM " (65536) or fit in it"},
    {tensors_minus_1, "f: the file claims to have 18446744073709551614 tensors" NO_ROOM " (1048576) or fit in it"},
    {tensors_2_32, "f: the file claims to have 4294967296 tensors" NO_ROOM " (1048576) or fit in it"},
    {one_key_too_many, "f: the name of tensor 0 has 0 bytes; 1 to 64 are allowed"}, /* a tensor was read as a key */
    {no_key_name, "f: the name of key 1 has 0 bytes; 1 to 65535 are allowed"},
    {odd_key_name, "f: the name of key 1 holds a control character"},
    {long_key_name, "f: the name of key 1 has 65544 bytes; 1 to 65535 are allowed"},
    {value_type_13, "f: key \"test.count\" has a value of type 13, which the format does not have"},
    {value_type_huge, "f: key \"test.count\" has a value of type 4294967295, which the format does not have"},
    {string_too_long, "f: the file ends inside the value of key \"general.architecture\""},
    {string_2_32, "f: the file ends inside the value of key \"general.architecture\""},
    {array_of_arrays, "f: key \"test.words\" is an array of arrays, which this build does not read"},
    {array_of_type_99, "f: key \"test.words\" has a value of type 99, which the format does not have"},
    {too_many_strings, "f: key \"test.words\" is an array of 18446744073709551615 strings, more than the file can hold"},
    {too_many_numbers, "f: key \"test.integers\" is an array of 18446744073709551615 numbers, more than the file can hold"},
    {overflowing_numbers,
     "f: key \"test.integers\" is an array of 4611686018427387905 numbers, more than the file can hold"},
    {string_in_array, "f: the file ends inside the value of key \"test.words\""},
    {twin_key, "f: there are two keys \"test.count\""},
    {alignment_0, "f: key \"general.alignment\" is 0; powers of two up to 1048576 are allowed"},
    {alignment_2_31, "f: key \"general.alignment\" is 2147483648; powers of two up to 1048576 are allowed"},
    {alignment_24, "f: key \"general.alignment\" is 24; powers of two up to 1048576 are allowed"},
    {alignment_text, "f: key \"general.alignment\" has a value of type string where an integer is expected"},
    {no_tensor_name, "f: the name of tensor 1 has 0 bytes; 1 to 64 are allowed"},
    {long_tensor_name, "f: the name of tensor 1 has 66 bytes; 1 to 64 are allowed"},
    {nul_in_tensor_name, "f: the name of tensor 1 holds a control character"},
    {twin_tensor, "f: there are two tensors \"first\""},
    {rank_0, "f: tensor \"second\" has 0 dimensions; 1 to 4 are allowed"},
    {rank_5, "f: tensor \"second\" has 5 dimensions; 1 to 4 are allowed"},
    {rank_huge, "f: tensor \"second\" has 4294967295 dimensions; 1 to 4 are allowed"},
    {dim_0, "f: tensor \"second\" has 0 elements in dimension 1"},
    {dim_negative, "f: tensor \"second\" has -32 elements in dimension 0"},
    {product_overflows, "f: tensor \"second\" has more elements than can be counted"},
    {row_of_33, "f: tensor \"second\" has rows of 33 elements, not whole blocks of Q8_0 (32)"},
    {tensor_type_15,
     "f: tensor \"second\" has type 15, which this build does not read; it reads F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, "
     "Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, BF16, MXFP4"},
    {offset_past_end,
     "f: the data of tensor \"second\" (68 bytes at 1048576) ends past the file's 100 bytes; it may be cut "
     "short: fetch it again"},
    {offset_overflows,
     "f: the data of tensor \"second\" (68 bytes at 18446744073709551552) ends past the file's 100 bytes"},
    {offset_misaligned, "f: tensor \"second\" lies at offset 33, not a multiple of the alignment 32"},
    {overlapping, "f: the data of the tensors \""},
    {more_data_than_file, "f: the data of tensor \"second\" (102 bytes at 32) ends past the file's 100 bytes"},
};

static void refuse(const buffer *bytes, const char *sentence)
{
    /* In a block of exactly its size, so that a sanitizer sees a read past the end. */
    gguf *g = NULL;
    bp_error error = {0};
    char *exact = malloc(bytes->size ? bytes->size : 1);
    if (bytes->size)
        memcpy(exact, bytes->data, bytes->size);
    bp_status status = gguf_parse(exact, bytes->size, "f", &g, &error);
    free(exact);
    assert_true(status == BP_EINVAL || status == BP_EUNSUPPORTED);
    assert_null(g);
    assert_int_equal(status, error.code);
    if (strncmp(error.message, sentence, strlen(sentence)) != 0)
        fail_msg("\"%s\" where this was expected: \"%s\"", error.message, sentence);
}

static void test_74_malformed_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        gguf_writer w;
        buffer bytes = {0};
        fill(&w);
        malformed[i].spoil(&w);
        writer_finish(&w, &bytes);
        refuse(&bytes, malformed[i].sentence);
        buffer_free(&bytes);
        writer_free(&w);
    }
}

static void test_75_every_truncation_is_refused(void **state)
{
    (void)state;
    gguf_writer w;
    buffer bytes = {0};
    fill(&w);
    writer_finish(&w, &bytes);
    size_t whole = bytes.size;
    for (size_t size = 0; size < whole; size++) {
        bytes.size = size;
        refuse(&bytes, "f: ");
    }
    buffer_free(&bytes);
    writer_free(&w);
}

/* A wrong byte anywhere is read or refused: what the sanitizers say counts. */
static void test_74_every_wrong_byte_is_survived(void **state)
{
    (void)state;
    gguf_writer w;
    buffer bytes = {0};
    fill(&w);
    writer_finish(&w, &bytes);
    static const unsigned char masks[] = {0x01, 0x80, 0xFF};
    for (size_t i = 0; i < bytes.size * 3; i++) {
        bytes.data[i / 3] = (char)(bytes.data[i / 3] ^ masks[i % 3]);
        gguf *g = NULL;
        bp_error error = {0};
        bp_status status = gguf_parse(bytes.data, bytes.size, "f", &g, &error);
        assert_true(status == BP_OK ? g && !error.message[0] : !g && error.message[0]);
        gguf_close(g);
        bytes.data[i / 3] = (char)(bytes.data[i / 3] ^ masks[i % 3]);
    }
    buffer_free(&bytes);
    writer_free(&w);
}

static void a_file_on_disk(void **state)
{
    (void)state;
    char path[] = "/tmp/backplane-gguf.XXXXXX";
    close(mkstemp(path));
    gguf_writer w;
    gguf *g = NULL;
    bp_error error = {0};
    fill(&w);
    assert_true(writer_save(&w, path));
    writer_free(&w);
    assert_int_equal(gguf_open(path, 0, &g, &error), BP_OK);
    assert_false(gguf_damaged(g));
    assert_memory_equal(gguf_find_tensor(g, "first")->data, numbers, 12);
    gguf_close(g);
    assert_int_equal(truncate(path, 100), 0);
    assert_true(gguf_open(path, 0, &g, &error) != BP_OK);
    assert_int_equal(strncmp(error.message, path, strlen(path)), 0);
    unlink(path);
    assert_int_equal(gguf_open(path, 0, &g, &error), BP_ENOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_reads_back),           cmocka_unit_test(keys_of_another_type_are_refused),
        cmocka_unit_test(test_74_malformed_files_are_refused), cmocka_unit_test(test_75_every_truncation_is_refused),
        cmocka_unit_test(test_74_every_wrong_byte_is_survived), cmocka_unit_test(a_file_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
