/* subgroup_rows.glsl: sums of products in which each subgroup has rows of the weight of its own,
 * and neighbours in it read neighbouring chunks (matvec_rows, experts_rows). No barrier, no shared
 * memory, any size of subgroups.
 * before, calls, order  as own_rows.glsl has it; rows are the same for a subgroup, all of which get
 *         the sums */
const float LEVEL_UNIT = 1.0;

/* Four weights, or their levels. */
vec4 levels(w_raw raw, uint e) {
#ifndef W_SPAN
    return w_four(raw, e);
#elif defined(W_SIGNED)
    int b = int(w_bytes(raw, e));
    return vec4(ivec4(bitfieldExtract(b, 0, 8), bitfieldExtract(b, 8, 8),
                      bitfieldExtract(b, 16, 8), bitfieldExtract(b, 24, 8)));
#else
    uint b = w_bytes(raw, e);
    return vec4(uvec4(b & 255u, (b >> 8) & 255u, (b >> 16) & 255u, b >> 24));
#endif
}

/* Products of four weights and of four x, added to a sum. */
float add_products(vec4 ws, vec4 xs, float sum) {
    return sum + dot(ws, xs);
}

float add_scaled(float scale, float part, float sum) {
    return sum + scale * part;
}

uint first_chunk() {
    return gl_SubgroupInvocationID;
}

uint next_chunk(uint chunk) {
    return chunk + gl_SubgroupSize;
}

float total(float sum) {
    return subgroupAdd(sum);
}

#include "own_rows.glsl"
