#include "model/model.h"

#include "base/arena.h"
#include "base/error.h"
#include "model/architecture.h"
#include "model/dtype.h"
#include "model/shelf.h"
#include "model/vocabulary.h"

#include <backplane/backend.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DTYPE_NUMBERS = 64 }; /* of bp_dtype, and more */

struct model_file {
    arena *memory;
    gguf *file;
    model_shelf *shelf; /* that the file is on; NULL: none */
    bp_program program;
    model_shape shape;
    model_vocabulary vocabulary;
    model_prompts prompts;
    const char *chat_template;
};

/* --- what is told to people ------------------------------------------------------------------------------------------- */

static void copy_text(char *out, size_t size, gguf_string text)
{
    snprintf(out, size, "%.*s", (int)(text.length < size ? text.length : size), text.bytes);
}

/* Sums over the tensors, and the type that holds most of their bytes. */
static void measure(const gguf *file, model_shape *shape)
{
    uint64_t bytes[DTYPE_NUMBERS] = {0}, most = 0;
    shape->file_bytes = gguf_size(file);
    for (uint64_t i = 0; i < gguf_tensor_count(file); i++) {
        const bp_weight *w = gguf_tensor(file, i);
        const dtype *type = dtype_find(w->dtype);
        shape->weight_bytes += w->bytes;
        shape->parameters += w->bytes / type->bytes * type->elements;
        if (w->dtype < DTYPE_NUMBERS)
            bytes[w->dtype] += w->bytes;
    }
    for (uint32_t number = 0; number < DTYPE_NUMBERS; number++)
        if (bytes[number] > most) {
            most = bytes[number];
            snprintf(shape->weight_type, sizeof shape->weight_type, "%s", dtype_name(number));
        }
}

/* --- opening ---------------------------------------------------------------------------------------------------------- */

static bp_status find_architecture(const gguf *file, const architecture **out, bp_error *error)
{
    bool present;
    gguf_string name;
    bp_status status = gguf_text(file, "general.architecture", &present, &name, error);
    if (status != BP_OK)
        return status;
    if (!present)
        return error_set(error, BP_EINVAL, "key \"general.architecture\" is missing");
    if ((*out = architecture_find(name)))
        return BP_OK;
    char known[200] = "";
    size_t used = 0;
    for (const char *const *a = model_architectures(); *a && used < sizeof known; a++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", *a);
    return error_set(error, BP_EUNSUPPORTED, "its architecture is \"%.*s\"; this build knows %s",
                     (int)(name.length < 40 ? name.length : 40), name.bytes, known);
}

/* Keys of ours, which a folder of sentence-transformers fills. */
static bp_status read_prompts(const gguf *file, model_prompts *p, bp_error *error)
{
    uint64_t texts;
    gguf_string chosen;
    bool given;
    bp_status status;
    if ((status = gguf_strings(file, "embedding.prompt_names", NULL, &p->names, &p->count, error)) != BP_OK ||
        (status = gguf_strings(file, "embedding.prompts", NULL, &p->texts, &texts, error)) != BP_OK ||
        (status = gguf_text(file, "embedding.default_prompt_name", &given, &chosen, error)) != BP_OK)
        return status;
    if (texts != p->count)
        return error_set(error, BP_EINVAL, "there are %" PRIu64 " prompts with %" PRIu64 " names", texts, p->count);
    p->chosen = given ? 0 : p->count;
    while (p->chosen < p->count && (p->names[p->chosen].length != chosen.length ||
                                    memcmp(p->names[p->chosen].bytes, chosen.bytes, chosen.length) != 0))
        p->chosen++;
    if (given && p->chosen == p->count)
        return error_set(error, BP_EINVAL, "the default prompt \"%.*s\" is none of its prompts",
                         (int)(chosen.length < 60 ? chosen.length : 60), chosen.bytes);
    return BP_OK;
}

static bp_status build(model_file *m, const gguf *file, const model_options *options, bp_error *error)
{
    const architecture *arch;
    gguf_string name;
    bp_status status;
    if ((status = find_architecture(file, &arch, error)) != BP_OK ||
        (status = gguf_text(file, "general.name", NULL, &name, error)) != BP_OK ||
        (status = vocabulary_read(file, m->memory, &m->vocabulary, error)) != BP_OK ||
        (status = vocabulary_template(file, m->memory, &m->chat_template, error)) != BP_OK ||
        (status = read_prompts(file, &m->prompts, error)) != BP_OK)
        return status;
    m->program = (bp_program){.size = sizeof m->program, .numerics = options->numerics, .family = arch->name};
    architecture_job job = {.arch = arch, .file = file, .memory = m->memory, .options = options,
                            .vocabulary = &m->vocabulary, .program = &m->program, .shape = &m->shape};
    if ((status = arch->build(&job, error)) != BP_OK)
        return status;
    snprintf(m->shape.architecture, sizeof m->shape.architecture, "%s", arch->name);
    copy_text(m->shape.name, sizeof m->shape.name, name);
    measure(file, &m->shape);
    return BP_OK;
}

bp_status model_from_gguf(gguf *file, const char *name, const model_options *options, model_file **out, bp_error *error)
{
    model_file *m = calloc(1, sizeof *m);
    bp_status status;
    if (!m || !(m->memory = arena_new()))
        status = error_set(error, BP_ENOMEM, "no memory to open a model");
    else
        status = build(m, file, options, error);
    if (status != BP_OK) {
        model_close(m);
        return error_prefix(error, status, "%s", name);
    }
    m->file = file;
    *out = m;
    return BP_OK;
}

bp_status model_open(const char *path, const model_options *options, model_file **out, bp_error *error)
{
    gguf *file = NULL;
    model_file *m = NULL;
    bp_status status = model_shelf_open(options->shelf, path, options->mapping_flags, &file, error);
    if (status != BP_OK)
        return status;
    if ((status = model_from_gguf(file, path, options, &m, error)) != BP_OK) {
        model_shelf_close(options->shelf, file);
        return status;
    }
    m->shelf = options->shelf;
    if (model_damaged(m)) {
        model_close(m);
        return error_set(error, BP_EIO, "%s became shorter while it was read", path);
    }
    *out = m;
    return BP_OK;
}

void model_close(model_file *m)
{
    if (!m)
        return;
    arena_free(m->memory);
    model_shelf_close(m->shelf, m->file);
    free(m);
}

/* --- what is asked of an open one ------------------------------------------------------------------------------------- */

const bp_program *model_program(const model_file *m)
{
    return &m->program;
}

const model_shape *model_shape_of(const model_file *m)
{
    return &m->shape;
}

const gguf *model_gguf(const model_file *m)
{
    return m->file;
}

const char *model_chat_template(const model_file *m)
{
    return m->chat_template;
}

const model_vocabulary *model_vocabulary_of(const model_file *m)
{
    return &m->vocabulary;
}

const model_prompts *model_prompts_of(const model_file *m)
{
    return &m->prompts;
}

bool model_damaged(const model_file *m)
{
    return gguf_damaged(m->file);
}

uint64_t model_kv_bytes_per_token(const model_file *m, uint32_t kv_dtype)
{
    uint64_t numbers = 0;
    for (uint32_t i = 0; i < m->program.cache_count; i++)
        numbers += (uint64_t)2 * m->program.caches[i].kv_heads * m->program.caches[i].head_dim;
    if (kv_dtype == BP_KV_Q8_0)
        return numbers / 32 * 34;
    return numbers * (kv_dtype == BP_KV_F32 ? 4 : 2);
}
