/* stack.h: research: the launches of a step of one row, all but the last few, as one launch
 * (shaders/stack.comp), in which workgroups wait for each other. That many of them run at the same
 * time is no promise of Vulkan: it is tried when a session is made, with the very pipeline; waits
 * are bounded all the same, and a step in which one ended in vain is run again by single
 * launches. */
#ifndef PM_GPU_STACK_H
#define PM_GPU_STACK_H

#include "compose.h"
#include "needs.h"
#include "record.h"

typedef struct pm__stack_desc {
    pm__queue *queue;
    pm__pipelines *pipelines;
    pm__program *program; /* of single launches, all built; gets a grid more */
    pm__region grids;     /* of that program */
    pm__region rows;      /* of the step */
    pm__region arena;     /* the activations of the program */
    pm__region table, meetings;
    const pm__buffer *report; /* a word */
    uint32_t n_ctx;
} pm__stack_desc;

typedef struct pm__stack {
    pm__stack_desc desc;
    bool works;        /* recording is to be used */
    uint32_t first, n; /* launches that are steps */
    uint32_t *steps;   /* [n + steps of the check][PM_STACK_WORDS] the table */
    uint32_t *part_of; /* [n] */
    pm__part *parts;
    uint32_t n_part;
    uint32_t width, n_group; /* invocations of a workgroup; workgroups */
    char *text;
    pm__shader_file file;
    uint32_t pipeline;
    uint32_t n_launch; /* in which the stack is cut */
    pm__program program;
    pm__recording recording;
} pm__stack;

/* Bytes of the table and of the meetings. */
VkDeviceSize pm__stack_table_bytes(uint32_t n_step);
VkDeviceSize pm__stack_meeting_bytes(void);

/* Not to find what it takes is no failure: stack->works is false then, and a warning says why.
 * errors  DEVICE_LOST */
pm_status pm__stack_init(pm__stack *stack, const pm__stack_desc *desc);
void pm__stack_finish(pm__stack *stack); /* nothing may be in flight */

/* As pm__recording_measure. A launch that took longer than the time budget is cut. */
pm_status pm__stack_measure(pm__stack *stack);

/* Whether a wait ended in vain since the stack was made. */
bool pm__stack_has_failed(const pm__stack *stack);

#endif
