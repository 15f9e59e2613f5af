#include "sampling.h"

#include <math.h>
#include <string.h>

/* philox4x32-10, first word of the block (counter, 0, 0, 0). */
uint32_t pm__philox(uint32_t counter, uint32_t seed_lo, uint32_t seed_hi) {
    uint32_t c[4] = {counter, 0, 0, 0};
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xd2511f53u * c[0];
        const uint64_t p1 = (uint64_t)0xcd9e8d57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ seed_lo;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ seed_hi;
        c[3] = (uint32_t)p0;
        seed_lo += 0x9e3779b9u;
        seed_hi += 0xbb67ae85u;
    }
    return c[0];
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
