/* mix.h: which type each tensor of a model gets when it is quantised. */
#ifndef PM_ENGINE_MIX_H
#define PM_ENGINE_MIX_H

#include "../format/gguf.h"

typedef enum pm__role {
    PM__ROLE_KEPT,      /* stays as it is: no matrix, or one that is small and delicate */
    PM__ROLE_OUTPUT,    /* gives the logits: output.weight, or token_embd.weight where that is it */
    PM__ROLE_EMBEDDING, /* token_embd.weight beside an output of its own */
    PM__ROLE_VALUE,     /* attn_v, and what holds it: attn_qkv, attn_kv_b */
    PM__ROLE_KEY,       /* attn_k */
    PM__ROLE_ATTENTION, /* attn_output */
    PM__ROLE_DOWN,      /* ffn_down, of experts too */
    PM__ROLE_EXPERTS,   /* other matrices of experts */
    PM__ROLE_OTHER
} pm__role;

typedef struct pm__mix_info {
    const char *name; /* "Q4_K_M" */
    pm__type type, output;
    uint32_t file_type; /* general.file_type */
    const char *what;
} pm__mix_info;

/* The i-th mix, or NULL past the last. */
const pm__mix_info *pm__mix_get(size_t i);
/* By any of its names, in upper or lower case; NULL if there is none. */
const pm__mix_info *pm__mix_find(const char *name);

/* A model as the rules see it. */
typedef struct pm__mix_model {
    const pm__mix_info *mix;
    bool imatrix;    /* there are importances */
    bool has_output; /* a matrix output.weight of its own */
    uint32_t n_layer;
    uint32_t n_expert, n_group; /* n_group: heads that share a key */
    bool is_70b;                /* 80 layers, and heads share keys */
    /* Layers that hold a matrix of a role, [PM__MIX_LAYERS + 1]: how many below each. */
    uint32_t *value_rank, *down_rank;
    pm__arena arena;
} pm__mix_model;

enum { PM__MIX_LAYERS = 1024 };

pm_status pm__mix_model_init(pm__mix_model *model, const pm__mix_info *mix, const pm__gguf *gguf,
                             bool imatrix);
void pm__mix_model_finish(pm__mix_model *model);

pm__role pm__mix_role(const pm__mix_model *model, const pm__gguf_tensor *tensor);
/* The type the mix gives to a matrix (any role but KEPT), whatever its shape. */
pm__type pm__mix_type(const pm__mix_model *model, const pm__gguf_tensor *tensor, pm__role role);
/* `type`, or the nearest one of more bits whose blocks divide rows of n_col elements. */
pm__type pm__mix_fit(pm__type type, uint64_t n_col);

#endif
