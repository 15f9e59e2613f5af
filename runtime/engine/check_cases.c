/* check_cases.c: building cases, and which operation has which. */
#include "case_list.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- building a case ------------------------------------------------------------------------- */

void pm__case_init(pm__check_case *c, uint32_t n_row, uint32_t n_out) {
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

pm__t pm__case_activation(pm__check_case *c, const char *name, pm__row_count rows, uint32_t n_col) {
    const pm__tensor t = {.name = name, .kind = PM__ACTIVATION, .rows = rows, .n_col = n_col};
    return add_tensor(c, &t);
}

pm__t pm__case_weight(pm__check_case *c, const char *name, pm__type type, uint32_t n_row,
                      uint32_t n_col) {
    const pm__tensor t = {
        .name = name, .kind = PM__WEIGHT, .type = type, .n_row = n_row, .n_col = n_col};
    return add_tensor(c, &t);
}

void pm__case_keep(pm__check_case *c, uint32_t i) {
    if (c->graph.status == PM_OK) {
        c->graph.nodes[0] = c->graph.nodes[i];
        c->graph.n_node = 1;
    }
}

void pm__case_give(pm__case_list *l, pm__check_case *c, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->shape, sizeof c->shape, fmt, args);
    va_end(args);
    const pm_check_level level = l->filter->level;
    if (!l->ended && (level == PM_CHECK_DEEP || (level == PM_CHECK_QUICK ? c->quick : !c->deep)))
        l->ended = !l->filter->take(l->filter->user, c);
    pm__graph_finish(&c->graph);
}

bool pm__case_is_common(pm__type type) {
    return type == PM__TYPE_F32 || type == PM__TYPE_F16 || type == PM__TYPE_Q4_0 ||
           type == PM__TYPE_Q8_0 || type == PM__TYPE_Q4_K;
}

bool pm__case_is_thorough(pm__type type) {
    return type == PM__TYPE_F32 || type == PM__TYPE_Q4_0;
}

bool pm__case_is_telling(pm__type type) {
    return type == PM__TYPE_F32 || type == PM__TYPE_F16 || type == PM__TYPE_Q4_0 ||
           type == PM__TYPE_Q8_0 || type == PM__TYPE_Q6_K || type == PM__TYPE_IQ3_XXS ||
           type == PM__TYPE_NVFP4;
}

bool pm__case_takes_type(const pm__case_list *l, int type) {
    return l->filter->types[type];
}

const uint32_t pm__some_rows[4] = {1, 2, 5, 33};
const uint32_t pm__some_cols[6] = {1, 7, 63, 64, 65, 131};

uint32_t pm__case_fit(pm__type type, uint32_t n_col) {
    return n_col * pm__type_get(type)->block_n;
}

bool pm__check_cases(pm__op op, const pm__case_filter *filter) {
    static void (*const cases[PM__OP_COUNT])(pm__case_list *) = {
#define PM_OP(NAME, name, matrix, nmse, what) [PM__OP_##NAME] = pm__cases_##name,
#include "../graph/ops.def"
#undef PM_OP
    };
    pm__case_list l = {.filter = filter};
    cases[op](&l);
    return !l.ended;
}
