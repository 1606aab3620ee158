/* inspect: what a model file is, and the memory that it needs, without loading it. */
#include "commands/commands.h"

#include "model/dtype.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_CONTEXT, OPTION_TENSORS, OPTION_TEMPLATE };

static const cli_option options[] = {
    {.name = "context", .letter = 'c', .value = "TOKENS", .help = "context that the memory is computed for"},
    {.name = "tensors", .letter = 't', .help = "list every tensor"},
    {.name = "template", .help = "print the chat template and nothing else"},
    {0}};

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / (1024.0 * 1024.0);
}

/* One line a weight type: how many tensors, how many bytes. */
static void print_types(const gguf *file)
{
    for (uint64_t i = 0; i < gguf_tensor_count(file); i++) {
        const bp_weight *first = gguf_tensor(file, i);
        uint64_t tensors = 0, bytes = 0;
        bool seen = false;
        for (uint64_t j = 0; j < gguf_tensor_count(file); j++) {
            const bp_weight *w = gguf_tensor(file, j);
            if (w->dtype != first->dtype)
                continue;
            seen = seen || j < i;
            tensors++;
            bytes += w->bytes;
        }
        if (!seen)
            printf("  %-8s %5" PRIu64 " tensors  %10.1f MiB\n", dtype_name(first->dtype), tensors, mebibytes(bytes));
    }
}

static void print_tensors(const gguf *file)
{
    for (uint64_t i = 0; i < gguf_tensor_count(file); i++) {
        const bp_weight *w = gguf_tensor(file, i);
        printf("  %-40s %-6s [%" PRId64, w->name, dtype_name(w->dtype), w->shape[0]);
        for (uint32_t d = 1; d < w->rank; d++)
            printf(", %" PRId64, w->shape[d]);
        printf("]\n");
    }
}

static void print_model(const model_file *model, uint32_t context)
{
    const model_shape *s = model_shape_of(model);
    const model_vocabulary *v = model_vocabulary_of(model);
    const char *template = model_chat_template(model);
    uint64_t kv = model_kv_bytes_per_token(model, 0);
    printf("name            %s\n", s->name[0] ? s->name : "(none)");
    uint32_t version = gguf_version(model_gguf(model));
    printf("architecture    %s, ", s->architecture);
    if (version)
        printf("GGUF v%" PRIu32 "\n", version);
    else
        puts("a Hugging Face folder");
    printf("parameters      %.1f million in %.1f MiB, mostly %s\n", (double)s->parameters / 1e6, mebibytes(s->file_bytes),
           s->weight_type);
    printf("layers          %" PRIu32 ", %" PRIu32 " wide, feed-forward %" PRIu32 "\n", s->layers, s->width, s->ffn_width);
    printf("attention       %" PRIu32 " heads, %" PRIu32 " for keys and values, of %" PRIu32 "\n", s->heads, s->kv_heads,
           s->head_dim);
    printf("vocabulary      %" PRIu32 " tokens, %s, pre-tokenizer %s\n", s->vocab_size, v->model, v->pre);
    printf("trained context %" PRIu32 " tokens\n", s->train_context);
    printf("chat template   %s\n", template ? "yes (--template prints it)" : "none");
    printf("memory          weights %.1f MiB + keys and values %.1f MiB for %" PRIu32 " tokens (f16, %" PRIu64
           " bytes a token)\n",
           mebibytes(s->weight_bytes), mebibytes(kv * context), context, kv);
    puts("types");
    print_types(model_gguf(model));
}

static int run(const cli_values *values)
{
    unsigned long context;
    if (!cli_number("context", values->option[OPTION_CONTEXT], 0, UINT32_MAX, &context))
        return CLI_USAGE;
    bp_error error;
    model_file *model;
    const model_options wanted = {.context = (uint32_t)context};
    if (model_open(values->arguments[0], &wanted, &model, &error) != BP_OK)
        return cli_fail(&error);
    if (values->option[OPTION_TEMPLATE]) {
        const char *template = model_chat_template(model);
        fputs(template ? template : "", stdout);
    } else {
        print_model(model, model_program(model)->max_context);
        if (values->option[OPTION_TENSORS]) {
            puts("tensors");
            print_tensors(model_gguf(model));
        }
    }
    model_close(model);
    return CLI_DONE;
}

const cli_command command_inspect = {
    .name = "inspect",
    .arguments = "MODEL",
    .summary = "Describe a model file: architecture, sizes, types, memory",
    .min_arguments = 1,
    .max_arguments = 1,
    .options = options,
    .run = run,
};
