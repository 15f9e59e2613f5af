/* quantize_family.h: what the searches of all block types share. */
#ifndef PM_FORMAT_QUANTIZE_FAMILY_H
#define PM_FORMAT_QUANTIZE_FAMILY_H

#include "fit.h"
#include "quant_family.h"

/* A block to be quantised, its numbers brought into [-1, 1] by a power of two, so that no sum of
 * squares passes what a float can hold. */
typedef struct pm__work {
    float x[256], weight[256];
    float unit;       /* what they were divided by */
    float level[256]; /* out */
    uint32_t n;
} pm__work;

/* One function a type: fills a block from work. */
void pm__quantize_q4_0(pm__work *work, uint8_t *block);
void pm__quantize_q4_1(pm__work *work, uint8_t *block);
void pm__quantize_q5_0(pm__work *work, uint8_t *block);
void pm__quantize_q5_1(pm__work *work, uint8_t *block);
void pm__quantize_q2_k(pm__work *work, uint8_t *block);
void pm__quantize_q3_k(pm__work *work, uint8_t *block);
void pm__quantize_q4_k(pm__work *work, uint8_t *block);
void pm__quantize_q5_k(pm__work *work, uint8_t *block);
void pm__quantize_q6_k(pm__work *work, uint8_t *block);
void pm__quantize_iq4_nl(pm__work *work, uint8_t *block);
void pm__quantize_iq4_xs(pm__work *work, uint8_t *block);
void pm__quantize_mxfp4(pm__work *work, uint8_t *block);
void pm__quantize_tq2_0(pm__work *work, uint8_t *block);

/* n numbers of a block from the first on. */
static inline pm__group pm__work_group(const pm__work *work, uint32_t first, uint32_t n) {
    return (pm__group){work->x + first, work->weight + first, n};
}

static inline void pm__store_u16(uint8_t *to, uint16_t x) {
    to[0] = (uint8_t)x;
    to[1] = (uint8_t)(x >> 8);
}

/* The best binary16 at or beside a scale, for the whole block, with its levels. */
uint16_t pm__work_scale(pm__work *work, const pm__levels *levels, float scale);

#endif
