/* Which kernel multiplies by BF16 weights. vdpbf16ps is as fast as two fused multiply-adds, but makers leave room in what it
 * computes, so it serves only on a processor where it gives the bits of docs/numerics.md.
 *
 * The trial runs both kernels over the same few thousand sums. Their elements are drawn from the whole range and from around
 * the square root of the smallest normal number, where products and sums fall below it; some rows hold numbers that are not
 * finite, and some end exactly at the limit, where the order of rounding and flushing shows. */
#include "device.h"
#include "platform.h"
#include "weights.h"

#include <string.h>

#if defined(__x86_64__)
enum { TRIAL_ROWS = 48, TRIAL_TILES = 16, TRIAL_K = 16 };

typedef struct trial {
    _Alignas(64) uint16_t w[TRIAL_TILES][TRIAL_K / 2][TILE_COLUMNS][2];
    uint16_t x[TRIAL_ROWS][TRIAL_K];
    float want[TRIAL_ROWS][TRIAL_TILES * TILE_COLUMNS], got[TRIAL_ROWS][TRIAL_TILES * TILE_COLUMNS];
    uint64_t random;
} trial;

static uint32_t draw(trial *t)
{
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(t->random >> 32);
}

/* BF16 of an exponent in [from, from + count). */
static uint16_t draw_between(trial *t, uint32_t from, uint32_t count)
{
    uint32_t bits = draw(t);
    return (uint16_t)((bits & 0x807fu) | (from + (bits >> 16) % count) << 7);
}

/* Exponents are biased by 127: around 64 they multiply to the smallest normal number. */
static uint16_t draw_element(trial *t, size_t row)
{
    static const uint16_t special[] = {0x0000, 0x8000, 0x0001, 0x807f, 0x0080, 0x8080, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0};
    if (row % 8 == 7 && draw(t) % 8 == 0)
        return special[draw(t) % (sizeof special / sizeof *special)];
    if (row % 4 == 0)
        return draw_between(t, 0, 255);
    return row % 4 == 1 ? draw_between(t, 120, 16) : draw_between(t, 52, 24);
}

/* Row 0 has the sums 2^-126 - 2^-75 * w, with w about 2^-76: from column to column they step over where rounding decides. */
static void set_limits(trial *t)
{
    static const uint16_t row[4] = {0x2000, 0x2000, 0x1a00, 0x0000}; /* 2^-63, 2^-63, 2^-75, 0 */
    memset(t->x[0], 0, sizeof t->x[0]);
    memset(t->w[0], 0, sizeof t->w[0]);
    memcpy(t->x[0], row, sizeof row);
    for (size_t c = 0; c < TILE_COLUMNS; c++) {
        t->w[0][0][c][0] = 0x2000;
        t->w[0][1][c][0] = (uint16_t)(0x9978u + c); /* -2^-77 * 1.9375 and on */
    }
}

static bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b);
}

static bool instruction_agrees(void)
{
    trial t = {.random = 1};
    for (size_t row = 0; row < TRIAL_ROWS; row++)
        for (size_t k = 0; k < TRIAL_K; k++)
            t.x[row][k] = draw_element(&t, row);
    for (size_t tile = 0; tile < TRIAL_TILES; tile++)
        for (size_t i = 0; i < TRIAL_K * TILE_COLUMNS; i++)
            t.w[tile][i / 32][i % 32 / 2][i % 2] = draw_element(&t, tile + i % 32 / 2);
    set_limits(&t);
    matmul_input x = {.halves = t.x[0], .stride = TRIAL_K};
    const uint8_t *packed = (const uint8_t *)t.w;
    avx512_bf16(packed, sizeof t.w[0], TRIAL_K, TRIAL_TILES, &x, 0, TRIAL_ROWS, t.want[0], TRIAL_TILES * TILE_COLUMNS);
    avx512_bf16_dot(packed, sizeof t.w[0], TRIAL_K, TRIAL_TILES, &x, 0, TRIAL_ROWS, t.got[0], TRIAL_TILES * TILE_COLUMNS);
    for (size_t row = 0; row < TRIAL_ROWS; row++)
        for (size_t column = 0; column < TRIAL_TILES * TILE_COLUMNS; column++)
            if (!same(t.want[row][column], t.got[row][column]))
                return false;
    return true;
}

matmul_fn *choose_bf16(const bp_host *host, int isa)
{
    if (isa == ISA_AVX512 && platform_processor().bf16) {
        if (instruction_agrees())
            return avx512_bf16_dot;
        if (host->log)
            host->log(host->context, BP_LOG_WARN,
                      "cpu: vdpbf16ps of this processor departs from docs/numerics.md, so BF16 weights do without it, slower");
    }
    return weight_type_of(BP_BF16)->matmul[isa];
}
#else
matmul_fn *choose_bf16(const bp_host *host, int isa)
{
    (void)host;
    return weight_type_of(BP_BF16)->matmul[isa];
}
#endif
