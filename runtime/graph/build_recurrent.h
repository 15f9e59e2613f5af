/* build_recurrent.h: builder calls of operations that carry something from token to token (state
 * spaces, delta nets, short convolutions), as build.h. Part of it. */
#ifndef PM_GRAPH_BUILD_RECURRENT_H
#define PM_GRAPH_BUILD_RECURRENT_H

#include "graph.h"

typedef const pm__tensor *pm__t;

enum { PM__MOST_TAPS = 16, PM__MOST_SSM_STATE = 256, PM__MOST_DELTA_HEAD = 256 };

/* n_col values a sequence that an operation carries from row to row; kept by the session. */
pm__t pm__state(pm__graph *g, const char *name, uint32_t n_col);

/* Causal convolution, each column apart, its last tap being the row itself; then silu, or not.
 * w      [n_col, n_tap]   bias [1, n_col] or NULL
 * state  of (n_tap - 1) * n_col: the rows before */
pm__t pm__conv(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias, pm__t state,
               bool silu);

/* arXiv:2312.00752 alg. 2: h = h exp(dt a) + dt x B, y = h C + d x, a state of n_state values a
 * column, dt being softplus of what is given.
 * x, dt  [rows, n_col]   bc [rows, 2 * n_state], B before C
 * a      [n_col, n_state], negative   d [1, n_col]
 * state  of n_col * n_state */
typedef struct pm__ssm_desc {
    pm__t a, d, state;
} pm__ssm_desc;
pm__t pm__ssm_scan(pm__graph *g, const char *name, pm__t x, pm__t dt, pm__t bc,
                   const pm__ssm_desc *desc);

/* arXiv:2405.21060 sec. 6: the same with one a, d and dt a head, and B and C a group of heads.
 * xbc    [rows, n_col + 2 * n_group * n_state]: x, then B and C of each group
 * dt     [rows, n_head]
 * a, d   [1, n_head], a negative
 * state  of n_col * n_state
 * gives  [rows, n_col] */
typedef struct pm__ssm2_desc {
    uint32_t n_head, n_group, n_state;
    pm__t a, d, state;
} pm__ssm2_desc;
pm__t pm__ssm2_scan(pm__graph *g, const char *name, pm__t xbc, pm__t dt, const pm__ssm2_desc *desc);

/* arXiv:2412.06464 eq. 10: M = g M, M += k (beta (v - M^T k))^T, y = M^T q / sqrt(head_dim), where
 * beta = sigmoid(b) and g = exp(decay * softplus(a)).
 * qk     [rows, 2 * n_head_k * head_dim]: q, then k
 * v      [rows, n_head * head_dim]   b, a [rows, n_head]
 * decay  [1, n_head], negative
 * state  of n_head * head_dim^2
 * tiled  value head j reads key head j % n_head_k; else j / (n_head / n_head_k) */
typedef struct pm__delta_net_desc {
    uint32_t n_head, n_head_k, head_dim;
    bool tiled;
    pm__t decay, state;
} pm__delta_net_desc;
pm__t pm__delta_net(pm__graph *g, const char *name, const pm__t inputs[4],
                    const pm__delta_net_desc *desc);

/* arXiv:2503.14456 eq. 17: M = M diag(exp(-0.606531 sigmoid(w))) + v k^T - (M kk)(kk a)^T, y = M r.
 * inputs  r, w, k, v [rows, n_col], and kka [rows, 2 * n_col]: kk, then kk * a
 * state   of n_col * head_dim */
pm__t pm__wkv7(pm__graph *g, const char *name, const pm__t inputs[5], uint32_t head_dim,
               pm__t state);
/* y + (sum over the head of r k w) v
 * inputs  y, r, k, v [rows, n_col]   w [1, n_col] */
pm__t pm__wkv7_bonus(pm__graph *g, const char *name, const pm__t inputs[4], pm__t w,
                     uint32_t head_dim);

/* The row before, of the same sequence; zeros before the first.
 * state  of n_col */
pm__t pm__shift(pm__graph *g, const char *name, pm__t x, pm__t state);
/* a + (b - a) w, w a weight [1, n_col] or like a */
pm__t pm__lerp(pm__graph *g, const char *name, pm__t a, pm__t b, pm__t w);

#endif
