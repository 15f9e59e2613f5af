/* attention.comp: y[r,h] = softmax(f(q[r,h] k^T * scale)) v over the positions of its sequence that
 *         the row sees
 * shape   q [rows, n_head, head_dim] f32   y [rows, n_head, head_dim_v] f32
 *         k [pages * PM_PAGE, n_head_kv, head_dim]   v the same of head_dim_v, or k itself
 *         extra: sinks [n_head] or biases [buckets, n_head] f32
 *         sizes of heads even; query head h reads key head h / (n_head / n_head_kv)
 * grid    x: heads; y: rows; z: slices
 * defines those of attention.glsl, TIER_SUBGROUP   spec those of attention.glsl; WG_SIZE is at
 *         least 64, and at least the chunks of a head's values   accum f32
 * checked tests rows attention, attention_split against cpu_attention, cpu_attention_split,
 *         NMSE 1e-9
 * source  arXiv:1706.03762 eq. 1; running maximum arXiv:1805.02867 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

#include "attention.glsl"
#include "subgroup.glsl"

shared vec4 query[(HEAD_DIM + 2 * K_CHUNK) / 4]; // zeros around the head, up to whole chunks
shared float weights[WG_SIZE];
shared uint places[WG_SIZE]; // rows of the caches with the positions of the tile
shared float parts[WG_SIZE * V_CHUNK];

float score(uint row, uint first, uint n) {
    vec4 sum = vec4(0.0);
    [[dont_unroll]] for (uint c = 0; c < n; c++) {
        k_raw raw = k_load(row, first + c, K_N_CHUNK, K_N_SCALE);
        [[unroll]] for (uint e = 0; e < K_CHUNK; e += 4)
            sum += query[(c * K_CHUNK + e) / 4] * k_four(raw, e);
    }
    return (sum.x + sum.y + sum.z + sum.w) * push.scale;
}

void main() {
    uint h = gl_WorkGroupID.x, r = gl_WorkGroupID.y, me = gl_LocalInvocationIndex;
    uint head_kv = h / GROUP;
    uint k_column = head_kv * HEAD_DIM, v_column = head_kv * HEAD_DIM_V;
    uint q_at = (r * N_HEAD + h) * HEAD_DIM, y_at = (r * N_HEAD + h) * HEAD_DIM_V;
    uint slice = gl_WorkGroupID.z, mine_pos = position_of(r);
    uint begin = slice_of(r, slice).x, end = slice_of(r, slice).y;
    uint table = table_of(rows[r].seq);

    /* Chunks that hold the head; it begins k_skip and v_skip elements into the first of them. */
    uint k_skip = HEAD_DIM % K_CHUNK == 0 ? 0 : k_column % K_CHUNK;
    uint v_skip = HEAD_DIM_V % V_CHUNK == 0 ? 0 : v_column % V_CHUNK;
    uint k_n = (k_skip + HEAD_DIM + K_CHUNK - 1) / K_CHUNK;
    uint v_n = (v_skip + HEAD_DIM_V + V_CHUNK - 1) / V_CHUNK;
    for (uint d = me; d < k_n * K_CHUNK; d += WG_SIZE)
        query[d / 4][d % 4] = d >= k_skip && d - k_skip < HEAD_DIM ? q[q_at + d - k_skip] : 0.0;
    barrier();

    /* Values: a chunk an invocation, every n_group-th position of a tile. */
    uint n_group = WG_SIZE / v_n, group = me / v_n, v_c = v_column / V_CHUNK + me % v_n;
    float most = LOWEST, sum = 0.0;
#ifdef SINKS
    most = extra[h];
    sum = 1.0;
#endif
    vec4 acc[V_CHUNK / 4];
    [[unroll]] for (uint e = 0; e < V_CHUNK / 4; e++)
        acc[e] = vec4(0.0);
    for (uint first = begin; first < end; first += WG_SIZE) {
        uint pos = first + me;
        float mine = LOWEST;
        if (pos < end) {
            places[me] = place_of(table, pos);
            mine = shaped(score(places[me], k_column / K_CHUNK, k_n), h, mine_pos, pos);
        }
        float new_most = max(most, reduce_max(mine));
        float weight = pos < end ? exp(mine - new_most) : 0.0;
        weights[me] = weight;
        float shrink = exp(most - new_most);
        sum = sum * shrink + reduce_add(weight); // its barriers also publish weights and places
        uint n = min(WG_SIZE, end - first);
        [[unroll]] for (uint e = 0; e < V_CHUNK / 4; e++)
            acc[e] *= shrink;
        [[dont_unroll]] for (uint j = group; j < n && group < n_group; j += n_group) {
            v_raw raw = v_load(places[j], v_c, V_N_CHUNK, V_N_SCALE);
            [[unroll]] for (uint e = 0; e < V_CHUNK / 4; e++)
                acc[e] += weights[j] * v_four(raw, 4 * e);
        }
        most = new_most;
        barrier();
    }
    if (group < n_group)
        [[unroll]] for (uint e = 0; e < V_CHUNK; e++)
            parts[me * V_CHUNK + e] = acc[e / 4][e % 4];
    barrier();
    for (uint d = me; d < HEAD_DIM_V; d += WG_SIZE) {
        float all = 0.0;
        for (uint g = 0; g < n_group; g++)
            all += parts[g * v_n * V_CHUNK + v_skip + d];
#ifdef SPLIT
        y[part_of(r, h, slice) + d] = all;
#else
        y[y_at + d] = all / sum;
#endif
    }
#ifdef SPLIT
    if (me < 4)
        y[part_of(r, h, slice) + HEAD_DIM_V + me] = part_end(most, sum)[me];
#endif
}
