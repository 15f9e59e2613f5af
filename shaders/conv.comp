/* conv.comp: y[r,c] = bias[c] + sum_j w[c,j] * x[r - N_TAP + 1 + j, c], then silu; what lies before
 * the rows of a step is in the state
 * shape   x, y [rows, n_col] f32   w [n_col, n_tap] f32   bias [n_col] f32
 *         state [sequences, n_tap - 1, n_col] f32, oldest first
 * grid    x: WG_SIZE columns; y: rows. The workgroup of a run's first row computes all rows that
 *         need the state, and renews it
 * defines HAS_BIAS   spec 0 WG_SIZE, 1 N_COL, 2 N_TAP, 3 W_STRIDE, 4 SILU   accum f32
 * checked tests row conv against cpu_conv, NMSE 1e-10
 * source  arXiv:2312.00752 fig. 3 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint N_TAP = 2;
layout(constant_id = 3) const uint W_STRIDE = 2;
layout(constant_id = 4) const uint SILU = 0;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer W { float w[]; };
#ifdef HAS_BIAS
layout(std430, binding = 3) readonly buffer Bias { float bias[]; };
#endif
layout(std430, binding = 4) buffer State { float state[]; };
layout(std430, binding = 5) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
#include "recurrent.glsl"

void store(uint r, uint c, float sum) {
    y[r * N_COL + c] = SILU != 0 ? sum * sigmoid(sum) : sum;
}

float start(uint c) {
#ifdef HAS_BIAS
    return bias[c];
#else
    return 0.0;
#endif
}

/* Row i of a run, counted from its first row and from N_TAP - 1 rows before it on. */
float seen(uint first, uint i, uint c) {
    if (i >= N_TAP - 1)
        return x[(first + i - (N_TAP - 1)) * N_COL + c];
    return rows[first].pos == 0 ? 0.0
                                : state[(rows[first].seq * (N_TAP - 1) + i) * N_COL + c];
}

/* All of them before any is written: a short run moves what is there. */
void begin_run(uint first, uint c) {
    uint n = run_length(first);
    for (uint r = 0; r < min(n, N_TAP - 1); r++) {
        float sum = start(c);
        for (uint j = 0; j < N_TAP; j++)
            sum += w[c * W_STRIDE + j] * seen(first, r + j, c);
        store(first + r, c, sum);
    }
    for (uint j = 0; j < N_TAP - 1; j++)
        state[(rows[first].seq * (N_TAP - 1) + j) * N_COL + c] = seen(first, n + j, c);
}

void main() {
    uint r = gl_WorkGroupID.y, c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    if (c >= N_COL)
        return;
    uint seq = rows[r].seq;
    if (r >= N_TAP - 1 && rows[r - (N_TAP - 1)].seq == seq) {
        float sum = start(c);
        for (uint j = 0; j < N_TAP; j++)
            sum += w[c * W_STRIDE + j] * x[(r + j - (N_TAP - 1)) * N_COL + c];
        store(r, c, sum);
    } else if (r == 0 || rows[r - 1].seq != seq) {
        begin_run(r, c);
    }
}
