/* builder.h: what the files of builder calls (build*.c) share: appending a node, and checks of
 * shapes. Each check sets the graph's status, with a sentence that names the node, and gives
 * false. */
#ifndef PM_GRAPH_BUILDER_H
#define PM_GRAPH_BUILDER_H

#include "build.h"

bool pm__build_fail(pm__graph *g, const char *name, const char *fmt, ...) PM__PRINTF(3, 4);

/* A part of the step; one that could not be made shows in the status. */
pm__t pm__build_step(pm__graph *g, pm__step_part part);
/* The name with the graph's scope before it, or NULL. */
const char *pm__build_name(pm__graph *g, const char *name);
/* Appends the node as it is. */
pm__t pm__build_add(pm__graph *g, const pm__node *node);
/* Gives the node its full name and a new activation as output, and appends it. */
pm__t pm__build_node(pm__graph *g, pm__node *node, pm__row_count rows, uint32_t n_col);
/* A new activation; the name is kept. */
pm__t pm__build_activation(pm__graph *g, const char *name, pm__row_count rows, uint32_t n_col);
/* Add a cache or a state, whose name is full; copied. */
pm__t pm__build_cache(pm__graph *g, const pm__tensor *cache);
pm__t pm__build_state(pm__graph *g, const pm__tensor *state);

bool pm__build_is_activation(pm__graph *g, const char *name, const char *what, pm__t x);
/* An activation with a row for each of the step. */
bool pm__build_is_batch(pm__graph *g, const char *name, pm__t x);
/* n_row 0: any */
bool pm__build_is_weight(pm__graph *g, const char *name, pm__t w, uint32_t n_row, uint32_t n_col);
/* Activations of the same shape. */
bool pm__build_are_alike(pm__graph *g, const char *name, pm__t a, pm__t b);
/* Whether n_group groups of `each` columns are all columns of x. */
bool pm__build_is_cut(pm__graph *g, const char *name, pm__t x, uint32_t n_group, uint32_t each);

#endif
