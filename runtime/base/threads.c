#define _GNU_SOURCE /* sched_getaffinity */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MOST_THREADS = 64 };

typedef struct job_queue {
    atomic_size_t next;
    size_t n;
    void (*job)(void *user, size_t i);
    void *user;
} job_queue;

int pm__thread_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

static void *work(void *argument) {
    job_queue *queue = argument;
    for (;;) {
        const size_t i = atomic_fetch_add(&queue->next, 1);
        if (i >= queue->n)
            return NULL;
        queue->job(queue->user, i);
    }
}

void pm__parallel(size_t n, int n_thread, void (*job)(void *user, size_t i), void *user) {
    job_queue queue = {.n = n, .job = job, .user = user};
    if (n_thread <= 0)
        n_thread = pm__thread_count();
    if (n_thread > MOST_THREADS)
        n_thread = MOST_THREADS;
    if ((size_t)n_thread > n)
        n_thread = (int)n;
    pthread_t threads[MOST_THREADS];
    int started = 0;
    while (started < n_thread - 1 && pthread_create(&threads[started], NULL, work, &queue) == 0)
        started++;
    work(&queue);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

static void *run_task(void *argument) {
    const pm__task *task = argument;
    task->job(task->user);
    return NULL;
}

void pm__task_start(pm__task *task, void (*job)(void *user), void *user) {
    *task = (pm__task){.job = job, .user = user};
    task->runs = pthread_create(&task->thread, NULL, run_task, task) == 0;
    if (!task->runs)
        job(user);
}

void pm__task_wait(pm__task *task) {
    if (task->runs)
        pthread_join(task->thread, NULL);
    task->runs = false;
}
