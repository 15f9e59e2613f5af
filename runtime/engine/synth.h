/* synth.h: what the files of synthetic models share. */
#ifndef PM_ENGINE_SYNTH_H
#define PM_ENGINE_SYNTH_H

#include "../format/gguf_write.h"
#include "../source/source.h"

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

/* ---- synth.c: a model under way -------------------------------------------------------------- */

enum { PM__SYNTH_POOLS = 16 };

typedef struct pm__synth {
    const pm_synth_desc *desc;
    pm__shape shape;
    pm__type type;                  /* of matrices; PM__TYPE_COUNT: the mix says */
    const struct pm__mix_info *mix; /* NULL: one type */
    pm__source tokenizer;           /* where one was given */
    pm__gguf_writer writer;
    uint8_t *key_bytes; /* [n_key_byte] */
    size_t n_key_byte;
    pm__gguf keys;            /* over key_bytes, no tensors */
    pm__gguf_tensor *tensors; /* [n_tensor] without data; those of one dimension are norms */
    size_t n_tensor, capacity;
    pm__arena arena; /* names */
    struct {
        pm__synth_pool blocks;
        uint32_t n_col;
    } pools[PM__SYNTH_POOLS];   /* one for each type and length of rows */
    uint64_t seed, done, total; /* bytes of tensors */
} pm__synth;

/* Keys and tensors, without data. A failed init has to be finished.
 * errors  as pm_synth() */
pm_status pm__synth_init(pm__synth *s, const pm_synth_desc *desc);
void pm__synth_finish(pm__synth *s);
/* The pool from which rows of the tensor are drawn. */
pm_status pm__synth_find_pool(pm__synth *s, const pm__gguf_tensor *t, uint32_t *out);
/* Weights of a norm. */
void pm__synth_draw_norm(pm__synth *s, uint64_t n, float *out);

/* ---- synth_memory.c -------------------------------------------------------------------------- */

/* The model as if it lay in a file, without one: rows repeat after some megabytes, and no more than
 * those are held.
 * errors  those of pm_synth(). A failed call leaves nothing to finish. */
pm_status pm__synth_open(const pm_synth_desc *desc, pm__source *out);

#endif
