#include "queue.h"

#include "../base/clock.h"

#include <inttypes.h>

static const uint64_t WAIT_NANOSECONDS = 1000000000;
enum { MOST_FAILURES = 8 };
static const uint32_t CANARY = 0x5afe0e4du;

/* ---- canaries -------------------------------------------------------------------------------- */

static volatile uint32_t *canary_of(const pm__queue *queue, uint64_t value) {
    return (volatile uint32_t *)queue->canaries.map + value % PM__CANARIES;
}

static pm_status record_canary(pm__queue *queue, uint32_t i) {
    const struct VolkDeviceTable *vk = &queue->gpu->vk;
    VkCommandBuffer commands = queue->write_canary[i];
    PM_TRY(pm__queue_begin(queue, commands, true));
    pm__queue_barrier(queue, commands); /* not before the work is done */
    vk->vkCmdFillBuffer(commands, queue->canaries.buffer, 4ull * i, 4, CANARY);
    pm__queue_barrier(queue, commands);
    return pm__queue_end(queue, commands);
}

static pm_status create_canaries(pm__queue *queue) {
    PM_TRY(pm__buffer_init(queue->gpu, &queue->canaries, "canaries", 4 * PM__CANARIES,
                           PM__MEMORY_READBACK));
    PM_TRY(pm__queue_allocate(queue, PM__CANARIES, queue->write_canary));
    for (uint32_t i = 0; i < PM__CANARIES; i++)
        PM_TRY(record_canary(queue, i));
    return PM_OK;
}

/* Clears the place of submission `value`, once what used it last is known to have run. */
static pm_status clear_canary(pm__queue *queue, uint64_t value) {
    if (value > queue->verified + PM__CANARIES)
        PM_TRY(pm__queue_wait(queue, value - PM__CANARIES));
    *canary_of(queue, value) = 0;
    return PM_OK;
}

static pm_status verify(pm__queue *queue, uint64_t value) {
    for (; queue->verified < value; queue->verified++) {
        const uint64_t next = queue->verified + 1;
        if (*canary_of(queue, next) == CANARY)
            continue;
        queue->gpu->lost = true;
        return pm__fail(PM_DEVICE_LOST,
                        "gpu: the driver of '%s' reported success for submission %" PRIu64
                        ", which did not run to its end; lower --submit-ms (now %.0f), update the "
                        "driver (%s), or take another --device",
                        queue->gpu->info.name, next, queue->gpu->submit_seconds * 1e3,
                        queue->gpu->info.driver);
    }
    return PM_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

pm_status pm__queue_init(pm__queue *queue, pm__gpu *gpu) {
    *queue = (pm__queue){.gpu = gpu};
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = gpu->queue_family,
    };
    VkCommandPool made;
    PM_TRY(pm__gpu_check(gpu, gpu->vk.vkCreateCommandPool(gpu->device, &pool, NULL, &made),
                         "gpu: command pool"));
    queue->pool = made;
    const VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo semaphore = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = &type,
    };
    VkSemaphore timeline;
    PM_TRY(pm__gpu_check(gpu, gpu->vk.vkCreateSemaphore(gpu->device, &semaphore, NULL, &timeline),
                         "gpu: timeline semaphore"));
    queue->timeline = timeline;
    return create_canaries(queue);
}

void pm__queue_finish(pm__queue *queue) {
    pm__gpu *gpu = queue->gpu;
    if (gpu == NULL)
        return;
    pm__queue_drain(queue);
    gpu->vk.vkDestroySemaphore(gpu->device, queue->timeline, NULL);
    gpu->vk.vkDestroyCommandPool(gpu->device, queue->pool, NULL); /* and the command buffers */
    pm__buffer_finish(gpu, &queue->canaries);
    *queue = (pm__queue){0};
}

/* ---- commands -------------------------------------------------------------------------------- */

pm_status pm__queue_allocate(pm__queue *queue, uint32_t n, VkCommandBuffer *commands) {
    pm__gpu *gpu = queue->gpu;
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = queue->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = n,
    };
    return pm__gpu_check(gpu, gpu->vk.vkAllocateCommandBuffers(gpu->device, &info, commands),
                         "gpu: command buffers");
}

pm_status pm__queue_begin(pm__queue *queue, VkCommandBuffer commands, bool reusable) {
    const VkCommandBufferBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = reusable ? VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT
                          : VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    return pm__gpu_check(queue->gpu, queue->gpu->vk.vkBeginCommandBuffer(commands, &info),
                         "gpu: begin of a command buffer");
}

pm_status pm__queue_end(pm__queue *queue, VkCommandBuffer commands) {
    return pm__gpu_check(queue->gpu, queue->gpu->vk.vkEndCommandBuffer(commands),
                         "gpu: end of a command buffer");
}

pm_status pm__queue_submit(pm__queue *queue, VkCommandBuffer commands) {
    pm__gpu *gpu = queue->gpu;
    if (gpu->lost)
        return pm__gpu_check(gpu, VK_ERROR_DEVICE_LOST, "gpu: submission");
    const uint64_t value = queue->submitted + 1;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    PM_TRY(clear_canary(queue, value));
    const VkCommandBuffer both[] = {commands, queue->write_canary[value % PM__CANARIES]};
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .commandBufferCount = PM__COUNT(both),
        .pCommandBuffers = both,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &queue->timeline,
    };
    PM_TRY(pm__gpu_check(gpu, gpu->vk.vkQueueSubmit(gpu->queue, 1, &submit, VK_NULL_HANDLE),
                         "gpu: submission"));
    queue->submitted = value;
    return PM_OK;
}

static VkResult wait_a_second(pm__queue *queue, uint64_t value) {
    const VkSemaphoreWaitInfo wait = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &queue->timeline,
        .pValues = &value,
    };
    return queue->gpu->vk.vkWaitSemaphores(queue->gpu->device, &wait, WAIT_NANOSECONDS);
}

pm_status pm__queue_wait(pm__queue *queue, uint64_t value) {
    pm__gpu *gpu = queue->gpu;
    const double start = pm__clock_seconds();
    for (;;) {
        const VkResult result = wait_a_second(queue, value);
        if (result != VK_TIMEOUT) {
            PM_TRY(pm__gpu_check(gpu, result, "gpu: wait for the device"));
            return verify(queue, value);
        }
        if (pm__clock_seconds() - start > gpu->silence_seconds) {
            pm__gpu_abandon(gpu);
            return pm__fail(PM_DEVICE_LOST,
                            "gpu: the device has not finished submission %" PRIu64
                            " after %.0f s; lower --submit-ms or choose another --device",
                            value, gpu->silence_seconds);
        }
    }
}

/* A wait that fails for lack of memory says nothing of the device, and is tried again. */
void pm__queue_drain(pm__queue *queue) {
    pm__gpu *gpu = queue->gpu;
    const double start = pm__clock_seconds();
    for (int failures = 0; !gpu->lost && failures < MOST_FAILURES;) {
        const VkResult result =
            queue->submitted > 0 ? wait_a_second(queue, queue->submitted) : VK_SUCCESS;
        if (result == VK_SUCCESS)
            return;
        gpu->lost = result == VK_ERROR_DEVICE_LOST;
        failures += result != VK_TIMEOUT;
        if (result == VK_TIMEOUT && pm__clock_seconds() - start > gpu->silence_seconds)
            pm__gpu_abandon(gpu);
    }
    /* Work of a lost device ends, unless it is an abandoned one. */
    gpu->vk.vkDeviceWaitIdle(gpu->device);
}

void pm__queue_barrier(pm__queue *queue, VkCommandBuffer commands) {
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_INDIRECT_COMMAND_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT,
    };
    queue->gpu->vk.vkCmdPipelineBarrier(
        commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT |
            VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT,
        0, 1, &barrier, 0, NULL, 0, NULL);
}
