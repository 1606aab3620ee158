#include "engine/grammars.h"

#include "base/error.h"

#include <pthread.h>
#include <stdlib.h>

struct grammars {
    pthread_mutex_t lock;
    constraints *constraints; /* NULL until the first request */
};

bp_status grammars_new(grammars **out, bp_error *error)
{
    grammars *g = calloc(1, sizeof *g);
    if (!g)
        return error_set(error, BP_ENOMEM, "no memory for grammars");
    pthread_mutex_init(&g->lock, NULL);
    *out = g;
    return BP_OK;
}

void grammars_free(grammars *g)
{
    if (!g)
        return;
    constraints_free(g->constraints);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* Control tokens stand for no text: no grammar allows them. */
static const char *text_of(const void *user, uint32_t token, uint32_t *length)
{
    *length = 0;
    if (tokenizer_is_special(user, (int32_t)token))
        return NULL;
    text_piece piece = tokenizer_bytes(user, (int32_t)token);
    *length = piece.length;
    return piece.bytes;
}

static bool ends(const void *user, uint32_t token)
{
    return tokenizer_ends_text(user, (int32_t)token);
}

static bp_status open_constraints(grammars *g, const tokenizer *t, uint32_t vocab_size, bp_error *error)
{
    bp_status status = BP_OK;
    token_source source = {.count = vocab_size, .user = t, .text = text_of, .ends = ends};
    pthread_mutex_lock(&g->lock);
    if (!g->constraints)
        status = constraints_new(&source, &g->constraints, error);
    pthread_mutex_unlock(&g->lock);
    return status;
}

bp_status grammars_constrain(grammars *g, const tokenizer *t, uint32_t vocab_size, const bp_request *request, constraint **out,
                             bp_error *error)
{
    *out = NULL;
    if (request->grammar_kind == BP_GRAMMAR_NONE)
        return BP_OK;
    bp_status status = open_constraints(g, t, vocab_size, error);
    if (status == BP_OK)
        status = constraint_new(g->constraints, request->grammar_kind, request->grammar, request->grammar_bytes, out, error);
    return status;
}
