/* imatrix.h: importance matrices: for each weight matrix the mean square of what its columns are
 * multiplied by, over some text.
 *
 * Two formats are read: GGUF files with general.type "imatrix", which hold tensors NAME.in_sum2
 * [n_col, n_matrix] and NAME.counts [1, n_matrix], and the older one, which begins with a number of
 * entries. `pumice imatrix` writes the former.
 * source  llama.cpp, tools/imatrix: what it writes */
#ifndef PM_FORMAT_IMATRIX_H
#define PM_FORMAT_IMATRIX_H

#include "gguf.h"

typedef struct pm__imatrix_entry {
    const char *name;    /* of the weight, "blk.0.attn_q.weight" */
    const float *values; /* [n_value] means, finite and at least 0; all matrices of experts */
    uint64_t n_value;
} pm__imatrix_entry;

typedef struct pm__imatrix {
    pm__imatrix_entry *entries; /* [n_entry], by name */
    size_t n_entry;
    uint32_t n_chunk;    /* of the text that was evaluated; 0: unknown */
    const char *dataset; /* "" */
    pm__arena arena;
} pm__imatrix;

/* Everything is copied out of the n bytes.
 * errors  BAD_FILE (its sentence begins with "imatrix: "), OUT_OF_MEMORY; a failed init leaves
 *         nothing to finish */
pm_status pm__imatrix_init(pm__imatrix *imatrix, const uint8_t *data, size_t n);
void pm__imatrix_finish(pm__imatrix *imatrix);

/* NULL if there is none. */
const pm__imatrix_entry *pm__imatrix_find(const pm__imatrix *imatrix, const char *name);

#endif
