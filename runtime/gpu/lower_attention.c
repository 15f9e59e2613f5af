/* lower_attention.c: positions, caches, and attention over them. */
#include "lower_coop.h"

#include "../base/checked.h"

#include <math.h>

static void split_fraction(double fraction, uint32_t *hi, uint32_t *lo) {
    const double scaled = fraction * 0x1p32;
    *hi = scaled < 0x1p32 ? (uint32_t)scaled : UINT32_MAX;
    *lo = scaled < 0x1p32 ? (uint32_t)((scaled - *hi) * 0x1p32) : UINT32_MAX;
}

static pm_status rope_words(const pm__node *node, const pm__rope_params *rope,
                            struct pm_push_rope *words) {
    const double two_pi = 6.283185307179586477, base = rope->freq_base;
    const double scale = rope->freq_scale, n_rot = rope->n_rot;
    if (!(base >= 1.0) || !(scale >= 0.0) || !(scale < two_pi) || n_rot > 512 ||
        rope->head_dim % 2 != 0)
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': rotation of %g of %u columns, base %g, scale %g: the "
                        "kernel needs at most 512 of an even number, a base of 1 or more, a scale "
                        "below 6.28",
                        node->name, n_rot, rope->head_dim, base, scale);
    *words = (struct pm_push_rope){.scale = rope->scale};
    split_fraction(scale / two_pi, &words->turn_hi, &words->turn_lo);
    for (int j = 0; j < PM_ROPE_POWERS; j++)
        split_fraction(pow(base, -2.0 * (1 << j) / n_rot), &words->power_hi[j],
                       &words->power_lo[j]);
    return PM_OK;
}

pm_status pm__lower_rope(pm__draft *d) {
    const pm__node *node = d->node;
    struct pm_push_rope words;
    PM_TRY(rope_words(node, &node->params.rope, &words));
    pm__push(d, &words, sizeof words);
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind(d, node->in[1], PM__READ);
    pm__bind_option(d, node->in[2], "HAS_FACTORS");
    pm__spec(d, node->out->n_col);
    pm__spec(d, node->params.rope.head_dim);
    pm__spec(d, node->params.rope.n_rot);
    pm__spec(d, node->params.rope.style == PM__ROPE_HALVES);
    d->n_item = node->out->n_col / 2;
    return PM_OK;
}

/* The planes of a cache: quants, and scales where the type has any. */
static pm__region quants_of(const pm__draft *d, const pm__tensor *cache) {
    pm__region region = pm__place_of(d, cache);
    const pm__cache_layout at = pm__limits_cache_layout(d->in->limits, cache);
    if (at.scales_row > 0)
        region.bytes = at.scales;
    return region;
}

static void bind_scales(pm__draft *d, const pm__tensor *cache, unsigned how) {
    const pm__cache_layout at = pm__limits_cache_layout(d->in->limits, cache);
    pm__region region = pm__place_of(d, cache);
    if (at.scales_row == 0) {
        pm__bind_region(d, d->dispatch.bindings[0], PM__UNUSED);
        return;
    }
    region.offset += at.scales;
    region.bytes -= at.scales;
    pm__bind_region(d, region, how);
}

pm_status pm__lower_kv_store(pm__draft *d) {
    const pm__tensor *cache = d->node->out;
    const uint32_t n_quant = pm__type_quant_words(cache->type, cache->n_col);
    pm__bind(d, d->node->in[0], PM__READ);
    pm__bind_region(d, quants_of(d, cache), PM__WRITE);
    pm__bind(d, d->node->in[1], PM__READ);
    pm__bind(d, d->node->in[2], PM__READ);
    bind_scales(d, cache, PM__WRITE);
    pm__define_type(d, "C", cache);
    pm__spec(d, cache->n_col);
    pm__spec(d, d->in->limits->n_ctx);
    pm__spec_planes(d, cache);
    d->n_item = pm__type_get(cache->type)->block_n > 1 ? cache->n_col / 4 : n_quant;
    return PM_OK;
}

static void bind_head_options(pm__draft *d) {
    const pm__node *node = d->node;
    if (node->params.prepare.normed) {
        pm__define(d, "HAS_NORM");
        pm__bind_option(d, node->in[3], "HAS_Q_WEIGHT");
        pm__bind_option(d, node->in[4], "HAS_K_WEIGHT");
    }
    if (node->params.prepare.rope.n_rot > 0)
        pm__define(d, "HAS_ROPE");
    if (node->in[5] != NULL)
        pm__bind_option(d, node->in[5], "HAS_FACTORS");
}

/* As wide as norms of heads are, so that their sums have the same bits. */
pm_status pm__lower_prepare(pm__draft *d) {
    const pm__node *node = d->node;
    const pm__rope_params *rope = &node->params.prepare.rope;
    const pm__tensor *k = node->in[6], *v = node->in[7];
    struct pm_push_rope words = {.scale = 1};
    if (rope->n_rot > 0)
        PM_TRY(rope_words(node, rope, &words));
    words.eps = node->params.prepare.eps;
    pm__push(d, &words, sizeof words);
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind(d, node->in[1], PM__READ);
    pm__bind(d, node->in[2], PM__READ);
    pm__bind(d, k, PM__WRITE);
    pm__bind(d, v, PM__WRITE);
    bind_head_options(d);
    pm__define_type(d, "K", k);
    pm__define_type(d, "V", v);
    pm__spec(d, rope->head_dim);
    pm__spec(d, node->params.prepare.n_head);
    pm__spec(d, node->params.prepare.n_head_kv);
    pm__spec(d, rope->n_rot);
    pm__spec(d, rope->style == PM__ROPE_HALVES);
    pm__spec(d, d->in->limits->n_ctx);
    pm__spec(d, pm__type_quant_words(k->type, k->n_col));
    pm__spec(d, pm__type_quant_words(v->type, v->n_col));
    pm__narrow(d, pm__ceil_div(rope->head_dim, 4));
    d->n_item = node->params.prepare.n_head + 2 * node->params.prepare.n_head_kv;
    return PM_OK;
}

/* Chunks of a cache row that hold a head, wherever it begins. */
static uint32_t chunks_of_head(const pm__tensor *cache, uint32_t head_dim) {
    const uint32_t n_chunk = pm__type_chunks(cache->type, cache->n_col);
    const uint32_t n_each = pm__ceil_div(cache->n_col, n_chunk);
    return pm__ceil_div(head_dim, n_each) + (head_dim % n_each != 0);
}

/* Loops may turn so many times for a tile of `wide` positions, and `extra` times beside. */
static pm_status check_turns(const pm__draft *d, uint32_t wide, uint32_t of_tile, uint32_t extra) {
    const uint32_t most = d->in->gpu->caps.most_turns;
    const uint32_t n_tile = (most - extra) / of_tile;
    if (most == UINT32_MAX || d->in->limits->n_ctx <= n_tile * wide)
        return PM_OK;
    return pm__fail(
        PM_UNSUPPORTED,
        "lower: node '%s': a context of %u positions: %s ends the loops of a kernel after "
        "%u turns, which serve %u; use a smaller -c, a newer driver or another --device",
        d->node->name, d->in->limits->n_ctx, d->in->gpu->info.driver, most, n_tile * wide);
}

/* A query a workgroup: each chunk of a head's values has an invocation. Loops of attention.comp:
 * over tiles of positions, in each over the chunks of a key, over the positions whose values an
 * invocation adds, and in two reductions. */
static pm_status shape_single(pm__draft *d) {
    enum { MOST_WIDTH = 128, MOST_KEY = 1024 };
    const uint32_t head_dim = d->node->params.attention.head_dim;
    const uint32_t head_dim_v = d->node->params.attention.head_dim_v;
    const uint32_t v_n = chunks_of_head(d->node->in[2], head_dim_v);
    uint32_t *width = &d->desc.spec[0];
    if (head_dim % 2 != 0 || head_dim_v % 2 != 0 || head_dim > MOST_KEY || v_n > MOST_WIDTH)
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': heads of %u columns, values of %u as %s: the kernel "
                        "needs even numbers, at most %d, and values in at most %d chunks",
                        d->node->name, head_dim, head_dim_v,
                        pm__type_get(d->node->in[2]->type)->file, MOST_KEY, MOST_WIDTH);
    while (*width < v_n)
        *width *= 2;
    d->n_item = d->node->params.attention.n_head;
    return check_turns(d, *width,
                       1 + chunks_of_head(d->node->in[1], head_dim) +
                           pm__ceil_div(*width, *width / v_n) + 2 * (*width / 4),
                       2 * *width);
}

void pm__share_keys(pm__draft *d, uint32_t n_query) {
    const uint32_t n_head_kv = d->node->params.attention.n_head_kv;
    const uint32_t group = d->node->params.attention.n_head / n_head_kv;
    const uint32_t heads = pm__least_u32(group, n_query);
    pm__spec(d, heads);
    d->grid.rows_per_group = n_query / heads;
    d->n_item = n_head_kv * pm__ceil_div(group, heads);
}

/* As many queries an invocation as leave the driver's compiler little to do. */
static pm_status shape_lanes(pm__draft *d) {
    enum { MOST_COLUMNS = 64, MOST_QUERIES = 4, TILE = 2 };
    const uint32_t n_slice = d->node->params.attention.n_slice;
    const uint32_t head_dim = d->node->params.attention.head_dim;
    const uint32_t head_dim_v = d->node->params.attention.head_dim_v;
    const uint32_t wide = head_dim > head_dim_v ? head_dim : head_dim_v;
    const uint32_t n = wide < MOST_COLUMNS ? MOST_COLUMNS / wide : 1;
    const uint32_t n_query = n_slice > 0 ? 1 : pm__least_u32(n, MOST_QUERIES);
    d->n_layer = 0; /* slices are in the workgroup */
    pm__share_keys(d, n_query * d->desc.spec[0] / (n_slice > 0 ? n_slice : 1));
    pm__spec(d, n_query);
    return check_turns(d, TILE, 1, d->grid.rows_per_group * 3);
}

/* As many queries a workgroup as there may be, whatever the size of the batch, which bits may not
 * depend on; of wide values fewer, so that sums fit registers.
 * Loops of attention_tiles.comp: over pages, in each over 32 columns of keys (loads turn twice at
 * most), over values in fours of positions. */
static pm_status shape_tiles(pm__draft *d) {
    enum { LEAST = 4, MOST = 32, MOST_WIDE = 16, COLUMNS = 32 };
    const uint32_t head_dim = d->node->params.attention.head_dim;
    const uint32_t head_dim_v = d->node->params.attention.head_dim_v;
    const uint32_t group = d->node->params.attention.n_head / d->node->params.attention.n_head_kv;
    const uint32_t n_row = d->in->limits->deterministic ? 1 : d->in->n_row;
    const uint32_t most = head_dim_v <= 128 ? MOST : MOST_WIDE;
    uint32_t n_query = LEAST;
    while (n_query < most && (n_row > 1 || n_query < group))
        n_query *= 2;
    pm__share_keys(d, n_query);
    pm__spec(d, n_query);
    return check_turns(d, PM_PAGE,
                       1 + 5 * pm__ceil_div(head_dim, COLUMNS) +
                           10 * pm__ceil_div(head_dim_v, COLUMNS),
                       d->grid.rows_per_group * 3 + 128);
}

/* Options that are bits of a constant (attention.glsl); one binding for what two of them read. */
static uint32_t option_bits(pm__draft *d) {
    enum { SOFTCAP = 1, ALIBI = 2, SINKS = 4, REL_BIAS = 8, BIDIRECTIONAL = 16, CHUNKED = 32 };
    const pm__node *node = d->node;
    pm__bind_other(d, node->in[5] != NULL ? node->in[5] : node->in[6]);
    return (node->params.attention.softcap > 0 ? SOFTCAP : 0u) |
           (node->params.attention.max_alibi_bias > 0 ? ALIBI : 0u) |
           (node->in[5] != NULL ? SINKS : 0u) | (node->in[6] != NULL ? REL_BIAS : 0u) |
           (node->params.attention.bidirectional ? BIDIRECTIONAL : 0u) |
           (node->params.attention.chunked ? CHUNKED : 0u);
}

static void define_options(pm__draft *d) {
    const pm__node *node = d->node;
    if (node->params.attention.softcap > 0)
        pm__define(d, "SOFTCAP");
    if (node->params.attention.max_alibi_bias > 0)
        pm__define(d, "ALIBI");
    if (node->params.attention.bidirectional)
        pm__define(d, "BIDIRECTIONAL");
    if (node->params.attention.chunked)
        pm__define(d, "CHUNKED");
    if (node->in[5] != NULL)
        pm__bind_option(d, node->in[5], "SINKS");
    if (node->in[6] != NULL)
        pm__bind_option(d, node->in[6], "REL_BIAS");
}

static pm_status lower_attention(pm__draft *d) {
    const pm__node *node = d->node;
    const bool coop = d->kernel->tier >= PM__TIER_COOP;
    const uint32_t n_slice = node->params.attention.n_slice;
    uint32_t options = 0;
    const struct pm_push_attention words = {node->params.attention.scale,
                                            node->params.attention.softcap,
                                            node->params.attention.max_alibi_bias};
    pm__bind(d, node->in[0], PM__READ);
    pm__bind_region(d, quants_of(d, node->in[1]), PM__READ);
    pm__bind_region(d, quants_of(d, node->in[2]), PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind(d, node->in[3], PM__READ);
    pm__bind(d, node->in[4], PM__READ);
    bind_scales(d, node->in[1], PM__READ);
    bind_scales(d, node->in[2], PM__READ);
    pm__define_type(d, "K", node->in[1]);
    pm__define_type(d, "V", node->in[2]);
    if (coop)
        options = option_bits(d);
    else
        define_options(d);
    pm__spec(d, node->params.attention.head_dim);
    pm__spec(d, node->params.attention.n_head);
    pm__spec(d, node->params.attention.n_head_kv);
    pm__spec(d, d->in->limits->n_ctx);
    pm__spec_planes(d, node->in[1]);
    pm__spec_planes(d, node->in[2]);
    pm__spec(d, node->params.attention.head_dim_v);
    pm__spec(d, node->params.attention.window);
    pm__spec(d, node->in[6] != NULL ? node->in[6]->n_col / node->params.attention.n_head : 8);
    pm__spec(d, n_slice > 0 ? n_slice : 1);
    pm__push(d, &words, sizeof words);
    if (coop) {
        pm__spec(d, options);
        return pm__shape_attention_coop(d);
    }
    return d->kernel->suits == PM__SUITS_SOFTWARE ? shape_lanes(d)
           : d->kernel->suits == PM__SUITS_GPU    ? shape_tiles(d)
                                                  : shape_single(d);
}

pm_status pm__lower_attention(pm__draft *d) {
    return lower_attention(d);
}

pm_status pm__lower_attention_split(pm__draft *d) {
    pm__define(d, "SPLIT");
    d->n_layer = d->node->params.attention.n_slice;
    return lower_attention(d);
}

pm_status pm__lower_merge(pm__draft *d) {
    const pm__node *node = d->node;
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind_option(d, node->in[1], "SINKS");
    pm__spec(d, node->params.attention.n_head);
    pm__spec(d, node->params.attention.head_dim_v);
    pm__spec(d, node->params.attention.n_slice);
    d->n_item = node->params.attention.n_head;
    pm__narrow(d, node->params.attention.head_dim_v);
    return PM_OK;
}
