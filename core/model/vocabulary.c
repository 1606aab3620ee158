#include "model/vocabulary.h"

#include "base/error.h"
#include "model/gguf_parts.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_TOKENS = 1 << 24, MAX_PIECE = 65535, MAX_TYPE = 6, MAX_WORD = 64, MAX_TEMPLATE = 1 << 20 };

/* A short string without NUL, or `fallback`. */
static bp_status read_word(const gguf *file, arena *memory, const char *key, const char *fallback, const char **out,
                           bp_error *error)
{
    bool present;
    gguf_string text;
    bp_status status = gguf_text(file, key, &present, &text, error);
    if (status != BP_OK)
        return status;
    if (!present) {
        *out = fallback;
        return BP_OK;
    }
    if (text.length == 0 || text.length > MAX_WORD || memchr(text.bytes, '\0', text.length))
        return error_set(error, BP_EINVAL, "key \"%s\" is no word: it has %" PRIu64 " bytes", key, text.length);
    *out = arena_copy(memory, text.bytes, text.length);
    return *out ? BP_OK : error_set(error, BP_ENOMEM, "no memory for the vocabulary");
}

static bp_status read_pieces(const gguf *file, model_vocabulary *v, bp_error *error)
{
    uint64_t count, merges;
    bool present;
    bp_status status = gguf_strings(file, "tokenizer.ggml.tokens", &present, &v->pieces, &count, error);
    if (status == BP_OK)
        status = gguf_strings(file, "tokenizer.ggml.merges", NULL, &v->merges, &merges, error);
    if (status != BP_OK)
        return status;
    if (!present || count == 0)
        return error_set(error, BP_EINVAL, "key \"tokenizer.ggml.tokens\" is missing or empty");
    if (count > MAX_TOKENS || merges > MAX_TOKENS)
        return error_set(error, BP_EINVAL, "the vocabulary has %" PRIu64 " tokens and %" PRIu64 " merges; %d are possible",
                         count, merges, MAX_TOKENS);
    v->count = (uint32_t)count;
    v->merge_count = (uint32_t)merges;
    for (uint32_t i = 0; i < v->count; i++)
        if (v->pieces[i].length > MAX_PIECE)
            return error_set(error, BP_EINVAL,
                             "key \"tokenizer.ggml.tokens\": token %" PRIu32 " has %" PRIu64 " bytes; %d are possible", i,
                             v->pieces[i].length, MAX_PIECE);
    return BP_OK;
}

/* The file's array may lie unaligned; the copy does not. */
static bp_status read_types(const gguf *file, arena *memory, model_vocabulary *v, bp_error *error)
{
    static const char key[] = "tokenizer.ggml.token_type";
    bool present;
    uint32_t element;
    const void *numbers;
    uint64_t count;
    bp_status status = gguf_numbers(file, key, &present, &element, &numbers, &count, error);
    if (status != BP_OK || !present)
        return status;
    if (element != GGUF_I32 && element != GGUF_U32)
        return error_set(error, BP_EINVAL, "key \"%s\" is an array of %s where int32 is expected", key,
                         gguf_type_name(element));
    if (count != v->count)
        return error_set(error, BP_EINVAL, "key \"%s\" has %" PRIu64 " types for %" PRIu32 " tokens", key, count, v->count);
    int32_t *types = arena_array(memory, v->count, sizeof *types);
    if (!types)
        return error_set(error, BP_ENOMEM, "no memory for the vocabulary");
    for (uint32_t i = 0; i < v->count; i++) {
        types[i] = (int32_t)gguf_little_endian((const unsigned char *)numbers + (size_t)i * 4, 4);
        if (types[i] < 0 || types[i] > MAX_TYPE)
            return error_set(error, BP_EINVAL,
                             "key \"%s\": token %" PRIu32 " has the type %" PRId32 "; 0 to %d are possible", key, i,
                             types[i], MAX_TYPE);
    }
    v->types = types;
    return BP_OK;
}

/* Of SentencePiece: scores order the pieces, so that merges, which some files hold as well, say nothing. */
static bp_status read_sentencepiece(const gguf *file, arena *memory, model_vocabulary *v, bp_error *error)
{
    static const char key[] = "tokenizer.ggml.scores", trim[] = "tokenizer.ggml.remove_extra_whitespaces";
    bool present, trims;
    uint32_t element;
    const void *numbers;
    uint64_t count;
    bp_status status = gguf_numbers(file, key, &present, &element, &numbers, &count, error);
    if (status != BP_OK)
        return status;
    if (!present)
        return error_set(error, BP_EINVAL, "key \"%s\" is missing", key);
    if (element != GGUF_F32)
        return error_set(error, BP_EINVAL, "key \"%s\" is an array of %s where float32 is expected", key,
                         gguf_type_name(element));
    if (count != v->count)
        return error_set(error, BP_EINVAL, "key \"%s\" has %" PRIu64 " scores for %" PRIu32 " tokens", key, count, v->count);
    float *scores = arena_array(memory, v->count, sizeof *scores);
    if (!scores)
        return error_set(error, BP_ENOMEM, "no memory for the vocabulary");
    memcpy(scores, numbers, v->count * sizeof *scores);
    v->scores = scores;
    v->merges = NULL;
    v->merge_count = 0;
    if ((status = gguf_bool(file, trim, false, NULL, &trims, error)) != BP_OK)
        return status;
    if (trims)
        return error_set(error, BP_EUNSUPPORTED, "key \"%s\" is true; this build keeps the spaces of a text", trim);
    return gguf_bool(file, "tokenizer.ggml.add_space_prefix", true, NULL, &v->space_prefix, error);
}

static bp_status read_id(const gguf *file, const char *key, uint32_t count, int32_t *out, bp_error *error)
{
    bool present;
    uint32_t id;
    bp_status status = gguf_u32(file, key, 0, &present, &id, error);
    if (status != BP_OK)
        return status;
    if (present && id >= count)
        return error_set(error, BP_EINVAL, "key \"%s\" is %" PRIu32 "; the vocabulary has %" PRIu32 " tokens", key, id,
                         count);
    *out = present ? (int32_t)id : -1;
    return BP_OK;
}

static bool is_any(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

/* Where the file does not say: SentencePiece models, BERT and Llama 3's begin texts with BOS. */
static bool begins_with_bos(const model_vocabulary *v)
{
    static const char *const models[] = {"llama", "bert", NULL}, *const pres[] = {"llama-bpe", "llama-v3", "llama3", NULL};
    return is_any(v->model, models) || is_any(v->pre, pres);
}

/* WordPiece: what its normaliser does, and [CLS], [SEP] and [UNK] where the file does not say: BERT's own. */
static bp_status read_wordpiece(const gguf *file, model_vocabulary *v, bp_error *error)
{
    enum { UNKNOWN = 100, CLS = 101, SEP = 102, WORD = 100 };
    const struct { const char *key; bool *out; } switches[] = {
        {"tokenizer.ggml.normalizer.lowercase", &v->wordpiece.lowercase},
        {"tokenizer.ggml.normalizer.strip_accents", &v->wordpiece.strip_accents},
        {"tokenizer.ggml.normalizer.clean_text", &v->wordpiece.clean_text},
        {"tokenizer.ggml.normalizer.handle_chinese_chars", &v->wordpiece.split_chinese},
    };
    const struct { const char *key; int32_t *id; int32_t fallback; } ids[] = {
        {"tokenizer.ggml.cls_token_id", &v->bos, CLS},
        {"tokenizer.ggml.seperator_token_id", &v->eos, SEP}, /* spelled so in files */
        {"tokenizer.ggml.unknown_token_id", &v->unknown, UNKNOWN},
    };
    bp_status status;
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if ((status = gguf_bool(file, switches[i].key, true, NULL, switches[i].out, error)) != BP_OK)
            return status;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        int32_t id = -1;
        if ((status = read_id(file, ids[i].key, v->count, &id, error)) != BP_OK)
            return status;
        if (id >= 0 || *ids[i].id < 0)
            *ids[i].id = id >= 0 ? id : ids[i].fallback;
        if ((uint32_t)*ids[i].id >= v->count)
            return error_set(error, BP_EINVAL, "key \"%s\" is missing", ids[i].key);
    }
    return gguf_u32(file, "tokenizer.ggml.max_input_chars_per_word", WORD, NULL, &v->wordpiece.max_word, error);
}

bp_status vocabulary_read(const gguf *file, arena *memory, model_vocabulary *out, bp_error *error)
{
    model_vocabulary v = {.model = "none", .pre = "none", .bos = -1, .eos = -1, .eot = -1, .unknown = -1, .padding = -1};
    bp_status status = read_word(file, memory, "tokenizer.ggml.model", "none", &v.model, error);
    if (status != BP_OK)
        return status;
    if (strcmp(v.model, "none") == 0 || strcmp(v.model, "no_vocab") == 0) {
        *out = v;
        return BP_OK;
    }
    const struct { const char *key; int32_t *id; } ids[] = {
        {"tokenizer.ggml.bos_token_id", &v.bos}, {"tokenizer.ggml.eos_token_id", &v.eos},
        {"tokenizer.ggml.eot_token_id", &v.eot}, {"tokenizer.ggml.unknown_token_id", &v.unknown},
        {"tokenizer.ggml.padding_token_id", &v.padding},
    };
    if ((status = read_word(file, memory, "tokenizer.ggml.pre", "default", &v.pre, error)) != BP_OK ||
        (status = read_pieces(file, &v, error)) != BP_OK || (status = read_types(file, memory, &v, error)) != BP_OK)
        return status;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if ((status = read_id(file, ids[i].key, v.count, ids[i].id, error)) != BP_OK)
            return status;
    bool wordpiece = strcmp(v.model, "bert") == 0;
    if (strcmp(v.model, "llama") == 0 && (status = read_sentencepiece(file, memory, &v, error)) != BP_OK)
        return status;
    if (wordpiece && (status = read_wordpiece(file, &v, error)) != BP_OK)
        return status;
    if ((status = gguf_bool(file, "tokenizer.ggml.add_bos_token", begins_with_bos(&v), NULL, &v.add_bos, error)) != BP_OK ||
        (status = gguf_bool(file, "tokenizer.ggml.add_eos_token", wordpiece, NULL, &v.add_eos, error)) != BP_OK)
        return status;
    if ((v.add_bos && v.bos < 0) || (v.add_eos && v.eos < 0))
        return error_set(error, BP_EINVAL, "key \"tokenizer.ggml.%s_token_id\" is missing, and every text is to have it",
                         v.add_bos && v.bos < 0 ? "bos" : "eos");
    *out = v;
    return BP_OK;
}

bp_status vocabulary_template(const gguf *file, arena *memory, const char **out, bp_error *error)
{
    static const char key[] = "tokenizer.chat_template";
    bool present;
    gguf_string text;
    bp_status status = gguf_text(file, key, &present, &text, error);
    *out = NULL;
    if (status != BP_OK || !present)
        return status;
    if (text.length > MAX_TEMPLATE)
        return error_set(error, BP_EINVAL, "key \"%s\" has %" PRIu64 " bytes; %d are possible", key, text.length,
                         MAX_TEMPLATE);
    if (memchr(text.bytes, '\0', text.length))
        return error_set(error, BP_EINVAL, "key \"%s\" holds a NUL", key);
    *out = arena_copy(memory, text.bytes, text.length);
    return *out ? BP_OK : error_set(error, BP_ENOMEM, "no memory for the chat template");
}
