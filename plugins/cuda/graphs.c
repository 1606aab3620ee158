/* Graphs: a step whose shape has been seen before is started as one list of launches that was recorded, not launch by launch.
 *
 * What is launched, and with which arguments, is a function of the batch's shape alone (invariant 1): places in the staged
 * input, rows, and the depth, which is rounded up to a power of two so that a growing sequence keeps its shape for long.
 * Its numbers are in the staged input, which is uploaded before each step. So a recorded step may be replayed for any
 * batch of its shape, until the result's place moves (graphs_drop).
 *
 * A shape is recorded when it comes for the second time; of those that come, the longest unused makes room. Steps of many
 * tokens are not recorded: their kernels take longer than their launches. */
#include "model.h"

#include <string.h>

enum { MOST_TOKENS = 64 };

static batch_shape shape_of(const batch *b)
{
    return (batch_shape){.seqs = b->seqs, .tokens = b->tokens, .rows = b->rows, .depth = b->depth};
}

static bool same_shape(const batch_shape *a, const batch_shape *b)
{
    return a->seqs == b->seqs && a->tokens == b->tokens && a->rows == b->rows && a->depth == b->depth;
}

/* The shape's place; of a new shape the one that was used longest ago, emptied. */
static graph *place_of_shape(bp_model *model, const batch_shape *shape)
{
    graph *oldest = &model->graphs[0];
    for (size_t i = 0; i < GRAPHS; i++) {
        graph *at = &model->graphs[i];
        if (at->used > 0 && same_shape(&at->shape, shape))
            return at;
        if (at->used < oldest->used)
            oldest = at;
    }
    gpu_graph_free(model->device->gpu, oldest->recorded);
    *oldest = (graph){.shape = *shape};
    return oldest;
}

void graphs_drop(bp_model *model)
{
    for (size_t i = 0; i < GRAPHS; i++)
        gpu_graph_free(model->device->gpu, model->graphs[i].recorded);
    memset(model->graphs, 0, sizeof model->graphs);
}

void run_steps(bp_model *model, gpu_stream *stream)
{
    gpu *g = model->device->gpu;
    const batch_shape shape = shape_of(&model->batch);
    if (shape.tokens > MOST_TOKENS) {
        execute_steps(model, stream);
        return;
    }
    graph *at = place_of_shape(model, &shape);
    bool known = at->used > 0;
    at->used = ++model->graph_clock;
    if (known && !at->recorded && !at->refused) {
        gpu_record(g);
        execute_steps(model, stream);
        at->recorded = gpu_recorded(g);
        at->refused = !at->recorded;
    }
    if (at->recorded)
        gpu_replay(g, at->recorded);
    else
        execute_steps(model, stream);
}
