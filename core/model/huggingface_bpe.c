/* huggingface_bpe: byte-level BPE of tokenizer.json. GGUF names a pre-tokenizer where this file spells it out, so what it
 * spells must be one of those that have a name. */
#include "model/huggingface_parts.h"

#include <string.h>

static const char file[] = "tokenizer.json";

#define LLAMA3(numbers)                                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+"  \
    "|\\s+(?!\\S)|\\s+"

typedef struct splitter {
    const char *pattern; /* of a Split; NULL: ByteLevel splits by itself */
    bool digits;         /* one by one, before it */
    bool nfc, ignore_merges;
    const char *name;
} splitter;

static const splitter splitters[] = {
    {NULL, false, false, false, "gpt-2"},
    {NULL, true, false, false, "smollm"},
    {NULL, true, true, false, "command-r"},
    {LLAMA3("\\p{N}{1,3}"), false, false, true, "llama-bpe"},
    {LLAMA3("\\p{N}{1,3}"), false, false, false, "smaug-bpe"},
    {LLAMA3("\\p{N}"), false, true, false, "qwen2"},
};

static bool is_on(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static bool is_type(const json_t *object, const char *type)
{
    return strcmp(hf_text(object, "type"), type) == 0;
}

/* One part of a pre_tokenizer; false for one that has no name in GGUF. */
static bool read_part(const json_t *part, bool *bytes, splitter *out)
{
    if (is_type(part, "Digits")) {
        out->digits = is_on(part, "individual_digits");
        return out->digits && !out->pattern;
    }
    if (is_type(part, "Split")) {
        out->pattern = hf_text(json_object_get(part, "pattern"), "Regex");
        return strcmp(hf_text(part, "behavior"), "Isolated") == 0 && !is_on(part, "invert");
    }
    *bytes = is_type(part, "ByteLevel") && !is_on(part, "add_prefix_space");
    return *bytes && json_is_false(json_object_get(part, "use_regex")) == (out->pattern != NULL);
}

/* The name of what the file spells; NULL where there is none. */
static const char *splitter_name(const json_t *root, const json_t *model)
{
    const json_t *before = json_object_get(root, "pre_tokenizer"), *normaliser = json_object_get(root, "normalizer");
    const json_t *parts = json_object_get(before, "pretokenizers");
    bool bytes = false, single = !is_type(before, "Sequence");
    splitter spelled = {.nfc = is_type(normaliser, "NFC"), .ignore_merges = is_on(model, "ignore_merges")};
    if (normaliser && !json_is_null(normaliser) && !spelled.nfc)
        return NULL;
    for (size_t i = 0; i < (single ? 1 : json_array_size(parts)); i++)
        if (bytes || !read_part(single ? before : json_array_get(parts, i), &bytes, &spelled))
            return NULL;
    for (size_t i = 0; bytes && i < sizeof splitters / sizeof *splitters; i++) {
        const splitter *s = &splitters[i];
        bool same = s->pattern && spelled.pattern ? strcmp(s->pattern, spelled.pattern) == 0 : s->pattern == spelled.pattern;
        if (same && s->digits == spelled.digits && s->nfc == spelled.nfc && s->ignore_merges == spelled.ignore_merges)
            return s->name;
    }
    return NULL;
}

/* "left right", or the two apart. */
static gguf_string read_merge(hf_folder *f, const json_t *merge)
{
    if (json_is_string(merge))
        return gguf_table_string(&f->table, json_string_value(merge), json_string_length(merge));
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    size_t first = json_string_length(left), second = json_string_length(right);
    char *joined = first && second ? gguf_table_alloc(&f->table, first + second + 2, 1) : NULL;
    if (!joined) {
        hf_fail(f, BP_EINVAL, file, "one of its merges is not two pieces");
        return (gguf_string){"", 0};
    }
    memcpy(joined, json_string_value(left), first);
    joined[first] = ' ';
    memcpy(joined + first + 1, json_string_value(right), second);
    return (gguf_string){joined, first + 1 + second};
}

void hf_put_bpe(hf_folder *f, const json_t *root, const json_t *model)
{
    const json_t *merges = json_object_get(model, "merges");
    const char *name = splitter_name(root, model);
    if (!name)
        hf_fail(f, BP_EUNSUPPORTED, file, "its normalizer and pre_tokenizer together are none that this build knows");
    if (is_on(model, "byte_fallback") || *hf_text(model, "continuing_subword_prefix") || *hf_text(model, "end_of_word_suffix"))
        hf_fail(f, BP_EUNSUPPORTED, file, "its BPE is not byte-level: this build knows no other in a folder");
    size_t count = json_array_size(merges);
    gguf_string *list = gguf_table_alloc(&f->table, count, sizeof *list);
    if (!list)
        return;
    for (size_t i = 0; i < count && f->table.status == BP_OK; i++)
        list[i] = read_merge(f, json_array_get(merges, i));
    gguf_put_text(&f->table, "tokenizer.ggml.model", "gpt2");
    gguf_put_text(&f->table, "tokenizer.ggml.pre", name ? name : "");
    gguf_put_strings(&f->table, "tokenizer.ggml.merges", list, count);
}
