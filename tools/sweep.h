/* sweep.h: the tests of `pumice bench --sweep`, measured in rounds. */
#ifndef PM_TOOLS_SWEEP_H
#define PM_TOOLS_SWEEP_H

#include "curves.h"

enum { PM__MOST_OPEN = 64 };

typedef struct pm__sweep_test {
    pm__bench_test test;
    uint64_t warm; /* the session it ran in last */
} pm__sweep_test;

/* A session that waits for its next round. */
typedef struct pm__sweep_session {
    pm__bench_session session;
    uint64_t bytes, number, used; /* number: the how manieth; used: when, in turns */
} pm__sweep_session;

/* The sweep of one model. Begins as zeros but for `curves`. */
typedef struct pm__sweeper {
    pm__curves *curves;
    pm__sweep_test *tests;
    size_t n_test, capacity;
    size_t first;   /* of its points in the curves */
    uint32_t n_ctx; /* the most that a test takes */
    pm__sweep_session open[PM__MOST_OPEN];
    size_t n_open;
    uint64_t n_opened, n_run;
    pm__progress progress;
} pm__sweeper;

int pm__sweep_add(pm__sweeper *sweeper, const pm__bench_job *job);
/* Measures the tests (pm__curves_measure), prints those that ran, and forgets them. */
int pm__sweep_run(pm__sweeper *sweeper, pm__bench_printer *printer);
void pm__sweep_finish(pm__sweeper *sweeper);

#endif
