/* ATTENTION: query rows in tiles, keys in chunks of 256 positions, chunks combined in ascending order.
 *
 * A tile is a few consecutive tokens of one sequence, for the query heads that share one kv head. Normally one task walks all
 * chunks of a tile. When there are fewer tiles than would occupy the workers, each chunk is a task of its own that
 * leaves (m, l, o) in the workspace; whoever finishes the last one of a tile combines them. The arithmetic is the same. */
#include "model.h"

/* What a task needs of its op. */
typedef struct work {
    bp_model *model;
    const step *s;
    const cache *c;
    size_t group;       /* query heads per kv head */
    size_t tile_tokens; /* most tokens of a tile */
    bool causal;
} work;

/* One tile, its rows numbered token-major: row = token * group + head in group. */
typedef struct tile {
    size_t seq, token, tokens, kv_head, rows;
    size_t first_chunk, end_chunk;
} tile;

/* A worker's scratch, cut up. R rows. */
typedef struct scratch {
    float *scores;        /* [R][CHUNK_TOKENS] */
    float *m, *l, *o;     /* [R], [R], [R][head_dim]: one chunk */
    float *tm, *tl, *to;  /* the same: all chunks so far */
    const float **q;      /* [R] */
    quant_block *blocks;  /* [R][head_dim / 32], for Q8_0 */
    uint16_t *from, *end; /* [R] */
    size_t *row;          /* [R] the tile's row that each of the chunk's rows is */
} scratch;

size_t attention_tile_rows(size_t group)
{
    return size_max(ATTENTION_ROWS, group);
}

size_t attention_scratch_bytes(const cache *c, size_t heads)
{
    size_t rows = attention_tile_rows(heads / c->kv_heads);
    size_t floats = CHUNK_TOKENS + 4 + 2 * c->head_dim, blocks = c->head_dim / QUANT_BLOCK;
    return size_round_up(rows * (floats * sizeof(float) + blocks * sizeof(quant_block) + 32), 64);
}

static scratch cut_scratch(uint8_t *at, size_t rows, size_t dim)
{
    scratch cut;
    cut.q = (const float **)(void *)at;
    cut.row = (size_t *)(void *)(at + rows * 8);
    cut.from = (uint16_t *)(void *)(at + rows * 16);
    cut.end = cut.from + rows;
    cut.scores = (float *)(void *)(at + rows * 32);
    cut.o = cut.scores + rows * CHUNK_TOKENS;
    cut.to = cut.o + rows * dim;
    cut.m = cut.to + rows * dim;
    cut.l = cut.m + rows;
    cut.tm = cut.l + rows;
    cut.tl = cut.tm + rows;
    cut.blocks = (quant_block *)(void *)(cut.tl + rows);
    return cut;
}

/* The positions [*from, *to) that a token attends to. */
static void token_range(const work *w, size_t seq, size_t token, size_t *from, size_t *to)
{
    size_t position = (size_t)w->model->batch.position[token];
    *from = 0;
    *to = w->causal ? position + 1 : (size_t)w->model->batch.context[seq];
    if (w->c->window && position + 1 > w->c->window)
        *from = position + 1 - w->c->window;
}

/* Tiles of a sequence. */
static size_t tiles_of(const work *w, size_t seq)
{
    return divide_up((size_t)(w->model->batch.first[seq + 1] - w->model->batch.first[seq]), w->tile_tokens);
}

/* Tile `number` counted over sequences. */
static tile locate_tile(const work *w, size_t number, size_t kv_head)
{
    size_t seq = 0, from, to;
    for (size_t count; number >= (count = tiles_of(w, seq)); seq++)
        number -= count;
    size_t token = (size_t)w->model->batch.first[seq] + number * w->tile_tokens;
    size_t tokens = size_min(w->tile_tokens, (size_t)w->model->batch.first[seq + 1] - token);
    tile t = {.seq = seq, .token = token, .tokens = tokens, .kv_head = kv_head, .rows = tokens * w->group};
    token_range(w, seq, token, &from, &to);
    t.first_chunk = from / CHUNK_TOKENS;
    token_range(w, seq, token + tokens - 1, &from, &to);
    t.end_chunk = divide_up(to, CHUNK_TOKENS);
    return t;
}

static void point_at_pages(const work *w, const tile *t, size_t start, size_t end, attention_chunk *chunk)
{
    const bp_model *model = w->model;
    size_t page_tokens = model->limits.page_tokens;
    for (size_t i = 0; start + i * page_tokens < end; i++) {
        int32_t page = model->batch.pages[t->seq * model->max_pages + start / page_tokens + i];
        const uint8_t *keys = kv_page(model, w->c, page, t->kv_head);
        chunk->keys[i] = keys;
        chunk->values[i] = keys + w->c->kv_heads * w->c->head_bytes;
    }
}

/* Leaves m, l and o of the tile's rows that have positions in the chunk; cut->row says which. Returns how many. */
static size_t attend_chunk(const work *w, const tile *t, size_t number, const scratch *cut, float *m, float *l, float *o)
{
    const bp_model *model = w->model;
    const value *in = &model->values[w->s->op.in[0]];
    size_t start = number * CHUNK_TOKENS, rows = 0, end = 0;
    size_t heads = w->s->args.attention.heads, blocks = w->c->head_dim / QUANT_BLOCK;
    for (size_t token = t->token; token < t->token + t->tokens; token++) {
        size_t from, to;
        token_range(w, t->seq, token, &from, &to);
        from = size_max(from, start);
        to = size_min(to, start + CHUNK_TOKENS);
        if (from >= to)
            continue;
        end = size_max(end, to);
        if (model->limits.kv_dtype == BP_KV_Q8_0)
            memcpy(cut->blocks + rows * blocks, in->blocks + (token * heads + t->kv_head * w->group) * blocks,
                   w->group * blocks * sizeof *cut->blocks);
        for (size_t g = 0; g < w->group; g++, rows++) {
            cut->q[rows] = value_row(in, token) + (t->kv_head * w->group + g) * w->c->head_dim;
            cut->from[rows] = (uint16_t)(from - start);
            cut->end[rows] = (uint16_t)(to - start);
            cut->row[rows] = (token - t->token) * w->group + g;
        }
    }
    if (rows == 0)
        return 0;
    attention_chunk chunk = {.head_dim = w->c->head_dim,
                             .page_tokens = model->limits.page_tokens,
                             .scale = w->s->args.attention.scale,
                             .soft_cap = w->s->args.attention.soft_cap,
                             .rows = rows,
                             .q = cut->q,
                             .blocks = cut->blocks,
                             .from = cut->from,
                             .to = cut->end,
                             .scores = cut->scores,
                             .m = m,
                             .l = l,
                             .o = o};
    point_at_pages(w, t, start, end, &chunk);
    model->device->kernels->attend[model->limits.kv_dtype](&chunk);
    return rows;
}

/* Adds a chunk's rows to the tile's totals. l is never zero once a row has a chunk unless the row is all NaN, so a separate
 * mark says which rows have none yet: tl < 0. */
static void absorb(const work *w, const scratch *cut, size_t rows, const float *m, const float *l, const float *o)
{
    size_t dim = w->c->head_dim;
    for (size_t i = 0; i < rows; i++) {
        size_t row = cut->row[i];
        if (cut->tl[row] < 0.0f) {
            cut->tm[row] = m[i];
            cut->tl[row] = l[i];
            memcpy(cut->to + row * dim, o + i * dim, dim * sizeof *o);
        } else {
            w->model->device->kernels->combine(&cut->tm[row], &cut->tl[row], cut->to + row * dim, m[i], l[i], o + i * dim,
                                               dim);
        }
    }
}

static void finish_tile(const work *w, const tile *t, const scratch *cut)
{
    const value *out = &w->model->values[w->s->op.out[0]];
    size_t dim = w->c->head_dim;
    for (size_t row = 0; row < t->rows; row++) {
        size_t token = t->token + row / w->group, head = t->kv_head * w->group + row % w->group;
        float *o = cut->to + row * dim;
        w->model->device->kernels->divide(o, cut->tl[row], dim, o);
        value_put(w->model, out, token, head * dim, dim, o);
    }
}

static void whole_tile(const work *w, const tile *t, const scratch *cut)
{
    for (size_t row = 0; row < t->rows; row++)
        cut->tl[row] = -1.0f;
    for (size_t chunk = t->first_chunk; chunk < t->end_chunk; chunk++) {
        size_t rows = attend_chunk(w, t, chunk, cut, cut->m, cut->l, cut->o);
        absorb(w, cut, rows, cut->m, cut->l, cut->o);
    }
    finish_tile(w, t, cut);
}

/* Partials of a tile: [chunk]{m [rows], l [rows], o [rows][head_dim]}. */
static float *partial(const work *w, size_t number, size_t chunks, size_t chunk)
{
    size_t rows = w->tile_tokens * w->group, floats = rows * (2 + w->c->head_dim);
    return (float *)(void *)(w->model->workspace.data + w->model->partials_offset) + (number * chunks + chunk) * floats;
}

/* The rows of a chunk, again, without its arithmetic. */
static size_t rows_of_chunk(const work *w, const tile *t, size_t number, const scratch *cut)
{
    size_t rows = 0, start = number * CHUNK_TOKENS;
    for (size_t token = t->token; token < t->token + t->tokens; token++) {
        size_t from, to;
        token_range(w, t->seq, token, &from, &to);
        if (size_max(from, start) >= size_min(to, start + CHUNK_TOKENS))
            continue;
        for (size_t g = 0; g < w->group; g++)
            cut->row[rows++] = (token - t->token) * w->group + g;
    }
    return rows;
}

static void split_chunk(const work *w, const tile *t, size_t number, size_t chunks, size_t index, const scratch *cut)
{
    size_t count = t->end_chunk - t->first_chunk, most = w->tile_tokens * w->group;
    if (index >= count)
        return;
    float *m = partial(w, number, chunks, index);
    attend_chunk(w, t, t->first_chunk + index, cut, m, m + most, m + 2 * most);
    _Atomic uint32_t *pending = &w->model->pending[number];
    if (atomic_fetch_add(pending, 1) + 1 < count)
        return;
    atomic_store(pending, 0);
    for (size_t row = 0; row < t->rows; row++)
        cut->tl[row] = -1.0f;
    for (size_t i = 0; i < count; i++) {
        m = partial(w, number, chunks, i);
        absorb(w, cut, rows_of_chunk(w, t, t->first_chunk + i, cut), m, m + most, m + 2 * most);
    }
    finish_tile(w, t, cut);
}

void run_attention(bp_model *model, const step *s, pool *threads, size_t worker)
{
    const cache *c = &model->caches[s->op.cache];
    work w = {.model = model,
              .s = s,
              .c = c,
              .group = s->args.attention.heads / c->kv_heads,
              .causal = s->args.attention.mask == BP_MASK_CAUSAL};
    w.tile_tokens = size_max(1, ATTENTION_ROWS / w.group);
    size_t tiles = 0, chunks = 1, longest = 0, from, to;
    for (size_t seq = 0; seq < model->batch.seqs; seq++) {
        tiles += tiles_of(&w, seq);
        longest = size_max(longest, (size_t)model->batch.context[seq]);
        chunks = divide_up(longest, CHUNK_TOKENS);
    }
    size_t tasks = tiles * c->kv_heads, floats = w.tile_tokens * w.group * (2 + c->head_dim);
    bool split = chunks > 1 && pool_workers(threads) > 1 && tasks < 4 * pool_workers(threads) &&
                 tasks <= model->pending_count && tasks * chunks * floats * sizeof(float) <= model->partials_bytes;
    if (!split)
        chunks = 1;
    scratch cut = cut_scratch(worker_scratch(model, worker), attention_tile_rows(w.group), c->head_dim);
    while (pool_claim(threads, tasks * chunks, 1, &from, &to)) {
        /* Later tiles of a prompt see more keys: the longest tasks go first. */
        size_t task = tasks * chunks - 1 - from, number = task / chunks;
        tile t = locate_tile(&w, number / c->kv_heads, number % c->kv_heads);
        if (split) {
            split_chunk(&w, &t, number, chunks, task % chunks, &cut);
        } else {
            whole_tile(&w, &t, &cut);
        }
    }
}
