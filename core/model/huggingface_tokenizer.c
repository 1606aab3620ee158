/* huggingface_tokenizer: tokenizer.json as the keys tokenizer.ggml.*: pieces, types, the normaliser's switches, and the tokens
 * that begin and end a text.
 *
 * WordPiece pieces are spelled as GGUF has them: "##ing" is "ing", and one that begins a word has U+2581 before it. */
#include "model/huggingface_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char file[] = "tokenizer.json";

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 }; /* GGUF's numbers */
enum { MAX_WORD = 1000 }; /* characters of a word of WordPiece; the tokenizer takes no more either */

typedef struct pieces {
    gguf_string *spelled; /* [count] */
    int32_t *types;       /* [count]; 0: no piece has that id */
    uint32_t count;
} pieces;

/* --- pieces ----------------------------------------------------------------------------------------------------------- */

/* The id that a JSON value is, or -1 after an error. */
static int64_t read_id(hf_folder *f, const json_t *value, const char *piece, uint32_t count)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id >= 0 && id < count)
        return id;
    hf_fail(f, BP_EINVAL, file, "token \"%.60s\" has no id below %" PRIu32 ", the rows of the embedding", piece, count);
    return -1;
}

static gguf_string wordpiece_spelling(hf_folder *f, const char *piece, size_t length)
{
    static const char begins[] = "\xE2\x96\x81";
    if (length > 2 && memcmp(piece, "##", 2) == 0)
        return gguf_table_string(&f->table, piece + 2, length - 2);
    char *spelled = gguf_table_alloc(&f->table, length + 3, 1);
    if (!spelled)
        return (gguf_string){"", 0};
    memcpy(spelled, begins, 3);
    memcpy(spelled + 3, piece, length);
    return (gguf_string){spelled, length + 3};
}

static void read_vocabulary(hf_folder *f, json_t *vocabulary, bool wordpiece, pieces *p)
{
    const char *piece;
    json_t *value;
    if (json_object_size(vocabulary) == 0)
        hf_fail(f, BP_EINVAL, file, "its model has no \"vocab\"");
    json_object_foreach(vocabulary, piece, value) {
        int64_t id = read_id(f, value, piece, p->count);
        if (id < 0)
            return;
        if (p->types[id]) {
            hf_fail(f, BP_EINVAL, file, "two pieces have the id %" PRId64, id);
            return;
        }
        p->types[id] = TYPE_NORMAL;
        size_t length = strlen(piece);
        p->spelled[id] = wordpiece ? wordpiece_spelling(f, piece, length) : gguf_table_string(&f->table, piece, length);
    }
}

/* Added tokens are found before the text is normalised, and are spelled as they are. */
static void read_added(hf_folder *f, const json_t *list, pieces *p)
{
    for (size_t i = 0; i < json_array_size(list) && f->table.status == BP_OK; i++) {
        const json_t *token = json_array_get(list, i);
        const char *content = hf_text(token, "content");
        bool special = json_is_true(json_object_get(token, "special"));
        if (!special && (json_is_true(json_object_get(token, "normalized")) ||
                         json_is_true(json_object_get(token, "single_word")) ||
                         json_is_true(json_object_get(token, "lstrip")) || json_is_true(json_object_get(token, "rstrip"))))
            hf_fail(f, BP_EUNSUPPORTED, file, "added token \"%.60s\" is found in normalised text, as a single word or with the "
                                              "space around it; this build knows none of these", content);
        int64_t id = read_id(f, json_object_get(token, "id"), content, p->count);
        if (id < 0)
            return;
        p->types[id] = special ? TYPE_CONTROL : TYPE_USER_DEFINED;
        p->spelled[id] = gguf_table_string(&f->table, content, strlen(content));
    }
}

static void put_pieces(hf_folder *f, const json_t *root, const json_t *model, bool wordpiece, uint32_t count)
{
    pieces p = {.spelled = gguf_table_alloc(&f->table, count, sizeof *p.spelled),
                .types = gguf_table_alloc(&f->table, count, sizeof *p.types), .count = count};
    if (f->table.status != BP_OK)
        return;
    read_vocabulary(f, json_object_get(model, "vocab"), wordpiece, &p);
    read_added(f, json_object_get(root, "added_tokens"), &p);
    for (uint32_t i = 0; i < count; i++)
        if (!p.types[i]) {
            char name[32];
            snprintf(name, sizeof name, "[PAD%" PRIu32 "]", i);
            p.types[i] = TYPE_UNUSED;
            p.spelled[i] = gguf_table_string(&f->table, name, strlen(name));
        }
    gguf_put_strings(&f->table, "tokenizer.ggml.tokens", p.spelled, count);
    gguf_put_i32s(&f->table, "tokenizer.ggml.token_type", p.types, count);
}

/* --- what stands around a text ---------------------------------------------------------------------------------------- */

static void put_around(hf_folder *f, bool after, const json_t *id, uint32_t count)
{
    char key[64];
    const char *which = after ? "eos" : "bos";
    bool *has = after ? &f->has_eos : &f->has_bos;
    int64_t token = read_id(f, id, which, count);
    if (token < 0 || *has)
        return;
    *has = true;
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", which);
    gguf_put_u32(&f->table, key, (uint32_t)token);
    snprintf(key, sizeof key, "tokenizer.ggml.add_%s_token", which);
    gguf_put_bool(&f->table, key, true);
}

/* TemplateProcessing of one text: at most one token before it and one behind it. */
static void put_template(hf_folder *f, const json_t *processor, uint32_t count)
{
    const json_t *parts = json_object_get(processor, "single"), *tokens = json_object_get(processor, "special_tokens");
    bool behind = false, before = false, after = false;
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i), *special = json_object_get(part, "SpecialToken");
        if (json_object_get(part, "Sequence") && !behind) {
            behind = true;
            continue;
        }
        const json_t *ids = json_object_get(json_object_get(tokens, hf_text(special, "id")), "ids");
        bool *done = behind ? &after : &before;
        if (!special || *done || json_array_size(ids) != 1) {
            hf_fail(f, BP_EUNSUPPORTED, file,
                    "its post_processor puts more around a text than one token before it and one behind it");
            return;
        }
        *done = true;
        put_around(f, behind, json_array_get(ids, 0), count);
    }
    if (!behind)
        hf_fail(f, BP_EINVAL, file, "its post_processor has no place for the text");
}

/* Of a pair: what stands around one text, and behind it the second text and the same end, of type 1. */
static void check_pair(hf_folder *f, const json_t *processor)
{
    static const struct { const char *kind, *id; json_int_t type; } expected[] = {
        {"SpecialToken", NULL, 0}, {"Sequence", "A", 0}, {"SpecialToken", NULL, 0}, {"Sequence", "B", 1}, {"SpecialToken", NULL, 1}};
    const json_t *parts = json_object_get(processor, "pair"), *single = json_object_get(processor, "single");
    bool good = json_array_size(parts) == 5 && json_array_size(single) == 3;
    for (size_t i = 0; good && i < 5; i++) {
        const json_t *part = json_object_get(json_array_get(parts, i), expected[i].kind);
        const json_t *same = json_object_get(json_array_get(single, i == 0 ? 0 : 2), "SpecialToken");
        const char *id = expected[i].id ? expected[i].id : hf_text(same, "id");
        good = part && strcmp(hf_text(part, "id"), id) == 0 &&
               json_integer_value(json_object_get(part, "type_id")) == expected[i].type;
    }
    if (!good)
        hf_fail(f, BP_EUNSUPPORTED, file, "its post_processor puts other tokens around a pair of texts than BERT's");
}

static void put_processor(hf_folder *f, const json_t *processor, uint32_t count)
{
    const char *type = hf_text(processor, "type");
    if (strcmp(type, "TemplateProcessing") == 0) {
        put_template(f, processor, count);
        if (f->pairs)
            check_pair(f, processor);
    } else if (strcmp(type, "BertProcessing") == 0) {
        put_around(f, false, json_array_get(json_object_get(processor, "cls"), 1), count);
        put_around(f, true, json_array_get(json_object_get(processor, "sep"), 1), count);
    } else if (strcmp(type, "Sequence") == 0) { /* one deep, as such files have it */
        const json_t *parts = json_object_get(processor, "processors");
        for (size_t i = 0; i < json_array_size(parts); i++)
            if (strcmp(hf_text(json_array_get(parts, i), "type"), "ByteLevel") != 0)
                put_template(f, json_array_get(parts, i), count);
    } else if (strcmp(type, "ByteLevel") == 0) {
        return;
    } else if (processor && !json_is_null(processor)) {
        hf_fail(f, BP_EUNSUPPORTED, file, "its post_processor is \"%.60s\"; this build knows TemplateProcessing and "
                                          "BertProcessing", type);
    }
}

/* --- WordPiece -------------------------------------------------------------------------------------------------------- */

static bool switched(const json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

static void put_normaliser(hf_folder *f, const json_t *normaliser)
{
    const char *type = hf_text(normaliser, "type");
    if (strcmp(type, "BertNormalizer") != 0) {
        hf_fail(f, BP_EUNSUPPORTED, file, "its normalizer is \"%.60s\"; this build knows BertNormalizer for WordPiece", type);
        return;
    }
    bool lowercase = switched(normaliser, "lowercase", true);
    gguf_put_bool(&f->table, "tokenizer.ggml.normalizer.lowercase", lowercase);
    gguf_put_bool(&f->table, "tokenizer.ggml.normalizer.strip_accents", switched(normaliser, "strip_accents", lowercase));
    gguf_put_bool(&f->table, "tokenizer.ggml.normalizer.clean_text", switched(normaliser, "clean_text", true));
    gguf_put_bool(&f->table, "tokenizer.ggml.normalizer.handle_chinese_chars",
                  switched(normaliser, "handle_chinese_chars", true));
}

static void put_wordpiece(hf_folder *f, const json_t *root, const json_t *model, uint32_t count)
{
    const char *unknown = hf_text(model, "unk_token"), *before = hf_text(json_object_get(root, "pre_tokenizer"), "type");
    const json_t *limit = json_object_get(model, "max_input_chars_per_word");
    if (strcmp(hf_text(model, "continuing_subword_prefix"), "##") != 0)
        hf_fail(f, BP_EUNSUPPORTED, file, "its continuing_subword_prefix is not \"##\"");
    if (strcmp(before, "BertPreTokenizer") != 0)
        hf_fail(f, BP_EUNSUPPORTED, file, "its pre_tokenizer is \"%.60s\"; this build knows BertPreTokenizer for WordPiece",
                before);
    if (limit && (!json_is_integer(limit) || json_integer_value(limit) < 1 || json_integer_value(limit) > MAX_WORD))
        hf_fail(f, BP_EINVAL, file, "its max_input_chars_per_word is not from 1 to %d", MAX_WORD);
    int64_t id = read_id(f, json_object_get(json_object_get(model, "vocab"), unknown), unknown, count);
    if (id < 0)
        return;
    gguf_put_text(&f->table, "tokenizer.ggml.model", "bert");
    gguf_put_u32(&f->table, "tokenizer.ggml.unknown_token_id", (uint32_t)id);
    gguf_put_u32(&f->table, "tokenizer.ggml.max_input_chars_per_word", limit ? (uint32_t)json_integer_value(limit) : 100);
    put_normaliser(f, json_object_get(root, "normalizer"));
}

/* --- what config.json and others say of tokens ------------------------------------------------------------------------- */

/* The tokens that end an answer: one, or a list, of which GGUF has room for two. */
static void put_ends(hf_folder *f, const json_t *ids, uint32_t count)
{
    const json_t *first = json_is_array(ids) ? json_array_get(ids, 0) : ids, *second = json_array_get(ids, 1);
    int64_t end = json_is_integer(first) ? read_id(f, first, "eos_token_id", count) : -1;
    int64_t turn = json_is_integer(second) ? read_id(f, second, "eos_token_id", count) : -1;
    if (end >= 0 && !f->has_eos) {
        gguf_put_u32(&f->table, "tokenizer.ggml.eos_token_id", (uint32_t)end);
        gguf_put_bool(&f->table, "tokenizer.ggml.add_eos_token", false);
        f->has_eos = true;
    }
    if (turn >= 0)
        gguf_put_u32(&f->table, "tokenizer.ggml.eot_token_id", (uint32_t)turn);
}

static void put_chat_template(hf_folder *f)
{
    json_t *settings = hf_read_json(f, "tokenizer_config.json", false);
    const json_t *template = json_object_get(settings, "chat_template");
    const char *text = hf_read_text(f, "chat_template.jinja");
    for (size_t i = 0; !text && i < json_array_size(template); i++)
        if (strcmp(hf_text(json_array_get(template, i), "name"), "default") == 0)
            text = hf_text(json_array_get(template, i), "template");
    if (!text)
        text = json_string_value(template);
    if (text && *text)
        gguf_put_text(&f->table, "tokenizer.chat_template", text);
    json_decref(settings);
}

/* Of a decoder, whose post_processor says at most that a text has a beginning. */
static void put_answering(hf_folder *f, uint32_t count)
{
    json_t *generation = hf_read_json(f, "generation_config.json", false);
    const json_t *ends = json_object_get(generation, "eos_token_id"), *begin = json_object_get(f->config, "bos_token_id");
    put_ends(f, ends ? ends : json_object_get(f->config, "eos_token_id"), count);
    if (!f->has_bos) {
        gguf_put_bool(&f->table, "tokenizer.ggml.add_bos_token", false);
        int64_t id = json_is_integer(begin) ? read_id(f, begin, "bos_token_id", count) : -1;
        if (id >= 0)
            gguf_put_u32(&f->table, "tokenizer.ggml.bos_token_id", (uint32_t)id);
    }
    put_chat_template(f);
    json_decref(generation);
}

void hf_put_tokenizer(hf_folder *f, uint32_t count)
{
    json_t *root = hf_read_json(f, file, true);
    if (!root)
        return;
    const json_t *model = json_object_get(root, "model");
    const char *type = hf_text(model, "type");
    bool wordpiece = strcmp(type, "WordPiece") == 0;
    if (wordpiece)
        put_wordpiece(f, root, model, count);
    else if (strcmp(type, "BPE") == 0)
        hf_put_bpe(f, root, model);
    else
        hf_fail(f, BP_EUNSUPPORTED, file, "its model is \"%.60s\"; this build knows WordPiece and byte-level BPE", type);
    put_pieces(f, root, model, wordpiece, count);
    put_processor(f, json_object_get(root, "post_processor"), count);
    if (!wordpiece)
        put_answering(f, count);
    json_decref(root);
}
