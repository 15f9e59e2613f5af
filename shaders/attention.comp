/* attention.comp: y[r,h] = softmax(q[r,h] k^T * scale) v over positions 0..pos of its sequence
 * shape   q, y [rows, n_head, head_dim] f32   k, v [pages * PM_PAGE, n_head_kv, head_dim] f32
 *         head_dim even, at most 256; query head h reads key head h / (n_head / n_head_kv)
 * grid    x: heads; y: rows
 * defines TIER_SUBGROUP   spec 0 WG_SIZE (at least 64), 1 HEAD_DIM, 2 N_HEAD, 3 N_HEAD_KV, 4 N_CTX
 *         accum f32
 * checked tests row attention against cpu_attention, NMSE 1e-9
 * source  arXiv:1706.03762 eq. 1; running maximum arXiv:1805.02867; block table arXiv:2309.06180 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint HEAD_DIM = 2;
layout(constant_id = 2) const uint N_HEAD = 1;
layout(constant_id = 3) const uint N_HEAD_KV = 1;
layout(constant_id = 4) const uint N_CTX = 1;

layout(push_constant) uniform Push { pm_push_attention push; };
layout(std430, binding = 0) readonly buffer Q { vec2 q[]; };
layout(std430, binding = 1) readonly buffer K { vec2 k[]; };
layout(std430, binding = 2) readonly buffer V { float v[]; };
layout(std430, binding = 3) writeonly buffer Y { float y[]; };
layout(std430, binding = 4) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 5) readonly buffer Pages { uint pages[]; };
#include "subgroup.glsl"

const float LOWEST = -3.0e38;
shared vec2 query[128];
shared float weights[WG_SIZE];
shared uint places[WG_SIZE]; // element of v where this head starts at a position of the tile

float score(uint place) {
    vec2 sum = vec2(0.0);
    for (uint d = 0; d < HEAD_DIM / 2; d++)
        sum += query[d] * k[place / 2 + d];
    return (sum.x + sum.y) * push.scale;
}

void main() {
    uint h = gl_WorkGroupID.x, r = gl_WorkGroupID.y, me = gl_LocalInvocationIndex;
    uint h_kv = h / (N_HEAD / N_HEAD_KV);
    uint y_at = (r * N_HEAD + h) * HEAD_DIM;
    uint n_pos = min(rows[r].pos, N_CTX - 1) + 1;
    uint table = rows[r].seq * ((N_CTX + PM_PAGE - 1) / PM_PAGE);
    for (uint d = me; d < HEAD_DIM / 2; d += WG_SIZE)
        query[d] = q[y_at / 2 + d];
    barrier();

    float most = LOWEST, sum = 0.0;
    vec4 acc = vec4(0.0); // of columns me, me + WG_SIZE ...
    for (uint first = 0; first < n_pos; first += WG_SIZE) {
        uint pos = first + me;
        float mine = LOWEST;
        if (pos < n_pos) {
            uint at = pages[table + pos / PM_PAGE] * PM_PAGE + pos % PM_PAGE;
            places[me] = (at * N_HEAD_KV + h_kv) * HEAD_DIM;
            mine = score(places[me]);
        }
        float new_most = max(most, reduce_max(mine));
        float weight = pos < n_pos ? exp(mine - new_most) : 0.0;
        weights[me] = weight;
        float shrink = exp(most - new_most);
        sum = sum * shrink + reduce_add(weight); // its barriers also publish weights and places
        uint n = min(WG_SIZE, n_pos - first);
        vec4 part = vec4(0.0);
        for (uint j = 0; j < n; j++)
            for (uint i = 0; i < 4 && i * WG_SIZE < HEAD_DIM; i++)
                if (me + i * WG_SIZE < HEAD_DIM)
                    part[i] += weights[j] * v[places[j] + me + i * WG_SIZE];
        acc = acc * shrink + part;
        most = new_most;
        barrier();
    }
    for (uint i = 0; i < 4; i++)
        if (me + i * WG_SIZE < HEAD_DIM)
            y[y_at + me + i * WG_SIZE] = acc[i] / sum;
}
