#include "share.h"

#include <stdlib.h>

struct packed_weight {
    const weight_type *type;
    const uint8_t *source, *packed[MAX_NODES];
    size_t k, n, end[MAX_NODES];
    size_t users; /* models */
};

struct pack {
    pack *next; /* of the device's */
    memory block;
    size_t users, count;
    packed_weight weights[];
};

/* --- taking ----------------------------------------------------------------------------------------------------------- */

/* Weights that are only embedded are read from any places. */
static bool is_same(const weight *w, const packed_weight *p, size_t nodes)
{
    bool same = p->users > 0 && p->source == w->source && p->type == w->type && p->k == w->k && p->n == w->n;
    for (size_t node = 0; same && w->packs && node < nodes; node++)
        same = p->end[node] == w->end[node];
    return same;
}

static packed_weight *find(const bp_model *model, const weight *w, pack **where)
{
    size_t nodes = pool_placement(model->device->threads)->nodes;
    for (pack *p = model->device->packs; p; p = p->next)
        for (size_t i = 0; i < p->count; i++)
            if (is_same(w, &p->weights[i], nodes)) {
                *where = p;
                return &p->weights[i];
            }
    return NULL;
}

/* One of the model's packs from here on. */
static bool use_pack(bp_model *model, pack *p)
{
    for (size_t i = 0; i < model->pack_count; i++)
        if (model->packs[i] == p)
            return true;
    pack **more = realloc(model->packs, (model->pack_count + 1) * sizeof *more);
    if (!more)
        return false;
    model->packs = more;
    model->packs[model->pack_count++] = p;
    p->users++;
    return true;
}

bool share_take(bp_model *model)
{
    for (size_t i = 0; i < model->weight_count; i++) {
        weight *w = &model->weights[i];
        pack *where = NULL;
        packed_weight *p = w->packs || w->embeds ? find(model, w, &where) : NULL;
        if (!p)
            continue;
        if (!use_pack(model, where))
            return false;
        p->users++;
        w->shared = p;
        w->packs = true;
        w->tile_bytes = weight_tile_bytes(w->type, w->k);
        memcpy(w->end, p->end, sizeof w->end);
        memcpy(w->packed, p->packed, sizeof w->packed);
    }
    return true;
}

/* --- giving ----------------------------------------------------------------------------------------------------------- */

bool share_give(bp_model *model, const memory *block)
{
    size_t count = 0;
    for (size_t i = 0; i < model->weight_count; i++)
        count += model->weights[i].packs && !model->weights[i].shared;
    pack *p = calloc(1, sizeof *p + count * sizeof *p->weights);
    if (!p || !use_pack(model, p)) {
        free(p);
        return false;
    }
    p->block = *block;
    for (size_t i = 0; i < model->weight_count; i++) {
        weight *w = &model->weights[i];
        if (!w->packs || w->shared)
            continue;
        packed_weight *to = w->shared = &p->weights[p->count++];
        *to = (packed_weight){.type = w->type, .source = w->source, .k = w->k, .n = w->n, .users = 1};
        memcpy(to->end, w->end, sizeof to->end);
        memcpy(to->packed, w->packed, sizeof to->packed);
    }
    p->next = model->device->packs;
    model->device->packs = p;
    return true;
}

/* --- leaving ---------------------------------------------------------------------------------------------------------- */

size_t share_bytes(const bp_model *model)
{
    size_t bytes = 0;
    for (size_t i = 0; i < model->pack_count; i++)
        bytes += model->packs[i]->block.bytes / model->packs[i]->users;
    return bytes;
}

static void free_pack(bp_device *device, pack *p)
{
    pack **at = &device->packs;
    while (*at && *at != p)
        at = &(*at)->next;
    if (*at)
        *at = p->next;
    memory_unmap(&p->block);
    free(p);
}

void share_leave(bp_model *model)
{
    for (size_t i = 0; i < model->weight_count; i++)
        if (model->weights[i].shared)
            model->weights[i].shared->users--;
    for (size_t i = 0; i < model->pack_count; i++)
        if (--model->packs[i]->users == 0)
            free_pack(model->device, model->packs[i]);
    free(model->packs);
    model->packs = NULL;
    model->pack_count = 0;
}
