/* embed.comp: y[r,:] = w[token or position of row r,:]
 * shape   w [n_vocab, n_col], rows [first_row, first_row + n_row) of it bound   y [rows, n_col] f32
 * grid    x: WG_SIZE chunks of a row; y: rows. A row that reads outside the bound part is left
 *         alone
 * defines W_<TYPE>, BY_POSITION   spec 0 WG_SIZE, 1 N_COL, 2 N_CHUNK, 3 N_SCALE   accum none
 * checked tests row embed against cpu_embed, exact */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint N_CHUNK = 1;
layout(constant_id = 3) const uint N_SCALE = 0;

layout(push_constant) uniform Push { pm_push_part push; };
layout(std430, binding = 0) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"

void main() {
    uint r = gl_WorkGroupID.y;
    uint chunk = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
#ifdef BY_POSITION
    uint row = rows[r].pos - push.first_row;
#else
    uint row = rows[r].token - push.first_row;
#endif
    if (row >= push.n_row || chunk >= N_CHUNK)
        return;
    w_raw raw = w_load(row, chunk, N_CHUNK, N_SCALE);
    uint c = chunk * W_CHUNK;
    [[unroll]] for (uint e = 0; e < W_CHUNK; e += 4) {
        vec4 four = w_four(raw, e);
        for (uint i = 0; i < 4; i++)
            if (c + e + i < N_COL)
                y[r * N_COL + c + e + i] = four[i];
    }
}
