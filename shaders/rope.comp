/* rope.comp: rotates pairs of each head by position * frequency
 * shape   x, y [rows, n_head * head_dim] f32   factors [n_rot / 2] f32
 * grid    x: WG_SIZE pairs of a row; y: rows
 * defines HAS_FACTORS   spec 0 WG_SIZE, 1 N_COL, 2 HEAD_DIM, 3 N_ROT,
 *         4 HALVES (1: pairs (i, i + n_rot/2), 0: pairs (2i, 2i+1))
 * accum   angles as turns in 64-bit fixed point: good to 1e-9 turns at any position below 2^20,
 *         where f32 could be off by half a turn; sine and cosine by series, good to 1e-7, since a
 *         driver's need only be good to 2^-11
 * checked tests row rope against cpu_rope, NMSE 1e-9
 * source  arXiv:2104.09864 eq. 34 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 2;
layout(constant_id = 2) const uint HEAD_DIM = 2;
layout(constant_id = 3) const uint N_ROT = 2;
layout(constant_id = 4) const uint HALVES = 0;

layout(push_constant) uniform Push { pm_push_rope push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
#ifdef HAS_FACTORS
layout(std430, binding = 3) readonly buffer Factors { float factors[]; };
#endif

/* High 64 bits of a * b, at most 3 too small; fractions are uvec2(high, low). */
uvec2 mul_fractions(uvec2 a, uvec2 b) {
    uint hh_hi, hh_lo, hl_hi, lh_hi, low, carry;
    umulExtended(a.x, b.x, hh_hi, hh_lo);
    umulExtended(a.x, b.y, hl_hi, low);
    umulExtended(a.y, b.x, lh_hi, low);
    uint sum = uaddCarry(hh_lo, hl_hi, carry);
    hh_hi += carry;
    sum = uaddCarry(sum, lh_hi, carry);
    return uvec2(hh_hi + carry, sum);
}

/* Fraction / f for f > 0, without whole turns, by long division through the 24 bits of f's
 * mantissa. */
uvec2 div_fraction(uvec2 a, float f) {
    uint bits = floatBitsToUint(f);
    uint mantissa = (bits & 0x7fffffu) | 0x800000u;
    int shift = int((bits >> 23) & 255u) - 126; // f = mantissa * 2^(shift - 24)
    uint rest = 0u;
    uvec3 q = uvec3(0u); // a * 2^24 / mantissa; q.z is its high word
    for (int i = 0; i < 11; i++) {
        uint digit = i < 4   ? bitfieldExtract(a.x, 24 - 8 * i, 8)
                     : i < 8 ? bitfieldExtract(a.y, 56 - 8 * i, 8)
                             : 0u;
        rest = rest << 8 | digit;
        q = uvec3(q.x << 8 | rest / mantissa, q.y << 8 | q.x >> 24, q.z << 8 | q.y >> 24);
        rest %= mantissa;
    }
    for (; shift > 0 && q != uvec3(0u); shift--)
        q = uvec3(q.x >> 1 | q.y << 31, q.y >> 1 | q.z << 31, q.z >> 1);
    for (; shift < 0 && q != uvec3(0u); shift++)
        q = uvec3(q.x << 1, q.y << 1 | q.x >> 31, 0u);
    return q.yx;
}

/* (cos, sin) of 2 pi * turn / 2^32: quarter turns by exchange, the rest, at most an eighth of a
 * turn, by Taylor series. */
vec2 rotation(uint turn) {
    uint quarter = (turn + 0x20000000u) >> 30;
    float a = float(int(turn - (quarter << 30))) * 1.46291807926716e-9; // 2 pi / 2^32
    float z = a * a;
    float s = 8.33333333e-3 + z * (-1.98412698e-4 + z * 2.75573192e-6);
    s = a + a * z * (-1.66666667e-1 + z * s);
    float c = 4.16666667e-2 + z * (-1.38888889e-3 + z * 2.48015873e-5);
    c = 1.0 + z * (-0.5 + z * c);
    vec2 cs = (quarter & 1u) == 0u ? vec2(c, s) : vec2(-s, c);
    return (quarter & 2u) == 0u ? cs : -cs;
}

vec2 angle(uint pos, uint i) {
    uvec2 turn = uvec2(push.turn_hi, push.turn_lo);
    for (uint j = 0; j < PM_ROPE_POWERS; j++)
        if ((i >> j & 1u) != 0u)
            turn = mul_fractions(turn, uvec2(push.power_hi[j], push.power_lo[j]));
#ifdef HAS_FACTORS
    turn = div_fraction(turn, factors[i]);
#endif
    uint hi, lo;
    umulExtended(turn.y, pos, hi, lo);
    return rotation(turn.x * pos + hi);
}

void main() {
    uint pair = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    if (pair >= N_COL / 2)
        return;
    uint r = gl_WorkGroupID.y, i = pair % (HEAD_DIM / 2);
    uint head_at = r * N_COL + pair / (HEAD_DIM / 2) * HEAD_DIM;
    bool halves = HALVES != 0 && i < N_ROT / 2;
    uint a = head_at + (halves ? i : 2 * i), b = halves ? a + N_ROT / 2 : a + 1;
    vec2 cs = i < N_ROT / 2 ? push.scale * angle(rows[r].pos, i) : vec2(1.0, 0.0);
    vec2 v = vec2(x[a], x[b]);
    y[a] = v.x * cs.x - v.y * cs.y;
    y[b] = v.x * cs.y + v.y * cs.x;
}
