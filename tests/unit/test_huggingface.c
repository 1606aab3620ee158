/* huggingface: a folder reads as the model it is, in one file or in shards, in each type; and every file of it that is not as
 * it should be is refused with a sentence that names it. */
#include "base/arena.h"
#include "model/huggingface_parts.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "support/tiny_bert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/backplane-huggingface.XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    tiny_bert_remove(folder);
    return access(folder, F_OK) == 0 ? -1 : 0;
}

static model_file *open_folder(const tiny_bert *options)
{
    model_file *m = NULL;
    bp_error error = {0};
    const model_options wanted = {0};
    assert_true(tiny_bert_write(folder, options));
    if (model_open(folder, &wanted, &m, &error) != BP_OK)
        fail_msg("%s", error.message);
    return m;
}

static const bp_weight *weight_of(const model_file *m, const char *name)
{
    const bp_weight *w = gguf_find_tensor(model_gguf(m), name);
    assert_non_null(w);
    return w;
}

/* --- what is right ---------------------------------------------------------------------------------------------------- */

static void a_folder_reads_as_its_model(void **state)
{
    (void)state;
    model_file *m = open_folder(&(tiny_bert){0});
    const model_shape *s = model_shape_of(m);
    const bp_program *p = model_program(m);
    assert_true(s->layers == 2 && s->width == 32 && s->heads == 2 && s->head_dim == 16 && s->ffn_width == 64);
    assert_true(s->vocab_size == TINY_BERT_VOCABULARY && s->train_context == 64);
    assert_string_equal(s->architecture, "bert");
    assert_string_equal(s->weight_type, "F32");
    assert_int_equal(strncmp(s->name, "backplane-huggingface.", 22), 0);
    assert_true(p->vocab_size == TINY_BERT_VOCABULARY && p->output_width == 32 && p->max_context == 64);
    assert_int_equal(p->op_count, 2 * 7 + 4);
    assert_int_equal(p->cache_count, 1);
    assert_true(p->ops[0].kind == BP_OP_EMBED && p->ops[0].flags == 0);
    assert_true(p->ops[1].kind == BP_OP_EMBED && p->ops[1].flags == BP_EMBED_POSITION);
    const bp_op *last = &p->ops[p->op_count - 1];
    const bp_pool_args *pool = last->args;
    assert_true(last->kind == BP_OP_POOL && pool->pooling == BP_POOL_MEAN && pool->normalise == 1);
    const bp_weight *up = weight_of(m, "blk.1.ffn_up.weight");
    assert_true(up->shape[0] == 32 && up->shape[1] == 64 && up->dtype == BP_F32);
    model_close(m);
}

/* A table of positions is the file's, and the first token type's vector is in it. */
static void positions_hold_the_token_type(void **state)
{
    (void)state;
    static const char *const types[] = {"F32", "F16", "BF16"};
    float first[64 * 32];
    for (unsigned t = 0; t < 3; t++) {
        model_file *m = open_folder(&(tiny_bert){.type = types[t]});
        const bp_program *p = model_program(m);
        const bp_weight *table = &p->weights[p->ops[1].weight[0]];
        assert_true(table->dtype == BP_F32 && table->bytes == sizeof first);
        if (t == 0) {
            memcpy(first, table->data, sizeof first);
            float position[32], type[32];
            memcpy(position, (const char *)weight_of(m, "position_embd.weight")->data + 5 * sizeof position, sizeof position);
            memcpy(type, weight_of(m, "token_types.weight")->data, sizeof type);
            for (unsigned i = 0; i < 32; i++)
                assert_true(first[5 * 32 + i] == position[i] + type[i]);
        }
        assert_memory_equal(table->data, first, sizeof first);
        model_close(m);
        tiny_bert_remove(folder);
        assert_int_equal(make_folder(NULL), 0);
    }
}

/* Shards, and names with the prefix of a larger model, hold the same. */
static void shards_and_prefixes_are_the_same_model(void **state)
{
    (void)state;
    model_file *m = open_folder(&(tiny_bert){0});
    unsigned char whole[32 * 32 * 4];
    memcpy(whole, weight_of(m, "blk.1.attn_v.weight")->data, sizeof whole);
    uint64_t tensors = gguf_tensor_count(model_gguf(m));
    model_close(m);
    tiny_bert_remove(folder);
    assert_int_equal(make_folder(NULL), 0);
    m = open_folder(&(tiny_bert){.sharded = true, .prefix = "bert."});
    assert_int_equal(gguf_tensor_count(model_gguf(m)), tensors);
    assert_memory_equal(weight_of(m, "blk.1.attn_v.weight")->data, whole, sizeof whole);
    model_close(m);
}

static void the_vocabulary_is_spelled_as_gguf_does(void **state)
{
    (void)state;
    model_file *m = open_folder(&(tiny_bert){0});
    const model_vocabulary *v = model_vocabulary_of(m);
    assert_string_equal(v->model, "bert");
    assert_true(v->count == TINY_BERT_VOCABULARY && v->bos == 2 && v->eos == 3 && v->unknown == 1 && v->add_bos && v->add_eos);
    assert_true(v->wordpiece.lowercase && v->wordpiece.strip_accents && v->wordpiece.clean_text && v->wordpiece.split_chinese);
    assert_true(v->wordpiece.max_word == 100 && v->types[2] == 3 && v->types[5] == 1);
    assert_memory_equal(v->pieces[57].bytes, "\xE2\x96\x81hello", 8);
    assert_memory_equal(v->pieces[59].bytes, "ing", 3);
    assert_true(v->pieces[57].length == 8 && v->pieces[59].length == 3);
    model_close(m);
}

static void a_folder_without_modules_is_a_mean(void **state)
{
    (void)state;
    model_file *m = open_folder(&(tiny_bert){.no_modules = true});
    const bp_program *p = model_program(m);
    const bp_pool_args *pool = p->ops[p->op_count - 1].args;
    assert_true(pool->pooling == BP_POOL_MEAN && pool->normalise == 0);
    model_close(m);
}

/* Newer folders name the pooling, and have prompts. */
static void a_pooling_is_named_and_prompts_are_read(void **state)
{
    (void)state;
    static const char pooling[] = "{\"pooling_mode\":\"lasttoken\",\"include_prompt\":true}";
    static const char prompts[] = "{\"prompts\":{\"query\":\"ask: \",\"document\":\"\"},\"default_prompt_name\":\"document\"}";
    model_file *m = open_folder(&(tiny_bert){0});
    assert_true(model_prompts_of(m)->count == 0 && model_prompts_of(m)->chosen == 0);
    model_close(m);
    assert_true(tiny_bert_write_file(folder, "1_Pooling/config.json", pooling, strlen(pooling)));
    assert_true(tiny_bert_write_file(folder, "config_sentence_transformers.json", prompts, strlen(prompts)));
    const model_options wanted = {0};
    assert_int_equal(model_open(folder, &wanted, &m, NULL), BP_OK);
    const model_prompts *p = model_prompts_of(m);
    assert_true(p->count == 2 && p->chosen < 2 && model_shape_of(m)->pooling == MODEL_POOLING_LAST);
    assert_true(p->names[p->chosen].length == 8 && p->texts[p->chosen].length == 0);
    assert_memory_equal(p->texts[1 - p->chosen].bytes, "ask: ", 5);
    model_close(m);
}

/* --- what is wrong ---------------------------------------------------------------------------------------------------- */

/* In `file`, the first `from` becomes `to`; without `from` the file is `to`, and without both it is gone. A file that only a
 * folder of shards has makes it one. */
typedef struct wrong_folder {
    const char *file, *from, *to, *message;
} wrong_folder;

static const wrong_folder wrong_folders[] = {
    {"config.json", NULL, NULL, "config.json cannot be opened"},
    {"config.json", NULL, "[1", "/config.json: invalid JSON at line 1"},
    {"config.json", "BertModel", "GPT2Model", "config.json: the model is a \"GPT2Model\"; this build knows BertModel"},
    {"config.json", "[\"BertModel\"]", "[]", "config.json: \"architectures\" does not name one class"},
    {"config.json", "\"hidden_size\":32", "\"hidden_size\":\"32\"", "config.json: \"hidden_size\" is no count"},
    {"config.json", "\"hidden_size\":32", "\"hidden_size\":-1", "config.json: \"hidden_size\" is no count"},
    {"config.json", "\"hidden_size\":32", "\"other\":32", "config.json: \"hidden_size\" is missing"},
    {"config.json", "\"hidden_size\":32", "\"hidden_size\":48", "tensor \"position_embd.weight\" has 64 rows of 32"},
    {"config.json", "_layers\":2", "_layers\":3", "tensor \"blk.2.attn_q.weight\" is missing"},
    {"config.json", "_layers\":2", "_layers\":1", "tensor \"blk.1."},
    {"config.json", "\"num_attention_heads\":2", "\"num_attention_heads\":5", "5 heads do not divide"},
    {"config.json", "\"gelu\"", "\"relu\"", "config.json: \"hidden_act\" is \"relu\"; this build knows gelu"},
    {"config.json", "\"absolute\"", "\"relative_key\"", "\"position_embedding_type\" is \"relative_key\""},
    {"config.json", "embeddings\":64", "embeddings\":128", "has 64 rows of 32 where the model's keys ask for 128"},
    {"config.json", "embeddings\":64", "embeddings\":0", "\"max_position_embeddings\" is missing or no length"},
    {"config.json", "1e-12", "\"small\"", "config.json: \"layer_norm_eps\" is no number"},
    {"modules.json", NULL, "{}", "modules.json: it is no list of a Transformer"},
    {"modules.json", "models.Normalize", "models.Dense", "modules.json: module 2 is \"sentence_transformers.models.Dense\""},
    {"modules.json", "1_Pooling\",\"type", "../1_Pooling\",\"type", "module 1 has no type, or no path inside this folder"},
    {"1_Pooling/config.json", NULL, NULL, "1_Pooling/config.json cannot be opened"},
    {"1_Pooling/config.json", "cls_token\":false", "cls_token\":true", "is on; this build knows one of mean, cls and last"},
    {"1_Pooling/config.json", "mean_tokens", "max_tokens", "\"pooling_mode_max_tokens\" is on"},
    {"1_Pooling/config.json", "tokens\":true", "tokens\":false", "no kind of pooling is on that this build knows"},
    {"1_Pooling/config.json", "{", "{\"pooling_mode\":\"max\",", "\"pooling_mode\" is \"max\"; this build knows mean, cls and lasttoken"},
    {"1_Pooling/config.json", "{", "{\"include_prompt\":false,", "\"include_prompt\" is false"},
    {"config_sentence_transformers.json", NULL, "{\"prompts\":{\"a\":3}}", "the prompt \"a\" is no text"},
    {"config_sentence_transformers.json", NULL, "{\"prompts\":{\"a\":\"\"},\"default_prompt_name\":3}", "\"default_prompt_name\" is no text"},
    {"config_sentence_transformers.json", NULL, "{\"prompts\":{\"a\":\"\"},\"default_prompt_name\":\"b\"}", "the default prompt \"b\" is none"},
    {"sentence_bert_config.json", NULL, "{\"do_lower_case\":true}", "\"do_lower_case\" is true"},
    {"tokenizer.json", NULL, NULL, "tokenizer.json cannot be opened"},
    {"tokenizer.json", "\"WordPiece\"", "\"Unigram\"", "tokenizer.json: its model is \"Unigram\"; this build knows WordPiece"},
    {"tokenizer.json", "\"BertNormalizer\"", "\"NFKC\"", "tokenizer.json: its normalizer is \"NFKC\""},
    {"tokenizer.json", "\"BertPreTokenizer\"", "\"Whitespace\"", "tokenizer.json: its pre_tokenizer is \"Whitespace\""},
    {"tokenizer.json", "\"hello\":57", "\"hello\":64", "token \"hello\" has no id below 64, the rows of the embedding"},
    {"tokenizer.json", "\"hello\":57", "\"hello\":58", "two pieces have the id 58"},
    {"tokenizer.json", "\"[UNK]\",\"cont", "\"<unk>\",\"cont", "token \"<unk>\" has no id"},
    {"tokenizer.json", "\"##\"", "\"@@\"", "its continuing_subword_prefix is not \"##\""},
    {"tokenizer.json", "\"ids\":[2]", "\"ids\":[2,3]", "puts more around a text than one token"},
    {"tokenizer.json", "\"TemplateProcessing\"", "\"Other\"", "its post_processor is \"Other\""},
    {"tokenizer.json", "per_word\":100", "per_word\":0", "its max_input_chars_per_word is not from 1 to"},
    {"tokenizer.json", "per_word\":100", "per_word\":1001", "its max_input_chars_per_word is not from 1 to 1000"},
    {"tokenizer.json", "true,\"normalized\":false", "false,\"normalized\":true", "is found in normalised text"},
    {"model.safetensors", NULL, NULL, "model.safetensors cannot be opened"},
    {"model.safetensors", NULL, "short", "model.safetensors: this is not a safetensors file: it has 5 bytes"},
    {"model.safetensors", "self.query.weight", "self.qwery.weight", "self.qwery.weight\" has no place in this class"},
    {"model.safetensors", "\"dtype\":\"F32\"", "\"dtype\":\"I32\"", "is of type I32; F32, F16 and BF16 are read"},
    {"model.safetensors", "\"dtype\":\"F32\"", "\"dtype\":\"X32\"", "has the type \"X32\", which this build does not read"},
    {"model.safetensors.index.json", "weight_map", "weight_cap", "it has no object \"weight_map\""},
    {"model.safetensors.index.json", "\"model-00002", "\"../el-00002", "is not in a file of this folder"},
    {"model.safetensors.index.json", "\"model-00001", "\"model-00002", "which model.safetensors.index.json puts elsewhere"},
    {"model.safetensors.index.json", "_map\":{", "_map\":{\"more\":\"model-00001-of-00002.safetensors\",",
     "it names 38 tensors where the files hold 37"},
    {"model-00002-of-00002.safetensors", NULL, NULL, "model-00002-of-00002.safetensors cannot be opened"},
};

static void read_file(const char *file, buffer *out)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    assert_true(buffer_reserve(out, 1 << 20));
    out->size = fread(out->data, 1, 1 << 20, stream);
    fclose(stream);
}

static void spoil(const wrong_folder *w)
{
    char path[512];
    buffer was = {0}, now = {0};
    if (!w->from && !w->to) {
        snprintf(path, sizeof path, "%s/%s", folder, w->file);
        assert_int_equal(unlink(path), 0);
        return;
    }
    if (!w->from) {
        assert_true(tiny_bert_write_file(folder, w->file, w->to, strlen(w->to)));
        return;
    }
    read_file(w->file, &was);
    const char *at = memmem(was.data, was.size, w->from, strlen(w->from));
    if (!at)
        fail_msg("%s does not hold %s", w->file, w->from);
    size_t before = (size_t)(at - was.data), after = before + strlen(w->from);
    assert_true(buffer_append(&now, was.data, before) && buffer_text(&now, w->to) &&
                buffer_append(&now, was.data + after, was.size - after));
    assert_true(tiny_bert_write_file(folder, w->file, now.data, now.size));
    buffer_free(&was);
    buffer_free(&now);
}

static bool is_of_shards(const char *file)
{
    return strstr(file, "index") || strstr(file, "-of-");
}

static void test_78_folders_that_are_wrong_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong_folders / sizeof *wrong_folders; i++) {
        const wrong_folder *w = &wrong_folders[i];
        model_file *m = NULL;
        bp_error error = {0};
        const model_options wanted = {0};
        assert_true(tiny_bert_write(folder, &(tiny_bert){.sharded = is_of_shards(w->file)}));
        spoil(w);
        bp_status status = model_open(folder, &wanted, &m, &error);
        if (status == BP_OK || status != error.code || !strstr(error.message, w->message))
            fail_msg("case %zu (%s): status %d, \"%s\" where \"%s\" is expected", i, w->file, status, error.message, w->message);
        if (strncmp(error.message, folder, strlen(folder)) != 0)
            fail_msg("case %zu: \"%s\" does not begin with the folder", i, error.message);
        tiny_bert_remove(folder);
        assert_int_equal(make_folder(NULL), 0);
    }
}

/* A sparse file says that it has more bytes than there is memory: it is refused by its size alone. */
static void files_that_are_too_large_are_not_read(void **state)
{
    (void)state;
    static const char *const files[] = {"config.json", "tokenizer.json", "modules.json", "sentence_bert_config.json"};
    const model_options wanted = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        model_file *m = NULL;
        bp_error error = {0};
        assert_true(tiny_bert_write(folder, &(tiny_bert){0}) && tiny_bert_write_file(folder, files[i], "{}", 2));
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        assert_int_equal(truncate(path, (off_t)1 << 40), 0);
        assert_int_equal(model_open(folder, &wanted, &m, &error), BP_ELIMIT);
        if (!strstr(error.message, files[i]) || !strstr(error.message, "1099511627776 bytes; 268435456 are possible"))
            fail_msg("%s: \"%s\"", files[i], error.message);
        unlink(path);
        tiny_bert_remove(folder);
        assert_int_equal(make_folder(NULL), 0);
    }
}

static bp_status read_template(const char **out, bp_error *error)
{
    hf_folder f = {.path = folder};
    gguf_table_begin(&f.table, 1, error);
    const char *text = hf_read_text(&f, "chat_template.jinja");
    *out = text ? strdup(text) : NULL;
    gguf_table_drop(&f.table);
    return f.table.status;
}

static void a_template_is_text_of_some_size(void **state)
{
    (void)state;
    char path[512];
    const char *text;
    bp_error error = {0};
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    assert_int_equal(read_template(&text, &error), BP_OK);
    assert_null(text);
    assert_true(tiny_bert_write_file(folder, "chat_template.jinja", "{{ 1 }}", 7));
    assert_int_equal(read_template(&text, &error), BP_OK);
    assert_string_equal(text, "{{ 1 }}");
    free((char *)text);
    assert_true(tiny_bert_write_file(folder, "chat_template.jinja", "{{\0 1 }}", 8));
    assert_int_equal(read_template(&text, &error), BP_EINVAL);
    assert_non_null(strstr(error.message, "chat_template.jinja: it holds a NUL"));
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    assert_int_equal(read_template(&text, &error), BP_ELIMIT);
    assert_non_null(strstr(error.message, "1099511627776 bytes; 1048576 are possible"));
    unlink(path);
}

/* --- safetensors ------------------------------------------------------------------------------------------------------ */

static const struct { const char *header; size_t zeros; const char *message; } wrong_headers[] = {
    {"[]", 0, "its header is no JSON object"},
    {"{\"a\":1", 0, "its header is no JSON object"},
    {"{\"a\":{},\"a\":{}}", 0, "its header is no JSON object"},
    {"{\"a\":{}}", 0, "has the type \"\", which this build does not read"},
    {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "a tensor's name has 0 bytes"},
    {"{\"a\\n\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "a tensor's name holds a control character"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor \"a\" has no shape of up to 4 dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "has no shape of up to 4 dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 4, "a shape that is not of positive integers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "a shape that is not of positive integers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 4, "more elements than can be counted"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 4, "more elements than can be counted"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "8 bytes of data where its shape and type need 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 8, "no data_offsets of two ascending integers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 8, "no data_offsets of two ascending integers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 8, "no data_offsets of two ascending integers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 4, "ends at 8, past the file's 4 bytes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, "the data of the tensors \"a\" and \"b\" overlap"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "the last 1 bytes of the file are no tensor's"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "the 4 bytes of data before tensor \"a\" are no tensor's"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
     12, "the 4 bytes of data before tensor \"a\" are no tensor's"},
};

static bp_status read_bytes(const buffer *bytes, uint64_t *count, bp_error *error)
{
    arena *memory = arena_new();
    safetensors_tensor *tensors;
    bp_status status = safetensors_read(bytes->data, bytes->size, memory, &tensors, count, error);
    arena_free(memory);
    return status;
}

static void test_76_headers_that_are_wrong_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong_headers / sizeof *wrong_headers; i++) {
        buffer bytes = {0};
        bp_error error = {0};
        uint64_t count;
        safetensors_bytes(wrong_headers[i].header, wrong_headers[i].zeros, &bytes);
        if (read_bytes(&bytes, &count, &error) == BP_OK || !strstr(error.message, wrong_headers[i].message))
            fail_msg("case %zu: \"%s\" where \"%s\" is expected", i, error.message, wrong_headers[i].message);
        buffer_free(&bytes);
    }
}

static void a_header_reads_back(void **state)
{
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[12,20]},"
                                 "\"a\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]}}   ";
    buffer bytes = {0};
    arena *memory = arena_new();
    safetensors_tensor *tensors;
    uint64_t count;
    safetensors_bytes(header, 20, &bytes);
    assert_int_equal(safetensors_read(bytes.data, bytes.size, memory, &tensors, &count, NULL), BP_OK);
    assert_int_equal(count, 2);
    const safetensors_tensor *a = &tensors[0], *b = &tensors[1];
    assert_string_equal(a->weight.name, "a");
    assert_true(a->readable && a->weight.dtype == BP_F16 && a->weight.rank == 2 && a->weight.bytes == 12);
    assert_true(a->weight.shape[0] == 3 && a->weight.shape[1] == 2 && a->weight.shape[2] == 1);
    assert_ptr_equal(a->weight.data, bytes.data + 8 + strlen(header));
    assert_true(!b->readable && b->weight.bytes == 8 && b->weight.shape[0] == 1);
    assert_string_equal(b->type, "I64");
    for (size_t size = 0; size < bytes.size; size++) {
        buffer cut = {.data = bytes.data, .size = size};
        assert_true(read_bytes(&cut, &count, NULL) != BP_OK);
    }
    arena_free(memory);
    buffer_free(&bytes);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(a_folder_reads_as_its_model),
        WITH_FOLDER(positions_hold_the_token_type),
        WITH_FOLDER(shards_and_prefixes_are_the_same_model),
        WITH_FOLDER(the_vocabulary_is_spelled_as_gguf_does),
        WITH_FOLDER(a_folder_without_modules_is_a_mean),
        WITH_FOLDER(a_pooling_is_named_and_prompts_are_read),
        WITH_FOLDER(test_78_folders_that_are_wrong_are_refused),
        WITH_FOLDER(files_that_are_too_large_are_not_read),
        WITH_FOLDER(a_template_is_text_of_some_size),
        cmocka_unit_test(test_76_headers_that_are_wrong_are_refused),
        cmocka_unit_test(a_header_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
