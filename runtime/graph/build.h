/* build.h: one call an operation. Each appends a node and returns its output; shapes are checked
 * here and nowhere else. After a failure the graph's status is set (with the sentence) and every
 * further call returns NULL. */
#ifndef PM_GRAPH_BUILD_H
#define PM_GRAPH_BUILD_H

#include "build_recurrent.h"

void pm__graph_init(pm__graph *g);
void pm__graph_finish(pm__graph *g);
/* What the graph takes of system memory, itself included. */
uint64_t pm__graph_bytes(const pm__graph *g);
/* Prefix of the names of the nodes that follow: pm__graph_scope(g, "blk.%u.", i). "" for none. */
void pm__graph_scope(pm__graph *g, const char *fmt, ...) PM__PRINTF(2, 3);
/* The nodes that follow are of the encoder's side, or again of the decoder's. */
void pm__graph_side(pm__graph *g, bool encoder);

/* Rows of the step's tokens out of an embedding table [n_vocab, n_col] -> [batch, n_col] */
pm__t pm__embed(pm__graph *g, const char *name, pm__t table);
/* Rows of a table [positions, n_col] by the rows' positions. ARGUMENT where the session has
 * more. */
pm__t pm__embed_positions(pm__graph *g, const char *name, pm__t table);

/* Norms of whole rows, or of each head_dim columns. Weights and biases are [1, n_col], or [1,
 * head_dim] for all heads alike, or NULL.
 * source  arXiv:1910.07467 eq. 4, arXiv:1607.06450 eq. 3 */
pm__t pm__rmsnorm(pm__graph *g, const char *name, pm__t x, pm__t weight, float eps);
pm__t pm__rmsnorm_heads(pm__graph *g, const char *name, pm__t x, pm__t weight, uint32_t head_dim,
                        float eps);
pm__t pm__layernorm(pm__graph *g, const char *name, pm__t x, pm__t weight, pm__t bias, float eps);
pm__t pm__layernorm_heads(pm__graph *g, const char *name, pm__t x, pm__t weight, pm__t bias,
                          uint32_t head_dim, float eps);
/* x / max(|x|, eps) */
pm__t pm__l2norm(pm__graph *g, const char *name, pm__t x, uint32_t head_dim, float eps);

/* y = x w^T (* the scale of w) (+ bias) (+ residual): x [rows, n_in], w [n_out, n_in] -> [rows,
 * n_out] */
pm__t pm__matmul(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias);
pm__t pm__matmul_add(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias, pm__t residual);

/* What a product can do beside, in one kernel. */
typedef struct pm__matmul_desc {
    pm__t w, bias, residual; /* the latter two or NULL */
    bool normed;             /* of x in an RMS norm with eps and norm_weight [1, n_in] or NULL; */
    float eps;               /* no residual then */
    pm__t norm_weight;
    bool gated; /* the rows of w are those of a gate and as many of up: y = f(gate, up), which has
                   half of them; no residual */
    pm__glu_kind glu;
    bool dot8; /* x is what pm__quantize_x gives; not normed */
} pm__matmul_desc;
pm__t pm__matmul_fused(pm__graph *g, const char *name, pm__t x, const pm__matmul_desc *desc);

/* x in blocks of eight-bit integers, for products with dot8:
 * [rows, n_in] -> [rows, n_in / 32 * 12]. n_in is a multiple of 32. What that costs in accuracy,
 * blocks.h says. */
pm__t pm__quantize_x(pm__graph *g, const char *name, pm__t x);

typedef struct pm__rope_desc {
    uint32_t head_dim, n_rot;
    pm__rope_style style;
    float freq_base, freq_scale; /* angle = pos * freq_scale * freq_base^(-2i/n_rot) / factors[i] */
    pm__t factors;               /* [1, n_rot/2] or NULL */
    float scale;                 /* of cosine and sine; 0: 1 */
} pm__rope_desc;
/* arXiv:2104.09864 eq. 34 */
pm__t pm__rope(pm__graph *g, const char *name, pm__t x, const pm__rope_desc *desc);

/* A cache of n_col values a position; kept by the session. ARGUMENT where the type's blocks do not
 * cut n_col, or later the heads of attention. */
pm__t pm__cache(pm__graph *g, const char *name, pm__type type, uint32_t n_col);
void pm__kv_store(pm__graph *g, const char *name, pm__t cache, pm__t x);

typedef struct pm__prepare_desc {
    uint32_t n_head, n_head_kv;
    pm__rope_desc rope; /* n_rot 0: nothing turns; head_dim counts */
    bool normed;        /* each head of queries and keys, in an RMS norm with eps */
    float eps;
    pm__t q_norm, k_norm;   /* [1, head_dim] or NULL */
    pm__t k_cache, v_cache; /* of n_head_kv * head_dim columns, f32 or f16 */
} pm__prepare_desc;
/* What is between a product that gives queries, keys and values side by side, and attention: norms,
 * rotation, storing keys and values. -> queries [rows, n_head * head_dim] */
pm__t pm__prepare(pm__graph *g, const char *name, pm__t x, const pm__prepare_desc *desc);

typedef struct pm__attention_desc {
    uint32_t n_head, n_head_kv, head_dim; /* query head h reads key head h / (n_head / n_head_kv) */
    float scale;
    uint32_t head_dim_v;  /* of values; 0: as keys */
    uint32_t window;      /* a row sees the last so many positions, itself included; 0: all */
    bool chunked;         /* the window does not slide: a row sees those of its own, up to itself */
    bool bidirectional;   /* also those after it, up to the last of the step; window: half of it on
                            either side */
    float softcap;        /* scores: cap * tanh(score / cap); 0: none */
    float max_alibi_bias; /* arXiv:2108.12409; 0: none */
    pm__t sinks;          /* [1, n_head] a score more in each softmax, without a value; or NULL */
    pm__t rel_bias;       /* [1, buckets * n_head] added to scores by distance, arXiv:1910.10683
                             section 2.1; or NULL. 8 to 254 buckets */
} pm__attention_desc;
/* arXiv:1706.03762 eq. 1, grouped heads arXiv:2305.13245; causal: a row sees positions 0..pos. v
 * may be k where there is one key head: then values are the first head_dim_v columns.
 * q [rows, n_head * head_dim] -> [rows, n_head * head_dim_v] */
pm__t pm__attention(pm__graph *g, const char *name, pm__t q, pm__t k, pm__t v,
                    const pm__attention_desc *desc);

/* The same in two steps, for few rows: slices of the positions that a row sees, and their
 * combination. Whole pages of positions, as many in each slice, so that the order of sums follows
 * from the row alone; slices past the last position are empty.
 * pm__attention_split -> [rows, n_head * n_slice * (head_dim_v + PM__SLICE_END)], of each head and
 * slice the sums of weighted values, the largest score, the sum of the weights, and two zeros;
 * sinks are pm__merge's -> [rows, n_head * head_dim_v] */
pm__t pm__attention_split(pm__graph *g, const char *name, pm__t q, pm__t k, pm__t v,
                          const pm__attention_desc *desc, uint32_t n_slice);
typedef struct pm__merge_desc {
    uint32_t n_head, head_dim_v, n_slice;
    pm__t sinks; /* or NULL */
} pm__merge_desc;
pm__t pm__merge(pm__graph *g, const char *name, pm__t slices, const pm__merge_desc *desc);

/* Column by column (functions.def). Gates: arXiv:2002.05202 eq. 6 */
pm__t pm__glu(pm__graph *g, const char *name, pm__glu_kind kind, pm__t gate, pm__t up);
/* Kinds without parameters. */
pm__t pm__unary(pm__graph *g, const char *name, pm__unary_kind kind, pm__t x);
pm__t pm__scale(pm__graph *g, const char *name, pm__t x, float factor);
pm__t pm__softcap(pm__graph *g, const char *name, pm__t x, float cap);
pm__t pm__clamp(pm__graph *g, const char *name, pm__t x, float low, float high);
/* b is like a, or a weight [1, n_col] or [1, 1], or [rows, 1]. */
pm__t pm__add(pm__graph *g, const char *name, pm__t a, pm__t b);
pm__t pm__mul(pm__graph *g, const char *name, pm__t a, pm__t b);

typedef struct pm__temper_desc {
    float scale;
    uint32_t original;
    uint32_t ahead; /* positions count from it */
} pm__temper_desc;
/* y = x * (1 + scale * ln(floor((position + ahead) / original) + 1)) */
pm__t pm__temper(pm__graph *g, const char *name, pm__t x, const pm__temper_desc *desc);

typedef struct pm__slice_desc {
    uint32_t n_group, stride; /* x has n_group * stride columns */
    uint32_t first, n;        /* of each group */
} pm__slice_desc;
/* y[r, gr*n + i] = x[r, gr*stride + first + i] */
pm__t pm__slice(pm__graph *g, const char *name, pm__t x, const pm__slice_desc *desc);
/* Group after group: the columns of a, then those of b. */
pm__t pm__concat(pm__graph *g, const char *name, pm__t a, pm__t b, uint32_t n_group);
/* The same, all columns of b after each group of a. */
pm__t pm__concat_one(pm__graph *g, const char *name, pm__t a, pm__t b, uint32_t n_group);

/* ---- mixtures of experts (arXiv:1701.06538) -------------------------------------------------- */

typedef struct pm__route_desc {
    uint32_t n_used; /* experts of a row */
    pm__route_gating gating;
    bool renorm;                    /* weights of the chosen are divided by their sum */
    float scale;                    /* of the weights; 0: 1 */
    uint32_t n_group, n_group_used; /* choose in the best groups, by the sum of a group's two best;
                                       n_group 0 or 1: none */
} pm__route_desc;
/* logits [rows, n_expert] -> [rows, 2 * n_used]: numbers of the chosen, best first and of equal
 * ones the lowest first, then their weights. select_bias [1, n_expert], for choosing alone, and
 * scale_per_expert [1, n_expert] may be NULL. */
pm__t pm__route(pm__graph *g, const char *name, pm__t logits, pm__t select_bias,
                pm__t scale_per_expert, const pm__route_desc *desc);

/* Rows of x times the matrices of their experts (* the scales of w): x [rows, n_in], or
 * [rows, n_used * n_in] with columns for each, w [n_expert * n_out, n_in], bias
 * [1, n_expert * n_out] or NULL -> [rows, n_used * n_out] */
pm__t pm__experts_matmul(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias, pm__t route,
                         uint32_t n_expert);
/* Each head by a matrix of its own: x [rows, n_head * n_in], w [n_head * n_out, n_in]
 * -> [rows, n_head * n_out] */
pm__t pm__heads_matmul(pm__graph *g, const char *name, pm__t x, pm__t w, uint32_t n_head);

/* Sum over the experts of a row, each by its weight: [rows, n_used * n_col] -> [rows, n_col];
 * residual is added, or NULL */
pm__t pm__mix(pm__graph *g, const char *name, pm__t x, pm__t route, pm__t residual);
/* The same where all weights are 1. */
pm__t pm__mix_sum(pm__graph *g, const char *name, pm__t x, uint32_t n_used, pm__t residual);
/* x once for each expert of a row, times its weight -> [rows, n_used * n_col] */
pm__t pm__spread(pm__graph *g, const char *name, pm__t x, pm__t route);

/* The rows whose logits are wanted. */
pm__t pm__select(pm__graph *g, const char *name, pm__t x);
/* Marks the logits [out, n_vocab], appends SAMPLE and ADVANCE, checks the whole; of a graph for
 * hidden states marks those alone. */
pm_status pm__graph_close(pm__graph *g, pm__t logits);

#endif
