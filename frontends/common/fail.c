#include "common/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Drops the start of a character at the end of a message that was cut. */
static void cut_whole(char *message, size_t length)
{
    size_t start = length;
    while (start > 0 && ((unsigned char)message[start - 1] & 0xC0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)message[start - 1] >= 0xC0)
        message[start - 1] = '\0';
}

bp_status fail(bp_error *error, bp_status code, const char *format, ...)
{
    if (!error)
        return code;
    /* The arguments may point into the error itself. */
    char message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length < 0)
        message[0] = '\0';
    else if ((size_t)length >= sizeof message)
        cut_whole(message, sizeof message - 1);
    error->code = code;
    memcpy(error->message, message, sizeof message);
    return code;
}

bp_status fail_memory(bp_error *error)
{
    return fail(error, BP_ENOMEM, "out of memory");
}
