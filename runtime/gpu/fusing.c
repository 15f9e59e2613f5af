/* fusing.c: which fused nodes (graph/fuse.h) a class of steps runs on this device. */
#include "../graph/fuse.h"
#include "weights.h"

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
    return pm__lower_choose(in, &plain) == kernel;
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

pm_status pm__lower_fuse(const pm__lowering *in, pm__graph *out) {
    pm__lowering lowering = *in;
    const pm__fuse_options options = {.takes = takes, .user = &lowering};
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
