/* lower.h: graph nodes to kernel launches. */
#ifndef PM_GPU_LOWER_H
#define PM_GPU_LOWER_H

#include "kernels.h"
#include "memory.h"
#include "pipeline.h"

/* Rows [first_row, first_row + n_row) of a weight. A weight larger than caps.most_range has several
 * parts. */
typedef struct pm__weight_part {
    uint32_t first_row, n_row;
    pm__region quants, scales; /* scales.bytes is 0 where the type has none */
} pm__weight_part;

typedef struct pm__weight_place {
    pm__weight_part *parts;
    uint32_t n_part;
} pm__weight_place;

/* Where every tensor lives. */
typedef struct pm__places {
    const pm__weight_place *weights; /* by index of the weight */
    const pm__region *activations;   /* by index of the activation */
    const pm__region *caches;        /* by index of the cache */
    const pm__region *states;        /* by index of the state */
    pm__region step[PM__STEP_PART_COUNT];
} pm__places;

/* Grids that follow the rows of a step are read from device memory; begin() fills one entry for
 * each distinct grid. */
typedef enum pm__grid_count {
    PM__GRID_ROWS,
    PM__GRID_OUTS,
    PM__GRID_RUNS,   /* sequences that have rows in the step */
    PM__GRID_SAMPLES /* n_out where the step draws tokens, else 0 */
} pm__grid_count;

/* Which of the rows a launch takes. Of a node in pieces one launch takes groups of PM__PIECE rows,
 * and one of others, each of a group of another size, what is left: a group costs the same however
 * many rows it has. What is left may be in one group with the last PM__PIECE before it, since each
 * group decodes the weight. */
typedef enum pm__grid_rows {
    PM__GRID_ALL,
    PM__GRID_MOST, /* groups of PM__PIECE rows, the last of which may lack one */
    PM__GRID_REST  /* one group, where what is left is as many or one less than an even number */
} pm__grid_rows;

enum { PM__PIECE = 8, PM__MOST_JOINED = 12, PM__MOST_PIECES = 7 };

typedef struct pm__grid {
    pm__grid_count count;
    uint32_t rows_per_group; /* grid of the rows' axis = ceil(count / rows_per_group) */
    pm__grid_rows rows;
    bool joins;         /* of a node in pieces: some have more than PM__PIECE rows */
    uint32_t axis;      /* 0 x, 1 y, 2 z */
    uint32_t others[3]; /* the other axes, fixed */
    bool one;           /* exactly one group along the axis if count > 0 (SAMPLE's ADVANCE) */
} pm__grid;

typedef struct pm__dispatch {
    const pm__node *node;
    const pm__kernel *kernel;
    uint32_t pipeline; /* index in pm__pipelines */
    pm__region bindings[PM__MOST_BINDINGS];
    uint32_t n_binding;
    uint32_t read_mask, write_mask; /* which bindings it reads and writes, for hazards */
    uint32_t push[PM__MOST_PUSH_WORDS];
    uint32_t n_push;
    uint32_t grid; /* index in pm__program.grids */
    pm__cost cost; /* at full capacity and a full context */
} pm__dispatch;

/* All launches of one step for one class of batch. */
typedef struct pm__program {
    pm__dispatch *dispatches;
    uint32_t n_dispatch;
    pm__grid *grids; /* distinct */
    uint32_t n_grid;
    size_t capacity, grid_capacity;
} pm__program;

typedef struct pm__lowering {
    pm__gpu *gpu;
    const pm__graph *graph;
    const pm__limits *limits;
    const pm__places *places;
    uint32_t n_row, n_out;    /* most rows and outputs of a step of this class; n_row 1 gets the
                                 matrix-vector kernels */
    const pm__kernel *kernel; /* of every node, for checks; NULL: chosen */
    pm__pipelines *pipelines;
    bool encoder; /* which side of a graph that has two */
} pm__lowering;

/* Groups along the axis of the rows where there are n of what the grid counts. */
uint32_t pm__grid_groups(const pm__grid *grid, uint32_t n);

/* The kernel of a node, or NULL: what fits was found wrong. */
const pm__kernel *pm__lower_choose(const pm__lowering *in, const pm__node *node);

/* The graph with nodes that do more each, as far as the class and the device have kernels for them
 * that are as good (graph/fuse.h). Of the places, the parts of weights are looked at. */
pm_status pm__lower_fuse(const pm__lowering *in, pm__graph *out);

/* Chooses a kernel (kernels.def) for every node by tier, type and rows, requests its pipeline, and
 * fills bindings, constants and grid.
 * errors  UNSUPPORTED: no kernel fits (names node, type and device), OUT_OF_MEMORY */
pm_status pm__lower(const pm__lowering *in, pm__program *out);
/* Index of a grid of a program, which gets it where it has none like it. */
pm_status pm__program_add_grid(pm__program *program, const pm__grid *grid, uint32_t *index);
void pm__program_finish(pm__program *program);

#endif
