/* norm.comp: y = (x - mean) * scale * w + bias, for each head_dim columns of a row:
 *         NORM_RMS    mean 0, scale = rsqrt(mean(x^2) + eps)
 *         NORM_LAYER  mean of x, scale = rsqrt(variance(x) + eps)
 *         NORM_L2     mean 0, scale = 1 / max(sqrt(sum(x^2)), eps)
 * shape   x, y [rows, n_col] f32   w, bias [n_col] or [head_dim] f32
 * grid    x: one workgroup a head; y: rows
 * defines NORM_..., HAS_WEIGHT, HAS_BIAS, TIER_SUBGROUP
 *         spec 0 WG_SIZE, 1 N_COL, 2 HEAD_DIM, 3 N_WEIGHT (N_COL or HEAD_DIM)   accum f32
 * checked tests rows rmsnorm, layernorm, l2norm against cpu_rmsnorm and so on, NMSE 1e-10
 * source  arXiv:1910.07467 eq. 4, arXiv:1607.06450 eq. 3 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint HEAD_DIM = 1;
layout(constant_id = 3) const uint N_WEIGHT = 1;

layout(push_constant) uniform Push { pm_push_norm push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 1) writeonly buffer Y4 { vec4 y4[]; };
#ifdef HAS_WEIGHT
layout(std430, binding = 2) readonly buffer W { float w[]; };
layout(std430, binding = 2) readonly buffer W4 { vec4 w4[]; };
#define WEIGHT(array, i) array[i]
#else
#define WEIGHT(array, i) 1.0
#endif
#ifdef HAS_BIAS
layout(std430, binding = 3) readonly buffer Bias { float bias[]; };
layout(std430, binding = 3) readonly buffer Bias4 { vec4 bias4[]; };
#define ADDED(array, i) array[i]
#else
#define ADDED(array, i) 0.0
#endif
#include "subgroup.glsl"

/* Four vectors at a time: enough loads on their way at once, and short code however long a row. */
const uint N_VEC = HEAD_DIM / 4, STEP = 4 * WG_SIZE;

bool in_head(uint c) {
    return N_VEC % STEP == 0 || c < N_VEC;
}

/* Of what an invocation owns: the sum, or the sum of squares of what is left without the mean. */
#ifdef NORM_LAYER
#define PART(v) (squared ? ((v) - mean) * ((v) - mean) : (v))
#else
#define PART(v) ((v) * (v))
#endif
float sum_of(uint at, uint me, float mean, bool squared) {
    if (HEAD_DIM % 4 != 0) {
        float sum = 0.0;
        for (uint c = me; c < HEAD_DIM; c += WG_SIZE)
            sum += PART(x[at + c]);
        return sum;
    }
    vec4 sums = vec4(0.0);
    [[dont_unroll]] for (uint first = me; first < N_VEC; first += STEP)
        for (uint c = first; c < first + STEP; c += WG_SIZE)
            if (in_head(c))
                sums += PART(x4[at / 4 + c]);
    return (sums.x + sums.y) + (sums.z + sums.w);
}

void main() {
    uint head = gl_WorkGroupID.x * HEAD_DIM, at = gl_WorkGroupID.y * N_COL + head;
    uint me = gl_LocalInvocationIndex, w_at = N_WEIGHT == HEAD_DIM ? 0 : head;
    float mean = 0.0;
#ifdef NORM_LAYER
    mean = reduce_add(sum_of(at, me, 0.0, false)) / float(HEAD_DIM);
#endif
    float squares = reduce_add(sum_of(at, me, mean, true));
#ifdef NORM_L2
    float scale = 1.0 / max(sqrt(squares), push.eps);
#else
    float scale = inversesqrt(squares / float(HEAD_DIM) + push.eps);
#endif
    if (HEAD_DIM % 4 != 0) {
        for (uint c = me; c < HEAD_DIM; c += WG_SIZE)
            y[at + c] = (x[at + c] - mean) * scale * WEIGHT(w, w_at + c) + ADDED(bias, w_at + c);
        return;
    }
    [[dont_unroll]] for (uint first = me; first < N_VEC; first += STEP)
        for (uint c = first; c < first + STEP; c += WG_SIZE)
            if (in_head(c))
                y4[at / 4 + c] = (x4[at / 4 + c] - mean) * scale * WEIGHT(w4, w_at / 4 + c) +
                                 ADDED(bias4, w_at / 4 + c);
}
