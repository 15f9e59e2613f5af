/* abandon.c: a device that never finishes keeps all it has. Vulkan forbids to destroy what may be
 * in use, and waiting would never end, so it stays until the program does. */
#include "../base/log.h"
#include "device.h"

#define KEPT(X)                                                                                    \
    X(Buffer)                                                                                      \
    X(CommandPool)                                                                                 \
    X(DescriptorPool)                                                                              \
    X(DescriptorSetLayout)                                                                         \
    X(Pipeline)                                                                                    \
    X(PipelineCache)                                                                               \
    X(PipelineLayout)                                                                              \
    X(QueryPool)                                                                                   \
    X(Semaphore)                                                                                   \
    X(ShaderModule)

#define KEEP(Name)                                                                                 \
    static VKAPI_ATTR void VKAPI_CALL keep_##Name(VkDevice device, Vk##Name object,                \
                                                  const VkAllocationCallbacks *callbacks) {        \
        (void)device, (void)object, (void)callbacks;                                               \
    }
KEPT(KEEP)

static VKAPI_ATTR void VKAPI_CALL keep_memory(VkDevice device, VkDeviceMemory memory,
                                              const VkAllocationCallbacks *callbacks) {
    (void)device, (void)memory, (void)callbacks;
}

static VKAPI_ATTR void VKAPI_CALL keep_commands(VkDevice device, VkCommandPool pool, uint32_t n,
                                                const VkCommandBuffer *commands) {
    (void)device, (void)pool, (void)n, (void)commands;
}

static VKAPI_ATTR void VKAPI_CALL keep_device(VkDevice device,
                                              const VkAllocationCallbacks *callbacks) {
    (void)device, (void)callbacks;
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_no_more(VkDevice device) {
    (void)device;
    return VK_ERROR_DEVICE_LOST;
}

void pm__gpu_abandon(pm__gpu *gpu) {
    pm__log(PM_LOG_WARN,
            "gpu: device '%s' does not finish its work; what it holds is freed when the program "
            "ends",
            gpu->info.name);
#define EXCHANGE(Name) gpu->vk.vkDestroy##Name = keep_##Name;
    KEPT(EXCHANGE)
#undef EXCHANGE
    gpu->vk.vkFreeMemory = keep_memory;
    gpu->vk.vkFreeCommandBuffers = keep_commands;
    gpu->vk.vkDestroyDevice = keep_device;
    gpu->vk.vkDeviceWaitIdle = wait_no_more;
    gpu->instance = VK_NULL_HANDLE;
    gpu->lost = true;
}
