/* tokenize: a text as a model's token ids, and back. Works on the host alone: no backend is loaded. */
#include "commands/commands.h"

#include "base/error.h"
#include "engine/loaded.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_PIECES, OPTION_DECODE, OPTION_SPECIAL, OPTION_BOS };
enum { READ_BYTES = 64 << 10, MAX_INPUT = 1 << 30 };

static const cli_option options[] = {
    {.name = "pieces", .letter = 'p', .help = "one token a line: its id and its text"},
    {.name = "decode", .letter = 'd', .help = "TEXT is token ids; print the text that they stand for"},
    {.name = "special", .help = "spellings of special tokens become those tokens; with --decode, print them"},
    {.name = "bos", .help = "begin with the token that the model's file asks for"},
    {0}};

static bp_status read_input(buffer *out, bp_error *error)
{
    for (;;) {
        if (out->size > MAX_INPUT || !buffer_reserve(out, READ_BYTES))
            return error_set(error, BP_ENOMEM, "standard input is too large");
        size_t got = fread(out->data + out->size, 1, READ_BYTES, stdin);
        out->size += got;
        out->data[out->size] = '\0';
        if (got == 0)
            return ferror(stdin) ? error_set(error, BP_EIO, "standard input cannot be read: %s", strerror(errno)) : BP_OK;
    }
}

/* Control characters and backslashes as escapes, so that a piece stays on its line; all else as it is. */
static bool print_piece(text_piece piece, buffer *out)
{
    bool good = true;
    for (uint32_t i = 0; i < piece.length && good; i++) {
        unsigned char byte = (unsigned char)piece.bytes[i];
        if (byte == '\n')
            good = buffer_text(out, "\\n");
        else if (byte == '\t')
            good = buffer_text(out, "\\t");
        else if (byte == '\\')
            good = buffer_text(out, "\\\\");
        else if (byte < 0x20 || byte == 0x7F)
            good = buffer_format(out, "\\x%02x", byte);
        else
            good = buffer_append(out, &byte, 1);
    }
    return good;
}

static bool print_ids(const tokenizer *t, const token_list *ids, bool pieces, buffer *out)
{
    bool good = true;
    for (size_t i = 0; i < ids->count && good; i++) {
        if (pieces)
            good = buffer_format(out, "%d\t", ids->ids[i]) && print_piece(tokenizer_bytes(t, ids->ids[i]), out) &&
                   buffer_text(out, "\n");
        else
            good = buffer_format(out, "%s%d", i ? " " : "", ids->ids[i]);
    }
    return good && (pieces || buffer_text(out, "\n"));
}

static bp_status encode(const tokenizer *t, const buffer *text, const cli_values *values, buffer *out, bp_error *error)
{
    token_list ids = {0};
    unsigned flags =
        (values->option[OPTION_SPECIAL] ? TOKENIZER_SPECIAL : 0u) | (values->option[OPTION_BOS] ? TOKENIZER_BOS : 0u);
    bp_status status = tokenizer_encode(t, text->data ? text->data : "", text->size, NULL, flags, &ids, error);
    if (status == BP_OK && !print_ids(t, &ids, values->option[OPTION_PIECES] != NULL, out))
        status = error_set(error, BP_ENOMEM, "out of memory for %zu tokens", ids.count);
    token_list_free(&ids);
    return status;
}

/* Ids between spaces or commas; brackets around them are fine. */
static bp_status decode(const tokenizer *t, const buffer *text, bool special, buffer *out, bp_error *error)
{
    detokenizer d = {.emit_special = special};
    const char *at = text->data ? text->data : "", *end = at + text->size;
    bool good = true;
    while (good) {
        at += strspn(at, " \t\r\n,[]");
        if (at == end)
            break;
        char *after;
        errno = 0;
        long id = strtol(at, &after, 10);
        if (errno || after == at || (*after && !strchr(" \t\r\n,[]", *after)) || id < 0 || id >= (long)tokenizer_count(t))
            return error_set(error, BP_EINVAL, "\"%.*s\" is not a token id below %u", (int)strcspn(at, " \t\r\n,[]"), at,
                             tokenizer_count(t));
        good = detokenizer_push(&d, t, (int32_t)id, out);
        at = after;
    }
    good = good && detokenizer_finish(&d, out);
    return good ? BP_OK : error_set(error, BP_ENOMEM, "out of memory for the text");
}

static int run(const cli_values *values)
{
    buffer text = {0}, out = {0};
    loaded *l = NULL;
    bp_error error = {0};
    const engine_model model = {.name = values->arguments[0], .file = values->arguments[0]};
    bp_status status = loaded_open(&model, NULL, &l, &error);
    if (status == BP_OK)
        status = loaded_text(l, &error);
    if (status == BP_OK && values->argument_count > 1 && !buffer_text(&text, values->arguments[1]))
        status = error_set(&error, BP_ENOMEM, "out of memory for the text");
    if (status == BP_OK && values->argument_count < 2)
        status = read_input(&text, &error);
    if (status == BP_OK)
        status = values->option[OPTION_DECODE]
                     ? decode(l->tokenizer, &text, values->option[OPTION_SPECIAL] != NULL, &out, &error)
                     : encode(l->tokenizer, &text, values, &out, &error);
    int code = status == BP_OK ? cli_print(true, &out) : cli_fail(&error);
    loaded_free(l);
    buffer_free(&out);
    buffer_free(&text);
    return code;
}

const cli_command command_tokenize = {
    .name = "tokenize",
    .arguments = "MODEL [TEXT]",
    .summary = "Print the token ids of TEXT, or of standard input, as a model file's tokenizer makes them",
    .min_arguments = 1,
    .max_arguments = 2,
    .options = options,
    .run = run,
};
