#include "devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

void pm__each_gpu(const char *cache_dir, void (*check)(pm__gpu *gpu)) {
    pm_device_info *list;
    size_t n, n_open = 0;
    const char *note;
    assert_int_equal(pm__gpu_list(&list, &n, &note), PM_OK);
    for (size_t i = 0; i < n; i++) {
        if (!list[i].usable)
            continue;
        print_message("  on %s (%s)\n", list[i].name, list[i].driver);
        pm__gpu *gpu = NULL;
        const pm_device_desc desc = {.cache_dir = cache_dir};
        const pm_status status = pm__gpu_create(list[i].index, &desc, &gpu);
        if (status != PM_OK)
            fail_msg("%s", pm_last_error());
        check(gpu);
        pm__gpu_destroy(gpu);
        n_open++;
    }
    pm__gpu_list_free(list);
    if (n_open == 0) {
        print_message("no usable Vulkan device: skipped. %s\n", note);
        skip();
    }
}

bool pm__gives_pipeline_cache(pm__gpu *gpu) {
    size_t n_byte = 0;
    assert_int_equal(
        gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->pipeline_cache, &n_byte, NULL),
        VK_SUCCESS);
    unsigned char *data = calloc(1, n_byte + 1);
    assert_non_null(data);
    assert_int_equal(
        gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->pipeline_cache, &n_byte, data),
        VK_SUCCESS);
    free(data);
    if (n_byte >= sizeof(VkPipelineCacheHeaderVersionOne))
        return true;
    print_message("  the driver's pipeline cache has no whole header: not checked\n");
    return false;
}

static void must(VkResult result) {
    assert_int_equal(result, VK_SUCCESS);
}

static void submit_and_wait(pm__gpu *gpu, VkCommandBuffer commands) {
    const VkFenceCreateInfo fence_info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
    };
    VkFence fence;
    must(gpu->vk.vkCreateFence(gpu->device, &fence_info, NULL, &fence));
    must(gpu->vk.vkQueueSubmit(gpu->queue, 1, &submit, fence));
    must(gpu->vk.vkWaitForFences(gpu->device, 1, &fence, VK_TRUE, UINT64_MAX));
    gpu->vk.vkDestroyFence(gpu->device, fence, NULL);
}

void pm__run_once(pm__gpu *gpu, void (*record)(pm__gpu *gpu, VkCommandBuffer commands, void *user),
                  void *user) {
    const VkCommandPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = gpu->queue_family,
    };
    VkCommandPool pool;
    must(gpu->vk.vkCreateCommandPool(gpu->device, &pool_info, NULL, &pool));
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VkCommandBuffer commands;
    must(gpu->vk.vkAllocateCommandBuffers(gpu->device, &info, &commands));
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    must(gpu->vk.vkBeginCommandBuffer(commands, &begin));
    record(gpu, commands, user);
    pm__full_barrier(gpu, commands);
    must(gpu->vk.vkEndCommandBuffer(commands));
    submit_and_wait(gpu, commands);
    gpu->vk.vkDestroyCommandPool(gpu->device, pool, NULL);
}

void pm__full_barrier(pm__gpu *gpu, VkCommandBuffer commands) {
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                         VK_ACCESS_HOST_READ_BIT,
    };
    gpu->vk.vkCmdPipelineBarrier(commands, stages, stages | VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                                 &barrier, 0, NULL, 0, NULL);
}
