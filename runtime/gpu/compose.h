/* compose.h: kernels as functions of one shader. A kernel's text becomes a part: its names get a
 * prefix of their own; what it was told by a launch (workgroup, constants, push constants,
 * bindings) it takes from the record of a step in a table, as stack.comp has it. */
#ifndef PM_GPU_COMPOSE_H
#define PM_GPU_COMPOSE_H

#include "pipeline.h"

/* Where what a kernel binds lies, in all launches of a part. */
typedef enum pm__home {
    PM__HOME_KEPT,  /* memory that no step of the stack writes, by its address */
    PM__HOME_HELD,  /* other memory, by its address */
    PM__HOME_ARENA, /* the binding of activations, by an offset in bytes */
} pm__home;

typedef struct pm__part {
    char *text;     /* the kernel's after the preprocessor, malloc'ed */
    uint32_t width; /* of its workgroup */
    bool together; /* its invocations wait for or exchange with each other: all of them take part */
    uint32_t pipeline; /* of the kernel: index in pm__pipelines */
    pm__pipeline_desc desc;
    pm__home homes[PM__MOST_BINDINGS];
} pm__part;

/* Reads the kernel of a pipeline.
 * errors  those of pm__shader_compile */
pm_status pm__part_init(pm__part *part, pm__gpu *gpu, const pm__pipeline_desc *desc);
void pm__part_finish(pm__part *part);

/* Text of stack_parts.glsl: all parts, and run_part(), for workgroups of `width` invocations. Parts
 * that work together become as wide, and then may add up in another order; others stay as they are.
 * text    out, malloc'ed
 * errors  OUT_OF_MEMORY, UNSUPPORTED: a declaration that is none of those that kernels have */
pm_status pm__compose(const pm__part *parts, uint32_t n, uint32_t width, char **text);

#endif
