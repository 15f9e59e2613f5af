/* run_node.h: runs one node of a graph by a kernel of one's choice over operands in plain memory,
 * and watches what lies around them. For checks. Shows no Vulkan type, as gpu.h. */
#ifndef PM_GPU_RUN_NODE_H
#define PM_GPU_RUN_NODE_H

#include "../graph/backend.h"

/* A row of shaders/kernels.def as a device sees it. */
typedef struct pm__kernel_info {
    const char *name, *tier;
    pm__op op;
    uint32_t from_rows; /* the number from which it is best */
    bool available;     /* the device has the tier */
    bool quarantined;   /* and is not used therefore */
    bool at_home;       /* it is made for such devices */
    bool variant;       /* of another row; used where a tuning says so */
} pm__kernel_info;

enum { PM__KERNEL_NONE = -1, PM__MOST_KERNELS = 128 };

/* False past the last row. */
bool pm__gpu_kernel(const pm__device_handle *handle, int kernel, pm__kernel_info *out);
/* Whether it takes this node of its operation. */
bool pm__gpu_takes(int kernel, const pm__node *node);
/* NMSE that its results of the node may have against the CPU reference. */
double pm__gpu_bound(int kernel, const pm__node *node);
/* Row of the kernel that a run takes for n_row rows of a node, or of any (NULL); PM__KERNEL_NONE if
 * there is none. */
int pm__gpu_choose(const pm__device_handle *handle, pm__op op, const pm__node *node,
                   uint32_t n_row);

/* The same without what was measured. */
int pm__gpu_default(const pm__device_handle *handle, pm__op op, const pm__node *node,
                    uint32_t n_row);

/* The graph as steps of up to n_row rows run it where nobody forbids it (graph/fuse.h).
 * what    def, graph, and weights or NULL count
 * errors  OUT_OF_MEMORY; those of placing weights */
pm_status pm__gpu_fuse(const pm__device_handle *handle, const pm__plan_desc *what, uint32_t n_row,
                       pm__graph *out);

/* A tensor of the node, laid out as pm__cpu_run_node takes it. */
typedef struct pm__operand {
    const pm__tensor *tensor;
    const unsigned char *data; /* [bytes] before the run */
    unsigned char *after;      /* out, [bytes] what the device left there; weights have none */
    size_t bytes;
    bool placed; /* a weight that is used where pm__trial.weights has it */
} pm__operand;

enum { PM__MOST_OPERANDS = PM__MOST_INPUTS + 1 };

typedef struct pm__trial {
    const pm__node *node;
    pm__limits limits;
    uint32_t n_row, n_out, n_sample;
    uint32_t n_run;        /* sequences that have rows, which are neighbours then */
    uint32_t part_rows;    /* of a matrix given by its data; 0: all in one part */
    uint32_t most_group_x; /* of the device, made smaller; 0: as it is */
    const void *weights;   /* of the backend */
    int kernel; /* row of kernels.def; PM__KERNEL_NONE: the one that a run takes. out: taken */
    pm__operand operands[PM__MOST_OPERANDS];
    uint32_t n_operand;
} pm__trial;

typedef struct pm__runner pm__runner;

/* handle  of pm__gpu_open, which outlives it */
pm_status pm__runner_create(const pm__device_handle *handle, pm__runner **out);
void pm__runner_destroy(pm__runner *runner);

/* Lowers the node and runs it `times` times from the same data. Every operand lies between guards
 * of 0xff bytes (as floats, NaNs) that the kernel's bindings reach into, so that reading or writing
 * past an end shows.
 * errors  CHECK_FAILED: a guard was written, or a run left other bits than the first; those of
 *         lowering, compiling and running */
pm_status pm__runner_run(pm__runner *runner, pm__trial *trial, int times);

#endif
