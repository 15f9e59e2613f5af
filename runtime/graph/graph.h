/* graph.h: a forward pass as a list of nodes. models/ append them through one call an operation
 * (build.h); cpu/ walks them, gpu/ lowers them to kernels. A graph is symbolic in the rows of a
 * step, so one graph serves every batch size.
 *
 * A row is one token of one sequence at one position. Activations are f32 matrices [rows, n_col],
 * row after row. */
#ifndef PM_GRAPH_GRAPH_H
#define PM_GRAPH_GRAPH_H

#include "../base/arena.h"
#include "../format/quant.h"

typedef enum pm__op {
#define PM_OP(NAME, name, matrix, nmse, what) PM__OP_##NAME,
#include "ops.def"
#undef PM_OP
    PM__OP_COUNT
} pm__op;

typedef struct pm__op_info {
    const char *name, *what;
    int matrix; /* which input is a weight of any type; -1: none */
    double nmse;
} pm__op_info;

const pm__op_info *pm__op_get(pm__op op);

typedef enum pm__tensor_kind {
    PM__WEIGHT,     /* of the model file; index: place in pm__model.weights */
    PM__ACTIVATION, /* lives in the arena between its first write and its last read */
    PM__CACHE,      /* paged, [positions, n_col], in planes (plan.h); index: place in
                       pm__graph.caches */
    PM__STATE,      /* [sequences, n_col] f32 of what a sequence was so far; a kernel reads and
                       writes it in place, and takes it as zeros for a row at position 0; index:
                       place in pm__graph.states */
    PM__STEP        /* index: a pm__step_part (shaders/params.h gives the layouts) */
} pm__tensor_kind;

typedef enum pm__row_count {
    PM__ROWS_FIXED, /* weights */
    PM__ROWS_BATCH, /* one a row of the step */
    PM__ROWS_OUT    /* one a row whose logits are wanted */
} pm__row_count;

/* What changes from step to step; all of it lives in device memory. */
typedef enum pm__step_part {
    PM__STEP_ROWS,     /* head, then (token, seq, pos) a row */
    PM__STEP_OUTS,     /* batch row of each output */
    PM__STEP_PAGES,    /* block table: page of (seq, pos / PM_PAGE) */
    PM__STEP_HISTORY,  /* tokens of each sequence by position */
    PM__STEP_SAMPLERS, /* sampler state of each sequence */
    PM__STEP_DRAWN,    /* (token, logits hash, step, row) of each output */
    PM__STEP_RING,     /* drawn tokens of the last steps, read by the host */
    PM__STEP_PART_COUNT
} pm__step_part;

typedef struct pm__tensor {
    const char *name;
    pm__tensor_kind kind;
    pm__type type; /* F32 but for weights and caches */
    pm__row_count rows;
    uint32_t n_row; /* PM__ROWS_FIXED: rows, all slices together; else 0 */
    uint32_t n_col; /* elements of a row */
    uint32_t index; /* see pm__tensor_kind; activations: place in pm__graph.activations */
    /* Of a matrix: a weight [1, 1], or [1, n_expert] where it has a matrix for each, that products
     * are multiplied by; or NULL. */
    const struct pm__tensor *scale;
    const struct pm__tensor *whole;         /* of a weight: what it is a piece of, or NULL */
    const struct pm__tensor *const *joined; /* [n_joined] of a whole: its pieces (model.h), whose
                                               rows, or columns of vectors, it is one after the
                                               other; it has no data of its own */
    uint32_t n_joined;
} pm__tensor;

typedef enum pm__rope_style {
    PM__ROPE_PAIRS, /* elements 2i and 2i+1 (llama in GGUF files) */
    PM__ROPE_HALVES /* elements i and i + n_rot/2 (NeoX) */
} pm__rope_style;

typedef enum pm__unary_kind {
#define PM_UNARY(NAME, name, what) PM__##NAME,
#include "functions.def"
#undef PM_UNARY
    PM__UNARY_COUNT
} pm__unary_kind;

typedef enum pm__glu_kind {
#define PM_GLU(NAME, name, what) PM__GLU_##NAME,
#include "functions.def"
#undef PM_GLU
    PM__GLU_COUNT
} pm__glu_kind;

/* "gelu", "silu" */
const char *pm__unary_name(pm__unary_kind kind);
const char *pm__glu_name(pm__glu_kind kind);

/* What the logits of experts become. */
typedef enum pm__route_gating {
    PM__ROUTE_SOFTMAX,
    PM__ROUTE_SIGMOID,
    PM__ROUTE_SOFTMAX_CHOSEN /* of the chosen alone */
} pm__route_gating;

typedef struct pm__rope_params {
    uint32_t head_dim, n_rot; /* n_rot <= head_dim, even; the rest of a head passes through */
    pm__rope_style style;
    float freq_base, freq_scale;
    float scale; /* of cosine and sine */
} pm__rope_params;

typedef union pm__op_params {
    struct {
        bool positions; /* rows of the table by position, not by token */
    } embed;
    struct {
        uint32_t head_dim; /* columns that are normed together */
        float eps;
    } norm; /* RMSNORM, LAYERNORM, L2NORM */
    struct {
        bool normed; /* x is normed first: x * rsqrt(mean(x^2) + eps) * input 5 */
        bool gated;  /* y = f(gate, up): the weight has rows of the gate, then as many of up */
        float eps;
        pm__glu_kind glu;
        bool dot8; /* x is in blocks of eight-bit integers (blocks.h) */
    } matmul;
    pm__rope_params rope;
    struct {
        uint32_t n_head, n_head_kv;
        bool normed; /* queries and keys, each head of them */
        float eps;
        pm__rope_params rope; /* n_rot 0: nothing turns */
    } prepare;
    struct {
        uint32_t n_head, n_head_kv, head_dim, head_dim_v;
        float scale;
        uint32_t window; /* 0: none */
        bool bidirectional, chunked;
        float softcap, max_alibi_bias; /* 0: none */
        uint32_t n_slice;              /* ATTENTION_SPLIT, MERGE */
    } attention;
    struct {
        pm__unary_kind kind;
        float a, b; /* SCALE: factor; SOFTCAP: cap; CLAMP: low, high */
    } unary;
    struct {
        pm__glu_kind kind;
    } glu;
    struct {
        float scale;
        uint32_t original, ahead;
    } temper;
    struct {
        uint32_t n_group, stride, first, n;
    } slice;
    struct {
        uint32_t n_group, n_a, n_b; /* columns of a group of either */
        uint32_t b_stride;          /* n_b, or 0: b has one group for all */
    } concat;
    struct {
        bool silu;
    } conv;
    struct {
        uint32_t n_state, n_head, n_group; /* SSM_SCAN has no heads */
    } scan;
    struct {
        uint32_t n_head, n_head_k, head_dim;
        bool tiled;
    } delta_net;
    struct {
        uint32_t head_dim;
    } wkv7; /* and WKV7_BONUS */
    struct {
        uint32_t n_used;
        pm__route_gating gating;
        bool renorm;
        float scale;
        uint32_t n_group, n_group_used;
    } route;
    struct {
        uint32_t n_expert, n_slot; /* n_slot: matrices that each row is multiplied with */
    } experts;
    struct {
        bool keeps_n_pos; /* rows see an encoder's positions, which do not grow */
    } advance;
} pm__op_params;

enum {
    PM__MOST_INPUTS = 8,
    PM__MOST_HEAD_DIM = 1024,
    PM__MOST_EXPERTS = 1024,
    PM__MOST_USED = 64, /* experts of a row */
    PM__SLICE_END = 4   /* columns of a slice after those of the values */
};

/* Inputs by operation (a NULL input is an option not used):
 *   EMBED     0 weight [n_vocab or positions, n_col], 1 step rows
 *   RMSNORM   0 x, 1 weight [1, head_dim or n_col] or NULL
 *   LAYERNORM 0 x, 1 weight as for RMSNORM, 2 bias like it or NULL
 *   L2NORM    0 x
 *   MATMUL    0 x, 1 weight [n_out, n_in], 2 bias [1, n_out] or NULL, 3 residual like y or NULL,
 *             4 scale of the weight [1, 1] or NULL, 5 where it is normed the weight of the RMS norm
 *             [1, n_in] or NULL; normed or gated: no residual; gated: weight and bias have twice
 *             the columns of y
 *   QUANTIZE  0 x
 *   ROPE      0 x, 1 step rows, 2 frequency factors [1, n_rot/2] or NULL
 *   KV_STORE  0 x, 1 step rows, 2 step pages; out: a cache
 *   PREPARE   0 x [rows, (n_head + 2 n_head_kv) * head_dim]: queries, keys, values; 1 step rows,
 *             2 step pages, 3 weights of the norm of queries, 4 of keys, [1, head_dim] or NULL,
 *             5 frequency factors or NULL, 6 cache k (written), 7 cache v (written); out: queries
 *   ATTENTION 0 q, 1 cache k, 2 cache v, 3 step rows, 4 step pages, 5 sinks [1, n_head] or NULL,
 *             6 relative bias [1, buckets * n_head] or NULL
 *   ATTENTION_SPLIT  0 to 4 and 6 as ATTENTION
 *   MERGE     0 slices, 1 sinks [1, n_head] or NULL
 *   GLU       0 gate, 1 up
 *   UNARY     0 x
 *   ADD, MUL  0 a, 1 b: like a, a weight [1, n_col] or [1, 1], or [rows, 1]
 *   TEMPER    0 x, 1 step rows
 *   SLICE     0 x
 *   CONCAT    0 a, 1 b
 *   CONV      0 x, 1 weight [n_col, n_tap], 2 bias [1, n_col] or NULL, 3 state, 4 step rows
 *   SSM_SCAN  0 x, 1 dt, 2 bc, 3 a [n_col, n_state], 4 d [1, n_col], 5 state, 6 step rows
 *   SSM2_SCAN 0 xbc, 1 dt, 2 a [1, n_head], 3 d [1, n_head], 4 state, 5 step rows
 *   DELTA_NET 0 qk, 1 v, 2 b, 3 a, 4 decay [1, n_head], 5 state, 6 step rows
 *   WKV7      0 r, 1 w, 2 k, 3 v, 4 kka, 5 state, 6 step rows
 *   WKV7_BONUS 0 y, 1 r, 2 k, 3 v, 4 weight [1, n_col]
 *   SHIFT     0 x, 1 state, 2 step rows
 *   LERP      0 a, 1 b, 2 weight [1, n_col] or like a
 *   ROUTE     0 logits [rows, n_expert], 1 bias for choosing [1, n_expert] or NULL, 2 scale of each
 *             expert's weight [1, n_expert] or NULL
 *   GROUP     0 route, 1 step rows
 *   EXPERTS_MATMUL  0 x, 1 weight [n_expert * n_out, n_in], 2 bias [1, n_expert * n_out]
 *             or NULL, 3 route, 4 its groups, 5 scale of the weight [1, n_expert] or NULL; without
 *             3 and 4 slot u is expert u
 *   MIX       0 x, 1 route or NULL: all weights are 1, 2 residual or NULL
 *   SPREAD    0 x, 1 route
 *   SELECT    0 x (batch rows), 1 step outs; out: out rows
 *   SAMPLE    0 logits, 1 step rows, 2 step outs, 3 step history, 4 step samplers; out: step drawn
 *   ADVANCE   0 step drawn, 1 step rows (also written), 2 step history (written),
 *             3 step ring (written); out: step rows
 *
 * SAMPLE and ADVANCE do nothing where head.n_sample is 0. ADVANCE puts drawn token i, of batch row
 * r = outs[i], at position pos + 1 of the history of the row's sequence (left out if that is past
 * n_ctx) and into the ring; and where n_out == n_row it makes row i (token, seq, pos + 1) and
 * counts head.step. The host refreshes head.step in every begin(). */
typedef struct pm__node {
    pm__op op;
    const pm__tensor *in[PM__MOST_INPUTS];
    const pm__tensor *out;
    pm__op_params params;
    const char *name; /* "blk.3.attn_q" for profiles and checks */
    bool encoder; /* a node of the encoder's side, which has steps of its own (pm__step.encode) */
} pm__node;

/* What one run of a node moves and computes, for n_row rows at a context of n_ctx positions. */
typedef struct pm__cost {
    uint64_t bytes, flops;
} pm__cost;

typedef struct pm__cache_types {
    pm__type k, v;
} pm__cache_types;

/* The types that a cache can have, one after the other; false past the last. */
bool pm__cache_type(uint32_t i, pm__type *out);

typedef struct pm__graph {
    pm__arena arena;
    pm__node *nodes;
    uint32_t n_node;
    const pm__tensor **activations;
    uint32_t n_activation;
    const pm__tensor **caches;
    uint32_t n_cache;
    const pm__tensor **states;
    uint32_t n_state; /* not 0: rows of a sequence cannot be evaluated twice (engine/recover.c) */
    size_t node_capacity, activation_capacity, cache_capacity, state_capacity;
    pm__cache_types cache_types; /* for a model to build its caches with */
    uint32_t n_ctx;              /* positions a sequence has in the session */
    const pm__tensor *step[PM__STEP_PART_COUNT];
    bool encoder;     /* the next nodes are of the encoder's side */
    bool has_encoder; /* both sides share caches and block tables: the encoder's positions are those
                         of the sequence, and rows of the decoder see n_pos of them */
    bool hidden;      /* the last hidden states are asked for, not logits */
    const pm__tensor *logits; /* [out, n_vocab], or the hidden states [out, n_embd] */
    uint32_t n_vocab;         /* tokens are below it */
    pm_status status;         /* of the first builder call that failed; later ones return NULL */
    const char *scope;        /* prefix of node names, "blk.3." */
} pm__graph;

/* Reads and writes of a node in one place, for hazards, lifetimes and guards: fills up to
 * PM__MOST_INPUTS + 1 entries each. */
typedef struct pm__access {
    const pm__tensor *reads[PM__MOST_INPUTS + 1], *writes[PM__MOST_INPUTS + 1];
    uint32_t n_read, n_write;
} pm__access;

void pm__node_access(const pm__node *node, pm__access *out);
pm__cost pm__node_cost(const pm__node *node, uint32_t n_row, uint32_t n_out, uint32_t n_ctx);

#endif
