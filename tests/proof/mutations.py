"""The controls of the proof: deliberate changes of order or rounding, each of which it must find out.

A mutation replaces one text of one file under plugins/cpu, which must be there exactly once, in one compiled unit of the plugin:
a header is changed for that unit only. All are changes that a well-meant optimisation could make. `net` is the recipe whose
walk, as CI does it, finds it out.

Not here, for it changes no bit: to count the lanes of l from the first position of a range instead of from that of the chunk. It
turns the lanes, and a turn keeps the pairs that are added.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    name: str
    net: str
    unit: str  # of plugins/cpu, compiled anew
    file: str  # the unit, or a header that it includes
    text: str
    replacement: str


FLOAT, BLOCKS = "kernels/generic_float.c", "kernels/generic_blocks.c"
ROWS = "kernels/generic_rows.c"
ATTENTION = "kernels/generic_attention.c"
AVX2, AVX512 = "kernels/avx2.c", "kernels/avx512.c"

MUTATIONS = [
    # Products.
    Mutation("k-descending-in-block", "f32", FLOAT, FLOAT,
             "for (size_t i = start; i < start + count; i++)\n", "for (size_t i = start + count; i-- > start;)\n"),
    Mutation("k-block-of-128", "f32", FLOAT, FLOAT,
             "for (size_t start = 0; start < k; start += K_BLOCK) {\n"
             "        size_t count = k - start < K_BLOCK ? k - start : K_BLOCK;",
             "for (size_t start = 0; start < k; start += 128) {\n"
             "        size_t count = k - start < 128 ? k - start : 128;"),
    Mutation("float-multiply-then-add", "f32", FLOAT, FLOAT,
             "sum = fmaf(x[i], widen(tile, i * TILE_COLUMNS + column), sum);",
             "sum = sum + x[i] * widen(tile, i * TILE_COLUMNS + column);"),
    Mutation("bf16-first-of-a-pair-first", "bf16", FLOAT, FLOAT,
             "        sum = bf16_step(halves[pair * 2 + 1], load_u16(w + 2), sum);\n"
             "        sum = bf16_step(halves[pair * 2], load_u16(w), sum);\n",
             "        sum = bf16_step(halves[pair * 2], load_u16(w), sum);\n"
             "        sum = bf16_step(halves[pair * 2 + 1], load_u16(w + 2), sum);\n"),
    Mutation("float-blocks-in-one-chain", "f32", "kernels/avx512_float.c", "kernels/vector_float.h",
             "UNROLL for (int i = 0; i < R * C; i++) sum[i] = v_set(0.0f);",
             "UNROLL for (int i = 0; i < R * C; i++)\n"
             "            sum[i] = start == 0 ? v_set(0.0f) : v_load(args->out + (size_t)(i / C) * args->out_stride +"
             " i % C * TILE_COLUMNS);\n"
             "        if (start != 0)\n"
             "            UNROLL for (int i = 0; i < R * C; i++)\n"
             "                v_store(args->out + (size_t)(i / C) * args->out_stride + i % C * TILE_COLUMNS, v_set(0.0f));"),
    Mutation("one-row-without-fma", "f32", "kernels/avx2_float.c", "kernels/vector_float.h",
             "UNROLL for (int c = 0; c < C; c++) sum[r * C + c] = v_fma(xr, w[c], sum[r * C + c]);",
             "UNROLL for (int c = 0; c < C; c++)\n"
             "                    sum[r * C + c] = R == 1 ? v_add(v_mul(xr, w[c]), sum[r * C + c]) : v_fma(xr, w[c], sum[r * C + c]);"),
    Mutation("k-split-by-threads", "f32", "matmul.c", "matmul.c",
             "        w->multiply(packed, w->tile_bytes, w->k, left, &x, b->row, b->rows, out + done * TILE_COLUMNS, out_stride);\n",
             "        float *to = out + done * TILE_COLUMNS;\n"
             "        if (w->type->dtype != BP_F32 || b->columns >= PANEL_COLUMNS / 2 || b->rows > PANEL_ROWS) {\n"
             "            w->multiply(packed, w->tile_bytes, w->k, left, &x, b->row, b->rows, to, out_stride);\n"
             "            continue;\n"
             "        }\n"
             "        float other[PANEL_ROWS * PANEL_COLUMNS]; /* the share of one thread of many is narrow */\n"
             "        size_t half = w->k / 2, stride = left * TILE_COLUMNS;\n"
             "        matmul_input rest = x;\n"
             "        rest.values += half;\n"
             "        w->multiply(packed, w->tile_bytes, half, left, &x, b->row, b->rows, to, out_stride);\n"
             "        w->multiply(packed + half * TILE_COLUMNS * 4, w->tile_bytes, w->k - half, left, &rest, b->row, b->rows, other,\n"
             "                    stride);\n"
             "        for (size_t r = 0; r < b->rows; r++)\n"
             "            for (size_t c = 0; c < stride; c++)\n"
             "                to[r * out_stride + c] = to[r * out_stride + c] + other[r * stride + c];\n"),
    Mutation("quant-multiply-then-add", "q8_0", BLOCKS, BLOCKS,
             "total = fmaf(g.d * x[b].scale, (float)sum, total);", "total = total + g.d * x[b].scale * (float)sum;"),
    Mutation("quant-blocks-descending", "q4_1", BLOCKS, BLOCKS,
             "size_t b = i / groups, half = i % groups;",
             "size_t b = blocks - 1 - i / groups, half = i % groups;"),
    Mutation("groups-of-a-block-swapped", "q6_k", BLOCKS, BLOCKS,
             "size_t b = i / groups, half = i % groups;",
             "size_t b = i / groups, half = groups - 1 - i % groups;"),
    Mutation("minimum-before-scale", "q5_1", BLOCKS, BLOCKS,
             "        total = fmaf(g.d * x[b].scale, (float)sum, total);\n"
             "        if (f->minimum)\n"
             "            total = fmaf(g.m, x[b].scale * (float)x_sum, total);\n",
             "        if (f->minimum)\n"
             "            total = fmaf(g.m, x[b].scale * (float)x_sum, total);\n"
             "        total = fmaf(g.d * x[b].scale, (float)sum, total);\n"),
    Mutation("super-scale-times-activation-first", "q4_k", BLOCKS, BLOCKS,
             "total = fmaf(g.m, x[b].scale * (float)x_sum, total);", "total = fmaf(g.m * x[b].scale, (float)x_sum, total);"),
    Mutation("scales-associated-otherwise", "q8_0", "kernels/avx512_blocks.c", "kernels/avx512_blocks.c",
             "*t = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(xr->scale)), _mm512_cvtepi32_ps(s), *t);",
             "*t = _mm512_fmadd_ps(d, _mm512_mul_ps(_mm512_set1_ps(xr->scale), _mm512_cvtepi32_ps(s)), *t);"),
    Mutation("two-quads-in-16-bits", "q8_0", "kernels/avx2_blocks.c", "kernels/avx2_blocks.c",
             "wide = is_signed(f) ? 1 : quads_in_16_bits(f);", "wide = is_signed(f) ? 2 : quads_in_16_bits(f);"),
    # Activations.
    Mutation("ties-away-from-zero", "ties", ROWS, ROWS, "q[i] = (t[i] + MATH_ROUND) - MATH_ROUND;", "q[i] = roundf(t[i]);"),
    Mutation("scale-without-the-fit", "q8_0", ROWS, ROWS,
             "block->scale = dot_block(t, q) / dot_block(q, q) * (peak / steps);", "block->scale = peak / steps;"),
    Mutation("scale-of-the-batch", "q8_0", "execute.c", "model.h",
             "model->device->kernels->quantise(data, n, v->blocks + row * (v->width / QUANT_BLOCK) + column / QUANT_BLOCK);",
             "quant_block *b = v->blocks + row * (v->width / QUANT_BLOCK) + column / QUANT_BLOCK;\n"
             "        model->device->kernels->quantise(data, n, b);\n"
             "        for (size_t i = 0; i < n / QUANT_BLOCK && model->batch.tokens > 40; i++)\n"
             "            b[i].scale = b[i].scale * 1.0000001f;"),
    # Rows.
    Mutation("norm-in-sixteen-lanes", "f32", ROWS, ROWS,
             "float lanes[NORM_LANES] = {0};\n"
             "    for (size_t i = 0; i < n; i++)\n"
             "        lanes[i % NORM_LANES] = fmaf(x[i], x[i], lanes[i % NORM_LANES]);\n"
             "    float r =",
             "float lanes[NORM_LANES] = {0};\n"
             "    for (size_t i = 0; i < n; i++)\n"
             "        lanes[i % 16] = fmaf(x[i], x[i], lanes[i % 16]);\n"
             "    float r ="),
    Mutation("norm-lanes-in-a-row", "f32", AVX512, "kernels/vector_rows.h",
             "return v_sum(v_add(low, high));\n",
             "float lanes[32], sum = 0.0f;\n"
             "    v_store(lanes, low);\n"
             "    v_store(lanes + 16, high);\n"
             "    for (int l = 0; l < 32; l++)\n"
             "        sum = sum + lanes[l];\n"
             "    return sum;\n"),
    Mutation("norm-by-estimate", "f32", AVX2, "kernels/vector_rows.h",
             "float r = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + epsilon);",
             "float r = _mm_cvtss_f32(_mm_rsqrt_ss(_mm_set_ss(sum_of_squares(x, n) / (float)n + epsilon)));"),
    Mutation("mean-by-a-product", "bert", ROWS, ROWS,
             "float mean = lanes_sum(lanes, NORM_LANES) / (float)n;",
             "float mean = lanes_sum(lanes, NORM_LANES) * (1.0f / (float)n);"),
    Mutation("rope-without-fma", "phi", AVX512, "kernels/vector_rows.h",
             "*x0 = v_fma(a, c, v_negate(v_mul(b, s)));", "*x0 = v_sub(v_mul(a, c), v_mul(b, s));"),
    Mutation("exp-of-degree-five", "long", AVX2, "kernels/math.h", "float p = MATH_EXP_C6;", "float p = 0.0f;"),
    Mutation("exp-in-one-step", "long", AVX512, "kernels/vector_math.h",
             "v_fma(n, v_set(-MATH_LN2_LOW), r)", "v_fma(n, v_set(-MATH_LN2_LOW * 1.000001f), r)"),
    Mutation("residual-before-bias", "f16", "matmul.c", "matmul.c",
             "        if (bias)\n"
             "            k->add(row, bias, b->columns, row);\n"
             "        if (s->args.linear.activation != BP_ACT_NONE)\n"
             "            k->activate((int)s->args.linear.activation, row, b->columns, row);\n"
             "        if (s->op.in[1] >= 0)\n"
             "            k->add(row, value_row(&p->residual, b->row + r) + b->column, b->columns, row);\n",
             "        if (s->op.in[1] >= 0)\n"
             "            k->add(row, value_row(&p->residual, b->row + r) + b->column, b->columns, row);\n"
             "        if (bias)\n"
             "            k->add(row, bias, b->columns, row);\n"
             "        if (s->args.linear.activation != BP_ACT_NONE)\n"
             "            k->activate((int)s->args.linear.activation, row, b->columns, row);\n"),
    # Attention.
    Mutation("scores-in-two-sums", "f32", ATTENTION, ATTENTION,
             "float sum = 0.0f;\n"
             "    for (size_t d = 0; d < chunk->head_dim; d++) {\n"
             "        sum = fmaf(chunk->q[row][d], widen(page, (slot / 16 * chunk->head_dim + d) * 16 + slot % 16), sum);\n"
             "    }\n"
             "    return sum;\n",
             "float half[2] = {0.0f, 0.0f};\n"
             "    for (size_t d = 0; d < chunk->head_dim; d++) {\n"
             "        float k = widen(page, (slot / 16 * chunk->head_dim + d) * 16 + slot % 16);\n"
             "        half[d % 2] = fmaf(chunk->q[row][d], k, half[d % 2]);\n"
             "    }\n"
             "    return half[0] + half[1];\n"),
    Mutation("cached-value-scaled-first", "cache-q8_0", ATTENTION, ATTENTION,
             "return fmaf(p * scale, (float)(int8_t)page[slot * chunk->head_dim + d], sum);",
             "return fmaf(p, scale * (float)(int8_t)page[slot * chunk->head_dim + d], sum);"),
    Mutation("l-in-eight-lanes", "f32", ATTENTION, ATTENTION,
             "lanes[i % 16] = lanes[i % 16] + p[i];", "lanes[i % 8] = lanes[i % 8] + p[i];"),
    Mutation("maximum-of-the-group", "f32", AVX2, "kernels/vector_attention.h",
             "top = v_max(v_select(here, s, lowest), top); /* top where s is NaN */",
             "top = v_max(s, top);\n"
             "        (void)here;"),
    Mutation("values-descending", "f32", ATTENTION, ATTENTION,
             "for (size_t i = from; i < to; i++)\n"
             "            sum = weigh(widen, chunk, p[i], i, d, sum);",
             "for (size_t i = to; i-- > from;)\n"
             "            sum = weigh(widen, chunk, p[i], i, d, sum);"),
    Mutation("chunks-from-the-window", "long-window", "attention.c", "attention.c",
             "        from = size_max(from, start);\n"
             "        to = size_min(to, start + CHUNK_TOKENS);\n"
             "        if (from >= to)\n"
             "            continue;\n"
             "        end = size_max(end, to);",
             "        size_t shift = from % 16;\n"
             "        from = size_max(from, number == 0 ? 0 : start + shift);\n"
             "        to = size_min(to, start + CHUNK_TOKENS);\n"
             "        if (from >= to)\n"
             "            continue;\n"
             "        end = size_max(end, to);"),
    Mutation("combine-descending", "long", "attention.c", "attention.c",
             "for (size_t chunk = t->first_chunk; chunk < t->end_chunk; chunk++) {",
             "for (size_t chunk = t->end_chunk; chunk-- > t->first_chunk;) {"),
    Mutation("combine-without-fma", "long", AVX512, "kernels/vector_attention.h",
             "v_store(o + d, v_fma(v_load(o + d), v_set(a), v_mul(v_load(chunk_o + d), v_set(b))));",
             "v_store(o + d, v_add(v_mul(v_load(o + d), v_set(a)), v_mul(v_load(chunk_o + d), v_set(b))));"),
    Mutation("split-combined-descending", "long", "attention.c", "attention.c",
             "for (size_t i = 0; i < count; i++) {\n"
             "        m = partial(w, number, chunks, i);\n"
             "        absorb(w, cut, rows_of_chunk(w, t, t->first_chunk + i, cut), m, m + most, m + 2 * most);",
             "for (size_t i = count; i-- > 0;) {\n"
             "        m = partial(w, number, chunks, i);\n"
             "        absorb(w, cut, rows_of_chunk(w, t, t->first_chunk + i, cut), m, m + most, m + 2 * most);"),
    Mutation("stale-scores", "f32", AVX512, "kernels/vector_attention.h",
             "v16 e = v_select(here, v_exp(v_sub(v_load(p + i), v_set(m))), v_set(0.0f));",
             "(void)here;\n"
             "        v16 e = v_exp(v_sub(v_load(p + i), v_set(m)));"),
    # The machinery around kernels.
    Mutation("reciprocal-of-l", "f32", AVX2, "kernels/vector_attention.h",
             "v_store(out + d, v_div(v_load(o + d), v_set(l)));",
             "v_store(out + d, v_mul(v_load(o + d), v_set(1.0f / l)));"),
    Mutation("page-of-the-first-sequence", "f32", "attention.c", "attention.c",
             "int32_t page = model->batch.pages[t->seq * model->max_pages + start / page_tokens + i];",
             "int32_t page = model->batch.pages[t->seq / 32 * 32 * model->max_pages + start / page_tokens + i];"),
]
