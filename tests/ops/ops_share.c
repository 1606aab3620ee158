/* Models of one device that read the same weights pack them once, and compute what each would alone, whoever leaves first. */
#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 64, VOCABULARY = 96, TOKENS = 5 };

static net n;
static const bp_backend_ops *ops;
static bp_device *device;

static int set_up(void **state)
{
    (void)state;
    cpu_config config = {.threads = 2, .isa = ISA_AUTO};
    bp_error error = {0};
    ops = session_linked_ops();
    return ops->open(session_host(), &config, &device, &error);
}

static int tear_down(void **state)
{
    (void)state;
    ops->close(device);
    net_end(&n);
    return 0;
}

static int32_t table, last; /* the head's weight, and the value before the end */
static uint32_t body_ops, body_values;

/* A product with each type of weight, without an end. */
static void build_body(void)
{
    static const uint32_t types[] = {BP_F32, BP_F16, BP_BF16, BP_Q4_1};
    net_begin(&n, 3);
    table = net_random_weight(&n, BP_Q8_0, WIDTH, VOCABULARY);
    last = net_embed(&n, table);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        last = net_linear(&n, last, net_random_weight(&n, types[i], WIDTH, WIDTH), -1, last, BP_ACT_NONE);
    body_ops = n.op_count;
    body_values = n.value_count;
}

/* The body as a model of answers, whose head is the table, or as an embedder, which reads the table only to embed. */
static bp_program end_with(bool pools)
{
    n.op_count = body_ops;
    n.value_count = body_values;
    if (pools)
        net_pool(&n, last, BP_POOL_MEAN, 1);
    else
        net_logits(&n, net_rows(&n, last), table, 1, 0);
    return net_program(&n);
}

static bp_model *compile(const bp_program *program)
{
    bp_limits limits = {.size = sizeof limits, .max_tokens = 8, .max_seqs = 4, .max_rows = 8, .page_tokens = 16, .page_count = 4,
                        .max_context = program->max_context, .kv_dtype = BP_KV_F32};
    bp_model *model = NULL;
    bp_error error = {0};
    if (ops->compile(device, program, &limits, &model, &error) != BP_OK)
        fail_msg("%s", error.message);
    return model;
}

static uint64_t weights_of(bp_model *model)
{
    bp_model_memory memory = {.size = sizeof memory};
    assert_int_equal(ops->memory(model, &memory, NULL), BP_OK);
    return memory.weights;
}

static void run(bp_model *model, uint32_t width, float *out)
{
    int32_t tokens[TOKENS] = {1, 90, 7, 7, 33}, positions[TOKENS] = {0, 1, 2, 3, 4}, first[] = {0, TOKENS}, context[] = {TOKENS},
            rows[] = {TOKENS - 1}, pages[] = {0};
    const bp_batch batch = {.size = sizeof batch, .seq_count = 1, .token_count = TOKENS, .row_count = 1, .page_stride = 1,
                            .tokens = tokens, .positions = positions, .first = first, .context = context, .pages = pages,
                            .rows = rows};
    bp_error error = {0};
    if (ops->submit(model, &batch, &error) != BP_OK || ops->wait(model, out, width, &error) != BP_OK)
        fail_msg("%s", error.message);
}

static void twins_hold_half_each(void **state)
{
    (void)state;
    build_body();
    bp_program program = end_with(false);
    float alone[VOCABULARY], got[VOCABULARY];
    bp_model *a = compile(&program);
    uint64_t whole = weights_of(a);
    run(a, VOCABULARY, alone);
    bp_model *b = compile(&program), *c = compile(&program);
    assert_true(whole > 0 && weights_of(a) == whole / 3 && weights_of(b) == whole / 3 && weights_of(c) == whole / 3);
    ops->release(a); /* the one that packed them */
    assert_true(weights_of(b) == whole / 2 && weights_of(c) == whole / 2);
    run(b, VOCABULARY, got);
    assert_memory_equal(got, alone, sizeof alone);
    ops->release(b);
    assert_true(weights_of(c) == whole);
    run(c, VOCABULARY, got);
    assert_memory_equal(got, alone, sizeof alone);
    ops->release(c);
}

/* An embedder of a model of answers reads a part of its weights. */
static void a_part_is_shared(void **state)
{
    (void)state;
    float alone[WIDTH], got[WIDTH];
    build_body();
    bp_program program = end_with(true);
    bp_model *vectors = compile(&program);
    uint64_t fewer = weights_of(vectors);
    run(vectors, WIDTH, alone);
    ops->release(vectors);
    program = end_with(false);
    bp_model *answers = compile(&program);
    uint64_t whole = weights_of(answers);
    program = end_with(true);
    vectors = compile(&program);
    assert_true(whole > fewer && weights_of(vectors) == whole / 2 && weights_of(answers) == whole / 2);
    run(vectors, WIDTH, got);
    assert_memory_equal(got, alone, sizeof alone); /* rows of the table come out of its tiles */
    ops->release(answers);
    assert_true(weights_of(vectors) == whole);
    run(vectors, WIDTH, got);
    assert_memory_equal(got, alone, sizeof alone);
    ops->release(vectors);
}

/* The other way round the head alone is packed anew, and leaves with its model. */
static void what_is_missing_is_packed(void **state)
{
    (void)state;
    float alone[VOCABULARY], got[VOCABULARY];
    build_body();
    bp_program program = end_with(false);
    bp_model *answers = compile(&program);
    uint64_t whole = weights_of(answers);
    run(answers, VOCABULARY, alone);
    ops->release(answers);
    program = end_with(true);
    bp_model *vectors = compile(&program);
    uint64_t fewer = weights_of(vectors);
    program = end_with(false);
    answers = compile(&program);
    assert_true(weights_of(vectors) == fewer / 2 && weights_of(answers) < whole && weights_of(answers) > fewer / 2);
    run(answers, VOCABULARY, got);
    assert_memory_equal(got, alone, sizeof alone);
    ops->release(vectors);
    run(answers, VOCABULARY, got);
    assert_memory_equal(got, alone, sizeof alone);
    ops->release(answers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(twins_hold_half_each, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(a_part_is_shared, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(what_is_missing_is_packed, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
