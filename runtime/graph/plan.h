/* plan.h: lifetimes of activations to places in one arena, and the sizes of everything a session
 * holds. */
#ifndef PM_GRAPH_PLAN_H
#define PM_GRAPH_PLAN_H

#include "graph.h"

/* Products over activations in blocks of integers. */
typedef enum pm__int8 { PM__INT8_AUTO, PM__INT8_ON, PM__INT8_OFF } pm__int8;

typedef struct pm__limits {
    uint32_t n_ctx;   /* positions a sequence */
    uint32_t n_batch; /* rows of a step */
    uint32_t n_out;   /* outputs of a step */
    uint32_t n_seq;
    bool deterministic; /* steps of many rows go through the kernels of a row alone */
    bool unfused;       /* the graph is run node by node, as the model built it */
    pm__int8 int8;      /* AUTO: rows together, where the device is made for them */
    bool profile;       /* every launch is timed, and steps do not run ahead */
} pm__limits;

typedef struct pm__plan {
    uint64_t *offsets; /* [n_activation] bytes from the start of the arena */
    uint64_t *sizes;   /* [n_activation] */
    uint64_t arena_bytes;
} pm__plan;

/* Places activations for n_row batch rows and n_out output rows: two that live at the same time
 * never overlap; every offset is a multiple of `alignment`. First fit over lifetimes, largest
 * first. */
pm_status pm__plan_init(pm__plan *plan, const pm__graph *g, uint32_t n_row, uint32_t n_out,
                        uint64_t alignment);
void pm__plan_finish(pm__plan *plan);
/* Of the tables of an initialised plan. */
uint64_t pm__plan_bytes(const pm__graph *g);

/* Two planes (quant.h), each with the rows of all pages in order; the second is empty for types
 * without scales. In bytes. */
typedef struct pm__cache_layout {
    uint64_t quants_row, scales_row; /* of one position */
    uint64_t scales;                 /* where the second plane begins */
    uint64_t bytes;
} pm__cache_layout;

/* Pages of the KV store for all sequences; bytes of one cache. What overflows becomes the largest
 * number, which no memory has. */
uint32_t pm__limits_pages(const pm__limits *limits);
pm__cache_layout pm__limits_cache_layout(const pm__limits *limits, const pm__tensor *cache);
uint64_t pm__limits_cache_bytes(const pm__limits *limits, const pm__tensor *cache);
/* Bytes of one state, of all sequences. */
uint64_t pm__limits_state_bytes(const pm__limits *limits, const pm__tensor *state);
/* Bytes of one part of the step (layouts of shaders/params.h). */
uint64_t pm__limits_step_bytes(const pm__limits *limits, pm__step_part part);

#endif
