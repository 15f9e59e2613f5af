/* experts_matmul.comp: y[r,u,o] = (sum_c w[e,o,c] * x[r,u,c]) * scale[e] + bias[e,o] with e the
 *         u-th expert of row r, for many rows: the rows of an expert together
 * shape   as experts_matvec.comp has it; groups [rows, n_expert] f32 as group.comp makes it, without
 *         which slot u is expert u
 * grid    x: 64 outputs a workgroup; y: 32 rows of an expert; z: experts. WG_SIZE is 128, each makes
 *         4 x 4 of y. Workgroups past the rows of their expert, or whose outputs are not in the
 *         bound part, end at once
 * defines W_<TYPE>, HAS_ROUTE, HAS_BIAS, HAS_SCALE
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE, 5 N_EXPERT, 6 N_SLOT, 7 X_SLOTS
 *         (slots of x: 1 or N_SLOT)   accum f32
 * checked tests row experts_matmul against cpu_experts_matmul, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint N_IN = 1;
layout(constant_id = 2) const uint N_OUT = 1;
layout(constant_id = 3) const uint N_CHUNK = 1;
layout(constant_id = 4) const uint N_SCALE = 0;
layout(constant_id = 5) const uint N_EXPERT = 1;
layout(constant_id = 6) const uint N_SLOT = 1;
layout(constant_id = 7) const uint X_SLOTS = 1;

layout(push_constant) uniform Push { pm_push_part push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
#include "experts.glsl"
#ifdef HAS_ROUTE
layout(std430, binding = 6) readonly buffer Groups { float groups[]; };
#endif
layout(std430, binding = 7) readonly buffer Rows { pm_step_head head; };

const uint TILE_R = 32, TILE_O = 64, TILE_C = 32;
const uint STRIDE = TILE_C + 1; // odd, so that a column is spread over banks
shared float x_tile[TILE_R * STRIDE];
shared float w_tile[TILE_O * STRIDE];
shared uint places[TILE_R]; // row of y of each row of the tile; PM_NONE past the expert's last

uint place_of(uint i, uint expert) {
    if (i >= head.n_row)
        return PM_NONE;
#ifdef HAS_ROUTE
    float place = groups[i * N_EXPERT + expert];
    return place < 0.0 ? PM_NONE : uint(place);
#else
    return i * N_SLOT + expert;
#endif
}

void load_x(uint first_c) {
    for (uint i = gl_LocalInvocationIndex; i < TILE_R * TILE_C; i += WG_SIZE) {
        uint place = places[i / TILE_C], c = first_c + i % TILE_C;
        float v = 0.0;
        if (place != PM_NONE && c < N_IN)
            v = x[(X_SLOTS == 1 ? place / N_SLOT : place) * N_IN + c];
        x_tile[(i / TILE_C) * STRIDE + i % TILE_C] = v;
    }
}

void load_w(uint expert, uint first_o, uint first_c) {
    const uint n = TILE_C / W_CHUNK;
    for (uint i = gl_LocalInvocationIndex; i < TILE_O * n; i += WG_SIZE) {
        uint o = first_o + i / n, row = row_in_part(expert, o);
        uint chunk = first_c / W_CHUNK + i % n;
        bool inside = o < N_OUT && row < push.n_row && chunk < N_CHUNK;
        w_raw raw = w_load(min(row, push.n_row - 1), min(chunk, N_CHUNK - 1), N_CHUNK, N_SCALE);
        [[unroll]] for (uint e = 0; e < W_CHUNK; e += 4) {
            vec4 four = inside ? w_four(raw, e) : vec4(0.0);
            for (uint k = 0; k < 4; k++)
                w_tile[(i / n) * STRIDE + (i % n) * W_CHUNK + e + k] = four[k];
        }
    }
}

void main() {
    uint me = gl_LocalInvocationIndex, expert = gl_WorkGroupID.z;
    uint first_o = gl_WorkGroupID.x * TILE_O;
    uint my_r = me / 16; // and every 8th after it
    uint my_o = me % 16; // and every 16th after it
    if (!in_part(expert, first_o, TILE_O))
        return;
    if (me < TILE_R)
        places[me] = place_of(gl_WorkGroupID.y * TILE_R + me, expert);
    barrier();
    if (places[0] == PM_NONE)
        return;
    uint n_some = 0; // quarters of the tile that are not empty: most experts have few rows
    for (uint i = 0; i < 4; i++)
        n_some += uint(places[8 * i] != PM_NONE);
    vec4 sums[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    for (uint first_c = 0; first_c < N_IN; first_c += TILE_C) {
        load_x(first_c);
        load_w(expert, first_o, first_c);
        barrier();
        vec4 parts[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
        for (uint c = 0; c < TILE_C; c++) {
            vec4 ws;
            for (uint j = 0; j < 4; j++)
                ws[j] = w_tile[(my_o + 16 * j) * STRIDE + c];
            [[unroll]] for (uint i = 0; i < 4; i++)
                if (i < n_some)
                    parts[i] += x_tile[(my_r + 8 * i) * STRIDE + c] * ws;
        }
        for (uint i = 0; i < 4; i++)
            sums[i] += parts[i];
        barrier();
    }
    for (uint i = 0; i < 4; i++)
        for (uint j = 0; j < 4; j++) {
            uint place = places[my_r + 8 * i], o = first_o + my_o + 16 * j;
            if (place != PM_NONE && o < N_OUT && row_in_part(expert, o) < push.n_row)
                y[place * N_OUT + o] = epilogue(sums[i][j], expert, o);
        }
}
