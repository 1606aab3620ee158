#include "repl/settings.h"

#include "common/fail.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const setting_kind setting_kinds[SETTING_COUNT] = {
    [SETTING_TEMPERATURE] = {"temperature", "0 always takes the likeliest token", false, 0, 2},
    [SETTING_TOP_P] = {"top_p", "draw from the likeliest tokens that reach this probability; 1 is off", false, 0, 1},
    [SETTING_TOP_K] = {"top_k", "draw from the k likeliest tokens; 0 is off", true, 0, 1 << 20},
    [SETTING_MIN_P] = {"min_p", "draw from tokens at least this likely beside the likeliest; 0 is off", false, 0, 1},
    [SETTING_REPETITION_PENALTY] = {"repetition_penalty", "over 1 discourages words that were used; 1 is off", false, 0.01,
                                    100},
    [SETTING_SEED] = {"seed", "the same seed and conversation give the same answer", true, 0, 0x1p63 - 1024},
    [SETTING_MAX_TOKENS] = {"max_tokens", "the longest answer; 0 is as long as fits", true, 0, 1 << 24},
};

static bool parse_whole(const char *text, int64_t *out)
{
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return *text && !text[strspn(text, "0123456789")] && errno == 0;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    if (!*text || text[strspn(text, "+-.0123456789eE")])
        return false;
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

bp_status settings_parse(setting settings[SETTING_COUNT], const char *name, const char *value, bp_error *error)
{
    for (int i = 0; i < SETTING_COUNT; i++) {
        const setting_kind *kind = &setting_kinds[i];
        if (strcmp(kind->name, name) != 0)
            continue;
        setting parsed = {.set = true};
        if (strcmp(value, "auto") == 0) {
            settings[i] = (setting){0};
            return BP_OK;
        }
        bool good = kind->is_whole ? parse_whole(value, &parsed.whole) : parse_real(value, &parsed.real);
        double number = kind->is_whole ? (double)parsed.whole : parsed.real;
        if (!good || number < kind->min || number > kind->max)
            return fail(error, BP_EINVAL, "%s takes %s from %g to %.0f, or auto, not \"%.40s\"", name,
                        kind->is_whole ? "a whole number" : "a number", kind->min, kind->max, value);
        settings[i] = parsed;
        return BP_OK;
    }
    return fail(error, BP_EINVAL, "there is no setting %.40s; /set lists them", name);
}

void settings_apply(const setting settings[SETTING_COUNT], bp_request *request)
{
    bp_sampling *s = &request->sampling;
    if (settings[SETTING_TEMPERATURE].set)
        s->temperature = (float)settings[SETTING_TEMPERATURE].real;
    if (settings[SETTING_TOP_P].set)
        s->top_p = (float)settings[SETTING_TOP_P].real;
    if (settings[SETTING_TOP_K].set)
        s->top_k = (uint32_t)settings[SETTING_TOP_K].whole;
    if (settings[SETTING_MIN_P].set)
        s->min_p = (float)settings[SETTING_MIN_P].real;
    if (settings[SETTING_REPETITION_PENALTY].set)
        s->repetition_penalty = (float)settings[SETTING_REPETITION_PENALTY].real;
    if (settings[SETTING_SEED].set)
        s->seed = (uint64_t)settings[SETTING_SEED].whole;
    if (settings[SETTING_MAX_TOKENS].set)
        request->max_tokens = (uint32_t)settings[SETTING_MAX_TOKENS].whole;
}

void settings_print(const bp_request *request, int index, char *out, size_t bytes)
{
    const bp_sampling *s = &request->sampling;
    const double values[SETTING_COUNT] = {
        [SETTING_TEMPERATURE] = (double)s->temperature, [SETTING_TOP_P] = (double)s->top_p, [SETTING_TOP_K] = s->top_k,
        [SETTING_MIN_P] = (double)s->min_p, [SETTING_REPETITION_PENALTY] = (double)s->repetition_penalty,
        [SETTING_MAX_TOKENS] = request->max_tokens};
    if (index == SETTING_SEED)
        snprintf(out, bytes, "%llu", (unsigned long long)s->seed);
    else
        snprintf(out, bytes, "%.6g", values[index]);
}
