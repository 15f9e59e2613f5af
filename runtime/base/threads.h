/* threads.h: independent jobs on a few threads. */
#ifndef PM_BASE_THREADS_H
#define PM_BASE_THREADS_H

#include <stddef.h>

/* Processors this process may use, at least 1. */
int pm__thread_count(void);

/* Calls job(user, i) once for each i in [0, n), on up to n_thread threads (0: one a processor), and
 * returns when all are done. Jobs must be independent. Runs them here if no thread can be had. */
void pm__parallel(size_t n, int n_thread, void (*job)(void *user, size_t i), void *user);

#endif
