/* half.c: binary16 and binary32. */
#include "quant_family.h"

float pm__f16_to_f32(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 31;
    const uint32_t mantissa = half & 1023;
    if (exponent == 0) /* zero and subnormals: all are normal in binary32 */
        return pm__float_from_bits(sign | pm__bits_from_float((float)mantissa * 0x1p-24f));
    const uint32_t wide = exponent == 31 ? 255 : exponent + (127 - 15);
    return pm__float_from_bits(sign | wide << 23 | mantissa << 13);
}

uint16_t pm__f32_to_f16(float x) {
    const uint32_t bits = pm__bits_from_float(x);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t size = bits & 0x7fffffff;
    if (size > 0x7f800000) /* NaN: quiet, as much of the payload as there is room for */
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x1ff));
    if (size >= 0x477ff000) /* from 65520 the nearest is infinity */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) /* below 2^-14: beside 0.5 one unit in the last place is 2^-24 */
        return (uint16_t)(sign |
                          (pm__bits_from_float(pm__float_from_bits(size) + 0.5f) - 0x3f000000));
    const uint32_t rounded = size + 0xfff + (size >> 13 & 1);
    return (uint16_t)(sign | ((rounded >> 13) - ((127 - 15) << 10)));
}
