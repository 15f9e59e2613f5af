/* quant_k.c: blocks of 256 elements with a scale of scales. */
#include "quant_family.h"

/* Block of 292 bytes: binary32 scale, 256 signed bytes, sixteen sums that the levels give too. */
void pm__decode_q8_k(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 292) {
        const float d = pm__float_from_bits(pm__load_u32(row));
        for (uint32_t i = 0; i < 256; i++)
            out[first + i] = d * (float)(int8_t)row[4 + i];
    }
}
