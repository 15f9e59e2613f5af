/* backend.h: what the engine asks of a device that runs graphs. cpu/ and gpu/ each fill one
 * pm__backend; they never see each other.
 *
 *   device   --weights_create-->  weights   --context_create-->  context
 *
 * A context runs steps: begin() loads rows, submit() queues one run of the graph, and each further
 * submit() without begin() runs the rows that the step before drew (ADVANCE), so the host can be
 * several steps behind. collect() takes the results in order. */
#ifndef PM_GRAPH_BACKEND_H
#define PM_GRAPH_BACKEND_H

#include "../../shaders/params.h"
#include "model.h"
#include "plan.h"

/* What a row is computed among. It may go through other kernels then, which shows in its last bits,
 * so it does not depend on how many rows a step happens to have. */
typedef enum pm__among {
    PM__ALONE,    /* nothing: its step has no other row */
    PM__TOGETHER, /* tokens that are known together, as those of a prompt */
    PM__FEW       /* answers: one row of each of several sequences */
} pm__among;

/* One step given by the host. */
typedef struct pm__step {
    /* [n_row]; rows of one sequence are neighbours, at one position after the other */
    const struct pm_step_row *rows;
    uint32_t n_row;
    const uint32_t *outs; /* [n_out] rows whose logits are wanted, ascending */
    uint32_t n_out;       /* may be 0 */
    /* Draw a token for each output. A submit() without begin() after this step needs it, and
     * n_out == n_row. */
    bool sample;
    /* TOGETHER and FEW also where n_row is 1; ALONE stands for TOGETHER where it is more. */
    pm__among among;
    /* The encoder's side of a graph that has two; a sequence comes whole, n_out is 0. In steps of
     * the other side n_pos of each row, set by the caller, is what the encoder left of its
     * sequence. */
    bool encode;
} pm__step;

/* The rows as the step buffer has them, with n_pos. For begin().
 * out     [n_row]
 * errors  ARGUMENT: rows of a sequence are not as pm__step says */
pm_status pm__step_load_rows(const pm__step *step, struct pm_step_row *out);

typedef struct pm__plan_desc {
    const pm__model_def *def;
    void *weights; /* of weights_create(), whose memory then counts as free; NULL: none yet */
    const pm__graph *graph;
    const pm__limits *limits;
    uint32_t spare; /* one part in `spare` of what is free stays free; 0: all may be taken */
} pm__plan_desc;

/* What may be taken of `free` bytes. */
static inline uint64_t pm__plan_usable(uint64_t free_bytes, uint32_t spare) {
    return spare != 0 ? free_bytes - free_bytes / spare : free_bytes;
}

typedef struct pm__plan_sink {
    pm_status (*buffer)(void *user, const pm_plan_buffer *buffer);
    pm_status (*heap)(void *user, const pm_plan_heap *heap); /* `needed` is not filled in */
    void (*limit)(void *user, uint64_t bytes); /* of all limited heaps; not called: none */
    void *user;
} pm__plan_sink;

/* What was compiled for a context. */
typedef struct pm__compile_info {
    uint32_t n_pipeline, n_ahead; /* begun by expect() */
    double seconds;               /* from the first that was begun to the last that was there */
    double wait_seconds;          /* for them, in context_create() */
    double shader_seconds;        /* of all threads, to SPIR-V, compiled or found */
    double driver_seconds;        /* of all threads, in the driver */
} pm__compile_info;

typedef struct pm__context_info {
    uint32_t n_dispatch; /* of a step of one row; 0: not a GPU */
    uint32_t n_barrier;
    uint32_t n_submit;
    uint32_t most_ahead; /* steps that may be submitted and not collected, at most PM_RING */
    /* Rows of a step that keep it within the time budget, 1 to n_batch; changes as steps are
     * measured. */
    uint32_t most_rows;
    bool alone_differs, few_differ; /* such rows may have other bits than TOGETHER gives them */
    pm__compile_info compiled;      /* zeros: not a GPU */
} pm__context_info;

/* What the launches of one node by one kernel came to, in steps of one kind. */
typedef struct pm__launches {
    const char *kernel, *node; /* as long as the context */
    uint64_t n;
    double seconds;
    double gap_seconds; /* in which nothing ran before them, within a step */
    double bytes, flops;
    bool one; /* in steps of a row alone */
} pm__launches;

typedef struct pm__backend {
    void (*close)(void *device);
    /* After DEVICE_LOST: opens the same device anew, in place, with the settings it had. All
     * weights and contexts of it are destroyed before. After a failure it can be tried again, or
     * closed. NULL: it is never lost. */
    pm_status (*reopen)(void *device);

    /* A context of this graph is to follow weights of this model: begins what needs no weights, and
     * comes back at once. NULL: there is nothing to begin with. */
    pm_status (*expect)(void *device, const pm__model_def *def, const pm__graph *g,
                        const pm__limits *limits);

    /* Places all weights. The file map must outlive them. */
    pm_status (*weights_create)(void *device, const pm__model_def *def, pm_progress_fn progress,
                                void *user, void **out);
    void (*weights_destroy)(void *weights);

    /* Names every buffer that weights and a context would take, per heap; allocates nothing.
     * errors  OUT_OF_MEMORY: one of them is larger than the device can have or bind */
    pm_status (*plan)(void *device, const pm__plan_desc *desc, const pm__plan_sink *sink);

    /* Reserves everything. g must outlive the context. */
    pm_status (*context_create)(void *weights, const pm__graph *g, const pm__limits *limits,
                                void **out);
    void (*context_destroy)(void *context);
    void (*context_get_info)(const void *context, pm__context_info *out);

    /* These five need that nothing is in flight (submitted and not collected). */
    pm_status (*set_sampler)(void *context, uint32_t seq, const struct pm_step_sampler *sampler);
    /* Entries [first, first + n) of the block table of seq. */
    pm_status (*set_pages)(void *context, uint32_t seq, uint32_t first, uint32_t n,
                           const uint32_t *pages);
    /* Copies one page of every cache. */
    pm_status (*copy_page)(void *context, uint32_t from, uint32_t to);
    /* Copies what every state holds of one sequence. */
    pm_status (*copy_state)(void *context, uint32_t from, uint32_t to);
    /* Loads the rows, and their tokens into the history; also where no submit() but another begin()
     * follows, which is how the engine gives a sequence that shares the pages of another its
     * history. */
    pm_status (*begin)(void *context, const pm__step *step);

    /* The first submit() of a context is step 0, the next one step 1, and so on (pm_step_head.step,
     * pm_step_drawn.step). */
    pm_status (*submit)(void *context);
    /* Waits for the oldest step that is submitted and not collected. drawn: out, [n_out of the
     * step], zeros if it did not sample. */
    pm_status (*collect)(void *context, struct pm_step_drawn *drawn);
    /* Logits of outputs [first, first + n) of the step collected last, [n, n_vocab]; nothing may be
     * in flight. */
    pm_status (*read_logits)(void *context, uint32_t first, uint32_t n, float *logits);

    /* What was measured since the context was made, with pm__limits.profile: calls add() for every
     * node and kernel. *why: it can not be measured, or NULL.
     * NULL: it does not measure. */
    pm_status (*profile)(const void *context, const char **why, void *user,
                         pm_status (*add)(void *user, const pm__launches *launches));
} pm__backend;

/* A device opened by cpu/ or gpu/. */
typedef struct pm__device_handle {
    const pm__backend *backend;
    void *device;
    const pm_device_info *info; /* owned by the device */
} pm__device_handle;

#endif
