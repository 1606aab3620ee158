/* backplane/plugin.h: what every plugin is.
 *
 * A plugin is one shared object that exports one symbol, bp_plugin_entry. The host calls it once, before anything else
 * of the plugin runs; it returns a descriptor with static lifetime and does no initialisation of its own.
 *
 * Rules of the boundary, for every struct in these headers that carries a `size`:
 *   - `size` is the first field and holds sizeof(struct) as the side that filled it was compiled;
 *   - structs only grow at the end, and only with fields whose zero value means "as before";
 *   - a reader copies min(size, its own sizeof) bytes into a zeroed struct of its own, so a missing tail reads as zero;
 *   - a function that fills a struct of the caller's finds its `size` set, and writes no more than that;
 *   - a struct that lies inside another or in an array keeps its size for good, and has spare fields where it may need them.
 * A plugin with another ABI major, a newer minor, or a size larger than the host's is refused in one sentence.
 *
 * Memory: what one side allocates the same side frees. Strings are UTF-8, NUL-terminated, and borrowed for the call
 * unless a comment says otherwise. Errors: a negative bp_status and a bp_error in the caller's memory, which is
 * untouched on success. No function of the boundary may exit, abort, throw or longjmp across it. */
#ifndef BACKPLANE_PLUGIN_H
#define BACKPLANE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BP_ABI_MAJOR 1 /* must be equal, or the plugin is refused */
#define BP_ABI_MINOR 4 /* the plugin's may be older, never newer, than the host's */

#if defined(__GNUC__)
#define BP_EXPORT __attribute__((visibility("default")))
#define BP_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define BP_EXPORT
#define BP_PRINTF(format_index, first_argument)
#endif

/* 0 is success; every failure is negative. */
typedef int32_t bp_status;
enum {
    BP_OK = 0,
    BP_EINVAL = -1,       /* the input is wrong: a bad file, request or option */
    BP_ENOMEM = -2,       /* not enough memory of the kind asked for */
    BP_EUNSUPPORTED = -3, /* valid, but this plugin or build cannot do it */
    BP_EDEVICE = -4,      /* the device is lost: close it and open it again */
    BP_ENOTFOUND = -5,    /* no such file, model, plugin or symbol */
    BP_EIO = -6,          /* the operating system failed a read or a write */
    BP_ELIMIT = -7,       /* over a limit, now and later: a budget, a template's steps, how far a reader may be behind */
    BP_ETIMEOUT = -8,     /* a deadline passed */
    BP_ECANCELLED = -9,   /* the caller asked for it */
    BP_EINTERNAL = -10,   /* a broken invariant of ours: please report */
    BP_EBUSY = -11,       /* not now: the queue is full; the same request may be taken later */
    BP_EGRAMMAR = -12,    /* what is to shape an answer is wrong, or too much: a grammar, a schema or the tools of a request */
    BP_ECONTEXT = -13     /* the input is longer than the model's context or its cache */
};

/* Caller's memory. Filled on failure with one sentence (what, where, what to do); untouched on success. */
typedef struct bp_error {
    bp_status code;
    char message[508];
} bp_error;

enum { BP_LOG_DEBUG = 0, BP_LOG_INFO = 1, BP_LOG_WARN = 2, BP_LOG_ERROR = 3 };

/* The type of an option decides the C type stored at its offset. */
enum {
    BP_OPTION_BOOL = 1,   /* uint8_t, 0 or 1 */
    BP_OPTION_INT = 2,    /* int64_t; the word `auto` stores INT64_MIN where BP_OPTION_AUTO is set */
    BP_OPTION_FLOAT = 3,  /* double */
    BP_OPTION_STRING = 4, /* const char *, valid until close(); NULL where there is neither value nor fallback */
    BP_OPTION_SIZE = 5,   /* uint64_t bytes; written 512, 64KiB, 2GiB, 1.5GB */
    BP_OPTION_ENUM = 6,   /* int32_t: the index of the word in `choices` */
    BP_OPTION_PATH = 7    /* const char *, absolute; a relative one is relative to the file that holds it */
};
enum {
    BP_OPTION_REQUIRED = 1, /* no fallback: the key must be written */
    BP_OPTION_AUTO = 2      /* an INT that also takes the word `auto` */
};

/* One row per YAML key of a plugin. The host parses, checks and stores the value at `offset` of a zeroed config struct of
 * bp_plugin.config_size bytes; plugins never parse configuration. The same rows print `--help` and the reference page. */
typedef struct bp_option {
    const char *name;     /* lower_snake_case; NULL ends the table */
    const char *fallback; /* the default as it would be written in YAML; NULL for none */
    const char *help;     /* one sentence */
    const char *choices;  /* ENUM: words separated by '|'; else NULL */
    uint32_t type, flags, offset, reserved;
    double min, max; /* INT, FLOAT, SIZE: inclusive range, checked when min < max */
} bp_option;

/* The host as a plugin sees it. Every function may be called from any thread. */
typedef struct bp_host {
    uint32_t size, reserved;
    void *context; /* pass it back as the first argument */
    /* One line, no newline needed. */
    void (*log)(void *context, int level, const char *format, ...) BP_PRINTF(3, 4);
    /* Monotonic clock, nanoseconds. */
    uint64_t (*now)(void *context);
    /* Tells the host that `bytes` bytes of a weight at `data` have been copied and need not stay resident. The memory
     * stays readable until the model is released; reading it again may be slow. */
    void (*weight_consumed)(void *context, const void *data, uint64_t bytes);
} bp_host;

enum { BP_PLUGIN_BACKEND = 1, BP_PLUGIN_FRONTEND = 2 };

typedef struct bp_plugin {
    uint32_t size; /* sizeof(bp_plugin) when the plugin was built */
    uint16_t abi_major, abi_minor;
    uint32_t kind;              /* BP_PLUGIN_BACKEND or BP_PLUGIN_FRONTEND */
    uint32_t config_size;       /* bytes of the config struct that the options fill */
    const char *name;           /* [a-z0-9_-]{1,32}; what `plugin:` names in YAML */
    const char *version;        /* the plugin's own, for people */
    const char *summary;        /* one sentence, for people */
    const bp_option *options;   /* ends with a NULL name; may be NULL */
    const void *ops;            /* bp_backend_ops or bp_frontend_ops, by `kind` */
} bp_plugin;

typedef const bp_plugin *(*bp_plugin_entry_fn)(void);
#define BP_PLUGIN_ENTRY_SYMBOL "bp_plugin_entry"

/* Implemented by the plugin, the one symbol it exports. */
BP_EXPORT const bp_plugin *bp_plugin_entry(void);

#ifdef __cplusplus
}
#endif
#endif
