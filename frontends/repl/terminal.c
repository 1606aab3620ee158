#include "repl/terminal.h"

#include "common/fail.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000, LINE_LIMIT = 1 << 16 };
#define INVISIBLE L'\1' /* brackets what takes no room on the line */
#define REPLACEMENT 0xFFFD
#define CONTROL_D 4

struct terminal {
    wake *wake;
    EditLine *edit;
    HistoryW *history;
    const char *history_file;
    locale_t locale, locale_before;
    char pending[4]; /* the beginning of a character */
    size_t pending_count, typed;
    bool color, more, interrupted, too_long;
};

/* --- reading characters ------------------------------------------------------------------------------------------- */

/* 1 and a byte, 0 at the end, -1 when interrupted or stopped. */
static int read_byte(terminal *t, char *out)
{
    for (;;) {
        if (!wake_wait(t->wake, STDIN_FILENO)) {
            if (atomic_load(&t->wake->stopping))
                return -1;
            if (t->wake->resized)
                el_resize(t->edit);
            t->interrupted = t->wake->interrupted;
            t->wake->resized = t->wake->interrupted = false;
            if (t->interrupted)
                return -1;
            continue;
        }
        ssize_t count = read(STDIN_FILENO, out, 1);
        if (count > 0)
            return 1;
        if (count == 0 || (errno != EINTR && errno != EAGAIN))
            return 0;
    }
}

/* Takes the first character of `pending`, which is whole or broken. */
static wchar_t take_character(terminal *t)
{
    int32_t code;
    size_t length = utf8_next(t->pending, t->pending_count, &code);
    t->pending_count -= length;
    memmove(t->pending, t->pending + length, t->pending_count);
    if (code == 0) /* what Ctrl-D becomes when it was typed while the terminal was not in our hands */
        return CONTROL_D;
    return (wchar_t)(code < 0 ? REPLACEMENT : code);
}

/* What libedit calls for each character. A line past the limit is taken in without being shown, up to its end. */
static int read_character(EditLine *edit, wchar_t *out)
{
    terminal *t;
    el_wget(edit, EL_CLIENTDATA, &t);
    for (;;) {
        while (t->pending_count == 0 || utf8_begins(t->pending, t->pending_count)) {
            int got = read_byte(t, &t->pending[t->pending_count]);
            if (got <= 0 && t->pending_count == 0)
                return got;
            if (got <= 0)
                break;
            t->pending_count++;
        }
        *out = take_character(t);
        if (*out == L'\n' || *out == L'\r' || ++t->typed <= LINE_LIMIT)
            return 1;
        t->too_long = true;
    }
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */

static wchar_t *prompt(EditLine *edit)
{
    static wchar_t first[] = L"\1\033[1m\1> \1\033[0m\1", further[] = L"\1\033[1m\1. \1\033[0m\1", plain_first[] = L"> ",
                   plain_further[] = L". ";
    terminal *t;
    el_wget(edit, EL_CLIENTDATA, &t);
    if (t->color)
        return t->more ? further : first;
    return t->more ? plain_further : plain_first;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static bool append_wide(text *out, const wchar_t *line)
{
    for (; *line && *line != L'\n' && *line != L'\r'; line++) {
        uint32_t c = (uint32_t)*line;
        char bytes[4];
        size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if (length == 1)
            bytes[0] = (char)c;
        for (size_t i = length; length > 1 && i-- > 0; c >>= 6)
            bytes[i] = (char)(i ? 0x80 | (c & 0x3F) : (0xF0 << (4 - length) & 0xFF) | c);
        if (!text_append(out, bytes, length))
            return false;
    }
    return true;
}

static void remember(terminal *t, const wchar_t *line)
{
    HistEventW event;
    if (line[wcsspn(line, L" \t\r\n")])
        history_w(t->history, &event, H_ENTER, line);
}

static input_result next_line(void *user, bool more, text *out)
{
    terminal *t = user;
    t->more = more;
    t->interrupted = t->too_long = false;
    t->typed = t->pending_count = 0;
    el_resize(t->edit);
    int count = 0;
    const wchar_t *line = el_wgets(t->edit, &count);
    if (!line && t->interrupted) {
        if (write(STDOUT_FILENO, "^C\n", 3) < 0)
            return INPUT_END;
        return INPUT_INTERRUPTED;
    }
    if (!line || count <= 0) {
        if (write(STDOUT_FILENO, "\n", 1) < 0)
            return INPUT_END;
        return INPUT_END;
    }
    if (t->too_long)
        return INPUT_TOO_LONG;
    remember(t, line);
    return append_wide(out, line) ? INPUT_LINE : INPUT_TOO_LONG;
}

input_source terminal_source(terminal *t)
{
    return (input_source){.user = t, .line = next_line};
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static bool start_history(terminal *t)
{
    HistEventW event;
    t->history = history_winit();
    if (!t->history)
        return false;
    history_w(t->history, &event, H_SETSIZE, HISTORY_LINES);
    history_w(t->history, &event, H_SETUNIQUE, 1);
    if (t->history_file)
        history_w(t->history, &event, H_LOAD, t->history_file); /* there is none the first time */
    el_wset(t->edit, EL_HIST, history_w, t->history);
    return true;
}

bp_status terminal_new(wake *w, const char *history, bool color, terminal **out, bp_error *error)
{
    terminal *t = calloc(1, sizeof *t);
    if (!t)
        return fail_memory(error);
    t->wake = w;
    t->color = color;
    t->history_file = history;
    t->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    t->locale_before = uselocale(t->locale); /* none: as it was */
    t->edit = el_init("backplane", stdin, stdout, stderr);
    if (!t->edit || !start_history(t)) {
        terminal_free(t);
        return fail(error, BP_ENOMEM, "the terminal cannot be set up for editing");
    }
    el_wset(t->edit, EL_CLIENTDATA, t);
    el_wset(t->edit, EL_EDITOR, L"emacs");
    el_wset(t->edit, EL_PROMPT_ESC, prompt, INVISIBLE);
    el_wset(t->edit, EL_GETCFN, read_character);
    el_wset(t->edit, EL_BIND, L"^R", L"em-inc-search-prev", NULL);
    el_source(t->edit, NULL); /* ~/.editrc */
    *out = t;
    return BP_OK;
}

void terminal_free(terminal *t)
{
    if (!t)
        return;
    HistEventW event;
    if (t->history && t->history_file)
        history_w(t->history, &event, H_SAVE, t->history_file);
    if (t->edit)
        el_end(t->edit);
    if (t->history)
        history_wend(t->history);
    uselocale(t->locale_before);
    if (t->locale)
        freelocale(t->locale);
    free(t);
}
