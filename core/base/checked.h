/* checked: arithmetic on sizes that come from a file, a request or a plugin. Each returns false on overflow and leaves
 * *out undefined; a validator built on these survives NDEBUG. Where too much is just too much, a sum may stop at the largest number. */
#ifndef BACKPLANE_BASE_CHECKED_H
#define BACKPLANE_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool checked_sub(size_t a, size_t b, size_t *out) { return !__builtin_sub_overflow(a, b, out); }
static inline bool checked_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool checked_add_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline uint64_t capped_add_u64(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return checked_add_u64(a, b, &sum) ? sum : UINT64_MAX;
}
static inline bool checked_mul_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }

#endif
