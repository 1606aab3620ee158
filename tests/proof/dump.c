#include "dump.h"

#include <stdio.h>
#include <string.h>

static FILE *open_file(const char *folder, const char *name, const char *ending)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s.%s", folder, name, ending);
    FILE *file = fopen(path, "wb");
    if (!file)
        die("cannot write %s", path);
    return file;
}

static void put_numbers(FILE *f, const char *key, const int32_t *values, size_t count)
{
    fprintf(f, "\"%s\": [", key);
    for (size_t i = 0; i < count; i++)
        fprintf(f, "%s%d", i ? ", " : "", values[i]);
    fprintf(f, "]");
}

/* The args of an op as 32-bit words, whose meaning program.h has. */
static void put_op(FILE *f, const bp_op *op, bool last)
{
    int32_t words[8] = {0};
    memcpy(words, op->args, op->args ? op->args_size : 0);
    fprintf(f, "  {\"kind\": %u, \"flags\": %u, \"cache\": %d, ", op->kind, op->flags, op->cache);
    put_numbers(f, "in", op->in, 4);
    fprintf(f, ", ");
    put_numbers(f, "out", op->out, 2);
    fprintf(f, ", ");
    put_numbers(f, "weight", op->weight, 8);
    fprintf(f, ", ");
    put_numbers(f, "args", words, op->args_size / 4);
    fprintf(f, "}%s\n", last ? "" : ",");
}

void dump_subject(const subject *s, const char *folder)
{
    const bp_program *p = &s->program;
    FILE *json = open_file(folder, s->recipe->name, "json"), *bin = open_file(folder, s->recipe->name, "bin");
    fprintf(json, "{\"kv_dtype\": %u, \"output_width\": %u,\n\"ops\": [\n", s->kv_dtype, p->output_width);
    for (uint32_t i = 0; i < p->op_count; i++)
        put_op(json, &p->ops[i], i + 1 == p->op_count);
    fprintf(json, "], \"caches\": [");
    for (uint32_t i = 0; i < p->cache_count; i++)
        fprintf(json, "%s[%u, %u, %u]", i ? ", " : "", p->caches[i].kv_heads, p->caches[i].head_dim, p->caches[i].window);
    fprintf(json, "],\n\"weights\": [");
    for (uint32_t i = 0; i < p->weight_count; i++) {
        const bp_weight *w = &p->weights[i];
        fprintf(json, "%s[%u, %lld, %lld, %llu]", i ? ", " : "", w->dtype, (long long)w->shape[0], (long long)w->shape[1],
                (unsigned long long)w->bytes);
        fwrite(w->data, 1, (size_t)w->bytes, bin);
    }
    fprintf(json, "],\n");
    put_numbers(json, "tokens", s->tokens[0], (size_t)s->length[0]);
    fprintf(json, "}\n");
    fwrite(s->logits[0], sizeof(float), subject_rows(s, 0) * p->output_width, bin);
    if (fclose(json) != 0 || fclose(bin) != 0)
        die("cannot write to %s", folder);
}
