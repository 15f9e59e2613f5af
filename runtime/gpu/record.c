#include "record.h"

#include "../base/clock.h"

#include <stdlib.h>

enum {
    FIRST_CUT = 4,   /* launches of a segment before anything is measured */
    FIRST_ROWS = 32, /* rows of a step before anything is measured */
};

/* Part of the budget that segments are filled to, so that a slower run still stays within. */
static const double FILL = 0.5;

static double budget(const pm__recording *recording) {
    return recording->desc.queue->gpu->submit_seconds;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static pm_status create_pool(pm__recording *recording) {
    pm__gpu *gpu = recording->desc.queue->gpu;
    const pm__program *program = recording->desc.program;
    uint32_t n_binding = 0;
    for (uint32_t i = 0; i < program->n_dispatch; i++)
        n_binding += program->dispatches[i].n_binding;
    const VkDescriptorPoolSize size = {
        .type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .descriptorCount = n_binding,
    };
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = program->n_dispatch,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VkDescriptorPool pool;
    PM_TRY(pm__gpu_check(gpu, gpu->vk.vkCreateDescriptorPool(gpu->device, &info, NULL, &pool),
                         "gpu: descriptor pool"));
    recording->pool = pool;
    return PM_OK;
}

static pm_status write_set(pm__recording *recording, const pm__dispatch *dispatch,
                           VkDescriptorSet *set) {
    pm__gpu *gpu = recording->desc.queue->gpu;
    const VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = recording->pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &recording->desc.pipelines->items[dispatch->pipeline].set_layout,
    };
    PM_TRY(pm__gpu_check(gpu, gpu->vk.vkAllocateDescriptorSets(gpu->device, &info, set),
                         "gpu: descriptor set"));
    VkDescriptorBufferInfo buffers[PM__MOST_BINDINGS];
    VkWriteDescriptorSet writes[PM__MOST_BINDINGS];
    for (uint32_t i = 0; i < dispatch->n_binding; i++) {
        buffers[i] = (VkDescriptorBufferInfo){
            .buffer = dispatch->bindings[i].buffer,
            .offset = dispatch->bindings[i].offset,
            .range = dispatch->bindings[i].bytes,
        };
        writes[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = *set,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &buffers[i],
        };
    }
    gpu->vk.vkUpdateDescriptorSets(gpu->device, dispatch->n_binding, writes, 0, NULL);
    return PM_OK;
}

/* ---- hazards --------------------------------------------------------------------------------- */

static bool overlap(const pm__region *a, const pm__region *b) {
    return a->buffer == b->buffer && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

/* True if `later` touches what `earlier` writes, or writes what it reads. Parts of one node write
 * apart. */
static bool conflict(const pm__dispatch *earlier, const pm__dispatch *later) {
    if (earlier->node == later->node)
        return false;
    const uint32_t touched = earlier->read_mask | earlier->write_mask;
    const uint32_t touches = later->read_mask | later->write_mask;
    for (uint32_t i = 0; i < earlier->n_binding; i++) {
        for (uint32_t j = 0; j < later->n_binding; j++) {
            if (!(touched >> i & 1) || !(touches >> j & 1))
                continue;
            const bool writes = (earlier->write_mask >> i & 1) || (later->write_mask >> j & 1);
            if (writes && overlap(&earlier->bindings[i], &later->bindings[j]))
                return true;
        }
    }
    return false;
}

bool pm__program_conflicts(const pm__program *program, uint32_t first, uint32_t i) {
    for (uint32_t earlier = first; earlier < i; earlier++)
        if (conflict(&program->dispatches[earlier], &program->dispatches[i]))
            return true;
    return false;
}

/* ---- recording ------------------------------------------------------------------------------- */

static void kernel_barrier(pm__gpu *gpu, VkCommandBuffer commands) {
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
    };
    gpu->vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                 VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0, NULL, 0,
                                 NULL);
}

static void record_dispatch(pm__recording *recording, VkCommandBuffer commands, uint32_t i) {
    pm__gpu *gpu = recording->desc.queue->gpu;
    const pm__dispatch *dispatch = &recording->desc.program->dispatches[i];
    const pm__pipeline *pipeline = &recording->desc.pipelines->items[dispatch->pipeline];
    gpu->vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->pipeline);
    gpu->vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->layout, 0,
                                    1, &recording->sets[i], 0, NULL);
    if (dispatch->n_push > 0)
        gpu->vk.vkCmdPushConstants(commands, pipeline->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                   4 * dispatch->n_push, dispatch->push);
    gpu->vk.vkCmdDispatchIndirect(commands, recording->desc.grids.buffer,
                                  recording->desc.grids.offset +
                                      (VkDeviceSize)dispatch->grid * PM__GRID_STRIDE);
}

/* The time at which all launches before are done, those of submissions before included: a segment
 * that waits in the queue is not a slow one. */
static void stamp(pm__recording *recording, VkCommandBuffer commands, uint32_t query) {
    pm__gpu *gpu = recording->desc.queue->gpu;
    if (recording->queries != VK_NULL_HANDLE)
        gpu->vk.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                    recording->queries, query);
}

/* Around a launch, where launches are profiled: when the one before lets it begin, and its end. */
static void stamp_launch(pm__recording *recording, VkCommandBuffer commands, uint32_t i, bool end) {
    pm__gpu *gpu = recording->desc.queue->gpu;
    if (recording->stamps != VK_NULL_HANDLE)
        gpu->vk.vkCmdWriteTimestamp(commands,
                                    end ? VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT
                                        : VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT,
                                    recording->stamps, 2 * i + end);
}

static pm_status record_segment(pm__recording *recording, uint32_t s) {
    pm__queue *queue = recording->desc.queue;
    pm__segment *segment = &recording->segments[s];
    PM_TRY(pm__queue_begin(queue, segment->commands, true));
    if (recording->queries != VK_NULL_HANDLE)
        queue->gpu->vk.vkCmdResetQueryPool(segment->commands, recording->queries, 2 * s, 2);
    if (recording->stamps != VK_NULL_HANDLE)
        queue->gpu->vk.vkCmdResetQueryPool(segment->commands, recording->stamps, 2 * segment->first,
                                           2 * segment->n);
    pm__queue_barrier(queue, segment->commands);
    stamp(recording, segment->commands, 2 * s);
    uint32_t since_barrier = segment->first;
    for (uint32_t i = segment->first; i < segment->first + segment->n; i++) {
        if (pm__program_conflicts(recording->desc.program, since_barrier, i)) {
            kernel_barrier(queue->gpu, segment->commands);
            since_barrier = i;
            recording->n_barrier++;
        }
        stamp_launch(recording, segment->commands, i, false);
        record_dispatch(recording, segment->commands, i);
        stamp_launch(recording, segment->commands, i, true);
    }
    stamp(recording, segment->commands, 2 * s + 1);
    pm__queue_barrier(queue, segment->commands);
    return pm__queue_end(queue, segment->commands);
}

/* Cuts the launches into segments: by count before the first measurement, by time after it. */
static void cut(pm__recording *recording) {
    const pm__program *program = recording->desc.program;
    const double most = FILL * budget(recording);
    double filled = 0;
    recording->n_segment = 0;
    pm__segment *segment = NULL;
    for (uint32_t i = 0; i < program->n_dispatch; i++) {
        const bool full =
            segment == NULL || (recording->basis_rows > 0 ? filled + recording->seconds[i] > most
                                                          : segment->n == FIRST_CUT);
        if (full) {
            segment = &recording->segments[recording->n_segment++];
            segment->first = i;
            segment->n = 0;
            segment->seconds = 0;
            filled = 0;
        }
        filled += recording->seconds[i];
        segment->n++;
    }
}

static pm_status record_all(pm__recording *recording) {
    pm__queue *queue = recording->desc.queue;
    const uint32_t before = recording->n_segment;
    for (uint32_t s = 0; s < before; s++)
        queue->gpu->vk.vkFreeCommandBuffers(queue->gpu->device, queue->pool, 1,
                                            &recording->segments[s].commands);
    cut(recording);
    recording->n_barrier = 0;
    for (uint32_t s = 0; s < recording->n_segment; s++)
        recording->segments[s].commands = NULL;
    for (uint32_t s = 0; s < recording->n_segment; s++) {
        PM_TRY(pm__queue_allocate(queue, 1, &recording->segments[s].commands));
        PM_TRY(record_segment(recording, s));
    }
    return PM_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static pm_status create_queries(pm__recording *recording, VkQueryPool *out) {
    pm__gpu *gpu = recording->desc.queue->gpu;
    if (gpu->caps.timestamp_seconds <= 0)
        return PM_OK;
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = 2 * recording->desc.program->n_dispatch,
    };
    VkQueryPool queries;
    PM_TRY(pm__gpu_check(gpu, gpu->vk.vkCreateQueryPool(gpu->device, &info, NULL, &queries),
                         "gpu: timestamps"));
    *out = queries;
    return PM_OK;
}

pm_status pm__recording_init(pm__recording *recording, const pm__recording_desc *desc) {
    *recording = (pm__recording){.desc = *desc};
    const uint32_t n = desc->program->n_dispatch;
    recording->sets = calloc(n, sizeof *recording->sets);
    recording->segments = calloc(n, sizeof *recording->segments);
    recording->seconds = calloc(n, sizeof *recording->seconds);
    if (recording->sets == NULL || recording->segments == NULL || recording->seconds == NULL)
        return pm__fail_memory("gpu: recording", n * sizeof *recording->segments);
    PM_TRY(create_pool(recording));
    for (uint32_t i = 0; i < n; i++)
        PM_TRY(write_set(recording, &desc->program->dispatches[i], &recording->sets[i]));
    PM_TRY(create_queries(recording, &recording->queries));
    if (desc->profile)
        PM_TRY(create_queries(recording, &recording->stamps));
    return record_all(recording);
}

void pm__recording_finish(pm__recording *recording) {
    pm__queue *queue = recording->desc.queue;
    if (queue == NULL)
        return;
    pm__gpu *gpu = queue->gpu;
    for (uint32_t s = 0; s < recording->n_segment; s++)
        if (recording->segments[s].commands != NULL)
            gpu->vk.vkFreeCommandBuffers(gpu->device, queue->pool, 1,
                                         &recording->segments[s].commands);
    gpu->vk.vkDestroyQueryPool(gpu->device, recording->queries, NULL);
    gpu->vk.vkDestroyQueryPool(gpu->device, recording->stamps, NULL);
    gpu->vk.vkDestroyDescriptorPool(gpu->device, recording->pool, NULL);
    free(recording->sets);
    free(recording->segments);
    free(recording->seconds);
    *recording = (pm__recording){0};
}

/* ---- running and learning -------------------------------------------------------------------- */

pm_status pm__recording_submit(pm__recording *recording, uint32_t n_row) {
    pm__queue *queue = recording->desc.queue;
    for (uint32_t s = 0; s < recording->n_segment; s++) {
        const double start = pm__clock_seconds();
        PM_TRY(pm__queue_submit(queue, recording->segments[s].commands));
        if (recording->basis_rows > 0 || recording->queries != VK_NULL_HANDLE)
            continue;
        /* Without timestamps the first run is timed from here, one segment at a time. */
        PM_TRY(pm__queue_wait(queue, queue->submitted));
        recording->segments[s].seconds = pm__clock_seconds() - start;
    }
    recording->run_rows = n_row;
    return PM_OK;
}

/* Nobody waits for them: all is done, so times that are not there will never be. *known is false
 * then, and nothing is learned from this run. */
static pm_status read_timestamps(pm__recording *recording, bool *known) {
    pm__gpu *gpu = recording->desc.queue->gpu;
    *known = false;
    for (uint32_t s = 0; s < recording->n_segment; s++) {
        uint64_t ticks[2];
        const VkResult result =
            gpu->vk.vkGetQueryPoolResults(gpu->device, recording->queries, 2 * s, 2, sizeof ticks,
                                          ticks, sizeof ticks[0], VK_QUERY_RESULT_64_BIT);
        if (result == VK_NOT_READY)
            return PM_OK;
        PM_TRY(pm__gpu_check(gpu, result, "gpu: timestamps"));
        const uint64_t passed = (ticks[1] - ticks[0]) & gpu->caps.timestamp_mask;
        recording->segments[s].seconds = (double)passed * gpu->caps.timestamp_seconds;
    }
    *known = true;
    return PM_OK;
}

pm_status pm__recording_read_stamps(pm__recording *recording, uint64_t *ticks, bool *known) {
    pm__gpu *gpu = recording->desc.queue->gpu;
    const uint32_t n = 2 * recording->desc.program->n_dispatch;
    const VkResult result =
        gpu->vk.vkGetQueryPoolResults(gpu->device, recording->stamps, 0, n, n * sizeof *ticks,
                                      ticks, sizeof *ticks, VK_QUERY_RESULT_64_BIT);
    *known = result != VK_NOT_READY;
    return *known ? pm__gpu_check(gpu, result, "gpu: timestamps") : PM_OK;
}

static double weight_of(const pm__dispatch *dispatch) {
    return 1.0 + (double)dispatch->cost.bytes + (double)dispatch->cost.flops;
}

/* Shares the time of a segment among its launches by what they move and compute. */
static void share_time(pm__recording *recording, const pm__segment *segment, double scale) {
    const pm__dispatch *dispatches = recording->desc.program->dispatches;
    double total = 0;
    for (uint32_t i = segment->first; i < segment->first + segment->n; i++)
        total += weight_of(&dispatches[i]);
    for (uint32_t i = segment->first; i < segment->first + segment->n; i++)
        recording->seconds[i] = segment->seconds * scale * weight_of(&dispatches[i]) / total;
}

pm_status pm__recording_measure(pm__recording *recording) {
    const uint32_t n_row = recording->run_rows;
    if (n_row == 0)
        return PM_OK;
    recording->run_rows = 0;
    bool known = recording->basis_rows == 0; /* the first run is timed from here */
    if (recording->queries != VK_NULL_HANDLE)
        PM_TRY(read_timestamps(recording, &known));
    if (!known)
        return PM_OK;
    /* Time grows at most in proportion to the rows, so a run of more rows tells more. */
    const double scale = (double)recording->desc.n_row / n_row;
    const bool better = n_row > recording->basis_rows;
    bool again = better;
    for (uint32_t s = 0; s < recording->n_segment; s++) {
        const pm__segment *segment = &recording->segments[s];
        const bool late = segment->seconds > budget(recording);
        if (better || late)
            share_time(recording, segment, scale);
        again = again || (late && segment->n > 1);
    }
    if (better)
        recording->basis_rows = n_row;
    return again ? record_all(recording) : PM_OK;
}

uint32_t pm__recording_most_rows(const pm__recording *recording) {
    const uint32_t n_row = recording->desc.n_row;
    if (recording->basis_rows == 0)
        return n_row < FIRST_ROWS ? n_row : FIRST_ROWS;
    double longest = 0;
    for (uint32_t i = 0; i < recording->desc.program->n_dispatch; i++)
        if (recording->seconds[i] > longest)
            longest = recording->seconds[i];
    if (longest <= budget(recording))
        return n_row;
    const double rows = n_row * budget(recording) / longest;
    return rows < 1 ? 1 : (uint32_t)rows;
}
