/* build_attention.c: positions, caches, and attention over them. */
#include "builder.h"

static bool can_rotate(pm__graph *g, const char *name, pm__t x, const pm__rope_desc *desc) {
    if (desc->head_dim == 0 || x->n_col % desc->head_dim != 0 || desc->n_rot == 0 ||
        desc->n_rot % 2 != 0 || desc->n_rot > desc->head_dim)
        return pm__build_fail(g, name, "cannot rotate %u of each %u columns of %u", desc->n_rot,
                              desc->head_dim, x->n_col);
    return desc->factors == NULL || pm__build_is_weight(g, name, desc->factors, 1, desc->n_rot / 2);
}

static pm__rope_params rope_params(const pm__rope_desc *desc) {
    return (pm__rope_params){.head_dim = desc->head_dim,
                             .n_rot = desc->n_rot,
                             .style = desc->style,
                             .freq_base = desc->freq_base,
                             .freq_scale = desc->freq_scale,
                             .scale = desc->scale != 0 ? desc->scale : 1};
}

pm__t pm__rope(pm__graph *g, const char *name, pm__t x, const pm__rope_desc *desc) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x) || !can_rotate(g, name, x, desc))
        return NULL;
    pm__node node = {.op = PM__OP_ROPE,
                     .name = name,
                     .in = {x, pm__build_step(g, PM__STEP_ROWS), desc->factors}};
    node.params.rope = rope_params(desc);
    return pm__build_node(g, &node, x->rows, x->n_col);
}

/* Whether blocks of the type cut n values, which are `what`; the type is the user's choice. */
static bool can_cut(pm__graph *g, const char *name, pm__type type, uint32_t n, const char *what) {
    const pm__type_info *info = pm__type_get(type);
    if (n % info->block_n == 0)
        return true;
    g->status =
        pm__fail(PM_ARGUMENT,
                 "graph: %s%s: %s of %u values cannot be kept as %s, which has blocks of "
                 "%u; f16 and f32 fit any (--cache-type-k, --cache-type-v)",
                 g->scope != NULL ? g->scope : "", name, what, n, info->file, info->block_n);
    return false;
}

static bool is_cache(pm__graph *g, const char *name, pm__t cache, uint64_t n_col) {
    if (cache != NULL && cache->kind == PM__CACHE && cache->n_col == n_col)
        return true;
    return pm__build_fail(g, name, "needed is a cache of %llu columns, '%s' has %u",
                          (unsigned long long)n_col, cache != NULL ? cache->name : "(none)",
                          cache != NULL ? cache->n_col : 0);
}

static bool is_cache_type(pm__type type) {
    pm__type one;
    for (uint32_t i = 0; pm__cache_type(i, &one); i++)
        if (one == type)
            return true;
    return false;
}

pm__t pm__cache(pm__graph *g, const char *name, pm__type type, uint32_t n_col) {
    if (g->status != PM_OK || !can_cut(g, name, type, n_col, "rows"))
        return NULL;
    if (!is_cache_type(type)) {
        pm__build_fail(g, name, "a cache cannot be %s", pm__type_get(type)->file);
        return NULL;
    }
    if (n_col == 0) {
        pm__build_fail(g, name, "a cache needs columns");
        return NULL;
    }
    const pm__tensor cache = {
        .name = pm__build_name(g, name), .kind = PM__CACHE, .type = type, .n_col = n_col};
    return cache.name != NULL ? pm__build_cache(g, &cache) : NULL;
}

void pm__kv_store(pm__graph *g, const char *name, pm__t cache, pm__t x) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x) ||
        !is_cache(g, name, cache, x->n_col))
        return;
    const pm__node node = {
        .op = PM__OP_KV_STORE,
        .name = pm__build_name(g, name),
        .in = {x, pm__build_step(g, PM__STEP_ROWS), pm__build_step(g, PM__STEP_PAGES)},
        .out = cache};
    pm__build_add(g, &node);
}

static bool can_prepare(pm__graph *g, const char *name, pm__t x, const pm__prepare_desc *d) {
    const uint32_t n = d->rope.head_dim;
    const uint64_t n_kv = (uint64_t)d->n_head_kv * n;
    if (n == 0 || n % 2 != 0 || n > PM__MOST_HEAD_DIM || d->n_head == 0 || d->n_head_kv == 0 ||
        (uint64_t)d->n_head * n + 2 * n_kv != x->n_col)
        return pm__build_fail(g, name, "%u and 2 x %u heads of %u in %u columns", d->n_head,
                              d->n_head_kv, n, x->n_col);
    if (!is_cache(g, name, d->k_cache, n_kv) || !is_cache(g, name, d->v_cache, n_kv) ||
        (d->rope.n_rot != 0 && !can_rotate(g, name, x, &d->rope)))
        return false;
    if (pm__type_get(d->k_cache->type)->block_n > 1 || pm__type_get(d->v_cache->type)->block_n > 1)
        return pm__build_fail(g, name, "caches in blocks are stored by themselves");
    return (d->q_norm == NULL || pm__build_is_weight(g, name, d->q_norm, 1, n)) &&
           (d->k_norm == NULL || pm__build_is_weight(g, name, d->k_norm, 1, n));
}

pm__t pm__prepare(pm__graph *g, const char *name, pm__t x, const pm__prepare_desc *desc) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x) || !can_prepare(g, name, x, desc))
        return NULL;
    pm__node node = {.op = PM__OP_PREPARE,
                     .name = name,
                     .in = {x, pm__build_step(g, PM__STEP_ROWS), pm__build_step(g, PM__STEP_PAGES),
                            desc->q_norm, desc->k_norm,
                            desc->rope.n_rot != 0 ? desc->rope.factors : NULL, desc->k_cache,
                            desc->v_cache}};
    node.params.prepare.n_head = desc->n_head;
    node.params.prepare.n_head_kv = desc->n_head_kv;
    node.params.prepare.normed = desc->normed;
    node.params.prepare.eps = desc->eps;
    node.params.prepare.rope = rope_params(&desc->rope);
    return pm__build_node(g, &node, x->rows, desc->n_head * desc->rope.head_dim);
}

static bool is_head_dim(uint32_t n) {
    return n > 0 && n <= PM__MOST_HEAD_DIM;
}

static bool heads_fit(pm__graph *g, const char *name, pm__t q, const pm__attention_desc *d) {
    if (is_head_dim(d->head_dim) && d->head_dim_v <= PM__MOST_HEAD_DIM && d->n_head > 0 &&
        d->n_head_kv > 0 && d->n_head % d->n_head_kv == 0 &&
        (uint64_t)d->n_head * d->head_dim == q->n_col)
        return true;
    return pm__build_fail(g, name, "%u heads, %u key heads of %u do not fit %u columns", d->n_head,
                          d->n_head_kv, d->head_dim, q->n_col);
}

/* Values may be the first columns of the keys' only head. */
static bool caches_fit(pm__graph *g, const char *name, const pm__node *node, uint32_t n_head_kv) {
    const uint32_t n_k = node->params.attention.head_dim, n_v = node->params.attention.head_dim_v;
    pm__t k = node->in[1], v = node->in[2];
    const bool shared = k == v && n_head_kv == 1 && n_v <= n_k;
    return is_cache(g, name, k, (uint64_t)n_head_kv * n_k) &&
           (shared || is_cache(g, name, v, (uint64_t)n_head_kv * n_v)) &&
           can_cut(g, name, k->type, n_k, "heads") && can_cut(g, name, v->type, n_v, "heads");
}

static bool extras_fit(pm__graph *g, const char *name, const pm__attention_desc *d) {
    if (d->chunked && (d->window == 0 || d->bidirectional))
        return pm__build_fail(g, name, "chunks of %u positions%s", d->window,
                              d->bidirectional ? " in both directions" : "");
    if (d->sinks != NULL && !pm__build_is_weight(g, name, d->sinks, 1, d->n_head))
        return false;
    const uint32_t n_bucket = d->rel_bias != NULL ? d->rel_bias->n_col / d->n_head : 8;
    if (d->rel_bias != NULL && !pm__build_is_weight(g, name, d->rel_bias, 1, n_bucket * d->n_head))
        return false;
    if (d->softcap >= 0 && d->max_alibi_bias >= 0 && (d->sinks == NULL || d->rel_bias == NULL) &&
        n_bucket >= 8 && n_bucket <= 254)
        return true;
    return pm__build_fail(g, name, "a soft cap of %g, an ALiBi bias of %g%s", (double)d->softcap,
                          (double)d->max_alibi_bias,
                          d->rel_bias == NULL ? ""
                          : d->sinks != NULL  ? ", sinks and biases"
                                              : ", too few biases or too many");
}

/* False: it is not made. */
static bool make_attention(pm__graph *g, const pm__node *io, const pm__attention_desc *desc,
                           pm__node *out) {
    const pm__tensor *q = io->in[0];
    if (g->status != PM_OK || !pm__build_is_batch(g, io->name, q) ||
        !heads_fit(g, io->name, q, desc) || !extras_fit(g, io->name, desc))
        return false;
    *out = *io;
    out->in[3] = pm__build_step(g, PM__STEP_ROWS);
    out->in[4] = pm__build_step(g, PM__STEP_PAGES);
    out->in[5] = desc->sinks;
    out->in[6] = desc->rel_bias;
    out->params.attention.n_head = desc->n_head;
    out->params.attention.n_head_kv = desc->n_head_kv;
    out->params.attention.head_dim = desc->head_dim;
    out->params.attention.head_dim_v = desc->head_dim_v != 0 ? desc->head_dim_v : desc->head_dim;
    out->params.attention.scale = desc->scale;
    out->params.attention.window = desc->window;
    out->params.attention.bidirectional = desc->bidirectional;
    out->params.attention.chunked = desc->chunked;
    out->params.attention.softcap = desc->softcap;
    out->params.attention.max_alibi_bias = desc->max_alibi_bias;
    return caches_fit(g, io->name, out, desc->n_head_kv);
}

pm__t pm__attention(pm__graph *g, const char *name, pm__t q, pm__t k, pm__t v,
                    const pm__attention_desc *desc) {
    const pm__node io = {.op = PM__OP_ATTENTION, .name = name, .in = {q, k, v}};
    pm__node node;
    if (!make_attention(g, &io, desc, &node))
        return NULL;
    return pm__build_node(g, &node, q->rows, desc->n_head * node.params.attention.head_dim_v);
}

static bool slices_fit(pm__graph *g, const char *name, uint64_t n_head, uint64_t n_slice,
                       uint64_t head_dim_v) {
    return (n_slice > 0 && n_head * n_slice * (head_dim_v + PM__SLICE_END) <= UINT32_MAX) ||
           pm__build_fail(g, name, "%llu slices", (unsigned long long)n_slice);
}

pm__t pm__attention_split(pm__graph *g, const char *name, pm__t q, pm__t k, pm__t v,
                          const pm__attention_desc *desc, uint32_t n_slice) {
    const pm__node io = {.op = PM__OP_ATTENTION_SPLIT, .name = name, .in = {q, k, v}};
    pm__node node;
    if (!make_attention(g, &io, desc, &node))
        return NULL;
    const uint32_t n_v = node.params.attention.head_dim_v;
    if (desc->sinks != NULL || !slices_fit(g, name, desc->n_head, n_slice, n_v)) {
        pm__build_fail(g, name, "%u slices%s", n_slice, desc->sinks != NULL ? " with sinks" : "");
        return NULL;
    }
    node.params.attention.n_slice = n_slice;
    return pm__build_node(g, &node, q->rows, desc->n_head * n_slice * (n_v + PM__SLICE_END));
}

pm__t pm__merge(pm__graph *g, const char *name, pm__t slices, const pm__merge_desc *desc) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, slices) ||
        !slices_fit(g, name, desc->n_head, desc->n_slice, desc->head_dim_v) ||
        (desc->sinks != NULL && !pm__build_is_weight(g, name, desc->sinks, 1, desc->n_head)))
        return NULL;
    if (slices->n_col != desc->n_head * desc->n_slice * (desc->head_dim_v + PM__SLICE_END) ||
        desc->head_dim_v == 0 || desc->n_head == 0) {
        pm__build_fail(g, name, "%u columns are not %u slices of %u heads", slices->n_col,
                       desc->n_slice, desc->n_head);
        return NULL;
    }
    pm__node node = {.op = PM__OP_MERGE, .name = name, .in = {slices, desc->sinks}};
    node.params.attention.n_head = desc->n_head;
    node.params.attention.head_dim_v = desc->head_dim_v;
    node.params.attention.n_slice = desc->n_slice;
    return pm__build_node(g, &node, slices->rows, desc->n_head * desc->head_dim_v);
}
