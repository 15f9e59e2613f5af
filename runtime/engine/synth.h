/* synth.h: what the files of synthetic models share. */
#ifndef PM_ENGINE_SYNTH_H
#define PM_ENGINE_SYNTH_H

#include "../format/gguf_write.h"

typedef struct pm__shape {
    const char *name, *arch;
    uint32_t flags;
    uint32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_expert, n_expert_used;
    uint32_t n_vocab, n_ctx;
    uint32_t rope_base;
    const char *what;
} pm__shape;

/* Keys tokenizer.* of n_vocab pieces over bytes: all bytes, a few control pieces, and words of
 * letters without a meaning. */
pm_status pm__synth_vocabulary(pm__gguf_writer *writer, uint32_t n_vocab);

/* ---- synth_blocks.c: weights ----------------------------------------------------------------- */

/* Groups of blocks of a type, of which rows are put together: making each block anew would take as
 * long as quantising the model. */
typedef struct pm__synth_pool {
    pm__type type;
    uint8_t *groups;                  /* [n] */
    uint32_t n, group_n, group_bytes; /* elements and bytes of one; n is a power of two */
    uint64_t state;                   /* of the generator */
} pm__synth_pool;

/* spread  standard deviation of elements; their mean is 0, nearly so in types that nothing can be
 *         quantised to
 * errors  OUT_OF_MEMORY */
pm_status pm__synth_pool_init(pm__synth_pool *pool, pm__type type, float spread, uint64_t seed);
void pm__synth_pool_finish(pm__synth_pool *pool);
/* n groups one after another. */
void pm__synth_pool_draw(pm__synth_pool *pool, uint64_t n, uint8_t *out);

/* Normal, of mean 0 and standard deviation 1. */
float pm__synth_normal(uint64_t *state);

#endif
