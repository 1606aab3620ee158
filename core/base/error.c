#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Drops a UTF-8 sequence that the buffer's end cut in half. */
static void trim_partial_character(char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && length - start < 4 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (length - (start - 1) < need)
        text[start - 1] = '\0';
}

static void format_message(bp_error *error, const char *format, va_list arguments)
{
    int written = vsnprintf(error->message, sizeof error->message, format, arguments);
    if (written < 0)
        error->message[0] = '\0';
    else if ((size_t)written >= sizeof error->message)
        trim_partial_character(error->message, sizeof error->message - 1);
}

bp_status error_set(bp_error *error, bp_status code, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        error->code = code;
        format_message(error, format, arguments);
        va_end(arguments);
    }
    return code;
}

bp_status error_prefix(bp_error *error, bp_status code, const char *format, ...)
{
    if (!error)
        return code;
    bp_error old = *error;
    va_list arguments;
    va_start(arguments, format);
    format_message(error, format, arguments);
    va_end(arguments);
    size_t used = strlen(error->message);
    int written = snprintf(error->message + used, sizeof error->message - used, ": %s", old.message);
    if (written > 0 && (size_t)written >= sizeof error->message - used)
        trim_partial_character(error->message, sizeof error->message - 1);
    error->code = old.code ? old.code : code;
    return error->code;
}

const char *status_name(bp_status status)
{
    switch (status) {
    case BP_OK: return "success";
    case BP_EINVAL: return "invalid input";
    case BP_ENOMEM: return "out of memory";
    case BP_EUNSUPPORTED: return "unsupported";
    case BP_EDEVICE: return "device lost";
    case BP_ENOTFOUND: return "not found";
    case BP_EIO: return "input/output error";
    case BP_ELIMIT: return "limit exceeded";
    case BP_ETIMEOUT: return "timed out";
    case BP_ECANCELLED: return "cancelled";
    case BP_EINTERNAL: return "internal error";
    case BP_EBUSY: return "busy";
    case BP_EGRAMMAR: return "bad grammar";
    case BP_ECONTEXT: return "over the context";
    default: return "unknown status";
    }
}
