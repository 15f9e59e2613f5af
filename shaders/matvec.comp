/* matvec.comp: y[r,o] = sum_c w[o,c] * x[r,c] + bias[o] + residual[r,o], for few rows
 * shape   x [rows, n_in] f32   y [rows, n_out] f32
 *         w [n_out, n_in], rows [first_row, first_row + n_row) of it bound
 *         HAS_NORM: of x * rsqrt(mean(x^2) + eps) * norm_weight instead of x
 *         GATED: of f(gate, up); the n_row rows of the gate are bound and as many of up
 * grid    x and z: four outputs a workgroup; y: rows
 * defines W_<TYPE>, HAS_SCALE, HAS_BIAS, HAS_RESIDUAL, HAS_NORM, HAS_NORM_WEIGHT, GATED and
 *         GLU_<NAME>, TIER_SUBGROUP
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE   accum f32
 * checked tests row matvec against cpu_matmul, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_IN = 1;
layout(constant_id = 2) const uint N_OUT = 1;
layout(constant_id = 3) const uint N_CHUNK = 1;
layout(constant_id = 4) const uint N_SCALE = 0;

layout(push_constant) uniform Push { pm_push_part push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
#include "epilogue.glsl"
#define REDUCE_VEC4
#include "subgroup.glsl"
#ifdef GATED
#include "glu.glsl"
#endif

#ifdef HAS_NORM_WEIGHT
layout(std430, binding = 5) readonly buffer NormWeight { float norm_weight[]; };
layout(std430, binding = 5) readonly buffer NormWeight4 { vec4 norm_weight4[]; };
#endif
#ifdef GATED
const uint N_SIDE = 2; // gate and up
#else
const uint N_SIDE = 1;
#endif

/* Four elements of a row of x from element c on; zeros past its end. */
vec4 x_four(uint r, uint c) {
    vec4 four = vec4(0.0);
    if (N_IN % 4 == 0) {
        if (c < N_IN)
            four = x4[(r * N_IN + c) / 4];
    } else {
        for (uint i = 0; i < 4; i++)
            if (c + i < N_IN)
                four[i] = x[r * N_IN + c + i];
    }
    return four;
}

#ifdef HAS_NORM
/* The same times the weights of the norm; adds their squares. */
vec4 x_normed(uint r, uint c, inout vec4 squares) {
    vec4 four = x_four(r, c);
    squares += four * four;
#ifdef HAS_NORM_WEIGHT
    if (N_IN % 4 == 0) {
        if (c < N_IN)
            four *= norm_weight4[c / 4];
    } else {
        for (uint i = 0; i < 4; i++)
            if (c + i < N_IN)
                four[i] *= norm_weight[c + i];
    }
#endif
    return four;
}
#endif

void main() {
    uint r = gl_WorkGroupID.y;
    uint first = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * 4;
    if (first >= push.n_row)
        return;
    vec4 sums[N_SIDE], squares = vec4(0.0);
    for (uint side = 0; side < N_SIDE; side++)
        sums[side] = vec4(0.0);
    /* One turn has loads enough; some compilers unroll all of N_CHUNK and spill. */
    [[dont_unroll]] for (uint chunk = gl_LocalInvocationIndex; chunk < N_CHUNK; chunk += WG_SIZE) {
        w_raw raws[4 * N_SIDE];
        for (uint k = 0; k < 4 * N_SIDE; k++)
            raws[k] = w_load(k / 4 * push.n_row + min(first + k % 4, push.n_row - 1), chunk,
                             N_CHUNK, N_SCALE);
        vec4 parts[N_SIDE];
        for (uint side = 0; side < N_SIDE; side++)
            parts[side] = vec4(0.0);
        [[unroll]] for (uint e = 0; e < W_CHUNK; e += 4) {
#ifdef HAS_NORM
            vec4 xs = x_normed(r, chunk * W_CHUNK + e, squares);
#else
            vec4 xs = x_four(r, chunk * W_CHUNK + e);
#endif
            for (uint k = 0; k < 4 * N_SIDE; k++) {
                vec4 ws = w_four(raws[k], e);
                for (uint i = 0; i < 4; i++)
                    parts[k / 4][k % 4] += ws[i] * xs[i];
            }
        }
        for (uint side = 0; side < N_SIDE; side++)
            sums[side] += parts[side];
    }
    for (uint side = 0; side < N_SIDE; side++)
        sums[side] = reduce_add(sums[side]);
    float scale = 1.0;
#ifdef HAS_NORM
    squares.x = reduce_add((squares.x + squares.y) + (squares.z + squares.w));
    scale = inversesqrt(squares.x / float(N_IN) + push.eps);
#endif
    uint k = gl_LocalInvocationIndex;
    if (k < 4 && first + k < push.n_row) {
        uint o = push.first_row + first + k;
#ifdef GATED
        y[r * N_OUT + o] = glu_of(epilogue(scale * sums[0][k], r, o),
                                  epilogue(scale * sums[1][k], r, N_OUT + o));
#else
        y[r * N_OUT + o] = epilogue(scale * sums[0][k], r, o);
#endif
    }
}
