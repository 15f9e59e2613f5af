/* cpu.h: the reference executor: plain loops, double sums. Every kernel is proved against it. */
#ifndef PM_CPU_CPU_H
#define PM_CPU_CPU_H

#include "../graph/backend.h"

/* n_thread    0: one a processor
 * most_bytes  of mapped weights and contexts together; 0: no limit */
pm_status pm__cpu_open(uint32_t n_thread, uint64_t most_bytes, pm__device_handle *out);
/* What pm_device_list shows of it, without opening. */
const pm_device_info *pm__cpu_info(void);

/* One node over plain memory, for checks of single kernels.
 * in      base of each input: activations [rows, n_col] f32; weights as the file holds them, of a
 *         joined one a table of its pieces;
 *         caches as plan.h lays them out; step parts in the layout of params.h
 * out     the same for the output; ADVANCE also writes inputs, as graph.h says */
typedef struct pm__cpu_args {
    const void *in[PM__MOST_INPUTS];
    void *out;
    uint32_t n_row, n_out;
    const pm__limits *limits;
} pm__cpu_args;

void pm__cpu_run_node(const pm__node *node, const pm__cpu_args *args);

/* Called before each node of a step, on the thread that runs it; NULL: nobody watches.
 * device  of pm__cpu_open */
typedef void (*pm__cpu_watch_fn)(void *user, const pm__node *node, const pm__cpu_args *args);
void pm__cpu_watch(void *device, pm__cpu_watch_fn fn, void *user);

#endif
