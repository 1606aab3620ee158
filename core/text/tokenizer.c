/* tokenizer: the public functions, and the walk over a text that finds special tokens and hands on what lies between. */
#include "text/tokenizer.h"

#include "base/error.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

void token_list_free(token_list *list)
{
    free(list->ids);
    *list = (token_list){0};
}

bool token_list_reserve(token_list *list, size_t more)
{
    if (more <= list->capacity - list->count)
        return true;
    size_t capacity = list->capacity < 32 ? 64 : list->capacity * 2;
    if (more > SIZE_MAX / 8 - list->count || capacity > SIZE_MAX / 8)
        return false;
    if (capacity < list->count + more)
        capacity = list->count + more;
    int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
    if (!ids)
        return false;
    list->ids = ids;
    list->capacity = capacity;
    return true;
}

bool token_list_append(token_list *list, int32_t id)
{
    if (!token_list_reserve(list, 1))
        return false;
    list->ids[list->count++] = id;
    return true;
}

static bool in_vocabulary(const tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->count;
}

/* Spellings that end a turn in the families that have them; they count where the vocabulary marks them as control. */
static const char *const end_spellings[] = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|endoftext|>", "<|end_of_text|>",
    "</s>", "<|return|>", "<|call|>", "<|end_of_turn|>", "<|eot|>", "<|END_OF_TURN_TOKEN|>",
    "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
    "[EOS]", "<eos>",
};

static void mark_ends(tokenizer *t, const tokenizer_spec *spec)
{
    if (in_vocabulary(t, spec->eos))
        t->ends[spec->eos] = 1;
    if (in_vocabulary(t, spec->eot))
        t->ends[spec->eot] = 1;
    for (size_t i = 0; i < sizeof end_spellings / sizeof *end_spellings; i++) {
        int32_t id = tokenizer_find(t, end_spellings[i], strlen(end_spellings[i]));
        if (id >= 0 && t->types[id] == TOKEN_CONTROL)
            t->ends[id] = 1;
    }
}

/* What one kind of model needs and the others do not. */
static bp_status build_kind(tokenizer *t, const tokenizer_spec *spec, bp_error *error)
{
    const char *model = spec->model ? spec->model : "";
    t->unknown = spec->unknown;
    if (strcmp(model, "gpt2") == 0)
        return split_rules_new(spec->pre ? spec->pre : "", &t->split, error);
    if (strcmp(model, "llama") == 0) {
        t->kind = TOKENIZER_SENTENCEPIECE;
        t->space_prefix = spec->space_prefix;
        if (!spec->scores || spec->merge_count)
            return error_set(error, BP_EINVAL, "a SentencePiece vocabulary needs scores, and no merges");
        return BP_OK;
    }
    if (strcmp(model, "bert") != 0)
        return error_set(error, BP_EUNSUPPORTED,
                         "the tokenizer model \"%.64s\" is not supported; these are: gpt2 llama bert", model);
    t->kind = TOKENIZER_WORDPIECE;
    if (spec->unknown < 0 || spec->wordpiece.max_word < 1 || spec->merge_count)
        return error_set(error, BP_EINVAL, "a WordPiece vocabulary needs an unknown token and a longest word, and no merges");
    if (spec->wordpiece.max_word > WORDPIECE_MAX_WORD)
        return error_set(error, BP_EINVAL, "a WordPiece vocabulary's longest word has %u characters, over the limit of %d",
                         spec->wordpiece.max_word, WORDPIECE_MAX_WORD);
    t->wordpiece = spec->wordpiece;
    return BP_OK;
}

static bp_status build(tokenizer *t, const tokenizer_spec *spec, bp_error *error)
{
    if (spec->count == 0 || spec->count > INT32_MAX / 4 || spec->merge_count > INT32_MAX / 4)
        return error_set(error, BP_EINVAL, "a vocabulary of %u tokens and %u merges cannot be used", spec->count,
                         spec->merge_count);
    const int32_t ids[] = {spec->bos, spec->eos, spec->eot, spec->unknown, spec->padding};
    static const char *const names[] = {"bos", "eos", "eot", "unknown", "padding"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i] < -1 || (ids[i] >= 0 && (uint32_t)ids[i] >= spec->count))
            return error_set(error, BP_EINVAL, "the %s token %d is not one of the vocabulary's %u", names[i], ids[i],
                             spec->count);
    bp_status status = build_kind(t, spec, error);
    if (status == BP_OK)
        status = vocabulary_build(t, spec, error);
    if (status == BP_OK)
        status = special_build(t, error);
    if (status != BP_OK)
        return status;
    t->bos = spec->bos;
    t->eos = spec->eos;
    t->add_bos = spec->add_bos && spec->bos >= 0;
    t->add_eos = spec->add_eos && spec->eos >= 0;
    mark_ends(t, spec);
    return BP_OK;
}

bp_status tokenizer_new(const tokenizer_spec *spec, tokenizer **out, bp_error *error)
{
    *out = NULL;
    tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(error, BP_ENOMEM, "out of memory for a tokenizer");
    t->memory = arena_new();
    bp_status status = t->memory ? build(t, spec, error) : error_set(error, BP_ENOMEM, "out of memory for a tokenizer");
    if (status != BP_OK)
        tokenizer_free(t);
    else
        *out = t;
    return status;
}

void tokenizer_free(tokenizer *t)
{
    if (!t)
        return;
    arena_free(t->memory);
    split_rules_free(t->split);
    free(t);
}

/* What one call of tokenizer_encode works with. */
typedef struct encoding {
    const tokenizer *t;
    split_state *state;
    bpe_memory memory;
    token_list *out;
} encoding;

static bp_status encode_word(void *user, const char *word, size_t bytes, bp_error *error)
{
    encoding *e = user;
    if (!bpe_encode(e->t, &e->memory, word, bytes, e->out))
        return error_set(error, BP_ENOMEM, "out of memory for the text's tokens");
    return BP_OK;
}

/* A stretch without special tokens. */
static bp_status encode_plain(encoding *e, const char *text, size_t bytes, bp_error *error)
{
    if (bytes == 0)
        return BP_OK;
    buffer repaired = {0}, normal = {0};
    bp_status status = BP_OK;
    const tokenizer *t = e->t;
    bool ok = normalise_repair(&text, &bytes, &repaired);
    switch (t->kind) {
    case TOKENIZER_BPE:
        ok = ok && (!split_rules_normalise(t->split) || normalise_nfc(&text, &bytes, &normal));
        if (ok)
            status = split_text(t->split, e->state, text, bytes, encode_word, e, error);
        break;
    case TOKENIZER_SENTENCEPIECE:
        ok = ok && sentencepiece_normalise(&text, &bytes, t->space_prefix, &normal) &&
             sentencepiece_encode(t, &e->memory, text, bytes, e->out);
        break;
    case TOKENIZER_WORDPIECE:
        ok = ok && wordpiece_encode(t, text, bytes, e->out);
        break;
    }
    if (!ok)
        status = error_set(error, BP_ENOMEM, "out of memory for the text's tokens");
    buffer_free(&normal);
    buffer_free(&repaired);
    return status;
}

static bp_status encode_all(encoding *e, const char *text, size_t bytes, const unsigned char *mask, bool all_marked,
                            bp_error *error)
{
    size_t start = 0;
    for (size_t at = 0; at < bytes;) {
        const special_token *special = special_at(e->t, text, bytes, at, all_marked, mask);
        if (!special) {
            at++;
            continue;
        }
        bp_status status = encode_plain(e, text + start, at - start, error);
        if (status != BP_OK)
            return status;
        if (!token_list_append(e->out, special->id))
            return error_set(error, BP_ENOMEM, "out of memory for the text's tokens");
        at += special->length;
        start = at;
    }
    return encode_plain(e, text + start, bytes - start, error);
}

bp_status tokenizer_encode(const tokenizer *t, const char *text, size_t bytes, const unsigned char *special_mask,
                           unsigned flags, token_list *out, bp_error *error)
{
    if (bytes > TOKENIZER_MAX_TEXT)
        return error_set(error, BP_ELIMIT, "a text of %zu bytes is over the limit of 1 GiB", bytes);
    size_t before = out->count;
    encoding e = {.t = t, .out = out, .state = t->split ? split_state_new(t->split) : NULL};
    bp_status status = BP_ENOMEM;
    bool ok = (e.state || !t->split) && (!(flags & TOKENIZER_BOS) || !t->add_bos || token_list_append(out, t->bos));
    if (ok)
        status = encode_all(&e, text, bytes, special_mask, !special_mask && (flags & TOKENIZER_SPECIAL), error);
    if (ok && status == BP_OK)
        ok = !(flags & TOKENIZER_EOS) || !t->add_eos || token_list_append(out, t->eos);
    if (!ok)
        status = error_set(error, BP_ENOMEM, "out of memory for the text's tokens");
    if (status != BP_OK)
        out->count = before;
    split_state_free(e.state);
    bpe_memory_free(&e.memory);
    return status;
}

size_t tokenizer_memory(const tokenizer *t)
{
    return arena_bytes(t->memory);
}

uint32_t tokenizer_count(const tokenizer *t)
{
    return t->count;
}

int32_t tokenizer_bos(const tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const tokenizer *t)
{
    return t->eos;
}

bool tokenizer_is_special(const tokenizer *t, int32_t id)
{
    return !in_vocabulary(t, id) || t->types[id] == TOKEN_CONTROL || t->types[id] == TOKEN_UNKNOWN;
}

bool tokenizer_ends_text(const tokenizer *t, int32_t id)
{
    return in_vocabulary(t, id) && t->ends[id];
}

text_piece tokenizer_bytes(const tokenizer *t, int32_t id)
{
    if (!in_vocabulary(t, id))
        return (text_piece){"", 0};
    return (text_piece){t->pool + t->offsets[id], t->offsets[id + 1] - t->offsets[id]};
}

int32_t tokenizer_find(const tokenizer *t, const char *piece, size_t bytes)
{
    return vocabulary_find(t, piece, bytes);
}
