#include "support/tiny_llama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTROLS = 3, BYTES = 256, MERGES = 41, TOKENS = CONTROLS + BYTES + MERGES, PIECE = 24 };

/* Space is spelled U+0120 in GPT-2's alphabet. */
#define SP "\xC4\xA0"
static const char *const merges[MERGES] = {
    "h e", "t he", SP " the", "a n", "an d", SP " and", "i n", "o n", "o f", SP " of", "t o", SP " to", "e r", "r e", "i s",
    SP " is", "a t", "e n", "i t", "o r", "e s", "in g", "o u", "l l", "y ou", SP " you", "a r", "s t", "e d", "l e", "c h",
    "w h", "wh at", "h i", "l o", "he ll", "hell o", "w or", "wor l", "worl d", SP " a",
};

static const char tool_template[] =
    "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char chat_template[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

static void fill_defaults(tiny_llama *o)
{
    const struct { uint32_t *value, fallback; } table[] = {
        {&o->layers, 2}, {&o->width, 64}, {&o->heads, 4}, {&o->kv_heads, 2}, {&o->head_dim, 16}, {&o->ffn_width, 96},
        {&o->context, 256}, {&o->vocab_size, TOKENS},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (*table[i].value == 0)
            *table[i].value = table[i].fallback;
    if (!o->architecture)
        o->architecture = "llama";
    if (o->vocab_size > TOKENS)
        o->vocab_size = TOKENS;
}

/* --- vocabulary ------------------------------------------------------------------------------------------------------- */

/* GPT-2's alphabet: printable bytes are themselves, the others are U+0100 and on, in order. */
static void spell_byte(int byte, char out[PIECE])
{
    int code = 0x100;
    for (int b = 0; b <= byte; b++) {
        bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        if (b == byte && printable)
            code = byte;
        else if (b < byte && !printable)
            code++;
    }
    if (code < 0x80)
        snprintf(out, PIECE, "%c", code);
    else
        snprintf(out, PIECE, "%c%c", 0xC0 | code >> 6, 0x80 | (code & 0x3F));
}

static void spell_merge(const char *merge, char out[PIECE])
{
    const char *space = strchr(merge, ' ');
    snprintf(out, PIECE, "%.*s%s", (int)(space - merge), merge, space + 1);
}

static void fill_vocabulary(gguf_writer *w, uint32_t count)
{
    static const char *const controls[CONTROLS] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    char spelled[TOKENS][PIECE];
    const char *pieces[TOKENS];
    int32_t types[TOKENS];
    for (int i = 0; i < TOKENS; i++) {
        if (i < CONTROLS)
            snprintf(spelled[i], PIECE, "%s", controls[i]);
        else if (i < CONTROLS + BYTES)
            spell_byte(i - CONTROLS, spelled[i]);
        else
            spell_merge(merges[i - CONTROLS - BYTES], spelled[i]);
        pieces[i] = spelled[i];
        types[i] = i < CONTROLS ? 3 : 1;
    }
    writer_text(w, "tokenizer.ggml.model", "gpt2");
    writer_text(w, "tokenizer.ggml.pre", "smollm");
    writer_texts(w, "tokenizer.ggml.tokens", pieces, count);
    writer_i32s(w, "tokenizer.ggml.token_type", types, count);
    writer_texts(w, "tokenizer.ggml.merges", merges, count > CONTROLS + BYTES ? count - CONTROLS - BYTES : 0);
    writer_u32(w, "tokenizer.ggml.bos_token_id", 1);
    writer_u32(w, "tokenizer.ggml.eos_token_id", 2);
    writer_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    writer_u32(w, "tokenizer.ggml.padding_token_id", 2);
    writer_bool(w, "tokenizer.ggml.add_bos_token", false);
}

/* --- weights ---------------------------------------------------------------------------------------------------------- */

/* splitmix64, Steele et al. 2014: in [-1, 1). */
static float uniform(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (float)((double)(z >> 40) / 8388608.0 - 1.0);
}

/* middle + spread * uniform; rows 0 makes a vector. */
static void add_random(gguf_writer *w, const char *name, uint32_t type, uint32_t columns, uint32_t rows, float middle,
                       float spread, uint64_t *state)
{
    size_t count = (size_t)columns * (rows ? rows : 1);
    float *values = malloc(count * sizeof *values);
    if (!values)
        abort();
    for (size_t i = 0; i < count; i++)
        values[i] = middle + spread * uniform(state);
    writer_matrix(w, name, type, columns, rows, values);
    free(values);
}

static void add_layer_tensors(gguf_writer *w, const tiny_llama *o, uint32_t layer, uint64_t *state)
{
    uint32_t q = o->heads * o->head_dim, kv = o->kv_heads * o->head_dim;
    const struct { const char *name; uint32_t columns, rows; bool present; } table[] = {
        {"attn_norm.weight", o->width, 0, true},
        {"attn_q.weight", o->width, q, !o->fused},
        {"attn_k.weight", o->width, kv, !o->fused},
        {"attn_v.weight", o->width, kv, !o->fused},
        {"attn_qkv.weight", o->width, q + 2 * kv, o->fused},
        {"attn_output.weight", q, o->width, true},
        {"ffn_norm.weight", o->width, 0, true},
        {"ffn_gate.weight", o->width, o->ffn_width, !o->fused},
        {"ffn_up.weight", o->width, o->fused ? 2 * o->ffn_width : o->ffn_width, true},
        {"ffn_down.weight", o->ffn_width, o->width, true},
        {"attn_q_norm.weight", o->head_dim, 0, o->head_norms},
        {"attn_k_norm.weight", o->head_dim, 0, o->head_norms},
        {"post_attention_norm.weight", o->width, 0, o->post_norms},
        {"post_ffw_norm.weight", o->width, 0, o->post_norms},
        {"attn_q.bias", q, 0, o->biases},
        {"attn_k.bias", kv, 0, o->biases},
        {"attn_v.bias", kv, 0, o->biases},
        {"attn_output.bias", o->width, 0, o->biases},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char name[64];
        bool vector = table[i].rows == 0, bias = strstr(table[i].name, ".bias") != NULL;
        snprintf(name, sizeof name, "blk.%u.%s", layer, table[i].name);
        if (table[i].present)
            add_random(w, name, vector ? BP_F32 : o->weight_type, table[i].columns, table[i].rows, vector && !bias ? 1.0f : 0.0f,
                       vector ? 0.1f : 1.7f / sqrtf((float)table[i].columns), state);
    }
}

static void fill_keys(gguf_writer *w, const tiny_llama *o)
{
    const struct { const char *name; uint32_t value; } counts[] = {
        {"block_count", o->layers},
        {"context_length", o->context},
        {"embedding_length", o->width},
        {"feed_forward_length", o->ffn_width},
        {"attention.head_count", o->heads},
        {"attention.head_count_kv", o->kv_heads},
        {"attention.key_length", o->head_dim},
        {"attention.value_length", o->head_dim},
        {"rope.dimension_count", o->head_dim},
        {"vocab_size", o->vocab_size},
        {"attention.sliding_window", o->window},
    };
    char key[80];
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        snprintf(key, sizeof key, "%s.%s", o->architecture, counts[i].name);
        if (counts[i].value)
            writer_u32(w, key, counts[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", o->architecture);
    writer_f32(w, key, 1e-5f);
    snprintf(key, sizeof key, "%s.rope.freq_base", o->architecture);
    writer_f32(w, key, 10000.0f);
}

void tiny_llama_fill(gguf_writer *w, const tiny_llama *options)
{
    tiny_llama o = *options;
    fill_defaults(&o);
    uint64_t state = o.seed;
    writer_text(w, "general.architecture", o.architecture);
    writer_text(w, "general.name", "Tiny Llama of the tests");
    fill_keys(w, &o);
    fill_vocabulary(w, o.vocab_size);
    if (!o.no_chat)
        writer_text(w, "tokenizer.chat_template", options->tools ? tool_template : chat_template);
    add_random(w, "token_embd.weight", o.embedding_type, o.width, o.vocab_size, 0, 1, &state);
    for (uint32_t layer = 0; layer < o.layers; layer++)
        add_layer_tensors(w, &o, layer, &state);
    add_random(w, "output_norm.weight", BP_F32, o.width, 0, 1, 0.1f, &state);
    if (o.untied)
        add_random(w, "output.weight", o.weight_type, o.width, o.vocab_size, 0, 1.7f / sqrtf((float)o.width), &state);
}

bool tiny_llama_write(const char *path, const tiny_llama *options)
{
    gguf_writer w;
    writer_begin(&w);
    tiny_llama_fill(&w, options);
    bool saved = writer_save(&w, path);
    writer_free(&w);
    return saved;
}
