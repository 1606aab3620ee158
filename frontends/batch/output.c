#include "batch/output.h"

#include "common/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* What every result begins with: a torn line that does not is not ours to cut. */
#define BEGINNING "{\"line\":"

bp_status output_open(output *o, const char *path, bp_error *error)
{
    *o = (output){.descriptor = STDOUT_FILENO, .path = path};
    lines_init(&o->before, -1);
    if (strcmp(path, "-") == 0)
        return BP_OK;
    o->descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (o->descriptor < 0 && errno == EACCES)
        o->descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (o->descriptor < 0)
        return fail(error, BP_EIO, "the output \"%.200s\" cannot be opened: %s", path, strerror(errno));
    o->opened = true;
    struct stat about;
    o->regular = fstat(o->descriptor, &about) == 0 && S_ISREG(about.st_mode);
    if (o->regular && flock(o->descriptor, LOCK_EX | LOCK_NB) != 0)
        return fail(error, BP_EIO, "the output \"%.200s\" is being written by another process", path);
    lines_init(&o->before, o->descriptor);
    return BP_OK;
}

void output_close(output *o)
{
    lines_free(&o->before);
    text_free(&o->pending);
    if (o->opened)
        close(o->descriptor);
    *o = (output){.descriptor = -1};
}

/* --- earlier results ---------------------------------------------------------------------------------------------- */

static bp_status begin_at(output *o, uint64_t offset, bp_error *error)
{
    if (ftruncate(o->descriptor, (off_t)offset) == 0 && lseek(o->descriptor, (off_t)offset, SEEK_SET) == (off_t)offset)
        return BP_OK;
    return fail(error, BP_EIO, "the output \"%.200s\" cannot be cut after its last whole result: %s", o->path,
                strerror(errno));
}

static bp_status fail_foreign(const output *o, bp_error *error)
{
    return fail(error, BP_EINVAL, "\"%.200s\", line %llu, is not a result of a batch; choose another output", o->path,
                (unsigned long long)o->before.number);
}

static bp_status read_result(output *o, uint64_t *line, text *custom_id, bp_error *error)
{
    json_t *root = json_loadb(text_string(&o->before.line), o->before.line.size, JSON_REJECT_DUPLICATES, NULL);
    const json_t *number = json_object_get(root, "line"), *id = json_object_get(root, "custom_id");
    bool good = json_is_integer(number) && json_integer_value(number) > 0 &&
                (json_object_get(root, "response") || json_object_get(root, "error"));
    if (good)
        *line = (uint64_t)json_integer_value(number);
    text_clear(custom_id);
    bool enough = !json_is_string(id) || text_append(custom_id, json_string_value(id), json_string_length(id));
    json_decref(root);
    return !good ? fail_foreign(o, error) : enough ? BP_OK : fail_memory(error);
}

bp_status output_earlier(output *o, uint64_t *line, text *custom_id, bp_error *error)
{
    *line = 0;
    if (!o->regular)
        return BP_OK;
    uint64_t whole = o->before.offset;
    line_result result = lines_next(&o->before, -1);
    if (result == LINE_END)
        return begin_at(o, whole, error);
    if (result == LINE_FAILED || result == LINE_NOT_YET)
        return fail(error, BP_EIO, "the output \"%.200s\" cannot be read: %s", o->path, strerror(errno));
    if (o->before.whole)
        return read_result(o, line, custom_id, error);
    const text *torn = &o->before.line;
    size_t same = torn->size < strlen(BEGINNING) ? torn->size : strlen(BEGINNING);
    if (result == LINE_READ && memcmp(text_string(torn), BEGINNING, same) != 0)
        return fail_foreign(o, error);
    return begin_at(o, whole, error);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

bool output_put(output *o, const text *line)
{
    text_clear(&o->pending);
    o->written = 0;
    return text_append(&o->pending, line->data, line->size);
}

/* A pipe with room takes this many bytes without waiting. */
static size_t portion(const output *o)
{
    size_t left = o->pending.size - o->written;
    return o->regular || left < 4096 ? left : 4096;
}

bp_status output_flush(output *o, int wait_ms, bool *clear, bp_error *error)
{
    *clear = false;
    while (o->written < o->pending.size) {
        struct pollfd ready = {.fd = o->descriptor, .events = POLLOUT};
        if (!o->regular && poll(&ready, 1, wait_ms) <= 0)
            return BP_OK;
        ssize_t count = write(o->descriptor, o->pending.data + o->written, portion(o));
        if (count > 0)
            o->written += (size_t)count;
        else if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return BP_OK;
        else
            return fail(error, BP_EIO, "the output \"%.200s\" cannot be written: %s", o->path, strerror(errno));
    }
    *clear = true;
    return BP_OK;
}
