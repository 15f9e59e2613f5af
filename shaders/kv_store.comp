/* kv_store.comp: cache[page(seq, pos), :] = x[r,:], in the type of the cache
 * shape   x [rows, n_col] f32   cache [pages * PM_PAGE, n_col]
 * grid    x: WG_SIZE words of a row (F32, F16) or fours of columns (Q8_0, Q4_0); y: rows. A
 *         position past the context is dropped
 * defines C_<TYPE>   spec 0 WG_SIZE (at least 16), 1 N_COL, 2 N_CTX, 3 N_CHUNK, 4 N_SCALE
 *         accum none
 * checked tests row kv_store against cpu_kv_store, exact
 * source  arXiv:2309.06180 for the block table */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint N_CTX = 1;
layout(constant_id = 3) const uint N_CHUNK = 1;
layout(constant_id = 4) const uint N_SCALE = 0;

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) writeonly buffer Quants { uint quants[]; };
layout(std430, binding = 2) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 3) readonly buffer Pages { uint pages[]; };
#include "encode.glsl"

/* Element c of row r; zeros past its end. */
uint element(uint r, uint c) {
    return c < N_COL ? x[r * N_COL + c] : 0u;
}

#if defined(C_F32)
void store(uint r, uint row, uint i) {
    if (i < 4 * N_CHUNK)
        quants[row * 4 * N_CHUNK + i] = element(r, i);
}

#elif defined(C_F16)
void store(uint r, uint row, uint i) {
    if (i < 4 * N_CHUNK)
        quants[row * 4 * N_CHUNK + i] =
            half_bits(element(r, 2 * i)) | half_bits(element(r, 2 * i + 1)) << 16;
}

#elif defined(C_Q8_0) || defined(C_Q4_0)
layout(std430, binding = 4) writeonly buffer Scales { uint scales[]; };

const uint SIZE = 0x7fffffffu; // all bits but the sign
const uint LEAST = 0x0d800000u, FAR_BELOW = 0x08800000u; // 2^-100, 2^-110
shared uint extremes[WG_SIZE];
shared uint levels[WG_SIZE];
shared uint halves[WG_SIZE / 8]; // scales of blocks

uint larger(uint a, uint b) {
    return (b & SIZE) > (a & SIZE) ? b : a;
}

/* Bits of the scale from those of the extreme, with its half; no number: one that is none. */
uint scale_of(uint extreme, out uint half_scale) {
    uint size = extreme & SIZE;
#ifdef C_Q8_0
    uint scale = size < FAR_BELOW ? 0u : quotient(min(size, 0x7f7fffffu), floatBitsToUint(127.0));
#else
    uint sign = ~extreme & 0x80000000u;
    uint scale = sign | (size < FAR_BELOW ? 0u : size - (3u << 23));
#endif
    half_scale = size < 0x7f800000u ? half_bits(scale) : 0x7e00u;
    return scale;
}

/* What elements are multiplied by; 0: all levels are 0. */
float inverse_of(uint extreme, uint scale) {
    if ((extreme & SIZE) >= 0x7f800000u || (scale & SIZE) < LEAST)
        return 0.0;
    return uintBitsToFloat(scale & 0x80000000u | quotient(0x3f800000u, scale & SIZE));
}

/* The level in the low bits. */
uint level_of(uint bits, float inverse) {
    precise float level = uintBitsToFloat(bits) * inverse;
#ifdef C_Q8_0
    float size = abs(level);
    uint whole = uint(size);
    whole += uint(size - float(whole) >= 0.5);
    return (level < 0.0 ? 0u - whole : whole) & 0xffu;
#else
    precise float up = level + 8.5;
    return min(uint(up), 15u);
#endif
}

/* Eight invocations a block, each with four elements of it. */
void store(uint r, uint row, uint i) {
    uint me = gl_LocalInvocationIndex, in_block = me % 8, block = i / 8;
    uvec4 v = uvec4(0u);
    for (uint k = 0; k < 4; k++)
        v[k] = element(r, 4 * i + k);
    extremes[me] = larger(larger(larger(larger(0u, v[0]), v[1]), v[2]), v[3]);
    barrier();
    uint extreme = 0u, half_scale;
    for (uint k = 0; k < 8; k++)
        extreme = larger(extreme, extremes[me - in_block + k]);
    uint scale = scale_of(extreme, half_scale);
    float inverse = inverse_of(extreme, scale);
#ifdef C_Q8_0
    uint word = 0u;
#else
    uint word = 0x08080808u;
#endif
    if (inverse != 0.0)
        word = level_of(v[0], inverse) | level_of(v[1], inverse) << 8 |
               level_of(v[2], inverse) << 16 | level_of(v[3], inverse) << 24;
    levels[me] = word;
    if (in_block == 0)
        halves[me / 8] = half_scale;
    barrier();
    if (4 * i >= N_COL)
        return;
#ifdef C_Q8_0
    quants[row * 4 * N_CHUNK + i] = word;
#else
    if (in_block < 4)
        quants[row * 4 * N_CHUNK + 4 * block + in_block] = word | levels[me + 4] << 4;
#endif
    if (me % 16 == 0)
        scales[row * N_SCALE + block / 2] =
            halves[me / 8] | (32 * (block + 1) < N_COL ? halves[me / 8 + 1] << 16 : 0u);
}
#else
#error "no type of the cache: define one of C_F32, C_F16 ..., and give it its store() here"
#endif

void main() {
    uint r = gl_WorkGroupID.y, pos = rows[r].pos;
    if (pos >= N_CTX)
        return;
    uint page = pages[rows[r].seq * ((N_CTX + PM_PAGE - 1) / PM_PAGE) + pos / PM_PAGE];
    store(r, page * PM_PAGE + pos % PM_PAGE,
          gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex);
}
