/* threads.h: independent jobs on a few threads. */
#ifndef PM_BASE_THREADS_H
#define PM_BASE_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* Processors this process may use, at least 1. */
int pm__thread_count(void);

/* Calls job(user, i) once for each i in [0, n), on up to n_thread threads (0: one a processor), and
 * returns when all are done. Jobs must be independent. Runs them here if no thread can be had. */
void pm__parallel(size_t n, int n_thread, void (*job)(void *user, size_t i), void *user);

/* One job beside the caller, who keeps the task where it is until it has waited for it. */
typedef struct pm__task {
    pthread_t thread;
    bool runs;
    void (*job)(void *user);
    void *user;
} pm__task;

/* Has done the job when it returns if no thread can be had. */
void pm__task_start(pm__task *task, void (*job)(void *user), void *user);
/* Does nothing to a task of zeros, or one that was waited for. */
void pm__task_wait(pm__task *task);

#endif
