/* Programs, limits and batches that are refused: with which status, and in which words. */
#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static net n;
static bp_program program;
static bp_limits limits;
static const bp_backend_ops *ops;
static bp_device *device;

/* Weights by name, and ops by number, of a small decoder. */
enum { TABLE, NORM, Q, K, V, ROPE, OUT, GATE, UP };
enum { EMBED, OP_NORM, QKV, ATTENTION, LINEAR, GATED, ROWS, LOGITS };

static int set_up(void **state)
{
    (void)state;
    net_begin(&n, 3);
    n.max_context = 64;
    int32_t w[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    net_random_weight(&n, BP_Q8_0, 64, 40);
    net_random_weight(&n, BP_F32, 64, 1);
    for (int i = 0; i < 3; i++)
        w[i] = net_random_weight(&n, BP_Q4_0, 64, i ? 32 : 64);
    bp_qkv_args qkv = {4, 2, 16, BP_ROPE_NORMAL, 16, net_rope_table(&n, 64, 16), 1e-5f};
    bp_attention_args attention = {4, BP_MASK_CAUSAL, 0.25f, 0.0f, -1};
    for (int i = 0; i < 3; i++)
        net_random_weight(&n, BP_Q4_0, 64, 64);
    n.caches[0] = (bp_cache){.kv_heads = 2, .head_dim = 16};
    n.cache_count = 1;
    int32_t x = net_embed(&n, TABLE);
    int32_t h = net_norm(&n, x, -1, 0, NORM, -1, BP_NORM_RMS, NULL);
    h = net_attention(&n, net_qkv(&n, h, w, 0, &qkv), 0, &attention);
    h = net_linear(&n, h, OUT, -1, x, BP_ACT_NONE);
    h = net_gated(&n, h, GATE, UP, BP_ACT_SILU);
    net_logits(&n, net_rows(&n, h), TABLE, 1.0f, 0.0f);
    program = net_program(&n);
    limits = (bp_limits){sizeof limits, 8, 4, 8, 16, 8, 64, BP_KV_F16};
    cpu_config config = {.threads = 1, .isa = ISA_AUTO};
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

static void refused(bp_status status, const char *words)
{
    bp_error error = {0};
    bp_model *model = NULL;
    bp_status got = ops->compile(device, &program, &limits, &model, &error);
    if (model)
        ops->release(model);
    if (got != status || !strstr(error.message, words) || error.code != got)
        fail_msg("status %d and \"%s\", not %d and \"%s\"", got, error.message, status, words);
}

static void the_program_itself_compiles(void **state)
{
    (void)state;
    bp_model *model = NULL;
    bp_error error = {0};
    bp_model_memory memory = {.size = sizeof memory};
    assert_int_equal(ops->supports(device, &program, &error), BP_OK);
    assert_int_equal(ops->compile(device, &program, &limits, &model, &error), BP_OK);
    assert_int_equal(ops->memory(model, &memory, &error), BP_OK);
    assert_true(memory.weights > 0 && memory.workspace > 0);
    assert_int_equal(memory.kv, 8 * 2 * 2 * 16 * 16 * 2); /* pages, K and V, heads, tokens, elements, bytes */
    ops->release(model);
    ops->release(NULL);
    assert_int_equal(error.code, 0);
}

/* Each line changes one thing of a fresh program. */
#define REFUSED(change, status, words)                                                                                     \
    do {                                                                                                                   \
        tear_down(NULL);                                                                                                   \
        assert_int_equal(set_up(NULL), 0);                                                                                 \
        change;                                                                                                            \
        refused(status, words);                                                                                            \
    } while (0)

static void malformed_programs(void **state)
{
    (void)state;
    REFUSED(program.size = 8, BP_EINVAL, "older or unknown form");
    REFUSED(program.op_count = 0, BP_EINVAL, "0 ops");
    REFUSED(program.values = NULL, BP_EINVAL, "a table missing");
    REFUSED(program.vocab_size = 0, BP_EINVAL, "a vocabulary of 0");
    REFUSED(n.values[1].width = 0, BP_EINVAL, "value 1 has 0 columns");
    REFUSED(n.values[1].rows = 9, BP_EINVAL, "rows of kind 9");
    REFUSED(n.caches[0].head_dim = 0, BP_EINVAL, "cache 0 has 2 heads of 0");
    REFUSED(n.caches[0].head_dim = 24, BP_EUNSUPPORTED, "not a multiple of 16");
    REFUSED(n.weights[Q].rank = 3, BP_EINVAL, "weight w has rank 3");
    REFUSED(n.weights[Q].shape[0] = -1, BP_EINVAL, "-1 elements in dimension 0");
    REFUSED(n.weights[Q].shape[2] = 2, BP_EINVAL, "2 elements in dimension 2");
    REFUSED(n.weights[Q].shape[0] = 48, BP_EUNSUPPORTED, "48 columns, not a multiple of Q4_0's block of 32");
    REFUSED(n.weights[Q].bytes--, BP_EINVAL, "holds 2303 bytes where its shape and type need 2304");
    REFUSED(n.weights[Q].data = NULL, BP_EINVAL, "weight w holds");
    REFUSED(n.ops[LINEAR].in[0] = 99, BP_EINVAL, "op 4 (LINEAR, layer -1) reads value 99, which does not exist");
    REFUSED(n.ops[LINEAR].in[0] = n.ops[GATED].out[0], BP_EINVAL,
            "op 4 (LINEAR, layer -1) reads value 5 before it is written");
    REFUSED(n.ops[LINEAR].out[0] = n.ops[EMBED].out[0], BP_EINVAL, "op 4 (LINEAR, layer -1) writes value 0 a second time");
    REFUSED(n.ops[LINEAR].out[0] = -1, BP_EINVAL, "op 4 (LINEAR, layer -1) writes value -1");
    REFUSED(n.ops[LINEAR].weight[0] = 77, BP_EINVAL, "uses weight 77, which does not exist");
    REFUSED(n.ops[LINEAR].weight[0] = K, BP_EINVAL, "uses weight w of [32][64] where [64][64] is needed");
    REFUSED(n.ops[LINEAR].args = NULL, BP_EINVAL, "op 4 (LINEAR, layer -1) has no arguments");
    REFUSED(n.ops[QKV].cache = 1, BP_EINVAL, "op 2 (QKV, layer -1) uses cache 1");
    REFUSED(n.args[QKV].qkv.kv_heads = 4, BP_EINVAL, "op 2 (QKV, layer -1) has other heads than its cache");
    REFUSED(n.args[QKV].qkv.rope_dim = 18, BP_EINVAL, "rotates 18 of 16 dimensions");
    REFUSED(n.args[QKV].qkv.rope_table = NORM, BP_EINVAL, "uses weight w of [1][64] where [64][16] is needed");
    REFUSED(n.args[ATTENTION].attention.heads = 3, BP_EINVAL, "op 3 (ATTENTION, layer -1) has 3 heads over 2");
    REFUSED(n.ops[OP_NORM].in[1] = 0, BP_EINVAL, "op 1 (NORM, layer -1) needs in1 exactly when");
    REFUSED(n.ops[LOGITS].in[0] = n.ops[GATED].out[0], BP_EINVAL,
            "op 7 (LOGITS, layer -1) needs the rows that ROWS selects");
    REFUSED(program.op_count--, BP_EINVAL, "the last op is ROWS, which yields no result");
    REFUSED(n.ops[LINEAR].kind = BP_OP_LOGITS, BP_EINVAL,
            "op 4 (LOGITS, layer -1) yields the result but is not the last op");
}

static void what_this_backend_does_not_run(void **state)
{
    (void)state;
    REFUSED(n.weights[Q].dtype = 15, BP_EUNSUPPORTED, "weight w has type 15, which this backend does not run");
    REFUSED(n.ops[GATED].kind = BP_OP_MOE, BP_EUNSUPPORTED, "op 5 (MOE, layer -1) is not an op that this backend runs");
    REFUSED(n.ops[GATED].kind = BP_OP_ALL_REDUCE, BP_EUNSUPPORTED, "op 5 (ALL_REDUCE, layer -1)");
    REFUSED(n.ops[GATED].kind = 99, BP_EUNSUPPORTED, "op 5 (an unknown op, layer -1)");
    REFUSED(n.args[LINEAR].linear.activation = 9, BP_EUNSUPPORTED, "asks for activation 9");
    REFUSED(n.args[OP_NORM].norm.kind = 9, BP_EUNSUPPORTED, "asks for norm kind 9");
    REFUSED(n.ops[OP_NORM].flags = 8, BP_EUNSUPPORTED, "has unknown flags");
    REFUSED(n.args[QKV].qkv.rope_mode = 3, BP_EUNSUPPORTED, "asks for rope mode 3");
    REFUSED(n.args[ATTENTION].attention.sinks = 0, BP_EUNSUPPORTED, "has attention sinks");
    REFUSED(n.args[ATTENTION].attention.mask = 2, BP_EUNSUPPORTED, "asks for mask 2");
    REFUSED((n.args[ATTENTION].attention.mask = 1, n.caches[0].window = 4), BP_EUNSUPPORTED,
            "a window without a causal mask");
}

/* Unused caches beside the one that is there. */
static void huge_caches(uint32_t heads)
{
    for (int i = 1; i < 8; i++)
        n.caches[i] = (bp_cache){.kv_heads = heads, .head_dim = 1024};
    program.cache_count = 8;
}

static void limits_out_of_range(void **state)
{
    (void)state;
    REFUSED(limits.size = 4, BP_EINVAL, "older or unknown form");
    REFUSED(limits.max_tokens = 0, BP_EINVAL, "limits of 0 tokens");
    REFUSED(limits.max_seqs = 9, BP_EINVAL, "9 sequences");
    REFUSED(limits.max_context = 65, BP_EINVAL, "a context of 65 where the model has 64");
    REFUSED(limits.kv_dtype = 4, BP_EUNSUPPORTED, "cache type 4");
    REFUSED(limits.kv_dtype = BP_KV_Q8_0, BP_EUNSUPPORTED, "heads of a multiple of 32 elements, and cache 0 has 16");
    REFUSED(limits.page_tokens = 24, BP_EINVAL, "pages of 24 tokens");
    REFUSED(limits.page_tokens = 512, BP_EINVAL, "pages of 512 tokens");
    REFUSED(limits.page_count = 0, BP_EINVAL, "0 cache pages");
    /* More than an address space; then more than a size_t. */
    REFUSED((limits.page_tokens = 256, limits.page_count = INT32_MAX, huge_caches(2)), BP_ENOMEM, "no memory for a cache");
    REFUSED((limits.page_tokens = 256, limits.page_count = INT32_MAX, huge_caches(1 << 14)), BP_ENOMEM,
            "no memory for a cache");
}

static void batches_out_of_range(void **state)
{
    int32_t tokens[8] = {1, 2, 3}, positions[8] = {0, 1, 2}, first[5] = {0, 3}, context[4] = {3}, pages[4] = {0},
            rows[8] = {2};
    bp_batch good = {sizeof good, 1, 3, 1, 1, 0, tokens, positions, first, context, pages, rows, NULL}, b;
    bp_model *model = NULL;
    bp_error error = {0};
    float out[40];
    (void)state;
    assert_int_equal(ops->compile(device, &program, &limits, &model, &error), BP_OK);
#define BAD(change, undo, status)                                                                                          \
    do {                                                                                                                   \
        b = good;                                                                                                          \
        change;                                                                                                            \
        error = (bp_error){0};                                                                                             \
        assert_int_equal(ops->submit(model, &b, &error), status);                                                          \
        assert_true(error.message[0] != '\0');                                                                             \
        assert_int_equal(ops->wait(model, out, 40, &error), BP_EINVAL);                                                    \
        undo;                                                                                                              \
    } while (0)
    BAD(b.size = 4, (void)0, BP_EINVAL);
    BAD(b.token_count = 9, (void)0, BP_ELIMIT);
    BAD(b.seq_count = 5, (void)0, BP_ELIMIT);
    BAD(b.row_count = 9, (void)0, BP_ELIMIT);
    BAD(b.token_count = 0, (void)0, BP_ELIMIT);
    BAD(b.tokens = NULL, (void)0, BP_EINVAL);
    BAD(b.page_stride = 0, (void)0, BP_EINVAL);
    BAD(tokens[1] = 40, tokens[1] = 2, BP_EINVAL);
    BAD(tokens[1] = -1, tokens[1] = 2, BP_EINVAL);
    BAD(positions[1] = 5, positions[1] = 1, BP_EINVAL);
    BAD(positions[0] = 64, positions[0] = 0, BP_EINVAL);
    BAD(first[0] = 1, first[0] = 0, BP_EINVAL);
    BAD(first[1] = 2, first[1] = 3, BP_EINVAL);
    BAD(context[0] = 4, context[0] = 3, BP_EINVAL);
    BAD(pages[0] = 8, pages[0] = 0, BP_EINVAL);
    BAD(pages[0] = -1, pages[0] = 0, BP_EINVAL);
    BAD(rows[0] = 3, rows[0] = 2, BP_EINVAL);
#undef BAD
    int32_t beyond = 8, zero = 0;
    float k[32], v[32];
    assert_int_equal(ops->copy_pages(model, &beyond, &zero, 1, &error), BP_EINVAL);
    assert_int_equal(ops->read_kv(model, 0, 0, 16, k, v, &error), BP_EINVAL);
    assert_int_equal(ops->read_kv(model, 1, 0, 0, k, v, &error), BP_EINVAL);
    /* The model is as good as before. */
    assert_int_equal(ops->submit(model, &good, &error), BP_OK);
    assert_int_equal(ops->wait(model, out, 39, &error), BP_EINVAL);
    assert_int_equal(ops->wait(model, out, 40, &error), BP_OK);
    assert_int_equal(ops->wait(model, out, 40, &error), BP_EINVAL);
    ops->release(model);
}

/* Of a program that tells two types of tokens apart. */
static void types_out_of_range(void **state)
{
    (void)state;
    REFUSED(n.ops[EMBED].flags = BP_EMBED_POSITION | BP_EMBED_TYPE, BP_EUNSUPPORTED, "has flags that this backend does not run");
    REFUSED(n.ops[EMBED].flags = 4, BP_EUNSUPPORTED, "has flags that this backend does not run");
    REFUSED((n.ops[EMBED].flags = BP_EMBED_TYPE, n.ops[EMBED].weight[0] = OUT, n.values[0].width = 32), BP_EINVAL, "where");
    tear_down(NULL);
    assert_int_equal(set_up(NULL), 0);
    n.ops[EMBED].flags = BP_EMBED_TYPE;
    n.ops[EMBED].weight[0] = NORM; /* F32 of one row */
    int32_t tokens[] = {1}, positions[] = {0}, first[] = {0, 1}, context[] = {1}, pages[] = {0}, rows[] = {0}, types[] = {0};
    bp_batch b = {sizeof b, 1, 1, 1, 1, 0, tokens, positions, first, context, pages, rows, types};
    bp_model *model = NULL;
    bp_error error = {0};
    assert_int_equal(ops->compile(device, &program, &limits, &model, &error), BP_OK);
    assert_int_equal(ops->submit(model, &b, &error), BP_OK);
    for (types[0] = -1; types[0] < 2; types[0] += 2) {
        assert_int_equal(ops->submit(model, &b, &error), BP_EINVAL);
        assert_non_null(strstr(error.message, "a token is of type"));
    }
    ops->release(model);
}

static void devices(void **state)
{
    bp_error error = {0};
    bp_device *other = NULL;
    bp_device_info info = {.size = sizeof info};
    (void)state;
    assert_int_equal(ops->info(device, &info, &error), BP_OK);
    assert_true(info.caps == (BP_CAP_COPY | BP_CAP_SHARE) && info.memory_total > 0 && strncmp(info.name, "cpu (1 thread, ", 15) == 0);
    cpu_config config = {.threads = 0};
    assert_int_equal(ops->open(session_host(), &config, &other, &error), BP_EINVAL);
    config = (cpu_config){.threads = 1, .isa = 7};
    assert_int_equal(ops->open(session_host(), &config, &other, &error), BP_EINVAL);
    config = (cpu_config){.threads = INT64_MIN};
    assert_int_equal(ops->open(session_host(), &config, &other, &error), BP_OK);
    ops->close(other);
    ops->close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_program_itself_compiles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_programs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_this_backend_does_not_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(batches_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(types_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(devices, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
