#include "check_cases.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { MOST_BATCH = 64, DEPTH = 32768 };

typedef struct list {
    const pm__case_filter *filter;
    bool ended;
} list;

/* ---- building a case ------------------------------------------------------------------------- */

static void case_init(pm__check_case *c, uint32_t n_row, uint32_t n_out) {
    *c = (pm__check_case){.n_row = n_row, .n_out = n_out, .n_token = 100, .outlier = 100};
    c->limits = (pm__limits){.n_ctx = 97, .n_batch = n_row, .n_out = n_out + 2, .n_seq = 3};
    c->last_pos = c->limits.n_ctx - 1;
    pm__graph_init(&c->graph);
}

/* Activations the builder makes count from 0, so these go on from 8. */
static pm__t add_tensor(pm__check_case *c, const pm__tensor *like) {
    pm__tensor *t = &c->tensors[c->n_tensor];
    *t = *like;
    t->index = 8 + c->n_tensor++;
    return t;
}

static pm__t activation(pm__check_case *c, const char *name, pm__row_count rows, uint32_t n_col) {
    const pm__tensor t = {.name = name, .kind = PM__ACTIVATION, .rows = rows, .n_col = n_col};
    return add_tensor(c, &t);
}

static pm__t weight(pm__check_case *c, const char *name, pm__type type, uint32_t n_row,
                    uint32_t n_col) {
    const pm__tensor t = {
        .name = name, .kind = PM__WEIGHT, .type = type, .n_row = n_row, .n_col = n_col};
    return add_tensor(c, &t);
}

/* Both nodes that closing a graph appends read tokens; `keep` is the one to check. */
static void close_graph(pm__check_case *c, uint32_t n_vocab, uint32_t keep) {
    if (pm__graph_close(&c->graph, activation(c, "logits", PM__ROWS_OUT, n_vocab)) == PM_OK) {
        c->graph.nodes[0] = c->graph.nodes[keep];
        c->graph.n_node = 1;
    }
    c->n_token = n_vocab;
}

/* Hands over a case whose graph is built, if the level wants it. */
static void give(list *l, pm__check_case *c, const char *fmt, ...) PM__PRINTF(3, 4);
static void give(list *l, pm__check_case *c, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->shape, sizeof c->shape, fmt, args);
    va_end(args);
    const pm_check_level level = l->filter->level;
    if (!l->ended && (level == PM_CHECK_DEEP || (level == PM_CHECK_QUICK ? c->quick : !c->deep)))
        l->ended = !l->filter->take(l->filter->user, c);
    pm__graph_finish(&c->graph);
}

static bool takes_type(const list *l, int type) {
    return l->filter->types[type];
}

static const uint32_t some_rows[] = {1, 2, 5, 33};
static const uint32_t some_cols[] = {1, 7, 63, 64, 65, 131};

/* Tried in every shape at any level. Kernels over other types differ from these only in how they
 * read a chunk: some shapes show that, and a deep check tries all. */
static bool is_thorough(pm__type type) {
    return type == PM__TYPE_F32 || type == PM__TYPE_F16 || type == PM__TYPE_Q4_0 ||
           type == PM__TYPE_Q8_0 || type == PM__TYPE_Q4_K;
}

/* Columns of a matrix that its type can have. */
static uint32_t fit(pm__type type, uint32_t n_col) {
    return n_col * pm__type_get(type)->block_n;
}

/* ---- operation by operation ------------------------------------------------------------------ */

typedef struct embed_shape {
    uint32_t cols, rows, part_rows;
    bool quick, deep;
} embed_shape;

static void case_embed(list *l, pm__type type, const embed_shape *e) {
    pm__check_case c;
    case_init(&c, e->rows, 1);
    c.n_token = 61;
    c.part_rows = e->part_rows;
    c.quick = e->quick;
    c.deep = e->deep || (e->part_rows == 0 && !is_thorough(type));
    const uint32_t n_col = fit(type, e->cols);
    pm__embed(&c.graph, "embed", weight(&c, "table", type, c.n_token, n_col));
    give(l, &c, "%s/%ux%u/rows%u%s", pm__type_get(type)->name, c.n_token, n_col, c.n_row,
         c.part_rows > 0 ? "/parts" : "");
}

static void cases_embed(list *l) {
    static const embed_shape shapes[] = {{1, 1, 0, false, false},
                                         {7, 2, 17, true, false},
                                         {33, 5, 0, false, false},
                                         {34, 33, 17, false, false}};
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        for (size_t i = 0; i < PM__COUNT(shapes) && takes_type(l, type); i++)
            case_embed(l, (pm__type)type, &shapes[i]);
        for (uint32_t n = 1; n <= MOST_BATCH && takes_type(l, type); n++)
            case_embed(l, (pm__type)type, &(embed_shape){9, n, 0, false, true});
    }
}

static void case_rmsnorm(list *l, uint32_t n_col, uint32_t n_row, bool deep) {
    pm__check_case c;
    case_init(&c, n_row, 1);
    c.quick = n_col == 129 && n_row == 5 && !deep;
    c.deep = deep;
    const pm__t x = activation(&c, "x", PM__ROWS_BATCH, n_col);
    pm__rmsnorm(&c.graph, "rmsnorm", x, weight(&c, "w", PM__TYPE_F32, 1, n_col), 1e-5f);
    give(l, &c, "%u/rows%u", n_col, n_row);
}

static void cases_rmsnorm(list *l) {
    static const uint32_t cols[] = {1, 7, 127, 128, 129, 1031};
    for (size_t i = 0; i < PM__COUNT(cols); i++)
        for (size_t r = 0; r < PM__COUNT(some_rows); r++)
            case_rmsnorm(l, cols[i], some_rows[r], false);
    for (uint32_t n = 1; n <= MOST_BATCH; n++)
        case_rmsnorm(l, 301, n, true);
}

typedef struct matmul_shape {
    uint32_t n_in, n_out; /* n_in in blocks of the type */
    uint32_t part_rows, most_group_x;
    bool bias, residual, outs;
    bool quick, deep;
} matmul_shape;

static void case_matmul(list *l, pm__type type, const matmul_shape *m, uint32_t n_row) {
    pm__check_case c;
    case_init(&c, m->outs ? n_row + 3 : n_row, m->outs ? n_row : 1);
    c.part_rows = m->part_rows;
    c.most_group_x = m->most_group_x;
    c.quick = m->quick && (n_row == 1 || n_row == 33);
    c.deep = m->deep || (!is_thorough(type) && !(m->quick && (n_row == 3 || n_row == 33)));
    const uint32_t n_in = fit(type, m->n_in);
    const pm__row_count rows = m->outs ? PM__ROWS_OUT : PM__ROWS_BATCH;
    const pm__t x = activation(&c, "x", rows, n_in);
    const pm__t w = weight(&c, "w", type, m->n_out, n_in);
    const pm__t bias = m->bias ? weight(&c, "bias", PM__TYPE_F32, 1, m->n_out) : NULL;
    const pm__t residual = m->residual ? activation(&c, "residual", rows, m->n_out) : NULL;
    pm__matmul_add(&c.graph, "matmul", x, w, bias, residual);
    give(l, &c, "%s/%ux%u/rows%u%s%s%s%s%s", pm__type_get(type)->name, m->n_out, n_in, n_row,
         m->bias ? "/bias" : "", m->residual ? "/residual" : "", m->part_rows > 0 ? "/parts" : "",
         m->outs ? "/outs" : "", m->most_group_x > 0 ? "/wide" : "");
}

static void cases_matmul(list *l) {
    static const matmul_shape elements[] = {
        {1, 1, 0, 0, false, false, false, false, false},
        {7, 3, 0, 0, true, false, false, false, false},
        {31, 5, 0, 0, false, true, true, false, false},
        {32, 64, 0, 0, false, false, false, false, false},
        {33, 63, 23, 0, true, true, false, true, false},
        {64, 65, 0, 0, true, true, true, false, false},
        {613, 131, 50, 0, false, true, false, false, false},
        {260, 300, 0, 2, false, false, false, false, false},
    };
    static const matmul_shape blocks[] = {
        {1, 3, 0, 0, true, false, false, false, false},
        {2, 64, 0, 0, false, false, false, false, false},
        {3, 65, 23, 0, true, true, true, true, false},
        {7, 131, 50, 0, false, true, false, false, false},
        {19, 67, 0, 2, false, true, false, false, false},
    };
    static const matmul_shape any = {5, 71, 0, 0, true, true, false, false, true};
    static const uint32_t rows[] = {1, 3, 7, 31, 32, 33, 67};
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        const bool in_blocks = pm__type_get((pm__type)type)->block_n > 1;
        const matmul_shape *shapes = in_blocks ? blocks : elements;
        const size_t n = in_blocks ? PM__COUNT(blocks) : PM__COUNT(elements);
        for (size_t i = 0; i < n && takes_type(l, type); i++)
            for (size_t r = 0; r < PM__COUNT(rows); r++)
                case_matmul(l, (pm__type)type, &shapes[i], rows[r]);
        for (uint32_t r = 1; r <= MOST_BATCH && takes_type(l, type); r++)
            case_matmul(l, (pm__type)type, &any, r);
    }
}

typedef struct rope_case {
    pm__rope_desc desc;
    uint32_t n_head, n_row, n_ctx;
    bool quick, deep;
} rope_case;

static void case_rope(list *l, const rope_case *r) {
    pm__check_case c;
    pm__rope_desc with = r->desc;
    case_init(&c, r->n_row, 1);
    c.limits.n_ctx = r->n_ctx;
    c.last_pos = r->n_ctx - 1;
    c.positive = true;
    c.quick = r->quick;
    c.deep = r->deep;
    const pm__t x = activation(&c, "x", PM__ROWS_BATCH, r->n_head * with.head_dim);
    if (with.freq_scale < 1)
        with.factors = weight(&c, "factors", PM__TYPE_F32, 1, with.n_rot / 2);
    pm__rope(&c.graph, "rope", x, &with);
    give(l, &c, "%ux%u/rot%u/%s/base%g/scale%g/ctx%u/rows%u", r->n_head, with.head_dim, with.n_rot,
         with.style == PM__ROPE_HALVES ? "halves" : "pairs", (double)with.freq_base,
         (double)with.freq_scale, r->n_ctx, r->n_row);
}

static void cases_rope(list *l) {
    static const pm__rope_desc descs[] = {
        {2, 2, PM__ROPE_PAIRS, 10000.0f, 1, NULL},
        {10, 6, PM__ROPE_HALVES, 10000.0f, 1, NULL},
        {64, 64, PM__ROPE_PAIRS, 10000.0f, 1, NULL},
        {26, 26, PM__ROPE_HALVES, 500000.0f, 1, NULL},
        {128, 128, PM__ROPE_HALVES, 1e6f, 0.25f, NULL},
        {80, 32, PM__ROPE_PAIRS, 1e4f, 0.3f, NULL},
        {256, 256, PM__ROPE_PAIRS, 1, 1, NULL},
    };
    static const uint32_t ctxs[] = {1, 4096, 131072};
    for (uint32_t i = 0; i < PM__COUNT(descs); i++) {
        for (size_t k = 0; k < PM__COUNT(ctxs); k++) {
            const uint32_t n_row = ctxs[k] == 1 ? 1 : some_rows[i % 3 + 1];
            const bool quick = ctxs[k] == 4096 && (i == 2 || i == 4);
            case_rope(l, &(rope_case){descs[i], i % 3 + 1, n_row, ctxs[k], quick, false});
        }
    }
    for (uint32_t n = 1; n <= MOST_BATCH; n++)
        case_rope(l, &(rope_case){descs[3], 2, n, DEPTH, false, true});
}

typedef struct kv_store_case {
    pm__type type;
    uint32_t n_col, n_row, n_ctx; /* n_ctx 0: as usual */
    float size, nan_part;
    uint32_t zero_bits;
    bool quick, deep;
} kv_store_case;

static void case_kv_store(list *l, const kv_store_case *k) {
    pm__check_case c;
    case_init(&c, k->n_row, 1);
    c.size = k->size;
    c.nan_part = k->nan_part;
    c.zero_bits = k->zero_bits;
    c.quick = k->quick;
    c.deep = k->deep;
    if (k->n_ctx != 0) {
        c.limits.n_ctx = k->n_ctx;
        c.last_pos = k->n_ctx - 1;
    }
    const uint32_t n_col = fit(k->type, k->n_col);
    const pm__t cache = pm__cache(&c.graph, "cache", k->type, n_col);
    pm__kv_store(&c.graph, "kv_store", cache, activation(&c, "x", PM__ROWS_BATCH, n_col));
    give(l, &c, "%s/%u/rows%u/ctx%u/size%g%s%s", pm__type_get(k->type)->name, n_col, c.n_row,
         c.limits.n_ctx, k->size > 0 ? (double)k->size : 1.0, k->nan_part > 0 ? "/nan" : "",
         k->zero_bits > 0 ? "/ties" : "");
}

static void cases_kv_store(list *l) {
    /* Halves that are subnormal, scales that vanish, all that passes the largest half and the
     * largest float. */
    static const float sizes[] = {1e-6f, 1e-7f, 1e-30f, 1e-37f, 3e4f, 1e37f};
    pm__type t;
    for (uint32_t type = 0; pm__cache_type(type, &t); type++) {
        for (size_t i = 0; i < PM__COUNT(some_cols); i++)
            case_kv_store(l, &(kv_store_case){.type = t,
                                              .n_col = some_cols[i],
                                              .n_row = some_rows[(i + type) % 4],
                                              .quick = i == 5});
        for (size_t i = 0; i < PM__COUNT(sizes); i++)
            case_kv_store(l, &(kv_store_case){t, 13, 3, 0, sizes[i], 0, 0, false, false});
        case_kv_store(l, &(kv_store_case){t, 17, 5, 0, 0, 0.02f, 0, true, false});
        case_kv_store(l, &(kv_store_case){t, 19, 33, 0, 0, 0, 12, true, false});
        case_kv_store(l, &(kv_store_case){t, 21, 33, 0, 1e-6f, 0, 19, false, false});
        for (uint32_t n = 1; n <= MOST_BATCH; n++)
            case_kv_store(l, &(kv_store_case){t, 45, n, 129, 0, 0, 0, false, true});
        case_kv_store(l, &(kv_store_case){t, 34, 7, DEPTH, 0, 0, 0, false, true});
    }
}

typedef struct attention_case {
    uint32_t head_dim, n_head, n_head_kv, n_ctx, last_pos, n_row;
    float scale; /* beside 1 / sqrt(head_dim): large scores, of both signs */
    bool quick, deep;
} attention_case;

static void case_attention(list *l, pm__type k_type, pm__type v_type, const attention_case *a) {
    const uint32_t n_kv = a->n_head_kv * a->head_dim;
    const pm__attention_desc desc = {a->n_head, a->n_head_kv, a->head_dim,
                                     a->scale / sqrtf((float)a->head_dim)};
    pm__check_case c;
    case_init(&c, a->n_row, 1);
    c.limits.n_ctx = a->n_ctx;
    if (a->n_ctx >= DEPTH)
        c.limits.n_seq = 1;
    c.last_pos = a->last_pos;
    c.outlier = 4;
    c.quick = a->quick;
    c.deep = a->deep;
    const pm__t q = activation(&c, "q", PM__ROWS_BATCH, desc.n_head * desc.head_dim);
    const pm__t k = pm__cache(&c.graph, "k", k_type, n_kv);
    const pm__t v = pm__cache(&c.graph, "v", v_type, n_kv);
    pm__attention(&c.graph, "attention", q, k, v, &desc);
    give(l, &c, "%s-%s/%ux%u/kv%u/pos%u/rows%u/scale%g", pm__type_get(k_type)->name,
         pm__type_get(v_type)->name, desc.n_head, desc.head_dim, desc.n_head_kv, c.last_pos,
         c.n_row, (double)a->scale);
}

/* Both caches of one type. */
static void cases_attention_type(list *l, pm__type type) {
    static const attention_case any[] = {
        {2, 1, 1, 33, 0, 1, 1, false, false},
        {10, 6, 2, 97, 31, 2, 1, false, false},
        {26, 3, 1, 300, 299, 33, 1, true, false},
        {80, 8, 2, 97, 63, 1, 1, false, false},
        {130, 5, 1, 1031, 1030, 3, 1, false, false},
        {34, 6, 3, 97, 0, 1, 1000, true, false},
        {38, 3, 1, DEPTH, DEPTH - 1, 3, 1, false, true},
    };
    static const attention_case blocks[] = {
        {64, 4, 4, 129, 32, 5, 1, false, false},    {256, 2, 1, 65, 64, 7, 1, false, false},
        {128, 4, 2, 193, 127, 2, 1, false, false},  {96, 6, 3, 300, 299, 33, 1, false, false},
        {64, 9, 3, 129, 128, 1, 1, true, false},    {32, 8, 8, 97, 0, 3, 1000, false, false},
        {32, 5, 5, 1031, 1030, 3, 1, false, false}, {64, 6, 2, DEPTH, DEPTH - 1, 1, 1, false, true},
    };
    for (size_t i = 0; i < PM__COUNT(any) && pm__type_get(type)->block_n == 1; i++)
        case_attention(l, type, type, &any[i]);
    for (size_t i = 0; i < PM__COUNT(blocks); i++)
        case_attention(l, type, type, &blocks[i]);
    for (uint32_t n = 1; n <= MOST_BATCH; n++)
        case_attention(l, type, type, &(attention_case){32, 3, 1, 97, 96, n, 1, false, true});
}

static void cases_attention(list *l) {
    static const attention_case pair = {64, 6, 2, 129, 101, 3, 1, false, false};
    pm__type k, v;
    for (uint32_t i = 0; pm__cache_type(i, &k); i++)
        for (uint32_t j = 0; pm__cache_type(j, &v); j++)
            if (i == j)
                cases_attention_type(l, k);
            else
                case_attention(l, k, v, &pair);
}

typedef pm__t (*binary_op)(pm__graph *, const char *, pm__t, pm__t);

static void case_binary(list *l, binary_op op, pm__row_count rows, uint32_t n_col, uint32_t n) {
    pm__check_case c;
    case_init(&c, n + 1, n);
    c.quick = n_col == 131;
    c.deep = n_col == 93;
    const pm__t a = activation(&c, "a", rows, n_col);
    op(&c.graph, "binary", a, activation(&c, "b", rows, n_col));
    give(l, &c, "%u/rows%u%s", n_col, rows == PM__ROWS_OUT ? c.n_out : c.n_row,
         rows == PM__ROWS_OUT ? "/outs" : "");
}

static void cases_binary(list *l, binary_op op) {
    for (size_t i = 0; i < PM__COUNT(some_cols); i++)
        case_binary(l, op, i % 2 == 0 ? PM__ROWS_BATCH : PM__ROWS_OUT, some_cols[i],
                    some_rows[i % 4]);
    for (uint32_t n = 1; n <= MOST_BATCH; n++)
        case_binary(l, op, PM__ROWS_BATCH, 93, n);
}

static void cases_swiglu(list *l) {
    cases_binary(l, pm__swiglu);
}

static void cases_add(list *l) {
    cases_binary(l, pm__add);
}

static void case_select(list *l, uint32_t n_col, uint32_t n_out) {
    pm__check_case c;
    case_init(&c, n_out + 2, n_out);
    c.quick = n_col == 131;
    c.deep = n_col == 93;
    pm__select(&c.graph, "select", activation(&c, "x", PM__ROWS_BATCH, n_col));
    give(l, &c, "%u/outs%u", n_col, n_out);
}

static void cases_select(list *l) {
    for (size_t i = 0; i < PM__COUNT(some_cols); i++)
        case_select(l, some_cols[i], some_rows[i % 4]);
    for (uint32_t n = 1; n <= MOST_BATCH; n++)
        case_select(l, 93, n);
}

typedef struct sample_case {
    const char *name;
    struct pm_step_sampler sampler;
    float nan_part;
    bool quick;
} sample_case;

static const sample_case samplers[] = {
    {"greedy", {.top_p = 1, .repeat_penalty = 1}, 0, true},
    {"plain", {.temperature = 1, .top_p = 1, .repeat_penalty = 1}, 0, false},
    {"top_k", {.temperature = 1.5f, .top_k = 5, .top_p = 1, .repeat_penalty = 1}, 0, false},
    {"top_p", {.temperature = 0.9f, .top_p = 0.9f, .repeat_penalty = 1}, 0, false},
    {"min_p", {.temperature = 2, .top_p = 1, .min_p = 0.05f, .repeat_penalty = 1}, 0, false},
    {"nan", {.temperature = 1, .top_p = 0.5f, .repeat_penalty = 1}, 0.3f, false},
    {"nan_all", {.temperature = 1, .top_p = 0.5f, .repeat_penalty = 1}, 1.5f, false},
    {"penalties",
     {.top_p = 1,
      .repeat_penalty = 1.3f,
      .presence_penalty = 0.5f,
      .frequency_penalty = 0.25f,
      .repeat_last_n = 64},
     0,
     false},
    {"all",
     {.temperature = 0.8f,
      .top_k = 40,
      .top_p = 0.95f,
      .min_p = 0.01f,
      .repeat_penalty = 1.1f,
      .presence_penalty = -0.5f,
      .frequency_penalty = 0.1f,
      .repeat_last_n = 5000},
     0,
     true},
};

static void case_sample(list *l, const sample_case *s, uint32_t n_vocab, uint32_t n_out,
                        uint32_t last_pos) {
    pm__check_case c;
    case_init(&c, n_out + 2, n_out);
    c.limits.n_ctx = 1500;
    c.last_pos = last_pos;
    c.outlier = 3;
    c.sampler = s->sampler;
    c.nan_part = s->nan_part;
    c.quick = s->quick && n_vocab == 2048;
    c.deep = n_vocab == 517;
    close_graph(&c, n_vocab, 0);
    give(l, &c, "%s/%u/outs%u", s->name, n_vocab, n_out);
}

static void cases_sample(list *l) {
    static const uint32_t vocabs[] = {1, 7, 127, 129, 2048, 32003};
    static const uint32_t outs[] = {1, 2, 5};
    for (size_t v = 0; v < PM__COUNT(vocabs); v++)
        for (size_t i = 0; i < PM__COUNT(samplers); i++)
            case_sample(l, &samplers[i], vocabs[v], outs[(v + i) % 3], i % 2 == 0 ? 1499 : 40);
    /* The largest vocabulary in use, and all that is done with it: many turns of many loops. */
    case_sample(l, &samplers[PM__COUNT(samplers) - 1], 262144, 1, 1499);
    for (uint32_t n = 1; n <= MOST_BATCH; n++)
        case_sample(l, &samplers[n % PM__COUNT(samplers)], 517, n, 1499);
}

static void case_advance(list *l, uint32_t n_row, uint32_t n_out, uint32_t last_pos) {
    pm__check_case c;
    case_init(&c, n_row, n_out);
    c.last_pos = last_pos;
    c.quick = n_row == 3 || n_row == 7;
    c.deep = last_pos == 50;
    close_graph(&c, 101, 1);
    give(l, &c, "rows%u/outs%u/pos%u", n_row, n_out, last_pos);
}

static void cases_advance(list *l) {
    static const struct {
        uint32_t n_row, n_out, last_pos;
    } shapes[] = {{1, 1, 5}, {1, 1, 96}, {3, 3, 20}, {5, 1, 20}, {7, 4, 96}, {70, 70, 33}};
    for (size_t i = 0; i < PM__COUNT(shapes); i++)
        case_advance(l, shapes[i].n_row, shapes[i].n_out, shapes[i].last_pos);
    for (uint32_t n = 1; n <= MOST_BATCH; n++)
        case_advance(l, n, n, 50);
}

bool pm__check_cases(pm__op op, const pm__case_filter *filter) {
    static void (*const cases[PM__OP_COUNT])(list *) = {
#define PM_OP(NAME, name, nmse, what) [PM__OP_##NAME] = cases_##name,
#include "../graph/ops.def"
#undef PM_OP
    };
    list l = {.filter = filter};
    cases[op](&l);
    return !l.ended;
}
