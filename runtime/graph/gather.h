/* gather.h: weights whose rows lie apart (pm__gguf_rows), copied for those who want all rows of a
 * weight one after the other: the CPU path and checks. The GPU path takes row by row. Of joined
 * weights there are tables of their pieces. */
#ifndef PM_GRAPH_GATHER_H
#define PM_GRAPH_GATHER_H

#include "model.h"

typedef struct pm__gathered {
    uint8_t **copies; /* [n] NULL: nothing to copy */
    uint32_t n;
    const void ***tables; /* [n] of joined weights, else NULL */
} pm__gathered;

/* Bytes of the copies. */
uint64_t pm__gather_bytes(const pm__model_def *def);
/* errors  OUT_OF_MEMORY; nothing is to be finished then */
pm_status pm__gather(pm__gathered *gathered, const pm__model_def *def);
/* All rows of weight `index`; of a joined one, its pieces: [n_joined] const void *. */
const void *pm__gathered_rows(const pm__gathered *gathered, const pm__model_def *def,
                              uint32_t index);
void pm__gathered_finish(pm__gathered *gathered);

#endif
