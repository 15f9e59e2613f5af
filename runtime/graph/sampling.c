#include "sampling.h"

#include <math.h>
#include <string.h>

void pm__philox_block(uint32_t block[4], uint32_t seed_lo, uint32_t seed_hi) {
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xd2511f53u * block[0];
        const uint64_t p1 = (uint64_t)0xcd9e8d57u * block[2];
        block[0] = (uint32_t)(p1 >> 32) ^ block[1] ^ seed_lo;
        block[1] = (uint32_t)p1;
        block[2] = (uint32_t)(p0 >> 32) ^ block[3] ^ seed_hi;
        block[3] = (uint32_t)p0;
        seed_lo += 0x9e3779b9u;
        seed_hi += 0xbb67ae85u;
    }
}

uint32_t pm__philox(uint32_t counter, uint32_t seed_lo, uint32_t seed_hi) {
    uint32_t block[4] = {counter, 0, 0, 0};
    pm__philox_block(block, seed_lo, seed_hi);
    return block[0];
}

uint32_t pm__hash32(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

uint32_t pm__float_key(float x) {
    uint32_t bits;
    if (isnan(x))
        x = -INFINITY;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}
