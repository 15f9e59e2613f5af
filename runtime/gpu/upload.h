/* upload.h: host data to device buffers, through a bounded ring of staging slots, or in place where
 * the device's memory is the host's. */
#ifndef PM_GPU_UPLOAD_H
#define PM_GPU_UPLOAD_H

#include "memory.h"
#include "queue.h"

enum { PM__UPLOAD_SLOTS = 3 };

typedef struct pm__uploader {
    pm__queue *queue;
    pm__buffer staging; /* PM__UPLOAD_SLOTS slots; no memory where every target is mapped */
    VkDeviceSize slot_bytes;
    struct {
        VkCommandBuffer commands;
        uint64_t value; /* of the timeline, once submitted */
    } slots[PM__UPLOAD_SLOTS];
    uint32_t slot;
    VkDeviceSize used; /* of the present slot */
    bool open;         /* the present slot takes copies */
} pm__uploader;

/* Of the staging buffer. */
VkDeviceSize pm__uploader_bytes(VkDeviceSize slot_bytes);
/* slot_bytes  most bytes of room that will be asked for; 0: all targets are mapped */
pm_status pm__uploader_init(pm__uploader *uploader, pm__queue *queue, VkDeviceSize slot_bytes);
void pm__uploader_finish(pm__uploader *uploader);

/* Whether there is such room without sending anything off. */
bool pm__uploader_fits(const pm__uploader *uploader, VkDeviceSize bytes);
/* Makes sure that pieces of `bytes` together can be placed, which may send off what was placed
 * before.
 * errors  DEVICE_LOST and the like of the slots before */
pm_status pm__uploader_room(pm__uploader *uploader, VkDeviceSize bytes);
/* Where to write `bytes` (a multiple of 4) that belong at `offset` of `target`; to be filled before
 * more room is asked for. */
void *pm__uploader_place(pm__uploader *uploader, const pm__buffer *target, VkDeviceSize offset,
                         VkDeviceSize bytes);
/* Submits what is left and waits until all has arrived. */
pm_status pm__uploader_flush(pm__uploader *uploader);

#endif
