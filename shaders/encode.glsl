/* encode.glsl: floats to narrower types in integers, so that every device rounds as
 * pm__type_encode does. All arguments and results are bits of floats but where it is said. */

/* To binary16, the nearest, of two the even one. */
uint half_bits(uint bits) {
    uint sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u)
        return sign | 0x7e00u | (size >> 13 & 0x1ffu);
    if (size >= 0x477ff000u)
        return sign | 0x7c00u;
    if (size < 0x38800000u) { // a subnormal half, in units of 2^-24
        uint shift = 126u - (size >> 23), m = size & 0x7fffffu | 0x800000u;
        return shift > 24u ? sign : sign | m + (1u << shift - 1u) - 1u + (m >> shift & 1u) >> shift;
    }
    return sign | (size + 0xfffu + (size >> 13 & 1u) >> 13) - (112u << 10);
}

/* a / b, the nearest; a, b and the quotient are positive and normal. Three digits of base 256 of
 * the mantissas' quotient, times 2^24; it never lies in the middle of two floats. */
uint quotient(uint a, uint b) {
    uint n = (a & 0x7fffffu | 0x800000u) << 8, m = b & 0x7fffffu | 0x800000u;
    uint digits = n / m, rest = n % m;
    for (int i = 0; i < 2; i++) {
        rest <<= 8;
        digits = digits << 8 | rest / m;
        rest %= m;
    }
    bool wide = digits >= 0x1000000u;
    uint mantissa = wide ? (digits >> 1) + (digits & 1u) : digits + uint(2u * rest > m);
    uint exponent = (a >> 23) - (b >> 23) + (wide ? 127u : 126u);
    return (exponent << 23) + mantissa - 0x800000u;
}
