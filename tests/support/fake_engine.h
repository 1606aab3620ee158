/* fake_engine: an engine whose model files and devices are played by the test.
 *
 * The device keeps, for every slot of every page, the token and position that were written there last. A row's logits are a
 * hash of the sequence's whole context as it is read back through the page table of the batch: a wrong page, position or
 * order, or a slot that is another's, changes the answer or is counted as a violation. So the right answer is known without
 * an engine (fake_expect), and whatever the engine does to a batch must not change it.
 *
 * The file "vectors" is an embedder's: the vector of a sequence is made of the same hash (fake_vector), and reading a part of
 * one is a violation.
 *
 * The functions of model/model.h are defined here, in place of those of the core: include this in one file of a test. Token
 * i < 256 is the byte i. Prompts may hold tokens that make the device misbehave.
 *
 * Threads: a device may be told to close its gates from any thread; everything else as the engine does. */
#ifndef BACKPLANE_TESTS_SUPPORT_FAKE_ENGINE_H
#define BACKPLANE_TESTS_SUPPORT_FAKE_ENGINE_H

#include "base/error.h"
#include "base/log.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FAKE_EOS = 256,
    FAKE_NAN,    /* a context that holds it has logits of NaN */
    FAKE_FAIL,   /* a step that holds it fails */
    FAKE_LOST,   /* a step that holds it loses the device */
    FAKE_MEMORY, /* a step that holds it finds no memory */
    FAKE_START, FAKE_END, /* <|im_start|>, <|im_end|> */
    FAKE_VOCABULARY
};
enum { FAKE_TRAINED = 2048, FAKE_MAX_ANSWER = 2048, FAKE_MAX_TEXT = 8192, FAKE_WIDTH = 3 };

static const char fake_template[] = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
                                    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* --- the model that is played --------------------------------------------------------------------------------------------- */

static inline uint64_t fake_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline uint64_t fake_read(uint64_t hash, int32_t token, int32_t position)
{
    return fake_mix(hash * 31 + ((uint64_t)(uint32_t)position << 32 | (uint32_t)token) + 0x9e3779b97f4a7c15u);
}

/* Mostly letters, now and then an end or a half of a character. */
static inline float fake_logit(uint64_t hash, uint32_t id)
{
    if (id > FAKE_EOS)
        return -INFINITY;
    float u = (float)(fake_mix(hash + id * 0x9e3779b97f4a7c15u) >> 40) / 16777216.0f;
    if ((id >= 'a' && id <= 'z') || id == ' ')
        return 4.0f + 8.0f * u;
    return (id == FAKE_EOS || id == 0xc3 || id == 0xa9 ? 12.2f : 8.0f) * u;
}

static inline void fake_vector(uint64_t hash, float *out)
{
    for (uint32_t i = 0; i < FAKE_WIDTH; i++)
        out[i] = (float)(fake_mix(hash + i) >> 40);
}

/* The answer to a prompt under greedy sampling, without an engine. Returns how many tokens, without the end's. */
static inline uint32_t fake_expect(const int32_t *prompt, uint32_t count, uint32_t limit, bool ignore_eos, int32_t *out)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < count; i++)
        hash = fake_read(hash, prompt[i], (int32_t)i);
    for (uint32_t n = 0; n < limit; n++) {
        int32_t best = 0;
        for (uint32_t id = 1; id < FAKE_VOCABULARY; id++)
            if (fake_logit(hash, id) > fake_logit(hash, (uint32_t)best))
                best = (int32_t)id;
        if (best == FAKE_EOS && !ignore_eos)
            return n;
        out[n] = best;
        hash = fake_read(hash, best, (int32_t)(count + n));
    }
    return limit;
}

/* --- files ---------------------------------------------------------------------------------------------------------------- */

/* What is on the test's disk. */
typedef struct fake_file {
    const char *path;
    const char *chat_template;
    bool embeds;
    atomic_uint fails;  /* how many times more opening it fails */
    atomic_uint opened; /* how many times it was opened with success */
    atomic_bool damaged;
} fake_file;

static fake_file fake_files[] = {{.path = "a", .chat_template = fake_template}, {.path = "b"}, {.path = "c"},
                                 {.path = "vectors", .embeds = true}};
static const bp_op fake_pool = {.kind = BP_OP_POOL};
static const gguf_string fake_prompt_names[] = {{"query", 5}, {"none", 4}}, fake_prompts[] = {{"ask: ", 5}, {"", 0}};

struct model_file {
    fake_file *file;
    bp_program program;
    model_shape shape;
    model_vocabulary vocabulary;
    model_prompts prompts;
    gguf_string pieces[FAKE_VOCABULARY];
    int32_t types[FAKE_VOCABULARY];
    char spellings[256][4];
};

/* GPT-2's alphabet: a printable character for each byte. */
static inline void fake_spell(model_file *m)
{
    static const char *const special[] = {"<|endoftext|>", "<|nan|>", "<|fail|>", "<|lost|>", "<|memory|>", "<|im_start|>",
                                          "<|im_end|>"};
    int32_t other = 256;
    for (int32_t b = 0; b < 256; b++) {
        bool shown = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
        m->pieces[b] = (gguf_string){.bytes = m->spellings[b], .length = utf8_encode(shown ? b : other++, m->spellings[b])};
        m->types[b] = TOKEN_NORMAL;
    }
    for (uint32_t i = FAKE_EOS; i < FAKE_VOCABULARY; i++) {
        m->pieces[i] = (gguf_string){.bytes = special[i - FAKE_EOS], .length = strlen(special[i - FAKE_EOS])};
        m->types[i] = TOKEN_CONTROL;
    }
}

bp_status model_open(const char *path, const model_options *options, model_file **out, bp_error *error)
{
    (void)options;
    fake_file *file = NULL;
    for (size_t i = 0; i < sizeof fake_files / sizeof *fake_files; i++)
        if (strcmp(fake_files[i].path, path) == 0)
            file = &fake_files[i];
    if (!file)
        return error_set(error, BP_ENOTFOUND, "there is no file %s", path);
    if (atomic_load(&file->fails)) {
        atomic_fetch_sub(&file->fails, 1);
        return error_set(error, BP_EIO, "%s cannot be read", path);
    }
    model_file *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(error, BP_ENOMEM, "no memory for %s", path);
    m->file = file;
    atomic_fetch_add(&file->opened, 1);
    m->program = (bp_program){.size = sizeof m->program, .family = "fake", .vocab_size = FAKE_VOCABULARY,
                              .output_width = FAKE_VOCABULARY, .max_context = FAKE_TRAINED};
    if (file->embeds) {
        m->prompts = (model_prompts){.names = fake_prompt_names, .texts = fake_prompts, .count = 2, .chosen = 1};
        m->program.ops = &fake_pool;
        m->program.op_count = 1;
        m->program.output_width = FAKE_WIDTH;
    }
    m->shape = (model_shape){.layers = 1, .vocab_size = FAKE_VOCABULARY, .train_context = FAKE_TRAINED, .parameters = 7,
                             .architecture = "fake"};
    fake_spell(m);
    m->vocabulary = (model_vocabulary){.model = "gpt2", .pre = "gpt-2", .pieces = m->pieces, .types = m->types,
                                       .count = FAKE_VOCABULARY, .bos = -1, .eos = FAKE_EOS, .eot = -1, .unknown = -1,
                                       .padding = -1};
    *out = m;
    return BP_OK;
}

void model_close(model_file *m)
{
    free(m);
}

const model_prompts *model_prompts_of(const model_file *m)
{
    return &m->prompts;
}

const bp_program *model_program(const model_file *m)
{
    return &m->program;
}

const model_shape *model_shape_of(const model_file *m)
{
    return &m->shape;
}

const model_vocabulary *model_vocabulary_of(const model_file *m)
{
    return &m->vocabulary;
}

const char *model_chat_template(const model_file *m)
{
    return m->file->chat_template;
}

bool model_damaged(const model_file *m)
{
    return atomic_load(&m->file->damaged);
}

uint64_t model_kv_bytes_per_token(const model_file *m, uint32_t kv_dtype)
{
    (void)m;
    return kv_dtype == BP_KV_F32 ? 16 : 8;
}

/* --- the device ----------------------------------------------------------------------------------------------------------- */

struct bp_device {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool closed, compile_closed;  /* gates: steps, and compile, wait until they are opened */
    uint32_t at_gate, at_compile; /* how many wait there */
    bool refuses;                 /* compile fails */
    uint32_t most_sequences;      /* a step of more finds no memory; 0 is none */
    uint64_t step_ns, token_ns;   /* what a step takes, and each token in it besides */
    const bp_model *last;         /* that had a step */
    bool refuses_copies;
    uint64_t steps, turns, mixed, chunks, largest, widest, violations, models, refused; /* turns: steps of another than the last */
    uint64_t tokens, copies, highest; /* highest: steps that gave no more */
};

typedef struct fake_slot {
    int32_t token, position;
} fake_slot;

struct bp_model {
    bp_device *device;
    bp_limits limits;
    fake_slot *slots; /* [page_count * page_tokens] */
    uint64_t *rows;   /* [max_rows] hashes */
    bool *nan;        /* [max_rows] */
    uint32_t row_count;
    bool embeds;
};

static inline bp_status fake_supports(bp_device *d, const bp_program *program, bp_error *error)
{
    (void)d;
    return strcmp(program->family, "fake") == 0 ? BP_OK : error_set(error, BP_EUNSUPPORTED, "%s is real", program->family);
}

static inline void fake_release(bp_model *m)
{
    if (!m)
        return;
    m->device->models--;
    free(m->slots);
    free(m->rows);
    free(m->nan);
    free(m);
}

static inline bp_status fake_compile(bp_device *d, const bp_program *program, const bp_limits *limits, bp_model **out,
                                     bp_error *error)
{
    pthread_mutex_lock(&d->lock);
    d->at_compile++;
    pthread_cond_broadcast(&d->moved);
    while (d->compile_closed)
        pthread_cond_wait(&d->moved, &d->lock);
    d->at_compile--;
    bool refuses = d->refuses;
    pthread_mutex_unlock(&d->lock);
    if (refuses)
        return error_set(error, BP_ENOMEM, "no memory on the device");
    bp_model *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(error, BP_ENOMEM, "no memory for a model");
    m->device = d;
    d->models++;
    m->limits = *limits;
    m->embeds = program->output_width == FAKE_WIDTH;
    m->slots = calloc((size_t)limits->page_count * limits->page_tokens, sizeof *m->slots);
    m->rows = calloc(limits->max_rows, sizeof *m->rows);
    m->nan = calloc(limits->max_rows, sizeof *m->nan);
    if (!m->slots || !m->rows || !m->nan) {
        fake_release(m);
        return error_set(error, BP_ENOMEM, "no memory for a model");
    }
    *out = m;
    return BP_OK;
}

static inline bp_status fake_memory(bp_model *m, bp_model_memory *out, bp_error *error)
{
    (void)error;
    *out = (bp_model_memory){.size = sizeof *out, .kv = (uint64_t)m->limits.page_count * m->limits.page_tokens * 8};
    return BP_OK;
}

/* What backend.h says of a batch. */
static inline bool fake_batch_is_sound(const bp_model *m, const bp_batch *b)
{
    const bp_limits *l = &m->limits;
    if (b->size != sizeof *b || b->seq_count == 0 || b->seq_count > l->max_seqs || b->token_count > l->max_tokens ||
        b->row_count > l->max_rows || b->first[0] != 0 || b->first[b->seq_count] != (int32_t)b->token_count)
        return false;
    for (uint32_t s = 0; s < b->seq_count; s++) {
        if (b->first[s] >= b->first[s + 1] || b->context[s] > (int32_t)l->max_context ||
            b->positions[b->first[s + 1] - 1] + 1 != b->context[s])
            return false;
        for (int32_t t = b->first[s]; t < b->first[s + 1]; t++)
            if (b->positions[t] != b->positions[b->first[s]] + t - b->first[s] || b->positions[t] < 0 || b->tokens[t] < 0 ||
                b->tokens[t] >= FAKE_VOCABULARY)
                return false;
        uint32_t pages = ((uint32_t)b->context[s] - 1) / l->page_tokens + 1;
        if (pages > b->page_stride)
            return false;
        for (uint32_t p = 0; p < pages; p++)
            if (b->pages[s * b->page_stride + p] < 0 || b->pages[s * b->page_stride + p] >= (int32_t)l->page_count)
                return false;
    }
    for (uint32_t r = 0; r < b->row_count; r++)
        if (b->rows[r] < (r ? b->rows[r - 1] + 1 : 0) || b->rows[r] >= (int32_t)b->token_count)
            return false;
    return true;
}

static inline fake_slot *fake_slot_of(const bp_model *m, const bp_batch *b, uint32_t sequence, uint32_t position)
{
    uint32_t size = m->limits.page_tokens;
    return &m->slots[(uint32_t)b->pages[sequence * b->page_stride + position / size] * size + position % size];
}

static inline void fake_run_sequence(bp_model *m, const bp_batch *b, uint32_t s)
{
    uint32_t begin = (uint32_t)b->first[s], end = (uint32_t)b->first[s + 1];
    for (uint32_t t = begin; t < end; t++)
        *fake_slot_of(m, b, s, (uint32_t)b->positions[t]) = (fake_slot){.token = b->tokens[t], .position = b->positions[t]};
    bool has_row = false;
    for (uint32_t r = 0; r < b->row_count; r++) {
        uint32_t t = (uint32_t)b->rows[r];
        if (t < begin || t >= end)
            continue;
        has_row = true;
        m->rows[r] = 0;
        m->nan[r] = false;
        for (uint32_t p = 0; p <= (uint32_t)b->positions[t]; p++) {
            const fake_slot *slot = fake_slot_of(m, b, s, p);
            m->rows[r] = fake_read(m->rows[r], slot->token, slot->position);
            m->nan[r] = m->nan[r] || slot->token == FAKE_NAN;
            m->device->violations += slot->position != (int32_t)p;
        }
    }
    m->device->chunks += !has_row;
    m->device->violations += m->embeds && (!has_row || b->positions[begin] != 0);
}

static inline bool fake_holds(const bp_batch *b, int32_t token)
{
    for (uint32_t t = 0; t < b->token_count; t++)
        if (b->tokens[t] == token)
            return true;
    return false;
}

static inline void fake_count(bp_device *d, const bp_batch *b)
{
    bool one = false, many = false;
    for (uint32_t s = 0; s < b->seq_count; s++)
        *(b->first[s + 1] - b->first[s] == 1 ? &one : &many) = true;
    d->steps++;
    d->tokens += b->token_count;
    d->mixed += one && many;
    d->largest = b->token_count > d->largest ? b->token_count : d->largest;
    d->widest = b->seq_count > d->widest ? b->seq_count : d->widest;
}

static inline bp_status fake_submit(bp_model *m, const bp_batch *b, bp_error *error)
{
    bp_device *d = m->device;
    pthread_mutex_lock(&d->lock);
    d->at_gate++;
    pthread_cond_broadcast(&d->moved);
    while (d->closed)
        pthread_cond_wait(&d->moved, &d->lock);
    d->at_gate--;
    uint32_t most = d->most_sequences;
    uint64_t ns = d->step_ns + d->token_ns * b->token_count;
    bool sound = fake_batch_is_sound(m, b);
    d->violations += !sound;
    if (sound)
        fake_count(d, b);
    d->turns += d->last && d->last != m;
    d->last = m;
    bp_status status = BP_OK;
    if (!sound)
        status = error_set(error, BP_EINTERNAL, "the batch is not sound");
    else if (fake_holds(b, FAKE_FAIL))
        status = error_set(error, BP_EINTERNAL, "the step failed");
    else if (fake_holds(b, FAKE_LOST))
        status = error_set(error, BP_EDEVICE, "the device fell off the bus");
    else if (fake_holds(b, FAKE_MEMORY) || (most && b->seq_count > most))
        status = error_set(error, BP_ENOMEM, "no memory for %u sequences", b->seq_count);
    d->refused += status != BP_OK;
    for (uint32_t s = 0; status == BP_OK && s < b->seq_count; s++)
        fake_run_sequence(m, b, s);
    m->row_count = b->row_count;
    pthread_mutex_unlock(&d->lock);
    if (ns)
        nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
    return status;
}

static inline bp_status fake_wait(bp_model *m, float *out, uint64_t count, bp_error *error)
{
    if (count != (uint64_t)m->row_count * (m->embeds ? FAKE_WIDTH : FAKE_VOCABULARY))
        return error_set(error, BP_EINTERNAL, "%llu numbers for %u rows", (unsigned long long)count, m->row_count);
    for (uint32_t r = 0; m->embeds && r < m->row_count; r++) {
        fake_vector(m->rows[r], out + (size_t)r * FAKE_WIDTH);
        out[(size_t)r * FAKE_WIDTH] = m->nan[r] ? NAN : out[(size_t)r * FAKE_WIDTH];
    }
    for (uint32_t r = 0; !m->embeds && r < m->row_count; r++)
        for (uint32_t id = 0; id < FAKE_VOCABULARY; id++)
            *out++ = m->nan[r] ? NAN : fake_logit(m->rows[r], id);
    return BP_OK;
}

/* For devices with BP_CAP_TOPK, and one row's highest. */
static inline bp_status fake_wait_topk(bp_model *m, uint32_t k, int32_t *ids, float *logits, bp_error *error)
{
    if (k != 1 || m->embeds)
        return error_set(error, BP_EINTERNAL, "%u of a row", k);
    m->device->highest++;
    for (uint32_t r = 0; r < m->row_count; r++) {
        ids[r] = 0;
        for (uint32_t id = 1; id < FAKE_VOCABULARY; id++)
            ids[r] = fake_logit(m->rows[r], id) > fake_logit(m->rows[r], (uint32_t)ids[r]) ? (int32_t)id : ids[r];
        logits[r] = m->nan[r] ? NAN : fake_logit(m->rows[r], (uint32_t)ids[r]);
    }
    return BP_OK;
}

/* For devices with BP_CAP_COPY. */
static inline bp_status fake_copy_pages(bp_model *m, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error)
{
    bp_device *d = m->device;
    uint32_t size = m->limits.page_tokens;
    pthread_mutex_lock(&d->lock);
    bool refuses = d->refuses_copies;
    for (uint32_t i = 0; i < count && !refuses; i++) {
        bool sound = from[i] >= 0 && to[i] >= 0 && from[i] < (int32_t)m->limits.page_count &&
                     to[i] < (int32_t)m->limits.page_count && from[i] != to[i];
        d->violations += !sound;
        if (sound)
            memcpy(m->slots + (uint32_t)to[i] * size, m->slots + (uint32_t)from[i] * size, size * sizeof *m->slots);
        d->copies++;
    }
    pthread_mutex_unlock(&d->lock);
    return refuses ? error_set(error, BP_EINTERNAL, "the copy failed") : BP_OK;
}

static const bp_backend_ops fake_ops = {.size = sizeof fake_ops, .supports = fake_supports, .compile = fake_compile,
                                        .release = fake_release, .memory = fake_memory, .submit = fake_submit,
                                        .wait = fake_wait, .wait_topk = fake_wait_topk, .copy_pages = fake_copy_pages};

static inline void fake_device_open(bp_device *d)
{
    *d = (bp_device){0};
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->moved, NULL);
}

static inline void fake_device_close(bp_device *d)
{
    pthread_cond_destroy(&d->moved);
    pthread_mutex_destroy(&d->lock);
}

static inline void fake_gate(bp_device *d, bool closed)
{
    pthread_mutex_lock(&d->lock);
    d->closed = closed;
    pthread_cond_broadcast(&d->moved);
    pthread_mutex_unlock(&d->lock);
}

static inline void fake_compile_gate(bp_device *d, bool closed)
{
    pthread_mutex_lock(&d->lock);
    d->compile_closed = closed;
    pthread_cond_broadcast(&d->moved);
    pthread_mutex_unlock(&d->lock);
}

/* Waits until a step, or a compile, stands before its gate. */
static inline void fake_await(bp_device *d, const uint32_t *count)
{
    pthread_mutex_lock(&d->lock);
    while (*count == 0)
        pthread_cond_wait(&d->moved, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

/* --- answers -------------------------------------------------------------------------------------------------------------- */

/* All that a stream gave. */
typedef struct fake_answer {
    bp_status status;     /* of submit, or of the stream's error */
    char message[508];
    const char *broken;   /* what the stream did that engine.h forbids; NULL */
    uint32_t kind, finish, stop_index, token_count, prompt_count; /* prompt_count: of PROMPT events */
    bp_token_logprob end; /* DONE's token, without its bytes */
    float scores[FAKE_MAX_ANSWER];
    int32_t tokens[FAKE_MAX_ANSWER];
    char text[FAKE_MAX_TEXT];
    size_t text_bytes;
    uint64_t tops; /* a hash of all log-probabilities */
    bp_usage usage;
} fake_answer;

static inline void fake_note(fake_answer *a, bool good, const char *what)
{
    if (!good && !a->broken)
        a->broken = what;
}

static inline void fake_note_token(fake_answer *a, const bp_event *e)
{
    fake_note(a, a->token_count < FAKE_MAX_ANSWER, "too many tokens");
    if (a->token_count < FAKE_MAX_ANSWER)
        a->tokens[a->token_count++] = e->chosen.token;
    fake_note(a, e->chosen.byte_count > 0 && e->chosen.bytes, "a token without bytes");
    for (uint32_t i = 0; i < e->top_count; i++) {
        uint32_t bits;
        memcpy(&bits, &e->top[i].logprob, sizeof bits);
        a->tops = fake_mix(a->tops + bits + (uint64_t)(uint32_t)e->top[i].token);
        fake_note(a, i == 0 || e->top[i].logprob <= e->top[i - 1].logprob, "log-probabilities out of order");
    }
}

static inline void fake_note_prompt(fake_answer *a, const bp_event *e)
{
    uint32_t n = a->prompt_count++;
    fake_note(a, n < FAKE_MAX_ANSWER && n == e->position, "a token of the prompt out of order");
    fake_note(a, n ? a->kind == BP_EVENT_PROMPT : a->kind == BP_EVENT_START, "a token of the prompt at the wrong time");
    fake_note(a, e->top_count == 0 || e->chosen.logprob <= e->top[0].logprob, "a log-probability above the highest");
    fake_note(a, e->text_bytes == 0 && e->chosen.bytes, "a token of the prompt with text, or without bytes");
    if (n < FAKE_MAX_ANSWER)
        a->scores[n] = e->chosen.logprob;
}

/* One more event; false once the stream has ended. */
static inline bool fake_next(const bp_engine_api *api, bp_stream *r, fake_answer *a)
{
    bp_event e = {.size = sizeof e};
    bp_error error = {0};
    bp_status status = api->next(r, 20000000000u, &e, &error);
    if (status != BP_OK) {
        fake_note(a, false, "no event within 20 s");
        return false;
    }
    fake_note(a, utf8_valid(e.text ? e.text : "", e.text_bytes), "half a character");
    fake_note(a, a->text_bytes + e.text_bytes < FAKE_MAX_TEXT, "too much text");
    if (e.text_bytes && a->text_bytes + e.text_bytes < FAKE_MAX_TEXT) {
        memcpy(a->text + a->text_bytes, e.text, e.text_bytes);
        a->text_bytes += e.text_bytes;
        a->text[a->text_bytes] = '\0';
    }
    if (e.kind == BP_EVENT_START)
        fake_note(a, a->kind == 0 && e.usage.prompt_tokens, "a second START, or one without its usage");
    if (e.kind == BP_EVENT_TOKEN) {
        fake_note(a, a->kind == BP_EVENT_START || a->kind == BP_EVENT_PROMPT || a->kind == BP_EVENT_TOKEN, "a TOKEN before START");
        fake_note_token(a, &e);
    }
    if (e.kind == BP_EVENT_PROMPT)
        fake_note_prompt(a, &e);
    a->kind = e.kind;
    if (e.kind != BP_EVENT_DONE && e.kind != BP_EVENT_ERROR)
        return true;
    a->finish = e.finish;
    a->stop_index = e.stop_index;
    a->end = (bp_token_logprob){.token = e.chosen.token, .logprob = e.chosen.logprob, .byte_count = e.chosen.byte_count};
    a->usage = e.usage;
    if (e.kind == BP_EVENT_ERROR) {
        a->status = e.error.code;
        memcpy(a->message, e.error.message, sizeof a->message);
    }
    return false;
}

static inline void fake_collect(const bp_engine_api *api, bp_stream *r, fake_answer *a)
{
    while (fake_next(api, r, a))
        ;
    api->release(r);
}

static inline bp_stream *fake_submit_request(const bp_engine_api *api, bp_engine *engine, const bp_request *request,
                                             fake_answer *a)
{
    bp_stream *r = NULL;
    bp_error error = {0};
    *a = (fake_answer){0};
    a->status = api->submit(engine, request, &r, &error);
    if (a->status == BP_OK)
        return r;
    memcpy(a->message, error.message, sizeof a->message);
    return NULL;
}

/* Submits, reads to the end, releases. */
static inline void fake_ask(const bp_engine_api *api, bp_engine *engine, const bp_request *request, fake_answer *a)
{
    bp_stream *r = fake_submit_request(api, engine, request, a);
    if (r)
        fake_collect(api, r, a);
}

#endif
