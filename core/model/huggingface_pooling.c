/* huggingface_pooling: modules.json of sentence-transformers and what is beside it: how the rows of a text become one vector, how
 * long a text may be, and what stands before it. An encoder's folder without one means what sentence-transformers makes of it: the mean of the rows, as it is. A
 * decoder's gives answers, or, where its class has no head, vectors as pooling.h makes them of such models. */
#include "model/huggingface_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Older files have a switch for each mode, newer ones its name. */
static const struct { const char *key, *name; uint32_t pooling; } modes[] = {
    {"pooling_mode_mean_tokens", "mean", MODEL_POOLING_MEAN},
    {"pooling_mode_cls_token", "cls", MODEL_POOLING_CLS},
    {"pooling_mode_lasttoken", "lasttoken", MODEL_POOLING_LAST},
};

static uint32_t known_mode(const char *key)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].key, key) == 0 || strcmp(modes[i].name, key) == 0)
            return modes[i].pooling;
    return 0;
}

static uint32_t read_pooling(hf_folder *f, const char *folder)
{
    char file[300];
    uint32_t pooling = 0;
    snprintf(file, sizeof file, "%s%sconfig.json", folder, *folder ? "/" : "");
    json_t *config = hf_read_json(f, file, true), *value;
    const char *key, *name = hf_text(config, "pooling_mode");
    if (*name && !(pooling = known_mode(name)))
        hf_fail(f, BP_EUNSUPPORTED, file, "\"pooling_mode\" is \"%.60s\"; this build knows mean, cls and lasttoken", name);
    if (json_is_false(json_object_get(config, "include_prompt")))
        hf_fail(f, BP_EUNSUPPORTED, file, "\"include_prompt\" is false; this build pools the rows of a prompt too");
    json_object_foreach(config, key, value) {
        if (strncmp(key, "pooling_mode_", 13) != 0 || !json_is_true(value))
            continue;
        if (pooling || !known_mode(key))
            hf_fail(f, BP_EUNSUPPORTED, file, "\"%.60s\" is on; this build knows one of mean, cls and last token", key);
        pooling = known_mode(key);
    }
    if (config && !pooling)
        hf_fail(f, BP_EUNSUPPORTED, file, "no kind of pooling is on that this build knows: mean, cls, last token");
    json_decref(config);
    return pooling;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static void read_module(hf_folder *f, const json_t *module, size_t index, uint32_t *pooling, bool *normalise)
{
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *path = json_string_value(json_object_get(module, "path"));
    if (!type || !path || strlen(path) > 200 || *path == '/' || strstr(path, ".."))
        hf_fail(f, BP_EINVAL, "modules.json", "module %zu has no type, or no path inside this folder", index);
    else if (ends_with(type, ".Transformer") && index == 0)
        return;
    else if (ends_with(type, ".Pooling") && index == 1)
        *pooling = read_pooling(f, path);
    else if (ends_with(type, ".Normalize") && index == 2)
        *normalise = true;
    else
        hf_fail(f, BP_EUNSUPPORTED, "modules.json",
                "module %zu is \"%.100s\"; this build knows a Transformer, then Pooling, then Normalize", index, type);
}

/* The least of what config.json and sentence_bert_config.json allow. */
static void put_context(hf_folder *f)
{
    const json_t *positions = json_object_get(f->config, "max_position_embeddings");
    json_t *sentences = hf_read_json(f, "sentence_bert_config.json", false);
    const json_t *length = json_object_get(sentences, "max_seq_length");
    json_int_t context = json_integer_value(positions);
    if (context < 1 || context > INT32_MAX)
        hf_fail(f, BP_EINVAL, "config.json", "\"max_position_embeddings\" is missing or no length");
    if (json_is_integer(length) && json_integer_value(length) >= 1 && json_integer_value(length) < context)
        context = json_integer_value(length);
    if (json_is_true(json_object_get(sentences, "do_lower_case")))
        hf_fail(f, BP_EUNSUPPORTED, "sentence_bert_config.json",
                "\"do_lower_case\" is true; this build lowers case where tokenizer.json asks for it");
    json_decref(sentences);
    hf_put_u32(f, "context_length", (uint32_t)context);
}

/* config_sentence_transformers.json: what stands before texts, by name, and the name of what does where none is given. */
static void put_prompts(hf_folder *f)
{
    static const char file[] = "config_sentence_transformers.json";
    json_t *config = hf_read_json(f, file, false), *prompts = json_object_get(config, "prompts"), *text;
    const json_t *chosen = json_object_get(config, "default_prompt_name");
    size_t count = json_object_size(prompts), i = 0;
    gguf_string *names = gguf_table_alloc(&f->table, count + 1, sizeof *names);
    gguf_string *texts = gguf_table_alloc(&f->table, count + 1, sizeof *texts);
    const char *name;
    json_object_foreach(prompts, name, text) {
        if (!json_is_string(text))
            hf_fail(f, BP_EINVAL, file, "the prompt \"%.60s\" is no text", name);
        if (f->table.status != BP_OK)
            break;
        names[i] = gguf_table_string(&f->table, name, strlen(name));
        texts[i++] = gguf_table_string(&f->table, json_string_value(text), json_string_length(text));
    }
    gguf_put_strings(&f->table, "embedding.prompt_names", names, i);
    gguf_put_strings(&f->table, "embedding.prompts", texts, i);
    if (json_is_string(chosen))
        gguf_put_text(&f->table, "embedding.default_prompt_name", json_string_value(chosen));
    else if (chosen && !json_is_null(chosen))
        hf_fail(f, BP_EINVAL, file, "\"default_prompt_name\" is no text");
    json_decref(config);
}

/* What becomes of a cross-encoder's number; nothing said is sigmoid. */
static void put_score(hf_folder *f)
{
    const char *name = hf_text(json_object_get(f->config, "sentence_transformers"), "activation_fn");
    if (!*name)
        name = hf_text(f->config, "sbert_ce_default_activation_function");
    bool identity = ends_with(name, ".Identity");
    if (*name && !identity && !ends_with(name, ".Sigmoid"))
        hf_fail(f, BP_EUNSUPPORTED, "config.json", "scores are of \"%.60s\"; this build knows Sigmoid and Identity", name);
    hf_put_text(f, "score_activation", identity ? "none" : "sigmoid");
}

void hf_put_ranking(hf_folder *f)
{
    hf_put_u32(f, "pooling_type", MODEL_POOLING_RANK);
    put_score(f);
    put_context(f);
}

void hf_put_pooling(hf_folder *f, uint32_t fallback)
{
    uint32_t pooling = fallback;
    bool normalise = f->headless;
    json_t *modules = hf_read_json(f, "modules.json", false);
    if (modules && json_array_size(modules) < 2)
        hf_fail(f, BP_EUNSUPPORTED, "modules.json", "it is no list of a Transformer and what follows it");
    if (modules)
        normalise = false;
    for (size_t i = 0; i < json_array_size(modules); i++)
        read_module(f, json_array_get(modules, i), i, &pooling, &normalise);
    json_decref(modules);
    if (pooling != MODEL_POOLING_FILE) {
        hf_put_u32(f, "pooling_type", pooling);
        hf_put_bool(f, "pooling_normalize", normalise);
    }
    put_prompts(f);
    put_context(f);
}
