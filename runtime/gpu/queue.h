/* queue.h: command buffers go in, a timeline semaphore counts what is done.
 *
 * Drivers have been seen signalling success for work that was killed. So the last thing a
 * submission does is to write a canary, a word that the host has cleared before; who waits looks at
 * it. */
#ifndef PM_GPU_QUEUE_H
#define PM_GPU_QUEUE_H

#include "memory.h"

enum { PM__CANARIES = 64 }; /* submissions that nobody has waited for, at most */

typedef struct pm__queue {
    pm__gpu *gpu;
    VkCommandPool pool;
    VkSemaphore timeline;
    uint64_t submitted;  /* value the last submission signals; 0: none yet */
    uint64_t verified;   /* all submissions up to it have written their canary */
    pm__buffer canaries; /* [PM__CANARIES] words */
    VkCommandBuffer write_canary[PM__CANARIES];
} pm__queue;

pm_status pm__queue_init(pm__queue *queue, pm__gpu *gpu);
void pm__queue_finish(pm__queue *queue); /* drains it */

pm_status pm__queue_allocate(pm__queue *queue, uint32_t n, VkCommandBuffer *commands);
/* Begins `commands` anew. reusable: it will be submitted again while it may still be pending. */
pm_status pm__queue_begin(pm__queue *queue, VkCommandBuffer commands, bool reusable);
pm_status pm__queue_end(pm__queue *queue, VkCommandBuffer commands);

/* One submission of one command buffer; queue->submitted is then the value it signals. */
pm_status pm__queue_submit(pm__queue *queue, VkCommandBuffer commands);
/* Waits until the timeline has reached `value`.
 * errors  DEVICE_LOST, also if it has not after gpu->silence_seconds (the device is abandoned
 *         then), or if a submission did not run to its end */
pm_status pm__queue_wait(pm__queue *queue, uint64_t value);
/* Waits for all that was submitted, before anything it uses is destroyed; ends as soon as that is
 * so, also where the device is lost or abandoned. Leaves the thread's sentence alone. */
void pm__queue_drain(pm__queue *queue);

/* What kernels, copies and the host wrote becomes visible to kernels, indirect grids, copies and
 * the host. */
void pm__queue_barrier(pm__queue *queue, VkCommandBuffer commands);

#endif
