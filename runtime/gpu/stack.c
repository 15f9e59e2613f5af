#include "stack.h"

#include "../../shaders/params.h"
#include "../../shaders/params_stack.h"
#include "../base/checked.h"
#include "../base/grow.h"
#include "../base/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHECK_STEPS = 32, /* meetings of a run of the check */
    CHECK_RUNS = 4,
    MOST_SHIFT = 9, /* 512 workgroups at most */
    MOST_UPDATE = 65536,
};

_Static_assert(PM_STACK_BINDINGS == PM__MOST_BINDINGS &&
                   PM_STACK_AT + 2 * PM_STACK_BINDINGS <= PM_STACK_PUSH &&
                   PM_STACK_PUSH + PM__MOST_PUSH_WORDS <= PM_STACK_WORDS,
               "a step of the table holds what any launch has");

VkDeviceSize pm__stack_table_bytes(uint32_t n_step) {
    return 4ull * PM_STACK_WORDS * (n_step + CHECK_STEPS) + PM__GRID_STRIDE * (MOST_SHIFT + 1);
}

VkDeviceSize pm__stack_meeting_bytes(void) {
    return 4ull * (2 + (2u << MOST_SHIFT));
}

static pm__gpu *gpu_of(const pm__stack *stack) {
    return stack->desc.queue->gpu;
}

static const pm__dispatch *launch_of(const pm__stack *stack, uint32_t i) {
    return &stack->desc.program->dispatches[stack->first + i];
}

static const pm__grid *grid_of(const pm__stack *stack, uint32_t i) {
    return &stack->desc.program->grids[launch_of(stack, i)->grid];
}

/* ---- which launches -------------------------------------------------------------------------- */

/* Drawing a token and what follows it stay launches: they have workgroups where a token is
 * wanted. */
static bool fits(const pm__program *program, uint32_t i) {
    const pm__dispatch *d = &program->dispatches[i];
    const pm__grid *grid = &program->grids[d->grid];
    return grid->count != PM__GRID_SAMPLES && !grid->one && d->kernel->tier < PM__TIER_COOP;
}

/* The longest run of launches that fit. */
static pm_status find_run(pm__stack *stack) {
    const pm__program *program = stack->desc.program;
    for (uint32_t i = 0; i < program->n_dispatch;) {
        uint32_t n = 0;
        while (i + n < program->n_dispatch && fits(program, i + n))
            n++;
        if (n > stack->n) {
            stack->first = i;
            stack->n = n;
        }
        i += n + 1;
    }
    if (stack->n < 2)
        return pm__fail(PM_UNSUPPORTED, "no two launches of this model can be one");
    if (pm__stack_table_bytes(stack->n) > stack->desc.table.bytes)
        return pm__fail(PM_FAILURE, "%u launches, and there is room for fewer", stack->n);
    return PM_OK;
}

/* ---- parts ----------------------------------------------------------------------------------- */

static pm_status add_part(pm__stack *stack, uint32_t i, size_t *capacity) {
    const uint32_t pipeline = launch_of(stack, i)->pipeline;
    uint32_t k = 0;
    while (k < stack->n_part && stack->parts[k].pipeline != pipeline)
        k++;
    stack->part_of[i] = k;
    if (k < stack->n_part)
        return PM_OK;
    PM_TRY(pm__grow("gpu: parts", &stack->parts, capacity, k, sizeof *stack->parts));
    stack->n_part++;
    const pm_status status = pm__part_init(&stack->parts[k], gpu_of(stack),
                                           &stack->desc.pipelines->items[pipeline].desc);
    stack->parts[k].pipeline = pipeline;
    return status;
}

static bool is_written(const pm__stack *stack, VkBuffer buffer) {
    for (uint32_t i = 0; i < stack->n; i++) {
        const pm__dispatch *d = launch_of(stack, i);
        for (uint32_t b = 0; b < d->n_binding; b++)
            if ((d->write_mask >> b & 1) && d->bindings[b].buffer == buffer)
                return true;
    }
    return false;
}

static bool is_in_arena(const pm__stack *stack, const pm__region *region) {
    return region->buffer == stack->desc.arena.buffer;
}

/* All launches of a part must agree. */
static pm__home home_of(const pm__stack *stack, uint32_t part, uint32_t binding) {
    bool arena = true, written = false;
    for (uint32_t i = 0; i < stack->n; i++) {
        const pm__dispatch *d = launch_of(stack, i);
        if (stack->part_of[i] != part || binding >= d->n_binding)
            continue;
        arena = arena && is_in_arena(stack, &d->bindings[binding]);
        written = written || is_written(stack, d->bindings[binding].buffer);
    }
    return arena ? PM__HOME_ARENA : written ? PM__HOME_HELD : PM__HOME_KEPT;
}

/* As wide as the widest part that works together, so that its sums have the same bits; where none
 * does, a subgroup. On llvmpipe always that: with more (Mesa 22.3) loops of such a shader were seen
 * to end before their time. */
static void choose_width(pm__stack *stack) {
    const pm__gpu *gpu = gpu_of(stack);
    const bool one_subgroup = gpu->driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE;
    stack->width = 0;
    for (uint32_t k = 0; k < stack->n_part && !one_subgroup; k++)
        if (stack->parts[k].together)
            stack->width = pm__most_u32(stack->width, stack->parts[k].width);
    if (stack->width == 0)
        stack->width = gpu->caps.subgroup_max;
}

static pm_status find_parts(pm__stack *stack) {
    size_t capacity = 0;
    stack->part_of = calloc(stack->n, sizeof *stack->part_of);
    if (stack->part_of == NULL)
        return pm__fail_memory("gpu: parts", stack->n * sizeof *stack->part_of);
    for (uint32_t i = 0; i < stack->n; i++)
        PM_TRY(add_part(stack, i, &capacity));
    for (uint32_t k = 0; k < stack->n_part; k++)
        for (uint32_t b = 0; b < PM__MOST_BINDINGS; b++)
            stack->parts[k].homes[b] = home_of(stack, k, b);
    choose_width(stack);
    return PM_OK;
}

/* ---- table ----------------------------------------------------------------------------------- */

static void put_address(const pm__stack *stack, const pm__region *region, pm__home home,
                        uint32_t *words) {
    const pm__gpu *gpu = gpu_of(stack);
    uint64_t at = region->offset;
    if (home == PM__HOME_ARENA) {
        at -= stack->desc.arena.offset;
    } else {
        const VkBufferDeviceAddressInfo info = {
            .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
            .buffer = region->buffer,
        };
        at += gpu->vk.vkGetBufferDeviceAddress(gpu->device, &info);
    }
    words[0] = (uint32_t)at;
    words[1] = (uint32_t)(at >> 32);
}

static void fill_step(const pm__stack *stack, uint32_t i, uint32_t *words) {
    const pm__dispatch *d = launch_of(stack, i);
    const pm__grid *grid = grid_of(stack, i);
    uint32_t groups[3] = {grid->others[0], grid->others[1], grid->others[2]};
    groups[grid->axis] = 1; /* of one row */
    const struct pm_stack_step step = {
        .part = stack->part_of[i],
        .n_x = groups[0],
        .n_y = groups[1],
        .n_z = groups[2],
        .outs = grid->count == PM__GRID_OUTS,
    };
    memcpy(words, &step, sizeof step);
    for (uint32_t b = 0; b < d->n_binding; b++)
        put_address(stack, &d->bindings[b], stack->parts[step.part].homes[b],
                    words + PM_STACK_AT + 2 * b);
    memcpy(words + PM_STACK_PUSH, d->push, d->n_push * sizeof *d->push);
}

static bool meets(const pm__stack *stack, uint32_t i) {
    struct pm_stack_step step;
    memcpy(&step, stack->steps + (size_t)i * PM_STACK_WORDS, sizeof step);
    return step.meets != 0;
}

static void let_meet(pm__stack *stack, uint32_t i) {
    struct pm_stack_step step;
    memcpy(&step, stack->steps + (size_t)i * PM_STACK_WORDS, sizeof step);
    step.meets = 1;
    memcpy(stack->steps + (size_t)i * PM_STACK_WORDS, &step, sizeof step);
}

/* The steps, those of the check, and a grid for each number of workgroups. */
static pm_status fill_table(pm__stack *stack) {
    const size_t bytes = pm__stack_table_bytes(stack->n);
    stack->steps = calloc(1, bytes);
    if (stack->steps == NULL)
        return pm__fail_memory("gpu: table", bytes);
    for (uint32_t i = 0; i < stack->n; i++)
        fill_step(stack, i, stack->steps + (size_t)i * PM_STACK_WORDS);
    uint32_t since = 0;
    for (uint32_t i = 1; i < stack->n; i++) {
        if (!pm__program_conflicts(stack->desc.program, stack->first + since, stack->first + i))
            continue;
        let_meet(stack, i - 1);
        since = i;
    }
    uint32_t *words = stack->steps + (size_t)stack->n * PM_STACK_WORDS;
    const struct pm_stack_step check = {.part = PM_NONE, .n_x = 1, .n_y = 1, .n_z = 1, .meets = 1};
    for (uint32_t i = 0; i < CHECK_STEPS; i++, words += PM_STACK_WORDS)
        memcpy(words, &check, sizeof check);
    for (uint32_t shift = 0; shift <= MOST_SHIFT; shift++, words += PM__GRID_STRIDE / 4) {
        const uint32_t groups[] = {1u << shift, 1, 1};
        memcpy(words, groups, sizeof groups);
    }
    return PM_OK;
}

static pm_status submit_and_free(pm__queue *queue, VkCommandBuffer commands) {
    pm_status status = pm__queue_end(queue, commands);
    if (status == PM_OK)
        status = pm__queue_submit(queue, commands);
    if (status == PM_OK)
        status = pm__queue_wait(queue, queue->submitted);
    if (status != PM_OK)
        pm__queue_drain(queue);
    queue->gpu->vk.vkFreeCommandBuffers(queue->gpu->device, queue->pool, 1, &commands);
    return status;
}

/* Clears what meetings have left, and sends the table where there is one. */
static pm_status load(pm__stack *stack, VkDeviceSize table_bytes) {
    pm__queue *queue = stack->desc.queue;
    struct VolkDeviceTable *vk = &queue->gpu->vk;
    const pm__region *table = &stack->desc.table, *meetings = &stack->desc.meetings;
    VkCommandBuffer commands;
    PM_TRY(pm__queue_allocate(queue, 1, &commands));
    pm_status status = pm__queue_begin(queue, commands, false);
    if (status != PM_OK) {
        vk->vkFreeCommandBuffers(queue->gpu->device, queue->pool, 1, &commands);
        return status;
    }
    pm__queue_barrier(queue, commands);
    vk->vkCmdFillBuffer(commands, meetings->buffer, meetings->offset, meetings->bytes, 0);
    vk->vkCmdFillBuffer(commands, stack->desc.report->buffer, 0, VK_WHOLE_SIZE, 0);
    for (VkDeviceSize at = 0; at < table_bytes; at += MOST_UPDATE)
        vk->vkCmdUpdateBuffer(commands, table->buffer, table->offset + at,
                              pm__least_u64(MOST_UPDATE, table_bytes - at),
                              (const char *)stack->steps + at);
    pm__queue_barrier(queue, commands);
    return submit_and_free(queue, commands);
}

/* ---- pipeline -------------------------------------------------------------------------------- */

static pm_status build(pm__stack *stack) {
    PM_TRY(pm__compose(stack->parts, stack->n_part, stack->width, &stack->text));
    stack->file = (pm__shader_file){.name = "stack_parts.glsl", .text = stack->text};
    pm__pipeline_desc desc = {.name = "stack",
                              .file = "stack.comp",
                              .spec = {stack->width},
                              .n_spec = 1,
                              .n_binding = 5,
                              .push_bytes = sizeof(struct pm_push_stack),
                              .instead = &stack->file};
    for (uint32_t k = 0; k < stack->n_part; k++)
        if (stack->parts[k].desc.tier > desc.tier)
            desc.tier = stack->parts[k].desc.tier;
    PM_TRY(pm__pipelines_request(stack->desc.pipelines, &desc, &stack->pipeline));
    return pm__pipelines_build(stack->desc.pipelines, NULL, NULL);
}

/* ---- launches -------------------------------------------------------------------------------- */

static const pm__kernel stack_kernel = {.name = "stack", .file = "stack.comp"};

/* Turns that a workgroup may wait in all of a launch, of 64 looks each: about a second on GPUs.
 * Where all turns are counted, half of them. */
static uint32_t patience_of(const pm__caps *caps) {
    if (caps->most_turns != UINT32_MAX)
        return caps->most_turns / 2;
    return caps->software ? 1u << 16 : 1u << 14;
}

/* A launch of steps [first, first + n). */
static pm__dispatch make_launch(const pm__stack *stack, uint32_t first, uint32_t n,
                                uint32_t patience) {
    const pm__stack_desc *desc = &stack->desc;
    const struct pm_push_stack push = {.first = first, .n = n, .patience = patience};
    pm__dispatch d = {
        .node = launch_of(stack, first < stack->n ? first : 0)->node,
        .kernel = &stack_kernel,
        .pipeline = stack->pipeline,
        .bindings = {desc->table,
                     desc->meetings,
                     {desc->report->buffer, 0, desc->report->bytes},
                     desc->rows,
                     desc->arena},
        .n_binding = 5,
        .read_mask = 0x1f,
        .write_mask = 0x16,
        .n_push = sizeof push / 4,
    };
    memcpy(d.push, &push, sizeof push);
    for (uint32_t i = first; i < first + n && i < stack->n; i++) {
        d.cost.bytes += launch_of(stack, i)->cost.bytes;
        d.cost.flops += launch_of(stack, i)->cost.flops;
    }
    return d;
}

/* ---- the check ------------------------------------------------------------------------------- */

/* Whether 2^shift workgroups of the very pipeline meet, and see what they wrote. */
static pm_status check_runs(pm__stack *stack, pm__recording *recording, bool *met) {
    pm__queue *queue = stack->desc.queue;
    const volatile uint32_t *report = stack->desc.report->map;
    *met = true;
    for (int run = 0; run < CHECK_RUNS && *met; run++) {
        PM_TRY(load(stack, 0));
        PM_TRY(pm__recording_submit(recording, 1));
        PM_TRY(pm__queue_wait(queue, queue->submitted));
        *met = *report == 0;
    }
    return PM_OK;
}

static pm_status check(pm__stack *stack, uint32_t shift, bool *met) {
    enum { SOFTWARE = 1 << 14, GPU = 1 << 10 };
    pm__dispatch launch =
        make_launch(stack, stack->n, CHECK_STEPS, gpu_of(stack)->caps.software ? SOFTWARE : GPU);
    launch.grid = shift;
    const pm__program program = {.dispatches = &launch, .n_dispatch = 1};
    pm__region grids = stack->desc.table;
    grids.offset += 4ull * PM_STACK_WORDS * (stack->n + CHECK_STEPS);
    const pm__recording_desc desc = {.queue = stack->desc.queue,
                                     .program = &program,
                                     .pipelines = stack->desc.pipelines,
                                     .grids = grids,
                                     .n_row = 1};
    pm__recording recording;
    pm_status status = pm__recording_init(&recording, &desc);
    if (status == PM_OK)
        status = check_runs(stack, &recording, met);
    if (status != PM_OK)
        pm__queue_drain(stack->desc.queue);
    pm__recording_finish(&recording);
    return status;
}

/* Binary logarithm of how many there might be: on the CPU a processor each. */
static uint32_t most_shift(const pm__gpu *gpu) {
    const uint32_t most = gpu->most_meeting != 0 ? gpu->most_meeting
                          : gpu->caps.software   ? gpu->n_thread
                                                 : 1u << MOST_SHIFT;
    uint32_t shift = 0;
    while (2u << shift <= most && shift < MOST_SHIFT)
        shift++;
    return shift;
}

/* Most workgroups that meet, from what there might be downwards. */
static pm_status find_groups(pm__stack *stack) {
    const pm__gpu *gpu = gpu_of(stack);
    uint32_t shift = most_shift(gpu);
    bool met = gpu->believes;
    for (stack->n_group = 1u << shift; !met; stack->n_group = 1u << shift) {
        PM_TRY(check(stack, shift, &met));
        if (!met && shift-- == 0)
            return pm__fail(PM_UNSUPPORTED, "on %s a workgroup does not even meet itself",
                            gpu->info.name);
    }
    return PM_OK;
}

/* ---- cutting --------------------------------------------------------------------------------- */

/* At most the turns of all loops of a workgroup in a step, where a driver counts them. */
static uint64_t turns_of(const pm__stack *stack, uint32_t i) {
    enum { OF_STEP = 16, OF_OTHERS = 256 };
    const pm__node *node = launch_of(stack, i)->node;
    const pm__part *part = &stack->parts[stack->part_of[i]];
    const pm__grid *grid = grid_of(stack, i);
    uint64_t n_group = 1, n = OF_OTHERS;
    for (uint32_t axis = 0; axis < 3; axis++)
        n_group *= axis == grid->axis ? 1 : grid->others[axis];
    if (node->op == PM__OP_MATMUL)
        n = pm__type_chunks(node->in[1]->type, node->in[1]->n_col) + OF_STEP;
    else if (node->op == PM__OP_ATTENTION || node->op == PM__OP_ATTENTION_SPLIT)
        n += stack->desc.n_ctx;
    n *= pm__ceil_div(part->width, stack->width);
    return n * ((n_group + stack->n_group - 1) / stack->n_group) +
           (uint64_t)OF_STEP * stack->n_part;
}

static double weight_of(const pm__stack *stack, uint32_t i) {
    const pm__cost *cost = &launch_of(stack, i)->cost;
    return 1.0 + (double)cost->bytes + (double)cost->flops;
}

static pm_status add_launch(pm__stack *stack, const pm__dispatch *launch) {
    pm__program *program = &stack->program;
    PM_TRY(pm__grow("gpu: stack", &program->dispatches, &program->capacity, program->n_dispatch,
                    sizeof *program->dispatches));
    program->dispatches[program->n_dispatch++] = *launch;
    return PM_OK;
}

/* Steps from `first` on to the next meeting. */
static uint32_t phase_end(const pm__stack *stack, uint32_t first) {
    while (first + 1 < stack->n && !meets(stack, first))
        first++;
    return first + 1;
}

/* In about n_launch launches of one weight each, cut at meetings, and where turns run out. */
static pm_status add_stack(pm__stack *stack, uint32_t grid) {
    const pm__caps *caps = &gpu_of(stack)->caps;
    const uint64_t most = caps->most_turns != UINT32_MAX ? caps->most_turns / 2 : UINT64_MAX;
    double all = 0, filled = 0;
    uint64_t turns = 0;
    uint32_t begin = 0, n_launch = 0;
    for (uint32_t i = 0; i < stack->n; i++)
        all += weight_of(stack, i);
    for (uint32_t i = 0; i < stack->n;) {
        const uint32_t end = phase_end(stack, i);
        double weight = 0;
        uint64_t more = 0;
        for (uint32_t k = i; k < end; k++) {
            weight += weight_of(stack, k);
            more += turns_of(stack, k);
        }
        if (i > begin && (turns + more > most || filled + weight > all / stack->n_launch * 1.01)) {
            pm__dispatch launch = make_launch(stack, begin, i - begin, patience_of(caps));
            launch.grid = grid;
            PM_TRY(add_launch(stack, &launch));
            n_launch++;
            begin = i;
            filled = 0;
            turns = 0;
        }
        if (more > most)
            return pm__fail(PM_UNSUPPORTED, "%s ends loops after %u turns, which is too few for %s",
                            gpu_of(stack)->info.name, caps->most_turns,
                            launch_of(stack, i)->node->name);
        filled += weight;
        turns += more;
        i = end;
    }
    pm__dispatch launch = make_launch(stack, begin, stack->n - begin, patience_of(caps));
    launch.grid = grid;
    stack->n_launch = n_launch + 1;
    return add_launch(stack, &launch);
}

static pm_status record(pm__stack *stack) {
    const pm__program *single = stack->desc.program;
    const pm__grid grid = {
        .count = PM__GRID_ROWS, .rows_per_group = 1, .axis = 1, .others = {stack->n_group, 1, 1}};
    uint32_t index;
    PM_TRY(pm__program_add_grid(stack->desc.program, &grid, &index));
    stack->program.n_dispatch = 0;
    for (uint32_t i = 0; i < stack->first; i++)
        PM_TRY(add_launch(stack, &single->dispatches[i]));
    PM_TRY(add_stack(stack, index));
    for (uint32_t i = stack->first + stack->n; i < single->n_dispatch; i++)
        PM_TRY(add_launch(stack, &single->dispatches[i]));
    const pm__recording_desc desc = {.queue = stack->desc.queue,
                                     .program = &stack->program,
                                     .pipelines = stack->desc.pipelines,
                                     .grids = stack->desc.grids,
                                     .n_row = 1};
    return pm__recording_init(&stack->recording, &desc);
}

pm_status pm__stack_measure(pm__stack *stack) {
    PM_TRY(pm__recording_measure(&stack->recording));
    double longest = 0;
    for (uint32_t i = 0; i < stack->n_launch; i++) {
        const double seconds = stack->recording.seconds[stack->first + i];
        longest = seconds > longest ? seconds : longest;
    }
    if (longest <= gpu_of(stack)->submit_seconds || stack->n_launch >= stack->n / 2)
        return PM_OK;
    stack->n_launch *= 2;
    pm__recording_finish(&stack->recording);
    return record(stack);
}

/* ---- life ------------------------------------------------------------------------------------ */

static pm_status make(pm__stack *stack) {
    PM_TRY(find_run(stack));
    PM_TRY(find_parts(stack));
    PM_TRY(build(stack));
    PM_TRY(fill_table(stack));
    PM_TRY(load(stack, pm__stack_table_bytes(stack->n)));
    PM_TRY(find_groups(stack));
    PM_TRY(load(stack, 0));
    stack->n_launch = 1;
    return record(stack);
}

pm_status pm__stack_init(pm__stack *stack, const pm__stack_desc *desc) {
    *stack = (pm__stack){.desc = *desc};
    const pm_status status = make(stack);
    if (status != PM_OK) {
        const bool lost = gpu_of(stack)->lost;
        if (!lost)
            pm__log(PM_LOG_WARN, "one dispatch: %s; layers are launched kernel by kernel",
                    pm_last_error());
        pm__stack_finish(stack);
        return lost ? status : PM_OK;
    }
    stack->works = true;
    pm__log(PM_LOG_INFO, "one dispatch: %u launches as %u, of %u workgroups of %u", stack->n,
            stack->n_launch, stack->n_group, stack->width);
    return PM_OK;
}

void pm__stack_finish(pm__stack *stack) {
    pm__recording_finish(&stack->recording);
    pm__program_finish(&stack->program);
    for (uint32_t k = 0; k < stack->n_part; k++)
        pm__part_finish(&stack->parts[k]);
    free(stack->parts);
    free(stack->part_of);
    free(stack->steps);
    free(stack->text);
    *stack = (pm__stack){.works = false};
}

bool pm__stack_has_failed(const pm__stack *stack) {
    return *(const volatile uint32_t *)stack->desc.report->map != 0;
}
