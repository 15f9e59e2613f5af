/* cpu_threads.c: OpenMP ends the process when a thread cannot be had (ulimit -v, ulimit -u), which
 * a library must not; so threads are tried before OpenMP is asked for them. */
#include "../base/log.h"
#include "cpu_ops.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int n_proved = 1;          /* threads that OpenMP has had at once */
static atomic_int n_allowed = INT32_MAX; /* fewer, once starting them has failed */

typedef struct rehearsal {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool ended;
} rehearsal;

static void *wait_for_end(void *argument) {
    rehearsal *r = argument;
    pthread_mutex_lock(&r->lock);
    while (!r->ended)
        pthread_cond_wait(&r->over, &r->lock);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Threads that can live at once, this one included, at most n. */
static int rehearse(int n) {
    rehearsal r = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    pthread_t *threads = calloc((size_t)n, sizeof *threads);
    int started = 0;
    while (threads != NULL && started < n - 1 &&
           pthread_create(&threads[started], NULL, wait_for_end, &r) == 0)
        started++;
    pthread_mutex_lock(&r.lock);
    r.ended = true;
    pthread_cond_broadcast(&r.over);
    pthread_mutex_unlock(&r.lock);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return started + 1;
}

/* OpenMP keeps the threads for later. */
static void start_team(int n) {
#pragma omp parallel num_threads(n)
    { (void)n; }
}

static void prove(int n) {
    const int n_had = rehearse(n);
    if (n_had < n) {
        /* What is left over is needed for more than threads. */
        atomic_store(&n_allowed, n_had > 2 ? n_had - 1 : 1);
        pm__log(PM_LOG_WARN,
                "cpu: the system starts %d of %d threads, so %d are used; ulimit -v and ulimit -u "
                "show limits",
                n_had, n, atomic_load(&n_allowed));
    }
    n = n < atomic_load(&n_allowed) ? n : atomic_load(&n_allowed);
    if (n > 1)
        start_team(n);
    atomic_store(&n_proved, n);
}

int pm__cpu_threads(int wanted) {
    const int most = atomic_load(&n_allowed);
    const int n = wanted < most ? wanted : most;
    if (n <= atomic_load(&n_proved))
        return n;
    pthread_mutex_lock(&lock);
    if (n > atomic_load(&n_proved) && n <= atomic_load(&n_allowed))
        prove(n);
    pthread_mutex_unlock(&lock);
    return n < atomic_load(&n_allowed) ? n : atomic_load(&n_allowed);
}
