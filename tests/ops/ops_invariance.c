/* A small model with everything in it gives a token the same bits whatever runs beside it: chunks of its prompt, other
 * sequences, threads, instruction set, pages; and a plugin with one order of addition swapped does not. */
#include "net.h"

#include "kernels/half.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WIDTH = 96, HIDDEN = 160, HEADS = 6, KV_HEADS = 2, VOCABULARY = 203, TOKENS = 300, PAGE = 16, LAYERS = 2 };

static net model;
static uint32_t dim = 16; /* of a head: half a quantisation block */
static int32_t tokens[4][TOKENS], pages[4][TOKENS / PAGE + 1], shuffled[4][TOKENS / PAGE + 1];
static float expected[4][TOKENS][VOCABULARY];

/* A layer of weights of `dtype`; the second has a window and a soft cap. */
static int32_t layer(net *n, int32_t x, uint32_t dtype, int32_t number, int32_t rope)
{
    int32_t norm = net_random_weight(n, BP_F32, WIDTH, 1), w[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    bp_qkv_args qkv = {HEADS, KV_HEADS, dim, number ? BP_ROPE_NEOX : BP_ROPE_NORMAL, dim, rope, 1e-6f};
    bp_attention_args attention = {HEADS, BP_MASK_CAUSAL, 0.25f, number ? 8.0f : 0.0f, -1};
    w[0] = net_random_weight(n, dtype, WIDTH, HEADS * dim);
    w[1] = net_random_weight(n, dtype, WIDTH, KV_HEADS * dim);
    w[2] = net_random_weight(n, dtype, WIDTH, KV_HEADS * dim);
    w[6] = number ? net_random_weight(n, BP_F32, dim, 1) : -1;
    n->caches[number] = (bp_cache){.kv_heads = KV_HEADS, .head_dim = dim, .window = number ? 40 : 0};
    n->cache_count = (uint32_t)number + 1;
    int32_t h = net_norm(n, x, -1, 0, norm, -1, BP_NORM_RMS, NULL);
    h = net_attention(n, net_qkv(n, h, w, number, &qkv), number, &attention);
    h = net_linear(n, h, net_random_weight(n, dtype, HEADS * dim, WIDTH), net_random_weight(n, BP_F32, WIDTH, 1), -1,
                   BP_ACT_NONE);
    int32_t sum;
    h = net_norm(n, h, x, BP_NORM_PRE_RESIDUAL, norm, norm, BP_NORM_LAYER, &sum);
    h = net_gated(n, h, net_random_weight(n, dtype, WIDTH, HIDDEN), net_random_weight(n, dtype, WIDTH, HIDDEN),
                  number ? BP_ACT_GELU_TANH : BP_ACT_SILU);
    return net_linear(n, h, net_random_weight(n, dtype, HIDDEN, WIDTH), -1, sum, BP_ACT_NONE);
}

static void build(net *n, uint32_t dtype)
{
    net_end(n);
    net_begin(n, 5);
    n->max_context = 512;
    int32_t table = net_random_weight(n, BP_Q8_0, WIDTH, VOCABULARY), rope = net_rope_table(n, 512, dim);
    int32_t x = net_embed(n, table);
    for (int32_t i = 0; i < LAYERS; i++)
        x = layer(n, x, dtype, i, rope);
    x = net_norm(n, net_rows(n, x), -1, 0, net_random_weight(n, BP_F32, WIDTH, 1), -1, BP_NORM_RMS, NULL);
    net_logits(n, x, table, 1.0f, 0.0f);
}

static setup plain(void)
{
    return (setup){.isa = ISA_GENERIC, .threads = 1, .page_tokens = PAGE, .page_count = 128};
}

static void open(session *s, setup how)
{
    session_open(s, &model, &how);
}

/* Compares rows [start, start + count) of a sequence with what the plain run gave. */
static long differs(int seq, int32_t start, int32_t count, const float *got)
{
    return different_bits(expected[seq][start], got, (size_t)count * VOCABULARY);
}

static void same(const char *what, int seq, int32_t start, int32_t count, const float *got)
{
    long at = differs(seq, start, count, got);
    if (at >= 0) {
        fail_msg("%s: sequence %d, token %ld, logit %ld is %a, not %a", what, seq, start + at / VOCABULARY, at % VOCABULARY,
                 got[at], expected[seq][start][at % VOCABULARY]);
    }
}

/* The oracle: scalar kernels, one thread, a sequence alone, its prompt in one step. */
static void make_expected(uint32_t dtype, uint32_t kv_dtype, int sequences)
{
    build(&model, dtype);
    for (int s = 0; s < 4; s++) {
        for (int i = 0; i < TOKENS; i++)
            tokens[s][i] = (i * (31 + s * 2) + s * 17 + i / 7) % VOCABULARY;
        for (int i = 0; i < TOKENS / PAGE + 1; i++) {
            pages[s][i] = s * (TOKENS / PAGE + 1) + i;
            shuffled[s][i] = (pages[s][i] * 45 + 13) % 128;
        }
    }
    setup how = plain();
    how.kv_dtype = kv_dtype;
    for (int s = 0; s < sequences; s++) {
        session one;
        open(&one, how);
        session_step(&one, &(part){tokens[s], TOKENS, 0, pages[s]}, 1, true, expected[s][0]);
        session_close(&one);
    }
}

static float got[4 * TOKENS * VOCABULARY];

static void run_in_chunks(setup how, int32_t chunk, const int32_t *its_pages, const char *what)
{
    session s;
    open(&s, how);
    for (int32_t at = 0; at < TOKENS; at += chunk) {
        int32_t count = TOKENS - at < chunk ? TOKENS - at : chunk;
        session_step(&s, &(part){tokens[0], count, at, its_pages}, 1, true, got);
        same(what, 0, at, count, got);
    }
    session_close(&s);
}

static void chunks_threads_sets_and_pages(void **state)
{
    static const uint32_t dtypes[] = {BP_F32, BP_F16, BP_BF16, BP_Q8_0, BP_Q4_0, BP_Q4_1, BP_Q5_0, BP_Q5_1, BP_IQ4_NL, BP_MXFP4};
    static const int32_t chunks[] = {TOKENS, 64, 7, 1};
    int32_t isas[4];
    int count = session_isas(isas);
    (void)state;
    for (uint32_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        make_expected(dtypes[d], d % 3, 1);
        for (int i = 0; i < count; i++) {
            for (int32_t threads = 1; threads <= 3; threads++) {
                setup how = plain();
                how.isa = isas[i];
                how.threads = threads;
                how.kv_dtype = d % 3;
                /* Each set meets each chunk; each thread count, too. */
                int32_t chunk = chunks[(i + threads + (int32_t)d) % 4];
                if (isas[i] == ISA_GENERIC && threads < 3)
                    continue;
                run_in_chunks(how, chunk, threads % 2 ? shuffled[0] : pages[0], "chunks");
            }
        }
    }
}

/* Page sizes move nothing but memory. */
static void page_sizes(void **state)
{
    (void)state;
    make_expected(BP_Q4_1, BP_KV_F16, 1);
    for (uint32_t page = 16; page <= 256; page *= 2) {
        setup how = plain();
        how.isa = ISA_AUTO;
        how.threads = 2;
        how.page_tokens = page;
        run_in_chunks(how, 50, shuffled[0], "page sizes");
    }
}

/* Workers bound to memory nodes, of which each has tiles of its own: blocks of columns cross from one to another. */
static void memory_nodes(void **state)
{
    static const uint32_t dtypes[] = {BP_F32, BP_Q4_1};
    (void)state;
    for (size_t d = 0; d < 2; d++) {
        make_expected(dtypes[d], BP_KV_F16, 1);
        for (int32_t nodes = 2; nodes <= 5; nodes++) {
            setup how = plain();
            how.isa = ISA_AUTO;
            how.threads = nodes < 5 ? 6 - nodes % 2 : 5;
            how.nodes = nodes;
            run_in_chunks(how, nodes % 2 ? 61 : 30, pages[0], "memory nodes");
        }
    }
    setup how = plain();
    how.isa = ISA_AUTO;
    how.threads = how.nodes = 2;
    run_in_chunks(how, 1, pages[0], "memory nodes, token by token");
}

/* Four sequences, decoding and prefilling in the same steps, at different places. */
static void neighbours(void **state)
{
    int32_t at[4] = {0};
    unsigned random = 1;
    (void)state;
    make_expected(BP_Q4_1, BP_KV_F16, 4);
    setup how = plain();
    how.isa = ISA_AUTO;
    how.threads = 2;
    session s;
    open(&s, how);
    for (;;) {
        part parts[4];
        int who[4];
        uint32_t count = 0;
        for (int i = 0; i < 4; i++) {
            random = random * 1103515245u + 12345u;
            int32_t left = TOKENS - at[i], want = random >> 16 & 1 ? 1 : (int32_t)(random >> 17) % 60;
            want = want < left ? want : left;
            if (want == 0)
                continue;
            who[count] = i;
            parts[count++] = (part){tokens[i], want, at[i], shuffled[i]};
        }
        if (count == 0 && at[0] + at[1] + at[2] + at[3] == 4 * TOKENS)
            break;
        if (count == 0)
            continue;
        session_step(&s, parts, count, true, got);
        const float *rows = got;
        for (uint32_t i = 0; i < count; i++) {
            same("neighbours", who[i], at[who[i]], parts[i].count, rows);
            rows += (size_t)parts[i].count * VOCABULARY;
            at[who[i]] += parts[i].count;
        }
    }
    session_close(&s);
}

/* Token 0 embeds as NaN and infinity: a sequence of them beside ours, and in pages that we use after it. */
static void poisoned_neighbours(void **state)
{
    (void)state;
    make_expected(BP_Q8_0, BP_KV_F16, 0);
    uint16_t bad[2] = {0x7e00, 0x7c00};
    uint8_t *table = model.owned[0];
    for (int b = 0; b < WIDTH / 32; b++)
        memcpy(table + b * 34, &bad[b % 2], 2);
    for (int i = 0; i < TOKENS; i++)
        tokens[1][i] = 0;
    for (int i = 0; i < TOKENS; i++)
        tokens[0][i] += tokens[0][i] == 0;
    session s;
    open(&s, plain());
    session_step(&s, &(part){tokens[0], TOKENS, 0, pages[0]}, 1, true, expected[0][0]);
    session_close(&s);
    /* The head is tied to the poisoned table, so logit 0 of everyone is NaN; all others are sound. */
    assert_true(expected[0][9][0] != expected[0][9][0] && expected[0][9][1] == expected[0][9][1]);
    setup how = plain();
    how.isa = ISA_AUTO;
    how.threads = 2;
    open(&s, how);
    session_step(&s, (part[]){{tokens[1], 100, 0, pages[1]}, {tokens[1], 150, 0, pages[0]}}, 2, false, got);
    for (int32_t at = 0; at < TOKENS; at += 60) {
        session_step(&s, (part[]){{tokens[1], 9, at, pages[1]}, {tokens[0], 60, at, pages[0]}}, 2, true, got);
        assert_true(got[1] != got[1]);
        same("poisoned neighbours", 0, at, 60, got + 9 * VOCABULARY);
    }
    session_close(&s);
}

/* K and V are the same bits whether a prompt or a decoding step wrote them, and copied pages are as good as the first. */
static void check_cache_contents(uint32_t kv_dtype)
{
    enum { COUNT = 50, MOST = KV_HEADS * 32 };
    float k[2][MOST], v[2][MOST];
    bp_error error = {0};
    session a, b;
    make_expected(BP_Q4_0, kv_dtype, 1);
    setup how = plain();
    how.kv_dtype = kv_dtype;
    open(&a, how);
    how.isa = ISA_AUTO;
    how.threads = 3;
    open(&b, how);
    session_step(&a, &(part){tokens[0], COUNT, 0, pages[0]}, 1, false, got);
    for (int32_t i = 0; i < COUNT; i++)
        session_step(&b, &(part){tokens[0], 1, i, shuffled[0]}, 1, false, got);
    for (int32_t i = 0; i < COUNT; i++) {
        for (uint32_t cache = 0; cache < LAYERS; cache++) {
            uint32_t slot = (uint32_t)i % PAGE;
            assert_int_equal(a.how.ops->read_kv(a.model, cache, pages[0][i / PAGE], slot, k[0], v[0], &error), BP_OK);
            assert_int_equal(b.how.ops->read_kv(b.model, cache, shuffled[0][i / PAGE], slot, k[1], v[1], &error), BP_OK);
            assert_int_equal(different_bits(k[0], k[1], KV_HEADS * dim), -1);
            assert_int_equal(different_bits(v[0], v[1], KV_HEADS * dim), -1);
        }
    }
    int32_t to[4];
    for (int i = 0; i < 4; i++)
        to[i] = pages[3][i];
    assert_int_equal(b.how.ops->copy_pages(b.model, shuffled[0], to, 4, &error), BP_OK);
    session_step(&b, &(part){tokens[0], 14, COUNT, to}, 1, true, got);
    same("copied pages", 0, COUNT, 14, got);
    session_close(&a);
    session_close(&b);
}

static void cache_contents(void **state)
{
    (void)state;
    check_cache_contents(BP_KV_F16);
}

/* Keys and values of 8 bits, on each set and with each chunk: heads of a whole block. */
static void quantised_cache(void **state)
{
    static const int32_t chunks[] = {TOKENS, 64, 7, 1};
    int32_t isas[4];
    int count = session_isas(isas);
    (void)state;
    dim = 32;
    make_expected(BP_F16, BP_KV_Q8_0, 1);
    for (int i = 0; i < count; i++) {
        for (int c = 0; c < 4; c++) {
            setup how = plain();
            how.isa = isas[i];
            how.threads = 1 + c % 3;
            how.kv_dtype = BP_KV_Q8_0;
            how.page_tokens = c % 2 ? 64 : PAGE;
            if (isas[i] != ISA_GENERIC || c == 2)
                run_in_chunks(how, chunks[c], shuffled[0], "quantised cache");
        }
    }
    check_cache_contents(BP_KV_Q8_0);
    dim = 16;
}

/* Splitting one sequence's attention over workers happens only with several chunks: 2 here, and decoding. */
static void long_contexts_split(void **state)
{
    (void)state;
    make_expected(BP_F32, BP_KV_F32, 1);
    setup how = plain();
    how.threads = 3;
    how.isa = ISA_AUTO;
    how.kv_dtype = BP_KV_F32;
    session s;
    open(&s, how);
    session_step(&s, &(part){tokens[0], 280, 0, pages[0]}, 1, true, got);
    same("before", 0, 0, 280, got);
    for (int32_t at = 280; at < TOKENS; at++) {
        session_step(&s, &(part){tokens[0], 1, at, pages[0]}, 1, true, got);
        same("split attention", 0, at, 1, got);
    }
    session_close(&s);
}

/* The control of all tests above: swapping the order of one addition must show. */
static void a_swapped_order_is_noticed(void **state)
{
    static const uint32_t dtypes[] = {BP_F32, BP_Q8_0, BP_Q4_1};
    (void)state;
    void *library = dlopen(MUTANT, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail_msg("%s", dlerror());
    bp_plugin_entry_fn entry;
    *(void **)&entry = dlsym(library, BP_PLUGIN_ENTRY_SYMBOL);
    assert_non_null(entry);
    for (int i = 0; i < 3; i++) {
        make_expected(dtypes[i], BP_KV_F16, 1);
        setup how = plain();
        session s;
        for (int mutated = 0; mutated < 2; mutated++) {
            how.ops = mutated ? entry()->ops : NULL;
            open(&s, how);
            session_step(&s, &(part){tokens[0], 20, 0, pages[0]}, 1, true, got);
            assert_int_equal(differs(0, 0, 20, got) >= 0, mutated);
            session_close(&s);
        }
    }
    dlclose(library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_threads_sets_and_pages),
        cmocka_unit_test(page_sizes),
        cmocka_unit_test(memory_nodes),
        cmocka_unit_test(neighbours),
        cmocka_unit_test(poisoned_neighbours),
        cmocka_unit_test(cache_contents),
        cmocka_unit_test(quantised_cache),
        cmocka_unit_test(long_contexts_split),
        cmocka_unit_test(a_swapped_order_is_noticed),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    net_end(&model);
    return failures;
}
