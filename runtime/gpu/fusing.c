/* fusing.c: which fused nodes (graph/fuse.h) a class of steps runs on this device. */
#include "../graph/fuse.h"
#include "weights.h"

#include "../base/checked.h"

/* One binding, and floats, but for the matrix, which may have more only where it is not gated. */
static bool weights_fit(const pm__lowering *in, const pm__node *node) {
    const int matrix = pm__op_get(node->op)->matrix;
    for (int i = 0; i < PM__MOST_INPUTS; i++) {
        const pm__tensor *t = node->in[i];
        if (t == NULL || t->kind != PM__WEIGHT)
            continue;
        const uint32_t n_part = in->places->weights[t->index].n_part;
        if (i == matrix ? n_part == 0 || (n_part > 1 && node->params.matmul.gated)
                        : n_part != 1 || t->type != PM__TYPE_F32)
            return false;
    }
    return true;
}

/* A norm or a gate within a product must not cost the kernel that is best for it. */
static bool is_as_good(const pm__lowering *in, const pm__node *node, const pm__kernel *kernel) {
    pm__node plain = *node;
    if (node->op != PM__OP_MATMUL)
        return true;
    plain.params.matmul.normed = plain.params.matmul.gated = false;
    if (pm__lower_choose(in, &plain) != kernel)
        return false;
    plain.params.matmul.dot8 = false;
    return pm__lower_choose(in, &plain)->from_rows <= kernel->from_rows;
}

/* A row alone reads as many bytes of weights either way, and of floats its products take norms in:
 * with blocks a dense layer has 13 launches, without them 7. */
static bool wants_int8(const pm__lowering *in) {
    if (in->limits->int8 != PM__INT8_AUTO)
        return in->limits->int8 == PM__INT8_ON;
    return in->gpu->caps.dot8_accelerated && in->n_row > 1 && !in->limits->deterministic;
}

static bool takes(void *user, const pm__node *node) {
    const pm__lowering *in = user;
    const pm__kernel *kernel = pm__lower_choose(in, node);
    if (kernel == NULL || !weights_fit(in, node))
        return false;
    if (node->op == PM__OP_PREPARE && node->params.prepare.normed && node->in[5] != NULL &&
        in->gpu->caps.most_bindings <= PM__USUAL_BINDINGS)
        return false;
    return is_as_good(in, node, kernel);
}

/* A row alone has too few heads: on a GPU for all its units, on the CPU, where an invocation is a
 * lane, for the lanes. Slices of more positions than a few pages are worth the second launch. */
static uint32_t slices(void *user, const pm__node *node) {
    enum { WORTH = 256, SLICE = 64, MOST = 32, LANES = 8, MOST_HEADS = 2 };
    const pm__lowering *in = user;
    const uint32_t window = node->params.attention.window, n_ctx = in->graph->n_ctx;
    const uint32_t group = node->params.attention.n_head / node->params.attention.n_head_kv;
    uint32_t n_seen = n_ctx != 0 ? n_ctx : UINT32_MAX;
    if (window != 0)
        n_seen = pm__least_u32(n_seen, window);
    if (in->n_row > 1 || in->limits->deterministic || n_seen < WORTH)
        return 0;
    pm__node split = *node;
    split.op = PM__OP_ATTENTION_SPLIT;
    split.params.attention.n_slice = pm__least_u32(n_seen / SLICE, MOST);
    if (in->gpu->caps.software)
        split.params.attention.n_slice = group <= MOST_HEADS ? LANES / group : 0;
    const pm__kernel *kernel = pm__lower_choose(in, &split);
    const bool made_for_it = kernel != NULL && kernel->suits != PM__SUITS_ANY;
    return made_for_it ? split.params.attention.n_slice : 0;
}

pm_status pm__lower_fuse(const pm__lowering *in, pm__graph *out) {
    pm__lowering lowering = *in;
    const pm__fuse_options options = {
        .takes = takes, .slices = slices, .user = &lowering, .int8 = wants_int8(in)};
    return pm__fuse(in->graph, &options, out);
}

pm_status pm__gpu_fuse(const pm__device_handle *handle, const pm__plan_desc *what, uint32_t n_row,
                       pm__graph *out) {
    pm__gpu_device *device = handle->device;
    const pm__limits limits = {.n_batch = n_row, .n_out = n_row};
    pm__gpu_weights *planned = NULL;
    const pm__gpu_weights *weights = what->weights;
    if (weights == NULL) {
        PM_TRY(pm__gpu_weights_plan(device, what->def, &planned));
        weights = planned;
    }
    const pm__places places = {.weights = weights->places};
    const pm__lowering lowering = {.gpu = device->gpu,
                                   .graph = what->graph,
                                   .limits = &limits,
                                   .places = &places,
                                   .n_row = n_row,
                                   .n_out = n_row};
    const pm_status status = pm__lower_fuse(&lowering, out);
    pm__gpu_weights_destroy(planned);
    return status;
}
