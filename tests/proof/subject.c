#include "subject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 16 };

static void *room(size_t count, size_t size)
{
    void *data = calloc(count ? count : 1, size);
    if (!data)
        die("no memory for a subject");
    return data;
}

/* Token ids of no meaning: any below `vocabulary` is a prompt. The generator is Knuth's MMIX. */
static int32_t *make_tokens(uint64_t number, int32_t count, uint32_t from, uint32_t to)
{
    uint64_t state = 0x9e3779b97f4a7c15u * (number + 1);
    int32_t *tokens = room((size_t)count, sizeof *tokens);
    for (int32_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)(from + (state >> 33) % (to - from));
    }
    return tokens;
}

static void make_prompts(subject *s, int32_t longest, uint32_t vocabulary)
{
    for (uint32_t p = 0; p < SUBJECT_PROMPTS; p++) {
        /* An encoder's prompts differ in length, since each is one step; a decoder stops where it likes. */
        s->length[p] = s->pools ? longest - (int32_t)p * longest / 8 : longest;
        s->tokens[p] = make_tokens(p, s->length[p], 0, vocabulary);
    }
}

subject *subject_of_recipe(const recipe *r, uint32_t numerics)
{
    subject *s = room(1, sizeof *s);
    snprintf(s->name, sizeof s->name, "net/%s", r->name);
    s->recipe = r;
    s->net = room(1, sizeof *s->net);
    recipe_build(r, s->net);
    s->program = net_program(s->net);
    s->program.numerics = numerics;
    s->kv_dtype = r->kv_dtype;
    s->pools = r->features & HAS_ENCODER;
    make_prompts(s, (int32_t)r->tokens, RECIPE_VOCABULARY - 2);
    if (recipe_poisons(r))
        s->poison = make_tokens(99, (int32_t)r->tokens, RECIPE_VOCABULARY - 2, RECIPE_VOCABULARY);
    return s;
}

subject *subject_of_file(const char *name, const char *path, unsigned mapping_flags, int32_t length)
{
    bp_error error = {0};
    subject *s = room(1, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    const model_options options = {.mapping_flags = mapping_flags, .context = 256};
    if (model_open(path, &options, &s->file, &error) != BP_OK)
        die("%s", error.message);
    s->program = *model_program(s->file);
    s->pools = s->program.ops[s->program.op_count - 1].kind == BP_OP_POOL;
    make_prompts(s, length, s->program.vocab_size);
    return s;
}

void subject_free(subject *s)
{
    if (!s)
        return;
    for (uint32_t p = 0; p < SUBJECT_PROMPTS; p++) {
        free(s->tokens[p]);
        free(s->logits[p]);
        free(s->kv[p]);
    }
    free(s->poison);
    if (s->net)
        net_end(s->net);
    free(s->net);
    model_close(s->file);
    free(s);
}

size_t subject_rows(const subject *s, uint32_t prompt)
{
    return s->pools ? 1 : (size_t)s->length[prompt];
}

static void run_prompt(subject *s, machine *m, uint32_t prompt, const int32_t *pages)
{
    uint32_t caches = s->program.cache_count, width = s->program.output_width;
    int32_t length = s->length[prompt], chunk = s->pools ? length : 1;
    s->logits[prompt] = room(subject_rows(s, prompt) * width, sizeof(float));
    s->kv[prompt] = room((size_t)length * caches, sizeof(uint64_t));
    for (int32_t at = 0; at < length; at += chunk)
        machine_step(m, &(piece){s->tokens[prompt] + at, at, chunk, pages}, 1, s->logits[prompt] + (size_t)at * width);
    for (int32_t at = 0; at < length; at++)
        for (uint32_t c = 0; c < caches; c++)
            s->kv[prompt][(size_t)at * caches + c] = machine_kv_hash(m, c, pages[at / PAGE], (uint32_t)at % PAGE);
}

/* Hashes of hashes: they name the first layer that differs. */
static void hash_layers(subject *s)
{
    uint32_t caches = s->program.cache_count;
    for (uint32_t c = 0; c < caches && c < sizeof s->layer_hash / sizeof *s->layer_hash; c++) {
        uint64_t hash = 0xcbf29ce484222325u;
        for (int32_t at = 0; at < s->length[0]; at++)
            hash = (hash ^ s->kv[0][(size_t)at * caches + c]) * 0x100000001b3u;
        s->layer_hash[c] = hash;
    }
}

void subject_run_oracle(subject *s, const plugin *backend, const char *isa, uint32_t prompts)
{
    machine_setup how = {.backend = backend, .isa = isa, .threads = 1, .kv_dtype = s->kv_dtype, .page_tokens = PAGE,
                         .page_count = SUBJECT_PROMPTS * MACHINE_STRIDE};
    machine *m = machine_open(&s->program, &how);
    for (uint32_t p = 0; p < prompts; p++) {
        int32_t pages[MACHINE_STRIDE];
        for (int32_t i = 0; i < MACHINE_STRIDE; i++)
            pages[i] = (int32_t)p * MACHINE_STRIDE + i;
        run_prompt(s, m, p, pages);
    }
    machine_close(m);
    s->prompts = prompts;
    s->hash = hash_floats(HASH_BEGIN, s->logits[0], subject_rows(s, 0) * s->program.output_width);
    hash_layers(s);
}
