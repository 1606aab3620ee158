#include "golden.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256 };

typedef struct line {
    char name[64], covers[120];
    uint64_t hash;
} line;

struct golden {
    char path[512];
    line lines[MOST];
    size_t count;
};

static const char head[] =
    "# 64-bit FNV-1a over the four bytes of each logit, least significant first, at all positions of a fixed prompt, as the\n"
    "# scalar kernels give them one token at a time (docs/numerics.md). Made by: proof PLUGIN --write. Not edited by hand.\n";

golden *golden_open(const char *path)
{
    golden *g = calloc(1, sizeof *g);
    char text[300];
    if (!g)
        return NULL;
    snprintf(g->path, sizeof g->path, "%s", path);
    FILE *file = fopen(path, "r");
    while (file && fgets(text, sizeof text, file) && g->count < MOST) {
        line *l = &g->lines[g->count];
        if (text[0] != '#' && sscanf(text, "%63s %" SCNx64 " %119[^\n]", l->name, &l->hash, l->covers) >= 2)
            g->count++;
    }
    if (file)
        fclose(file);
    return g;
}

static line *find(golden *g, const char *name)
{
    for (size_t i = 0; i < g->count; i++)
        if (strcmp(g->lines[i].name, name) == 0)
            return &g->lines[i];
    return NULL;
}

bool golden_check(golden *g, const char *name, uint64_t hash)
{
    const line *l = find(g, name);
    if (l && l->hash == hash)
        return true;
    if (l)
        fprintf(stderr, "proof: %s hashes to %016" PRIx64 " and not to %016" PRIx64, name, hash, l->hash);
    else
        fprintf(stderr, "proof: %s hashes to %016" PRIx64 ", of which the file knows nothing", name, hash);
    fprintf(stderr, "; if the arithmetic was changed on purpose, docs/numerics.md changes, and --write makes the file anew\n");
    return false;
}

void golden_note(golden *g, const char *name, uint64_t hash, const char *covers)
{
    line *l = find(g, name);
    if (!l && g->count < MOST)
        l = &g->lines[g->count++];
    if (!l)
        return;
    snprintf(l->name, sizeof l->name, "%s", name);
    snprintf(l->covers, sizeof l->covers, "%s", covers);
    l->hash = hash;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const line *)a)->name, ((const line *)b)->name);
}

bool golden_write(const golden *g)
{
    golden sorted = *g;
    qsort(sorted.lines, sorted.count, sizeof *sorted.lines, by_name);
    FILE *file = fopen(g->path, "w");
    if (!file)
        return false;
    fputs(head, file);
    for (size_t i = 0; i < sorted.count; i++)
        fprintf(file, "%-24s %016" PRIx64 "  %s\n", sorted.lines[i].name, sorted.lines[i].hash, sorted.lines[i].covers);
    return fclose(file) == 0;
}

void golden_close(golden *g)
{
    free(g);
}
