/* What a line that begins with a slash does: one table, one function a command. */
#include "repl/repl.h"

#include "common/fail.h"
#include "common/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct command {
    const char *name, *arguments, *help;
    bool needs_argument;
    bp_status (*run)(repl *r, char *argument, bp_error *error);
} command;

/* --- the conversation --------------------------------------------------------------------------------------------- */

static bp_status run_system(repl *r, char *argument, bp_error *error)
{
    if (!*argument) {
        screen_format(&r->out, "%s\n", r->conversation.system ? r->conversation.system : "(the model's own)");
        return BP_OK;
    }
    const char *message = strcmp(argument, "none") == 0 ? NULL : argument;
    return conversation_set_system(&r->conversation, message) ? BP_OK : fail_memory(error);
}

static bp_status run_regenerate(repl *r, char *argument, bp_error *error)
{
    (void)argument;
    size_t question = conversation_last_question(&r->conversation);
    if (question == r->conversation.count)
        return fail(error, BP_EINVAL, "there is no question to answer again");
    r->repetitions++;
    return answer_turns(r, question + 1, error);
}

static bp_status run_undo(repl *r, char *argument, bp_error *error)
{
    (void)argument;
    size_t question = conversation_last_question(&r->conversation);
    if (question == r->conversation.count)
        return fail(error, BP_EINVAL, "there is nothing to undo");
    conversation_drop(&r->conversation, question);
    screen_text(&r->out, "the last question and its answer are forgotten\n");
    return BP_OK;
}

static bp_status run_clear(repl *r, char *argument, bp_error *error)
{
    (void)argument, (void)error;
    conversation_drop(&r->conversation, 0);
    screen_text(&r->out, "a new conversation\n");
    return BP_OK;
}

static bp_status run_save(repl *r, char *argument, bp_error *error)
{
    bp_status status = conversation_save(&r->conversation, argument, error);
    if (status == BP_OK)
        screen_format(&r->out, "%zu messages are in %s\n", r->conversation.count + (r->conversation.system != NULL),
                      argument);
    return status;
}

static bp_status run_load(repl *r, char *argument, bp_error *error)
{
    bp_status status = conversation_load(&r->conversation, argument, error);
    if (status == BP_OK)
        screen_format(&r->out, "%zu messages come from %s\n", r->conversation.count + (r->conversation.system != NULL),
                      argument);
    return status;
}

/* --- models ------------------------------------------------------------------------------------------------------- */

static void print_model(repl *r, const bp_model_info *m)
{
    static const char *const states[] = {"not loaded", "loading", "ready", "failed"};
    screen_format(&r->out, "%s %-20s %-10s %-10s %s", strcmp(m->name, r->model) == 0 ? "*" : " ", m->name,
                  states[m->state & 3], m->backend, m->family);
    if (m->parameters)
        screen_format(&r->out, " %.0fM %s", (double)m->parameters / 1e6, m->weight_type);
    if (m->context)
        screen_format(&r->out, ", context %u", m->context);
    if (m->state == BP_MODEL_FAILED)
        screen_format(&r->out, ": %s", m->message);
    screen_text(&r->out, "\n");
}

static bp_status run_models(repl *r, char *argument, bp_error *error)
{
    (void)argument;
    uint32_t total = r->api->model_count(r->engine);
    for (uint32_t i = 0; i < total; i++) {
        bp_model_info info = {.size = sizeof info};
        bp_status status = r->api->model_info(r->engine, i, &info, error);
        if (status != BP_OK)
            return status;
        print_model(r, &info);
    }
    return BP_OK;
}

static bp_status run_model(repl *r, char *argument, bp_error *error)
{
    bp_status status = *argument ? repl_use_model(r, argument, error) : BP_OK;
    if (status == BP_OK)
        screen_format(&r->out, "%s\n", r->model);
    return status;
}

/* --- settings ----------------------------------------------------------------------------------------------------- */

static bp_status run_set(repl *r, char *argument, bp_error *error)
{
    if (*argument) {
        char *value = argument + strcspn(argument, " \t=");
        if (*value)
            *value++ = '\0';
        value += strspn(value, " \t=");
        return settings_parse(r->settings, argument, value, error);
    }
    bp_request request;
    repl_request(r, &request);
    for (int i = 0; i < SETTING_COUNT; i++) {
        char value[32];
        settings_print(&request, i, value, sizeof value);
        screen_format(&r->out, "%-20s %-12s %s%s\n", setting_kinds[i].name, value, setting_kinds[i].help,
                      r->settings[i].set ? "" : " (the model's own)");
    }
    return BP_OK;
}

static bp_status run_stats(repl *r, char *argument, bp_error *error)
{
    (void)argument;
    bp_model_stats s = {.size = sizeof s};
    bp_status status = r->api->stats(r->engine, r->model, &s, error);
    if (status != BP_OK)
        return status;
    double prefill = (double)r->total.prefill_ns / 1e9, decode = (double)r->total.decode_ns / 1e9;
    screen_format(&r->out, "here: %llu answers, %u prompt tokens in %.2f s, %u tokens in %.2f s\n",
                  (unsigned long long)r->answers, r->total.prompt_tokens, prefill, r->total.completion_tokens, decode);
    screen_format(
        &r->out, "%s: %llu requests, %llu failed, %llu prompt tokens, %llu tokens, %llu steps, %llu preemptions\n",
        r->model, (unsigned long long)s.requests, (unsigned long long)s.failed, (unsigned long long)s.prompt_tokens,
        (unsigned long long)s.completion_tokens, (unsigned long long)s.steps, (unsigned long long)s.preemptions);
    screen_format(&r->out, "cache: %u of %u pages in use\n", s.pages_used, s.pages_total);
    return BP_OK;
}

/* --- the program -------------------------------------------------------------------------------------------------- */

static bp_status run_help(repl *r, char *argument, bp_error *error);

static bp_status run_quit(repl *r, char *argument, bp_error *error)
{
    (void)argument, (void)error;
    r->leaving = true;
    return BP_OK;
}

static const command command_table[] = {
    {"help", "", "show this", false, run_help},
    {"system", "[TEXT|none]", "show, set or take away the system message", false, run_system},
    {"model", "[NAME]", "show or change the model that answers", false, run_model},
    {"models", "", "list the models that there are", false, run_models},
    {"set", "[NAME VALUE|auto]", "show or change how answers are drawn, as in /set temperature 0.2", false, run_set},
    {"regenerate", "", "answer the last question again, drawn with another seed", false, run_regenerate},
    {"undo", "", "forget the last question and its answer", false, run_undo},
    {"clear", "", "begin a new conversation under the same system message", false, run_clear},
    {"save", "FILE", "write the conversation to a JSON file", true, run_save},
    {"load", "FILE", "go on with a conversation that was saved", true, run_load},
    {"stats", "", "show what was counted", false, run_stats},
    {"quit", "", "leave", false, run_quit},
    {0},
};

static bp_status run_help(repl *r, char *argument, bp_error *error)
{
    (void)argument, (void)error;
    for (const command *c = command_table; c->name; c++) {
        char usage[48];
        snprintf(usage, sizeof usage, "/%s %s", c->name, c->arguments);
        screen_format(&r->out, "%-24s %s\n", usage, c->help);
    }
    screen_text(&r->out, "A line that ends in \\ goes on with the next one; \"\"\" begins and ends a text of many lines.\n"
                         "Text that begins with a slash needs a space before it.\n");
    if (r->terminal)
        screen_text(&r->out, "Ctrl-C stops an answer, Ctrl-D leaves.\n");
    return BP_OK;
}

/* --- finding them ------------------------------------------------------------------------------------------------- */

enum { LONGEST = 24 };

/* Insertions, deletions and replacements that turn one word into the other (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
    size_t row[LONGEST + 1], a_length = strlen(a), b_length = strlen(b);
    if (a_length > LONGEST || b_length > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            row[j] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[b_length];
}

static bp_status fail_unknown(const char *name, bp_error *error)
{
    const char *best = NULL;
    size_t least = strlen(name) / 2 + 1;
    for (const command *c = command_table; c->name; c++) {
        size_t d = *name && strncmp(c->name, name, strlen(name)) == 0 ? 0 : distance(name, c->name);
        if (d < least) {
            least = d;
            best = c->name;
        }
    }
    if (best)
        return fail(error, BP_EINVAL, "there is no command /%.40s; did you mean /%s?", name, best);
    return fail(error, BP_EINVAL, "there is no command /%.40s; /help lists them", name);
}

static void trim_end(char *line)
{
    size_t length = strlen(line);
    while (length > 0 && strchr(" \t\n", line[length - 1]))
        line[--length] = '\0';
}

bp_status command_run(repl *r, const char *line, bp_error *error)
{
    char *copy = strdup(line + 1);
    if (!copy)
        return fail_memory(error);
    trim_end(copy);
    char *argument = copy + strcspn(copy, " \t\n");
    if (*argument)
        *argument++ = '\0';
    argument += strspn(argument, " \t\n");
    const command *c = command_table;
    while (c->name && strcmp(c->name, copy) != 0)
        c++;
    bp_status status;
    if (!c->name)
        status = fail_unknown(copy, error);
    else if (c->needs_argument && !*argument)
        status = fail(error, BP_EINVAL, "/%s needs a %s", c->name, c->arguments);
    else
        status = c->run(r, argument, error);
    free(copy);
    return status;
}
