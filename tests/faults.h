/* faults.h: any Vulkan call fails on order, any memory is shown, nothing leaks unseen.
 *
 * All goes through the real loader and driver: pm__faults_install() puts itself between pumice and
 * the loader's entry points, for the whole program. From then on every call of PM__FAULT_CALLS is
 * counted and can be told to fail, every object of PM__FAULT_OBJECTS is followed from creation to
 * destruction, and what a failed call leaves in its results is rubbish, as Vulkan allows.
 *
 *   if (!pm__faults_install())
 *       skip();                                     // no Vulkan here
 *   pm__faults_reset();
 *   pm__faults_fail(PM__CALL_AllocateMemory, 3, VK_ERROR_OUT_OF_DEVICE_MEMORY);
 *   ... open, run, close ...
 *   assert_int_equal(pm__faults_injected(), 1);     // it was reached
 *   pm__faults_check_clean();                       // nothing is left, nothing was misused
 *
 * Set it up while no call runs; calls themselves may come from several threads. */
#ifndef PM_TESTS_FAULTS_H
#define PM_TESTS_FAULTS_H

#include "gpu/device.h"

/* Every call that returns a VkResult and that pumice or its tests use, without its vk. */
#define PM__FAULT_INSTANCE_CALLS(X)                                                                \
    X(EnumerateInstanceVersion)                                                                    \
    X(EnumerateInstanceExtensionProperties)                                                        \
    X(CreateInstance)                                                                              \
    X(EnumeratePhysicalDevices)                                                                    \
    X(EnumerateDeviceExtensionProperties)                                                          \
    X(CreateDevice)
#define PM__FAULT_DEVICE_CALLS(X)                                                                  \
    X(AllocateCommandBuffers)                                                                      \
    X(AllocateDescriptorSets)                                                                      \
    X(AllocateMemory)                                                                              \
    X(BeginCommandBuffer)                                                                          \
    X(BindBufferMemory)                                                                            \
    X(CreateBuffer)                                                                                \
    X(CreateCommandPool)                                                                           \
    X(CreateComputePipelines)                                                                      \
    X(CreateDescriptorPool)                                                                        \
    X(CreateDescriptorSetLayout)                                                                   \
    X(CreateFence)                                                                                 \
    X(CreatePipelineCache)                                                                         \
    X(CreatePipelineLayout)                                                                        \
    X(CreateQueryPool)                                                                             \
    X(CreateSemaphore)                                                                             \
    X(CreateShaderModule)                                                                          \
    X(DeviceWaitIdle)                                                                              \
    X(EndCommandBuffer)                                                                            \
    X(GetPipelineCacheData)                                                                        \
    X(GetQueryPoolResults)                                                                         \
    X(GetSemaphoreCounterValue)                                                                    \
    X(MapMemory)                                                                                   \
    X(QueueSubmit)                                                                                 \
    X(SignalSemaphore)                                                                             \
    X(WaitForFences)                                                                               \
    X(WaitSemaphores)
/* Those of extensions newer than the oldest headers, which pumice asks for by name. */
#define PM__FAULT_NAMED_CALLS(X)                                                                   \
    X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR)                                             \
    X(GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)
#define PM__FAULT_CALLS(X)                                                                         \
    PM__FAULT_INSTANCE_CALLS(X) PM__FAULT_DEVICE_CALLS(X) PM__FAULT_NAMED_CALLS(X)

/* Every object that pumice or its tests create, without its Vk; descriptor sets go with their
 * pools. */
#define PM__FAULT_OBJECTS(X)                                                                       \
    X(Instance)                                                                                    \
    X(Device)                                                                                      \
    X(Buffer)                                                                                      \
    X(CommandBuffer)                                                                               \
    X(CommandPool)                                                                                 \
    X(DescriptorPool)                                                                              \
    X(DescriptorSetLayout)                                                                         \
    X(DeviceMemory)                                                                                \
    X(Fence)                                                                                       \
    X(Pipeline)                                                                                    \
    X(PipelineCache)                                                                               \
    X(PipelineLayout)                                                                              \
    X(QueryPool)                                                                                   \
    X(Semaphore)                                                                                   \
    X(ShaderModule)

#define PM__FAULT_CALL(name) PM__CALL_##name,
typedef enum pm__fault_call { PM__FAULT_CALLS(PM__FAULT_CALL) PM__CALL_COUNT } pm__fault_call;
#undef PM__FAULT_CALL

#define PM__FAULT_OBJECT(name) PM__OBJECT_##name,
typedef enum pm__fault_object {
    PM__FAULT_OBJECTS(PM__FAULT_OBJECT) PM__OBJECT_COUNT
} pm__fault_object;
#undef PM__FAULT_OBJECT

/* ---- set-up ---------------------------------------------------------------------------------- */

/* Once a program; again does nothing. False where there is no Vulkan. */
bool pm__faults_install(void);
/* All calls succeed again, all counts of calls are 0, memory is what it is. Objects that are alive
 * stay counted. */
void pm__faults_reset(void);

/* ---- calls that fail ------------------------------------------------------------------------- */

const char *pm__fault_call_name(pm__fault_call call); /* "vkCreateBuffer" */
uint32_t pm__faults_count(pm__fault_call call);       /* since the reset, failed ones included */

/* The nth call since the reset (1: the first) gives `result`, and is not made. One order a kind of
 * call; the last one counts. VK_ERROR_DEVICE_LOST loses the device of the call: work that is under
 * way ends, then every later submission and wait of that VkDevice, and its queries, give
 * VK_ERROR_DEVICE_LOST. Another VkDevice works. VK_INCOMPLETE of an enumeration: it is made, and
 * gives one less. */
void pm__faults_fail(pm__fault_call call, uint32_t nth, VkResult result);
/* The nth and all after it. */
void pm__faults_fail_from(pm__fault_call call, uint32_t nth, VkResult result);
/* The nth submission reports success and is signalled, but nothing of it is done. */
void pm__faults_kill_job(uint32_t nth);
/* The nth submission and all later ones of that VkDevice are never finished: waits end with
 * VK_TIMEOUT after a millisecond, and waits without a bound are misuse. */
void pm__faults_hang(uint32_t nth);

uint32_t
pm__faults_injected(void); /* calls since the reset that failed, or were not done, on order */

/* ---- what is alive --------------------------------------------------------------------------- */

const char *pm__fault_object_name(pm__fault_object object); /* "VkBuffer" */
uint32_t pm__faults_alive(pm__fault_object object);

/* Since the reset; live ones are those that are not freed yet, from before it too. */
typedef struct pm__fault_memory {
    uint32_t n_allocation;
    uint64_t allocated_bytes;
    uint32_t n_live;
    uint64_t live_bytes;
    uint64_t live_heap_bytes[VK_MAX_MEMORY_HEAPS]; /* as the heaps are shown */
} pm__fault_memory;
pm__fault_memory pm__faults_memory(void);

/* What is wrong, or "": an object is alive, or outlived its device; something was destroyed that
 * was never created or is gone already; memory the host cannot see was mapped; a wait without a
 * bound met a device that never finishes. Forgets all of it, so that the next test starts clean.
 * The text lives until the next call. */
const char *pm__faults_complaint(void);
/* Fails the test if there is one. */
void pm__faults_check_clean(void);

/* ---- false memory ---------------------------------------------------------------------------- */

enum { PM__FAKE_HEAPS = 4, PM__FAKE_TYPES = 8 };

/* What a device says of itself and its memory. Each type is served by a type the driver really has;
 * a heap is full where its bytes are used up. */
typedef struct pm__fake_memory {
    VkPhysicalDeviceType kind; /* discrete, integrated ...: whether memory is shared follows */
    uint32_t n_heap, n_type;
    struct {
        VkDeviceSize bytes;
        VkMemoryHeapFlags flags;
        VkDeviceSize others_bytes; /* taken by other programs */
    } heaps[PM__FAKE_HEAPS];
    struct {
        VkMemoryPropertyFlags flags;
        uint32_t heap;
    } types[PM__FAKE_TYPES];
    bool budget; /* VK_EXT_memory_budget is there; it sees others_bytes */
} pm__fake_memory;

/* Shows it for every device that is listed or opened from now on, until the reset; NULL: the truth.
 * Close what was opened under it before it changes. */
void pm__faults_set_memory(const pm__fake_memory *memory);

#endif
