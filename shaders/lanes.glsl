/* lanes.glsl: sums of products in which each lane has rows of the weight of its own (matvec_lanes,
 * experts_lanes), and all of them take the same part of x at the same time.
 * before, calls, order  as own_rows.glsl has it, but for AT_ONCE; rows of x are the same for all
 *         lanes */
const uint AT_ONCE = W_CHUNK * N_WEIGHT * N_PASS; // no pieces
const float LEVEL_UNIT = 5.9604644775390625e-8;   // 2^-24

/* Four weights; with W_SPAN their levels in LEVEL_UNIT, bytes being left where a conversion sees
 * their signs. */
vec4 levels(w_raw raw, uint e) {
#ifdef W_SPAN
    uint b = w_bytes(raw, e);
    return vec4(ivec4(b << 24, (b << 16) & 0xff000000u, (b << 8) & 0xff000000u, b & 0xff000000u));
#else
    return w_four(raw, e);
#endif
}

/* Products of four weights and of four x, added to a sum. */
float add_products(vec4 ws, vec4 xs, float sum) {
    return fma(ws.x, xs.x, fma(ws.y, xs.y, fma(ws.z, xs.z, fma(ws.w, xs.w, sum))));
}

float add_scaled(float scale, float part, float sum) {
    return fma(scale, part, sum);
}

uint first_chunk() {
    return 0;
}

uint next_chunk(uint chunk) {
    return chunk + 1;
}

float total(float sum) {
    return sum;
}

#include "own_rows.glsl"
