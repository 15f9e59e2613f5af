/* measure_shapes.h: the different nodes of a model, and how long kernels take for them; for the
 * tuner and for the bench of kernels. */
#ifndef PM_ENGINE_MEASURE_SHAPES_H
#define PM_ENGINE_MEASURE_SHAPES_H

#include "../gpu/time_node.h"
#include "../gpu/tuning.h"
#include "check.h"
#include "internal.h"

/* Nodes that one kernel suits, in steps of one class. */
typedef struct pm__model_shape {
    pm__node_shape shape;
    const pm__node *node; /* one of them */
    uint32_t n_node;      /* in a step */
    pm__cost cost;        /* of one, with as many rows as stand for the class */
} pm__model_shape;

typedef struct pm__model_shapes {
    const pm_model *model;
    pm__graph graph;
    pm__graph classes[PM__ROWS_CLASSES]; /* as steps run it */
    pm__model_shape *items;              /* those that move most first, class after class */
    uint32_t n;
    size_t capacity;
} pm__model_shapes;

/* ADVANCE is left out, which moves its rows on each time. */
pm_status pm__model_shapes_init(pm__model_shapes *set, const pm_model *model);
void pm__model_shapes_finish(pm__model_shapes *set);

/* One shape on the device. */
typedef struct pm__shape_bench {
    const pm_device *device;
    pm__graph graph; /* of the node alone */
    pm__check_case the_case;
    pm__trial trial;
    pm__timer *timer;
    uint32_t n_row;
    pm__cost cost;           /* of one node */
    double bound;            /* NMSE that kernel may have from the reference */
    unsigned char *expected; /* what the first kernel left in the output; NULL: none ran */
} pm__shape_bench;

/* Of a class of many rows, as many as the default kernel gets done within a part of the time budget
 * of a submission.
 * errors  those of making room, of lowering and of running the default kernel */
pm_status pm__shape_bench_init(pm__shape_bench *bench, const pm_device *device,
                               const pm__model_shapes *set, const pm__model_shape *shape);
void pm__shape_bench_finish(pm__shape_bench *bench);

/* Whether a kernel may be tried for the shape. */
bool pm__shape_takes(const pm_device *device, const pm__model_shape *shape, int kernel);
/* Runs it once; of a kernel after the first compares what it leaves with what that left.
 * errors  CHECK_FAILED: the outputs are further apart than two right ones can be */
pm_status pm__shape_compare(pm__shape_bench *bench, int kernel);

#endif
