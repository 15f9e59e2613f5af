/* quant_plain.c: floats and integers, each element by itself. */
#include "quant_family.h"

#include <string.h>

/* ---- types with planes of their own ---------------------------------------------------------- */

void pm__decode_f32(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = pm__float_from_bits(pm__load_u32(row + 4 * (size_t)i));
}

void pm__decode_f16(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = pm__f16_to_f32(pm__load_u16(row + 2 * (size_t)i));
}

void pm__decode_bf16(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = pm__float_from_bits((uint32_t)pm__load_u16(row + 2 * (size_t)i) << 16);
}

void pm__pack_f32(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    (void)scales;
    pm__pack_plain(row, 4 * (size_t)n_col, quants);
}

void pm__pack_f16(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    (void)scales;
    pm__pack_plain(row, 2 * (size_t)n_col, quants);
}

void pm__pack_bf16(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_f16(row, n_col, quants, scales);
}

/* ---- types that become F32 on the way to a device -------------------------------------------- */

void pm__decode_f64(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++) {
        const uint64_t bits = pm__load_u64(row + 8 * (size_t)i);
        double x;
        memcpy(&x, &bits, sizeof x);
        out[i] = (float)x;
    }
}

void pm__decode_i8(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = (float)(int8_t)row[i];
}

void pm__decode_i16(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = (float)(int16_t)pm__load_u16(row + 2 * (size_t)i);
}

void pm__decode_i32(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = (float)(int32_t)pm__load_u32(row + 4 * (size_t)i);
}

void pm__decode_i64(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = (float)(int64_t)pm__load_u64(row + 8 * (size_t)i);
}
