"""A backend written from docs/numerics.md alone: slow, in numpy, and the same bits as the plugin if the page is complete.

Every operation is on float32 arrays, which numpy rounds one by one. Sums run in the page's order in Python; what the page leaves
free (rows, outputs, heads) is the arrays' other axes. Nothing here was taken from plugins/cpu.
"""

import json
import struct

import numpy as np

f32, f64 = np.float32, np.float64
BLOCK = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
         12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 30: (1, 2), 39: (32, 17)}
F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, BF16, MXFP4 = BLOCK
T = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
U = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12])
np.seterr(all="ignore")


# --- arithmetic -------------------------------------------------------------------------------------------------------

def fma(a, b, c):
    """a * b + c rounded once. The product is exact in float64; the sum is rounded to odd there, and then to float32."""
    a, b, c = np.broadcast_arrays(f32(a), f32(b), f32(c))
    p, c = a.astype(f64) * b.astype(f64), c.astype(f64)
    s = p + c
    v = s - p
    error = (p - (s - v)) + (c - v)
    inexact = np.isfinite(s) & (error != 0)
    bits = s.view(np.int64) if s.ndim else np.array(s).view(np.int64)
    # Truncated sums step one towards zero where rounding went away from it; their last bit is then set.
    away = inexact & ((error > 0) != (s > 0))
    bits = np.where(away, bits - 1, bits)
    bits = np.where(inexact, bits | 1, bits)
    return bits.view(f64).astype(f32)


def bits_of(x):
    return np.asarray(x, f32).view(np.uint32)


def from_bits(b):
    return np.asarray(b, np.uint32).view(f32)


def add_lanes(lanes):
    """Along the first axis: l and l + half, then half of that, to 1."""
    while len(lanes) > 1:
        lanes = lanes[:len(lanes) // 2] + lanes[len(lanes) // 2:]
    return lanes[0]


def to_bf16(x):
    b = bits_of(x).astype(np.uint64)
    rounded = ((b + 0x7FFF + (b >> 16 & 1)) >> 16).astype(np.uint32) << 16
    return np.where(np.isnan(x), f32(np.nan), from_bits(rounded))


# --- elementary functions ---------------------------------------------------------------------------------------------

def exp(x):
    x = np.asarray(x, f32)
    z = fma(x, f32(1.44269502162933349609375), f32(12582912))
    n = z - f32(12582912)
    r = fma(n, f32(-0.693359375), x)
    r = fma(n, f32(2.12194440e-4), r)
    c = [float.fromhex(h) for h in ("0x1.6a2430p-10", "0x1.1239e4p-7", "0x1.5558f2p-5", "0x1.555492p-3", "0x1.fffffcp-2")]
    p = f32(c[0])
    for constant in c[1:] + [1.0, 1.0]:
        p = fma(p, r, f32(constant))
    y = from_bits(bits_of(p) + (bits_of(z) << np.uint32(23)))
    y = np.where(x < f32(-87.33654022216796875), f32(0), y)
    y = np.where(x > f32(88.72283172607421875), f32(np.inf), y)
    return np.where(np.isnan(x), x, y)


def tanh(x):
    e = exp(f32(-2) * np.abs(x))
    return np.copysign((f32(1) - e) / (f32(1) + e), x)


def erf(x):
    a = [f32(v) for v in (-1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1,
                          -1.28717512e-1)]
    b = [f32(v) for v in (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)]
    t, s = np.abs(x), x * x
    r, u = fma(a[0], t, a[1]), fma(a[2], t, a[3])
    r = fma(r, s, u)
    for c in (a[4], a[5], a[6], -t):
        r = fma(r, t, c)
    far = np.copysign(f32(1) - exp(r), x)
    r = b[0]
    for c in b[1:]:
        r = fma(r, s, c)
    return np.where(t > f32(0.927734375), far, fma(r, x, x))


def gelu_tanh(x):
    u = fma(f32(0.044714998453855514526) * (x * x), x, x)
    return x / (f32(1) + exp(-(f32(1.5957691216057308) * u)))


ACTIVATIONS = [lambda x: x, lambda x: x / (f32(1) + exp(-x)),
               lambda x: (f32(0.5) * x) * (f32(1) + erf(x * f32(0.707106769084930419921875))), gelu_tanh, tanh]


def soft_cap(x, cap):
    return cap * tanh(x / cap)


# --- weights ----------------------------------------------------------------------------------------------------------

def half(raw):
    return np.ascontiguousarray(raw).view(np.float16)[..., 0].astype(f32)


def nibbles(raw):
    return np.concatenate([raw & 15, raw >> 4], axis=-1).astype(int)


def scales_of_k(b):
    """s and t of the 12 bytes of Q4_K and Q5_K."""
    b = b.astype(int)
    s, t = [], []
    for p in range(8):
        if p < 4:
            s.append(b[..., p] & 63)
            t.append(b[..., p + 4] & 63)
        else:
            s.append((b[..., p + 4] & 15) + 16 * (b[..., p - 4] >> 6))
            t.append((b[..., p + 4] >> 4) + 16 * (b[..., p] >> 6))
    return np.stack(s, -1), np.stack(t, -1)


def scales_of_q3(b):
    b = b.astype(int)
    return np.stack([(b[..., g] & 15 if g < 8 else b[..., g - 8] >> 4) + 16 * ((b[..., 8 + g % 4] >> 2 * (g // 4)) & 3)
                     for g in range(16)], -1)


def split(raw, *sizes):
    return np.split(raw, np.cumsum(sizes)[:-1], axis=-1)


def two_bits(raw, shift):
    """Element 32p + i: the bits from 2 (p % 4) of byte 32 (p / 4) + i."""
    return np.concatenate([raw[..., 32 * (p // 4):32 * (p // 4) + 32] >> 2 * (p % 4) & 3 for p in range(8)], -1).astype(int) << shift


def groups_of(dtype, raw):
    """d, m (or None) of every group, and w of every element: [rows][groups], [rows][groups], [rows][groups][size]."""
    size, count = BLOCK[dtype]
    raw = raw.reshape(raw.shape[0], -1, count)
    m = None
    if dtype == Q8_0:
        d, q = split(raw, 2, 32)
        d, w = half(d), np.ascontiguousarray(q).view(np.int8).astype(int)
    elif dtype in (Q4_0, IQ4_NL):
        d, q = split(raw, 2, 16)
        d, w = half(d), nibbles(q) - 8 if dtype == Q4_0 else T[nibbles(q)]
    elif dtype == Q4_1:
        d, m, q = split(raw, 2, 2, 16)
        d, m, w = half(d), half(m), nibbles(q)
    elif dtype in (Q5_0, Q5_1):
        d, *rest, h, q = split(raw, 2, 4, 16) if dtype == Q5_0 else split(raw, 2, 2, 4, 16)
        h = np.stack([h[..., i // 8] >> i % 8 & 1 for i in range(32)], -1).astype(int)
        d, w = half(d), nibbles(q) + 16 * h - (16 if dtype == Q5_0 else 0)
        m = half(rest[0]) if rest else None
    elif dtype == MXFP4:
        e, q = split(raw, 1, 16)
        d, w = np.ldexp(f32(1), e[..., 0].astype(int) - 128).astype(f32), U[nibbles(q)]
    elif dtype == Q2_K:
        s, q, d, m = split(raw, 16, 64, 2, 2)
        d, m, w = half(d)[..., None] * f32(s & 15), -(half(m)[..., None] * f32(s >> 4)), two_bits(q, 0)
    elif dtype == Q3_K:
        h, q, s, d = split(raw, 32, 64, 12, 2)
        d = half(d)[..., None] * f32(scales_of_q3(s) - 32)
        w = two_bits(q, 0) + 4 * np.concatenate([h >> p & 1 for p in range(8)], -1).astype(int) - 4
    elif dtype in (Q4_K, Q5_K):
        parts = split(raw, 2, 2, 12, 128) if dtype == Q4_K else split(raw, 2, 2, 12, 32, 128)
        s, t = scales_of_k(parts[2])
        d, m = half(parts[0])[..., None] * f32(s), -(half(parts[1])[..., None] * f32(t))
        q = parts[-1]
        w = np.concatenate([q[..., 32 * (p // 2):32 * (p // 2) + 32] >> 4 * (p % 2) & 15 for p in range(8)], -1).astype(int)
        if dtype == Q5_K:
            w += 16 * np.concatenate([parts[3] >> p & 1 for p in range(8)], -1).astype(int)
    elif dtype == Q6_K:
        q, h, s, d = split(raw, 128, 64, 16, 2)
        d = half(d)[..., None] * f32(np.ascontiguousarray(s).view(np.int8))
        low = []
        for p in range(8):
            at = 64 * (p // 4) + 32 * (p % 2)
            low.append(q[..., at:at + 32] >> (4 if p % 4 >= 2 else 0) & 15)
        w = np.concatenate(low, -1).astype(int) + 16 * two_bits(h, 0) - 32
    rows = raw.shape[0]
    d = d.reshape(rows, -1)
    return d, None if m is None else m.reshape(rows, -1), w.reshape(rows, d.shape[1], -1)


class Weight:
    def __init__(self, dtype, k, n, raw):
        self.dtype, self.k, self.n = dtype, k, n
        self.raw = np.frombuffer(raw, np.uint8).reshape(n, -1)
        if dtype == F32:
            self.values = self.raw.view(f32)
        elif dtype == F16:
            self.values = self.raw.view(np.float16).astype(f32)
        elif dtype == BF16:
            self.values = from_bits(self.raw.view(np.uint16).astype(np.uint32) << 16)
        else:
            self.d, self.m, self.w = groups_of(dtype, self.raw)
            values = self.d[..., None] * f32(self.w)
            self.values = (values if self.m is None else values + self.m[..., None]).reshape(n, k)


# --- products ---------------------------------------------------------------------------------------------------------

def quantise(x):
    """[rows][k] to q [rows][blocks][32], scale and scaled_sum [rows][blocks]."""
    x = x.reshape(len(x), -1, 32)
    peak = np.abs(x).max(-1)
    best = None
    for n in (127, 126):
        t = x * (f32(n) / peak)[..., None]
        q = np.rint(t)
        e = t - q
        e = add_lanes(np.moveaxis(fma(e[..., 16:], e[..., 16:], e[..., :16] * e[..., :16]), -1, 0))
        if best is None:
            best = t, q, e, np.full(peak.shape, f32(127))
        else:
            coarser = f32(127) / f32(126)
            less = e * (coarser * coarser) < best[2]
            best = (np.where(less[..., None], t, best[0]), np.where(less[..., None], q, best[1]), None,
                    np.where(less, f32(126), best[3]))
    t, q, _, n = best

    def total(a, b):
        return add_lanes(np.moveaxis(fma(a[..., 16:], b[..., 16:], a[..., :16] * b[..., :16]), -1, 0))
    scale = total(t, q) / total(q, q) * (peak / n)
    none = np.isinf(f32(127) / peak)
    q, scale = np.where(none[..., None], f32(0), q), np.where(none, f32(0), scale)
    return q.astype(int), scale, scale * f32(q.sum(-1))


def flushed(x):
    return np.where(np.abs(x) < f32(2.0 ** -126), np.copysign(f32(0), x), x)


def chains(w, x):
    """Blocks of 256, in a chain each."""
    total = np.zeros((len(x), w.n), f32)
    for start in range(0, w.k, 256):
        part = np.zeros_like(total)
        for k in range(start, min(start + 256, w.k)):
            part = fma(x[:, k, None], w.values[None, :, k], part)
        total = total + part
    return total


def product(w, x):
    """[rows][k] by a weight of n rows: [rows][n]."""
    if w.dtype in (F32, F16):
        return chains(w, x)
    total = np.zeros((len(x), w.n), f32)
    if w.dtype == BF16:
        x, values = flushed(to_bf16(x)), flushed(w.values)
        for k in range(0, w.k, 2):
            for i in (k + 1, k):
                total = flushed(fma(x[:, i, None], values[None, :, i], total))
        return total
    q, scale, scaled_sum = quantise(x)
    size = w.w.shape[2]
    q = q.reshape(len(x), -1, size)
    for g in range(w.w.shape[1]):
        b = g * size // 32
        i = q[:, g] @ w.w[:, g].T
        total = fma(w.d[None, :, g] * scale[:, b, None], f32(i), total)
        if w.m is not None:
            xs = scaled_sum[:, b] if size == 32 else scale[:, b] * f32(q[:, g].sum(-1))
            total = fma(w.m[None, :, g], xs[:, None], total)
    return total


# --- ops --------------------------------------------------------------------------------------------------------------

def lane_sums(x, step):
    """32 lanes over the last axis."""
    lanes = np.zeros((32,) + x.shape[:-1], f32)
    for i in range(x.shape[-1]):
        lanes[i % 32] = step(x[..., i], lanes[i % 32])
    return add_lanes(lanes)


def norm(x, kind, epsilon, weight, bias):
    n, mean = f32(x.shape[-1]), f32(0)
    if kind == 1:
        mean = (lane_sums(x, lambda v, lane: lane + v) / n)[..., None]
        s = lane_sums(x - mean, lambda v, lane: fma(v, v, lane))
    else:
        s = lane_sums(x, lambda v, lane: fma(v, v, lane))
    y = (x - mean) * (f32(1) / np.sqrt(s / n + epsilon))[..., None]
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rotate(x, mode, dim, table):
    """x [tokens][heads][head_dim], table [tokens][dim]."""
    c, s = table[:, None, :dim // 2], table[:, None, dim // 2:]
    first, second = (slice(0, dim, 2), slice(1, dim, 2)) if mode == 1 else (slice(0, dim // 2), slice(dim // 2, dim))
    a, b = x[..., first].copy(), x[..., second].copy()
    x = x.copy()
    x[..., first], x[..., second] = fma(a, c, -(b * s)), fma(b, c, a * s)
    return x


def stored(x, kv_dtype):
    """What a cache makes of numbers."""
    if kv_dtype == 0:
        return x.astype(np.float16).astype(f32)
    return to_bf16(x) if kv_dtype == 2 else x


def attend(q, k, v, first, last, args, kv_dtype):
    """One query [heads][dim] on positions [first, last); k, v [positions][kv heads][dim]."""
    heads, cap = len(q), struct.unpack("f", struct.pack("i", args[3]))[0]
    scale = f32(struct.unpack("f", struct.pack("i", args[2]))[0])
    of = np.arange(heads) // (heads // k.shape[1])
    total = None
    if kv_dtype == 3:
        qq, qs, _ = quantise(q)
        kq, ks, _ = quantise(k.reshape(-1, k.shape[2]))
        vq, vs, _ = quantise(v.reshape(-1, v.shape[2]))
        shape = k.shape[0], k.shape[1], -1
        kq, ks, vq, vs = kq.reshape(*shape, 32), ks.reshape(shape), vq.reshape(*shape, 32), vs.reshape(shape)
        ks, vs = ks.astype(np.float16).astype(f32), vs.astype(np.float16).astype(f32)
    for chunk in range(first // 256, (last + 255) // 256):
        at = np.arange(max(first, 256 * chunk), min(last, 256 * chunk + 256))
        s = np.zeros((heads, len(at)), f32)
        if kv_dtype == 3:
            for b in range(qq.shape[1]):
                i = np.einsum("he,phe->hp", qq[:, b], kq[at][:, of, b])
                s = fma(ks[at][:, of, b].T * qs[:, b, None], f32(i), s)
        else:
            for d in range(q.shape[1]):
                s = fma(q[:, d, None], k[at][:, of, d].T, s)
        s = s * scale
        s = soft_cap(s, f32(cap)) if cap else s
        m = s.max(-1)
        p = exp(s - m[:, None])
        lanes = np.zeros((16, heads), f32)
        o = np.zeros(q.shape, f32)
        for i, position in enumerate(at):
            lanes[position % 16] = lanes[position % 16] + p[:, i]
            if kv_dtype == 3:
                step = np.repeat(p[:, i, None] * vs[position][of], 32, axis=1)
                o = fma(step, f32(vq[position][of].reshape(q.shape)), o)
            else:
                o = fma(p[:, i, None], v[position][of], o)
        l = add_lanes(lanes)
        if total is None:
            total = m, l, o
            continue
        big = np.where(m > total[0], m, total[0])
        a, b = exp(total[0] - big), exp(m - big)
        total = big, fma(total[1], a, l * b), fma(total[2], a[:, None], o * b[:, None])
    return total[2] / total[1][:, None]


class Net:
    """A program of tests/proof on one prompt, alone."""

    def __init__(self, description, weights):
        self.__dict__.update(description)
        self.weights, self.values, self.cached, self.tokens = weights, {}, {}, np.array(description["tokens"])

    def vector(self, number):
        return None if number < 0 else self.weights[number].values[0]

    def run(self):
        for op in self.ops:
            args = op["args"]
            floats = struct.unpack(f"{len(args)}f", struct.pack(f"{len(args)}i", *args))
            run = getattr(self, f"op_{op['kind']}")
            result = run(op, args, floats, *[self.values.get(v) for v in op["in"][:2]])
            self.values[op["out"][0]] = result
            self.values.pop(-1, None)  # what an absent slot was given
        return result

    def op_1(self, op, args, floats, x, y):
        count = len(self.tokens)
        index = (self.tokens, np.arange(count), np.zeros(count, int))[op["flags"]]  # these nets' tokens are all of type 0
        return self.weights[op["weight"][0]].values[index] * f32(floats[0])

    def op_2(self, op, args, floats, x, y):
        if op["flags"] == 1:
            x = x + y
            self.values[op["out"][1]] = x
        out = norm(x, args[0], f32(floats[1]), self.vector(op["weight"][0]), self.vector(op["weight"][1]))
        return y + out if op["flags"] == 2 else out

    def op_3(self, op, args, floats, x, residual):
        out, bias = product(self.weights[op["weight"][0]], x), self.vector(op["weight"][1])
        out = out if bias is None else out + bias
        out = ACTIVATIONS[args[0]](out)
        return out if residual is None else out + residual

    def op_4(self, op, args, floats, x, y):
        heads, kv_heads, dim, mode, rope_dim, table = args[:6]
        out = []
        for i, count in enumerate((heads, kv_heads, kv_heads)):
            z, bias = product(self.weights[op["weight"][i]], x), self.vector(op["weight"][3 + i])
            z = (z if bias is None else z + bias).reshape(len(x), count, dim)
            if i < 2 and op["weight"][6 + i] >= 0:
                z = norm(z, 0, f32(floats[6]), self.vector(op["weight"][6 + i]), None)
            if i < 2 and mode:
                z = rotate(z, mode, rope_dim, self.weights[table].values[:len(x)])
            out.append(z)
        self.cached[op["cache"]] = stored(out[1], self.kv_dtype), stored(out[2], self.kv_dtype)
        return out[0].reshape(len(x), -1)

    def op_5(self, op, args, floats, x, y):
        k, v = self.cached[op["cache"]]
        window, q = self.caches[op["cache"]][2], x.reshape(len(x), args[0], -1)
        rows = []
        for p in range(len(x)):
            last = p + 1 if args[1] == 0 else len(x)
            rows.append(attend(q[p], k, v, max(0, p + 1 - window) if window else 0, last, args, self.kv_dtype).ravel())
        return np.stack(rows)

    def op_6(self, op, args, floats, x, y):
        gate, up = (product(self.weights[op["weight"][i]], x) for i in (0, 1))
        return ACTIVATIONS[args[0]](gate) * up

    def op_8(self, op, args, floats, x, y):
        return x + y

    def op_9(self, op, args, floats, x, y):
        return x * f32(floats[0])

    def op_10(self, op, args, floats, x, y):
        return x

    def op_11(self, op, args, floats, x, y):
        out = product(self.weights[op["weight"][0]], x)
        out = out if floats[0] == 1 else out * f32(floats[0])
        return out if floats[1] == 0 else soft_cap(out, f32(floats[1]))

    def op_12(self, op, args, floats, x, y):
        out = x[0] if args[0] == 2 else x[-1]
        if args[0] == 1:
            out = x[0]
            for row in x[1:]:
                out = out + row
            out = out / f32(len(x))
        length = np.sqrt(lane_sums(out, lambda v, lane: fma(v, v, lane)))
        return (out / length if args[1] and length != 0 else out)[None]


def read_net(folder, name):
    """What proof --dump wrote: the net, its weights, and the logits that are to come."""
    description = json.loads((folder / f"{name}.json").read_text())
    data, at, weights = (folder / f"{name}.bin").read_bytes(), 0, []
    for dtype, k, n, size in description["weights"]:
        weights.append(Weight(dtype, k, n, data[at:at + size]))
        at += size
    return description, weights, np.frombuffer(data[at:], f32).reshape(-1, description["output_width"])
