/* checker.h: checks in a process of their own, so that a driver that crashes or hangs costs one
 * kernel and not the program. The child is `pumice check --child ...`; its standard output is a
 * line an event, read by the parent; its standard input ends when the parent does, and the child
 * with it. */
#ifndef PM_TOOLS_CHECKER_H
#define PM_TOOLS_CHECKER_H

#include "common.h"

enum { PM__MOST_CHECKED = 96, PM__MOST_FAILURES = 64 };

typedef struct pm__checked_kernel {
    char name[48]; /* "model nodes" for those */
    uint32_t n_case, n_failed, n_unchecked;
    double worst, bound; /* NMSE; bound 0: bit by bit */
    double seconds;
} pm__checked_kernel;

typedef struct pm__check_failure {
    char name[160], kernel[48], why[256];
    pm_status status;
} pm__check_failure;

typedef struct pm__check_results {
    pm__checked_kernel kernels[PM__MOST_CHECKED];
    pm__check_failure failures[PM__MOST_FAILURES]; /* the first ones; unchecked cases among them */
    size_t n_kernel, n_failure;
    uint32_t n_case, n_failed, n_unchecked;
    double seconds;
} pm__check_results;

typedef struct pm__check_job {
    const pm__options *options;
    pm_device *device;
    const char *model; /* path; NULL: none */
    bool used_only;    /* quick, of what the model uses */
    const char *label; /* of the progress bar */
} pm__check_job;

/* Runs the job to its end; kernels that fail are quarantined. Gives an exit code that is 0 also
 * where kernels failed. */
int pm__check_supervise(const pm__check_job *job, pm__check_results *out);

/* The child's side: runs what options->child says, events to stdout. */
int pm__check_child(const pm__options *options);

/* The short check at the first use of a device with what a model uses; says one line. */
int pm__check_first_use(pm__cli *cli);

#endif
