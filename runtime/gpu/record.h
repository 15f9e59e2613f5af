/* record.h: a program recorded into command buffers, cut so that no submission is longer than the
 * time budget.
 *
 * The first run is cut fine and measured; then the launches are recorded anew in segments of as
 * many launches as half the budget holds. A segment that later takes longer than the budget is cut
 * again. */
#ifndef PM_GPU_RECORD_H
#define PM_GPU_RECORD_H

#include "lower.h"
#include "queue.h"

typedef struct pm__segment {
    uint32_t first, n; /* launches */
    VkCommandBuffer commands;
    double seconds; /* of the last measured run */
} pm__segment;

typedef struct pm__recording_desc {
    pm__queue *queue;
    const pm__program *program;
    const pm__pipelines *pipelines;
    pm__region grids; /* [program->n_grid] VkDispatchIndirectCommand, PM__GRID_STRIDE bytes apart */
    uint32_t n_row;   /* rows at full capacity */
    bool profile;     /* a time stamp before and after each launch, where the device has them */
} pm__recording_desc;

enum { PM__GRID_STRIDE = 16 };

typedef struct pm__recording {
    pm__recording_desc desc;
    VkDescriptorPool pool;
    VkDescriptorSet *sets; /* [n_dispatch] */
    VkQueryPool queries;   /* two a segment; NULL without timestamps */
    VkQueryPool stamps;    /* two a launch; NULL where nobody profiles */
    pm__segment *segments; /* [n_dispatch] room */
    uint32_t n_segment;
    uint32_t n_barrier;
    double *seconds;     /* [n_dispatch] of a run with all rows, estimated from a measured one */
    uint32_t basis_rows; /* rows of that run; 0: nothing is measured yet */
    uint32_t run_rows;   /* rows of the last run that nobody looked at yet; 0: none */
} pm__recording;

/* Whether launch i of a program touches what one of [first, i) writes, or writes what it reads. */
bool pm__program_conflicts(const pm__program *program, uint32_t first, uint32_t i);

pm_status pm__recording_init(pm__recording *recording, const pm__recording_desc *desc);
void pm__recording_finish(pm__recording *recording); /* nothing may be in flight */

/* Queues one run over n_row rows. */
pm_status pm__recording_submit(pm__recording *recording, uint32_t n_row);
/* Learns from the last run and cuts anew where needed; nothing may be in flight. */
pm_status pm__recording_measure(pm__recording *recording);
/* Of a profiled recording: [n_dispatch][2] ticks before and after each launch of the last run,
 * which has ended. False in *known: the device has not written them all. */
pm_status pm__recording_read_stamps(pm__recording *recording, uint64_t *ticks, bool *known);
/* Rows a step may have so that every single launch stays within the budget. */
uint32_t pm__recording_most_rows(const pm__recording *recording);

#endif
