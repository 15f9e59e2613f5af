/* merge.comp: y[r,h] = the slices of attention together, and a sink:
 *         sum_s w_s sums_s / sum_s w_s n_s
 * shape   x [rows, n_head, n_slice, head_dim_v + 4] f32, as attention_split leaves it: sums, the
 *         largest score, the sum of the weights (0: no positions)   sinks [n_head]
 *         y [rows, n_head, head_dim_v] f32
 * grid    x: heads; y: rows
 * defines SINKS   spec 0 WG_SIZE, 1 N_HEAD, 2 HEAD_DIM_V, 3 N_SLICE   accum f32
 * checked tests row merge against cpu_merge, NMSE 1e-9 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_HEAD = 1;
layout(constant_id = 2) const uint HEAD_DIM_V = 1;
layout(constant_id = 3) const uint N_SLICE = 1;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer Sinks { float sinks[]; };

const uint STRIDE = HEAD_DIM_V + 4;

void main() {
    uint h = gl_WorkGroupID.x, head = gl_WorkGroupID.y * N_HEAD + h, at = head * N_SLICE * STRIDE;
    float most = -3.0e38, all = 0.0;
    for (uint s = 0; s < N_SLICE; s++)
        if (x[at + s * STRIDE + HEAD_DIM_V + 1] > 0.0)
            most = max(most, x[at + s * STRIDE + HEAD_DIM_V]);
#ifdef SINKS
    most = max(most, sinks[h]);
    all = exp(sinks[h] - most);
#endif
    for (uint s = 0; s < N_SLICE; s++) {
        float n = x[at + s * STRIDE + HEAD_DIM_V + 1];
        if (n > 0.0)
            all += n * exp(x[at + s * STRIDE + HEAD_DIM_V] - most);
    }
    for (uint d = gl_LocalInvocationIndex; d < HEAD_DIM_V; d += WG_SIZE) {
        float sum = 0.0;
        for (uint s = 0; s < N_SLICE; s++)
            if (x[at + s * STRIDE + HEAD_DIM_V + 1] > 0.0)
                sum += exp(x[at + s * STRIDE + HEAD_DIM_V] - most) * x[at + s * STRIDE + d];
        y[head * HEAD_DIM_V + d] = all > 0.0 ? sum / all : 0.0;
    }
}
