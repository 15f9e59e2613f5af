/* mixture.h: a feed-forward block of which a row uses a few of many experts (arXiv:1701.06538), and
 * perhaps one that all rows share. */
#ifndef PM_MODELS_MIXTURE_H
#define PM_MODELS_MIXTURE_H

#include "parts.h"

/* What an architecture says where its file has no key for it. */
typedef struct pm__mixture_kind {
    pm__route_gating gating;
    bool renorm;
    pm__glu_kind glu;
    bool weigh_first; /* x is weighed, not what the expert gives */
} pm__mixture_kind;

typedef struct pm__mixture {
    uint32_t n_expert, n_ff;
    pm__mixture_kind kind;
    pm__route_desc route;
    pm__t router, router_bias; /* [n_expert, n_embd], [1, n_expert] or NULL */
    pm__t select_bias;         /* [1, n_expert] or NULL */
    pm__t gate_up;             /* [n_expert * 2 * n_ff, n_embd], gate first; NULL: apart */
    pm__t gate, up, down;      /* 2 x [n_expert * n_ff, n_embd], [n_expert * n_embd, n_ff] */
    pm__t gate_up_bias, gate_bias, up_bias, down_bias; /* [1, n_expert * ...] or NULL */
    pm__ffn shared;                                    /* up NULL: none */
    pm__t shared_gate;                                 /* [1, n_embd] or NULL */
} pm__mixture;

/* Whether a layer is a mixture: whether it has a router. */
bool pm__has_mixture(pm__model_def *def, uint32_t layer);
/* NULL after a failure. */
pm__mixture *pm__load_mixture(pm__model_def *def, const pm__mixture_kind *kind, uint32_t layer);
/* Of rows that are normed already; residual: added to the output, or NULL. */
pm__t pm__build_mixture(pm__graph *g, const pm__mixture *e, pm__t x, pm__t residual);
/* With logits that were computed elsewhere; without the shared expert. */
pm__t pm__build_routed(pm__graph *g, const pm__mixture *e, pm__t x, pm__t logits, pm__t residual);

#endif
