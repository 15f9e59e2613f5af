/* build.h: one call an operation. Each appends a node and returns its output; shapes are checked
 * here and nowhere else. After a failure the graph's status is set (with the sentence) and every
 * further call returns NULL. */
#ifndef PM_GRAPH_BUILD_H
#define PM_GRAPH_BUILD_H

#include "graph.h"

typedef const pm__tensor *pm__t;

void pm__graph_init(pm__graph *g);
void pm__graph_finish(pm__graph *g);
/* What the graph takes of system memory, itself included. */
uint64_t pm__graph_bytes(const pm__graph *g);
/* Prefix of the names of the nodes that follow: pm__graph_scope(g, "blk.%u.", i). "" for none. */
void pm__graph_scope(pm__graph *g, const char *fmt, ...) PM__PRINTF(2, 3);

/* Rows of the step's tokens out of an embedding table [n_vocab, n_col] -> [batch, n_col] */
pm__t pm__embed(pm__graph *g, const char *name, pm__t table);
/* arXiv:1910.07467 eq. 4 */
pm__t pm__rmsnorm(pm__graph *g, const char *name, pm__t x, pm__t weight, float eps);

/* y = x w^T (+ bias) (+ residual): x [rows, n_in], w [n_out, n_in] -> [rows, n_out] */
pm__t pm__matmul(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias);
pm__t pm__matmul_add(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias, pm__t residual);

typedef struct pm__rope_desc {
    uint32_t head_dim, n_rot;
    pm__rope_style style;
    float freq_base, freq_scale; /* angle = pos * freq_scale * freq_base^(-2i/n_rot) / factors[i] */
    pm__t factors;               /* [1, n_rot/2] or NULL */
} pm__rope_desc;
/* arXiv:2104.09864 eq. 34 */
pm__t pm__rope(pm__graph *g, const char *name, pm__t x, const pm__rope_desc *desc);

/* A cache of n_col values a position; kept by the session. ARGUMENT where the type's blocks do not
 * cut n_col, or later the heads of attention. */
pm__t pm__cache(pm__graph *g, const char *name, pm__type type, uint32_t n_col);
void pm__kv_store(pm__graph *g, const char *name, pm__t cache, pm__t x);

/* n_col values a sequence that an operation carries from row to row; kept by the session. */
pm__t pm__state(pm__graph *g, const char *name, uint32_t n_col);

typedef struct pm__attention_desc {
    uint32_t n_head, n_head_kv, head_dim; /* query head h reads key head h / (n_head / n_head_kv) */
    float scale;
} pm__attention_desc;
/* arXiv:1706.03762 eq. 1, grouped heads arXiv:2305.13245; causal: a row sees positions 0..pos */
pm__t pm__attention(pm__graph *g, const char *name, pm__t q, pm__t k, pm__t v,
                    const pm__attention_desc *desc);

/* arXiv:2002.05202 eq. 6 */
pm__t pm__swiglu(pm__graph *g, const char *name, pm__t gate, pm__t up);
pm__t pm__add(pm__graph *g, const char *name, pm__t a, pm__t b);

/* The rows whose logits are wanted. */
pm__t pm__select(pm__graph *g, const char *name, pm__t x);
/* Marks the logits [out, n_vocab], appends SAMPLE and ADVANCE, checks the whole. */
pm_status pm__graph_close(pm__graph *g, pm__t logits);

#endif
