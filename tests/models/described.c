#include "described.h"

#include "support/tiny_bert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* splitmix64, Steele et al. 2014, of a counter, as tools/reference/architectures.py makes it. */
static void fill(size_t tensor, double middle, double spread, float *values, size_t count)
{
    uint64_t state = (tensor + 1) * UINT64_C(0x9E3779B97F4A7C15) * 1000003;
    for (size_t i = 0; i < count; i++) {
        uint64_t z = state + (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        values[i] = (float)(middle + spread * ((double)(z >> 40) / 8388608.0 - 1.0));
    }
}

float *described_values(const json_t *tensor, size_t index, uint32_t *columns, uint32_t *rows)
{
    const json_t *second = json_array_get(tensor, 1);
    bool listed = json_is_array(second);
    *columns = (uint32_t)(listed ? json_array_size(second) : (size_t)json_integer_value(second));
    *rows = listed ? 0 : (uint32_t)json_integer_value(json_array_get(tensor, 2));
    size_t count = (size_t)*columns * (*rows ? *rows : 1);
    float *values = calloc(count, sizeof *values);
    assert_non_null(values);
    if (listed)
        for (size_t i = 0; i < count; i++)
            values[i] = (float)json_number_value(json_array_get(second, i));
    else
        fill(index, json_number_value(json_array_get(tensor, 3)), json_number_value(json_array_get(tensor, 4)), values, count);
    return values;
}

/* --- a folder --------------------------------------------------------------------------------------------------------- */

static const struct { const char *arch, *class, *pre_tokenizer; bool ignore_merges, nfc; } classes[] = {
    {"llama", "LlamaForCausalLM",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
     "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}]}", false, false},
    {"qwen2", "Qwen2ForCausalLM", "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}", false, false},
    {"qwen3", "Qwen3ForCausalLM",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"invert\":false,\"pattern\":"
     "{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*"
     "|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}",
     false, true},
};

static const char *const names[][2] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"},
    {"attn_norm", "input_layernorm"}, {"ffn_norm", "post_attention_layernorm"}, {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"}, {"attn_v", "self_attn.v_proj"}, {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"}, {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"}, {"ffn_down", "mlp.down_proj"},
};

static json_int_t key_of(const json_t *model, const char *arch, const char *name)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    return json_integer_value(json_object_get(json_object_get(model, "keys"), key));
}

static double real_of(const json_t *model, const char *arch, const char *name)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    return json_number_value(json_object_get(json_object_get(model, "keys"), key));
}

static void hugging_face_name(const char *name, char out[128])
{
    int layer = -1;
    char stem[64] = "", kind[16] = "";
    if (sscanf(name, "blk.%d.%63[^.].%15s", &layer, stem, kind) != 3)
        assert_int_equal(sscanf(name, "%63[^.].%15s", stem, kind), 2);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], stem) == 0) {
            if (layer < 0)
                snprintf(out, 128, "%s.%s", names[i][1], kind);
            else
                snprintf(out, 128, "model.layers.%d.%s.%s", layer, names[i][1], kind);
            return;
        }
    fail_msg("%s has no name in a folder", name);
}

/* Hugging Face's row of a head for a row of llama.cpp's llama, whose pairs are neighbours. */
static uint32_t row_of(const char *arch, const char *name, uint32_t row, uint32_t head_dim)
{
    if (strcmp(arch, "llama") != 0 || !(strstr(name, "attn_q.weight") || strstr(name, "attn_k.weight")))
        return row;
    uint32_t head = row / head_dim, at = row % head_dim;
    return head * head_dim + at / 2 + (at % 2) * (head_dim / 2);
}

static void write_safetensors(const json_t *model, const char *arch, const char *folder)
{
    buffer header = {0}, data = {0}, file = {0};
    const json_t *tensors = json_object_get(model, "tensors");
    uint32_t head_dim = (uint32_t)key_of(model, arch, "attention.key_length");
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        const json_t *tensor = json_array_get(tensors, i);
        const char *name = json_string_value(json_array_get(tensor, 0));
        if (strncmp(name, "rope_", 5) == 0) /* which the converter computes, and so must we */
            continue;
        uint32_t columns, rows;
        char full[128];
        float *values = described_values(tensor, i, &columns, &rows);
        float *ordered = calloc((size_t)columns * (rows ? rows : 1), sizeof *ordered);
        assert_non_null(ordered);
        for (uint32_t r = 0; r < (rows ? rows : 1); r++)
            memcpy(ordered + (size_t)row_of(arch, name, r, head_dim) * columns, values + (size_t)r * columns,
                   columns * sizeof *values);
        hugging_face_name(name, full);
        size_t begin = data.size;
        assert_true(buffer_append(&data, ordered, (size_t)columns * (rows ? rows : 1) * sizeof *ordered));
        assert_true(buffer_format(&header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", header.size ? "," : "", full));
        assert_true(!rows || buffer_format(&header, "%u,", rows));
        assert_true(buffer_format(&header, "%u],\"data_offsets\":[%zu,%zu]}", columns, begin, data.size));
        free(values);
        free(ordered);
    }
    char *whole = NULL;
    assert_true(asprintf(&whole, "{%s}", header.data) > 0);
    safetensors_bytes(whole, 0, &file);
    assert_true(buffer_append(&file, data.data, data.size));
    assert_true(tiny_bert_write_file(folder, "model.safetensors", file.data, file.size));
    free(whole);
    buffer_free(&header);
    buffer_free(&data);
    buffer_free(&file);
}

/* How the keys say that rotations are scaled, in config.json's words. */
static void write_rope(const json_t *model, const char *arch, buffer *out)
{
    const char *name = json_string_value(json_object_get(model, "name"));
    double base = real_of(model, arch, "rope.freq_base"), factor = real_of(model, arch, "rope.scaling.factor");
    assert_true(buffer_format(out, "\"rope_theta\":%.17g,", base > 0 ? base : 10000.0));
    if (strstr(name, "llama 3")) /* the numbers of tools/reference/architectures.py */
        assert_true(buffer_text(out, "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
                                     "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":64},"));
    else if (strstr(name, "linear"))
        assert_true(buffer_format(out, "\"rope_scaling\":{\"type\":\"linear\",\"factor\":%.17g},", factor));
    else if (strstr(name, "yarn"))
        assert_true(buffer_format(out, "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":%.17g,"
                                       "\"original_max_position_embeddings\":%d},", factor,
                                  (int)key_of(model, arch, "rope.scaling.original_context_length")));
}

static void write_config(const json_t *model, size_t class, const char *folder)
{
    const char *arch = classes[class].arch;
    buffer text = {0};
    json_int_t window = key_of(model, arch, "attention.sliding_window");
    assert_true(buffer_format(&text, "{\"architectures\":[\"%s\"],\"hidden_act\":\"silu\",\"eos_token_id\":[1,2],\"bos_token_id\":0,",
                              window ? "MistralForCausalLM" : classes[class].class));
    write_rope(model, arch, &text);
    if (window)
        assert_true(buffer_format(&text, "\"sliding_window\":%d,", (int)window));
    static const char *const counts[][2] = {
        {"num_hidden_layers", "block_count"}, {"hidden_size", "embedding_length"}, {"intermediate_size", "feed_forward_length"},
        {"num_attention_heads", "attention.head_count"}, {"num_key_value_heads", "attention.head_count_kv"},
        {"max_position_embeddings", "context_length"}, {"vocab_size", "vocab_size"}, {"head_dim", "attention.key_length"}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        assert_true(buffer_format(&text, "\"%s\":%d,", counts[i][0], (int)key_of(model, arch, counts[i][1])));
    assert_true(buffer_format(&text, "\"rms_norm_eps\":%.17g}", real_of(model, arch, "attention.layer_norm_rms_epsilon")));
    assert_true(tiny_bert_write_file(folder, "config.json", text.data, text.size));
    buffer_free(&text);
}

/* Letters, pairs of them, and one merge; more than enough to be read. */
static void write_tokenizer(const json_t *model, size_t class, const char *folder)
{
    buffer text = {0};
    assert_true(buffer_format(&text, "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],\"pre_tokenizer\":%s,"
                                     "\"normalizer\":%s,\"post_processor\":null,\"model\":{\"type\":\"BPE\",\"ignore_merges\":%s,"
                                     "\"merges\":[[\"a\",\"b\"],\"c d\"],\"vocab\":{\"<s>\":0,\"ab\":1,\"cd\":2",
                              classes[class].pre_tokenizer, classes[class].nfc ? "{\"type\":\"NFC\"}" : "null",
                              classes[class].ignore_merges ? "true" : "false"));
    for (int i = 0; i < 26; i++)
        assert_true(buffer_format(&text, ",\"%c\":%d", 'a' + i, 3 + i));
    assert_true(buffer_text(&text, "}}}"));
    assert_true(tiny_bert_write_file(folder, "tokenizer.json", text.data, text.size));
    buffer_free(&text);
    (void)model;
}

bool described_write_folder(const json_t *model, const char *folder)
{
    const char *arch = json_string_value(json_object_get(json_object_get(model, "keys"), "general.architecture"));
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i].arch, arch) == 0) {
            write_config(model, i, folder);
            write_tokenizer(model, i, folder);
            write_safetensors(model, arch, folder);
            return true;
        }
    return false;
}
