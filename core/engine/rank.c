#include "engine/rank.h"

#include "base/error.h"
#include "model/rope.h"

#include <string.h>

enum { AROUND = 3 }; /* tokens that are of neither text */

/* Two lengths that together are at most `room`, as Hugging Face's tokenizers cut the longest first. */
static void cut_longest(size_t *first, size_t *second, size_t room)
{
    bool swapped = *first > *second;
    size_t *shorter = swapped ? second : first, *longer = swapped ? first : second;
    if (*shorter > room / 2)
        *shorter = room / 2;
    *longer = room - *shorter;
}

static bool append_all(token_list *out, const token_list *text, size_t count)
{
    bool good = true;
    for (size_t i = 0; good && i < count; i++)
        good = token_list_append(out, text->ids[i]);
    return good;
}

static bp_status join(const loaded *l, const bp_request *request, const token_list *a, const token_list *b, token_list *out,
                      uint32_t *second_at, bp_error *error)
{
    size_t first = a->count, second = b->count;
    if (first + second + AROUND > l->context) {
        if (!(request->flags & BP_REQUEST_TRUNCATE))
            return error_set(error, BP_ECONTEXT, "the pair has %zu tokens and the context of model \"%s\" is %u: it must be shorter",
                             first + second + AROUND, l->config->name, l->context);
        cut_longest(&first, &second, l->context - AROUND);
    }
    int32_t begin = tokenizer_bos(l->tokenizer), end = tokenizer_eos(l->tokenizer);
    *second_at = (uint32_t)first + 2;
    if (token_list_append(out, begin) && append_all(out, a, first) && token_list_append(out, end) && append_all(out, b, second) &&
        token_list_append(out, end))
        return BP_OK;
    return error_set(error, BP_ENOMEM, "no memory for a pair of %zu tokens", first + second + AROUND);
}

static bp_status encode_one(const loaded *l, const bp_message *m, token_list *out, bp_error *error)
{
    const char *words = m->content ? m->content : "";
    return tokenizer_encode(l->tokenizer, words, m->content_bytes ? (size_t)m->content_bytes : strlen(words), NULL, 0, out, error);
}

bp_status rank_encode(const loaded *l, const bp_request *request, token_list *out, uint32_t *second_at, bp_error *error)
{
    token_list a = {0}, b = {0};
    bp_status status = encode_one(l, &request->messages[0], &a, error);
    if (status == BP_OK)
        status = encode_one(l, &request->messages[1], &b, error);
    if (status == BP_OK)
        status = join(l, request, &a, &b, out, second_at, error);
    token_list_free(&a);
    token_list_free(&b);
    return status;
}

float rank_sigmoid(float number)
{
    double x = number > 80 ? 80 : number < -80 ? -80 : (double)number;
    return (float)(1.0 / (1.0 + rope_exp(-x)));
}
