/* math.h over sixteen lanes: the same operations in the same order, with branches become selections. */
#ifndef CPU_KERNELS_VECTOR_MATH_H
#define CPU_KERNELS_VECTOR_MATH_H

#define ALWAYS_INLINE inline __attribute__((always_inline))
#if defined(CPU_NO_UNROLL)
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

static ALWAYS_INLINE v16 v_exp(v16 x)
{
    v16 z = v_fma(x, v_set(MATH_LOG2E), v_set(MATH_ROUND));
    v16 n = v_sub(z, v_set(MATH_ROUND));
    v16 r = v_fma(n, v_set(-MATH_LN2_HIGH), x);
    r = v_fma(n, v_set(-MATH_LN2_LOW), r);
    v16 p = v_set(MATH_EXP_C6);
    p = v_fma(p, r, v_set(MATH_EXP_C5));
    p = v_fma(p, r, v_set(MATH_EXP_C4));
    p = v_fma(p, r, v_set(MATH_EXP_C3));
    p = v_fma(p, r, v_set(MATH_EXP_C2));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));
    p = v_scale_exponent(p, z);
    p = v_select(v_less(x, v_set(MATH_EXP_LOW)), v_set(0.0f), p);
    p = v_select(v_less(v_set(MATH_EXP_HIGH), x), v_set(math_from_bits(0x7f800000u)), p);
    return v_select(v_nan(x), x, p);
}

static inline v16 v_negate(v16 x) { return v_xor(x, v_set(-0.0f)); }

static inline v16 v_tanh(v16 x)
{
    v16 e = v_exp(v_mul(v_set(-2.0f), v_abs(x))), one = v_set(1.0f);
    return v_copysign(v_div(v_sub(one, e), v_add(one, e)), x);
}

static inline v16 v_erf(v16 x)
{
    v16 t = v_abs(x), s = v_mul(x, x);
    v16 far = v_fma(v_set(MATH_ERF_A0), t, v_set(MATH_ERF_A1));
    v16 u = v_fma(v_set(MATH_ERF_A2), t, v_set(MATH_ERF_A3));
    far = v_fma(far, s, u);
    far = v_fma(far, t, v_set(MATH_ERF_A4));
    far = v_fma(far, t, v_set(MATH_ERF_A5));
    far = v_fma(far, t, v_set(MATH_ERF_A6));
    far = v_fma(far, t, v_negate(t));
    far = v_copysign(v_sub(v_set(1.0f), v_exp(far)), x);
    v16 near = v_set(MATH_ERF_B0);
    near = v_fma(near, s, v_set(MATH_ERF_B1));
    near = v_fma(near, s, v_set(MATH_ERF_B2));
    near = v_fma(near, s, v_set(MATH_ERF_B3));
    near = v_fma(near, s, v_set(MATH_ERF_B4));
    near = v_fma(near, s, v_set(MATH_ERF_B5));
    near = v_fma(near, x, x);
    return v_select(v_less(v_set(MATH_ERF_SPLIT), t), far, near);
}

static inline v16 v_silu(v16 x) { return v_div(x, v_add(v_set(1.0f), v_exp(v_negate(x)))); }

static inline v16 v_gelu(v16 x)
{
    return v_mul(v_mul(v_set(0.5f), x), v_add(v_set(1.0f), v_erf(v_mul(x, v_set(MATH_SQRT_HALF)))));
}

static inline v16 v_gelu_tanh(v16 x)
{
    v16 u = v_fma(v_mul(v_set(MATH_GELU_CUBE), v_mul(x, x)), x, x);
    return v_div(x, v_add(v_set(1.0f), v_exp(v_negate(v_mul(v_set(MATH_GELU_SLOPE), u)))));
}

static ALWAYS_INLINE v16 v_soft_cap(v16 x, float cap) { return v_mul(v_set(cap), v_tanh(v_div(x, v_set(cap)))); }

/* Sixteen elements from `index` of an array of a KV_ type; of Q8_0 without their scale. */
static ALWAYS_INLINE v16 v_widen(int type, const void *base, size_t index)
{
    switch (type) {
    case KV_F16: return v_load_f16((const uint8_t *)base + index * 2);
    case KV_BF16: return v_load_bf16((const uint8_t *)base + index * 2);
    case KV_Q8_0: return v_load_i8((const int8_t *)base + index);
    default: return v_load((const float *)base + index);
    }
}

#endif
