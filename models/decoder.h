/* decoder.h: the transformer decoder in the ways in which most models vary it. A model file says
 * what its architecture is, pm__decoder_load() reads the file, and pm__decoder_build() is the
 * forward pass. A model that does something else has a forward pass of its own over parts.h. */
#ifndef PM_MODELS_DECODER_H
#define PM_MODELS_DECODER_H

#include "mixture.h"

typedef enum pm__block {
    PM__BLOCK_PRE,      /* x += attn(norm x); x += ffn(norm x) */
    PM__BLOCK_PARALLEL, /* x += attn(norm x) + ffn(norm x) */
    PM__BLOCK_POST,     /* x += norm(attn x); x += norm(ffn x) */
    PM__BLOCK_SANDWICH  /* x += norm(attn(norm x)); x += norm(ffn(norm x)) */
} pm__block;

typedef struct pm__layer {
    pm__norm attn_norm, attn_post_norm;
    pm__norm ffn_norm,
        ffn_post_norm; /* ffn_norm without a weight, parallel: attn_norm serves both */
    pm__heads heads;
    pm__attention_part attn;
    pm__ffn ffn;          /* of a layer that is no mixture */
    pm__mixture *mixture; /* or NULL */
} pm__layer;

typedef struct pm__decoder {
    /* Said before pm__decoder_load(); zeros are Llama. */
    pm__block block;
    pm__norm_kind norm;
    pm__rope_style rope_style;
    bool no_rope;
    float yarn_betas[2];  /* fast and slow; 0: 32 and 1 */
    bool ungated;         /* up, activation, down */
    pm__unary_kind unary; /* of ungated ones */
    pm__glu_kind glu;     /* of gated ones */
    bool mixed;           /* layers that have a router are mixtures of experts */
    pm__mixture_kind mixture;
    const char *ffn_norm;   /* another name of the tensor */
    bool windowed;          /* attention.sliding_window counts, in the layers that */
    uint32_t window_period; /* pm__load_windowed() tells */

    /* Said before or after; 0: none. */
    float embed_scale, residual_scale; /* and those of the output */

    /* Read. */
    pm__heads heads;     /* of all layers; qk_norm and norm_after_rotation are said before */
    pm__t token_embd;    /* [n_vocab, n_embd] */
    pm__t position_embd; /* [positions, n_embd] or NULL */
    pm__norm embd_norm;  /* or none */
    pm__output_part output;
    pm__layer *layers; /* [n_layer]; a model may change what it needs after loading */
} pm__decoder;

void pm__decoder_load(pm__model_def *def, pm__decoder *m);
pm__t pm__decoder_build(pm__graph *g, const pm__model_def *def, const void *decoder);

#endif
