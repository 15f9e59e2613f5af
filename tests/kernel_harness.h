/* kernel_harness.h: runs one node of a graph on a device, over operands in host memory, and watches
 * what lies around them. */
#ifndef PM_TESTS_KERNEL_HARNESS_H
#define PM_TESTS_KERNEL_HARNESS_H

#include "runtime/gpu/lower.h"
#include "runtime/gpu/queue.h"

typedef struct pm__harness {
    pm__gpu *gpu;
    pm__queue queue;
    pm__pipelines pipelines; /* of all trials so far */
    pm__buffer buffer;
} pm__harness;

/* index  as pm__gpu_list gives it. Finish takes one that failed to initialise too. */
pm_status pm__harness_init(pm__harness *harness, uint32_t index);
void pm__harness_finish(pm__harness *harness);

/* A tensor of the node, laid out as pm__cpu_run_node takes it. */
typedef struct pm__operand {
    const pm__tensor *tensor;
    unsigned char *data;  /* [bytes] before the run */
    unsigned char *after; /* out, [bytes] what the device left there; weights keep theirs */
    size_t bytes;
} pm__operand;

enum { PM__MOST_OPERANDS = PM__MOST_INPUTS + 1 };

typedef struct pm__trial {
    const pm__graph *graph; /* of one node; indices of its tensors below 16 */
    pm__limits limits;
    uint32_t n_row, n_out, n_sample;
    uint32_t part_rows; /* of a matrix; 0: all in one part */
    pm__operand operands[PM__MOST_OPERANDS];
    uint32_t n_operand;
    const char *kernel; /* out: name of the kernel that was chosen */
} pm__trial;

/* Lowers the node and runs it `times` times from the same data. Every operand lies between guards
 * of 0xff bytes (as floats, NaNs) that the kernel's bindings reach into, so that reading or writing
 * past an end shows.
 * errors  CHECK_FAILED: a guard was written, or a run left other bits than the first; those of
 *         lowering and running */
pm_status pm__harness_run(pm__harness *harness, pm__trial *trial, int times);

#endif
