/* weights.h: the weights of a model on a device: where each part goes, packing, streaming. */
#ifndef PM_GPU_WEIGHTS_H
#define PM_GPU_WEIGHTS_H

#include "lower.h"
#include "needs.h"
#include "queue.h"

/* What gpu.c hands out as a device. */
typedef struct pm__gpu_device {
    pm__gpu *gpu;
    pm__queue queue;
    struct pm__ahead *ahead; /* NULL: no session is expected */
} pm__gpu_device;

/* Where the planes of a part go, in words of needs until there are buffers. */
typedef struct pm__part_spots {
    pm__spot quants, scales;
} pm__part_spots;

typedef struct pm__gpu_weights {
    pm__gpu_device *device;
    const pm__model_def *def;
    pm__needs needs;
    pm__needs staging;        /* while they are loaded; none where all of them are mapped */
    pm__buffer *buffers;      /* [needs.n] */
    pm__weight_place *places; /* [def->n_weight] */
    pm__part_spots *spots;    /* of all parts, weight after weight */
    uint32_t n_part;
} pm__gpu_weights;

typedef struct pm__row_shape {
    VkDeviceSize quants, scales; /* bytes of one packed row */
    VkDeviceSize table;          /* bytes before the rows of the scales plane of each part */
} pm__row_shape;

pm__row_shape pm__weight_shape(const pm__weight *weight);
/* Of the parts of weight i. */
pm__part_spots *pm__weight_spots(const pm__gpu_weights *weights, uint32_t i);

/* Lays the weights out: places, parts and needs, no memory. */
pm_status pm__gpu_weights_plan(pm__gpu_device *device, const pm__model_def *def,
                               pm__gpu_weights **out);
/* Where the planes of each part are, in whatever buffers there are: none before they are loaded. */
void pm__gpu_weights_point(pm__gpu_weights *weights);
/* Places the weights, and the staging ring if one will be needed; only the former keep their
 * room. */
pm_status pm__gpu_weights_place(pm__gpu_weights *weights, pm__room *room);
/* Allocates and streams what was planned. Where the device's memory is not mapped, a staging ring
 * is there meanwhile. */
pm_status pm__gpu_weights_load(pm__gpu_weights *weights, pm_progress_fn progress, void *user);
void pm__gpu_weights_destroy(pm__gpu_weights *weights);

#endif
