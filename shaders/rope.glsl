/* rope.glsl: rotation of a pair of columns by position * frequency.
 * before  push, a pm_push_rope; where HAS_FACTORS is defined FACTORS_BINDING: of f32 [n_rot / 2]
 * accum   angles as turns in 64-bit fixed point: good to 1e-9 turns at any position below 2^20,
 *         where f32 could be off by half a turn; sine and cosine by series, good to 1e-7, since a
 *         driver's need only be good to 2^-11. Precise, so that all kernels give the same bits
 * source  arXiv:2104.09864 eq. 34 */
#ifdef HAS_FACTORS
layout(std430, binding = FACTORS_BINDING) readonly buffer Factors { float factors[]; };
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
    precise float a = float(int(turn - (quarter << 30))) * 1.46291807926716e-9; // 2 pi / 2^32
    precise float z = a * a;
    precise float s = 8.33333333e-3 + z * (-1.98412698e-4 + z * 2.75573192e-6);
    s = a + a * z * (-1.66666667e-1 + z * s);
    precise float c = 4.16666667e-2 + z * (-1.38888889e-3 + z * 2.48015873e-5);
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

/* Pair i, of which n_turning turn, at a position. */
vec2 turned(vec2 v, uint pos, uint i, uint n_turning) {
    vec2 cs = i < n_turning ? push.scale * angle(pos, i) : vec2(1.0, 0.0);
    precise vec2 y = vec2(v.x * cs.x - v.y * cs.y, v.x * cs.y + v.y * cs.x);
    return y;
}
