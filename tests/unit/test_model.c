/* model: tiny models become programs, malformed ones are refused with the culprit's name, and SmolLM2 is what it is. */
#include "model/model.h"
#include "model/dtype.h"
#include "support/tiny_llama.h"

#include <backplane/backend.h>
#include <backplane/engine.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A model made from a writer's bytes, which the model needs as long as it lives. */
typedef struct fixture {
    gguf_writer w;
    buffer bytes;
    gguf *file;
    model_file *model;
    bp_error error;
} fixture;

static void begin(fixture *f, const tiny_llama *options)
{
    *f = (fixture){0};
    writer_begin(&f->w);
    tiny_llama_fill(&f->w, options);
}

static bp_status open_as(fixture *f, model_options options)
{
    writer_finish(&f->w, &f->bytes);
    bp_status status = gguf_parse(f->bytes.data, f->bytes.size, "f", &f->file, &f->error);
    return status == BP_OK ? model_from_gguf(f->file, "f", &options, &f->model, &f->error) : status;
}

static bp_status open_model(fixture *f, uint32_t context)
{
    return open_as(f, (model_options){.context = context});
}

static void must_open(fixture *f, uint32_t context)
{
    if (open_model(f, context) != BP_OK)
        fail_msg("%s", f->error.message);
}

static void end(fixture *f)
{
    if (f->model)
        model_close(f->model);
    else
        gguf_close(f->file);
    buffer_free(&f->bytes);
    writer_free(&f->w);
}

/* --- programs --------------------------------------------------------------------------------------------------------- */

/* The rules of backplane/program.h: values are written once and before they are read; rows agree. */
static void check_values(const bp_program *p)
{
    uint8_t *written = calloc(p->value_count, 1);
    for (uint32_t i = 0; i < p->op_count; i++) {
        const bp_op *op = &p->ops[i];
        for (int k = 0; k < 4; k++)
            if (op->in[k] >= 0)
                assert_true((uint32_t)op->in[k] < p->value_count && written[op->in[k]]);
        for (int k = 0; k < 8; k++)
            assert_true(op->weight[k] >= -1 && op->weight[k] < (int32_t)p->weight_count);
        if (op->out[0] >= 0) {
            assert_false(written[op->out[0]]);
            written[op->out[0]] = 1;
            if (op->kind != BP_OP_ROWS && op->in[0] >= 0)
                assert_int_equal(p->values[op->out[0]].rows, p->values[op->in[0]].rows);
            if (op->in[1] >= 0)
                assert_int_equal(p->values[op->in[1]].rows, p->values[op->in[0]].rows);
        }
    }
    for (uint32_t i = 0; i < p->value_count; i++)
        assert_true(written[i]);
    free(written);
}

static void a_decoder_is_seven_ops_a_layer(void **state)
{
    (void)state;
    static const uint16_t kinds[] = {
        BP_OP_EMBED,  BP_OP_NORM,      BP_OP_QKV,    BP_OP_ATTENTION, BP_OP_LINEAR, BP_OP_NORM, BP_OP_GATED_MLP,
        BP_OP_LINEAR, BP_OP_NORM,      BP_OP_QKV,    BP_OP_ATTENTION, BP_OP_ROWS,   BP_OP_ROWS, BP_OP_LINEAR,
        BP_OP_NORM,   BP_OP_GATED_MLP, BP_OP_LINEAR, BP_OP_NORM,      BP_OP_LOGITS,
    };
    fixture f;
    begin(&f, &(tiny_llama){0});
    must_open(&f, 0);
    const bp_program *p = model_program(f.model);
    assert_int_equal(p->size, sizeof *p);
    assert_int_equal(p->op_count, sizeof kinds / sizeof *kinds);
    for (uint32_t i = 0; i < p->op_count; i++)
        assert_int_equal(p->ops[i].kind, kinds[i]);
    check_values(p);
    assert_true(p->vocab_size == 300 && p->output_width == 300 && p->max_context == 256 && p->cache_count == 2);
    assert_string_equal(p->family, "llama");
    assert_int_equal(p->ops[0].layer, -1);
    assert_int_equal(p->ops[8].layer, 1);
    assert_int_equal(p->ops[18].weight[0], p->ops[0].weight[0]); /* tied */
    const bp_qkv_args *qkv = p->ops[2].args;
    assert_true(qkv->heads == 4 && qkv->kv_heads == 2 && qkv->head_dim == 16 && qkv->rope_dim == 16);
    assert_int_equal(qkv->rope_mode, BP_ROPE_NORMAL);
    const bp_weight *rope = &p->weights[qkv->rope_table];
    const float *table = rope->data;
    assert_true(rope->shape[0] == 16 && rope->shape[1] == 256 && rope->bytes == 16 * 256 * 4);
    assert_true(table[0] == 1 && table[8] == 0 && table[16] == (float)0.5403023058681398 &&
                table[24] == (float)0.8414709848078965);
    const bp_attention_args *attention = p->ops[3].args;
    assert_true(attention->scale == 0.25f && attention->sinks == -1 && attention->mask == BP_MASK_CAUSAL);
    assert_int_equal(model_kv_bytes_per_token(f.model, BP_KV_F16), 2 * 2 * 2 * 16 * 2);
    assert_int_equal(model_kv_bytes_per_token(f.model, BP_KV_F32), 2 * 2 * 2 * 16 * 4);
    assert_int_equal(model_kv_bytes_per_token(f.model, BP_KV_Q8_0), 2 * 2 * 2 * 16 / 32 * 34);
    assert_false(model_damaged(f.model));
    end(&f);
}

static void every_type_and_option_opens(void **state)
{
    (void)state;
    static const uint32_t types[] = {BP_F32, BP_F16, BP_BF16, BP_Q8_0, BP_Q4_0, BP_Q4_1};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        fixture f;
        begin(&f, &(tiny_llama){.weight_type = types[i],
                                .embedding_type = types[i],
                                .layers = 1 + (uint32_t)i % 2,
                                .untied = i % 2,
                                .biases = i % 3 == 0,
                                .no_chat = i == 1});
        must_open(&f, 40);
        const bp_program *p = model_program(f.model);
        check_values(p);
        assert_int_equal(p->max_context, 40);
        assert_int_equal(p->weights[p->ops[0].weight[0]].dtype, types[i]);
        assert_string_equal(model_shape_of(f.model)->weight_type, dtype_name(types[i]));
        assert_true((p->ops[2].weight[3] >= 0) == (i % 3 == 0));
        assert_true((p->ops[p->op_count - 1].weight[0] != p->ops[0].weight[0]) == (i % 2 == 1));
        assert_true((model_chat_template(f.model) == NULL) == (i == 1));
        end(&f);
    }
}

static void linear_scaling_and_factors_reach_the_table(void **state)
{
    (void)state;
    float factors[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    fixture f;
    for (int way = 0; way < 2; way++) {
        begin(&f, &(tiny_llama){0});
        if (way == 0) {
            writer_text(&f.w, "llama.rope.scaling.type", "linear");
            writer_f32(&f.w, "llama.rope.scaling.factor", 2);
        } else {
            writer_matrix(&f.w, "rope_freqs.weight", BP_F32, 8, 0, factors);
        }
        must_open(&f, 0);
        const bp_program *p = model_program(f.model);
        const float *table = p->weights[((const bp_qkv_args *)p->ops[2].args)->rope_table].data;
        assert_true(table[2 * 16] == (float)0.5403023058681398); /* cos 1 at position 2 */
        end(&f);
    }
}

static void a_vocabulary_is_read(void **state)
{
    (void)state;
    fixture f;
    begin(&f, &(tiny_llama){0});
    writer_u32(&f.w, "tokenizer.ggml.eot_token_id", 1);
    must_open(&f, 0);
    const model_vocabulary *v = model_vocabulary_of(f.model);
    assert_true(v->count == 300 && v->merge_count == 41 && v->bos == 1 && v->eos == 2 && v->eot == 1 && v->padding == 2);
    assert_true(!v->add_bos && !v->add_eos && v->types[2] == 3 && v->types[3] == 1);
    assert_string_equal(v->model, "gpt2");
    assert_string_equal(v->pre, "smollm");
    assert_memory_equal(v->pieces[3 + 'A'].bytes, "A", 1);
    assert_memory_equal(v->pieces[3 + ' '].bytes, "\xC4\xA0", 2);
    assert_memory_equal(v->pieces[299].bytes, "\xC4\xA0" "a", 3);
    assert_memory_equal(v->merges[1].bytes, "t he", 4);
    assert_non_null(strstr(model_chat_template(f.model), "add_generation_prompt"));
    end(&f);
}

/* --- families --------------------------------------------------------------------------------------------------------- */

static const tiny_llama gemma = {.architecture = "gemma3", .head_norms = true, .post_norms = true, .window = 8, .layers = 7};
static const tiny_llama phi = {.architecture = "phi3", .fused = true, .untied = true};

static const bp_op *op_of(const bp_program *p, int32_t layer, uint16_t kind)
{
    for (uint32_t i = 0; i < p->op_count; i++)
        if (p->ops[i].layer == layer && p->ops[i].kind == kind)
            return &p->ops[i];
    fail_msg("layer %d has no op of kind %u", layer, kind);
    return NULL;
}

static void gemma_mixes_windows(void **state)
{
    (void)state;
    fixture f;
    begin(&f, &gemma);
    writer_f32(&f.w, "gemma3.rope.freq_base", 1000000);
    writer_f32(&f.w, "gemma3.final_logit_softcapping", 30);
    must_open(&f, 0);
    const bp_program *p = model_program(f.model);
    check_values(p);
    int32_t tables[2] = {-1, -1};
    for (int32_t layer = 0; layer < 7; layer++) {
        const bp_op *qkv = op_of(p, layer, BP_OP_QKV);
        bool whole = layer == 5;
        assert_int_equal(p->caches[qkv->cache].window, whole ? 0 : 8);
        int32_t table = ((const bp_qkv_args *)qkv->args)->rope_table;
        assert_true(tables[whole] == -1 || tables[whole] == table);
        tables[whole] = table;
        assert_true(qkv->weight[6] >= 0 && qkv->weight[7] >= 0);
    }
    assert_true(tables[0] != tables[1]);
    assert_memory_equal(p->weights[tables[0]].data, p->weights[tables[1]].data, 16 * sizeof(float));
    assert_true(memcmp(p->weights[tables[0]].data, p->weights[tables[1]].data, 32 * sizeof(float)) != 0);
    const bp_op *norm = op_of(p, 0, BP_OP_GATED_MLP) - 1;
    assert_int_equal(norm[-1].flags, BP_NORM_POST_RESIDUAL);
    assert_true(((const bp_embed_args *)p->ops[0].args)->scale == 8);
    assert_true(((const bp_logits_args *)p->ops[p->op_count - 1].args)->soft_cap == 30);
    end(&f);
}

/* --- embedders -------------------------------------------------------------------------------------------------------- */

/* What it is: 0 pooling is a model of answers. */
static void check_task(const tiny_llama *tiny, const char *key, uint32_t value, model_options options, uint32_t pooling, bool normalise)
{
    fixture f;
    begin(&f, tiny);
    if (key)
        writer_u32(&f.w, key, value);
    if (open_as(&f, options) != BP_OK)
        fail_msg("%s", f.error.message);
    const bp_program *p = model_program(f.model);
    const bp_op *last = &p->ops[p->op_count - 1];
    const model_shape *s = model_shape_of(f.model);
    check_values(p);
    assert_true(s->task == (pooling ? BP_TASK_EMBED : BP_TASK_GENERATE) && s->pooling == pooling);
    assert_int_equal(last->kind, pooling ? BP_OP_POOL : BP_OP_LOGITS);
    assert_int_equal(p->output_width, pooling ? s->width : s->vocab_size);
    /* Layers share a cache for each kind of window. */
    assert_int_equal(p->cache_count, !pooling ? s->layers : tiny->window ? 2 : 1);
    for (uint32_t i = 0; i < p->op_count && pooling; i++) {
        assert_true(p->ops[i].kind != BP_OP_ROWS);
        assert_true(p->ops[i].kind != BP_OP_ATTENTION || ((const bp_attention_args *)p->ops[i].args)->mask == BP_MASK_CAUSAL);
    }
    static const uint32_t kinds[] = {0, BP_POOL_MEAN, BP_POOL_FIRST, BP_POOL_LAST};
    const bp_pool_args *pool = last->args;
    if (pooling)
        assert_true(pool->pooling == kinds[pooling] && pool->normalise == normalise);
    end(&f);
}

static void a_decoder_embeds_where_it_is_asked_to(void **state)
{
    (void)state;
    static const tiny_llama llama = {.untied = true}; /* and a head that vectors do not need */
    const model_options embed = {.task = MODEL_TASK_EMBED};
    check_task(&llama, NULL, 0, (model_options){0}, 0, false);
    check_task(&llama, NULL, 0, (model_options){.task = MODEL_TASK_GENERATE}, 0, false);
    check_task(&llama, NULL, 0, embed, MODEL_POOLING_LAST, true);
    check_task(&gemma, NULL, 0, embed, MODEL_POOLING_LAST, true);
    check_task(&llama, NULL, 0, (model_options){.task = MODEL_TASK_EMBED, .pooling = MODEL_POOLING_MEAN, .normalise = MODEL_NO},
               MODEL_POOLING_MEAN, false);
    static const char key[] = "llama.pooling_type";
    check_task(&llama, key, 0, (model_options){0}, 0, false);
    check_task(&llama, key, MODEL_POOLING_CLS, (model_options){0}, MODEL_POOLING_CLS, true);
    check_task(&llama, key, MODEL_POOLING_CLS, (model_options){.pooling = MODEL_POOLING_LAST}, MODEL_POOLING_LAST, true);
    check_task(&llama, key, MODEL_POOLING_MEAN, (model_options){.task = MODEL_TASK_GENERATE}, 0, false);
}

static void what_no_embedder_can_be_is_refused(void **state)
{
    (void)state;
    static const struct { const char *key; uint32_t value; model_options options; const char *message; } cases[] = {
        {NULL, 0, {.pooling = MODEL_POOLING_MEAN}, "write task: embed"},
        {NULL, 0, {.normalise = MODEL_YES}, "write task: embed"},
        {"llama.pooling_type", 4, {0}, "key \"llama.pooling_type\" is 4; this build knows mean (1), cls (2) and last (3)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        begin(&f, &(tiny_llama){0});
        if (cases[i].key)
            writer_u32(&f.w, cases[i].key, cases[i].value);
        assert_true(open_as(&f, cases[i].options) != BP_OK);
        if (!strstr(f.error.message, cases[i].message))
            fail_msg("\"%s\" where \"%s\" is expected", f.error.message, cases[i].message);
        end(&f);
    }
}

/* No key says that Gemma 3 27B, the one of 62 layers, scales by what the width gives a head. */
static void one_gemma_scales_by_its_width(void **state)
{
    (void)state;
    for (uint32_t layers = 61; layers <= 62; layers++) {
        tiny_llama options = gemma;
        options.layers = layers;
        options.head_dim = 32;
        fixture f;
        begin(&f, &options);
        must_open(&f, 0);
        const bp_attention_args *args = op_of(model_program(f.model), 0, BP_OP_ATTENTION)->args;
        assert_true(args->scale == (float)(1 / sqrt(layers == 62 ? 16.0 : 32.0)));
        end(&f);
    }
}

static void fused_tensors_are_cut_into_rows(void **state)
{
    (void)state;
    fixture f;
    begin(&f, &phi);
    must_open(&f, 0);
    const bp_program *p = model_program(f.model);
    check_values(p);
    const bp_op *qkv = op_of(p, 1, BP_OP_QKV), *mlp = op_of(p, 1, BP_OP_GATED_MLP);
    const bp_weight *q = &p->weights[qkv->weight[0]], *k = &p->weights[qkv->weight[1]], *v = &p->weights[qkv->weight[2]];
    const bp_weight *gate = &p->weights[mlp->weight[0]], *up = &p->weights[mlp->weight[1]];
    const bp_weight *whole = gguf_find_tensor(model_gguf(f.model), "blk.1.attn_qkv.weight");
    assert_true(q->data == whole->data && q->bytes + k->bytes + v->bytes == whole->bytes);
    assert_true((const char *)k->data == (const char *)q->data + q->bytes && (const char *)v->data == (const char *)k->data + k->bytes);
    assert_true(q->shape[1] == 64 && k->shape[1] == 32 && v->shape[1] == 32);
    assert_true((const char *)up->data == (const char *)gate->data + gate->bytes && gate->shape[1] == 96 && up->shape[1] == 96);
    end(&f);
}

static void longrope_follows_the_context(void **state)
{
    (void)state;
    const float near[8] = {1, 1, 1, 1, 1, 1, 1, 1}, far[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    for (uint32_t context = 100; context <= 200; context += 100) {
        fixture f;
        begin(&f, &phi);
        writer_u32(&f.w, "phi3.rope.scaling.original_context_length", 128);
        writer_f32(&f.w, "phi3.rope.scaling.attn_factor", 1.5f);
        writer_matrix(&f.w, "rope_factors_short.weight", BP_F32, 8, 0, near);
        writer_matrix(&f.w, "rope_factors_long.weight", BP_F32, 8, 0, far);
        must_open(&f, context);
        const bp_program *p = model_program(f.model);
        const float *table = p->weights[((const bp_qkv_args *)op_of(p, 0, BP_OP_QKV)->args)->rope_table].data;
        assert_true(table[2 * 16] == (float)(1.5 * (context == 100 ? -0.4161468365471424 : 0.5403023058681398)));
        end(&f);
    }
}

static void no_head_norm(gguf_writer *w) { writer_remove_tensor(w, "blk.0.attn_q_norm.weight"); }
static void no_post_norm(gguf_writer *w) { writer_remove_tensor(w, "blk.6.post_ffw_norm.weight"); }
static void window_of_qwen(gguf_writer *w) { writer_u32(w, "qwen2.attention.sliding_window", 8); }
static void short_only(gguf_writer *w)
{
    writer_matrix(w, "rope_factors_short.weight", BP_F32, 8, 0, (const float[]){1, 1, 1, 1, 1, 1, 1, 1});
}
static void fewer_fused_rows(gguf_writer *w) { writer_u32(w, "phi3.attention.head_count_kv", 4); }
static void sharpened(gguf_writer *w)
{
    writer_f32(w, "mistral3.attention.temperature_scale", 0.1f);
    writer_u32(w, "mistral3.rope.scaling.original_context_length", 128);
}

static void families_say_what_they_miss(void **state)
{
    (void)state;
    static const tiny_llama qwen = {.architecture = "qwen2"}, mistral = {.architecture = "mistral3"};
    const struct {
        const tiny_llama *options;
        void (*spoil)(gguf_writer *w);
        const char *sentence;
    } cases[] = {
        {&gemma, no_head_norm, "f: tensor \"blk.0.attn_q_norm.weight\" is missing"},
        {&gemma, no_post_norm, "f: tensor \"blk.6.post_ffw_norm.weight\" is missing"},
        {&qwen, window_of_qwen, "f: key \"qwen2.attention.sliding_window\" is 8; this build does not know which layers of this "
                                "architecture it is for"},
        {&phi, short_only, "f: tensor \"rope_factors_long.weight\" is missing"},
        {&phi, fewer_fused_rows, "f: tensor \"blk.0.attn_qkv.weight\" has 64 columns and 128 rows where the model's keys ask for 64 "
                                 "and 192"},
        {&mistral, sharpened, "f: a context of 200 was asked for; beyond 128 this model sharpens its attention by position, which "
                              "this build cannot do"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        begin(&f, cases[i].options);
        cases[i].spoil(&f.w);
        assert_true(open_model(&f, 200) != BP_OK);
        assert_string_equal(f.error.message, cases[i].sentence);
        end(&f);
    }
}

/* --- refusals --------------------------------------------------------------------------------------------------------- */

static writer_tensor *tensor(gguf_writer *w, const char *name)
{
    writer_tensor *t = writer_find_tensor(w, name);
    assert_non_null(t);
    return t;
}

static void no_architecture(gguf_writer *w) { writer_remove(w, "general.architecture"); }
static void unknown_architecture(gguf_writer *w) { writer_text(w, "general.architecture", "mamba"); }
static void no_layers(gguf_writer *w) { writer_remove(w, "llama.block_count"); }
static void layers_0(gguf_writer *w) { writer_u32(w, "llama.block_count", 0); }
static void layers_huge(gguf_writer *w) { writer_u32(w, "llama.block_count", UINT32_MAX); }
static void layers_3(gguf_writer *w) { writer_u32(w, "llama.block_count", 3); }
static void layers_1(gguf_writer *w) { writer_u32(w, "llama.block_count", 1); }
static void width_negative(gguf_writer *w) { writer_i32(w, "llama.embedding_length", -64); }
static void width_other(gguf_writer *w) { writer_u32(w, "llama.embedding_length", 128); }
static void heads_0(gguf_writer *w) { writer_u32(w, "llama.attention.head_count", 0); }
static void heads_negative(gguf_writer *w) { writer_i32(w, "llama.attention.head_count", -4); }
static void heads_5(gguf_writer *w) { writer_u32(w, "llama.attention.head_count", 5); }
static void heads_array(gguf_writer *w) { writer_i32s(w, "llama.attention.head_count", (const int32_t[]){4, 4}, 2); }
static void kv_heads_0(gguf_writer *w) { writer_u32(w, "llama.attention.head_count_kv", 0); }
static void kv_heads_3(gguf_writer *w) { writer_u32(w, "llama.attention.head_count_kv", 3); }
static void head_dim_0(gguf_writer *w) { writer_u32(w, "llama.attention.key_length", 0); }
static void head_dim_huge(gguf_writer *w) { writer_u32(w, "llama.attention.key_length", 1u << 31); }
static void value_dim_other(gguf_writer *w) { writer_u32(w, "llama.attention.value_length", 32); }
static void heads_do_not_divide(gguf_writer *w)
{
    writer_remove(w, "llama.attention.key_length");
    writer_u32(w, "llama.attention.head_count", 6);
}
static void rope_dim_odd(gguf_writer *w) { writer_u32(w, "llama.rope.dimension_count", 15); }
static void rope_dim_large(gguf_writer *w) { writer_u32(w, "llama.rope.dimension_count", 32); }
static void rope_base_0(gguf_writer *w) { writer_f32(w, "llama.rope.freq_base", 0); }
static void rope_dynamic(gguf_writer *w) { writer_text(w, "llama.rope.scaling.type", "dynamic"); }
static void rope_yarn_bare(gguf_writer *w) { writer_text(w, "llama.rope.scaling.type", "yarn"); }
static void rope_yarn_twice(gguf_writer *w)
{
    rope_yarn_bare(w);
    writer_f32(w, "llama.rope.scaling.factor", 4);
    writer_matrix(w, "rope_freqs.weight", BP_F32, 8, 0, (const float[]){1, 1, 1, 1, 1, 1, 1, 1});
}
static void rope_yarn_attention(gguf_writer *w)
{
    rope_yarn_bare(w);
    writer_f32(w, "llama.rope.scaling.factor", 4);
    writer_f32(w, "llama.rope.scaling.yarn_attn_factor", 2);
}
static void rope_long(gguf_writer *w) { writer_text(w, "llama.rope.scaling.type", "longrope"); }
static void cap_negative(gguf_writer *w) { writer_f32(w, "llama.final_logit_softcapping", -1); }
static void window_negative(gguf_writer *w) { writer_i32(w, "llama.attention.sliding_window", -1); }
static void window_pattern_0(gguf_writer *w)
{
    writer_u32(w, "llama.attention.sliding_window", 8);
    writer_u32(w, "llama.attention.sliding_window_pattern", 0);
}
static void head_norm(gguf_writer *w)
{
    float values[16] = {0};
    writer_matrix(w, "blk.0.attn_q_norm.weight", BP_F32, 16, 0, values);
}
static void rope_factors_short(gguf_writer *w)
{
    writer_matrix(w, "rope_freqs.weight", BP_F32, 4, 0, (const float[]){1, 1, 1, 1});
}
static void rope_factor_0(gguf_writer *w)
{
    writer_matrix(w, "rope_freqs.weight", BP_F32, 8, 0, (const float[]){1, 1, 0, 1, 1, 1, 1, 1});
}
static void epsilon_0(gguf_writer *w) { writer_f32(w, "llama.attention.layer_norm_rms_epsilon", 0); }
static void context_0(gguf_writer *w) { writer_u32(w, "llama.context_length", 0); }
static void context_small(gguf_writer *w) { writer_u32(w, "llama.context_length", 16); }
static void ffn_0(gguf_writer *w) { writer_u32(w, "llama.feed_forward_length", 0); }
static void ffn_other(gguf_writer *w) { writer_u32(w, "llama.feed_forward_length", 64); }
static void vocab_key_other(gguf_writer *w) { writer_u32(w, "llama.vocab_size", 299); }
static void fewer_rows(gguf_writer *w)
{
    writer_remove(w, "llama.vocab_size");
    tensor(w, "token_embd.weight")->shape[1] = 299;
}
static void no_embedding(gguf_writer *w) { writer_remove_tensor(w, "token_embd.weight"); }
static void no_query(gguf_writer *w) { writer_remove_tensor(w, "blk.1.attn_q.weight"); }
static void quantised_norm(gguf_writer *w)
{
    writer_remove_tensor(w, "output_norm.weight");
    float values[64] = {0};
    writer_matrix(w, "output_norm.weight", BP_Q8_0, 64, 0, values);
}
static void three_dimensions(gguf_writer *w)
{
    writer_tensor *t = tensor(w, "blk.0.ffn_up.weight");
    t->rank = 3;
    t->shape[1] = 48;
    t->shape[2] = 2;
}
static void foreign_tensor(gguf_writer *w)
{
    writer_matrix(w, "blk.0.ffn_gate_inp.weight", BP_F32, 1, 0, (const float[]){0});
}
static void scores(gguf_writer *w, uint32_t type, uint64_t count, const void *numbers)
{
    unsigned char value[64];
    memcpy(value, &type, 4);
    memcpy(value + 4, &count, 8);
    memcpy(value + 12, numbers, 4 * count);
    writer_text(w, "tokenizer.ggml.model", "llama");
    writer_value(w, "tokenizer.ggml.scores", WRITE_ARRAY, value, 12 + 4 * count);
}
static void no_scores(gguf_writer *w) { writer_text(w, "tokenizer.ggml.model", "llama"); }
static void fewer_scores(gguf_writer *w) { scores(w, WRITE_F32, 2, (const float[]){1, 2}); }
static void whole_scores(gguf_writer *w) { scores(w, WRITE_I32, 2, (const int32_t[]){1, 2}); }
static void no_tokens(gguf_writer *w) { writer_remove(w, "tokenizer.ggml.tokens"); }
static void fewer_types(gguf_writer *w) { writer_i32s(w, "tokenizer.ggml.token_type", (const int32_t[]){1, 1}, 2); }
static void set_type(gguf_writer *w, int32_t type)
{
    memcpy(writer_find(w, "tokenizer.ggml.token_type")->value.data + 12 + 4 * 7, &type, 4);
}
static void type_negative(gguf_writer *w) { set_type(w, -1); }
static void type_huge(gguf_writer *w) { set_type(w, 2000000000); }
static void types_are_text(gguf_writer *w) { writer_texts(w, "tokenizer.ggml.token_type", (const char *const[]){"1"}, 1); }
static void tokens_are_numbers(gguf_writer *w) { writer_i32s(w, "tokenizer.ggml.tokens", (const int32_t[]){1}, 1); }
static void merges_are_numbers(gguf_writer *w) { writer_i32s(w, "tokenizer.ggml.merges", (const int32_t[]){1}, 1); }
static void bos_outside(gguf_writer *w) { writer_u32(w, "tokenizer.ggml.bos_token_id", 300); }
static void eos_negative(gguf_writer *w) { writer_i32(w, "tokenizer.ggml.eos_token_id", -1); }
static void no_bos_to_add(gguf_writer *w)
{
    writer_bool(w, "tokenizer.ggml.add_bos_token", true);
    writer_remove(w, "tokenizer.ggml.bos_token_id");
}
static void oversize_piece(gguf_writer *w)
{
    char *text = malloc(70001);
    memset(text, 'x', 70000);
    text[70000] = '\0';
    writer_texts(w, "tokenizer.ggml.tokens", (const char *const[]){"a", text}, 2);
    free(text);
}
static void nul_in_template(gguf_writer *w)
{
    writer_value(w, "tokenizer.chat_template", WRITE_STRING, "\3\0\0\0\0\0\0\0a\0b", 11);
}

#define SIZES " where the model's keys ask for "
static const struct {
    void (*spoil)(gguf_writer *w);
    const char *sentence;
} malformed[] = {
    {no_architecture, "f: key \"general.architecture\" is missing"},
    {unknown_architecture, "f: its architecture is \"mamba\"; this build knows llama"},
    {no_layers, "f: key \"llama.block_count\" is missing"},
    {layers_0, "f: key \"llama.block_count\" is 0; 1 to 4096 are possible"},
    {layers_huge, "f: key \"llama.block_count\" is 4294967295; 1 to 4096 are possible"},
    {layers_3, "f: tensor \"blk.2.attn_norm.weight\" is missing"},
    {layers_1, "f: tensor \"blk.1.attn_norm.weight\" has no place in this architecture as this build knows it"},
    {width_negative, "f: key \"llama.embedding_length\" is -64, which must not be negative"},
    {width_other, "f: tensor \"token_embd.weight\" has 64 columns and 300 rows" SIZES "128 and 300"},
    {heads_0, "f: key \"llama.attention.head_count\" is 0; 1 to 16384 are possible"},
    {heads_negative, "f: key \"llama.attention.head_count\" is -4, which must not be negative"},
    {heads_5, "f: key \"llama.attention.head_count\" is 5, not a multiple of head_count_kv, 2"},
    {heads_array, "f: key \"llama.attention.head_count\" is an array of 2 values where an integer is expected"},
    {kv_heads_0, "f: key \"llama.attention.head_count_kv\" is 0; 1 to 16384 are possible"},
    {kv_heads_3, "f: key \"llama.attention.head_count\" is 4, not a multiple of head_count_kv, 3"},
    {head_dim_0, "f: key \"llama.attention.key_length\" is 0; 1 to 1024 are possible"},
    {head_dim_huge, "f: key \"llama.attention.key_length\" is 2147483648; 1 to 1024 are possible"},
    {value_dim_other, "f: keys of 16 and values of 32 a head are not the same"},
    {heads_do_not_divide, "f: key \"llama.embedding_length\" is 64, which 6 heads do not divide"},
    {rope_dim_odd, "f: key \"llama.rope.dimension_count\" is 15, which is odd"},
    {rope_dim_large, "f: key \"llama.rope.dimension_count\" is 32; 1 to 16 are possible"},
    {rope_base_0, "f: key \"llama.rope.freq_base\" is 0; 1 to 1e+30 are possible"},
    {rope_dynamic, "f: key \"llama.rope.scaling.type\" is \"dynamic\"; this build knows none, linear and yarn"},
    {rope_yarn_bare, "f: key \"llama.rope.scaling.factor\" is missing"},
    {rope_yarn_twice, "f: the model scales its rotations by YaRN and by a tensor of factors"},
    {rope_yarn_attention, "f: key \"llama.rope.scaling.yarn_attn_factor\" is 2; this build knows 1"},
    {rope_long, "f: key \"llama.rope.scaling.type\" is \"longrope\"; this build knows none, linear and yarn"},
    {cap_negative, "f: key \"llama.final_logit_softcapping\" is -1; 0.001 to 1e+06 are possible"},
    {window_negative, "f: key \"llama.attention.sliding_window\" is -1, which must not be negative"},
    {window_pattern_0, "f: key \"llama.attention.sliding_window_pattern\" is 0; 1 to 4096 are possible"},
    {head_norm, "f: tensor \"blk.0.attn_q_norm.weight\" has no place in this architecture as this build knows it"},
    {rope_factors_short, "f: tensor \"rope_freqs.weight\" is not a vector of 8 numbers of type F32"},
    {rope_factor_0, "f: tensor \"rope_freqs.weight\" holds 0 at 2; 1 to 1e6 are possible"},
    {epsilon_0, "f: key \"llama.attention.layer_norm_rms_epsilon\" is 0; "},
    {context_0, "f: key \"llama.context_length\" is 0; 1 to 2147483647 are possible"},
    {context_small, "f: a context of 40 was asked for; the model was trained for 16"},
    {ffn_0, "f: key \"llama.feed_forward_length\" is 0; 1 to 8388608 are possible"},
    {ffn_other, "f: tensor \"blk.0.ffn_gate.weight\" has 64 columns and 96 rows" SIZES "64 and 64"},
    {vocab_key_other, "f: key \"llama.vocab_size\" is 299 and tensor \"token_embd.weight\" has 300 rows"},
    {fewer_rows, "f: the vocabulary has 300 tokens and tensor \"token_embd.weight\" 299 rows"},
    {no_embedding, "f: tensor \"token_embd.weight\" is missing"},
    {no_query, "f: tensor \"blk.1.attn_q.weight\" is missing"},
    {quantised_norm, "f: tensor \"output_norm.weight\" is a vector of type Q8_0; F32, F16 and BF16 are read"},
    {three_dimensions, "f: tensor \"blk.0.ffn_up.weight\" has 64 columns and 96 rows in 3 dimensions" SIZES "64 and 96"},
    {foreign_tensor, "f: tensor \"blk.0.ffn_gate_inp.weight\" has no place in this architecture as this build knows it"},
    {no_scores, "f: key \"tokenizer.ggml.scores\" is missing"},
    {fewer_scores, "f: key \"tokenizer.ggml.scores\" has 2 scores for 300 tokens"},
    {whole_scores, "f: key \"tokenizer.ggml.scores\" is an array of int32 where float32 is expected"},
    {no_tokens, "f: key \"tokenizer.ggml.tokens\" is missing or empty"},
    {fewer_types, "f: key \"tokenizer.ggml.token_type\" has 2 types for 300 tokens"},
    {type_negative, "f: key \"tokenizer.ggml.token_type\": token 7 has the type -1; 0 to 6 are possible"},
    {type_huge, "f: key \"tokenizer.ggml.token_type\": token 7 has the type 2000000000; 0 to 6 are possible"},
    {types_are_text, "f: key \"tokenizer.ggml.token_type\" is an array of strings where numbers are expected"},
    {tokens_are_numbers, "f: key \"tokenizer.ggml.tokens\" is an array of int32 where strings are expected"},
    {merges_are_numbers, "f: key \"tokenizer.ggml.merges\" is an array of int32 where strings are expected"},
    {bos_outside, "f: key \"tokenizer.ggml.bos_token_id\" is 300; the vocabulary has 300 tokens"},
    {eos_negative, "f: key \"tokenizer.ggml.eos_token_id\" is -1, which must not be negative"},
    {no_bos_to_add, "f: key \"tokenizer.ggml.bos_token_id\" is missing, and every text is to have it"},
    {oversize_piece, "f: key \"tokenizer.ggml.tokens\": token 1 has 70000 bytes; 65535 are possible"},
    {nul_in_template, "f: key \"tokenizer.chat_template\" holds a NUL"},
};

static void test_77_79_malformed_models_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        fixture f;
        begin(&f, &(tiny_llama){0});
        malformed[i].spoil(&f.w);
        bp_status status = open_model(&f, 40);
        assert_true(status == BP_EINVAL || status == BP_EUNSUPPORTED);
        assert_int_equal(status, f.error.code);
        if (strncmp(f.error.message, malformed[i].sentence, strlen(malformed[i].sentence)) != 0)
            fail_msg("\"%s\" where this was expected: \"%s\"", f.error.message, malformed[i].sentence);
        end(&f);
    }
}

static void a_file_without_a_tokenizer_opens(void **state)
{
    (void)state;
    fixture f;
    begin(&f, &(tiny_llama){0});
    writer_remove(&f.w, "tokenizer.ggml.model");
    must_open(&f, 0);
    assert_int_equal(model_vocabulary_of(f.model)->count, 0);
    assert_string_equal(model_vocabulary_of(f.model)->model, "none");
    end(&f);
}

/* A file that shrinks while the model is open damages the model, not the process. */
static void a_file_that_shrinks_damages_its_model(void **state)
{
    (void)state;
    char path[] = "/tmp/backplane-model.XXXXXX";
    close(mkstemp(path));
    assert_true(tiny_llama_write(path, &(tiny_llama){0}));
    model_file *m = NULL;
    bp_error error = {0};
    const model_options options = {0};
    assert_int_equal(model_open(path, &options, &m, &error), BP_OK);
    assert_int_equal(truncate(path, 4096), 0);
    const bp_weight *last = gguf_find_tensor(model_gguf(m), "output_norm.weight");
    unsigned sum = 0;
    for (uint64_t i = 0; i < last->bytes; i++)
        sum += ((const unsigned char *)last->data)[i];
    assert_true(sum == 0 && model_damaged(m));
    model_close(m);
    unlink(path);
}

/* --- SmolLM2 ---------------------------------------------------------------------------------------------------------- */

/* Where tools/fetch puts it. */
static const char *find_smollm2(char out[1024])
{
    const char *given = getenv("BACKPLANE_SMOLLM2"), *cache = getenv("BACKPLANE_CACHE"), *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME"), *file = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (given && *given)
        snprintf(out, 1024, "%s", given);
    else if (cache && *cache)
        snprintf(out, 1024, "%s/%s", cache, file);
    else if (base && *base)
        snprintf(out, 1024, "%s/backplane/%s", base, file);
    else
        snprintf(out, 1024, "%s/.cache/backplane/%s", home ? home : "", file);
    return out;
}

static void smollm2_is_what_it_is(void **state)
{
    (void)state;
    char path[1024];
    model_file *m = NULL;
    bp_error error = {0};
    const model_options options = {0};
    if (access(find_smollm2(path), R_OK) != 0)
        fail_msg("SmolLM2 is not at %s; run tools/fetch smollm2, or set BACKPLANE_SMOLLM2 to its path", path);
    if (model_open(path, &options, &m, &error) != BP_OK)
        fail_msg("%s", error.message);
    const model_shape *s = model_shape_of(m);
    const model_vocabulary *v = model_vocabulary_of(m);
    assert_true(s->layers == 30 && s->width == 576 && s->heads == 9 && s->kv_heads == 3 && s->head_dim == 64);
    assert_true(s->ffn_width == 1536 && s->vocab_size == 49152 && s->train_context == 8192 && s->parameters == 134515008);
    assert_string_equal(s->weight_type, "Q4_1");
    assert_string_equal(s->architecture, "llama");
    assert_true(v->count == 49152 && v->merge_count == 48900 && v->bos == 1 && v->eos == 2 && !v->add_bos);
    assert_string_equal(v->pre, "smollm");
    assert_int_equal(model_program(m)->op_count, 30 * 7 + 5);
    assert_int_equal(model_kv_bytes_per_token(m, BP_KV_F16), 30 * 2 * 3 * 64 * 2);
    assert_int_equal(strncmp(model_chat_template(m), "{% for message in messages %}", 29), 0);
    check_values(model_program(m));
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decoder_is_seven_ops_a_layer),
        cmocka_unit_test(every_type_and_option_opens),
        cmocka_unit_test(linear_scaling_and_factors_reach_the_table),
        cmocka_unit_test(a_vocabulary_is_read),
        cmocka_unit_test(gemma_mixes_windows),
        cmocka_unit_test(a_decoder_embeds_where_it_is_asked_to),
        cmocka_unit_test(what_no_embedder_can_be_is_refused),
        cmocka_unit_test(one_gemma_scales_by_its_width),
        cmocka_unit_test(fused_tensors_are_cut_into_rows),
        cmocka_unit_test(longrope_follows_the_context),
        cmocka_unit_test(families_say_what_they_miss),
        cmocka_unit_test(test_77_79_malformed_models_are_refused),
        cmocka_unit_test(a_file_without_a_tokenizer_opens),
        cmocka_unit_test(a_file_that_shrinks_damages_its_model),
        cmocka_unit_test(smollm2_is_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
