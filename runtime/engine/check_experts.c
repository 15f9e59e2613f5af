/* check_experts.c: cases of the operations of mixtures of experts. */
#include "case_list.h"

/* ---- route ----------------------------------------------------------------------------------- */

typedef struct route_case {
    uint32_t n_expert, n_row;
    pm__route_desc desc;
    bool bias, scale;
    bool ties, quick, deep;
} route_case;

static void case_route(pm__case_list *l, const route_case *r) {
    static const char *const gatings[] = {"softmax", "sigmoid", "chosen"};
    pm__check_case c;
    pm__case_init(&c, r->n_row, 1);
    /* Gates that vanish are in no order on a device that flushes them to zero. */
    c.outlier = r->bias || r->desc.n_group > 1 ? 2 : 100;
    c.zero_bits = r->ties ? 22 : 0;
    c.quick = r->quick;
    c.deep = r->deep;
    const pm__t x = pm__case_activation(&c, "logits", PM__ROWS_BATCH, r->n_expert);
    const pm__t bias = r->bias ? pm__case_weight(&c, "bias", PM__TYPE_F32, 1, r->n_expert) : NULL;
    const pm__t scale =
        r->scale ? pm__case_weight(&c, "scale", PM__TYPE_F32, 1, r->n_expert) : NULL;
    pm__route(&c.graph, "route", x, bias, scale, &r->desc);
    pm__case_give(l, &c, "%u-of-%u/%s%s/groups%u/scale%g%s%s%s/rows%u", r->desc.n_used, r->n_expert,
                  gatings[r->desc.gating], r->desc.renorm ? "-renorm" : "", r->desc.n_group,
                  (double)r->desc.scale, r->bias ? "/bias" : "", r->scale ? "/scaled" : "",
                  r->ties ? "/ties" : "", c.n_row);
}

void pm__cases_route(pm__case_list *l) {
    static const route_case cases[] = {
        {1, 3, {.n_used = 1}, false, false, false, false, false},
        {5, 2, {.n_used = 2}, false, true, false, false, false},
        {7, 33, {.n_used = 7, .renorm = true}, false, false, true, false, false},
        {60, 5, {.n_used = 4}, false, false, false, true, false},
        {127, 2, {.n_used = 8, .renorm = true}, false, false, true, false, false},
        {512, 3, {.n_used = 10, .renorm = true}, false, false, false, false, false},
        {32,
         1,
         {.n_used = 4, .gating = PM__ROUTE_SOFTMAX_CHOSEN},
         false,
         false,
         false,
         true,
         false},
        {129, 2, {.n_used = 1, .gating = PM__ROUTE_SIGMOID}, false, false, false, false, false},
        {129,
         5,
         {.n_used = 32, .gating = PM__ROUTE_SIGMOID, .renorm = true},
         true,
         true,
         false,
         false,
         false},
        {256, 3, {8, PM__ROUTE_SIGMOID, true, 2.5f, 8, 4}, true, false, false, true, false},
        {160, 2, {6, PM__ROUTE_SOFTMAX, false, 16, 8, 3}, false, false, false, false, false},
        {65, 5, {5, PM__ROUTE_SIGMOID, true, 1, 13, 3}, false, false, true, false, false},
        {9, 2, {3, PM__ROUTE_SIGMOID, false, 1, 9, 4}, true, false, false, false, false},
        {1024, 1, {64, PM__ROUTE_SOFTMAX, true, 1, 1, 1}, false, false, false, false, false},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        case_route(l, &cases[i]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++) {
        route_case r = cases[9];
        r.n_row = n;
        r.quick = false;
        r.deep = true;
        case_route(l, &r);
    }
}

/* ---- group ----------------------------------------------------------------------------------- */

static void case_group(pm__case_list *l, uint32_t n_expert, uint32_t n_used, uint32_t n_row,
                       bool deep) {
    pm__check_case c;
    pm__case_init(&c, n_row, 1);
    c.quick = n_row == 33;
    c.deep = deep;
    const pm__t x = pm__case_activation(&c, "x", PM__ROWS_BATCH, 4);
    const pm__t w = pm__case_weight(&c, "w", PM__TYPE_F32, n_expert, 4);
    c.route = pm__case_activation(&c, "route", PM__ROWS_BATCH, 2 * n_used);
    c.n_expert = n_expert;
    pm__experts_matmul(&c.graph, "group", x, w, NULL, c.route, n_expert);
    c.graph.n_node = 1;
    pm__case_give(l, &c, "%u-of-%u/rows%u", n_used, n_expert, n_row);
}

void pm__cases_group(pm__case_list *l) {
    static const uint32_t shapes[][3] = {{1, 1, 1},    {5, 2, 2},   {4, 4, 5},   {64, 8, 33},
                                         {130, 6, 65}, {3, 1, 131}, {32, 4, 67}, {512, 10, 37}};
    for (size_t i = 0; i < PM__COUNT(shapes); i++)
        case_group(l, shapes[i][0], shapes[i][1], shapes[i][2], false);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_group(l, 6, 2, n, true);
}

/* ---- the matrices ---------------------------------------------------------------------------- */

typedef struct experts_shape {
    uint32_t n_in, n_out; /* n_in in blocks of the type */
    uint32_t n_expert, n_used, part_rows;
    bool spread, bias, scale, quick; /* spread: x has columns of its own for each slot */
} experts_shape;

/* n_used 0: head by head, without a route */
static void case_experts(pm__case_list *l, pm__type type, const experts_shape *e, uint32_t n_row,
                         bool deep) {
    pm__check_case c;
    pm__case_init(&c, n_row, 1);
    c.part_rows = e->part_rows;
    c.quick = e->quick && (n_row == 1 || n_row == 33);
    c.deep = deep;
    const uint32_t n_in = pm__case_fit(type, e->n_in),
                   n_slot = e->n_used > 0 ? e->n_used : e->n_expert;
    const pm__t x = pm__case_activation(&c, "x", PM__ROWS_BATCH, e->spread ? n_slot * n_in : n_in);
    const pm__t w = pm__case_weight(&c, "w", type, e->n_expert * e->n_out, n_in);
    if (e->n_used == 0) {
        pm__heads_matmul(&c.graph, "experts", x, w, e->n_expert);
    } else {
        c.route = pm__case_activation(&c, "route", PM__ROWS_BATCH, 2 * e->n_used);
        c.n_expert = e->n_expert;
        const pm__t bias = e->bias ? pm__case_weight(&c, "bias", PM__TYPE_F32, 1, w->n_row) : NULL;
        if (e->scale)
            c.tensors[w->index - c.tensors[0].index].scale =
                pm__case_weight(&c, "scale", PM__TYPE_F32, 1, e->n_expert);
        pm__experts_matmul(&c.graph, "experts", x, w, bias, c.route, e->n_expert);
        pm__case_keep(&c, 1);
    }
    pm__case_give(l, &c, "%s/%u-of-%ux%ux%u/rows%u%s%s%s%s", pm__type_get(type)->name, e->n_used,
                  e->n_expert, e->n_out, n_in, n_row, e->spread ? "/spread" : "",
                  e->bias ? "/bias" : "", e->scale ? "/scale" : "",
                  e->part_rows > 0 ? "/parts" : "");
}

static const experts_shape in_elements[] = {
    {131, 65, 7, 3, 23, true, false, true, true},   {1, 1, 1, 1, 0, false, false, false, false},
    {33, 67, 5, 2, 0, false, true, false, false},   {64, 38, 4, 0, 0, true, false, false, false},
    {31, 63, 3, 0, 50, false, false, false, false}, {260, 5, 40, 6, 0, false, true, true, false},
};
static const experts_shape in_blocks[] = {
    {3, 65, 5, 2, 47, true, true, true, true},
    {2, 67, 3, 0, 0, true, false, false, false},
    {1, 150, 3, 2, 0, false, false, false, false},
};

/* Types are read by the same readers as in matrices of other kinds, so for most one case will
 * do. */
static void cases_of_type(pm__case_list *l, pm__type type) {
    static const experts_shape any = {2, 66, 6, 2, 0, false, false, false, false};
    static const uint32_t rows[] = {33, 1, 7, 67};
    const bool blocks = pm__type_get(type)->block_n > 1;
    const experts_shape *shapes = blocks ? in_blocks : in_elements;
    const size_t n_shape = type == PM__TYPE_F32    ? PM__COUNT(in_elements)
                           : type == PM__TYPE_Q8_0 ? PM__COUNT(in_blocks)
                                                   : 1;

    for (size_t i = 0; i < n_shape; i++)
        for (size_t r = 0; r < (n_shape == 1 ? 1u : i == 0 ? 4u : 2u); r++)
            case_experts(l, type, &shapes[i], rows[(i + r) % 4], false);
    for (uint32_t r = 1; r <= PM__CASE_MOST_BATCH; r++)
        case_experts(l, type, &any, r, true);
}

void pm__cases_experts_matmul(pm__case_list *l) {
    for (int type = 0; type < PM__TYPE_COUNT; type++)
        if (pm__case_takes_type(l, type))
            cases_of_type(l, (pm__type)type);
}

/* ---- mix and spread -------------------------------------------------------------------------- */

static void case_mix(pm__case_list *l, uint32_t n_col, uint32_t n_used, uint32_t n_row,
                     int options) {
    pm__check_case c;
    const bool routed = (options & 1) != 0, added = (options & 2) != 0;
    pm__case_init(&c, n_row, 1);
    c.quick = n_col == 131;
    c.deep = n_col == 93;
    c.n_expert = 64;
    const pm__t x = pm__case_activation(&c, "x", PM__ROWS_BATCH, n_used * n_col);
    const pm__t more = added ? pm__case_activation(&c, "residual", PM__ROWS_BATCH, n_col) : NULL;
    if (routed) {
        c.route = pm__case_activation(&c, "route", PM__ROWS_BATCH, 2 * n_used);
        pm__mix(&c.graph, "mix", x, c.route, more);
    } else {
        pm__mix_sum(&c.graph, "mix", x, n_used, more);
    }
    pm__case_give(l, &c, "%ux%u/rows%u%s%s", n_used, n_col, n_row, routed ? "/route" : "",
                  added ? "/residual" : "");
}

void pm__cases_mix(pm__case_list *l) {
    for (uint32_t i = 0; i < PM__COUNT(pm__some_cols); i++)
        case_mix(l, pm__some_cols[i], i % 4 * 3 + 1, pm__some_rows[i % 4], (int)(i + 2) % 4);
    case_mix(l, 200, 32, 5, 3);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_mix(l, 93, 4, n, 3);
}

static void case_spread(pm__case_list *l, uint32_t n_col, uint32_t n_used, uint32_t n_row) {
    pm__check_case c;
    pm__case_init(&c, n_row, 1);
    c.quick = n_col == 131;
    c.deep = n_col == 93;
    c.n_expert = 64;
    const pm__t x = pm__case_activation(&c, "x", PM__ROWS_BATCH, n_col);
    c.route = pm__case_activation(&c, "route", PM__ROWS_BATCH, 2 * n_used);
    pm__spread(&c.graph, "spread", x, c.route);
    pm__case_give(l, &c, "%ux%u/rows%u", n_used, n_col, n_row);
}

void pm__cases_spread(pm__case_list *l) {
    for (uint32_t i = 0; i < PM__COUNT(pm__some_cols); i++)
        case_spread(l, pm__some_cols[i], i % 4 * 3 + 1, pm__some_rows[i % 4]);
    for (uint32_t n = 1; n <= PM__CASE_MOST_BATCH; n++)
        case_spread(l, 93, 4, n);
}
