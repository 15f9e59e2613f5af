/* check_attention.c: cases of positions, caches and attention. */
#include "case_list.h"

#include <math.h>
#include <stdio.h>

typedef struct rope_case {
    pm__rope_desc desc;
    uint32_t n_head, n_row, n_ctx;
    bool quick, deep;
} rope_case;

static void case_rope(pm__case_list *l, const rope_case *r) {
    pm__check_case c;
    pm__rope_desc with = r->desc;
    pm__case_init(&c, r->n_row, 1);
    c.limits.n_ctx = r->n_ctx;
    c.last_pos = r->n_ctx - 1;
    c.positive = true;
    c.quick = r->quick;
    c.deep = r->deep;
    const pm__t x = pm__case_activation(&c, "x", PM__ROWS_BATCH, r->n_head * with.head_dim);
    if (with.freq_scale < 1)
        with.factors = pm__case_weight(&c, "factors", PM__TYPE_F32, 1, with.n_rot / 2);
    pm__rope(&c.graph, "rope", x, &with);
    pm__case_give(l, &c, "%ux%u/rot%u/%s/base%g/scale%g/ctx%u/rows%u%s", r->n_head, with.head_dim,
                  with.n_rot, with.style == PM__ROPE_HALVES ? "halves" : "pairs",
                  (double)with.freq_base, (double)with.freq_scale, r->n_ctx, r->n_row,
                  with.scale != 0 ? "/scaled" : "");
}

void pm__cases_rope(pm__case_list *l) {
    static const pm__rope_desc descs[] = {
        {2, 2, PM__ROPE_PAIRS, 10000.0f, 1, NULL, 0},
        {10, 6, PM__ROPE_HALVES, 10000.0f, 1, NULL, 0},
        {64, 64, PM__ROPE_PAIRS, 10000.0f, 1, NULL, 0},
        {26, 26, PM__ROPE_HALVES, 500000.0f, 1, NULL, 0},
        {128, 128, PM__ROPE_HALVES, 1e6f, 0.25f, NULL, 0},
        {80, 32, PM__ROPE_PAIRS, 1e4f, 0.3f, NULL, 1.37f},
        {256, 256, PM__ROPE_PAIRS, 1, 1, NULL, 0},
    };
    static const uint32_t ctxs[] = {1, 4096, 131072};
    for (uint32_t i = 0; i < PM__COUNT(descs); i++) {
        for (size_t k = 0; k < PM__COUNT(ctxs); k++) {
            const uint32_t n_row = ctxs[k] == 1 ? 1 : pm__some_rows[i % 3 + 1];
            const bool quick = ctxs[k] == 4096 && (i == 2 || i == 4);
            case_rope(l, &(rope_case){descs[i], i % 3 + 1, n_row, ctxs[k], quick, false});
        }
    }
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_rope(l, &(rope_case){descs[3], 2, n, PM__CASE_DEPTH, false, true});
}

typedef struct kv_store_case {
    pm__type type;
    uint32_t n_col, n_row, n_ctx; /* n_ctx 0: as usual */
    float size, nan_part;
    uint32_t zero_bits;
    bool quick, deep;
} kv_store_case;

static void case_kv_store(pm__case_list *l, const kv_store_case *k) {
    pm__check_case c;
    pm__case_init(&c, k->n_row, 1);
    c.size = k->size;
    c.nan_part = k->nan_part;
    c.zero_bits = k->zero_bits;
    c.quick = k->quick;
    c.deep = k->deep;
    if (k->n_ctx != 0) {
        c.limits.n_ctx = k->n_ctx;
        c.last_pos = k->n_ctx - 1;
    }
    const uint32_t n_col = pm__case_fit(k->type, k->n_col);
    const pm__t cache = pm__cache(&c.graph, "cache", k->type, n_col);
    pm__kv_store(&c.graph, "kv_store", cache, pm__case_activation(&c, "x", PM__ROWS_BATCH, n_col));
    pm__case_give(l, &c, "%s/%u/rows%u/ctx%u/size%g%s%s", pm__type_get(k->type)->name, n_col,
                  c.n_row, c.limits.n_ctx, k->size > 0 ? (double)k->size : 1.0,
                  k->nan_part > 0 ? "/nan" : "", k->zero_bits > 0 ? "/ties" : "");
}

void pm__cases_kv_store(pm__case_list *l) {
    /* Halves that are subnormal, scales that vanish, all that passes the largest half and the
     * largest float. */
    static const float sizes[] = {1e-6f, 1e-7f, 1e-30f, 1e-37f, 3e4f, 1e37f};
    pm__type t;
    for (uint32_t type = 0; pm__cache_type(type, &t); type++) {
        for (size_t i = 0; i < PM__COUNT(pm__some_cols); i++)
            case_kv_store(l, &(kv_store_case){.type = t,
                                              .n_col = pm__some_cols[i],
                                              .n_row = pm__some_rows[(i + type) % 4],
                                              .quick = i == 5});
        for (size_t i = 0; i < PM__COUNT(sizes); i++)
            case_kv_store(l, &(kv_store_case){t, 13, 3, 0, sizes[i], 0, 0, false, false});
        case_kv_store(l, &(kv_store_case){t, 17, 5, 0, 0, 0.02f, 0, true, false});
        case_kv_store(l, &(kv_store_case){t, 19, 33, 0, 0, 0, 12, true, false});
        case_kv_store(l, &(kv_store_case){t, 21, 33, 0, 1e-6f, 0, 19, false, false});
        for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
            case_kv_store(l, &(kv_store_case){t, 45, n, 129, 0, 0, 0, false, true});
        case_kv_store(l, &(kv_store_case){t, 34, 7, PM__CASE_DEPTH, 0, 0, 0, false, true});
    }
}

typedef struct prepare_case {
    uint32_t n_head, n_head_kv, n_row;
    pm__rope_desc rope;
    bool normed, weights, factors;
    pm__type k, v;
    bool quick, deep;
} prepare_case;

static void case_prepare(pm__case_list *l, const prepare_case *p) {
    pm__check_case c;
    const uint32_t n = p->rope.head_dim;
    pm__case_init(&c, p->n_row, 1);
    c.outlier = 4;
    c.positive = p->factors;
    c.quick = p->quick;
    c.deep = p->deep;
    pm__prepare_desc desc = {.n_head = p->n_head,
                             .n_head_kv = p->n_head_kv,
                             .rope = p->rope,
                             .normed = p->normed,
                             .eps = 1e-5f};
    const pm__t x =
        pm__case_activation(&c, "x", PM__ROWS_BATCH, (p->n_head + 2 * p->n_head_kv) * n);
    if (p->weights) {
        desc.q_norm = pm__case_weight(&c, "q_norm", PM__TYPE_F32, 1, n);
        desc.k_norm = pm__case_weight(&c, "k_norm", PM__TYPE_F32, 1, n);
    }
    if (p->factors)
        desc.rope.factors = pm__case_weight(&c, "factors", PM__TYPE_F32, 1, p->rope.n_rot / 2);
    desc.k_cache = pm__cache(&c.graph, "k", p->k, p->n_head_kv * n);
    desc.v_cache = pm__cache(&c.graph, "v", p->v, p->n_head_kv * n);
    pm__prepare(&c.graph, "prepare", x, &desc);
    pm__case_give(l, &c, "%s-%s/%ux%u/kv%u/rot%u/%s/rows%u%s%s%s", pm__type_get(p->k)->name,
                  pm__type_get(p->v)->name, p->n_head, n, p->n_head_kv, p->rope.n_rot,
                  p->rope.style == PM__ROPE_HALVES ? "halves" : "pairs", p->n_row,
                  p->normed ? "/normed" : "", p->weights ? "/weights" : "",
                  p->factors ? "/factors" : "");
}

void pm__cases_prepare(pm__case_list *l) {
    static const pm__rope_desc pairs = {64, 64, PM__ROPE_PAIRS, 10000.0f, 1, NULL, 0};
    static const pm__rope_desc part = {80, 32, PM__ROPE_HALVES, 1e6f, 0.5f, NULL, 1.3f};
    static const pm__rope_desc wide = {256, 256, PM__ROPE_HALVES, 500000.0f, 1, NULL, 0};
    static const pm__rope_desc odd = {10, 6, PM__ROPE_PAIRS, 10000.0f, 1, NULL, 0};
    static const pm__rope_desc still = {26, 0, PM__ROPE_PAIRS, 10000.0f, 1, NULL, 0};
    const prepare_case cases[] = {
        {6, 2, 5, pairs, false, false, false, PM__TYPE_F16, PM__TYPE_F16, true, false},
        {4, 4, 1, pairs, false, false, true, PM__TYPE_F32, PM__TYPE_F16, false, false},
        {5, 1, 3, part, true, true, false, PM__TYPE_F16, PM__TYPE_F32, true, false},
        {2, 1, 7, wide, true, true, true, PM__TYPE_F32, PM__TYPE_F32, false, false},
        {3, 3, 33, odd, true, false, false, PM__TYPE_F16, PM__TYPE_F16, false, false},
        {4, 2, 2, still, false, false, false, PM__TYPE_F16, PM__TYPE_F32, false, false},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        case_prepare(l, &cases[i]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_prepare(l, &(prepare_case){3, 1, n, pairs, true, true, false, PM__TYPE_F16,
                                        PM__TYPE_F16, false, true});
}

typedef struct attention_case {
    uint32_t head_dim, n_head, n_head_kv, n_ctx, last_pos, n_row;
    float scale; /* beside 1 / sqrt(head_dim): large scores, of both signs */
    bool quick, deep;
} attention_case;

/* What some models do beside that. */
typedef struct attention_extra {
    uint32_t head_dim_v, window;
    bool bidirectional, chunked, sinks, shared; /* shared: values are in the cache of keys */
    float softcap, max_alibi_bias;
    uint32_t n_bucket, n_slice;
} attention_extra;

static pm__t value_cache(pm__check_case *c, const pm__attention_desc *desc, pm__t k, pm__type type,
                         bool shared) {
    return shared ? k : pm__cache(&c->graph, "v", type, desc->n_head_kv * desc->head_dim_v);
}

static void name_extra(const attention_extra *e, char *out, size_t n) {
    snprintf(out, n, "%s%s%s%s/v%u/w%u/cap%g/alibi%g/b%u/s%u", e->bidirectional ? "/both" : "",
             e->chunked ? "/chunks" : "", e->sinks ? "/sinks" : "", e->shared ? "/shared" : "",
             e->head_dim_v, e->window, (double)e->softcap, (double)e->max_alibi_bias, e->n_bucket,
             e->n_slice);
}

static void case_attention_extra(pm__case_list *l, pm__type k_type, pm__type v_type,
                                 const attention_case *a, const attention_extra *e) {
    pm__check_case c;
    char extra[96] = "";
    pm__case_init(&c, a->n_row, 1);
    c.limits.n_ctx = a->n_ctx;
    if (a->n_ctx >= PM__CASE_DEPTH)
        c.limits.n_seq = 1;
    c.last_pos = a->last_pos;
    c.outlier = 4;
    c.quick = a->quick;
    c.deep = a->deep;
    c.runs = a->n_row >= 33; /* else no row is beside one of its sequence */
    c.first_pos = a->last_pos > 2 * a->n_row ? a->last_pos - 2 * a->n_row : 0;
    pm__attention_desc desc = {.n_head = a->n_head,
                               .n_head_kv = a->n_head_kv,
                               .head_dim = a->head_dim,
                               .scale = a->scale / sqrtf((float)a->head_dim),
                               .head_dim_v = a->head_dim};
    if (e != NULL) {
        desc.head_dim_v = e->head_dim_v != 0 ? e->head_dim_v : a->head_dim;
        desc.window = e->window;
        desc.bidirectional = e->bidirectional;
        desc.chunked = e->chunked;
        desc.softcap = e->softcap;
        desc.max_alibi_bias = e->max_alibi_bias;
        if (e->sinks)
            desc.sinks = pm__case_weight(&c, "sinks", PM__TYPE_F32, 1, a->n_head);
        if (e->n_bucket != 0)
            desc.rel_bias = pm__case_weight(&c, "bias", PM__TYPE_F32, 1, e->n_bucket * a->n_head);
        name_extra(e, extra, sizeof extra);
    }
    const pm__t q = pm__case_activation(&c, "q", PM__ROWS_BATCH, desc.n_head * desc.head_dim);
    const pm__t k = pm__cache(&c.graph, "k", k_type, desc.n_head_kv * desc.head_dim);
    const pm__t v = value_cache(&c, &desc, k, v_type, e != NULL && e->shared);
    if (e != NULL && e->n_slice != 0)
        pm__attention_split(&c.graph, "attention_split", q, k, v, &desc, e->n_slice);
    else
        pm__attention(&c.graph, "attention", q, k, v, &desc);
    pm__case_give(l, &c, "%s-%s/%ux%u/kv%u/pos%u/rows%u/scale%g%s", pm__type_get(k_type)->name,
                  pm__type_get(v_type)->name, desc.n_head, desc.head_dim, desc.n_head_kv,
                  c.last_pos, c.n_row, (double)a->scale, extra);
}

static void case_attention(pm__case_list *l, pm__type k_type, pm__type v_type,
                           const attention_case *a) {
    case_attention_extra(l, k_type, v_type, a, NULL);
}

static void cases_attention_extras(pm__case_list *l, pm__type type) {
    static const struct {
        attention_case of;
        attention_extra extra;
        bool any; /* type, not F16 alone */
    } cases[] = {
        {{32, 6, 2, 300, 299, 33, 1, true, false}, {.window = 70}, false},
        {{10, 3, 1, 97, 96, 5, 1, false, false}, {.window = 7}, false},
        {{16, 3, 3, 97, 5, 2, 1, false, false}, {.window = 1}, false},
        {{16, 4, 2, 300, 299, 33, 1, true, false}, {.window = 45, .chunked = true}, false},
        {{24, 4, 2, 129, 100, 33, 1, true, false}, {.bidirectional = true}, false},
        {{8, 2, 1, 300, 200, 33, 1, false, false}, {.bidirectional = true, .window = 12}, false},
        {{32, 5, 1, 129, 128, 5, 30, true, false}, {.softcap = 5}, false},
        {{16, 6, 2, 300, 290, 3, 1, true, false}, {.max_alibi_bias = 8}, false},
        {{16, 8, 8, 97, 96, 33, 1, false, false}, {.max_alibi_bias = 5}, false},
        {{40, 3, 3, 129, 77, 5, 1, true, false}, {.sinks = true}, false},
        {{32, 6, 3, 300, 299, 2, 1, false, false}, {.sinks = true, .window = 20}, true},
        {{24, 5, 1, 129, 128, 3, 1, true, false}, {.head_dim_v = 16}, false},
        {{32, 4, 2, 97, 96, 5, 1, false, false}, {.head_dim_v = 64}, true},
        {{64, 3, 1, 97, 96, 5, 1, false, false}, {.head_dim_v = 32, .shared = true}, true},
        {{576, 2, 1, 129, 128, 3, 1, true, false}, {.head_dim_v = 512, .shared = true}, false},
        {{512, 2, 1, 65, 64, 2, 1, false, false}, {.window = 40}, false},
        {{16, 3, 3, 300, 299, 5, 1, true, false}, {.n_bucket = 32}, false},
        {{10, 5, 5, 300, 160, 33, 1, false, false}, {.n_bucket = 32, .bidirectional = true}, false},
        {{8, 5, 5, 300, 160, 33, 1, false, false}, {.n_bucket = 32, .bidirectional = true}, false},
        {{32, 5, 1, PM__CASE_DEPTH, PM__CASE_DEPTH - 1, 3, 1, false, true}, {.window = 500}, true},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        if (cases[i].any || type == PM__TYPE_F16)
            case_attention_extra(l, type, type, &cases[i].of, &cases[i].extra);
}

/* Both caches of one type. */
static void cases_attention_type(pm__case_list *l, pm__type type) {
    static const attention_case any[] = {
        {2, 1, 1, 33, 0, 1, 1, false, false},
        {10, 6, 2, 97, 31, 2, 1, false, false},
        {26, 3, 1, 300, 299, 33, 1, true, false},
        {8, 18, 2, 300, 299, 33, 1, false, false},
        {80, 8, 2, 97, 63, 1, 1, false, false},
        {130, 5, 1, 1031, 1030, 3, 1, false, false},
        {34, 6, 3, 97, 0, 1, 1000, true, false},
        {38, 3, 1, PM__CASE_DEPTH, PM__CASE_DEPTH - 1, 3, 1, false, true},
    };
    static const attention_case blocks[] = {
        {256, 2, 1, 65, 64, 7, 1, false, false},
        {96, 6, 3, 300, 299, 33, 1, false, false},
        {64, 9, 3, 129, 128, 1, 1, true, false},
        {32, 8, 8, 97, 0, 3, 60, false, false},
        {32, 5, 5, 1031, 1030, 3, 1, false, false},
        {64, 6, 2, PM__CASE_DEPTH, PM__CASE_DEPTH - 1, 1, 1, false, true},
    };
    for (size_t i = 0; i < PM__COUNT(any) && pm__type_get(type)->block_n == 1; i++)
        case_attention(l, type, type, &any[i]);
    for (size_t i = 0; i < PM__COUNT(blocks); i++)
        case_attention(l, type, type, &blocks[i]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_attention(l, type, type, &(attention_case){32, 3, 1, 97, 96, n, 1, false, true});
}

/* All kernels read caches by the same lines (cache.glsl): of few types, one shape shows them. */
static void cases_attention_both(pm__case_list *l, pm__type type) {
    static const attention_case one = {96, 6, 3, 300, 299, 33, 1, false, false};
    if (l->filter->few_types && type != PM__TYPE_F16) {
        case_attention(l, type, type, &one);
        return;
    }
    cases_attention_type(l, type);
    cases_attention_extras(l, type);
}

void pm__cases_attention(pm__case_list *l) {
    static const attention_case pair = {32, 6, 2, 129, 101, 3, 1, false, false};
    pm__type k, v;
    for (uint32_t i = 0; pm__cache_type(i, &k); i++) {
        cases_attention_both(l, k);
        if (!pm__cache_type(i + 1, &v))
            pm__cache_type(0, &v);
        case_attention(l, k, v, &pair); /* each type is once beside another on either side */
    }
}

void pm__cases_attention_split(pm__case_list *l) {
    static const struct {
        attention_case of;
        attention_extra extra;
    } cases[] = {
        {{32, 3, 3, 300, 299, 1, 1, true, false}, {.n_slice = 8}},
        {{64, 8, 2, 300, 290, 1, 1, true, false}, {.n_slice = 4}},
        {{32, 18, 2, 1031, 1030, 2, 1, false, false}, {.n_slice = 1}},
        {{32, 4, 2, 300, 70, 33, 1, false, false}, {.n_slice = 2}},
        {{32, 6, 2, 300, 299, 1, 1, false, false}, {.n_slice = 5, .window = 150}},
        {{32, 2, 2, 300, 299, 1, 30, false, false}, {.n_slice = 8, .softcap = 5, .window = 100}},
        {{32, 5, 5, 300, 160, 5, 1, false, false}, {.n_slice = 8, .n_bucket = 32}},
        {{192, 4, 1, 300, 280, 1, 1, true, false}, {.n_slice = 8, .head_dim_v = 128}},
        {{10, 6, 3, 300, 299, 2, 1, false, false}, {.n_slice = 3, .max_alibi_bias = 8}},
    };
    pm__type type;
    for (uint32_t t = 0; pm__cache_type(t, &type); t++)
        for (size_t i = t == 1 ? 0 : t % 2; i < PM__COUNT(cases); i += t == 1 ? 1 : 4)
            if (cases[i].of.head_dim % pm__type_get(type)->block_n == 0)
                case_attention_extra(l, type, type, &cases[i].of, &cases[i].extra);
}

void pm__cases_merge(pm__case_list *l) {
    static const pm__merge_desc descs[] = {{1, 1, 1, NULL},   {5, 64, 8, NULL},  {3, 65, 2, NULL},
                                           {2, 10, 32, NULL}, {7, 129, 3, NULL}, {4, 512, 5, NULL}};
    for (size_t i = 0; i < PM__COUNT(descs); i++) {
        pm__check_case c;
        pm__merge_desc desc = descs[i];
        const uint32_t n_col = desc.n_head * desc.n_slice * (desc.head_dim_v + PM__SLICE_END);
        pm__case_init(&c, pm__some_rows[i % 4], 1);
        c.outlier = 4;
        c.quick = i == 1 || i == 4;
        if (i % 2 == 1)
            desc.sinks = pm__case_weight(&c, "sinks", PM__TYPE_F32, 1, desc.n_head);
        const pm__t x = pm__case_activation(&c, "x", PM__ROWS_BATCH, n_col);
        pm__merge(&c.graph, "merge", x, &desc);
        pm__case_give(l, &c, "%ux%u/slices%u/rows%u%s", desc.n_head, desc.head_dim_v, desc.n_slice,
                      c.n_row, desc.sinks != NULL ? "/sinks" : "");
    }
}
