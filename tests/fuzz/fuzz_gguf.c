/* fuzz_gguf: any bytes as a model file. Whatever they are, they become a program that keeps the rules of
 * backplane/program.h, or are refused with a sentence. */
#include "model/model.h"

#include <backplane/backend.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Touches what a backend would read. */
static void check_program(const bp_program *p)
{
    volatile unsigned char byte;
    bool embedder = p->op_count && p->ops[p->op_count - 1].kind == BP_OP_POOL;
    require(p->op_count && p->vocab_size && p->output_width && p->max_context);
    require(embedder || p->output_width == p->vocab_size);
    for (uint32_t i = 0; i < p->weight_count; i++) {
        const unsigned char *bytes = p->weights[i].data;
        require(p->weights[i].bytes > 0);
        byte = bytes[0];
        byte = bytes[p->weights[i].bytes - 1];
    }
    (void)byte;
    for (uint32_t i = 0; i < p->op_count; i++) {
        const bp_op *op = &p->ops[i];
        for (int k = 0; k < 8; k++)
            require(op->weight[k] >= -1 && op->weight[k] < (int32_t)p->weight_count);
        for (int k = 0; k < 4; k++)
            require(op->in[k] >= -1 && op->in[k] < (int32_t)p->value_count);
        require(op->cache >= -1 && op->cache < (int32_t)p->cache_count && (op->args_size == 0) == (op->args == NULL));
    }
}

static void check_vocabulary(const model_vocabulary *v)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        require(!v->types || (v->types[i] >= 0 && v->types[i] <= 6));
        bytes += v->pieces[i].length && v->pieces[i].bytes[v->pieces[i].length - 1] ? 2 : 1;
    }
    for (uint32_t i = 0; v->scores && i < v->count; i++)
        bytes += v->scores[i] > 0;
    require(bytes >= v->count && v->bos < (int32_t)v->count && v->eos < (int32_t)v->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gguf *file = NULL;
    model_file *model = NULL;
    bp_error error = {0};
    /* Few positions, so that the rope table costs no time. */
    const model_options options = {.context = 2};
    bp_status status = gguf_parse(data, size, "f", &file, &error);
    if (status == BP_OK) {
        status = model_from_gguf(file, "f", &options, &model, &error);
        if (status != BP_OK)
            gguf_close(file);
    }
    if (status == BP_OK) {
        check_program(model_program(model));
        check_vocabulary(model_vocabulary_of(model));
        require(model_kv_bytes_per_token(model, BP_KV_F16) > 0 && strlen(model_shape_of(model)->architecture) > 0);
    } else {
        require(!model && status == error.code && strncmp(error.message, "f: ", 3) == 0);
    }
    model_close(model);
    return 0;
}
