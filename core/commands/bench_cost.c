/* bench_cost: the least that a step reads and computes, from the program alone, so that a figure reads as a fraction of what the
 * device could do. Elementwise ops, norms and the rows of an embedding are left out: they are small, and leaving them out
 * only makes a fraction look worse. */
#include "commands/bench.h"

#include "model/dtype.h"

/* A product of `rows` rows with a weight. */
static void add_product(bench_cost *cost, const bp_program *program, int32_t number, double rows)
{
    if (number < 0)
        return;
    const bp_weight *w = &program->weights[number];
    double ops = 2.0 * rows * (double)w->shape[0] * (double)w->shape[1];
    const dtype *type = dtype_find(w->dtype);
    if (type && type->elements > 1)
        cost->int8_ops += ops; /* quantised weights multiply quantised activations */
    else
        *(w->dtype == BP_BF16 ? &cost->bf16_ops : &cost->fp32_ops) += ops;
    cost->bytes += (double)w->bytes;
}

/* Positions that the token at `position` attends to, in a sequence of `context`. */
static double span_of(const bp_cache *cache, bool causal, uint32_t position, uint32_t context)
{
    uint32_t end = causal ? position + 1 : context, from = 0;
    if (cache->window && position + 1 > cache->window)
        from = position + 1 - cache->window;
    return (double)(end - from);
}

/* Scores and weighted sums of every token; each sequence's keys and values are read once. */
static void add_attention(bench_cost *cost, const bp_program *program, const bp_op *op, double element_bytes,
                          const bp_batch *batch)
{
    const bp_attention_args *args = op->args;
    const bp_cache *cache = &program->caches[op->cache];
    bool causal = args->mask == BP_MASK_CAUSAL;
    for (uint32_t s = 0; s < batch->seq_count; s++) {
        double read = 0;
        for (int32_t t = batch->first[s]; t < batch->first[s + 1]; t++) {
            double span = span_of(cache, causal, (uint32_t)batch->positions[t], (uint32_t)batch->context[s]);
            cost->fp32_ops += 4.0 * span * args->heads * cache->head_dim;
            read = span > read ? span : read;
        }
        cost->bytes += 2.0 * read * cache->kv_heads * cache->head_dim * element_bytes;
    }
}

/* Bytes of one element of keys and values, scales of blocks included. */
static double kv_element_bytes(const model_file *file, uint32_t kv_dtype)
{
    const bp_program *program = model_program(file);
    double elements = 0;
    for (uint32_t i = 0; i < program->cache_count; i++)
        elements += 2.0 * program->caches[i].kv_heads * program->caches[i].head_dim;
    return elements > 0 ? (double)model_kv_bytes_per_token(file, kv_dtype) / elements : 0;
}

void bench_cost_add(bench_cost *cost, const model_file *file, uint32_t kv_dtype, const bp_batch *batch)
{
    const bp_program *program = model_program(file);
    double element_bytes = kv_element_bytes(file, kv_dtype);
    for (uint32_t i = 0; i < program->op_count; i++) {
        const bp_op *op = &program->ops[i];
        bool outputs = op->in[0] >= 0 && program->values[op->in[0]].rows == BP_ROWS_OUTPUTS;
        double rows = outputs ? batch->row_count : batch->token_count;
        int matrices = op->kind == BP_OP_QKV ? 3 : op->kind == BP_OP_GATED_MLP ? 2 : 1;
        if (op->kind == BP_OP_ATTENTION)
            add_attention(cost, program, op, element_bytes, batch);
        else if (op->kind == BP_OP_QKV || op->kind == BP_OP_GATED_MLP || op->kind == BP_OP_LINEAR || op->kind == BP_OP_LOGITS)
            for (int m = 0; m < matrices && rows > 0; m++)
                add_product(cost, program, op->weight[m], rows);
    }
}

bench_share bench_share_of(const bench_row *row, const bp_roofs *roofs)
{
    bench_share share = {0};
    if (row->seconds <= 0 || roofs->read_bandwidth <= 0 || roofs->int8_ops <= 0 || roofs->fp32_ops <= 0 ||
        roofs->bf16_ops <= 0)
        return share;
    share.bandwidth = row->cost.bytes / roofs->read_bandwidth / row->seconds;
    share.compute = (row->cost.int8_ops / roofs->int8_ops + row->cost.fp32_ops / roofs->fp32_ops +
                     row->cost.bf16_ops / roofs->bf16_ops) /
                    row->seconds;
    return share;
}
