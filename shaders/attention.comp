/* attention.comp: y[r,h] = softmax(f(q[r,h] k^T * scale)) v over the positions of its sequence that
 *         the row sees
 * shape   q [rows, n_head, head_dim] f32   y [rows, n_head, head_dim_v] f32
 *         k [pages * PM_PAGE, n_head_kv, head_dim]   v the same of head_dim_v, or k itself
 *         extra: sinks [n_head] or biases [buckets, n_head] f32
 *         sizes of heads even; query head h reads key head h / (n_head / n_head_kv)
 * grid    x: heads; y: rows
 * defines K_<TYPE>, V_<TYPE>, TIER_SUBGROUP, SOFTCAP, ALIBI, SINKS, REL_BIAS, BIDIRECTIONAL,
 *         CHUNKED
 *         spec 0 WG_SIZE (at least 64, and at least the chunks of a head's values), 1 HEAD_DIM,
 *         2 N_HEAD, 3 N_HEAD_KV, 4 N_CTX, 5 K_N_CHUNK, 6 K_N_SCALE, 7 V_N_CHUNK, 8 V_N_SCALE,
 *         9 HEAD_DIM_V, 10 WINDOW (0: none), 11 N_BUCKET   accum f32
 * checked tests row attention against cpu_attention, NMSE 1e-9
 * source  arXiv:1706.03762 eq. 1; running maximum arXiv:1805.02867; block table arXiv:2309.06180;
 *         ALiBi arXiv:2108.12409; biases arXiv:1910.10683 section 2.1 */
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
layout(constant_id = 5) const uint K_N_CHUNK = 1;
layout(constant_id = 6) const uint K_N_SCALE = 0;
layout(constant_id = 7) const uint V_N_CHUNK = 1;
layout(constant_id = 8) const uint V_N_SCALE = 0;
layout(constant_id = 9) const uint HEAD_DIM_V = 2;
layout(constant_id = 10) const uint WINDOW = 0;
layout(constant_id = 11) const uint N_BUCKET = 4;

layout(push_constant) uniform Push { pm_push_attention push; };
layout(std430, binding = 0) readonly buffer Q { float q[]; };
#define K_QUANTS_BINDING 1
#define V_QUANTS_BINDING 2
layout(std430, binding = 3) writeonly buffer Y { float y[]; };
layout(std430, binding = 4) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 5) readonly buffer Pages { uint pages[]; };
#define K_SCALES_BINDING 6
#define V_SCALES_BINDING 7
#if defined(SINKS) || defined(REL_BIAS)
layout(std430, binding = 8) readonly buffer Extra { float extra[]; };
#endif
#include "cache.glsl"
#include "functions.glsl"
#include "subgroup.glsl"

const float LOWEST = -3.0e38;
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

/* Of the distance to a position, in the table of biases. */
#ifdef REL_BIAS
uint bucket_of(uint mine, uint pos) {
#ifdef BIDIRECTIONAL
    const uint N = N_BUCKET / 2;
    uint skip = pos > mine ? N : 0, distance = pos > mine ? pos - mine : mine - pos;
#else
    const uint N = N_BUCKET;
    uint skip = 0, distance = mine - pos;
#endif
    const uint EXACT = N / 2;
    if (distance < EXACT)
        return skip + distance;
    float octaves = log(float(distance) / float(EXACT)) / log(128.0 / float(EXACT));
    return skip + min(N - 1, EXACT + uint(octaves * float(N - EXACT) + 1.0e-4));
}
#endif

/* What becomes of a score at a position. */
float shaped(float s, uint h, uint mine, uint pos) {
#ifdef SOFTCAP
    s = push.softcap * tanh_of(s / push.softcap);
#endif
#ifdef ALIBI
    uint p = 1u << findMSB(N_HEAD);
    float power = h < p ? float(h + 1) / float(p) : (float(h - p) + 0.5) / float(p);
    s -= exp2(-push.max_alibi_bias * power) * abs(float(pos) - float(mine));
#endif
#ifdef REL_BIAS
    s += extra[bucket_of(mine, pos) * N_HEAD + h];
#endif
    return s;
}

void main() {
    uint h = gl_WorkGroupID.x, r = gl_WorkGroupID.y, me = gl_LocalInvocationIndex;
    uint head_kv = h / (N_HEAD / N_HEAD_KV);
    uint k_column = head_kv * HEAD_DIM, v_column = head_kv * HEAD_DIM_V;
    uint q_at = (r * N_HEAD + h) * HEAD_DIM, y_at = (r * N_HEAD + h) * HEAD_DIM_V;
    uint mine_pos = min(rows[r].pos, N_CTX - 1);
#ifdef BIDIRECTIONAL
    uint end = clamp(rows[r].n_pos, 1, N_CTX);
    if (WINDOW != 0)
        end = min(end, mine_pos + WINDOW / 2 + 1);
    uint before = WINDOW / 2;
#else
    uint end = mine_pos + 1, before = WINDOW - 1;
#endif
    uint begin = WINDOW != 0 && mine_pos > before ? mine_pos - before : 0;
#ifdef CHUNKED
    begin = mine_pos - mine_pos % WINDOW;
#endif
    uint table = rows[r].seq * ((N_CTX + PM_PAGE - 1) / PM_PAGE);

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
            places[me] = pages[table + pos / PM_PAGE] * PM_PAGE + pos % PM_PAGE;
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
        y[y_at + d] = all / sum;
    }
}
