/* A sequence has the same bits whatever happens around it: how its tokens are cut into steps, what else is in the batch, which
 * pages it has, what was in them before.
 *
 * Each check compares the plugin with itself: with a sequence that is alone, comes in one step and has pages that are new. So
 * it holds for a backend whose order of sums is its own as well. A check is run on two nets, of those that the plugin
 * runs: a plain decoder and one with windows, soft caps and norms. Where it can matter, there is a third that crosses attention's
 * chunks of 256. */
#include "rig.h"

#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES = 4, LONG = 280, PAGES_OF_ONE = LONG / 16 + 1 };
static const char *const nets[] = {"q8_0", "gemma", "long", "f16", "f32", "q4_0", "q4_k"};
enum { NETS = sizeof nets / sizeof *nets };

/* A net, the sequences that it is asked for and what each gives alone. */
typedef struct story {
    subject *u;
    const recipe *recipe;
    net n;
    bp_device *device;
    rig r;
    bool poisons;
    int32_t length[SEQUENCES];
    int32_t tokens[SEQUENCES][LONG + 1];
    int32_t pages[SEQUENCES][PAGES_OF_ONE + 1];
    float *alone[SEQUENCES], *out;
} story;

static const recipe *recipe_named(const char *name)
{
    for (uint32_t i = 0; i < recipe_count; i++)
        if (strcmp(recipes[i].name, name) == 0)
            return &recipes[i];
    failed("there is no net %s", name);
}

/* Pages in ascending order, none of another sequence's. */
static void fresh_pages(story *s)
{
    for (int32_t q = 0; q < SEQUENCES; q++)
        for (int32_t i = 0; i <= PAGES_OF_ONE; i++)
            s->pages[q][i] = (q * (PAGES_OF_ONE + 1) + i) % RIG_PAGES;
}

static turn part(const story *s, int32_t q, int32_t start, int32_t count)
{
    return (turn){s->tokens[q], start, count, s->pages[q]};
}

static void run_alone(story *s)
{
    for (int32_t q = 0; q < SEQUENCES; q++) {
        turn t = part(s, q, 0, s->length[q]);
        s->alone[q] = floats((size_t)s->length[q] * s->r.width);
        rig_step(&s->r, &t, 1, s->alone[q]);
    }
}

static bool story_begin(story *s, subject *u, bp_device *device, const recipe *r, answer *refusal)
{
    static const int32_t lengths[SEQUENCES] = {41, 23, 16, 1};
    *s = (story){.u = u, .recipe = r, .device = device, .poisons = recipe_poisons(r)};
    recipe_build(r, &s->n);
    bp_limits limits = rig_limits(&s->n, r->kv_dtype);
    if (!rig_try(&s->r, u, device, &s->n, &limits, refusal)) {
        net_end(&s->n);
        return false;
    }
    for (int32_t q = 0; q < SEQUENCES; q++) {
        s->length[q] = q == 0 && r->tokens > LONG ? LONG : lengths[q];
        for (int32_t i = 0; i <= LONG; i++)
            s->tokens[q][i] = (int32_t)(net_next(&s->n) % (RECIPE_VOCABULARY - 2));
    }
    s->out = floats((size_t)RIG_TOKENS * s->r.width);
    fresh_pages(s);
    run_alone(s);
    return true;
}

static void story_end(story *s)
{
    for (int32_t q = 0; q < SEQUENCES; q++)
        free(s->alone[q]);
    free(s->out);
    rig_close(&s->r);
    net_end(&s->n);
}

/* `tell` of each net that the plugin runs, so many at most. */
static void each_story(subject *u, void (*tell)(story *s), uint32_t most)
{
    answer refusal;
    static story s;
    bp_device *device = subject_device(u);
    uint32_t told = 0;
    for (size_t i = 0; i < NETS && told < most; i++) {
        if (!story_begin(&s, u, device, recipe_named(nets[i]), &refusal))
            continue;
        tell(&s);
        story_end(&s);
        told++;
    }
    if (told == 0)
        not_offered("of the nets for this it runs none; of the last it says: %s", refusal.error.message);
    subject_close(u, device);
    subject_unload(u);
}

/* Rows of sequence q from position `from` on, at `got`, are those of the sequence alone. */
static void expect_alone(const story *s, int32_t q, int32_t from, int32_t count, const float *got, const char *what)
{
    same_bits(&s->r, s->alone[q] + (size_t)from * s->r.width, got, (size_t)count * s->r.width,
              "net %s, tokens from %d of a sequence of %d, %s", s->recipe->name, from, s->length[q], what);
}

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static void run_in_chunks(story *s, int32_t q, int32_t from, int32_t chunk, const char *what)
{
    for (int32_t at = from; at < s->length[q]; at += chunk) {
        turn t = part(s, q, at, least(chunk, s->length[q] - at));
        rig_step(&s->r, &t, 1, s->out);
        expect_alone(s, q, at, t.count, s->out, what);
    }
}

/* --- what happens to a sequence ------------------------------------------------------------------------------------------ */

static void tell_chunks(story *s)
{
    static const int32_t chunks[] = {1, 2, 3, 7, 15, 16, 17, 32, 100};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        char what[60];
        if (s->length[0] / chunks[i] > 100) /* a long one has its turn with larger chunks */
            continue;
        snprintf(what, sizeof what, "in steps of %d", chunks[i]);
        run_in_chunks(s, 0, 0, chunks[i], what);
    }
}

/* All sequences side by side, of each a few tokens a step, in an order that goes round. */
static void tell_batches(story *s)
{
    int32_t at[SEQUENCES] = {0};
    for (int32_t step = 0;; step++) {
        turn turns[SEQUENCES];
        int32_t whose[SEQUENCES];
        uint32_t count = 0;
        for (int32_t i = 0; i < SEQUENCES; i++) {
            int32_t q = (i + step) % SEQUENCES, left = s->length[q] - at[q];
            int32_t want = step % 3 == 2 ? 1 : 1 + (step * 5 + q * 3) % (s->length[q] > 100 ? 61 : 9);
            if (left == 0)
                continue;
            whose[count] = q;
            turns[count++] = part(s, q, at[q], least(want, left));
        }
        if (count == 0)
            return;
        rig_step(&s->r, turns, count, s->out);
        const float *row = s->out;
        for (uint32_t i = 0; i < count; i++) {
            char what[80];
            snprintf(what, sizeof what, "number %u of %u in a step", i + 1, count);
            expect_alone(s, whose[i], turns[i].start, turns[i].count, row, what);
            row += (size_t)turns[i].count * s->r.width;
            at[whose[i]] += turns[i].count;
        }
    }
}

/* Beside sequences of NaN and infinity, at each place among them. */
static void tell_neighbours(story *s)
{
    enum { OTHERS = 5, LENGTH = 20 };
    int32_t bad[2][LENGTH], pages[OTHERS][2];
    turn turns[OTHERS + 1];
    if (!s->poisons)
        return;
    for (int32_t i = 0; i < LENGTH; i++) {
        bad[0][i] = RECIPE_VOCABULARY - 1;
        bad[1][i] = RECIPE_VOCABULARY - 2;
    }
    for (int32_t place = 0; place <= OTHERS; place++) {
        for (int32_t i = 0, other = 0; i <= OTHERS; i++) {
            if (i == place) {
                turns[i] = part(s, 1, 0, s->length[1]);
                continue;
            }
            pages[other][0] = RIG_PAGES - 1 - 2 * other;
            pages[other][1] = RIG_PAGES - 2 - 2 * other;
            turns[i] = (turn){bad[other % 2], 0, LENGTH, pages[other]};
            other++;
        }
        rig_step(&s->r, turns, OTHERS + 1, s->out);
        expect_alone(s, 1, 0, s->length[1], s->out + (size_t)place * LENGTH * s->r.width, "beside NaN and infinity");
    }
    /* Pages that they leave behind are ours now. */
    for (int32_t i = 0; i < 2; i++)
        s->pages[1][i] = pages[i][1];
    run_in_chunks(s, 1, 0, 4, "in pages that held NaN and infinity");
}

static void tell_pages(story *s)
{
    for (int32_t round = 0; round < 3; round++) {
        for (int32_t q = 0; q < 2; q++)
            for (int32_t i = 0; i <= PAGES_OF_ONE; i++)
                s->pages[q][i] = ((q * (PAGES_OF_ONE + 1) + i) * 45 + 17 * round + 5) % RIG_PAGES;
        turn turns[2] = {part(s, 0, 0, s->length[0] - 1), part(s, 1, 0, s->length[1] - 1)};
        rig_step(&s->r, turns, 2, s->out);
        expect_alone(s, 0, 0, turns[0].count, s->out, "with other page numbers");
        expect_alone(s, 1, 0, turns[1].count, s->out + (size_t)turns[0].count * s->r.width, "with other page numbers");
        for (int32_t q = 0; q < 2; q++)
            turns[q] = part(s, q, s->length[q] - 1, 1);
        rig_step(&s->r, turns, 2, s->out);
        expect_alone(s, 0, turns[0].start, 1, s->out, "with other page numbers");
        expect_alone(s, 1, turns[1].start, 1, s->out + s->r.width, "with other page numbers");
    }
}

/* Two sequences that begin alike have their first pages in common. */
static void tell_shared(story *s)
{
    int32_t shared = least(s->length[0] - 1, 2 * 16), pages[PAGES_OF_ONE + 1];
    run_in_chunks(s, 0, 0, 16, "whose pages will be shared");
    memcpy(pages, s->pages[0], sizeof pages);
    for (int32_t i = shared / 16; i <= PAGES_OF_ONE; i++)
        pages[i] = s->pages[1][i];
    int32_t count = least(s->length[0] - shared, 60);
    turn turns[2] = {{s->tokens[0], shared, count, pages}, part(s, 0, shared, count)};
    rig_step(&s->r, turns, 2, s->out);
    expect_alone(s, 0, shared, count, s->out, "with first pages that another one wrote");
    expect_alone(s, 0, shared, count, s->out + (size_t)count * s->r.width, "beside one that shares its first pages");
}

/* Guesses that were wrong leave nothing behind, nor does a sequence that was interrupted and begins again. */
static void tell_rewound(story *s)
{
    int32_t guess[LONG + 1], at = least(s->length[0] - 6, 30);
    memcpy(guess, s->tokens[0], sizeof guess);
    for (int32_t i = at; i <= LONG; i++)
        guess[i] = (guess[i] + 7) % (RECIPE_VOCABULARY - 2);
    run_in_chunks(s, 0, 0, 16, "before it is interrupted");
    turn wrong = {guess, at, 6, s->pages[0]};
    rig_step(&s->r, &wrong, 1, s->out);
    run_in_chunks(s, 0, at, 5, "after guesses that were rejected");
    run_in_chunks(s, 0, 0, 40, "when it begins again in its own pages");
}

static void tell_repeat(story *s)
{
    turn turns[SEQUENCES];
    for (int32_t q = 0; q < SEQUENCES; q++)
        turns[q] = part(s, q, 0, s->length[q]);
    for (int32_t round = 0; round < 4; round++) {
        char what[60];
        const float *row = s->out;
        snprintf(what, sizeof what, "the same step for the %d. time", round + 1);
        rig_step(&s->r, turns, SEQUENCES, s->out);
        for (int32_t q = 0; q < SEQUENCES; q++) {
            expect_alone(s, q, 0, s->length[q], row, what);
            row += (size_t)s->length[q] * s->r.width;
        }
    }
}

/* --- what the batch asks for ------------------------------------------------------------------------------------------------ */

static void tell_rows(story *s)
{
    static const int32_t wanted[] = {0, 3, 8, 21, 22, 41, 50, 63};
    enum { WANTED_ROWS = sizeof wanted / sizeof *wanted };
    feed f;
    turn turns[2] = {part(s, 1, 0, s->length[1]), part(s, 0, 0, least(s->length[0], 41))};
    for (uint32_t count = 0; count <= WANTED_ROWS; count++) { /* none: a piece of a prompt that is not its end */
        feed_make(&f, &s->r, turns, 2);
        feed_rows(&f, wanted, count);
        rig_submit(&s->r, &f);
        rig_wait(&s->r, s->out, (uint64_t)count * s->r.width);
        feed_free(&f);
        for (uint32_t i = 0; i < count; i++) {
            int32_t q = wanted[i] < s->length[1] ? 1 : 0;
            char what[60];
            snprintf(what, sizeof what, "of %u rows the %u.", count, i + 1);
            expect_alone(s, q, wanted[i] - (q ? 0 : s->length[1]), 1, s->out + (size_t)i * s->r.width, what);
        }
    }
}

static void tell_bounds(story *s)
{
    enum { GUARD = 64 };
    const float mark = 12345.5f;
    turn turns[2] = {part(s, 1, 0, s->length[1]), part(s, 2, 0, s->length[2])};
    size_t count = rig_floats(&s->r, turns, 2);
    float *room = floats(count + 2 * GUARD);
    for (size_t i = 0; i < count + 2 * GUARD; i++)
        room[i] = mark;
    rig_step(&s->r, turns, 2, room + GUARD);
    for (size_t i = 0; i < GUARD; i++)
        if (room[i] != mark || room[GUARD + count + i] != mark)
            failed("net %s: wait wrote outside the %zu floats that it was given", s->recipe->name, count);
    expect_alone(s, 1, 0, s->length[1], room + GUARD, "in a buffer of exactly its size");
    free(room);
}

static void tell_copied(story *s)
{
    feed f;
    turn turns[2] = {part(s, 1, 0, s->length[1]), part(s, 2, 0, s->length[2])};
    feed_make(&f, &s->r, turns, 2);
    size_t count = rig_floats(&s->r, turns, 2);
    rig_submit(&s->r, &f);
    feed_spoil(&f);
    rig_wait(&s->r, s->out, count);
    feed_free(&f);
    expect_alone(s, 1, 0, s->length[1], s->out, "whose batch changed after submit");
    expect_alone(s, 2, 0, s->length[2], s->out + (size_t)s->length[1] * s->r.width, "whose batch changed after submit");
}

/* As many tokens, sequences, rows and pages as the limits say, and not one more. */
static void tell_limits(story *s)
{
    rig small;
    bp_limits limits = s->r.limits;
    int32_t pages[3][2] = {{4, 3}, {0, 2}, {1, -1}};
    limits.max_tokens = limits.max_rows = (uint32_t)(23 + 16 + 1);
    limits.max_seqs = 3;
    limits.page_count = 5;
    limits.max_context = 23;
    rig_open(&small, s->u, s->device, &s->n, &limits);
    turn turns[3] = {{s->tokens[1], 0, 23, pages[0]}, {s->tokens[2], 0, 16, pages[1]}, {s->tokens[3], 0, 1, pages[2]}};
    for (int32_t round = 0; round < 2; round++) {
        rig_step(&small, turns, 3, s->out);
        expect_alone(s, 1, 0, 23, s->out, "of a step as large as the limits allow");
        expect_alone(s, 2, 0, 16, s->out + 23 * (size_t)s->r.width, "of a step as large as the limits allow");
        expect_alone(s, 3, 0, 1, s->out + 39 * (size_t)s->r.width, "of a step as large as the limits allow");
    }
    rig_close(&small);
}

static void tell_page_sizes(story *s)
{
    for (uint32_t page_tokens = 32; page_tokens <= 256; page_tokens *= 2) {
        rig other;
        char what[60];
        bp_limits limits = s->r.limits;
        limits.page_tokens = page_tokens;
        limits.page_count = 24;
        rig_open(&other, s->u, s->device, &s->n, &limits);
        snprintf(what, sizeof what, "in pages of %u", page_tokens);
        for (int32_t at = 0; at < s->length[0]; at += 37) {
            turn t = part(s, 0, at, least(37, s->length[0] - at));
            rig_step(&other, &t, 1, s->out);
            expect_alone(s, 0, at, t.count, s->out, what);
        }
        rig_close(&other);
    }
}

/* The caller's rounding is not the plugin's, and stays the caller's. Of a plugin that promises less than bits only the latter. */
static void tell_rounding(story *s)
{
    static const int modes[] = {FE_UPWARD, FE_TOWARDZERO, FE_TONEAREST};
    turn t = part(s, 1, 0, s->length[1]);
    for (int i = 0; i < 3; i++) {
        fesetround(modes[i]);
        rig_step(&s->r, &t, 1, s->out);
        int after = fegetround();
        fesetround(FE_TONEAREST);
        if (after != modes[i])
            failed("net %s: the caller rounds in another way after a step", s->recipe->name);
        if (s->u->tolerance <= 0)
            expect_alone(s, 1, 0, s->length[1], s->out, "when its caller rounds in another way");
    }
}

/* --- programs that pool ------------------------------------------------------------------------------------------------------ */

static void pooled(subject *u, uint32_t which)
{
    static const char *const embedders[] = {"bert", "bert-q8_0"};
    (void)which;
    bp_device *device = subject_device(u);
    uint32_t told = 0;
    answer a;
    for (int e = 0; e < 2; e++) {
        story s;
        if (!story_begin(&s, u, device, recipe_named(embedders[e]), &a))
            continue;
        for (int32_t first = 0; first < SEQUENCES; first++) {
            turn turns[SEQUENCES];
            for (int32_t i = 0; i < SEQUENCES; i++)
                turns[i] = part(&s, (i + first) % SEQUENCES, 0, s.length[(i + first) % SEQUENCES]);
            rig_step(&s.r, turns, SEQUENCES, s.out);
            for (int32_t i = 0; i < SEQUENCES; i++)
                same_bits(&s.r, s.alone[(i + first) % SEQUENCES], s.out + (size_t)i * s.r.width, s.r.width,
                          "net %s, text %d of a step of %d", s.recipe->name, i + 1, SEQUENCES);
        }
        story_end(&s);
        told++;
    }
    if (told == 0)
        not_offered("%s", a.error.message);
    subject_close(u, device);
    subject_unload(u);
}

/* Each tale, and what it proves. */
static const struct {
    const char *name;
    void (*tell)(story *s);
    uint32_t nets;
    const char *proves;
} tales[] = {
    {"steps.chunks", tell_chunks, 3, "A prompt gives the same bits in steps of any size."},
    {"steps.batches", tell_batches, 3, "Sequences give the same bits side by side, in ragged steps and in any order."},
    {"steps.neighbours", tell_neighbours, 2, "NaN and infinity of a neighbour, or left in a page, reach nobody else."},
    {"steps.pages", tell_pages, 2, "Page numbers change nothing."},
    {"steps.shared", tell_shared, 2, "Sequences that begin alike may share their first pages."},
    {"steps.rewound", tell_rewound, 2, "Positions may be written again: rejected guesses, and sequences that begin anew."},
    {"steps.repeat", tell_repeat, 2, "The same step gives the same bits every time."},
    {"steps.rows", tell_rows, 2, "wait gives the rows that were asked for, in their order, and none where none were."},
    {"steps.bounds", tell_bounds, 2, "wait writes the floats that it was asked for and nothing beside them."},
    {"steps.copied", tell_copied, 2, "submit copies: the batch may change once it has returned."},
    {"steps.limits", tell_limits, 2, "Steps as large as the limits say are run, with every page in use."},
    {"steps.page_sizes", tell_page_sizes, 3, "Pages of 32 to 256 tokens give the same bits as pages of 16."},
    {"steps.rounding", tell_rounding, 2, "How the caller's thread rounds changes nothing and is left as it was."},
};

static void tell(subject *u, uint32_t which)
{
    each_story(u, tales[which].tell, tales[which].nets);
}

void checks_add_steps(check_list *list)
{
    for (uint32_t i = 0; i < sizeof tales / sizeof *tales; i++)
        checks_add(list, tales[i].name, tell, i, tales[i].proves);
    checks_add(list, "steps.pooled", pooled, 0, "Pooled texts give the same bits alone and side by side.");
}
