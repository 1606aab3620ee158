#include "axes.h"

static bool takes(share mine, uint32_t value)
{
    return value % mine.of == mine.number % mine.of;
}

static int32_t shortest(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Decoding steps of every batch size. The sequences stand at different positions of different prompts, and their order in the
 * step turns, so that each meets many places. */
static void batches(walk *w, share mine)
{
    static const uint32_t large[] = {96, 127, 128, 192, 255, 256};
    sequence *q[MACHINE_SEQUENCES];
    move moves[MACHINE_SEQUENCES];
    uint32_t most = mine.of <= AXES_FAST ? MACHINE_SEQUENCES : 46; /* a slow set has enough of the others */
    for (uint32_t size = 1; size <= most; size++) {
        bool listed = size <= AXES_BATCHES;
        for (uint32_t i = 0; i < sizeof large / sizeof *large; i++)
            listed = listed || size == large[i];
        if (!listed || !takes(mine, size))
            continue;
        uint32_t turn = walk_random(w, size), longest = size < 16 ? 38 : 9; /* of their pasts */
        for (uint32_t i = 0; i < size; i++)
            q[i] = walk_new(w, (int32_t)(i % w->s->prompts));
        for (uint32_t from = 0; from < size && !w->trouble[0]; from += 16) { /* everyone gets a past, in small steps */
            uint32_t count = size - from < 16 ? size - from : 16;
            for (uint32_t i = 0; i < count; i++)
                moves[i] = (move){q[from + i], 1 + (int32_t)((from + i) * 7 % longest), 0};
            walk_step(w, moves, count);
        }
        for (uint32_t i = 0; i < size; i++)
            moves[i] = (move){q[(i + turn) % size], 1, 0};
        walk_step(w, moves, size);
        for (uint32_t i = 0; i < size; i++) {
            if (i < 8 && !w->trouble[0])
                walk_check_kv(w, q[i], q[i]->at - 1);
            walk_free(w, q[i]);
        }
    }
}

/* Ours at each place between sequences of NaN and infinity, in pages that such sequences have left. */
static void poisoned(walk *w, share mine)
{
    sequence *q[14];
    move moves[14];
    if (!w->s->poison)
        return;
    for (uint32_t place = 0; place < 14; place++) {
        if (!takes(mine, place))
            continue;
        for (uint32_t i = 0; i < 14; i++) { /* what they leave */
            q[i] = walk_new(w, POISONED);
            moves[i] = (move){q[i], shortest(w->s->length[0], 20), 0};
        }
        walk_step(w, moves, 14);
        walk_free(w, q[place]);
        q[place] = walk_new(w, (int32_t)place % (int32_t)w->s->prompts);
        for (int round = 0; round < 4 && !w->trouble[0]; round++) {
            for (uint32_t i = 0; i < 14; i++)
                moves[i] = (move){q[i], i == place ? 5 : 1 + (int32_t)i % 3, 0};
            walk_step(w, moves, 14);
        }
        if (!w->trouble[0])
            walk_check_kv(w, q[place], 0);
        for (uint32_t i = 0; i < 14; i++)
            walk_free(w, q[i]);
    }
}

/* A prompt in steps of each size. */
static void chunks(walk *w, share mine)
{
    int32_t length = w->s->length[0];
    for (int32_t chunk = 1; chunk <= length; chunk++) {
        bool some = chunk <= AXES_CHUNKS || chunk % 37 == 0 || chunk == length;
        if (!some || !takes(mine, (uint32_t)chunk))
            continue;
        sequence *q = walk_new(w, chunk % (int32_t)w->s->prompts);
        walk_run(w, q, length, chunk);
        if (!w->trouble[0])
            walk_check_kv(w, q, 0);
        walk_free(w, q);
    }
}

/* A sequence that begins with a cached prefix of each length, while the sequence it came from goes on. */
static void hits(walk *w, share mine)
{
    int32_t length = w->s->length[0], stride = length > 64 ? 23 : 1;
    sequence *from = walk_new(w, 1);
    walk_run(w, from, length - 2, length);
    for (int32_t hit = 0; hit < length - 2; hit += stride) {
        if (!takes(mine, (uint32_t)(hit / stride)) || w->trouble[0])
            continue;
        sequence *q = walk_fork(w, from, hit);
        walk_run(w, q, shortest(length, hit + 9), 7);
        if (!w->trouble[0])
            walk_check_kv(w, q, 0);
        visit(AXIS_HIT, (uint32_t)hit);
        walk_free(w, q);
    }
    walk_run(w, from, length, 1);
    if (!w->trouble[0])
        walk_check_kv(w, from, 0);
    walk_free(w, from);
}

/* A sequence loses its pages after each step, others write into them, and it is run again elsewhere in one piece. */
static void preemptions(walk *w, share mine)
{
    int32_t length = w->s->length[0], stride = length > 64 ? 41 : 1;
    for (int32_t step = 1; step < length; step += stride) {
        if (!takes(mine, (uint32_t)(step / stride)))
            continue;
        sequence *q = walk_new(w, 2), *other = walk_new(w, w->s->poison ? POISONED : 3);
        walk_run(w, q, step > 8 ? step - 6 : 1, 16);
        walk_run(w, q, step, 1);
        walk_preempt(w, q);
        walk_run(w, other, shortest(length, step + 3), 64);
        walk_run(w, q, step, length);
        walk_run(w, q, shortest(length, step + 3), 1);
        if (!w->trouble[0])
            walk_check_kv(w, q, 0);
        visit(AXIS_PREEMPT, (uint32_t)step);
        walk_free(w, q);
        walk_free(w, other);
    }
}

/* Several rows of a sequence in a step of which the last are rejected, and their places written again. */
static void drafts(walk *w, share mine)
{
    int32_t length = w->s->length[0];
    for (int32_t width = 2; width <= AXES_DRAFT; width++) {
        if (!takes(mine, (uint32_t)width))
            continue;
        sequence *q[3] = {walk_new(w, 3), walk_new(w, 4), walk_new(w, 5)};
        for (int32_t accepted = 0; accepted < width && !w->trouble[0]; accepted++) {
            move moves[3];
            for (int i = 0; i < 3; i++) {
                int32_t keep = i == 1 ? 1 : accepted + 1, wrong = i == 1 ? 0 : width - keep;
                if (q[i]->at + keep + wrong > length)
                    walk_preempt(w, q[i]);
                moves[i] = (move){q[i], keep, wrong};
                if (wrong > 0)
                    visit(AXIS_DRAFT, (uint32_t)width);
                visit(AXIS_ACCEPT, (uint32_t)keep - 1);
            }
            walk_step(w, moves, 3);
        }
        for (int i = 0; i < 3; i++) {
            if (!w->trouble[0])
                walk_check_kv(w, q[i], 0);
            walk_free(w, q[i]);
        }
    }
}

/* Everything at once, as a server has it: sequences come, share, decode with and without drafts, prefill in pieces, are
 * preempted, and leave. */
static void mixed(walk *w, uint32_t steps)
{
    enum { MOST = 12 };
    sequence *live[MOST] = {0};
    move moves[MOST];
    for (uint32_t step = 0; step < steps && !w->trouble[0]; step++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < MOST; i++) {
            sequence *q = live[i];
            int32_t prompt = (int32_t)walk_random(w, w->s->prompts), length = w->s->length[0];
            if (q && (q->at == length || walk_random(w, 40) == 0)) {
                walk_free(w, q);
                q = live[i] = NULL;
            } else if (q && walk_random(w, 20) == 0) {
                walk_preempt(w, q);
            }
            if (!q && walk_random(w, 3) == 0)
                q = live[i] = walk_new(w, w->s->poison && walk_random(w, 4) == 0 ? POISONED : prompt);
            if (!q || walk_random(w, 4) == 0)
                continue;
            const sequence *kin = live[walk_random(w, MOST)];
            if (q->at == 0 && kin && kin->prompt == q->prompt && kin->at > 1) {
                walk_free(w, q);
                q = live[i] = walk_fork(w, kin, 1 + (int32_t)walk_random(w, (uint32_t)kin->at - 1));
            }
            bool decode = walk_random(w, 2) == 0;
            int32_t want = decode ? 1 : 1 + (int32_t)walk_random(w, 40);
            want = shortest(want, length - q->at);
            int32_t wrong = decode && q->prompt != POISONED ? shortest((int32_t)walk_random(w, 4), length - q->at - want) : 0;
            moves[count++] = (move){q, want, wrong};
        }
        if (count > 0)
            walk_step(w, moves, count);
    }
    for (uint32_t i = 0; i < MOST; i++) {
        if (!live[i])
            continue;
        if (live[i]->prompt != POISONED && !w->trouble[0])
            walk_check_kv(w, live[i], 0);
        walk_free(w, live[i]);
    }
}

/* An encoder's prompts, each whole: alone, and beside each other and poisoned ones in steps of several sizes. */
static void encoders(walk *w, share mine)
{
    sequence *q[16];
    move moves[16];
    uint32_t room = MACHINE_STEP / (uint32_t)w->s->length[0], most = room < 16 ? room : 16;
    mine.of = mine.of > most / 2 ? most / 2 : mine.of; /* every walk has some */
    for (uint32_t size = 1; size <= most; size++) {
        if (!takes(mine, size))
            continue;
        for (uint32_t i = 0; i < size; i++) {
            bool bad = w->s->poison && size > 1 && i % 3 == 1;
            q[i] = walk_new(w, bad ? POISONED : (int32_t)((i + size) % w->s->prompts));
            moves[i] = (move){q[i], bad ? 9 : w->s->length[q[i]->prompt], 0};
        }
        walk_step(w, moves, size);
        for (uint32_t i = 0; i < size; i++) {
            if (q[i]->prompt != POISONED && !w->trouble[0])
                walk_check_kv(w, q[i], 0);
            walk_free(w, q[i]);
        }
    }
}

/* A real model costs too much for every value: one or two of each kind, drawn by the walk's generator. */
static void large_model(walk *w)
{
    enum { MOST = 46 };
    sequence *q[MOST];
    move moves[MOST];
    int32_t length = w->s->length[0], cut = 2 + (int32_t)walk_random(w, (uint32_t)length - 4);
    sequence *from = walk_new(w, 0);
    w->axis = "sizes of chunks";
    walk_run(w, from, length, 1 + (int32_t)walk_random(w, (uint32_t)length));
    w->axis = "prefix hits and large batches";
    uint32_t size = 43 + walk_random(w, 4);
    for (uint32_t i = 0; i < size && !w->trouble[0]; i++) {
        q[i] = walk_fork(w, from, i == 0 ? cut : 1 + (int32_t)walk_random(w, (uint32_t)length - 2));
        moves[i] = (move){q[i], 1, 0};
    }
    walk_step(w, moves, size);
    for (uint32_t i = 1; i < size; i++)
        walk_free(w, q[i]);
    w->axis = "drafts";
    int32_t wrong = shortest(3, length - q[0]->at - 1);
    walk_step(w, &(move){q[0], 1, wrong}, 1);
    w->axis = "preemption";
    cut = q[0]->at;
    walk_preempt(w, q[0]);
    sequence *other = walk_new(w, 1);
    walk_run(w, other, shortest(20, length), 64);
    walk_run(w, q[0], cut, length);
    moves[0] = (move){q[0], shortest(5, length - cut), 0};
    moves[1] = (move){other, 1, 0};
    walk_step(w, moves, 2);
    if (!w->trouble[0])
        walk_check_kv(w, q[0], 0);
    walk_free(w, other);
    walk_free(w, q[0]);
    walk_free(w, from);
}

void axes_run(walk *w, share mine)
{
    static const struct {
        const char *name;
        void (*run)(walk *w, share mine);
    } scripts[] = {{"sizes of chunks", chunks},  {"batch sizes", batches},       {"poisoned neighbours", poisoned},
                   {"prefix hits", hits},        {"preemption", preemptions},    {"drafts", drafts}};
    if (w->s->pools) {
        w->axis = "batches of whole prompts";
        encoders(w, mine);
        return;
    }
    if (!w->s->recipe && mine.of > 1) {
        large_model(w);
        return;
    }
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts && !w->trouble[0]; i++) {
        w->axis = scripts[i].name;
        scripts[i].run(w, mine);
    }
    w->axis = "a mixture of all";
    mixed(w, mine.of == 1 ? 200 : 12);
}

void axes_want(void)
{
    visits_want(AXIS_BATCH, 1, AXES_BATCHES, 1);
    visits_want(AXIS_BATCH, 256, 256, 1);
    visits_want(AXIS_ROW, 0, 255, 1);
    visits_want(AXIS_NEIGHBOUR, 0, 3, 1);
    visits_want(AXIS_CHUNK, 1, AXES_CHUNKS, 1);
    visits_want(AXIS_HIT, 0, AXES_CHUNKS - 3, 1);
    visits_want(AXIS_SHARE, 0, 1, 1);
    visits_want(AXIS_PREEMPT, 1, AXES_CHUNKS - 1, 1);
    visits_want(AXIS_DRAFT, 2, AXES_DRAFT, 1);
    visits_want(AXIS_ACCEPT, 0, AXES_DRAFT - 1, 1);
    visits_want(AXIS_THREADS, 1, 8, 1);
    visits_want(AXIS_PAGE, 4, 8, 1);
    visits_want(AXIS_KV, 0, 3, 1);
    visits_want(AXIS_POSITION, 0, AXES_CHUNKS - 1, 1);
}
