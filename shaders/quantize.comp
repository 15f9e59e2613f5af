/* quantize.comp: a row of x as blocks of 32 eight-bit integers with a scale and sums
 *         (graph/blocks.h says how they lie)
 * shape   x [rows, N_IN] f32, N_IN a multiple of 32   y [rows, N_IN / 32 * 12] words
 * grid    x: WG_SIZE blocks a workgroup; y: rows
 * defines none   spec 0 WG_SIZE, 1 N_IN
 * checked tests row quantize against cpu_quantize, all bits: division aside, which is made good,
 *         nothing is rounded */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_IN = 32;

layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y4 { uvec4 y4[]; };

const uint N_BLOCK = N_IN / 32;
const uint NAN_BITS = 0x7fc00000u, MOST_BITS = 0x71800000u, LEAST_BITS = 0x21800000u;

/* m * 2^exponent */
float scaled(uint m, int exponent) {
    return float(m) * uintBitsToFloat(uint(exponent + 127) << 23);
}

/* The least m * 2^e, with m an integer up to 33, whose 127-fold reaches the largest number. */
float scale_of(uint most_bits) {
    int exponent = int(most_bits >> 23) - 127 - 11;
    uint m = 17u + ((most_bits >> 19) & 15u);
    float scale = scaled(m, exponent);
    return 127.0 * scale < uintBitsToFloat(most_bits) ? scaled(m + 1u, exponent) : scale;
}

/* Of x / scale; halves go away from zero. A quotient may be wrong by a little, products are
 * exact. */
int nearest(float x, float scale) {
    float size = abs(x);
    int q = int(size / scale + 0.5);
    if (size >= (float(q) + 0.5) * scale)
        q++;
    else if (size < (float(q) - 0.5) * scale)
        q--;
    return x < 0.0 ? -q : q;
}

void main() {
    uint block = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex, r = gl_WorkGroupID.y;
    if (block >= N_BLOCK)
        return;
    uint at = r * (N_IN / 4) + block * 8, to = r * 3 * N_BLOCK + block, most = 0u;
    vec4 xs[8];
    [[unroll]] for (uint i = 0; i < 8; i++) {
        xs[i] = x4[at + i];
        uvec4 bits = floatBitsToUint(xs[i]) & 0x7fffffffu;
        most = max(most, max(max(bits.x, bits.y), max(bits.z, bits.w)));
    }
    bool is_number = most >= LEAST_BITS && most < MOST_BITS;
    float scale = is_number ? scale_of(most) : 1.0;
    uvec4 words[2];
    ivec2 sums = ivec2(0);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint word = 0u;
        [[unroll]] for (uint k = 0; k < 4; k++) {
            int q = is_number ? nearest(xs[i][k], scale) : 0;
            word |= (uint(q) & 255u) << 8 * k;
            sums[i / 4] += q;
        }
        words[i / 4][i % 4] = word;
    }
    y4[to] = words[0];
    y4[to + N_BLOCK] = words[1];
    uvec4 tail = uvec4(floatBitsToUint(vec3(scale, scale * vec2(sums))), 0u);
    if (most >= MOST_BITS)
        tail.xyz = uvec3(NAN_BITS);
    else if (most < LEAST_BITS)
        tail = uvec4(0u);
    y4[to + 2 * N_BLOCK] = tail;
}
