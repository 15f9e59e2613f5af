#include "upload.h"

#include "../base/checked.h"

enum { SLOT_ALIGNMENT = 16 };

VkDeviceSize pm__uploader_bytes(VkDeviceSize slot_bytes) {
    return pm__round_up(slot_bytes, SLOT_ALIGNMENT) * PM__UPLOAD_SLOTS;
}

pm_status pm__uploader_init(pm__uploader *uploader, pm__queue *queue, VkDeviceSize slot_bytes) {
    *uploader = (pm__uploader){
        .queue = queue,
        .slot_bytes = pm__round_up(slot_bytes, SLOT_ALIGNMENT),
    };
    if (slot_bytes == 0)
        return PM_OK;
    PM_TRY(pm__buffer_init(queue->gpu, &uploader->staging, "staging",
                           pm__uploader_bytes(slot_bytes), PM__MEMORY_UPLOAD));
    VkCommandBuffer commands[PM__UPLOAD_SLOTS];
    PM_TRY(pm__queue_allocate(queue, PM__UPLOAD_SLOTS, commands));
    for (uint32_t i = 0; i < PM__UPLOAD_SLOTS; i++)
        uploader->slots[i].commands = commands[i];
    return PM_OK;
}

void pm__uploader_finish(pm__uploader *uploader) {
    if (uploader->queue == NULL)
        return;
    pm__gpu *gpu = uploader->queue->gpu;
    pm__queue_drain(uploader->queue);
    for (uint32_t i = 0; i < PM__UPLOAD_SLOTS; i++) {
        VkCommandBuffer *commands = &uploader->slots[i].commands;
        if (*commands != NULL)
            gpu->vk.vkFreeCommandBuffers(gpu->device, uploader->queue->pool, 1, commands);
    }
    pm__buffer_finish(gpu, &uploader->staging);
    *uploader = (pm__uploader){0};
}

static pm_status submit_slot(pm__uploader *uploader) {
    if (!uploader->open)
        return PM_OK;
    VkCommandBuffer commands = uploader->slots[uploader->slot].commands;
    PM_TRY(pm__queue_end(uploader->queue, commands));
    PM_TRY(pm__queue_submit(uploader->queue, commands));
    uploader->slots[uploader->slot].value = uploader->queue->submitted;
    uploader->slot = (uploader->slot + 1) % PM__UPLOAD_SLOTS;
    uploader->used = 0;
    uploader->open = false;
    return PM_OK;
}

static pm_status begin_slot(pm__uploader *uploader) {
    PM_TRY(pm__queue_wait(uploader->queue, uploader->slots[uploader->slot].value));
    PM_TRY(pm__queue_begin(uploader->queue, uploader->slots[uploader->slot].commands, false));
    uploader->open = true;
    return PM_OK;
}

bool pm__uploader_fits(const pm__uploader *uploader, VkDeviceSize bytes) {
    return uploader->slot_bytes == 0 || uploader->used + bytes <= uploader->slot_bytes;
}

pm_status pm__uploader_room(pm__uploader *uploader, VkDeviceSize bytes) {
    if (uploader->slot_bytes == 0)
        return PM_OK;
    if (!pm__uploader_fits(uploader, bytes))
        PM_TRY(submit_slot(uploader));
    return uploader->open ? PM_OK : begin_slot(uploader);
}

void *pm__uploader_place(pm__uploader *uploader, const pm__buffer *target, VkDeviceSize offset,
                         VkDeviceSize bytes) {
    if (uploader->slot_bytes == 0)
        return (char *)target->map + offset;
    const VkBufferCopy copy = {
        .srcOffset = uploader->slot * uploader->slot_bytes + uploader->used,
        .dstOffset = offset,
        .size = bytes,
    };
    pm__gpu *gpu = uploader->queue->gpu;
    gpu->vk.vkCmdCopyBuffer(uploader->slots[uploader->slot].commands, uploader->staging.buffer,
                            target->buffer, 1, &copy);
    uploader->used += bytes;
    return (char *)uploader->staging.map + copy.srcOffset;
}

pm_status pm__uploader_flush(pm__uploader *uploader) {
    if (uploader->slot_bytes == 0)
        return PM_OK;
    PM_TRY(submit_slot(uploader));
    return pm__queue_wait(uploader->queue, uploader->queue->submitted);
}
