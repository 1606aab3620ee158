/* net: small programs for tests of a backend.
 *
 * A net is built op by op; every function returns the number of what it made. Mistakes of a test end the program with a
 * message. */
#ifndef CONFORMANCE_NET_H
#define CONFORMANCE_NET_H

#include <backplane/program.h>

#include <stdbool.h>

enum { NET_LIMIT = 160 };

/* Every weight type. */
enum {
#define NET_DTYPE(name, ...) NET_##name,
    BP_DTYPES(NET_DTYPE)
#undef NET_DTYPE
        NET_DTYPES
};
extern const uint32_t net_dtypes[NET_DTYPES];

typedef struct net {
    bp_weight weights[NET_LIMIT];
    bp_op ops[NET_LIMIT];
    bp_value values[NET_LIMIT];
    bp_cache caches[8];
    union {
        bp_embed_args embed;
        bp_norm_args norm;
        bp_linear_args linear;
        bp_qkv_args qkv;
        bp_attention_args attention;
        bp_scale_args scale;
        bp_logits_args logits;
        bp_pool_args pool;
    } args[NET_LIMIT];
    void *owned[NET_LIMIT];
    uint32_t weight_count, op_count, value_count, cache_count, owned_count;
    uint32_t vocab_size, output_width, max_context;
    const char *family; /* NULL: "test", which nobody knows */
    char names[NET_LIMIT][40]; /* of weights that have other names than "w" */
    uint64_t random;
} net;

/* Ends the program: for mistakes of a test. */
void net_stop(const char *what, const char *why);

void net_begin(net *n, uint64_t seed);
void net_end(net *n); /* frees; the net is empty and may be built again */
bp_program net_program(const net *n);

uint32_t net_next(net *n);
float net_uniform(net *n); /* in [-1, 1) */

/* As a file names it: "blk.0.attn_q.weight". */
void net_name(net *n, int32_t weight, const char *format, ...) __attribute__((format(printf, 3, 4)));

size_t net_block_elements(uint32_t dtype);

/* Uniform data of that type, [rows][k], of about the size of a trained weight's. */
int32_t net_random_weight(net *n, uint32_t dtype, size_t k, size_t rows);
/* Takes copies. */
int32_t net_float_weight(net *n, const float *data, size_t k, size_t rows);
int32_t net_raw_weight(net *n, uint32_t dtype, size_t k, size_t rows, const void *data);
int32_t net_rope_table(net *n, size_t positions, size_t dim);

int32_t net_value(net *n, uint32_t width, uint32_t rows);
/* An op with empty slots; its args are the copy in n->args. */
bp_op *net_op(net *n, uint16_t kind, const void *args, size_t bytes);

/* out0 = the rows of `table`, an F32 weight: any values a test likes, exactly. */
int32_t net_embed(net *n, int32_t table);
int32_t net_linear(net *n, int32_t in, int32_t weight, int32_t bias, int32_t residual, uint32_t activation);
int32_t net_gated(net *n, int32_t in, int32_t gate, int32_t up, uint32_t activation);
int32_t net_norm(net *n, int32_t in, int32_t residual, uint16_t flags, int32_t weight, int32_t bias, uint32_t kind,
                 int32_t *sum);
int32_t net_qkv(net *n, int32_t in, const int32_t weights[8], int32_t cache, const bp_qkv_args *args);
int32_t net_attention(net *n, int32_t q, int32_t cache, const bp_attention_args *args);
int32_t net_rows(net *n, int32_t in);
void net_logits(net *n, int32_t in, int32_t weight, float scale, float soft_cap);
void net_pool(net *n, int32_t in, uint32_t pooling, uint32_t normalise);

/* Equal bits, any NaN being equal to any other. The first difference, or -1. */
long different_bits(const float *a, const float *b, size_t count);

#endif
