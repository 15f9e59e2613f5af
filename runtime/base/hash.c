#include "hash.h"

#include <string.h>
#include <time.h>

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

/* ---- keyed ----------------------------------------------------------------------------------- */

static uint64_t rotate(uint64_t x, unsigned n) {
    return x << n | x >> (64 - n);
}

static void sip_rounds(uint64_t v[4], int n) {
    for (int i = 0; i < n; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
}

/* n bytes, at most 8, the first the lowest. */
static uint64_t little(const unsigned char *bytes, size_t n) {
    uint64_t x = 0;
    for (size_t i = 0; i < n; i++)
        x |= (uint64_t)bytes[i] << 8 * i;
    return x;
}

uint64_t pm__hash_keyed(pm__hash_key key, const void *data, size_t n) {
    const unsigned char *bytes = data;
    uint64_t v[4] = {key.low ^ 0x736f6d6570736575ULL, key.high ^ 0x646f72616e646f6dULL,
                     key.low ^ 0x6c7967656e657261ULL, key.high ^ 0x7465646279746573ULL};
    size_t at = 0;
    for (; n - at >= 8; at += 8)
        sip_word(v, little(bytes + at, 8));
    sip_word(v, little(bytes + at, n - at) | (uint64_t)n << 56);
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

pm__hash_key pm__hash_draw_key(void) {
    struct timespec now = {0}, since = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_MONOTONIC, &since);
    const uint64_t seeds[] = {(uint64_t)now.tv_sec,      (uint64_t)now.tv_nsec,
                              (uint64_t)since.tv_sec,    (uint64_t)since.tv_nsec,
                              (uint64_t)(uintptr_t)&now, (uint64_t)(uintptr_t)&pm__hash};
    const uint64_t low = pm__hash(PM__HASH_START, seeds, sizeof seeds);
    return (pm__hash_key){low, pm__hash(low, seeds, sizeof seeds)};
}
