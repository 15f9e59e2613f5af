/* random.glsl: the integer functions of runtime/graph/sampling.h: hash32, float_key, philox. */

uint hash32(uint x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* Order-preserving map of f32, no NaN, to uint. */
uint float_key(float x) {
    uint bits = floatBitsToUint(x);
    return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}

/* First word of philox4x32-10 of counter (counter, 0, 0, 0). */
uint philox(uint counter, uint seed_lo, uint seed_hi) {
    uvec4 c = uvec4(counter, 0u, 0u, 0u);
    uvec2 key = uvec2(seed_lo, seed_hi);
    for (int i = 0; i < 10; i++) {
        uint hi0, lo0, hi1, lo1;
        umulExtended(0xd2511f53u, c.x, hi0, lo0);
        umulExtended(0xcd9e8d57u, c.z, hi1, lo1);
        c = uvec4(hi1 ^ c.y ^ key.x, lo1, hi0 ^ c.w ^ key.y, lo0);
        key += uvec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return c.x;
}
