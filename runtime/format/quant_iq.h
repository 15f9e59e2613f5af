/* quant_iq.h: the grids of IQ1, IQ2 and IQ3 blocks (quant_iq_tables.c has the bits of an entry),
 * and the one scale that lies in pieces. */
#ifndef PM_FORMAT_QUANT_IQ_H
#define PM_FORMAT_QUANT_IQ_H

#include <stdint.h>

extern const uint32_t pm__grid_iq1[1024];
extern const uint32_t pm__grid_iq2_xxs[128], pm__grid_iq2_xs[256], pm__grid_iq2_s[512];
extern const uint32_t pm__grid_iq3_xxs[128], pm__grid_iq3_s[256];

void pm__put_scale_iq1_m(uint16_t half, uint8_t *block);

#endif
