#include "model/decoder.h"

#include "base/error.h"
#include "model/rope.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { MAX_LAYERS = 4096, MAX_WIDTH = 1 << 24, MAX_HEADS = 1 << 14, MAX_HEAD_DIM = 1024 };

const char *decoder_key(const decoder *d, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", d->job->arch->name, name);
    return out;
}

bp_status decoder_count(const decoder *d, const char *name, uint32_t fallback, uint32_t limit, uint32_t *out)
{
    char key[96];
    bool present;
    bp_status status = gguf_u32(d->job->file, decoder_key(d, name, key), fallback, &present, out, d->error);
    if (status != BP_OK)
        return status;
    if (!present && fallback == 0)
        return error_set(d->error, BP_EINVAL, "key \"%s\" is missing", key);
    if (*out < 1 || *out > limit)
        return error_set(d->error, BP_EINVAL, "key \"%s\" is %" PRIu32 "; 1 to %" PRIu32 " are possible", key, *out, limit);
    return BP_OK;
}

bp_status decoder_real(const decoder *d, const char *name, float fallback, float low, float high, float *out)
{
    char key[96];
    bool present;
    bp_status status = gguf_f32(d->job->file, decoder_key(d, name, key), fallback, &present, out, d->error);
    if (status != BP_OK)
        return status;
    if (!present && fallback == 0)
        return error_set(d->error, BP_EINVAL, "key \"%s\" is missing", key);
    if (!(*out >= low && *out <= high))
        return error_set(d->error, BP_EINVAL, "key \"%s\" is %g; %g to %g are possible", key, (double)*out, (double)low,
                         (double)high);
    return BP_OK;
}

bp_status decoder_maybe_real(const decoder *d, const char *name, float low, float high, float *out)
{
    char key[96];
    float value;
    bp_status status = gguf_f32(d->job->file, decoder_key(d, name, key), 0, NULL, &value, d->error);
    if (status != BP_OK || value == 0)
        return status;
    return decoder_real(d, name, 0, low, high, out);
}

static bp_status read_heads(decoder *d)
{
    bp_status status;
    uint32_t value_dim;
    const char *arch = d->job->arch->name;
    if ((status = decoder_count(d, "attention.head_count", 0, MAX_HEADS, &d->heads)) != BP_OK ||
        (status = decoder_count(d, "attention.head_count_kv", d->heads, MAX_HEADS, &d->kv_heads)) != BP_OK)
        return status;
    if (d->heads % d->kv_heads != 0)
        return error_set(d->error, BP_EINVAL,
                         "key \"%s.attention.head_count\" is %" PRIu32 ", not a multiple of head_count_kv, %" PRIu32, arch,
                         d->heads, d->kv_heads);
    if ((status = decoder_count(d, "attention.key_length", d->width / d->heads, MAX_HEAD_DIM, &d->head_dim)) != BP_OK)
        return status;
    char key[96];
    bool given;
    uint32_t unused;
    status = gguf_u32(d->job->file, decoder_key(d, "attention.key_length", key), 0, &given, &unused, d->error);
    if (status != BP_OK)
        return status;
    if (!given && d->width % d->heads != 0)
        return error_set(d->error, BP_EINVAL,
                         "key \"%s.embedding_length\" is %" PRIu32 ", which %" PRIu32 " heads do not divide, and "
                         "\"%s.attention.key_length\" is missing", arch, d->width, d->heads, arch);
    if ((uint64_t)d->heads * d->head_dim > MAX_WIDTH)
        return error_set(d->error, BP_EINVAL, "%" PRIu32 " heads of %" PRIu32 " are more than this build can run", d->heads,
                         d->head_dim);
    if ((status = decoder_count(d, "attention.value_length", d->head_dim, MAX_HEAD_DIM, &value_dim)) != BP_OK)
        return status;
    if (value_dim != d->head_dim)
        return error_set(d->error, BP_EUNSUPPORTED, "keys of %" PRIu32 " and values of %" PRIu32 " a head are not the same",
                         d->head_dim, value_dim);
    return BP_OK;
}

/* The factor of the dot products and the soft caps, which bound them and the logits. One size of each Gemma scales by the
 * width that a head would have if they divided it, and no key says so. */
static bp_status read_scores(decoder *d)
{
    bool by_width = d->traits->scaled_by_width && d->layers == d->traits->scaled_by_width;
    uint32_t dim = by_width ? d->width / d->heads : d->head_dim;
    bp_status status;
    if (dim == 0)
        return error_set(d->error, BP_EINVAL, "key \"%s.attention.head_count\" is %" PRIu32 " for a width of %" PRIu32,
                         d->job->arch->name, d->heads, d->width);
    d->attention_scale = (float)(1 / sqrt((double)dim));
    d->attention_cap = d->traits->attention_cap;
    d->logit_cap = d->traits->logit_cap;
    if ((status = decoder_maybe_real(d, "attention.scale", 1e-6f, 1e6f, &d->attention_scale)) != BP_OK ||
        (status = decoder_maybe_real(d, "attn_logit_softcapping", 1e-3f, 1e6f, &d->attention_cap)) != BP_OK)
        return status;
    return decoder_maybe_real(d, "final_logit_softcapping", 1e-3f, 1e6f, &d->logit_cap);
}

static bp_status read_windows(decoder *d)
{
    static const char name[] = "attention.sliding_window";
    char key[96];
    bp_status status;
    const decoder_traits *traits = d->traits;
    status = gguf_u32(d->job->file, decoder_key(d, name, key), traits->window, NULL, &d->window, d->error);
    if (status != BP_OK || d->window == 0)
        return status;
    if (traits->window_pattern == 0)
        return error_set(d->error, BP_EUNSUPPORTED,
                         "key \"%s\" is %" PRIu32 "; this build does not know which layers of this architecture it is for",
                         key, d->window);
    return decoder_count(d, "attention.sliding_window_pattern", traits->window_pattern, MAX_LAYERS, &d->window_pattern);
}

bool decoder_has_window(const decoder *d, uint32_t layer)
{
    if (d->window == 0)
        return false;
    return d->window_pattern == WINDOWS_EVERYWHERE || (layer + 1) % d->window_pattern != 0;
}

bp_status decoder_read_sizes(decoder *d)
{
    bp_status status;
    d->longest = ROPE_MAX_POSITIONS;
    if ((status = decoder_count(d, "block_count", 0, MAX_LAYERS, &d->layers)) != BP_OK ||
        (status = decoder_count(d, "context_length", 0, INT32_MAX, &d->train_context)) != BP_OK ||
        (status = decoder_count(d, "embedding_length", 0, MAX_WIDTH, &d->width)) != BP_OK ||
        (status = decoder_count(d, "feed_forward_length", 0, MAX_WIDTH / 2, &d->ffn_width)) != BP_OK ||
        (status = decoder_real(d, "attention.layer_norm_rms_epsilon", 0, 1e-30f, 1, &d->epsilon)) != BP_OK ||
        (status = read_heads(d)) != BP_OK || (status = read_scores(d)) != BP_OK)
        return status;
    return read_windows(d);
}

/* The vocabulary has as many tokens as the embedding has rows, and as the key says where it is there. */
bp_status decoder_read_vocabulary(decoder *d)
{
    const bp_weight *embedding = gguf_find_tensor(d->job->file, "token_embd.weight");
    if (!embedding)
        return error_set(d->error, BP_EINVAL, "tensor \"token_embd.weight\" is missing");
    if (embedding->shape[1] > MAX_WIDTH)
        return error_set(d->error, BP_EINVAL, "tensor \"token_embd.weight\" has %" PRId64 " rows; up to %d are possible",
                         embedding->shape[1], MAX_WIDTH);
    uint32_t rows = (uint32_t)embedding->shape[1];
    bp_status status = decoder_count(d, "vocab_size", rows, MAX_WIDTH, &d->vocab_size);
    if (status != BP_OK)
        return status;
    if (d->vocab_size != rows)
        return error_set(d->error, BP_EINVAL,
                         "key \"%s.vocab_size\" is %" PRIu32 " and tensor \"token_embd.weight\" has %" PRIu32 " rows",
                         d->job->arch->name, d->vocab_size, rows);
    if (d->job->vocabulary->count && d->job->vocabulary->count != rows)
        return error_set(d->error, BP_EINVAL,
                         "the vocabulary has %" PRIu32 " tokens and tensor \"token_embd.weight\" %" PRIu32 " rows",
                         d->job->vocabulary->count, rows);
    return BP_OK;
}

bp_status decoder_choose_context(decoder *d)
{
    uint32_t wanted = d->job->options->context;
    if (wanted > d->train_context)
        return error_set(d->error, BP_EINVAL, "a context of %" PRIu32 " was asked for; the model was trained for %" PRIu32,
                         wanted, d->train_context);
    if (wanted > d->longest && d->longest < ROPE_MAX_POSITIONS)
        return error_set(d->error, BP_EUNSUPPORTED,
                         "a context of %" PRIu32 " was asked for; beyond %" PRIu32 " this model sharpens its attention by "
                         "position, which this build cannot do", wanted, d->longest);
    d->context = wanted ? wanted : d->train_context;
    if (d->context > d->longest)
        d->context = d->longest;
    return BP_OK;
}
