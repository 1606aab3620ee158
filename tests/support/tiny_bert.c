#include "support/tiny_bert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One safetensors file in the making. */
typedef struct shard {
    buffer header, data;
} shard;

typedef struct writer {
    tiny_bert options;
    shard shards[2];
    buffer map; /* the index's weight_map */
    uint32_t tensors, seed;
    bool good;
} writer;

static const char *const shard_names[2] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};

static float random_number(writer *w, float scale)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return ((float)(w->seed >> 8) / 8388608.0f - 1.0f) * scale;
}

/* Values that every type holds exactly: five bits of fraction. */
static float coarse(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0xFFFC0000u;
    memcpy(&x, &bits, sizeof x);
    return x < 6.2e-5f && x > -6.2e-5f ? 0 : x;
}

static void put_number(writer *w, float x, buffer *out)
{
    uint32_t bits;
    x = coarse(x);
    memcpy(&bits, &x, sizeof bits);
    uint16_t half = (uint16_t)(bits >> 16);
    if (strcmp(w->options.type, "F16") == 0)
        half = bits << 1 ? (uint16_t)((bits >> 16 & 0x8000) | (((bits >> 23 & 0xFF) - 112) << 10) | (bits >> 13 & 0x3FF)) : 0;
    w->good = w->good && (strcmp(w->options.type, "F32") == 0 ? buffer_append(out, &bits, 4) : buffer_append(out, &half, 2));
}

/* centre: what the values are spread around. */
static void put_tensor(writer *w, const char *name, uint32_t rows, uint32_t columns, float centre, float spread)
{
    uint32_t place = w->options.sharded ? w->tensors % 2 : 0;
    shard *s = &w->shards[place];
    size_t from = s->data.size;
    for (uint32_t i = 0; i < (rows ? rows : 1) * columns; i++)
        put_number(w, centre + random_number(w, spread), &s->data);
    char shape[32];
    snprintf(shape, sizeof shape, rows ? "%u,%u" : "%.0u%u", rows, columns);
    w->good = w->good &&
              buffer_format(&s->header, "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                            s->header.size ? "," : "", w->options.prefix, name, w->options.type, shape, from, s->data.size) &&
              buffer_format(&w->map, "%s\"%s%s\":\"%s\"", w->tensors ? "," : "", w->options.prefix, name, shard_names[place]);
    w->tensors++;
}

static void put_layer_tensor(writer *w, uint32_t layer, const char *name, uint32_t rows, uint32_t columns)
{
    char full[128];
    bool norm = strstr(name, "LayerNorm") != NULL;
    snprintf(full, sizeof full, "encoder.layer.%u.%s.weight", layer, name);
    put_tensor(w, full, norm ? 0 : rows, columns, norm ? 1 : 0, 0.3f);
    snprintf(full, sizeof full, "encoder.layer.%u.%s.bias", layer, name);
    put_tensor(w, full, 0, rows, 0, 0.1f);
}

static void put_tensors(writer *w)
{
    const tiny_bert *o = &w->options;
    uint32_t n = o->width;
    put_tensor(w, "embeddings.word_embeddings.weight", TINY_BERT_VOCABULARY, n, 0, 1);
    put_tensor(w, "embeddings.position_embeddings.weight", o->positions, n, 0, 0.5f);
    put_tensor(w, "embeddings.token_type_embeddings.weight", 2, n, 0, 0.5f);
    put_tensor(w, "embeddings.LayerNorm.weight", 0, n, 1, 0.3f);
    put_tensor(w, "embeddings.LayerNorm.bias", 0, n, 0, 0.1f);
    for (uint32_t i = 0; i < o->layers; i++) {
        put_layer_tensor(w, i, "attention.self.query", n, n);
        put_layer_tensor(w, i, "attention.self.key", n, n);
        put_layer_tensor(w, i, "attention.self.value", n, n);
        put_layer_tensor(w, i, "attention.output.dense", n, n);
        put_layer_tensor(w, i, "attention.output.LayerNorm", n, n);
        put_layer_tensor(w, i, "intermediate.dense", o->ffn_width, n);
        put_layer_tensor(w, i, "output.dense", n, o->ffn_width);
        put_layer_tensor(w, i, "output.LayerNorm", n, n);
    }
}

bool tiny_bert_write_file(const char *folder, const char *name, const void *bytes, size_t count)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    bool good = file && fwrite(bytes, 1, count, file) == count;
    return file && fclose(file) == 0 && good;
}

static void save(writer *w, const char *folder, const char *name, const char *text)
{
    w->good = w->good && tiny_bert_write_file(folder, name, text, strlen(text));
}

static void save_shard(writer *w, const char *folder, const char *name, const shard *s)
{
    buffer file = {0};
    uint64_t length = s->header.size + 2;
    for (unsigned i = 0; i < 8 && w->good; i++)
        w->good = buffer_append(&file, &(unsigned char){(unsigned char)(length >> (8 * i))}, 1);
    w->good = w->good && buffer_format(&file, "{%s}", s->header.data) && buffer_append(&file, s->data.data, s->data.size) &&
              tiny_bert_write_file(folder, name, file.data, file.size);
    buffer_free(&file);
}

void safetensors_bytes(const char *header, size_t zeros, buffer *out)
{
    uint64_t length = strlen(header);
    for (unsigned i = 0; i < 8; i++)
        buffer_append(out, &(unsigned char){(unsigned char)(length >> (8 * i))}, 1);
    buffer_text(out, header);
    for (size_t i = 0; i < zeros; i++)
        buffer_append(out, "", 1);
}

static void save_config(writer *w, const char *folder)
{
    const tiny_bert *o = &w->options;
    char text[1024];
    snprintf(text, sizeof text,
             "{\"architectures\":[\"BertModel\"],\"model_type\":\"bert\",\"hidden_act\":\"gelu\",\"hidden_size\":%u,"
             "\"intermediate_size\":%u,\"layer_norm_eps\":1e-12,\"max_position_embeddings\":%u,\"num_attention_heads\":%u,"
             "\"num_hidden_layers\":%u,\"position_embedding_type\":\"absolute\",\"type_vocab_size\":2,\"vocab_size\":%d}",
             o->width, o->ffn_width, o->positions, o->heads, o->layers, TINY_BERT_VOCABULARY);
    save(w, folder, "config.json", text);
    if (o->no_modules)
        return;
    save(w, folder, "modules.json",
         "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
         "{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"},"
         "{\"idx\":2,\"name\":\"2\",\"path\":\"2_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}]");
    char pooling[512];
    snprintf(pooling, sizeof pooling, "%s/1_Pooling", folder);
    w->good = w->good && (mkdir(pooling, 0777) == 0 || access(pooling, F_OK) == 0);
    save(w, folder, "1_Pooling/config.json",
         "{\"word_embedding_dimension\":32,\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true}");
}

/* Five special tokens, 26 letters that begin words, 26 that go on, and words up to the vocabulary's size. */
static void save_tokenizer(writer *w, const char *folder)
{
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    static const char *const words[] = {"hello", "world", "##ing", "##er", ".", ",", "!"};
    buffer text = {0};
    bool good = buffer_text(&text, "{\"added_tokens\":[");
    for (unsigned i = 0; i < 5; i++)
        good = good && buffer_format(&text, "%s{\"id\":%u,\"content\":\"%s\",\"special\":true,\"normalized\":false}", i ? "," : "",
                                     i, special[i]);
    good = good &&
           buffer_text(&text, "],\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
                              "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
                              "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
                              "\"[CLS]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":"
                              "\"[SEP]\",\"type_id\":0}}],\"special_tokens\":{\"[CLS]\":{\"ids\":[2]},\"[SEP]\":{\"ids\":[3]}}},"
                              "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
                              "\"max_input_chars_per_word\":100,\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,"
                              "\"[MASK]\":4");
    for (unsigned i = 0; i < 26; i++)
        good = good && buffer_format(&text, ",\"%c\":%u,\"##%c\":%u", 'a' + i, 5 + i, 'a' + i, 31 + i);
    for (unsigned i = 0; i < 7; i++)
        good = good && buffer_format(&text, ",\"%s\":%u", words[i], 57 + i);
    w->good = w->good && good && buffer_text(&text, "}}}");
    if (w->good)
        save(w, folder, "tokenizer.json", text.data);
    buffer_free(&text);
}

bool tiny_bert_write(const char *folder, const tiny_bert *options)
{
    writer w = {.options = *options, .seed = 7, .good = true};
    tiny_bert *o = &w.options;
    uint32_t *const sizes[] = {&o->layers, &o->width, &o->heads, &o->ffn_width, &o->positions};
    static const uint32_t defaults[] = {2, 32, 2, 64, 64};
    for (unsigned i = 0; i < 5; i++)
        *sizes[i] = *sizes[i] ? *sizes[i] : defaults[i];
    o->type = o->type ? o->type : "F32";
    o->prefix = o->prefix ? o->prefix : "";
    put_tensors(&w);
    save_config(&w, folder);
    save_tokenizer(&w, folder);
    if (o->sharded) {
        buffer index = {0};
        w.good = w.good && buffer_format(&index, "{\"metadata\":{\"total_size\":0},\"weight_map\":{%s}}", w.map.data);
        if (w.good)
            save(&w, folder, "model.safetensors.index.json", index.data);
        buffer_free(&index);
    }
    for (unsigned i = 0; i < (o->sharded ? 2u : 1u); i++)
        save_shard(&w, folder, o->sharded ? shard_names[i] : "model.safetensors", &w.shards[i]);
    for (unsigned i = 0; i < 2; i++) {
        buffer_free(&w.shards[i].header);
        buffer_free(&w.shards[i].data);
    }
    buffer_free(&w.map);
    return w.good;
}

void tiny_bert_remove(const char *folder)
{
    static const char *const files[] = {"config.json", "modules.json", "1_Pooling/config.json", "1_Pooling", "tokenizer.json",
                                        "sentence_bert_config.json", "config_sentence_transformers.json", "model.safetensors",
                                        "model.safetensors.index.json", "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors", ""};
    char path[512];
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        remove(path);
    }
}
