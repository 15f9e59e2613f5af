/* volk.c: the Vulkan entry points, found at run time: pumice starts on a machine without Vulkan. */
#define VK_NO_PROTOTYPES
#define VOLK_IMPLEMENTATION
#include <volk.h>
