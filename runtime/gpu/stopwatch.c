#include "stopwatch.h"

#include "../base/clock.h"

enum { MOST_RUNS = 1000 };

pm_status pm__time_run(pm__recording *recording, uint32_t n_row, double *seconds) {
    pm__queue *queue = recording->desc.queue;
    const double start = pm__clock_seconds();
    const uint32_t n_before = recording->n_segment;
    PM_TRY(pm__recording_submit(recording, n_row));
    PM_TRY(pm__queue_wait(queue, queue->submitted));
    *seconds = pm__clock_seconds() - start;
    PM_TRY(pm__recording_measure(recording));
    /* Cut anew, the segments have forgotten theirs. */
    if (recording->queries == VK_NULL_HANDLE || recording->n_segment != n_before)
        return PM_OK;
    double sum = 0;
    for (uint32_t s = 0; s < recording->n_segment; s++)
        sum += recording->segments[s].seconds;
    if (sum > 0)
        *seconds = sum;
    return PM_OK;
}

pm_status pm__time_best(pm__recording *recording, uint32_t n_row, double budget, double *seconds) {
    double one;
    PM_TRY(pm__time_run(recording, n_row, &one));
    const double start = pm__clock_seconds();
    PM_TRY(pm__time_run(recording, n_row, seconds));
    for (int run = 0; run < MOST_RUNS && pm__clock_seconds() - start < budget; run++) {
        PM_TRY(pm__time_run(recording, n_row, &one));
        *seconds = one < *seconds ? one : *seconds;
    }
    return PM_OK;
}
