/* context.h: everything a session keeps on a device, and the way of one step through it. */
#ifndef PM_GPU_CONTEXT_H
#define PM_GPU_CONTEXT_H

#include "stack.h"
#include "weights.h"

/* Of steps by their rows; each has its own recorded program. */
typedef enum pm__class {
    PM__CLASS_ONE,   /* a row alone, one output: matrix-vector kernels */
    PM__CLASS_BATCH, /* up to n_batch rows, n_out outputs */
    PM__CLASS_FEW,   /* one row of each of few sequences: kernels that read weights once for them */
    PM__CLASS_ENCODE, /* the same of the encoder's side, where the graph has one */
    PM__CLASS_COUNT
} pm__class;

struct pm__profile;

typedef struct pm__class_state {
    uint32_t n_row, n_out; /* capacity; 0: the context has no such steps */
    pm__graph fused;
    const pm__graph *graph; /* that, or the context's own */
    pm__region *activations;
    pm__program program;
    pm__recording recording;
    pm__spot grids;
    struct pm__profile *profile; /* NULL: nobody asked for one */
} pm__class_state;

/* A step that is submitted and not collected. */
typedef struct pm__flight {
    uint64_t value; /* of the timeline */
    uint32_t step;
} pm__flight;

typedef struct pm__gpu_context {
    pm__gpu_device *device;
    const pm__gpu_weights *weights;
    const pm__graph *graph;
    pm__limits limits;

    pm__needs needs;
    pm__buffer *buffers;
    pm__spot *caches; /* [graph->n_cache] */
    pm__spot *states; /* [graph->n_state] */
    pm__spot arena;
    pm__spot step[PM__STEP_PART_COUNT];
    uint32_t mirror;           /* need: the step buffer as the host writes it */
    uint32_t ring;             /* need: drawn tokens, written by kernels, read by the host */
    uint32_t logits;           /* need: logits on their way to the host */
    uint64_t activation_bytes; /* of the larger class */
    pm__spot table, meetings;  /* of the stack, where the device may have one */
    uint32_t report;           /* need: whether it failed */
    pm__region *cache_regions, *state_regions;

    pm__pipelines pipelines;
    pm__compile_info compiled;
    pm__class_state classes[PM__CLASS_COUNT];
    pm__class present; /* of the rows begun last */
    uint32_t n_row, n_out;
    uint32_t n_pos; /* positions that the rows submitted next see at most */
    bool sample;

    pm__stack stack; /* what a step of one row runs, where it works */
    /* The step of one row begun last, and what was collected of it: to run it again. */
    pm__step begun;
    struct pm_step_row row;
    uint32_t out;
    uint32_t n_collected, token;

    VkCommandBuffer load; /* copies of begin(), copy_page() and read_logits() */
    uint64_t load_value;
    VkBufferCopy *copies; /* [n_batch + PM__STEP_PART_COUNT + 2] */
    uint32_t n_copy;
    bool samplers_changed;
    uint32_t pages_low, pages_high; /* entries of the block table that changed */

    uint32_t step_number;
    pm__flight flights[PM_RING];
    uint32_t n_flight, first_flight;
} pm__gpu_context;

/* Places the buffers a context would take, and names them. */
pm_status pm__gpu_context_report(const pm__gpu_weights *weights, const pm__graph *g,
                                 const pm__limits *limits, pm__room *room,
                                 const pm__plan_sink *sink);

/* What a context would run, requested into a set that is initialised: nothing is allocated on the
 * device, and the weights need not be there. */
pm_status pm__gpu_context_request(const pm__gpu_weights *weights, const pm__graph *g,
                                  const pm__limits *limits, pm__pipelines *set);

/* Members of pm__backend; see backend.h. Weights are pm__gpu_weights, contexts pm__gpu_context. */
pm_status pm__gpu_context_create(void *weights, const pm__graph *g, const pm__limits *limits,
                                 void **out);
void pm__gpu_context_destroy(void *context);
void pm__gpu_context_get_info(const void *context, pm__context_info *out);
pm_status pm__gpu_context_set_sampler(void *context, uint32_t seq,
                                      const struct pm_step_sampler *sampler);
pm_status pm__gpu_context_set_pages(void *context, uint32_t seq, uint32_t first, uint32_t n,
                                    const uint32_t *pages);
pm_status pm__gpu_context_copy_page(void *context, uint32_t from, uint32_t to);
pm_status pm__gpu_context_copy_state(void *context, uint32_t from, uint32_t to);
pm_status pm__gpu_context_begin(void *context, const pm__step *step);
pm_status pm__gpu_context_submit(void *context);
pm_status pm__gpu_context_collect(void *context, struct pm_step_drawn *drawn);
pm_status pm__gpu_context_read_logits(void *context, uint32_t first, uint32_t n, float *logits);

/* ---- profile.c ------------------------------------------------------------------------------- */

/* Room for the times of a recorded class, where the context is profiled. */
pm_status pm__profile_create(const pm__class_state *state, struct pm__profile **out);
void pm__profile_destroy(struct pm__profile *profile);
/* Adds the step that ended last, of the present class. */
pm_status pm__profile_take(pm__gpu_context *context);
pm_status pm__gpu_context_profile(const void *context, const char **why, void *user,
                                  pm_status (*add)(void *user, const pm__launches *launches));

#endif
