/* Conversations as JSON files, in the shape in which OpenAI's clients send them. */
#include "repl/conversation.h"

#include "common/fail.h"
#include "common/text.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST_FILE = 64 << 20 };

/* --- writing ------------------------------------------------------------------------------------------------------ */

static json_t *to_json(const conversation *c)
{
    uint32_t count = 0;
    bp_message *messages = conversation_messages(c, c->count, &count);
    json_t *list = messages ? json_array() : NULL;
    for (uint32_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, json_pack("{ss ss}", "role", messages[i].role, "content", messages[i].content)) !=
            0) {
            json_decref(list);
            list = NULL;
        }
    free(messages);
    return list ? json_pack("{so}", "messages", list) : NULL;
}

static bool write_whole(FILE *file, const char *bytes)
{
    bool good = fputs(bytes, file) >= 0 && fputc('\n', file) >= 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    return fclose(file) == 0 && good;
}

static bp_status write_file(const char *path, const char *bytes, bp_error *error)
{
    text beside = {0};
    if (!text_append(&beside, path, strlen(path)) || !text_append(&beside, ".XXXXXX", 7)) {
        text_free(&beside);
        return fail_memory(error);
    }
    int descriptor = mkstemp(beside.data);
    FILE *file = descriptor >= 0 ? fdopen(descriptor, "w") : NULL;
    bool good = file && write_whole(file, bytes) && rename(beside.data, path) == 0;
    int why = errno;
    if (!file && descriptor >= 0)
        close(descriptor);
    if (!good && descriptor >= 0)
        unlink(beside.data);
    text_free(&beside);
    return good ? BP_OK : fail(error, BP_EIO, "the conversation cannot be written to \"%.200s\": %s", path, strerror(why));
}

bp_status conversation_save(const conversation *c, const char *path, bp_error *error)
{
    json_t *root = to_json(c);
    char *bytes = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    bp_status status = bytes ? write_file(path, bytes, error) : fail_memory(error);
    free(bytes);
    json_decref(root);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bp_status add_message(conversation *c, const json_t *message, size_t index, bp_error *error)
{
    const json_t *role = json_object_get(message, "role"), *content = json_object_get(message, "content");
    if (!json_is_string(role) || !json_string_length(role))
        return fail(error, BP_EINVAL, "messages[%zu] has no role", index);
    if (!json_is_string(content))
        return fail(error, BP_EINVAL, "messages[%zu].content is not a string", index);
    bool is_system = strcmp(json_string_value(role), "system") == 0;
    if (is_system && index > 0)
        return fail(error, BP_EINVAL, "messages[%zu] is a system message, which can only be the first", index);
    bool enough = is_system ? conversation_set_system(c, json_string_value(content))
                            : conversation_add(c, json_string_value(role), json_string_value(content));
    return enough ? BP_OK : fail_memory(error);
}

static bp_status from_json(conversation *c, const json_t *root, bp_error *error)
{
    const json_t *messages = json_is_array(root) ? root : json_object_get(root, "messages");
    if (!json_is_array(messages))
        return fail(error, BP_EINVAL, "it has no list of messages");
    bp_status status = BP_OK;
    for (size_t i = 0; status == BP_OK && i < json_array_size(messages); i++)
        status = add_message(c, json_array_get(messages, i), i, error);
    return status;
}

/* A regular file of bearable size; anything else could keep the reader waiting. */
static FILE *open_file(const char *path, bp_error *error)
{
    struct stat about;
    if (stat(path, &about) != 0) {
        fail(error, errno == ENOENT ? BP_ENOTFOUND : BP_EIO, "\"%.200s\" cannot be read: %s", path, strerror(errno));
        return NULL;
    }
    if (!S_ISREG(about.st_mode) || about.st_size > LARGEST_FILE) {
        fail(error, BP_EINVAL, "\"%.200s\" is not a file of at most %d MiB", path, LARGEST_FILE >> 20);
        return NULL;
    }
    FILE *file = fopen(path, "r");
    if (!file)
        fail(error, BP_EIO, "\"%.200s\" cannot be read: %s", path, strerror(errno));
    return file;
}

bp_status conversation_load(conversation *c, const char *path, bp_error *error)
{
    FILE *file = open_file(path, error);
    if (!file)
        return error->code;
    json_error_t why;
    json_t *root = json_loadf(file, JSON_REJECT_DUPLICATES, &why);
    fclose(file);
    if (!root)
        return fail(error, BP_EINVAL, "\"%.200s\", line %d, is not JSON: %.120s", path, why.line, why.text);
    conversation loaded = {0};
    bp_error reason = {0};
    bp_status status = from_json(&loaded, root, &reason);
    json_decref(root);
    if (status != BP_OK) {
        conversation_free(&loaded);
        return fail(error, status, "\"%.200s\" is no conversation: %s", path, reason.message);
    }
    conversation_free(c);
    *c = loaded;
    return BP_OK;
}
