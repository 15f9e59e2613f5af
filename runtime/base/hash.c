#include "hash.h"

#include <string.h>

static uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
}

uint64_t pm__hash(uint64_t state, const void *data, size_t n) {
    const unsigned char *bytes = data;
    uint64_t x = state ^ 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < n; i++)
        x = (x ^ bytes[i]) * 0x100000001b3ULL;
    return mix(x);
}

uint64_t pm__hash_string(uint64_t state, const char *text) {
    return pm__hash(state, text, strlen(text) + 1);
}
