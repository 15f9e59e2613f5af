#include "measure_shapes.h"

#include "../base/checked.h"
#include "../base/grow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEW_ROWS = PM__MOST_FEW_ROWS,
    TRIAL_ROWS = 16, /* of many, to find out how many can be had */
    MANY_ROWS = 512,
    MANY_SOFTWARE_ROWS = 64,
    MOST_DEPTH = 2048,
    WEIGHT_ROWS = 64,
    MOST_OUT_BYTES = 64 << 20,
};

static const double MOST_SECONDS = 0.05, MOST_SOFTWARE_SECONDS = 0.4, TRIAL_SECONDS = 0.01;

/* ---- shapes of a model ----------------------------------------------------------------------- */

static bool is_measured(const pm__node *node) {
    return node->op != PM__OP_ADVANCE;
}

static const uint32_t n_row_of[] = {1, FEW_ROWS, TRIAL_ROWS};

static pm_status add_node(pm__model_shapes *set, const pm__node *node, pm__rows_class rows) {
    const uint32_t n_row = n_row_of[rows];
    const pm__node_shape shape = pm__node_shape_of(node, n_row);
    for (uint32_t i = 0; i < set->n; i++)
        if (pm__node_shape_equal(&set->items[i].shape, &shape)) {
            set->items[i].n_node++;
            return PM_OK;
        }
    PM_TRY(pm__grow("measure", &set->items, &set->capacity, set->n, sizeof *set->items));
    set->items[set->n++] = (pm__model_shape){.shape = shape,
                                             .node = node,
                                             .n_node = 1,
                                             .cost = pm__node_cost(node, n_row, n_row, MOST_DEPTH)};
    return PM_OK;
}

/* One row alone comes first, then prompts, then what is between. */
static int by_weight(const void *a, const void *b) {
    static const int order[] = {[PM__ROWS_ONE] = 0, [PM__ROWS_MANY] = 1, [PM__ROWS_FEW] = 2};
    const pm__model_shape *x = a, *y = b;
    if (x->shape.rows != y->shape.rows)
        return order[x->shape.rows] - order[y->shape.rows];
    const double wx = (double)x->cost.bytes * x->n_node, wy = (double)y->cost.bytes * y->n_node;
    return (wx < wy) - (wx > wy);
}

static pm_status add_class(pm__model_shapes *set, pm__rows_class rows) {
    pm__graph *g = &set->classes[rows];
    const pm__plan_desc what = {.def = &set->model->def, .graph = &set->graph};
    PM_TRY(pm__gpu_fuse(&set->model->device->handle, &what, n_row_of[rows], g));
    for (uint32_t i = 0; i < g->n_node; i++)
        if (is_measured(&g->nodes[i]))
            PM_TRY(add_node(set, &g->nodes[i], rows));
    return PM_OK;
}

pm_status pm__model_shapes_init(pm__model_shapes *set, const pm_model *model) {
    *set = (pm__model_shapes){.model = model};
    PM_TRY(pm__model_graph(model, NULL, &set->graph));
    pm_status status = PM_OK;
    for (int rows = 0; rows < PM__ROWS_CLASSES && status == PM_OK; rows++)
        status = add_class(set, (pm__rows_class)rows);
    if (status != PM_OK) {
        pm__model_shapes_finish(set);
        return status;
    }
    qsort(set->items, set->n, sizeof *set->items, by_weight);
    return PM_OK;
}

void pm__model_shapes_finish(pm__model_shapes *set) {
    for (int rows = 0; rows < PM__ROWS_CLASSES; rows++)
        pm__graph_finish(&set->classes[rows]);
    pm__graph_finish(&set->graph);
    free(set->items);
    set->items = NULL;
    set->n = 0;
}

/* ---- one shape ------------------------------------------------------------------------------- */

static const pm__tensor *route_of(const pm__node *node) {
    switch (node->op) {
    case PM__OP_EXPERTS_MATMUL:
        return node->in[3];
    case PM__OP_GROUP:
        return node->in[0];
    case PM__OP_MIX:
    case PM__OP_SPREAD:
        return node->in[1];
    default:
        return NULL;
    }
}

static uint32_t count_experts(const pm__graph *g) {
    uint32_t n = 1;
    for (uint32_t i = 0; i < g->n_node; i++)
        if (g->nodes[i].op == PM__OP_EXPERTS_MATMUL)
            n = pm__most_u32(n, g->nodes[i].params.experts.n_expert);
    return n;
}

/* The node, at the end of a context of some length. */
static void make_case(pm__shape_bench *b, const pm__model_shapes *set,
                      const pm__model_shape *shape) {
    const pm_sampling sampling = pm_sampling_default();
    const uint32_t own =
        set->model->def.n_ctx_train != 0 ? set->model->def.n_ctx_train : MOST_DEPTH;
    const uint32_t depth = pm__most_u32(pm__least_u32(own, MOST_DEPTH), b->n_row);
    b->the_case = (pm__check_case){
        .graph = {.nodes = (pm__node *)(uintptr_t)shape->node, .n_node = 1},
        .limits = {.n_ctx = (uint32_t)pm__round_up(depth, PM_PAGE),
                   .n_batch = b->n_row,
                   .n_out = b->n_row,
                   .n_seq = 1},
        .n_row = b->n_row,
        .n_out = b->n_row,
        .n_token = set->graph.n_vocab,
        .outlier = 4,
        .in_order = true,
        .most_weight_rows = WEIGHT_ROWS,
        .sampler = pm__sampling_state(&sampling, 0),
        .route = route_of(shape->node),
        .n_expert = count_experts(&set->graph),
    };
    b->the_case.last_pos = b->the_case.limits.n_ctx - 1;
}

static void close_case(pm__shape_bench *b) {
    pm__timer_destroy(b->timer);
    b->timer = NULL;
    pm__trial_finish(&b->trial);
}

static pm_status open_case(pm__shape_bench *b, const pm__model_shapes *set,
                           const pm__model_shape *shape, uint32_t n_row) {
    close_case(b);
    b->n_row = n_row;
    make_case(b, set, shape);
    PM_TRY(pm__trial_init(&b->trial, &b->the_case, 1, "measure"));
    return pm__timer_create(&b->device->handle, &b->trial, &b->timer);
}

/* As many rows of a prompt as take no longer than a submission should. */
static pm_status choose_rows(pm__shape_bench *b, const pm__model_shapes *set,
                             const pm__model_shape *shape, uint32_t *out) {
    const bool software = strcmp(b->device->info.kind, "software") == 0;
    const double most = software ? MOST_SOFTWARE_SECONDS : MOST_SECONDS;
    const uint32_t wanted = software ? MANY_SOFTWARE_ROWS : MANY_ROWS;
    const int kernel =
        pm__gpu_default(&b->device->handle, shape->node->op, shape->node, TRIAL_ROWS);
    double seconds;
    PM_TRY(open_case(b, set, shape, TRIAL_ROWS));
    PM_TRY(pm__timer_time(b->timer, kernel, TRIAL_SECONDS, &seconds));
    for (*out = wanted; *out > TRIAL_ROWS; *out /= 2)
        if (seconds / TRIAL_ROWS * *out <= most &&
            4ull * *out * shape->node->out->n_col <= MOST_OUT_BYTES)
            break;
    return PM_OK;
}

static pm_status bench_init(pm__shape_bench *b, const pm__model_shapes *set,
                            const pm__model_shape *shape) {
    uint32_t n_row = shape->shape.rows == PM__ROWS_ONE ? 1 : FEW_ROWS;
    if (shape->shape.rows == PM__ROWS_MANY)
        PM_TRY(choose_rows(b, set, shape, &n_row));
    PM_TRY(open_case(b, set, shape, n_row));
    b->cost = pm__timer_cost(b->timer);
    return PM_OK;
}

pm_status pm__shape_bench_init(pm__shape_bench *bench, const pm_device *device,
                               const pm__model_shapes *set, const pm__model_shape *shape) {
    *bench = (pm__shape_bench){.device = device};
    const pm_status status = bench_init(bench, set, shape);
    if (status != PM_OK)
        pm__shape_bench_finish(bench);
    return status;
}

void pm__shape_bench_finish(pm__shape_bench *bench) {
    close_case(bench);
    free(bench->expected);
    bench->expected = NULL;
}

bool pm__shape_takes(const pm_device *device, const pm__model_shape *shape, int kernel) {
    pm__kernel_info info;
    return pm__gpu_kernel(&device->handle, kernel, &info) && info.op == shape->shape.op &&
           info.available && !info.quarantined && pm__gpu_takes(kernel, shape->node);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static const pm__operand *output_of(const pm__shape_bench *b) {
    for (uint32_t i = 0; i < b->trial.n_operand; i++)
        if (b->trial.operands[i].tensor == b->trial.node->out)
            return &b->trial.operands[i];
    return NULL;
}

static double nmse(const unsigned char *got, const unsigned char *expected, size_t bytes) {
    double error = 0, power = 0;
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        float a, b;
        memcpy(&a, got + i, sizeof a);
        memcpy(&b, expected + i, sizeof b);
        error += ((double)a - (double)b) * ((double)a - (double)b);
        power += (double)b * (double)b;
    }
    return power > 0 ? error / power : error;
}

pm_status pm__shape_compare(pm__shape_bench *b, int kernel) {
    const pm__operand *out = output_of(b);
    PM_TRY(pm__timer_run(b->timer, kernel));
    if (b->expected == NULL) {
        b->expected = malloc(out->bytes);
        if (b->expected == NULL)
            return pm__fail_memory("measure", out->bytes);
        memcpy(b->expected, out->after, out->bytes);
        b->bound = pm__gpu_bound(kernel, b->trial.node);
        return PM_OK;
    }
    /* Each is within the bound of the reference: together twice as far, four times its square. */
    const double other = pm__gpu_bound(kernel, b->trial.node);
    const double bound = 4 * (other > b->bound ? other : b->bound);
    if (bound <= 0 || out->tensor->kind != PM__ACTIVATION)
        return memcmp(out->after, b->expected, out->bytes) == 0
                   ? PM_OK
                   : pm__fail(PM_CHECK_FAILED, "other bits than those of the default kernel");
    const double error =
        nmse(out->after, b->expected, pm__trial_bytes(&b->trial, out->tensor, false));
    return error <= bound
               ? PM_OK
               : pm__fail(PM_CHECK_FAILED,
                          "NMSE %.3g from what the default kernel gives, allowed are %.3g", error,
                          bound);
}
