/* stack.comp: many steps in one launch, each of them what a kernel does in a launch of its own; all
 * workgroups meet where a step needs what those before it wrote. Vulkan does not promise that
 * workgroups run at the same time, so no one waits for ever: patience ends in a fault, all leave,
 * and the host takes single launches
 * shape   table [steps] of PM_STACK_WORDS words: a pm_stack_step, addresses of the bindings
 *         (offsets in the arena), push constants from PM_STACK_PUSH on
 * grid    x: as many workgroups as were seen to run at the same time, a power of two
 * spec 0 WG_SIZE
 * checked tests/test_stack.c, against the launches that it stands for
 * source  a barrier of workgroups that are all there: arXiv:1707.01989; memory: the Vulkan memory
 *         model, where what is released and made available to the queue's family before a meeting
 *         is acquired and made visible after it */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#extension GL_EXT_spirv_intrinsics : enable
#pragma use_vulkan_memory_model
#define PM_GLSL
#include "params.h"
#include "params_stack.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;

layout(push_constant) uniform Push { pm_push_stack push; };
layout(std430, binding = 0) restrict readonly buffer Table { uint table[]; };
layout(std430, binding = 1) nonprivate buffer Meetings {
    uint arrived; // workgroups, at all meetings together
    uint fault;
    uint notes[]; // two a workgroup
};
layout(std430, binding = 2) nonprivate buffer Report { uint report; };
layout(std430, binding = 3) restrict readonly buffer Rows {
    pm_step_head stack_head;
    pm_step_row stack_rows[];
};

#define HOMES(T)                                                                                   \
    layout(std430, binding = 4) nonprivate buffer T##_block { T T##_arena[]; };                    \
    layout(buffer_reference, std430, buffer_reference_align = 16) nonprivate buffer T##_held {     \
        T at[];                                                                                    \
    };                                                                                             \
    layout(buffer_reference, std430, buffer_reference_align = 16) restrict readonly buffer         \
        T##_kept {                                                                                 \
        T at[];                                                                                    \
    };
HOMES(float)
HOMES(vec4)
HOMES(uint)
HOMES(uvec4)

uint stack_step, stack_n, stack_me, patience;
uvec2 stack_at[PM_STACK_BINDINGS];
uvec3 stack_group, stack_groups;

void stack_take(uint i) {
    uint row = i / stack_groups.x;
    stack_group = uvec3(i % stack_groups.x, row % stack_groups.y, row / stack_groups.y);
}

#include "stack_parts.glsl"

shared bool met;

/* A load, made so that no compiler takes it out of a loop: that of Mesa 22.3 was seen to. */
uint seen() {
    return atomicAdd(arrived, 0u, gl_ScopeQueueFamily, 0, gl_SemanticsRelaxed);
}

uint faults() {
    return atomicAdd(fault, 0u, gl_ScopeQueueFamily, 0, gl_SemanticsRelaxed);
}

void give_up() {
    atomicStore(fault, 1u, gl_ScopeQueueFamily, 0, gl_SemanticsRelaxed);
    report = 1u;
}

/* Many looks a turn: some drivers count turns. */
#define LOOK   if (!here) here = int(seen() - goal) >= 0;
#define LOOK4  LOOK LOOK LOOK LOOK
#define LOOK16 LOOK4 LOOK4 LOOK4 LOOK4
bool wait(uint goal) {
    bool here = false;
    [[dont_unroll]] while (!here && patience > 0u) {
        LOOK16 LOOK16 LOOK16 LOOK16
        patience--;
    }
    return here;
}

/* False: not all came, here or elsewhere. */
bool meet() {
    memoryBarrier(gl_ScopeQueueFamily, gl_StorageSemanticsBuffer,
                  gl_SemanticsRelease | gl_SemanticsMakeAvailable);
    barrier();
    if (gl_LocalInvocationIndex == 0u) {
        uint n = gl_NumWorkGroups.x;
        uint mine = atomicAdd(arrived, 1u, gl_ScopeQueueFamily, 0, gl_SemanticsRelaxed);
        met = wait(mine - mine % n + n);
        if (!met)
            give_up();
        met = met && faults() == 0u;
    }
    barrier();
    memoryBarrier(gl_ScopeQueueFamily, gl_StorageSemanticsBuffer,
                  gl_SemanticsAcquire | gl_SemanticsMakeVisible);
    return met;
}

/* A step of the check: the note that the neighbour left before the last meeting must be there. */
void leave_note(uint i) {
    uint n = gl_NumWorkGroups.x, mine = gl_WorkGroupID.x, other = (mine + 1u) % n;
    if (gl_LocalInvocationIndex != 0u)
        return;
    if (i > 0u && notes[2u * other + (i & 1u)] != i)
        give_up();
    notes[2u * mine + (i + 1u & 1u)] = i + 1u;
}

void main() {
    patience = push.patience;
    if (gl_LocalInvocationIndex == 0u)
        met = faults() == 0u;
    barrier();
    if (!met)
        return;
    [[dont_unroll]] for (uint i = 0u; i < push.n; i++) {
        stack_step = push.first + i;
        uint first = stack_step * PM_STACK_WORDS;
        uint part = table[first], outs = table[first + 4u], meets = table[first + 5u];
        stack_groups = uvec3(table[first + 1u], table[first + 2u], table[first + 3u]);
        stack_n = stack_groups.x * stack_groups.y * stack_groups.z;
        if (outs != 0u)
            stack_n *= stack_head.n_out;
        [[unroll]] for (uint b = 0u; b < PM_STACK_BINDINGS; b++)
            stack_at[b] = uvec2(table[first + PM_STACK_AT + 2u * b],
                                table[first + PM_STACK_AT + 2u * b + 1u]);
        if (part == PM_NONE)
            leave_note(i);
        else
            run_part(part);
        if (meets != 0u && i + 1u < push.n && !meet())
            return;
    }
}
