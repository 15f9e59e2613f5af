/* unary.comp: y = f(x)
 * shape   x, y [rows, n_col] f32
 * grid    x: WG_SIZE columns; y: rows
 * defines UNARY_<NAME> (graph/functions.def)   spec 0 WG_SIZE, 1 N_COL   accum none
 * checked tests row unary against cpu_unary, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;

layout(push_constant) uniform Push { pm_push_unary push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#include "functions.glsl"

#if defined(UNARY_GELU)
#define F(x) gelu(x)
#elif defined(UNARY_SILU)
#define F(x) silu(x)
#elif defined(UNARY_RELU)
#define F(x) max(x, 0.0)
#elif defined(UNARY_RELU2)
#define F(x) max(x, 0.0) * max(x, 0.0)
#elif defined(UNARY_SIGMOID)
#define F(x) sigmoid(x)
#elif defined(UNARY_TANH)
#define F(x) tanh_of(x)
#elif defined(UNARY_SOFTPLUS)
#define F(x) softplus(x)
#elif defined(UNARY_EXP)
#define F(x) exp(x)
#elif defined(UNARY_SCALE)
#define F(x) push.a * x
#elif defined(UNARY_SOFTCAP)
#define F(x) push.a * tanh_of(x / push.a)
#elif defined(UNARY_CLAMP)
#define F(x) clamp(x, push.a, push.b)
#else
#error "no function: give it its line here"
#endif

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    uint i = gl_WorkGroupID.y * N_COL + c;
    if (c < N_COL) {
        float v = x[i];
        y[i] = F(v);
    }
}
