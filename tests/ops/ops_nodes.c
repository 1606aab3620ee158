/* A small model gives a token the same bits however its threads are spread over memory nodes, each with weights of its own.
 * This machine need not have more than one. What else may not matter is tests/proof's. */
#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WIDTH = 96, HIDDEN = 160, HEADS = 6, KV_HEADS = 2, DIM = 16, VOCABULARY = 203, TOKENS = 300, PAGE = 16, LAYERS = 2 };

static net model;
static int32_t tokens[TOKENS], pages[TOKENS / PAGE + 1];
static float expected[TOKENS * VOCABULARY], got[TOKENS * VOCABULARY];

/* A layer of weights of `dtype`; the second has a window and a soft cap. Heads of 16 are half a quantisation block. */
static int32_t layer(net *n, int32_t x, uint32_t dtype, int32_t number, int32_t rope)
{
    int32_t norm = net_random_weight(n, BP_F32, WIDTH, 1), w[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    bp_qkv_args qkv = {HEADS, KV_HEADS, DIM, number ? BP_ROPE_NEOX : BP_ROPE_NORMAL, DIM, rope, 1e-6f};
    bp_attention_args attention = {HEADS, BP_MASK_CAUSAL, 0.25f, number ? 8.0f : 0.0f, -1};
    w[0] = net_random_weight(n, dtype, WIDTH, HEADS * DIM);
    w[1] = net_random_weight(n, dtype, WIDTH, KV_HEADS * DIM);
    w[2] = net_random_weight(n, dtype, WIDTH, KV_HEADS * DIM);
    w[6] = number ? net_random_weight(n, BP_F32, DIM, 1) : -1;
    n->caches[number] = (bp_cache){.kv_heads = KV_HEADS, .head_dim = DIM, .window = number ? 40 : 0};
    n->cache_count = (uint32_t)number + 1;
    int32_t h = net_norm(n, x, -1, 0, norm, -1, BP_NORM_RMS, NULL);
    h = net_attention(n, net_qkv(n, h, w, number, &qkv), number, &attention);
    h = net_linear(n, h, net_random_weight(n, dtype, HEADS * DIM, WIDTH), net_random_weight(n, BP_F32, WIDTH, 1), -1,
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
    int32_t table = net_random_weight(n, BP_Q8_0, WIDTH, VOCABULARY), rope = net_rope_table(n, 512, DIM);
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

/* The oracle: scalar kernels, one thread, the prompt in one step. */
static void make_expected(uint32_t dtype)
{
    session s;
    build(&model, dtype);
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = (i * 31 + i / 7) % VOCABULARY;
    for (int i = 0; i < TOKENS / PAGE + 1; i++)
        pages[i] = i;
    open(&s, plain());
    session_step(&s, &(part){tokens, TOKENS, 0, pages}, 1, true, expected);
    session_close(&s);
}

static void run_in_chunks(setup how, int32_t chunk)
{
    session s;
    open(&s, how);
    for (int32_t at = 0; at < TOKENS; at += chunk) {
        int32_t count = TOKENS - at < chunk ? TOKENS - at : chunk;
        session_step(&s, &(part){tokens, count, at, pages}, 1, true, got);
        long index = different_bits(expected + at * VOCABULARY, got, (size_t)count * VOCABULARY);
        if (index >= 0) {
            fail_msg("%d threads on %d nodes: token %ld, logit %ld differs", how.threads, how.nodes, at + index / VOCABULARY,
                     index % VOCABULARY);
        }
    }
    session_close(&s);
}

/* Workers bound to memory nodes, of which each has tiles of its own: blocks of columns cross from one to another. */
static void memory_nodes(void **state)
{
    static const uint32_t dtypes[] = {BP_F32, BP_Q4_1};
    (void)state;
    for (size_t d = 0; d < 2; d++) {
        make_expected(dtypes[d]);
        for (int32_t nodes = 2; nodes <= 5; nodes++) {
            setup how = plain();
            how.isa = ISA_AUTO;
            how.threads = nodes < 5 ? 6 - nodes % 2 : 5;
            how.nodes = nodes;
            run_in_chunks(how, nodes % 2 ? 61 : 30);
        }
    }
    setup how = plain();
    how.isa = ISA_AUTO;
    how.threads = how.nodes = 2;
    run_in_chunks(how, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_nodes),
    };
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    net_end(&model);
    return failures;
}
