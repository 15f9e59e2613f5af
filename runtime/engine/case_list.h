/* case_list.h: what the files of cases (check_*.c) share. Each operation has a function
 * pm__cases_<name>, which gives its cases one after the other. */
#ifndef PM_ENGINE_CASE_LIST_H
#define PM_ENGINE_CASE_LIST_H

#include "check_cases.h"

/* DEPTH: a long context, where a case is about that. */
enum { PM__CASE_MOST_BATCH = 64, PM__CASE_DEPTH = 32768 };

typedef struct pm__case_list {
    const pm__case_filter *filter;
    bool ended;
} pm__case_list;

#define PM_OP(NAME, name, matrix, nmse, what) void pm__cases_##name(pm__case_list *l);
#include "../graph/ops.def"
#undef PM_OP

/* Sizes next to those that kernels like. */
extern const uint32_t pm__some_rows[4], pm__some_cols[6];

/* A case of 97 positions and three sequences, its graph open. */
void pm__case_init(pm__check_case *c, uint32_t n_row, uint32_t n_out);
/* Inputs. */
pm__t pm__case_activation(pm__check_case *c, const char *name, pm__row_count rows, uint32_t n_col);
pm__t pm__case_weight(pm__check_case *c, const char *name, pm__type type, uint32_t n_row,
                      uint32_t n_col);
/* Of the nodes that the builder made, the case is node i. */
void pm__case_keep(pm__check_case *c, uint32_t i);
/* Hands over a case whose graph is built, if the level wants it. The text is its shape. */
void pm__case_give(pm__case_list *l, pm__check_case *c, const char *fmt, ...) PM__PRINTF(3, 4);

/* Whether matrices of the type are wanted. */
bool pm__case_takes_type(const pm__case_list *l, int type);
/* Columns of a matrix that its type can have: n blocks. */
uint32_t pm__case_fit(pm__type type, uint32_t n);

#endif
