/* What a backend may offer beside steps, and promises in info: the highest logits, copies of pages, a look at keys and values. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 41, PAGES = 3 };

typedef struct scene {
    net n;
    rig r;
    bp_device *device;
    uint32_t caps;
    int32_t tokens[TOKENS], pages[PAGES], other[PAGES];
    float *alone, *out;
} scene;

/* The first of the recipes that the plugin runs. `ties` doubles each row of the logits' weight. */
static void scene_begin(scene *s, subject *u, bool ties)
{
    static const int candidates[] = {3, 0, 1, 4, 12};
    answer a;
    s->device = subject_device(u);
    s->caps = subject_caps(u, s->device);
    bool runs = false;
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates && !runs; i++) {
        const recipe *r = &recipes[candidates[i]];
        recipe_build(r, &s->n);
        bp_weight *w = &s->n.weights[s->n.ops[s->n.op_count - 1].weight[0]];
        char *data = NULL;
        for (uint32_t o = 0; o < s->n.owned_count; o++)
            if (s->n.owned[o] == w->data)
                data = s->n.owned[o];
        size_t row = (size_t)(w->bytes / (uint64_t)w->shape[1]);
        for (int64_t c = 1; ties && c < w->shape[1]; c += 2)
            memcpy(data + (size_t)c * row, data + (size_t)(c - 1) * row, row);
        bp_limits limits = rig_limits(&s->n, r->kv_dtype);
        runs = rig_try(&s->r, u, s->device, &s->n, &limits, &a);
        if (!runs)
            net_end(&s->n);
    }
    if (!runs)
        not_offered("%s", a.error.message);
    for (int32_t i = 0; i < TOKENS; i++)
        s->tokens[i] = (i * 29 + i / 5) % (RECIPE_VOCABULARY - 2);
    for (int32_t i = 0; i < PAGES; i++) {
        s->pages[i] = 5 + i;
        s->other[i] = 90 - 7 * i;
    }
    size_t count = (size_t)TOKENS * s->r.width;
    s->alone = floats(count);
    s->out = floats(count);
    turn t = {s->tokens, 0, TOKENS, s->pages};
    rig_step(&s->r, &t, 1, s->alone);
}

static void scene_end(scene *s, subject *u)
{
    free(s->alone);
    free(s->out);
    rig_close(&s->r);
    subject_close(u, s->device);
    net_end(&s->n);
    subject_unload(u);
}

/* The id that is number `place` of a row, descending, ties to the lowest. */
static int32_t id_at(const float *row, uint32_t width, uint32_t place)
{
    for (uint32_t id = 0; id < width; id++) {
        uint32_t before = 0;
        for (uint32_t other = 0; other < width; other++)
            before += row[other] > row[id] || (row[other] == row[id] && other < id);
        if (before == place)
            return (int32_t)id;
    }
    return -1;
}

static void topk(subject *u, uint32_t which)
{
    static const uint32_t sizes[] = {1, 2, 7, 20, RECIPE_VOCABULARY};
    (void)which;
    scene s;
    answer a;
    scene_begin(&s, u, true);
    if (!(s.caps & BP_CAP_TOPK))
        not_offered("info does not promise BP_CAP_TOPK");
    static int32_t ids[TOKENS * RECIPE_VOCABULARY];
    turn t = {s.tokens, 0, TOKENS, s.pages};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        feed f;
        uint32_t k = sizes[i];
        feed_make(&f, &s.r, &t, 1);
        rig_submit(&s.r, &f);
        feed_free(&f);
        if (CALL(u, &a, u->ops, wait_topk, s.r.model, k, ids, s.out) != BP_OK)
            failed("info promises BP_CAP_TOPK and wait_topk of %u fails: %s", k, a.error.message);
        for (uint32_t row = 0; row < TOKENS; row++) {
            const float *logits = s.alone + (size_t)row * s.r.width;
            for (uint32_t place = 0; place < k; place++) {
                int32_t right = id_at(logits, s.r.width, place), got = ids[row * k + place];
                if (got != right)
                    failed("wait_topk of %u, row %u: number %u is the token %d where %d belongs (descending, ties to the lowest id)",
                           k, row, place + 1, got, right);
                if (memcmp(&s.out[row * k + place], &logits[right], sizeof(float)) != 0)
                    failed("wait_topk of %u, row %u: the logit of token %d is %.9g where wait gives %.9g", k, row, right,
                           (double)s.out[row * k + place], (double)logits[right]);
            }
        }
    }
    scene_end(&s, u);
}

static void copy(subject *u, uint32_t which)
{
    (void)which;
    scene s;
    answer a;
    scene_begin(&s, u, false);
    if (!(s.caps & BP_CAP_COPY))
        not_offered("info does not promise BP_CAP_COPY");
    static int32_t others[TOKENS];
    for (int32_t i = 0; i < TOKENS; i++)
        others[i] = (s.tokens[i] + 11) % (RECIPE_VOCABULARY - 2);
    turn wrong = {others, 0, TOKENS, s.other}, last = {s.tokens, TOKENS - 1, 1, s.pages};
    rig_step(&s.r, &wrong, 1, s.out); /* what a page held before is gone */
    if (CALL(u, &a, u->ops, copy_pages, s.r.model, s.pages, s.other, PAGES) != BP_OK)
        failed("info promises BP_CAP_COPY and copy_pages fails: %s", a.error.message);
    for (int32_t at = TOKENS - 1; at > 0; at -= 13) { /* backwards, so that what is read was copied and not written since */
        turn t = {s.tokens, at, TOKENS - at, s.other};
        rig_step(&s.r, &t, 1, s.out);
        same_bits(&s.r, s.alone + (size_t)at * s.r.width, s.out, (size_t)t.count * s.r.width,
                  "from position %d of a sequence whose pages were copied", at);
    }
    /* The copy is no window: what is written to it does not reach the original. */
    rig_step(&s.r, &wrong, 1, s.out);
    rig_step(&s.r, &last, 1, s.out);
    same_bits(&s.r, s.alone + (size_t)(TOKENS - 1) * s.r.width, s.out, s.r.width, "after its copy was written to");
    scene_end(&s, u);
}

static uint64_t weight_bytes(subject *u, bp_model *model)
{
    answer a;
    bp_model_memory memory = {.size = sizeof memory};
    if (CALL(u, &a, u->ops, memory, model, &memory) != BP_OK)
        failed("info promises BP_CAP_SHARE and memory fails: %s", a.error.message);
    return memory.weights;
}

/* A second model of the same weights costs no second copy of them. What is of a model alone, an eighth at most, may come twice. */
static void share(subject *u, uint32_t which)
{
    (void)which;
    scene s;
    rig twin;
    scene_begin(&s, u, false);
    if (!(s.caps & BP_CAP_SHARE))
        not_offered("info does not promise BP_CAP_SHARE");
    uint64_t alone = weight_bytes(u, s.r.model);
    rig_open(&twin, u, s.device, &s.n, &s.r.limits);
    uint64_t first = weight_bytes(u, s.r.model), second = weight_bytes(u, twin.model);
    if (first + second > alone + alone / 8 + 4096)
        failed("info promises BP_CAP_SHARE: a model has %llu bytes of weights, and two of the same weights %llu and %llu",
               (unsigned long long)alone, (unsigned long long)first, (unsigned long long)second);
    turn t = {s.tokens, 0, TOKENS, s.other};
    rig_step(&twin, &t, 1, s.out);
    same_bits(&twin, s.alone, s.out, (size_t)TOKENS * twin.width, "of a model that shares its weights");
    rig_close(&s.r);
    rig_step(&twin, &t, 1, s.out);
    same_bits(&twin, s.alone, s.out, (size_t)TOKENS * twin.width, "after the model that it shared its weights with was released");
    s.r = twin;
    scene_end(&s, u);
}

static void read_kv(subject *u, uint32_t which)
{
    (void)which;
    scene s;
    answer a;
    rig reference;
    u->numerics = u->tolerance > 0 ? BP_NUMERICS_STABLE : BP_NUMERICS_PORTABLE;
    scene_begin(&s, u, false);
    rig_reference(&reference, u, &s.n, &s.r.limits);
    turn t = {s.tokens, 0, TOKENS, s.pages};
    rig_step(&reference, &t, 1, s.out);
    for (uint32_t c = 0; c < s.n.cache_count; c++) {
        size_t width = (size_t)s.n.caches[c].kv_heads * s.n.caches[c].head_dim;
        float *got = floats(2 * width), *expected = floats(2 * width);
        rig row = s.r;
        row.width = (uint32_t)(2 * width);
        for (int32_t p = 0; p < TOKENS; p++) {
            bp_error error;
            int32_t page = s.pages[p / 16];
            bp_status status = CALL(u, &a, u->ops, read_kv, s.r.model, c, page, (uint32_t)p % 16, got, got + width);
            if (status == BP_EUNSUPPORTED)
                not_offered("the plugin has no read_kv, which is for tests");
            if (status != BP_OK)
                failed("read_kv of cache %u, page %d, slot %d: %s", c, page, p % 16, a.error.message);
            reference.ops->read_kv(reference.model, c, page, (uint32_t)p % 16, expected, expected + width, &error);
            same_as_reference(&row, expected, got, 2 * width, "keys and values (%zu of each) of position %d in cache %u", width, p, c);
        }
        free(got);
        free(expected);
    }
    rig_close(&reference);
    scene_end(&s, u);
}

void checks_add_caps(check_list *list)
{
    checks_add(list, "caps.topk", topk, 0, "BP_CAP_TOPK: the highest logits of each row, descending, ties to the lowest id.");
    checks_add(list, "caps.copy", copy, 0, "BP_CAP_COPY: copied pages hold what the original holds, and are pages of their own.");
    checks_add(list, "caps.share", share, 0, "BP_CAP_SHARE: a second model of the same weights holds no second copy, and outlives the first.");
    checks_add(list, "caps.read_kv", read_kv, 0, "read_kv gives the keys and values that the reference has.");
}
