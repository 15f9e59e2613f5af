/* parts.h: what architectures have in common: norms, rotations, attention and feed-forward blocks.
 * pm__load_...() reads keys and claims tensors, pm__build_...() appends to the forward pass. */
#ifndef PM_MODELS_PARTS_H
#define PM_MODELS_PARTS_H

#include "../runtime/graph/model.h"

/* Layers, context, embedding and vocabulary into def. */
void pm__load_sizes(pm__model_def *def);
/* An array of a struct for each layer, zeroed; NULL after a failure. */
void *pm__load_layers(pm__model_def *def, size_t layer_bytes);

/* ---- norms ----------------------------------------------------------------------------------- */

typedef enum pm__norm_kind { PM__NORM_RMS, PM__NORM_LAYER } pm__norm_kind;

typedef struct pm__norm {
    pm__norm_kind kind;
    float eps;
    uint32_t head_dim; /* columns that are normed together; 0: a whole row */
    bool bare;         /* RMS, without a weight */
    pm__t weight, bias;
} pm__norm;

/* <name>.weight and, where the file has it, <name>.bias. n elements, of whatever shape. */
pm__norm pm__load_norm(pm__model_def *def, pm__norm_kind kind, uint32_t n, const char *fmt, ...)
    PM__PRINTF(4, 5);
/* Without a weight where the file has none. */
pm__norm pm__load_norm_or_none(pm__model_def *def, pm__norm_kind kind, uint32_t n, const char *fmt,
                               ...) PM__PRINTF(4, 5);
/* x itself for a norm without a weight that is not bare. */
pm__t pm__build_norm(pm__graph *g, const char *name, pm__t x, const pm__norm *norm);

/* ---- rotations ------------------------------------------------------------------------------- */

/* Positions by rope.* keys: none, linear, YaRN (arXiv:2309.00071), LongRoPE (arXiv:2402.13753). */
typedef struct pm__rotation {
    pm__rope_desc rope; /* n_rot 0: nothing turns */
    pm__t long_factors; /* in place of the factors in a context longer than n_ctx_short, or NULL */
    uint32_t n_ctx_short;
} pm__rotation;

/* yarn_betas  fast and slow; 0, or none at all: 32 and 1 */
pm__rotation pm__load_rotation(pm__model_def *def, pm__rope_style style, uint32_t head_dim,
                               const float yarn_betas[2]);
/* Without scaling of any kind, from another base. */
pm__rotation pm__plain_rotation(const pm__rotation *from, float freq_base);
pm__t pm__build_rotation(pm__graph *g, const char *name, pm__t x, const pm__rotation *rotation);

/* ---- attention ------------------------------------------------------------------------------- */

/* Which norm queries and keys get. */
typedef enum pm__qk_norm {
    PM__QK_NORM_NONE,
    PM__QK_NORM_HEADS, /* each head, one weight for all of them */
    PM__QK_NORM_EACH,  /* each head, with a weight of its own */
    PM__QK_NORM_WHOLE  /* all heads together */
} pm__qk_norm;

typedef struct pm__heads {
    uint32_t n_head, n_head_kv, head_dim;
    pm__rotation rotation;
    pm__temper_desc temper;        /* of queries, by position; scale 0: none */
    float scale;                   /* of scores */
    float softcap, max_alibi_bias; /* 0: none */
    float clamp;                   /* of queries, keys and values; 0: none */
    uint32_t window;               /* 0: all positions before */
    bool bidirectional, chunked;
    pm__qk_norm qk_norm;
    bool norm_after_rotation;
    bool gated; /* attn_q has a gate behind each head, whose sigmoid the head's output is times */
} pm__heads;

typedef struct pm__attention_part {
    pm__t wq, wk, wv, wo; /* [n_head * head_dim, n_embd], 2 x [n_head_kv * head_dim, n_embd], ... */
    pm__t bq, bk, bv, bo; /* or NULL */
    pm__t sinks;          /* [1, n_head] or NULL */
    pm__norm q_norm, k_norm;
    pm__norm sub_norm; /* before wo, or none */
} pm__attention_part;

/* attention.* keys; rotation and window are left alone. */
void pm__load_heads(pm__model_def *def, pm__heads *heads);
/* Of a layer, where attention.head_count_kv may be an array; false where it is 0: the layer does
 * not attend. */
bool pm__load_layer_heads(pm__model_def *def, uint32_t layer, pm__heads *heads);
/* Layers of `period` have the window but the last; where the file has a pattern, that counts.
 * period  0: all have it */
bool pm__load_windowed(pm__model_def *def, uint32_t period, uint32_t layer);
/* attn_q, attn_k and attn_v, or attn_qkv. */
void pm__load_attention(pm__model_def *def, const pm__heads *heads, pm__norm_kind kind,
                        uint32_t layer, pm__attention_part *out);
/* Of rows that are normed already; residual: added to the output, or NULL. */
pm__t pm__build_attention(pm__graph *g, const pm__heads *heads, const pm__attention_part *a,
                          pm__t x, pm__t residual);

/* ---- feed-forward ---------------------------------------------------------------------------- */

typedef struct pm__activation_part {
    bool gated;
    pm__glu_kind glu;     /* of gate and up */
    pm__unary_kind unary; /* of up alone */
} pm__activation_part;

typedef struct pm__ffn {
    pm__activation_part act;
    pm__t gate, up, down; /* 2 x [n_ff, n_embd], [n_embd, n_ff] */
    pm__t gate_bias, up_bias, down_bias;
    pm__norm sub_norm; /* before down, or none */
} pm__ffn;

/* A gated one: ffn_gate and ffn_up, or both in ffn_up. */
void pm__load_ffn(pm__model_def *def, const pm__activation_part *act, uint32_t n_ff, uint32_t layer,
                  pm__ffn *out);
pm__t pm__build_ffn(pm__graph *g, const pm__ffn *ffn, pm__t x, pm__t residual);

/* ---- output ---------------------------------------------------------------------------------- */

typedef struct pm__output_part {
    pm__norm norm;
    pm__t weight, bias;   /* [n_vocab, n_embd]; bias or NULL */
    float scale, softcap; /* of logits; 0: none */
} pm__output_part;

/* output_norm; and output, or where the file has none the table of embeddings. */
void pm__load_output(pm__model_def *def, pm__norm_kind kind, pm__t token_embd,
                     pm__output_part *out);
/* Of the rows that are wanted: their logits, or where the graph is to give hidden states those. */
pm__t pm__build_output(pm__graph *g, const pm__output_part *output, pm__t x);

#endif
