/* check_dense.c: cases of tokens, norms and matrices. */
#include "case_list.h"

#include "../graph/blocks.h"

typedef struct embed_shape {
    uint32_t cols, rows, part_rows;
    bool quick, deep, positions;
} embed_shape;

static void case_embed(pm__case_list *l, pm__type type, const embed_shape *e) {
    pm__check_case c;
    pm__case_init(&c, e->rows, 1);
    c.n_token = 61;
    c.part_rows = e->part_rows;
    c.quick = e->quick;
    c.deep = e->deep || (e->part_rows == 0 && !pm__case_is_thorough(type));
    const uint32_t n_col = pm__case_fit(type, e->cols);
    const uint32_t n_row = e->positions ? c.limits.n_ctx : c.n_token;
    const pm__t table = pm__case_weight(&c, "table", type, n_row, n_col);
    (e->positions ? pm__embed_positions : pm__embed)(&c.graph, "embed", table);
    pm__case_give(l, &c, "%s/%ux%u/rows%u%s%s", pm__type_get(type)->name, n_row, n_col, c.n_row,
                  c.part_rows > 0 ? "/parts" : "", e->positions ? "/positions" : "");
}

void pm__cases_embed(pm__case_list *l) {
    static const embed_shape shapes[] = {
        {1, 1, 0, false, false, false},  {7, 2, 17, true, false, false},
        {33, 5, 0, false, false, false}, {34, 33, 17, false, false, false},
        {3, 5, 23, true, false, true},
    };
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        for (size_t i = 0; i < PM__COUNT(shapes) && pm__case_takes_type(l, type); i++)
            case_embed(l, (pm__type)type, &shapes[i]);
        for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH && pm__case_takes_type(l, type); n++)
            case_embed(l, (pm__type)type, &(embed_shape){9, n, 0, false, true, false});
    }
}

/* head_dim 0: rows as a whole */
typedef struct norm_case {
    uint32_t n_head, head_dim;
    bool weight, bias;
    bool own; /* each head has its own weights */
    bool quick, deep;
} norm_case;

static const norm_case norms[] = {
    {1, 1, true, true, false, false, false},    {1, 7, true, true, false, false, false},
    {1, 127, true, true, false, false, false},  {1, 128, true, false, false, false, false},
    {1, 129, true, true, false, true, false},   {1, 1031, true, true, false, false, false},
    {5, 16, true, false, false, true, false},   {3, 64, true, true, false, false, false},
    {7, 130, false, false, false, true, false}, {4, 24, true, true, true, false, false},
    {2, 257, true, false, true, true, false},   {1, 640, false, false, false, false, false},
};

static void case_norm(pm__case_list *l, pm__op op, const norm_case *n, uint32_t n_row) {
    pm__check_case c;
    const uint32_t n_col = n->n_head * n->head_dim;
    const bool outs = n->head_dim == 640;
    pm__case_init(&c, outs ? n_row + 1 : n_row, outs ? n_row : 1);
    c.quick = n->quick && n_row == 5;
    c.deep = n->deep;
    const pm__t x = pm__case_activation(&c, "x", outs ? PM__ROWS_OUT : PM__ROWS_BATCH, n_col);
    const uint32_t n_weight = n->own ? n_col : n->head_dim;
    pm__t w = NULL, bias = NULL;
    if (n->weight && op != PM__OP_L2NORM)
        w = pm__case_weight(&c, "w", PM__TYPE_F32, 1, n_weight);
    if (n->bias && op == PM__OP_LAYERNORM)
        bias = pm__case_weight(&c, "bias", PM__TYPE_F32, 1, n_weight);
    if (op == PM__OP_RMSNORM)
        pm__rmsnorm_heads(&c.graph, "norm", x, w, n->head_dim, 1e-5f);
    else if (op == PM__OP_LAYERNORM)
        pm__layernorm_heads(&c.graph, "norm", x, w, bias, n->head_dim, 1e-5f);
    else
        pm__l2norm(&c.graph, "norm", x, n->head_dim, 1e-6f);
    pm__case_give(l, &c, "%ux%u/rows%u%s%s%s", n->n_head, n->head_dim, n_row,
                  w == NULL ? ""
                  : n->own  ? "/weights"
                            : "/weight",
                  bias != NULL ? "/bias" : "", outs ? "/outs" : "");
}

static void cases_norm(pm__case_list *l, pm__op op) {
    for (size_t i = 0; i < PM__COUNT(norms); i++)
        for (size_t r = 0; r < PM__COUNT(pm__some_rows); r++)
            if (i < 6 || r % 2 == i % 2)
                case_norm(l, op, &norms[i], pm__some_rows[r]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_norm(l, op, &(norm_case){1, 301, true, true, false, false, true}, n);
}

void pm__cases_rmsnorm(pm__case_list *l) {
    cases_norm(l, PM__OP_RMSNORM);
}

void pm__cases_layernorm(pm__case_list *l) {
    cases_norm(l, PM__OP_LAYERNORM);
}

void pm__cases_l2norm(pm__case_list *l) {
    cases_norm(l, PM__OP_L2NORM);
}

typedef struct matmul_shape {
    uint32_t n_in, n_out; /* n_in in blocks of the type */
    uint32_t part_rows, most_group_x;
    bool bias, residual, outs;
    bool quick, deep;
} matmul_shape;

static void case_matmul(pm__case_list *l, pm__type type, const matmul_shape *m, uint32_t n_row) {
    pm__check_case c;
    pm__case_init(&c, m->outs ? n_row + 3 : n_row, m->outs ? n_row : 1);
    c.part_rows = m->part_rows;
    c.most_group_x = m->most_group_x;
    c.limits.n_seq = m->quick && pm__case_is_thorough(type) ? 9 : 1; /* in pieces, or not */
    c.quick = m->quick && (n_row == 1 || n_row == 33);
    c.deep = m->deep || (!pm__case_is_thorough(type) && !(m->quick && (n_row == 3 || n_row == 33)));
    const uint32_t n_in = pm__case_fit(type, m->n_in);
    const pm__row_count rows = m->outs ? PM__ROWS_OUT : PM__ROWS_BATCH;
    const pm__t x = pm__case_activation(&c, "x", rows, n_in);
    const pm__t w = pm__case_weight(&c, "w", type, m->n_out, n_in);
    if (type == PM__TYPE_NVFP4) /* its files have one */
        c.tensors[w->index - c.tensors[0].index].scale =
            pm__case_weight(&c, "scale", PM__TYPE_F32, 1, 1);
    const pm__t bias = m->bias ? pm__case_weight(&c, "bias", PM__TYPE_F32, 1, m->n_out) : NULL;
    const pm__t residual = m->residual ? pm__case_activation(&c, "residual", rows, m->n_out) : NULL;
    pm__matmul_add(&c.graph, "matmul", x, w, bias, residual);
    pm__case_give(l, &c, "%s/%ux%u/rows%u%s%s%s%s%s%s", pm__type_get(type)->name, m->n_out, n_in,
                  n_row, w->scale != NULL ? "/scale" : "", m->bias ? "/bias" : "",
                  m->residual ? "/residual" : "", m->part_rows > 0 ? "/parts" : "",
                  m->outs ? "/outs" : "", m->most_group_x > 0 ? "/wide" : "");
}

typedef struct fused_shape {
    uint32_t n_in, n_out; /* n_in in blocks of the type */
    bool normed, weight, gated, bias, outs;
    pm__glu_kind glu;
    bool quick;
} fused_shape;

static void case_fused(pm__case_list *l, pm__type type, const fused_shape *f, uint32_t n_row) {
    pm__check_case c;
    pm__case_init(&c, f->outs ? n_row + 3 : n_row, f->outs ? n_row : 1);
    c.quick = f->quick;
    c.deep = !pm__case_is_thorough(type) && !f->quick;
    const uint32_t n_in = pm__case_fit(type, f->n_in), n_w = f->gated ? 2 * f->n_out : f->n_out;
    const pm__t x = pm__case_activation(&c, "x", f->outs ? PM__ROWS_OUT : PM__ROWS_BATCH, n_in);
    pm__matmul_desc desc = {.w = pm__case_weight(&c, "w", type, n_w, n_in),
                            .normed = f->normed,
                            .eps = 1e-5f,
                            .gated = f->gated,
                            .glu = f->glu};
    if (f->bias)
        desc.bias = pm__case_weight(&c, "bias", PM__TYPE_F32, 1, n_w);
    if (f->weight)
        desc.norm_weight = pm__case_weight(&c, "norm", PM__TYPE_F32, 1, n_in);
    pm__matmul_fused(&c.graph, "matmul", x, &desc);
    pm__case_give(l, &c, "%s/%ux%u/rows%u%s%s%s%s%s", pm__type_get(type)->name, f->n_out, n_in,
                  n_row, f->normed ? "/normed" : "", f->weight ? "/weight" : "",
                  f->gated ? "/" : "", f->gated ? pm__glu_name(f->glu) : "",
                  f->bias ? "/bias" : "");
}

/* Products of blocks; n_in in blocks of them and of the type. */
static void case_dot8(pm__case_list *l, pm__type type, const fused_shape *f, uint32_t n_row) {
    pm__check_case c;
    pm__case_init(&c, f->outs ? n_row + 3 : n_row, f->outs ? n_row : 1);
    c.quick = f->quick;
    c.blocks = true;
    const pm__row_count rows = f->outs ? PM__ROWS_OUT : PM__ROWS_BATCH;
    const uint32_t block_n = pm__type_get(type)->block_n;
    const uint32_t n_in = f->n_in * (block_n < PM__BLOCK_N ? PM__BLOCK_N : block_n);
    const uint32_t n_w = f->gated ? 2 * f->n_out : f->n_out;
    const pm__t x = pm__case_activation(&c, "x", rows, n_in / PM__BLOCK_N * PM__BLOCK_WORDS);
    const pm__matmul_desc desc = {
        .w = pm__case_weight(&c, "w", type, n_w, n_in),
        .bias = f->bias ? pm__case_weight(&c, "bias", PM__TYPE_F32, 1, n_w) : NULL,
        .residual = f->gated ? NULL : pm__case_activation(&c, "residual", rows, f->n_out),
        .gated = f->gated,
        .glu = f->glu,
        .dot8 = true};
    pm__matmul_fused(&c.graph, "matmul", x, &desc);
    pm__case_give(l, &c, "%s/%ux%u/rows%u/dot8%s%s%s", pm__type_get(type)->name, f->n_out, n_in,
                  n_row, f->gated ? "/" : "", f->gated ? pm__glu_name(f->glu) : "",
                  f->bias ? "/bias" : "");
}

static void cases_dot8(pm__case_list *l, pm__type type) {
    case_dot8(l, type, &(fused_shape){.n_in = 7, .n_out = 67, .bias = true, .quick = true}, 1);
    case_dot8(l, type, &(fused_shape){.n_in = 3, .n_out = 131, .outs = true}, 7);
    case_dot8(l, type, &(fused_shape){.n_in = 19, .n_out = 33, .gated = true, .bias = true}, 3);
    case_dot8(l, type, &(fused_shape){.n_in = 5, .n_out = 133}, 67);
}

void pm__cases_quantize(pm__case_list *l) {
    for (uint32_t i = 0; i < 6; i++) {
        static const uint32_t rows[] = {1, 3, 33, 2, 129, 7}, n_block[] = {1, 67, 5, 131, 3, 31};
        pm__check_case c;
        pm__case_init(&c, rows[i], 1);
        c.quick = i % 2 == 1;
        c.nan_part = i == 3 ? 0.002f : 0;
        const pm__t x = pm__case_activation(&c, "x", PM__ROWS_BATCH, n_block[i] * PM__BLOCK_N);
        pm__quantize_x(&c.graph, "quantize", x);
        pm__case_give(l, &c, "%u/rows%u%s", x->n_col, rows[i], i == 3 ? "/nan" : "");
    }
}

/* Products that are normed or gated; each kind of gate once. */
static void cases_fused(pm__case_list *l, pm__type type) {
    static const fused_shape elements[] = {
        {1, 1, true, true, false, false, false, 0, false},
        {37, 5, true, false, true, true, false, PM__GLU_SILU, false},
        {612, 131, true, true, true, false, true, PM__GLU_GELU, false},
    };
    static const fused_shape blocks[] = {
        {7, 131, true, true, false, true, true, 0, false},
        {3, 67, true, true, true, false, false, PM__GLU_SILU, true},
        {19, 5, false, false, true, true, false, PM__GLU_CLAMPED, false},
    };
    const bool in_blocks = pm__type_get(type)->block_n > 1;
    for (size_t i = 0; i < PM__COUNT(blocks); i++)
        for (uint32_t n_row = 1; n_row <= 7; n_row += 2)
            if (n_row == 1 || n_row == 3 + 2 * i)
                case_fused(l, type, in_blocks ? &blocks[i] : &elements[i], n_row);
    for (int glu = 0; glu < PM__GLU_COUNT && type == PM__TYPE_F16; glu++)
        case_fused(l, type,
                   &(fused_shape){65, 33, false, false, true, true, false, (pm__glu_kind)glu, true},
                   2);
}

void pm__cases_matmul(pm__case_list *l) {
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
        for (size_t i = 0; i < n && pm__case_takes_type(l, type); i++)
            for (size_t r = 0; r < PM__COUNT(rows); r++)
                if (shapes[i].quick || (i + r) % 2 == 0)
                    case_matmul(l, (pm__type)type, &shapes[i], rows[r]);
        for (uint32_t r = 1; r <= PM__CASE_MOST_BATCH && pm__case_takes_type(l, type); r++)
            case_matmul(l, (pm__type)type, &any, r);
        if (pm__case_takes_type(l, type))
            cases_fused(l, (pm__type)type);
        if (pm__case_takes_type(l, type) && pm__type_has_levels((pm__type)type))
            cases_dot8(l, (pm__type)type);
    }
}
