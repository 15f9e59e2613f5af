/* fuse.h: another graph of one, with fewer nodes that do more each. What fits no pattern stays as
 * it is. */
#ifndef PM_GRAPH_FUSE_H
#define PM_GRAPH_FUSE_H

#include "graph.h"

typedef struct pm__fuse_options {
    /* Whether the executor can run the node, and gains by it: kernels, and how weights lie. */
    bool (*takes)(void *user, const pm__node *node);
    /* In how many slices of the positions it does this ATTENTION; 0: as a whole. NULL: none. */
    uint32_t (*slices)(void *user, const pm__node *attention);
    void *user;
    bool int8; /* products of blocks of eight-bit integers are wanted */
} pm__fuse_options;

/* The two share tensors (weights, caches, states, parts of the step, activations of the same name,
 * the output), so `in` must outlive `out`; indexes of activations are the same in both, and `out`
 * has some more. A product with a norm or a gate in it adds up in another order than the nodes it
 * stands for; one of blocks has x
 * rounded to them; all else has the same bits.
 * errors  OUT_OF_MEMORY */
pm_status pm__fuse(const pm__graph *in, const pm__fuse_options *options, pm__graph *out);

#endif
