/* check_recurrent.c: cases of operations that carry something from row to row: runs that begin a
 * sequence or go on with one, of one row and of many. */
#include "case_list.h"

#include <math.h>
#include <stdio.h>

/* Decays are stored as negative numbers; states stay finite. */
static void case_init(pm__check_case *c, uint32_t n_row, uint32_t first_pos) {
    pm__case_init(c, n_row, 1);
    c->runs = true;
    c->first_pos = first_pos;
    c->limits.n_ctx = n_row + 40;
    c->outlier = 4;
    c->negative = true;
}

static pm__t batch(pm__check_case *c, const char *name, uint32_t n_col) {
    return pm__case_activation(c, name, PM__ROWS_BATCH, n_col);
}

static pm__t vector(pm__check_case *c, const char *name, uint32_t n_col) {
    return pm__case_weight(c, name, PM__TYPE_F32, 1, n_col);
}

/* ---- convolution ----------------------------------------------------------------------------- */

typedef struct conv_case {
    uint32_t n_col, n_tap, n_row, first_pos;
    bool bias, silu, quick, deep;
} conv_case;

static void case_conv(pm__case_list *l, const conv_case *v) {
    pm__check_case c;
    case_init(&c, v->n_row, v->first_pos);
    c.quick = v->quick;
    c.deep = v->deep;
    const pm__t state = pm__state(&c.graph, "state", v->n_col * (v->n_tap - 1));
    const pm__t w = pm__case_weight(&c, "w", PM__TYPE_F32, v->n_col, v->n_tap);
    const pm__t bias = v->bias ? vector(&c, "bias", v->n_col) : NULL;
    pm__conv(&c.graph, "conv", batch(&c, "x", v->n_col), w, bias, state, v->silu);
    pm__case_give(l, &c, "%ux%u/rows%u/pos%u%s%s", v->n_col, v->n_tap, v->n_row, v->first_pos,
                  v->bias ? "/bias" : "", v->silu ? "/silu" : "");
}

void pm__cases_conv(pm__case_list *l) {
    static const conv_case cases[] = {
        {1, 2, 1, 0, false, false, false, false},   {7, 3, 1, 9, true, true, false, false},
        {65, 4, 2, 7, false, true, false, false},   {63, 3, 5, 0, true, false, false, false},
        {131, 4, 33, 3, true, true, true, false},   {64, 16, 33, 1, false, false, false, false},
        {67, 16, 5, 20, false, true, false, false}, {130, 3, 33, 0, false, false, false, false},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        case_conv(l, &cases[i]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_conv(l, &(conv_case){93, 4, n, n % 7, true, true, false, true});
}

/* ---- state spaces ---------------------------------------------------------------------------- */

typedef struct scan_case {
    uint32_t n_col, n_state, n_row, first_pos;
    bool quick, deep;
} scan_case;

static void case_ssm_scan(pm__case_list *l, const scan_case *v) {
    pm__check_case c;
    case_init(&c, v->n_row, v->first_pos);
    c.quick = v->quick;
    c.deep = v->deep;
    const pm__ssm_desc desc = {.a = pm__case_weight(&c, "a", PM__TYPE_F32, v->n_col, v->n_state),
                               .d = vector(&c, "d", v->n_col),
                               .state = pm__state(&c.graph, "state", v->n_col * v->n_state)};
    const pm__t x = batch(&c, "x", v->n_col), dt = batch(&c, "dt", v->n_col);
    pm__ssm_scan(&c.graph, "ssm_scan", x, dt, batch(&c, "bc", 2 * v->n_state), &desc);
    pm__case_give(l, &c, "%ux%u/rows%u/pos%u", v->n_col, v->n_state, v->n_row, v->first_pos);
}

void pm__cases_ssm_scan(pm__case_list *l) {
    static const scan_case cases[] = {
        {1, 1, 1, 0, false, false},    {67, 8, 1, 5, false, false},   {131, 16, 33, 2, true, false},
        {63, 13, 5, 0, false, false},  {130, 3, 17, 1, false, false}, {5, 256, 19, 4, false, false},
        {7, 130, 49, 0, false, false},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        case_ssm_scan(l, &cases[i]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_ssm_scan(l, &(scan_case){37, 16, n, n % 5, false, true});
    case_ssm_scan(l, &(scan_case){5, 16, 4099, 1, false, true});
}

typedef struct scan2_case {
    uint32_t n_head, head_dim, n_group, n_state, n_row, first_pos;
    bool quick, deep;
} scan2_case;

static void case_ssm2_scan(pm__case_list *l, const scan2_case *v) {
    pm__check_case c;
    case_init(&c, v->n_row, v->first_pos);
    c.quick = v->quick;
    c.deep = v->deep;
    const uint32_t n_col = v->n_head * v->head_dim;
    const pm__ssm2_desc desc = {.n_head = v->n_head,
                                .n_group = v->n_group,
                                .n_state = v->n_state,
                                .a = vector(&c, "a", v->n_head),
                                .d = vector(&c, "d", v->n_head),
                                .state = pm__state(&c.graph, "state", n_col * v->n_state)};
    const pm__t xbc = batch(&c, "xbc", n_col + 2 * v->n_group * v->n_state);
    pm__ssm2_scan(&c.graph, "ssm2_scan", xbc, batch(&c, "dt", v->n_head), &desc);
    pm__case_give(l, &c, "%ux%u/groups%u/state%u/rows%u/pos%u", v->n_head, v->head_dim, v->n_group,
                  v->n_state, v->n_row, v->first_pos);
}

void pm__cases_ssm2_scan(pm__case_list *l) {
    static const scan2_case cases[] = {
        {1, 1, 1, 1, 1, 0, false, false},    {3, 7, 1, 8, 1, 6, false, false},
        {6, 10, 2, 16, 33, 2, true, false},  {4, 16, 2, 128, 5, 0, false, false},
        {2, 9, 1, 256, 17, 3, false, false}, {9, 5, 3, 13, 49, 0, false, false},
        {5, 12, 5, 64, 2, 11, false, false},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        case_ssm2_scan(l, &cases[i]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_ssm2_scan(l, &(scan2_case){6, 7, 3, 32, n, n % 5, false, true});
}

/* ---- delta rules ----------------------------------------------------------------------------- */

typedef struct delta_case {
    uint32_t n_head, n_head_k, head_dim, n_row, first_pos;
    bool tiled, quick, deep;
} delta_case;

static void case_delta_net(pm__case_list *l, const delta_case *v) {
    pm__check_case c;
    case_init(&c, v->n_row, v->first_pos);
    c.quick = v->quick;
    c.deep = v->deep;
    c.size = 1.0f / sqrtf((float)v->head_dim); /* keys of a length of about 1 */
    const uint32_t n_col = v->n_head * v->head_dim;
    const pm__delta_net_desc desc = {.n_head = v->n_head,
                                     .n_head_k = v->n_head_k,
                                     .head_dim = v->head_dim,
                                     .tiled = v->tiled,
                                     .decay = vector(&c, "decay", v->n_head),
                                     .state = pm__state(&c.graph, "state", n_col * v->head_dim)};
    const pm__t inputs[] = {batch(&c, "qk", 2 * v->n_head_k * v->head_dim), batch(&c, "v", n_col),
                            batch(&c, "b", v->n_head), batch(&c, "a", v->n_head)};
    pm__delta_net(&c.graph, "delta_net", inputs, &desc);
    pm__case_give(l, &c, "%ux%u/keys%u/rows%u/pos%u%s", v->n_head, v->head_dim, v->n_head_k,
                  v->n_row, v->first_pos, v->tiled ? "/tiled" : "");
}

void pm__cases_delta_net(pm__case_list *l) {
    static const delta_case cases[] = {
        {1, 1, 5, 1, 0, false, false, false},    {6, 3, 10, 1, 8, true, false, false},
        {4, 2, 16, 33, 3, true, true, false},    {6, 2, 16, 5, 0, false, false, false},
        {2, 1, 128, 33, 2, false, true, false},  {3, 3, 67, 2, 5, true, false, false},
        {1, 1, 256, 17, 1, false, false, false},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        case_delta_net(l, &cases[i]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_delta_net(l, &(delta_case){4, 2, 24, n, n % 5, n % 2 == 0, false, true});
    case_delta_net(l, &(delta_case){1, 1, 128, 3700, 1, false, false, true});
}

typedef struct wkv7_case {
    uint32_t n_head, head_dim, n_row, first_pos;
    bool quick, deep;
} wkv7_case;

static void case_wkv7(pm__case_list *l, const wkv7_case *v) {
    pm__check_case c;
    case_init(&c, v->n_row, v->first_pos);
    c.quick = v->quick;
    c.deep = v->deep;
    c.size = 1.0f / sqrtf((float)v->head_dim);
    const uint32_t n_col = v->n_head * v->head_dim;
    const pm__t state = pm__state(&c.graph, "state", n_col * v->head_dim);
    const pm__t inputs[] = {batch(&c, "r", n_col), batch(&c, "w", n_col), batch(&c, "k", n_col),
                            batch(&c, "v", n_col), batch(&c, "kka", 2 * n_col)};
    pm__wkv7(&c.graph, "wkv7", inputs, v->head_dim, state);
    pm__case_give(l, &c, "%ux%u/rows%u/pos%u", v->n_head, v->head_dim, v->n_row, v->first_pos);
}

void pm__cases_wkv7(pm__case_list *l) {
    static const wkv7_case cases[] = {
        {1, 3, 1, 0, false, false},  {3, 32, 1, 4, false, false},  {3, 64, 33, 2, true, false},
        {2, 67, 5, 0, false, false}, {5, 10, 17, 1, false, false}, {1, 256, 3, 7, false, false},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        case_wkv7(l, &cases[i]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_wkv7(l, &(wkv7_case){3, 24, n, n % 5, false, true});
}

static void case_wkv7_bonus(pm__case_list *l, uint32_t n_head, uint32_t head_dim, uint32_t n_row) {
    pm__check_case c;
    case_init(&c, n_row, 0);
    c.quick = head_dim == 64;
    c.deep = head_dim == 31;
    const uint32_t n_col = n_head * head_dim;
    const pm__t inputs[] = {batch(&c, "y", n_col), batch(&c, "r", n_col), batch(&c, "k", n_col),
                            batch(&c, "v", n_col)};
    pm__wkv7_bonus(&c.graph, "wkv7_bonus", inputs, vector(&c, "w", n_col), head_dim);
    pm__case_give(l, &c, "%ux%u/rows%u", n_head, head_dim, n_row);
}

void pm__cases_wkv7_bonus(pm__case_list *l) {
    case_wkv7_bonus(l, 1, 1, 1);
    case_wkv7_bonus(l, 3, 64, 5);
    case_wkv7_bonus(l, 2, 67, 33);
    case_wkv7_bonus(l, 7, 10, 2);
    case_wkv7_bonus(l, 5, 33, 3);
    case_wkv7_bonus(l, 1, 129, 7);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_wkv7_bonus(l, 3, 31, n);
}

/* ---- the row before -------------------------------------------------------------------------- */

static void case_shift(pm__case_list *l, uint32_t n_col, uint32_t n_row, uint32_t first_pos) {
    pm__check_case c;
    case_init(&c, n_row, first_pos);
    c.quick = n_col == 131;
    c.deep = n_col == 93;
    const pm__t x = batch(&c, "x", n_col);
    pm__shift(&c.graph, "shift", x, pm__state(&c.graph, "state", n_col));
    pm__case_give(l, &c, "%u/rows%u/pos%u", n_col, n_row, first_pos);
}

void pm__cases_shift(pm__case_list *l) {
    for (size_t i = 0; i < PM__COUNT(pm__some_cols); i++)
        for (uint32_t pos = 0; pos < 8; pos += 7)
            case_shift(l, pm__some_cols[i], pm__some_rows[i % 4], pos);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_shift(l, 93, n, n % 5);
}

static void case_lerp(pm__case_list *l, uint32_t n_col, uint32_t n, bool one, bool outs) {
    const pm__row_count rows = outs ? PM__ROWS_OUT : PM__ROWS_BATCH;
    pm__check_case c;
    pm__case_init(&c, n + 1, n);
    c.quick = n_col == 131;
    c.deep = n_col == 93;
    const pm__t a = pm__case_activation(&c, "a", rows, n_col);
    const pm__t b = pm__case_activation(&c, "b", rows, n_col);
    pm__lerp(&c.graph, "lerp", a, b,
             one ? vector(&c, "w", n_col) : pm__case_activation(&c, "w", rows, n_col));
    pm__case_give(l, &c, "%u/rows%u%s%s", n_col, outs ? n : n + 1, one ? "/one" : "",
                  outs ? "/outs" : "");
}

void pm__cases_lerp(pm__case_list *l) {
    for (size_t i = 0; i < PM__COUNT(pm__some_cols); i++)
        for (int one = 0; one < 2; one++)
            case_lerp(l, pm__some_cols[i], pm__some_rows[i % 4], one, i % 2);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_lerp(l, 93, n, n % 2, false);
}
