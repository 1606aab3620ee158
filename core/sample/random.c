#include "sample/random.h"

void random_philox(uint32_t counter[4], const uint32_t key[2])
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * counter[0], b = (uint64_t)0xCD9E8D57u * counter[2];
        counter[0] = (uint32_t)(b >> 32) ^ counter[1] ^ k0;
        counter[2] = (uint32_t)(a >> 32) ^ counter[3] ^ k1;
        counter[1] = (uint32_t)b;
        counter[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

uint64_t random_at(uint64_t seed, uint64_t position)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), 0, 0};
    random_philox(counter, key);
    return (uint64_t)counter[1] << 32 | counter[0];
}

uint64_t random_below(uint64_t random, uint64_t bound)
{
    uint64_t low = random & UINT32_MAX, high = random >> 32;
    uint64_t bound_low = bound & UINT32_MAX, bound_high = bound >> 32;
    uint64_t middle = high * bound_low + (low * bound_low >> 32);
    uint64_t carry = low * bound_high + (middle & UINT32_MAX);
    return high * bound_high + (middle >> 32) + (carry >> 32);
}
