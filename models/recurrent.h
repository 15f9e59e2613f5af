/* recurrent.h: how layers mix tokens that do not attend, or not only: state spaces, delta nets,
 * short convolutions; and what models have around them. pm__load_...() reads keys and claims
 * tensors, pm__build_...() appends to the forward pass, of rows that are normed already; residual:
 * added to the output, or NULL. */
#ifndef PM_MODELS_RECURRENT_H
#define PM_MODELS_RECURRENT_H

#include "mixture.h"

/* arXiv:2312.00752 */
typedef struct pm__ssm {
    uint32_t n_inner, n_state, rank, n_tap;
    pm__t in_x, in_z;              /* 2 x [n_inner, n_embd] */
    pm__t conv, conv_bias;         /* [n_inner, n_tap], [n_inner] or NULL */
    pm__t x_dt, x_bc;              /* [rank, n_inner], [2 * n_state, n_inner] */
    pm__t x_b, x_c;                /* its halves, where they are normed */
    bool normed;                   /* dt, B and C, by weights that may be NULL */
    pm__t dt_norm, b_norm, c_norm; /* [rank], 2 x [n_state] */
    float eps;                     /* of these norms */
    pm__t dt, dt_bias;             /* [n_inner, rank], [n_inner] */
    pm__t a, d;                    /* [n_inner, n_state], [n_inner] */
    pm__t out;                     /* [n_embd, n_inner] */
} pm__ssm;

void pm__load_ssm(pm__model_def *def, uint32_t layer, pm__ssm *out);
pm__t pm__build_ssm(pm__graph *g, const pm__ssm *m, pm__t x, pm__t residual);

/* arXiv:2405.21060 */
typedef struct pm__ssm2 {
    uint32_t n_inner, n_state, n_head, n_group, n_tap;
    pm__t in_z, in_xbc, in_dt, dt_bias; /* [n_inner, n_embd], [n_xbc, n_embd], [n_head, n_embd] */
    pm__t conv, conv_bias;              /* [n_xbc, n_tap], [n_xbc] or NULL */
    pm__t a, d;                         /* 2 x [n_head] */
    pm__norm norm;                      /* of each group, or none */
    pm__t out;                          /* [n_embd, n_inner] */
} pm__ssm2;

void pm__load_ssm2(pm__model_def *def, uint32_t layer, pm__ssm2 *out);
pm__t pm__build_ssm2(pm__graph *g, const pm__ssm2 *m, pm__t x, pm__t residual);

/* arXiv:2412.06464 */
typedef struct pm__delta {
    uint32_t n_head, n_head_k, head_dim, n_tap;
    bool tiled;           /* heads of keys among heads of values */
    pm__t in_qkv, gate;   /* [n_qkv, n_embd], [n_inner, n_embd] */
    pm__t conv;           /* [n_qkv, n_tap] */
    pm__t beta, alpha;    /* 2 x [n_head, n_embd]; NULL: both in ba */
    pm__t ba;             /* [2 * n_head, n_embd], by heads of keys */
    pm__t dt_bias, decay; /* 2 x [n_head] */
    pm__norm norm;        /* of each head */
    pm__t out;            /* [n_embd, n_inner] */
    float eps;
} pm__delta;

/* ssm_ba beside ssm_beta and ssm_alpha also tells how heads of keys are repeated. */
void pm__load_delta(pm__model_def *def, uint32_t layer, pm__delta *out);
pm__t pm__build_delta(pm__graph *g, const pm__delta *m, pm__t x, pm__t residual);

/* Short convolution between two gates, as in LFM2: arXiv:2511.23404 sec. 2. */
typedef struct pm__shortconv {
    uint32_t n_tap;
    pm__t in_b, in_c, in_x; /* 3 x [n_embd, n_embd] */
    pm__t conv;             /* [n_embd, n_tap] */
    pm__t out;              /* [n_embd, n_embd] */
} pm__shortconv;

void pm__load_shortconv(pm__model_def *def, uint32_t layer, pm__shortconv *out);
pm__t pm__build_shortconv(pm__graph *g, const pm__shortconv *m, pm__t x, pm__t residual);

/* ---- feed-forward ---------------------------------------------------------------------------- */

typedef struct pm__tail {
    pm__norm norm;
    pm__ffn ffn;
    pm__mixture *mixture; /* in place of ffn, or NULL */
} pm__tail;

/* norm     "ffn_norm"
 * mixture  of layers that have a router; NULL: none may have one */
void pm__load_tail(pm__model_def *def, const char *norm, const pm__mixture_kind *mixture,
                   uint32_t layer, pm__tail *out);
/* x + scale * feed-forward(norm x); scale 0: 1 */
pm__t pm__build_tail(pm__graph *g, const pm__tail *tail, pm__t x, float scale);

/* ---- a decoder whose layers are the model's own ---------------------------------------------- */

typedef struct pm__stack pm__stack;
struct pm__stack {
    /* Said before pm__stack_load(). */
    size_t layer_bytes;
    void (*load_layer)(pm__model_def *def, const pm__stack *m, void *layer, uint32_t i);
    pm__t (*build_layer)(pm__graph *g, const pm__stack *m, const void *layer, pm__t x);
    const char *output_norm;           /* another name of the tensor */
    float embed_scale, residual_scale; /* 0: none; and those of the output */
    /* Read. */
    pm__t token_embd; /* [n_vocab, n_embd] */
    pm__output_part output;
    unsigned char *layers; /* [n_layer] of layer_bytes */
};

void pm__stack_load(pm__model_def *def, pm__stack *m);
pm__t pm__stack_build(pm__graph *g, const pm__model_def *def, const void *stack);

#endif
