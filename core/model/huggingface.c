#include "model/huggingface.h"

#include "base/error.h"
#include "model/huggingface_parts.h"
#include "model/safetensors.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PATH = 4096, MAX_JSON = 256 << 20, MAX_TEXT = 1 << 20, MAX_SHARDS = 256, MAX_TENSORS = 1 << 17 };

static const char single_file[] = "model.safetensors", index_file[] = "model.safetensors.index.json";

/* The tensors of the folder's safetensors files, in the table's memory. */
typedef struct shards {
    safetensors_tensor *tensors[MAX_SHARDS];
    uint64_t counts[MAX_SHARDS], total;
    uint32_t count;
} shards;

/* --- files ------------------------------------------------------------------------------------------------------------ */

bp_status hf_fail(hf_folder *f, bp_status code, const char *file, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return gguf_table_fail(&f->table, code, "%s/%s: %s", f->path, file, text);
}

static bool join(hf_folder *f, const char *file, char out[MAX_PATH])
{
    if (snprintf(out, MAX_PATH, "%s/%s", f->path, file) < MAX_PATH)
        return true;
    hf_fail(f, BP_EINVAL, file, "the path is too long");
    return false;
}

static json_t *parse(hf_folder *f, const char *file, const mapping *map)
{
    json_error_t why;
    json_t *json = json_loadb((const char *)mapping_data(map), (size_t)mapping_size(map), JSON_REJECT_DUPLICATES, &why);
    if (!json)
        hf_fail(f, BP_EINVAL, file, "invalid JSON at line %d, column %d: %s", why.line, why.column, why.text);
    return json;
}

json_t *hf_read_json(hf_folder *f, const char *file, bool required)
{
    char path[MAX_PATH];
    if (f->table.status != BP_OK || !join(f, file, path))
        return NULL;
    mapping *map = NULL;
    bp_error why = {0};
    bp_status status = mapping_read(path, MAX_JSON, &map, &why);
    if (status == BP_ENOTFOUND && !required)
        return NULL;
    if (status != BP_OK) {
        gguf_table_fail(&f->table, status, "%s", why.message);
        return NULL;
    }
    json_t *json = parse(f, file, map);
    mapping_close(map);
    return json;
}

const char *hf_read_text(hf_folder *f, const char *file)
{
    char path[MAX_PATH];
    mapping *map = NULL;
    bp_error why = {0};
    if (f->table.status != BP_OK || !join(f, file, path))
        return NULL;
    bp_status status = mapping_read(path, MAX_TEXT, &map, &why);
    if (status == BP_OK) {
        const char *bytes = (const char *)mapping_data(map);
        size_t size = (size_t)mapping_size(map);
        if (memchr(bytes, '\0', size))
            hf_fail(f, BP_EINVAL, file, "it holds a NUL");
        gguf_string text = gguf_table_string(&f->table, bytes, size);
        mapping_close(map);
        return text.bytes;
    }
    if (status != BP_ENOTFOUND)
        gguf_table_fail(&f->table, status, "%s", why.message);
    return NULL;
}

const char *hf_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool exists(hf_folder *f, const char *file)
{
    char path[MAX_PATH];
    struct stat about;
    return join(f, file, path) && stat(path, &about) == 0;
}

/* --- keys ------------------------------------------------------------------------------------------------------------- */

static const char *full_key(const hf_folder *f, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", f->arch, name);
    return out;
}

void hf_put_u32(hf_folder *f, const char *name, uint32_t value)
{
    char key[96];
    gguf_put_u32(&f->table, full_key(f, name, key), value);
}

void hf_put_f32(hf_folder *f, const char *name, double value)
{
    char key[96];
    gguf_put_f32(&f->table, full_key(f, name, key), (float)value);
}

void hf_put_bool(hf_folder *f, const char *name, bool value)
{
    char key[96];
    gguf_put_bool(&f->table, full_key(f, name, key), value);
}

void hf_put_text(hf_folder *f, const char *name, const char *value)
{
    char key[96];
    gguf_put_text(&f->table, full_key(f, name, key), value);
}

static void put_name(hf_folder *f)
{
    size_t length = strlen(f->path);
    while (length > 1 && f->path[length - 1] == '/')
        length--;
    size_t begin = length;
    while (begin > 0 && f->path[begin - 1] != '/')
        begin--;
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)(length - begin < 120 ? length - begin : 120), f->path + begin);
    gguf_put_text(&f->table, "general.name", name);
}

/* --- tensors ---------------------------------------------------------------------------------------------------------- */

static void read_shard(hf_folder *f, const char *file, unsigned mapping_flags, shards *s)
{
    char path[MAX_PATH];
    if (!join(f, file, path))
        return;
    const mapping *map = gguf_table_map(&f->table, path, mapping_flags);
    if (!map)
        return;
    bp_error why = {0};
    bp_status status = safetensors_read(mapping_data(map), mapping_size(map), f->table.memory, &s->tensors[s->count],
                                        &s->counts[s->count], &why);
    if (status != BP_OK)
        hf_fail(f, status, file, "%.380s", why.message);
    s->total += s->counts[s->count++];
    if (s->total > MAX_TENSORS)
        hf_fail(f, BP_ELIMIT, file, "the model has more than %d tensors", MAX_TENSORS);
}

/* A file of this folder, not of another. */
static bool is_plain_name(const char *name)
{
    return name && *name && *name != '.' && strlen(name) < 256 && !strchr(name, '/');
}

/* Every tensor lies in the shard where the index puts it, and the index names no others. */
static void check_index(hf_folder *f, const json_t *where, const char *file, const shards *s)
{
    const safetensors_tensor *tensors = s->tensors[s->count - 1];
    for (uint64_t i = 0; i < s->counts[s->count - 1]; i++) {
        const char *there = json_string_value(json_object_get(where, tensors[i].weight.name));
        if (!there || strcmp(there, file) != 0)
            hf_fail(f, BP_EINVAL, file, "it holds tensor \"%.200s\", which %s puts elsewhere", tensors[i].weight.name,
                    index_file);
    }
}

static void read_indexed(hf_folder *f, json_t *where, unsigned mapping_flags, shards *s)
{
    json_t *seen = json_object(), *file;
    const char *name;
    if (!json_is_object(where))
        hf_fail(f, BP_EINVAL, index_file, "it has no object \"weight_map\"");
    json_object_foreach(where, name, file) {
        const char *shard = json_string_value(file);
        if (!is_plain_name(shard))
            hf_fail(f, BP_EINVAL, index_file, "tensor \"%.200s\" is not in a file of this folder", name);
        if (f->table.status != BP_OK || json_object_get(seen, shard))
            continue;
        if (s->count == MAX_SHARDS)
            hf_fail(f, BP_ELIMIT, index_file, "the model has more than %d files", MAX_SHARDS);
        else if (json_object_set_new(seen, shard, json_true()) != 0)
            hf_fail(f, BP_ENOMEM, index_file, "no memory to read it");
        else
            read_shard(f, shard, mapping_flags, s);
        if (f->table.status == BP_OK)
            check_index(f, where, shard, s);
    }
    json_decref(seen);
    if (f->table.status == BP_OK && s->total != json_object_size(where))
        hf_fail(f, BP_EINVAL, index_file, "it names %zu tensors where the files hold %" PRIu64, json_object_size(where),
                s->total);
}

static void read_shards(hf_folder *f, unsigned mapping_flags, shards *s)
{
    if (exists(f, single_file) || !exists(f, index_file)) {
        read_shard(f, single_file, mapping_flags, s);
        return;
    }
    json_t *index = hf_read_json(f, index_file, true);
    if (index)
        read_indexed(f, json_object_get(index, "weight_map"), mapping_flags, s);
    json_decref(index);
}

static void put_tensor(hf_folder *f, const hf_family *family, const safetensors_tensor *tensor, uint32_t *rows)
{
    char name[64];
    const bp_weight *w = &tensor->weight;
    if (!hf_family_rename(family, w->name, name))
        hf_fail(f, BP_EUNSUPPORTED, "config.json", "tensor \"%.200s\" has no place in this class of models as this build knows it",
                w->name);
    else if (*name && !tensor->readable)
        hf_fail(f, BP_EUNSUPPORTED, "config.json", "tensor \"%.200s\" is of type %s; F32, F16 and BF16 are read", w->name,
                tensor->type);
    else if (*name && !(strcmp(name, "output.weight") == 0 && json_is_true(json_object_get(f->config, "tie_word_embeddings"))))
        gguf_put_tensor(&f->table, name, w);
    if (strcmp(name, "token_embd.weight") == 0 && w->shape[1] <= INT32_MAX)
        *rows = (uint32_t)w->shape[1];
}

/* --- the whole -------------------------------------------------------------------------------------------------------- */

static void put_all(hf_folder *f, unsigned mapping_flags)
{
    shards s = {.count = 0};
    uint32_t rows = 0;
    f->config = hf_read_json(f, "config.json", true);
    const hf_family *family = f->config ? hf_family_find(f) : NULL;
    if (!family)
        return;
    f->arch = hf_family_arch(family);
    gguf_put_text(&f->table, "general.architecture", f->arch);
    put_name(f);
    hf_family_put_keys(f, family);
    if (f->table.status == BP_OK)
        read_shards(f, mapping_flags, &s);
    gguf_put_room(&f->table, s.total + 1);
    if (f->extra.data)
        gguf_put_tensor(&f->table, f->extra.name, &f->extra);
    for (uint32_t i = 0; i < s.count && f->table.status == BP_OK; i++)
        for (uint64_t k = 0; k < s.counts[i] && f->table.status == BP_OK; k++)
            put_tensor(f, family, &s.tensors[i][k], &rows);
    hf_put_tokenizer(f, rows);
}

bool huggingface_is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

bp_status huggingface_open(const char *path, unsigned mapping_flags, gguf **out, bp_error *error)
{
    hf_folder f = {.path = path};
    gguf_table_begin(&f.table, MAX_SHARDS, error);
    if (f.table.status == BP_OK)
        put_all(&f, mapping_flags);
    json_decref(f.config);
    if (gguf_table_finish(&f.table, out) != BP_OK)
        return f.table.status;
    if (!gguf_damaged(*out))
        return BP_OK;
    gguf_close(*out);
    return error_set(error, BP_EIO, "a file of %s became shorter while it was read", path);
}
