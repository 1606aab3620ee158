/* Packing: from the rows of a file to tiles of 32 outputs, a thread for each 32 elements of a row.
 *
 * The bits of an element are where docs/numerics.md says they are in a file, and where blocks.h says in a tile. */
#include "blocks.h"

#include <cstdint>

/* What a block of the file looks like: its bytes, where its d lies (m, if there is one, is next to it), where its
 * nibbles or low bits, and where its higher bits. */
struct file_block {
    uint32_t bytes, half_at, low_at, high_at;
};

DEVICE file_block file_block_of(uint32_t dtype)
{
    switch (dtype) {
    case BP_Q8_0:
        return file_block{34, 0, 2, 0};
    case BP_Q4_0:
    case BP_IQ4_NL:
        return file_block{18, 0, 2, 0};
    case BP_Q4_1:
        return file_block{20, 0, 4, 0};
    case BP_Q5_0:
        return file_block{22, 0, 6, 2};
    case BP_Q5_1:
        return file_block{24, 0, 8, 4};
    case BP_MXFP4:
        return file_block{17, 0, 1, 0};
    case BP_Q4_K:
        return file_block{144, 0, 16, 0};
    case BP_Q5_K:
        return file_block{176, 0, 48, 16};
    case BP_Q6_K:
        return file_block{210, 208, 0, 128};
    case BP_Q3_K:
        return file_block{110, 108, 32, 0};
    default: /* Q2_K */
        return file_block{84, 80, 16, 0};
    }
}

/* Element `i` of part `part` (32 elements) of a file's block, as it is stored: without its type's offset. */
DEVICE uint32_t stored_element(uint32_t dtype, const file_block &at, const uint8_t *block, uint32_t part, uint32_t i)
{
    const uint8_t *low = block + at.low_at, *high = block + at.high_at;
    switch (dtype) {
    case BP_Q8_0:
        return low[i];
    case BP_Q5_0:
    case BP_Q5_1:
        return (low[i % 16] >> i / 16 * 4 & 15) | (high[i / 8] >> i % 8 & 1) << 4;
    case BP_Q4_K:
        return low[part / 2 * 32 + i] >> part % 2 * 4 & 15;
    case BP_Q5_K:
        return (low[part / 2 * 32 + i] >> part % 2 * 4 & 15) | (high[i] >> part & 1) << 4;
    case BP_Q6_K:
        return (low[part / 4 * 64 + part % 2 * 32 + i] >> part % 4 / 2 * 4 & 15) |
               (high[part / 4 * 32 + i] >> part % 4 * 2 & 3) << 4;
    case BP_Q3_K:
        return (low[part / 4 * 32 + i] >> part % 4 * 2 & 3) | (high[i] >> part & 1) << 2;
    case BP_Q2_K:
        return low[part / 4 * 32 + i] >> part % 4 * 2 & 3;
    default: /* nibbles of 32 elements in 16 bytes */
        return low[i % 16] >> i / 16 * 4 & 15;
    }
}

/* The opposite of block_quad, for one quad. */
DEVICE void add_quad(int bits, uint32_t quad, unsigned t, uint32_t *words)
{
    if (bits == 8)
        words[t] = quad;
    if (bits >= 4 && bits < 8)
        words[t % 4] |= (quad & 0x0f0f0f0fu) << (t < 4 ? 0 : 4);
    if (bits == 5)
        words[4] |= (quad >> 4 & 0x01010101u) << t;
    if (bits == 6)
        words[4 + t / 4] |= (quad >> 4 & 0x03030303u) << 2 * (t % 4);
    if (bits < 4)
        words[t / 4] |= (quad & 0x03030303u) << 2 * (t % 4);
    if (bits == 3)
        words[2] |= (quad >> 2 & 0x01010101u) << t;
}

/* The two bytes of part `part` of a block with scales of its own, as blocks.h wants them. */
DEVICE void scale_bytes(uint32_t dtype, const uint8_t *block, uint32_t part, uint8_t bytes[2])
{
    const uint8_t *s;
    switch (dtype) {
    case BP_Q4_K:
    case BP_Q5_K: /* six bits each: of the first four parts in bytes 0 to 7, of the others four bits behind and two above those */
        s = block + 4;
        bytes[0] = part < 4 ? s[part] & 63 : static_cast<uint8_t>((s[part + 4] & 15) | s[part - 4] >> 6 << 4);
        bytes[1] = part < 4 ? s[part + 4] & 63 : static_cast<uint8_t>(s[part + 4] >> 4 | s[part] >> 6 << 4);
        return;
    case BP_Q6_K:
        bytes[0] = block[192 + part * 2];
        bytes[1] = block[192 + part * 2 + 1];
        return;
    case BP_Q3_K: /* six bits each, 32 above the scale: four in the nibbles of bytes 0 to 7, two in bytes 8 to 11 */
        s = block + 96;
        for (uint32_t i = part * 2; i < part * 2 + 2; i++) {
            int low = s[i % 8] >> i / 8 * 4 & 15, high = s[8 + i % 4] >> i / 4 * 2 & 3;
            bytes[i % 2] = static_cast<uint8_t>((low | high << 4) - 32);
        }
        return;
    default: /* Q2_K */
        bytes[0] = block[part * 2];
        bytes[1] = block[part * 2 + 1];
    }
}

DEVICE void pack_scales(const block_format &f, const file_block &at, uint32_t dtype, const uint8_t *block, uint32_t k,
                        uint32_t b, uint32_t lane, uint8_t *tile)
{
    uint8_t *scales = tile + block_scales_at(f, k, b);
    const uint8_t *half = block + at.half_at;
    uint32_t part = f.scales == SCALES_SUPER ? b % 8 : 0;
    if (f.scales == SCALES_EXPONENT) {
        scales[lane] = half[0];
        return;
    }
    if (part == 0) {
        memcpy(scales + lane * 2, half, 2);
        if (f.minimum)
            memcpy(scales + 64 + lane * 2, half + 2, 2);
    }
    if (f.scales == SCALES_SUPER) {
        uint8_t bytes[2];
        scale_bytes(dtype, block, part, bytes);
        scales[block_bytes_at(f, b) + lane] = bytes[0];
        scales[block_bytes_at(f, b) + 32 + lane] = bytes[1];
    }
}

struct pack_blocks_args {
    pack_args at;
    block_format format;
};

/* Grid: [32 elements of a row / 64][row]. */
__global__ void pack_blocks(pack_blocks_args args)
{
    const pack_args &a = args.at;
    const block_format &f = args.format;
    uint32_t b = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (b >= a.k / QUANT_BLOCK)
        return;
    uint32_t parts = f.scales == SCALES_SUPER ? SUPER_BLOCK / QUANT_BLOCK : 1, lane = row % TILE_COLUMNS;
    file_block at = file_block_of(a.dtype);
    const uint8_t *block = a.source + row * a.row_bytes + static_cast<uint64_t>(b / parts) * at.bytes;
    uint8_t *tile = a.packed + (a.row + row) / TILE_COLUMNS * a.tile_bytes;
    uint32_t words[MAX_WORDS] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (uint32_t t = 0; t < 8; t++) {
        uint32_t quad = 0;
        for (uint32_t e = 0; e < 4; e++)
            quad |= stored_element(a.dtype, at, block, b % parts, t * 4 + e) << 8 * e;
        add_quad(f.bits, quad, t, words);
    }
    uint8_t *to = tile + static_cast<uint64_t>(b) * block_word_bytes(f);
    for (uint32_t j = 0; j < static_cast<uint32_t>(f.bits); j++)
        *reinterpret_cast<uint32_t *>(to + block_word_at(f.bits, j, lane)) = words[j];
    pack_scales(f, at, a.dtype, block, a.k, b, lane, tile);
}

/* Elements of 2 or 4 bytes, in pieces of 16 bytes. Grid: [element / 64][row]. */
template <typename T> DEVICE void pack_element(const pack_args &a)
{
    constexpr uint32_t piece = 16 / sizeof(T);
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y, lane = row % TILE_COLUMNS;
    if (i >= a.k)
        return;
    T element;
    memcpy(&element, a.source + row * a.row_bytes + i * sizeof(T), sizeof(T));
    uint8_t *tile = a.packed + (a.row + row) / TILE_COLUMNS * a.tile_bytes;
    reinterpret_cast<T *>(tile)[static_cast<uint64_t>(i / piece) * TILE_COLUMNS * piece + lane * piece + i % piece] =
        element;
}

__global__ void pack_16(pack_args args)
{
    pack_element<uint16_t>(args);
}

__global__ void pack_32(pack_args args)
{
    pack_element<uint32_t>(args);
}

extern "C" void launch_pack(gpu_stream *stream, const pack_args *args)
{
    enum { THREADS = 64 };
    block_format format = block_format_of(args->dtype);
    uint32_t threads_needed = format.bits ? args->k / QUANT_BLOCK : args->k;
    dim3 grid((threads_needed + THREADS - 1) / THREADS, args->rows);
    if (format.bits)
        launch(stream, pack_blocks, grid, THREADS, 0, pack_blocks_args{*args, format});
    else if (args->dtype == BP_F32)
        launch(stream, pack_32, grid, THREADS, 0, *args);
    else
        launch(stream, pack_16, grid, THREADS, 0, *args);
}

extern "C" size_t packed_tile_bytes(uint32_t dtype, size_t k)
{
    block_format f = block_format_of(dtype);
    size_t bytes;
    if (f.bits == 0) {
        size_t width = dtype == BP_F32 ? 4 : 2;
        bytes = size_multiply(size_round_up(k, 16 / width), width * TILE_COLUMNS);
    } else {
        size_t halves = f.minimum ? 128 : 64, blocks = k / QUANT_BLOCK;
        size_t scales = f.scales == SCALES_EXPONENT ? blocks * 32
                        : f.scales == SCALES_HALF   ? blocks * halves
                                                    : blocks / 8 * (halves + 8 * 64);
        bytes = size_add(size_multiply(blocks, static_cast<size_t>(f.bits) * 128), scales);
    }
    return size_round_up(bytes, TILE_ALIGNMENT);
}
