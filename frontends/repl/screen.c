#include "repl/screen.h"

#include "common/text.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void screen_init(screen *s, int descriptor, bool color)
{
    *s = (screen){.descriptor = descriptor, .terminal = isatty(descriptor)};
    s->color = s->terminal && color;
}

/* A descriptor that another program set non-blocking is waited for. */
static void write_raw(screen *s, const char *bytes, size_t count)
{
    if (count == 0 || s->failure)
        return;
    s->within_line = bytes[count - 1] != '\n';
    while (count > 0) {
        ssize_t written = write(s->descriptor, bytes, count);
        if (written > 0) {
            bytes += written;
            count -= (size_t)written;
        } else if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            struct pollfd ready = {.fd = s->descriptor, .events = POLLOUT};
            poll(&ready, 1, 1000);
        } else if (written < 0 && errno != EINTR) {
            s->failure = errno;
            return;
        }
    }
}

static bool is_control(int32_t code)
{
    return (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code < 0xA0);
}

/* C0 and DEL as their pictures, U+2400 and up; carriage returns as nothing; C1 and bytes that are no text as U+FFFD. */
static bool append_picture(text *out, int32_t code)
{
    if (code == '\r')
        return true;
    if (code < 0 || code > 0x7F)
        return text_append(out, "\xEF\xBF\xBD", 3);
    const char picture[3] = {'\xE2', '\x90', (char)(0x80 + (code == 0x7F ? 0x21 : code))};
    return text_append(out, picture, 3);
}

void screen_write(screen *s, const char *bytes, size_t count)
{
    if (!s->terminal) {
        write_raw(s, bytes, count);
        return;
    }
    text shown = {0};
    bool enough = true;
    while (enough && count > 0) {
        int32_t code;
        size_t length = utf8_next(bytes, count, &code);
        enough = code < 0 || is_control(code) ? append_picture(&shown, code) : text_append(&shown, bytes, length);
        bytes += length;
        count -= length;
    }
    write_raw(s, text_string(&shown), shown.size);
    text_free(&shown);
}

void screen_text(screen *s, const char *string)
{
    screen_write(s, string, strlen(string));
}

void screen_format(screen *s, const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    screen_text(s, line);
}

void screen_dim(screen *s, const char *line)
{
    if (s->color)
        write_raw(s, "\033[2m", 4);
    screen_text(s, line);
    if (s->color)
        write_raw(s, "\033[0m", 4);
    write_raw(s, "\n", 1);
}

void screen_end_line(screen *s)
{
    if (s->within_line)
        write_raw(s, "\n", 1);
}

void screen_replace_line(screen *s, const char *line)
{
    write_raw(s, "\r\033[K", 4);
    screen_text(s, line);
}
