/* tokenizer_bpe: one pre-token to ids by merging (Sennrich et al. 2016), and the merging itself, which SentencePiece has
 * in common.
 *
 * The pair of the lowest rank, the leftmost of those, merges until none is left. Short words scan for it; long ones keep
 * a heap of (rank, place), so that a word of n bytes costs O(n log n). An entry is stale, and dropped, when its place
 * no longer has that rank. One whose place has another pair of the same rank by now is as good as that pair's own. */
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_WORD = 48 };

void bpe_memory_free(bpe_memory *memory)
{
    free(memory->symbols);
    free(memory->heap);
    *memory = (bpe_memory){0};
}

/* Bytes to tokens. A byte the vocabulary has no token for is dropped, as HF's `tokenizers` does. */
static size_t byte_tokens(const tokenizer *t, const char *word, size_t bytes, int32_t *ids)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        int32_t id = t->byte_ids[(unsigned char)word[i]];
        if (id != NO_TOKEN)
            ids[count++] = id;
    }
    return count;
}

static bool encode_short(const tokenizer *t, const char *word, size_t bytes, token_list *out)
{
    int32_t ids[SHORT_WORD];
    const merge_slot *pairs[SHORT_WORD];
    size_t count = byte_tokens(t, word, bytes, ids);
    for (size_t i = 0; i + 1 < count; i++)
        pairs[i] = vocabulary_merge(t, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = 0;
        uint32_t rank = NO_RANK;
        for (size_t i = 0; i + 1 < count; i++)
            if (pairs[i] && pairs[i]->rank < rank) {
                rank = pairs[i]->rank;
                best = i;
            }
        if (rank == NO_RANK)
            break;
        ids[best] = pairs[best]->result;
        count--;
        memmove(&ids[best + 1], &ids[best + 2], (count - best - 1) * sizeof *ids);
        memmove(&pairs[best], &pairs[best + 1], (count - best) * sizeof *pairs);
        if (best > 0)
            pairs[best - 1] = vocabulary_merge(t, ids[best - 1], ids[best]);
        if (best + 1 < count)
            pairs[best] = vocabulary_merge(t, ids[best], ids[best + 1]);
    }
    if (!token_list_reserve(out, count))
        return false;
    if (count)
        memcpy(out->ids + out->count, ids, count * sizeof *ids);
    out->count += count;
    return true;
}

static void heap_push(bpe_memory *m, uint64_t entry)
{
    size_t i = m->heap_count++;
    for (; i > 0 && m->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = entry;
}

static uint64_t heap_pop(bpe_memory *m)
{
    uint64_t top = m->heap[0], last = m->heap[--m->heap_count];
    size_t i = 0, child;
    for (; (child = 2 * i + 1) < m->heap_count; i = child) {
        if (child + 1 < m->heap_count && m->heap[child + 1] < m->heap[child])
            child++;
        if (m->heap[child] >= last)
            break;
        m->heap[i] = m->heap[child];
    }
    if (m->heap_count)
        m->heap[i] = last;
    return top;
}

/* Looks up what symbol `at` and its next one merge to, and queues it. */
static void link_pair(const tokenizer *t, bpe_memory *m, uint32_t at, bpe_pair_fn *pair, const char *text)
{
    bpe_symbol *symbol = &m->symbols[at];
    if (symbol->next == BPE_END || !pair(t, text, symbol, &m->symbols[symbol->next], &symbol->rank, &symbol->result))
        symbol->rank = NO_RANK;
    else
        heap_push(m, (uint64_t)symbol->rank << 32 | at);
}

/* Room for n symbols and for every entry there can be: n - 1 pairs at first, and two more for each of n - 1 merges. */
bool bpe_memory_reserve(bpe_memory *m, size_t n)
{
    if (n <= m->symbol_capacity)
        return true;
    bpe_symbol *symbols = realloc(m->symbols, n * sizeof *symbols);
    if (symbols)
        m->symbols = symbols;
    uint64_t *heap = realloc(m->heap, 3 * n * sizeof *heap);
    if (heap)
        m->heap = heap;
    if (!symbols || !heap)
        return false;
    m->symbol_capacity = n;
    m->heap_capacity = 3 * n;
    return true;
}

void bpe_merge(const tokenizer *t, bpe_memory *m, uint32_t count, bpe_pair_fn *pair, const char *text)
{
    for (uint32_t i = 0; i < count; i++) {
        m->symbols[i].previous = i == 0 ? BPE_END : i - 1;
        m->symbols[i].next = i + 1 == count ? BPE_END : i + 1;
    }
    m->heap_count = 0;
    for (uint32_t i = 0; i < count; i++)
        link_pair(t, m, i, pair, text);
    while (m->heap_count) {
        uint64_t entry = heap_pop(m);
        uint32_t at = (uint32_t)entry;
        bpe_symbol *symbol = &m->symbols[at];
        if (symbol->rank != entry >> 32)
            continue;
        bpe_symbol *gone = &m->symbols[symbol->next];
        symbol->id = symbol->result;
        symbol->length += gone->length;
        symbol->next = gone->next;
        gone->rank = NO_RANK;
        if (symbol->next != BPE_END)
            m->symbols[symbol->next].previous = at;
        link_pair(t, m, at, pair, text);
        if (symbol->previous != BPE_END)
            link_pair(t, m, symbol->previous, pair, text);
    }
}

static bool find_merge(const tokenizer *t, const char *text, const bpe_symbol *left, const bpe_symbol *right,
                       uint32_t *rank, int32_t *result)
{
    (void)text;
    const merge_slot *slot = vocabulary_merge(t, left->id, right->id);
    if (!slot)
        return false;
    *rank = slot->rank;
    *result = slot->result;
    return true;
}

static bool encode_long(const tokenizer *t, bpe_memory *m, const char *word, size_t bytes, token_list *out)
{
    if (!bpe_memory_reserve(m, bytes))
        return false;
    uint32_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        int32_t id = t->byte_ids[(unsigned char)word[i]];
        if (id != NO_TOKEN)
            m->symbols[count++] = (bpe_symbol){.id = id, .offset = (uint32_t)i, .length = 1};
    }
    if (count == 0)
        return true;
    bpe_merge(t, m, count, find_merge, word);
    for (uint32_t at = 0; at != BPE_END; at = m->symbols[at].next)
        if (!token_list_append(out, m->symbols[at].id))
            return false;
    return true;
}

bool bpe_encode(const tokenizer *t, bpe_memory *memory, const char *word, size_t bytes, token_list *out)
{
    if (split_rules_whole_words(t->split)) {
        int32_t id = vocabulary_find(t, word, bytes);
        if (id != NO_TOKEN && t->types[id] != TOKEN_CONTROL)
            return token_list_append(out, id);
    }
    return bytes <= SHORT_WORD ? encode_short(t, word, bytes, out) : encode_long(t, memory, word, bytes, out);
}
