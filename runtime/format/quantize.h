/* quantize.h: rows of numbers to rows of a type, as near as a search finds. */
#ifndef PM_FORMAT_QUANTIZE_H
#define PM_FORMAT_QUANTIZE_H

#include "quant.h"

/* F32 F16 BF16, Q4_0 Q4_1 Q5_0 Q5_1 Q8_0, Q2_K Q3_K Q4_K Q5_K Q6_K, IQ4_NL IQ4_XS MXFP4, TQ2_0. */
bool pm__type_can_quantize(pm__type type);

/* Chooses scales and levels that make the sum of importance * (x - decoded)^2 small, block by
 * block. Q8_0, and Q4_0 without importances, are rounded as ggml's reference encoder does, byte for
 * byte.
 * x           [n_col], whole blocks
 * importance  [n_col] finite, of each column, or NULL: all the same
 * row         out, the bytes of the row
 * false       an element is infinite or no number: the row is not written */
bool pm__type_quantize(pm__type type, const float *x, const float *importance, uint32_t n_col,
                       void *row);

#endif
