/* params_stack.h: what C and stack.comp share. After params.h. Apart from it, since what that file
 * says is part of the keys of SPIR-V that is kept. */
#ifndef PM_SHADERS_PARAMS_STACK_H
#define PM_SHADERS_PARAMS_STACK_H

/* The table has PM_STACK_WORDS words a step: a pm_stack_step, from PM_STACK_AT on two words a
 * binding, from PM_STACK_PUSH on push constants. */
#define PM_STACK_WORDS    64u
#define PM_STACK_AT       8u
#define PM_STACK_BINDINGS 9u
#define PM_STACK_PUSH     32u

struct pm_stack_step {
    PM_UINT part;          /* PM_NONE: a step of the check */
    PM_UINT n_x, n_y, n_z; /* workgroups of the launch that it stands for */
    PM_UINT outs;          /* none of them where the step has no outputs */
    PM_UINT meets;         /* all workgroups meet after it */
};

struct pm_push_stack {
    PM_UINT first, n; /* steps of the table */
    PM_UINT patience; /* turns of all waits of a workgroup together */
};

#endif
