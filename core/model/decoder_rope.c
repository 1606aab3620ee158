/* decoder_rope: the rotations of a decoder's file.
 *
 *   rope.scaling.type   none, or absent
 *                       linear    positions are divided by a factor (Chen et al. 2023)
 *                       yarn      slow rotations are, fast ones are not, with a ramp between (Peng et al. 2023)
 *                       longrope  each rotation has a divisor, one set below the first trained context and one above
 *                                 (Ding et al. 2024); tensors rope_factors_short, rope_factors_long
 *   rope_freqs.weight   Llama 3.1's divisors, which llama.cpp's converter computes
 *
 * Other types are refused. Only rope.c's functions and IEEE operations make the numbers. */
#include "base/error.h"
#include "model/decoder.h"
#include "model/rope.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static bool is_word(gguf_string text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.bytes, word, text.length) == 0;
}

/* What YaRN multiplies rotations with, by the factor it stretches the context by. */
static double yarn_magnitude(double factor, double multiplier)
{
    return factor <= 1 ? 1 : 0.1 * multiplier * rope_log(factor) + 1;
}

/* The index of the rotation that turns `turns` times over the first trained context. */
static double yarn_index(const decoder *d, double turns, double context)
{
    static const double two_pi = 6.283185307179586;
    return d->rope.dim * rope_log(context / (turns * two_pi)) / (2 * rope_log(d->rope.base));
}

/* The context that the model was trained for at first. */
static bp_status read_first_context(const decoder *d, uint32_t *out)
{
    return decoder_count(d, "rope.scaling.original_context_length", d->train_context, INT32_MAX, out);
}

static bp_status only_one(const decoder *d, const char *name)
{
    float value = 1;
    bp_status status = decoder_maybe_real(d, name, 1e-6f, 1e6f, &value);
    char key[96];
    if (status == BP_OK && value != 1)
        return error_set(d->error, BP_EUNSUPPORTED, "key \"%s\" is %g; this build knows 1", decoder_key(d, name, key),
                         (double)value);
    return status;
}

static bp_status read_yarn(decoder *d)
{
    bp_status status;
    float factor, fast, slow, multiplier = 0;
    uint32_t context;
    if ((status = decoder_real(d, "rope.scaling.factor", 0, 1, 1e6f, &factor)) != BP_OK ||
        (status = read_first_context(d, &context)) != BP_OK ||
        (status = decoder_real(d, "rope.scaling.yarn_beta_fast", 32, 1e-3f, 1e6f, &fast)) != BP_OK ||
        (status = decoder_real(d, "rope.scaling.yarn_beta_slow", 1, 1e-3f, 1e6f, &slow)) != BP_OK ||
        (status = decoder_maybe_real(d, "rope.scaling.yarn_log_multiplier", 1e-3f, 1e3f, &multiplier)) != BP_OK ||
        (status = only_one(d, "rope.scaling.yarn_ext_factor")) != BP_OK ||
        (status = only_one(d, "rope.scaling.yarn_attn_factor")) != BP_OK)
        return status;
    if (d->rope.base <= 1)
        return error_set(d->error, BP_EINVAL, "key \"%s.rope.freq_base\" is 1, which YaRN cannot scale",
                         d->job->arch->name);
    uint32_t half = d->rope.dim / 2;
    double *divisors = arena_array(d->job->memory, half, sizeof *divisors);
    if (!divisors)
        return error_set(d->error, BP_ENOMEM, "no memory for the rope table");
    double low = floor(yarn_index(d, (double)fast, context)), high = ceil(yarn_index(d, (double)slow, context));
    low = low < 0 ? 0 : low;
    high = high > d->rope.dim - 1 ? d->rope.dim - 1 : high;
    if (!(high > low))
        high = low + 0.001;
    for (uint32_t i = 0; i < half; i++) {
        double slowness = (i - low) / (high - low);
        slowness = slowness < 0 ? 0 : slowness > 1 ? 1 : slowness;
        divisors[i] = 1 / (slowness / (double)factor + (1 - slowness));
    }
    d->rope.divisors = divisors;
    d->rope.magnitude = yarn_magnitude((double)factor, 1);
    if (multiplier != 0)
        d->rope.magnitude /= yarn_magnitude((double)factor, (double)multiplier);
    return BP_OK;
}

static bp_status read_scaling(decoder *d)
{
    char key[96];
    bool present;
    gguf_string type;
    float factor = 1;
    bp_status status = gguf_text(d->job->file, decoder_key(d, "rope.scaling.type", key), &present, &type, d->error);
    if (status != BP_OK)
        return status;
    if (is_word(type, "yarn"))
        return read_yarn(d);
    if (is_word(type, "longrope") && d->traits->longrope)
        return BP_OK;
    if (is_word(type, "linear"))
        status = decoder_real(d, "rope.scaling.factor", 0, 1, 1e6f, &factor);
    else if (present && !is_word(type, "none"))
        return error_set(d->error, BP_EUNSUPPORTED, "key \"%s\" is \"%.*s\"; this build knows none, linear%s and yarn", key,
                         (int)(type.length < 40 ? type.length : 40), type.bytes, d->traits->longrope ? ", longrope" : "");
    else
        status = decoder_real(d, "rope.scale_linear", 1, 1, 1e6f, &factor);
    d->rope.scale = 1 / (double)factor;
    return status;
}

/* Mistral 3 multiplies queries by 1 + scale * log(1 + position / first trained context), which is 1 in that context. */
static bp_status read_temperature(decoder *d)
{
    float scale = 0;
    bp_status status = decoder_maybe_real(d, "attention.temperature_scale", 1e-6f, 1e3f, &scale);
    if (status != BP_OK || scale == 0)
        return status;
    return read_first_context(d, &d->longest);
}

/* Files that were not converted have the halves of a rotation's pairs apart, whatever the architecture (a key of ours). */
static bp_status read_mode(decoder *d)
{
    char key[96];
    bool halves;
    bp_status status = gguf_bool(d->job->file, decoder_key(d, "rope.halves", key), false, NULL, &halves, d->error);
    d->rope.mode = halves ? BP_ROPE_NEOX : d->traits->rope_mode;
    return status;
}

bp_status decoder_read_rope(decoder *d)
{
    bp_status status;
    float base, window_base = d->traits->window_base, magnitude = 1;
    if ((status = read_mode(d)) != BP_OK ||
        (status = decoder_count(d, "rope.dimension_count", d->head_dim, d->head_dim, &d->rope.dim)) != BP_OK ||
        (status = decoder_real(d, "rope.freq_base", 10000, 1, 1e30f, &base)) != BP_OK ||
        (status = decoder_maybe_real(d, "rope.freq_base_swa", 1, 1e30f, &window_base)) != BP_OK)
        return status;
    if (d->rope.dim % 2 != 0)
        return error_set(d->error, BP_EINVAL, "key \"%s.rope.dimension_count\" is %" PRIu32 ", which is odd",
                         d->job->arch->name, d->rope.dim);
    d->rope.base = (double)base;
    d->rope.window_base = (double)window_base;
    d->rope.scale = d->rope.magnitude = 1;
    if ((status = read_scaling(d)) != BP_OK || (status = read_temperature(d)) != BP_OK)
        return status;
    status = decoder_maybe_real(d, "rope.scaling.attn_factor", 1e-3f, 1e3f, &magnitude);
    d->rope.magnitude *= (double)magnitude;
    return status;
}

/* --- divisors that are tensors ---------------------------------------------------------------------------------------- */

/* Reads it into *out where it is not NULL; a tensor that is absent leaves *out NULL. */
static bp_status read_divisors(decoder *d, builder *b, const char *name, const double **out)
{
    const bp_weight *w = gguf_find_tensor(d->job->file, name);
    if (!w)
        return BP_OK;
    uint32_t half = d->rope.dim / 2;
    if (w->dtype != BP_F32 || w->shape[0] != (int64_t)half || w->bytes != half * sizeof(float))
        return error_set(d->error, BP_EINVAL, "tensor \"%s\" is not a vector of %" PRIu32 " numbers of type F32", w->name,
                         half);
    double *divisors = arena_array(d->job->memory, half, sizeof *divisors);
    if (!divisors)
        return error_set(d->error, BP_ENOMEM, "no memory for the rope table");
    for (uint32_t i = 0; i < half; i++) {
        float value;
        memcpy(&value, (const char *)w->data + i * sizeof value, sizeof value);
        if (!(value >= 1.0f && value <= 1e6f))
            return error_set(d->error, BP_EINVAL, "tensor \"%s\" holds %g at %" PRIu32 "; 1 to 1e6 are possible", w->name,
                             (double)value, i);
        divisors[i] = (double)value;
    }
    builder_mark_used(b, w);
    *out = divisors;
    return BP_OK;
}

bp_status decoder_read_rope_divisors(decoder *d, builder *b)
{
    const double *fixed = NULL, *near = NULL, *far = NULL;
    bp_status status;
    uint32_t first;
    if ((status = read_divisors(d, b, "rope_freqs.weight", &fixed)) != BP_OK)
        return status;
    if (d->traits->longrope) {
        if ((status = read_divisors(d, b, "rope_factors_short.weight", &near)) != BP_OK ||
            (status = read_divisors(d, b, "rope_factors_long.weight", &far)) != BP_OK ||
            (status = read_first_context(d, &first)) != BP_OK)
            return status;
        if (!near != !far)
            return error_set(d->error, BP_EINVAL, "tensor \"rope_factors_%s.weight\" is missing", near ? "long" : "short");
        if (near)
            fixed = d->context > first ? far : near;
    }
    if (fixed && d->rope.divisors)
        return error_set(d->error, BP_EUNSUPPORTED, "the model scales its rotations by YaRN and by a tensor of factors");
    d->rope.divisors = fixed ? fixed : d->rope.divisors;
    return BP_OK;
}

/* --- tables ----------------------------------------------------------------------------------------------------------- */

void decoder_add_rope(decoder *d, builder *b)
{
    bool other = d->window && d->rope.window_base != 0;
    d->rope.table = builder_table(b, "rope table", NULL, d->context, d->rope.dim);
    d->rope.window_table =
        other ? builder_table(b, "rope table of windows", NULL, d->context, d->rope.dim) : d->rope.table;
}

static bp_status fill_table(const decoder *d, builder *b, int32_t number, const rope_spec *spec)
{
    size_t count = (size_t)spec->positions * spec->dim;
    float *table = arena_array(d->job->memory, count, sizeof *table);
    double *frequencies = arena_array(d->job->memory, spec->dim / 2, sizeof *frequencies);
    if (!table || !frequencies)
        return error_set(d->error, BP_ENOMEM, "no memory for a rope table of %" PRIu32 " positions", spec->positions);
    rope_table(spec, frequencies, table);
    b->weights[number].data = table;
    return BP_OK;
}

bp_status decoder_fill_rope(const decoder *d, builder *b)
{
    const rope_spec all = {.positions = d->context, .dim = d->rope.dim, .base = d->rope.base, .scale = d->rope.scale,
                           .magnitude = d->rope.magnitude, .divisors = d->rope.divisors};
    const rope_spec windows = {.positions = d->context, .dim = d->rope.dim, .base = d->rope.window_base, .scale = 1,
                               .magnitude = 1};
    bp_status status = fill_table(d, b, d->rope.table, &all);
    if (status == BP_OK && d->rope.window_table != d->rope.table)
        status = fill_table(d, b, d->rope.window_table, &windows);
    return status;
}
