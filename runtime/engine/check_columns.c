/* check_columns.c: cases of what is done column by column, and with columns. */
#include "case_list.h"

/* Sizes, and rows of the step or of its outputs. */
typedef struct shape {
    pm__row_count rows;
    uint32_t n_col, n;
} shape;

static void columns_init(pm__check_case *c, const shape *at) {
    pm__case_init(c, at->n + 1, at->n);
    c->quick = at->n_col == 131;
    c->deep = at->n_col == 93;
}

/* All columns with some rows; then one number of columns with any rows. */
static void each_shape(pm__case_list *l, int kind,
                       void (*give)(pm__case_list *l, int kind, const shape *at)) {
    for (size_t i = 0; i < PM__COUNT(pm__some_cols); i++)
        give(l, kind,
             &(shape){i % 2 == 0 ? PM__ROWS_BATCH : PM__ROWS_OUT, pm__some_cols[i],
                      pm__some_rows[i % 4]});
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        give(l, kind, &(shape){PM__ROWS_BATCH, 93, n});
}

static uint32_t rows_of(const pm__check_case *c, const shape *at) {
    return at->rows == PM__ROWS_OUT ? c->n_out : c->n_row;
}

static const char *word_of(const shape *at) {
    return at->rows == PM__ROWS_OUT ? "/outs" : "";
}

static void case_glu(pm__case_list *l, int kind, const shape *at) {
    pm__check_case c;
    columns_init(&c, at);
    const pm__t gate = pm__case_activation(&c, "gate", at->rows, at->n_col);
    const pm__t up = pm__case_activation(&c, "up", at->rows, at->n_col);
    pm__glu(&c.graph, "glu", (pm__glu_kind)kind, gate, up);
    pm__case_give(l, &c, "%s/%u/rows%u%s", pm__glu_name((pm__glu_kind)kind), at->n_col,
                  rows_of(&c, at), word_of(at));
}

void pm__cases_glu(pm__case_list *l) {
    for (int kind = 0; kind < PM__GLU_COUNT; kind++)
        each_shape(l, kind, case_glu);
}

static void build_unary(pm__check_case *c, pm__unary_kind kind, pm__t x) {
    if (kind == PM__SCALE)
        pm__scale(&c->graph, "unary", x, -0.37f);
    else if (kind == PM__SOFTCAP)
        pm__softcap(&c->graph, "unary", x, 30);
    else if (kind == PM__CLAMP)
        pm__clamp(&c->graph, "unary", x, -0.7f, 1.1f);
    else
        pm__unary(&c->graph, "unary", kind, x);
}

/* Small numbers too, where a difference of two that are nearly equal would lose them. */
static void case_unary(pm__case_list *l, int kind, const shape *at) {
    pm__check_case c;
    columns_init(&c, at);
    c.size = at->n_col == 64 ? 1e-3f : 1;
    c.outlier = kind == PM__EXP ? 4 : 100;
    build_unary(&c, (pm__unary_kind)kind, pm__case_activation(&c, "x", at->rows, at->n_col));
    pm__case_give(l, &c, "%s/%u/rows%u%s", pm__unary_name((pm__unary_kind)kind), at->n_col,
                  rows_of(&c, at), word_of(at));
}

void pm__cases_unary(pm__case_list *l) {
    for (int kind = 0; kind < PM__UNARY_COUNT; kind++)
        each_shape(l, kind, case_unary);
}

/* What the second operand is. */
enum { LIKE, ROW, NUMBER, COLUMN, N_OPERAND };

static pm__t operand(pm__check_case *c, int kind, const shape *at) {
    if (kind == ROW || kind == NUMBER)
        return pm__case_weight(c, "b", PM__TYPE_F32, 1, kind == ROW ? at->n_col : 1);
    return pm__case_activation(c, "b", at->rows, kind == LIKE ? at->n_col : 1);
}

typedef pm__t (*binary_op)(pm__graph *, const char *, pm__t, pm__t);

static void case_binary(pm__case_list *l, binary_op op, int kind, const shape *at) {
    static const char *const names[] = {"like", "row", "number", "column"};
    pm__check_case c;
    columns_init(&c, at);
    const pm__t a = pm__case_activation(&c, "a", at->rows, at->n_col);
    op(&c.graph, "binary", a, operand(&c, kind, at));
    pm__case_give(l, &c, "%s/%u/rows%u%s", names[kind], at->n_col, rows_of(&c, at), word_of(at));
}

static void case_add(pm__case_list *l, int kind, const shape *at) {
    case_binary(l, pm__add, kind, at);
}

void pm__cases_add(pm__case_list *l) {
    for (int kind = 0; kind < N_OPERAND; kind++)
        each_shape(l, kind, case_add);
}

static void case_mul(pm__case_list *l, int kind, const shape *at) {
    case_binary(l, pm__mul, kind, at);
}

void pm__cases_mul(pm__case_list *l) {
    for (int kind = 0; kind < N_OPERAND; kind++)
        each_shape(l, kind, case_mul);
}

static void case_temper(pm__case_list *l, int n_ctx, const shape *at) {
    pm__check_case c;
    columns_init(&c, at);
    c.limits.n_ctx = (uint32_t)n_ctx;
    c.last_pos = c.limits.n_ctx - 1;
    const pm__temper_desc desc = {.scale = 0.1f, .original = 13, .ahead = 1};
    pm__temper(&c.graph, "temper", pm__case_activation(&c, "x", PM__ROWS_BATCH, at->n_col), &desc);
    pm__case_give(l, &c, "ctx%d/%u/rows%u", n_ctx, at->n_col, c.n_row);
}

void pm__cases_temper(pm__case_list *l) {
    each_shape(l, 97, case_temper);
    each_shape(l, PM__CASE_DEPTH, case_temper);
}

static const pm__slice_desc slices[] = {
    {1, 7, 2, 3}, {3, 65, 0, 64}, {5, 24, 16, 8}, {2, 131, 130, 1}, {1, 1, 0, 1}};

static void case_slice(pm__case_list *l, int i, const shape *at) {
    const pm__slice_desc *d = &slices[i];
    pm__check_case c;
    columns_init(&c, at);
    const pm__t x = pm__case_activation(&c, "x", at->rows, d->n_group * d->stride);
    pm__slice(&c.graph, "slice", x, d);
    pm__case_give(l, &c, "%ux%u/%u+%u/rows%u%s%s", d->n_group, d->stride, d->first, d->n,
                  rows_of(&c, at), word_of(at), at->n_col == 93 ? "/any" : "");
}

void pm__cases_slice(pm__case_list *l) {
    for (int i = 0; i < (int)PM__COUNT(slices); i++) {
        case_slice(l, i, &(shape){PM__ROWS_BATCH, i == 2 ? 131 : 0, pm__some_rows[i % 4]});
        case_slice(l, i, &(shape){PM__ROWS_OUT, 0, pm__some_rows[(i + 1) % 4]});
    }
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_slice(l, 2, &(shape){PM__ROWS_BATCH, 93, n});
}

typedef struct concat_case {
    uint32_t n_group, n_a, n_b;
    bool one;
} concat_case;

static const concat_case concats[] = {
    {1, 3, 5, false}, {4, 16, 8, true}, {3, 65, 64, false}, {2, 1, 131, true}, {5, 7, 1, false}};

static void case_concat(pm__case_list *l, int i, const shape *at) {
    const concat_case *d = &concats[i];
    pm__check_case c;
    columns_init(&c, at);
    const pm__t a = pm__case_activation(&c, "a", at->rows, d->n_group * d->n_a);
    const pm__t b = pm__case_activation(&c, "b", at->rows, d->one ? d->n_b : d->n_group * d->n_b);
    (d->one ? pm__concat_one : pm__concat)(&c.graph, "concat", a, b, d->n_group);
    pm__case_give(l, &c, "%ux%u+%u%s/rows%u%s%s", d->n_group, d->n_a, d->n_b, d->one ? "/one" : "",
                  rows_of(&c, at), word_of(at), at->n_col == 93 ? "/any" : "");
}

void pm__cases_concat(pm__case_list *l) {
    for (int i = 0; i < (int)PM__COUNT(concats); i++) {
        case_concat(l, i, &(shape){PM__ROWS_BATCH, i == 1 ? 131 : 0, pm__some_rows[i % 4]});
        case_concat(l, i, &(shape){PM__ROWS_OUT, 0, pm__some_rows[(i + 1) % 4]});
    }
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_concat(l, 1, &(shape){PM__ROWS_BATCH, 93, n});
}

static void case_select(pm__case_list *l, uint32_t n_col, uint32_t n_out) {
    pm__check_case c;
    pm__case_init(&c, n_out + 2, n_out);
    c.quick = n_col == 131;
    c.deep = n_col == 93;
    pm__select(&c.graph, "select", pm__case_activation(&c, "x", PM__ROWS_BATCH, n_col));
    pm__case_give(l, &c, "%u/outs%u", n_col, n_out);
}

void pm__cases_select(pm__case_list *l) {
    for (size_t i = 0; i < PM__COUNT(pm__some_cols); i++)
        case_select(l, pm__some_cols[i], pm__some_rows[i % 4]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_select(l, 93, n);
}
