#include "model/shelf.h"

#include "base/error.h"
#include "model/huggingface.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PATH = 4096, PARTS = 5 };

/* What tells a file on disk from what it was. */
typedef struct stamp {
    uint64_t numbers[PARTS][5];
} stamp;

typedef struct place {
    struct place *next;
    gguf *file;
    stamp stamp;
    unsigned mapping_flags;
    uint32_t users;
    char path[];
} place;

struct model_shelf {
    pthread_mutex_t lock; /* for the list and its counts, never while a file is opened */
    place *first;
};

static void stamp_part(const char *path, uint64_t out[5])
{
    struct stat about;
    if (stat(path, &about) != 0)
        return;
    out[0] = (uint64_t)about.st_dev;
    out[1] = (uint64_t)about.st_ino;
    out[2] = (uint64_t)about.st_size;
    out[3] = (uint64_t)about.st_mtim.tv_sec;
    out[4] = (uint64_t)about.st_mtim.tv_nsec;
}

/* The path itself and, where it is a folder, what is in it; zeros for what is not there. */
static stamp stamp_of(const char *path)
{
    static const char *const parts[PARTS] = {"", "/config.json", "/model.safetensors", "/model.safetensors.index.json",
                                             "/tokenizer.json"};
    stamp s = {0};
    for (int i = 0; i < PARTS; i++) {
        char full[MAX_PATH];
        if (snprintf(full, sizeof full, "%s%s", path, parts[i]) < MAX_PATH)
            stamp_part(full, s.numbers[i]);
    }
    return s;
}

/* FNV-1a of its numbers. */
uint64_t model_shelf_stamp(const char *path)
{
    stamp s = stamp_of(path);
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int i = 0; i < PARTS; i++)
        for (int j = 0; j < 5; j++)
            for (int shift = 0; shift < 64; shift += 8)
                hash = (hash ^ (s.numbers[i][j] >> shift & 255)) * UINT64_C(1099511628211);
    return hash;
}

model_shelf *model_shelf_new(void)
{
    model_shelf *s = calloc(1, sizeof *s);
    if (s)
        pthread_mutex_init(&s->lock, NULL);
    return s;
}

void model_shelf_free(model_shelf *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static gguf *take(model_shelf *s, const char *path, unsigned mapping_flags, const stamp *now)
{
    gguf *found = NULL;
    pthread_mutex_lock(&s->lock);
    for (place *p = s->first; p && !found; p = p->next)
        if (p->mapping_flags == mapping_flags && strcmp(p->path, path) == 0 && memcmp(&p->stamp, now, sizeof *now) == 0 &&
            !gguf_damaged(p->file)) {
            p->users++;
            found = p->file;
        }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* A file that finds no memory for its place is nobody else's. */
static void put(model_shelf *s, const char *path, unsigned mapping_flags, const stamp *was, gguf *file)
{
    size_t length = strlen(path) + 1;
    place *p = malloc(sizeof *p + length);
    if (!p)
        return;
    *p = (place){.file = file, .stamp = *was, .mapping_flags = mapping_flags, .users = 1};
    memcpy(p->path, path, length);
    pthread_mutex_lock(&s->lock);
    p->next = s->first;
    s->first = p;
    pthread_mutex_unlock(&s->lock);
}

bp_status model_shelf_open(model_shelf *s, const char *path, unsigned mapping_flags, gguf **out, bp_error *error)
{
    stamp before = {0};
    if (s) {
        before = stamp_of(path);
        if ((*out = take(s, path, mapping_flags, &before)))
            return BP_OK;
    }
    bool folder = huggingface_is_folder(path);
    bp_status status = (folder ? huggingface_open : gguf_open)(path, mapping_flags, out, error);
    if (status == BP_OK && s)
        put(s, path, mapping_flags, &before, *out);
    return status;
}

void model_shelf_close(model_shelf *s, gguf *file)
{
    if (s && file) {
        pthread_mutex_lock(&s->lock);
        place **at = &s->first;
        while (*at && (*at)->file != file)
            at = &(*at)->next;
        place *p = *at;
        bool used = p && --p->users > 0;
        if (p && !used)
            *at = p->next;
        pthread_mutex_unlock(&s->lock);
        if (used)
            return;
        free(p);
    }
    gguf_close(file);
}
