/* Plugin ABI 1.0, frozen: what both kinds of plugin need. A copy of that time, so that no change of today's headers reaches the
 * plugins beside it. offsets_*.h holds where the compilers of that time put each field. */
#ifndef OLD_PLUGIN_H
#define OLD_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define BP_EXPORT __attribute__((visibility("default")))
#define BP_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))

typedef int32_t bp_status;

enum {
    BP_OK = 0,
    BP_EINVAL = -1,
    BP_ENOMEM = -2,
    BP_EUNSUPPORTED = -3,
    BP_EDEVICE = -4,
    BP_ENOTFOUND = -5,
    BP_EIO = -6,
    BP_ELIMIT = -7,
    BP_ETIMEOUT = -8,
    BP_ECANCELLED = -9,
    BP_EINTERNAL = -10
};

typedef struct bp_error {
    bp_status code;
    char message[508];
} bp_error;
enum { BP_LOG_DEBUG = 0, BP_LOG_INFO = 1, BP_LOG_WARN = 2, BP_LOG_ERROR = 3 };

enum {
    BP_OPTION_BOOL = 1,
    BP_OPTION_INT = 2,
    BP_OPTION_FLOAT = 3,
    BP_OPTION_STRING = 4,
    BP_OPTION_SIZE = 5,
    BP_OPTION_ENUM = 6,
    BP_OPTION_PATH = 7
};

enum {
    BP_OPTION_REQUIRED = 1,
    BP_OPTION_AUTO = 2
};

typedef struct bp_option {
    const char *name;
    const char *fallback;
    const char *help;
    const char *choices;
    uint32_t type, flags, offset, reserved;
    double min, max;
} bp_option;

typedef struct bp_host {
    uint32_t size, reserved;
    void *context;
    void (*log)(void *context, int level, const char *format, ...) BP_PRINTF(3, 4);
    uint64_t (*now)(void *context);
    void (*weight_consumed)(void *context, const void *data, uint64_t bytes);
} bp_host;
enum { BP_PLUGIN_BACKEND = 1, BP_PLUGIN_FRONTEND = 2 };

typedef struct bp_plugin {
    uint32_t size;
    uint16_t abi_major, abi_minor;
    uint32_t kind;
    uint32_t config_size;
    const char *name;
    const char *version;
    const char *summary;
    const bp_option *options;
    const void *ops;
} bp_plugin;
typedef const bp_plugin *(*bp_plugin_entry_fn)(void);
#define BP_PLUGIN_ENTRY_SYMBOL "bp_plugin_entry"
BP_EXPORT const bp_plugin *bp_plugin_entry(void);

#endif
