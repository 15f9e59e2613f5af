/* live_objects.h: the Vulkan objects that were made and not destroyed yet, and the first thing that
 * was wrong with one. faults.c tells it of them; what tests ask of it is in faults.h. Calls may
 * come from several threads. */
#ifndef PM_TESTS_LIVE_OBJECTS_H
#define PM_TESTS_LIVE_OBJECTS_H

#include "faults.h"

typedef struct pm__live_object {
    pm__fault_object kind;
    uint64_t handle, parent; /* parent: a command buffer's pool, else 0 */
    const void *key;         /* of its device; NULL: it has none */
    VkDeviceSize bytes;      /* of memory */
    uint32_t type, heap;     /* of memory, as shown */
    bool forgotten;          /* somebody complained of it already */
} pm__live_object;

void pm__live_add(const pm__live_object *added);
/* False: it is not there, and the driver must not see it. */
bool pm__live_remove(pm__fault_object kind, const void *key, uint64_t handle);
void pm__live_remove_children(uint64_t pool, const void *key);
/* What a device leaves, which is misuse. */
void pm__live_remove_orphans(const void *key);

/* out    where it is there */
bool pm__live_find(pm__fault_object kind, const void *key, uint64_t handle, pm__live_object *out);
/* Of memory in a heap, as shown. */
VkDeviceSize pm__live_heap_bytes(const void *key, uint32_t heap);

/* For pm__faults_complaint(), if it is the first. */
void pm__live_note(const char *what, const char *whose);
/* Allocations are counted from here on. */
void pm__live_reset(void);

#endif
