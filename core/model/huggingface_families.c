/* huggingface_families: config.json's keys and tensors' names, a table a class of models.
 *
 * A tensor's name is read in three parts: a prefix that says nothing ("bert."), the layer where there is one
 * ("encoder.layer.3."), and the rest, whose last part is kept. More classes are more rows. */
#include "model/huggingface_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum key_kind { KEY_COUNT, KEY_REAL } key_kind;

typedef struct key_row {
    const char *json, *name; /* in config.json, and here behind the architecture */
    key_kind kind;
    bool required;
} key_row;

typedef struct name_row {
    const char *from, *to; /* without ".weight" and ".bias" */
} name_row;

struct hf_family {
    const char *classes;  /* with a space before and after each */
    const char *headless; /* the same of classes that have no head, where others do; or NULL */
    const char *arch;
    const key_row *keys;           /* ends with a NULL json */
    const char *prefix;            /* that names may have and says nothing */
    const char *layer;             /* before the number of a layer */
    const name_row *inner, *outer; /* in a layer and outside; each ends with a NULL from */
    const char *ignored;           /* beginnings of names that are not needed, with a space before and after each */
    void (*put_more)(hf_folder *f);
};

/* --- what rows cannot say --------------------------------------------------------------------------------------------- */

/* A word of config.json, or the fallback; "" for what is no word. */
static const char *word(const hf_folder *f, const char *key, const char *fallback)
{
    const json_t *value = json_object_get(f->config, key);
    if (!value || json_is_null(value))
        return fallback;
    return json_is_string(value) ? json_string_value(value) : "";
}

/* A number of an object that is from 0 to 2^31, or the fallback. */
static double number(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    double found = json_is_number(value) ? json_number_value(value) : fallback;
    return found >= 0 && found <= 2147483648.0 ? found : fallback;
}

static void require_word(hf_folder *f, const char *key, const char *expected)
{
    const char *value = word(f, key, expected);
    if (strcmp(value, expected) != 0)
        hf_fail(f, BP_EUNSUPPORTED, "config.json", "\"%s\" is \"%.60s\"; this build knows %s", key, value, expected);
}

static void put_encoder(hf_folder *f)
{
    const char *activation = word(f, "hidden_act", "gelu");
    require_word(f, "position_embedding_type", "absolute");
    if (json_is_true(json_object_get(f->config, "is_decoder")))
        hf_fail(f, BP_EUNSUPPORTED, "config.json", "\"is_decoder\" is true; this build knows BERT as an encoder");
    if (strcmp(activation, "gelu_new") == 0 || strcmp(activation, "gelu_pytorch_tanh") == 0)
        hf_put_text(f, "feed_forward_activation", "gelu_tanh");
    else
        require_word(f, "hidden_act", "gelu");
    hf_put_bool(f, "attention.causal", false);
}

static void put_bert(hf_folder *f)
{
    put_encoder(f);
    hf_put_pooling(f, MODEL_POOLING_MEAN);
}

static void put_cross_encoder(hf_folder *f)
{
    put_encoder(f);
    f->pairs = true;
    hf_put_ranking(f);
}

/* Divisors of the frequencies where long waves are slowed and short ones are not: Llama 3.1's, which GGUF has as a tensor. */
static void put_llama3_divisors(hf_folder *f, const json_t *rope, uint32_t head_dim, double base)
{
    double factor = number(rope, "factor", 0), low = number(rope, "low_freq_factor", 0), high = number(rope, "high_freq_factor", 0);
    double context = number(rope, "original_max_position_embeddings", 0);
    if (!(factor >= 1 && low > 0 && high > low && context > 0 && base > 1) || head_dim < 2 || head_dim > 4096) {
        hf_fail(f, BP_EINVAL, "config.json", "the rope scaling \"llama3\" is not complete");
        return;
    }
    float *divisors = gguf_table_alloc(&f->table, head_dim / 2, sizeof *divisors);
    for (uint32_t i = 0; divisors && i < head_dim / 2; i++) {
        double wave = 6.283185307179586476925 * pow(base, 2.0 * i / head_dim);
        double smooth = (context / wave - low) / (high - low);
        divisors[i] = wave < context / high  ? 1
                      : wave > context / low ? (float)factor
                                             : (float)(1 / ((1 - smooth) / factor + smooth));
    }
    f->extra = (bp_weight){.name = "rope_freqs.weight", .dtype = BP_F32, .rank = 1, .shape = {head_dim / 2, 1, 1, 1},
                           .data = divisors, .bytes = head_dim / 2 * sizeof *divisors};
}

static void put_yarn(hf_folder *f, const json_t *rope)
{
    static const char *const others[] = {"attention_factor", "mscale", "mscale_all_dim", "truncate"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (json_object_get(rope, others[i]) && !json_is_null(json_object_get(rope, others[i])))
            hf_fail(f, BP_EUNSUPPORTED, "config.json", "the rope scaling \"yarn\" has \"%s\", which this build does not read in a "
                                                       "folder", others[i]);
    hf_put_f32(f, "rope.scaling.factor", number(rope, "factor", 0));
    if (number(rope, "original_max_position_embeddings", 0) >= 1)
        hf_put_u32(f, "rope.scaling.original_context_length", (uint32_t)number(rope, "original_max_position_embeddings", 0));
    hf_put_f32(f, "rope.scaling.yarn_beta_fast", number(rope, "beta_fast", 32));
    hf_put_f32(f, "rope.scaling.yarn_beta_slow", number(rope, "beta_slow", 1));
}

/* Older files have rope_theta beside rope_scaling, newer ones all of it in rope_parameters. */
static void put_rope(hf_folder *f, uint32_t head_dim)
{
    const json_t *rope = json_object_get(f->config, "rope_parameters");
    if (!json_is_object(rope))
        rope = json_object_get(f->config, "rope_scaling");
    double base = number(rope, "rope_theta", number(f->config, "rope_theta", 10000));
    const char *type = *hf_text(rope, "rope_type") ? hf_text(rope, "rope_type") : hf_text(rope, "type");
    hf_put_f32(f, "rope.freq_base", base);
    hf_put_bool(f, "rope.halves", true);
    if (strcmp(type, "llama3") == 0) {
        put_llama3_divisors(f, rope, head_dim, base);
    } else if (strcmp(type, "linear") == 0 || strcmp(type, "yarn") == 0) {
        hf_put_text(f, "rope.scaling.type", type);
        if (*type == 'y')
            put_yarn(f, rope);
        else
            hf_put_f32(f, "rope.scaling.factor", number(rope, "factor", 0));
    } else if (*type && strcmp(type, "default") != 0) {
        hf_fail(f, BP_EUNSUPPORTED, "config.json", "the rope scaling is \"%.40s\"; this build knows default, linear, llama3 and yarn",
                type);
    }
}

static void put_decoder(hf_folder *f)
{
    double width = number(f->config, "hidden_size", 0), heads = number(f->config, "num_attention_heads", 1);
    double window = number(f->config, "sliding_window", 0);
    uint32_t head_dim = (uint32_t)number(f->config, "head_dim", heads >= 1 ? width / heads : 0);
    require_word(f, "hidden_act", "silu");
    hf_put_u32(f, "attention.key_length", head_dim);
    hf_put_u32(f, "attention.value_length", head_dim);
    put_rope(f, head_dim);
    if (json_is_true(json_object_get(f->config, "use_sliding_window")))
        hf_fail(f, BP_EUNSUPPORTED, "config.json", "\"use_sliding_window\" is true; this build knows such models without");
    else if (window >= 1 && !json_object_get(f->config, "use_sliding_window"))
        hf_put_u32(f, "attention.sliding_window", (uint32_t)window);
    if (f->headless && !json_is_true(json_object_get(f->config, "tie_word_embeddings")))
        hf_put_bool(f, "headless", true);
    hf_put_pooling(f, f->headless ? MODEL_POOLING_LAST : MODEL_POOLING_FILE);
}

/* --- the classes ------------------------------------------------------------------------------------------------------ */

static const key_row bert_keys[] = {
    {"num_hidden_layers", "block_count", KEY_COUNT, true},
    {"hidden_size", "embedding_length", KEY_COUNT, true},
    {"intermediate_size", "feed_forward_length", KEY_COUNT, true},
    {"num_attention_heads", "attention.head_count", KEY_COUNT, true},
    {"layer_norm_eps", "attention.layer_norm_epsilon", KEY_REAL, true},
    {0},
};
static const name_row bert_inner[] = {
    {"attention.self.query", "attn_q"},
    {"attention.self.key", "attn_k"},
    {"attention.self.value", "attn_v"},
    {"attention.output.dense", "attn_output"},
    {"attention.output.LayerNorm", "attn_output_norm"},
    {"intermediate.dense", "ffn_up"},
    {"output.dense", "ffn_down"},
    {"output.LayerNorm", "layer_output_norm"},
    {0},
};
static const name_row bert_outer[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.position_embeddings", "position_embd"},
    {"embeddings.token_type_embeddings", "token_types"},
    {"embeddings.LayerNorm", "token_embd_norm"},
    {0},
};
static const name_row cross_encoder_outer[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.position_embeddings", "position_embd"},
    {"embeddings.token_type_embeddings", "token_types"},
    {"embeddings.LayerNorm", "token_embd_norm"},
    {"pooler.dense", "cls"},
    {"classifier", "cls.output"},
    {0},
};

static const key_row decoder_keys[] = {
    {"num_hidden_layers", "block_count", KEY_COUNT, true},
    {"hidden_size", "embedding_length", KEY_COUNT, true},
    {"intermediate_size", "feed_forward_length", KEY_COUNT, true},
    {"num_attention_heads", "attention.head_count", KEY_COUNT, true},
    {"num_key_value_heads", "attention.head_count_kv", KEY_COUNT, false},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", KEY_REAL, true},
    {"vocab_size", "vocab_size", KEY_COUNT, true},
    {0},
};
static const name_row decoder_inner[] = {
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {0},
};
static const name_row decoder_outer[] = {
    {"embed_tokens", "token_embd"},
    {"norm", "output_norm"},
    {"lm_head", "output"},
    {0},
};
#define DECODER .keys = decoder_keys, .prefix = "model.", .layer = "layers.", .inner = decoder_inner, .outer = decoder_outer, \
                .ignored = "", .put_more = put_decoder

static const hf_family families[] = {
    {.classes = " BertModel BertForMaskedLM ", .arch = "bert", .keys = bert_keys, .prefix = "bert.", .layer = "encoder.layer.",
     .inner = bert_inner, .outer = bert_outer, .ignored = " embeddings.position_ids pooler. cls. ", .put_more = put_bert},
    {.classes = " BertForSequenceClassification ", .arch = "bert", .keys = bert_keys, .prefix = "bert.", .layer = "encoder.layer.",
     .inner = bert_inner, .outer = cross_encoder_outer, .ignored = " embeddings.position_ids ", .put_more = put_cross_encoder},
    {.classes = " LlamaForCausalLM MistralForCausalLM ", .headless = " LlamaModel MistralModel ", .arch = "llama", DECODER},
    {.classes = " Qwen2ForCausalLM ", .headless = " Qwen2Model ", .arch = "qwen2", DECODER},
    {.classes = " Qwen3ForCausalLM ", .headless = " Qwen3Model ", .arch = "qwen3", DECODER},
};

/* --- looking up ------------------------------------------------------------------------------------------------------- */

static bool is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; length && !strchr(name, ' ') && (at = strstr(at, name)); at++)
        if (at[-1] == ' ' && at[length] == ' ')
            return true;
    return false;
}

const hf_family *hf_family_find(hf_folder *f)
{
    const json_t *classes = json_object_get(f->config, "architectures");
    const char *class = json_string_value(json_array_get(classes, 0));
    if (json_array_size(classes) != 1 || !class) {
        hf_fail(f, BP_EINVAL, "config.json", "\"architectures\" does not name one class");
        return NULL;
    }
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        f->headless = families[i].headless && is_listed(families[i].headless, class);
        if (f->headless || is_listed(families[i].classes, class))
            return &families[i];
    }
    char known[300] = "";
    for (size_t i = 0, used = 0; i < sizeof families / sizeof *families && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", families[i].classes + (i > 0),
                                 families[i].headless ? families[i].headless + 1 : "");
    hf_fail(f, BP_EUNSUPPORTED, "config.json", "the model is a \"%.60s\"; this build knows%s", class, known);
    return NULL;
}

const char *hf_family_arch(const hf_family *family)
{
    return family->arch;
}

static void put_key(hf_folder *f, const key_row *row)
{
    const json_t *value = json_object_get(f->config, row->json);
    if (!value || json_is_null(value)) {
        if (row->required)
            hf_fail(f, BP_EINVAL, "config.json", "\"%s\" is missing", row->json);
    } else if (row->kind == KEY_REAL && json_is_number(value)) {
        hf_put_f32(f, row->name, json_number_value(value));
    } else if (row->kind == KEY_COUNT && json_is_integer(value) && json_integer_value(value) >= 0 &&
               json_integer_value(value) <= UINT32_MAX) {
        hf_put_u32(f, row->name, (uint32_t)json_integer_value(value));
    } else {
        hf_fail(f, BP_EINVAL, "config.json", "\"%s\" is no %s", row->json, row->kind == KEY_REAL ? "number" : "count");
    }
}

void hf_family_put_keys(hf_folder *f, const hf_family *family)
{
    for (const key_row *row = family->keys; row->json; row++)
        put_key(f, row);
    if (family->put_more)
        family->put_more(f);
}

/* Older files call the vectors of a norm gamma and beta. */
static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot)
        return NULL;
    return strcmp(dot, ".gamma") == 0 ? ".weight" : strcmp(dot, ".beta") == 0 ? ".bias" : dot;
}

static bool is_ignored(const hf_family *family, const char *name)
{
    for (const char *at = family->ignored; *at && at[1]; at += strcspn(at + 1, " ") + 1)
        if (strncmp(at + 1, name, strcspn(at + 1, " ")) == 0)
            return true;
    return false;
}

bool hf_family_rename(const hf_family *family, const char *name, char out[64])
{
    size_t prefix = strlen(family->prefix), layer_prefix = strlen(family->layer);
    if (strncmp(name, family->prefix, prefix) == 0)
        name += prefix;
    *out = '\0';
    if (is_ignored(family, name))
        return true;
    char layer[24] = "";
    const name_row *rows = family->outer;
    if (strncmp(name, family->layer, layer_prefix) == 0) {
        char *end;
        unsigned long number = strtoul(name + layer_prefix, &end, 10);
        if (end == name + layer_prefix || *end != '.' || number > UINT16_MAX)
            return false;
        snprintf(layer, sizeof layer, "blk.%lu.", number);
        name = end + 1;
        rows = family->inner;
    }
    const char *last = last_part(name);
    size_t length = last ? (size_t)(strrchr(name, '.') - name) : 0;
    for (; last && rows->from; rows++)
        if (strlen(rows->from) == length && strncmp(rows->from, name, length) == 0)
            return snprintf(out, 64, "%s%s%s", layer, rows->to, last) < 64;
    return false;
}
