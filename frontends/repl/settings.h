/* settings: sampling options that override the model's own where they are set. One thread. */
#ifndef BACKPLANE_REPL_SETTINGS_H
#define BACKPLANE_REPL_SETTINGS_H

#include <backplane/engine.h>
#include <stdbool.h>

enum {
    SETTING_TEMPERATURE,
    SETTING_TOP_P,
    SETTING_TOP_K,
    SETTING_MIN_P,
    SETTING_REPETITION_PENALTY,
    SETTING_SEED,
    SETTING_MAX_TOKENS,
    SETTING_COUNT
};

typedef struct setting {
    bool set; /* else the model's own */
    double real;
    int64_t whole;
} setting;

typedef struct setting_kind {
    const char *name, *help;
    bool is_whole;
    double min, max;
} setting_kind;

extern const setting_kind setting_kinds[SETTING_COUNT];

/* "auto" gives it back to the model. */
bp_status settings_parse(setting settings[SETTING_COUNT], const char *name, const char *value, bp_error *error);
void settings_apply(const setting settings[SETTING_COUNT], bp_request *request);
/* What `request` has for setting `index`, as a person would type it. */
void settings_print(const bp_request *request, int index, char *out, size_t bytes);

#endif
