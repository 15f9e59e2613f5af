/* devices.h: what tests of the gpu floor share: every device the environment shows, and commands
 * run once. Validation layers are switched on by the environment (VK_INSTANCE_LAYERS). */
#ifndef PM_TESTS_DEVICES_H
#define PM_TESTS_DEVICES_H

#include "folders.h"
#include "gpu/memory.h"

/* Opens every usable Vulkan device in turn and hands it over; skip()s, saying so, where there is
 * none. */
void pm__each_gpu(const char *cache_dir, void (*check)(pm__gpu *gpu));

/* Drivers stay in memory until the program ends, and with them what they keep in their own
 * variables: when they are unloaded, LeakSanitizer takes that for lost. */
void pm__keep_drivers(void);

/* Whether the driver gives a pipeline cache with a whole header; some lavapipes cut it off. */
bool pm__gives_pipeline_cache(pm__gpu *gpu);

/* Records commands, submits them and waits for the end. */
void pm__run_once(pm__gpu *gpu, void (*record)(pm__gpu *gpu, VkCommandBuffer commands, void *user),
                  void *user);

/* Lets all writes of kernels and copies before be seen by all after, and by the host. */
void pm__full_barrier(pm__gpu *gpu, VkCommandBuffer commands);

#endif
