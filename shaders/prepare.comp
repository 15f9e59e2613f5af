/* prepare.comp: of queries, keys and values side by side: heads of queries and keys normed (as
 *         norm.comp, NORM_RMS) and rotated (as rope.comp), keys and values into their caches (as
 *         kv_store.comp), all to the bit as these do
 * shape   x [rows, (N_HEAD + 2 N_KV) * HEAD_DIM] f32   y [rows, N_HEAD * HEAD_DIM] f32
 *         caches [pages * PM_PAGE, N_KV * HEAD_DIM]   weights of norms [HEAD_DIM] f32
 * grid    x: one workgroup a head, of queries, then keys, then values; y: rows. Keys and values at
 *         a position past the context are dropped
 * defines HAS_NORM, HAS_Q_WEIGHT, HAS_K_WEIGHT, HAS_ROPE, HAS_FACTORS, K_F32 or K_F16, V_F32 or
 *         V_F16, TIER_SUBGROUP   spec 0 WG_SIZE, 1 HEAD_DIM (even), 2 N_HEAD, 3 N_KV, 4 N_ROT,
 *         5 HALVES, 6 N_CTX, 7 and 8 N_K_WORD and N_V_WORD: words of a row of a cache   accum f32
 * checked tests row prepare against cpu_prepare, NMSE 1e-9 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint HEAD_DIM = 2;
layout(constant_id = 2) const uint N_HEAD = 1;
layout(constant_id = 3) const uint N_KV = 1;
layout(constant_id = 4) const uint N_ROT = 2;
layout(constant_id = 5) const uint HALVES = 0;
layout(constant_id = 6) const uint N_CTX = 1;
layout(constant_id = 7) const uint N_K_WORD = 4;
layout(constant_id = 8) const uint N_V_WORD = 4;

layout(push_constant) uniform Push { pm_push_rope push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 3) readonly buffer Pages { uint pages[]; };
layout(std430, binding = 4) writeonly buffer Keys { uint keys[]; };
layout(std430, binding = 5) writeonly buffer Values { uint values[]; };
#ifdef HAS_Q_WEIGHT
layout(std430, binding = 6) readonly buffer QWeight { float q_weight[]; };
#endif
#ifdef HAS_K_WEIGHT
layout(std430, binding = 7) readonly buffer KWeight { float k_weight[]; };
#endif
#ifdef HAS_NORM
#define FACTORS_BINDING 8
#else
#define FACTORS_BINDING 6
#endif
#include "encode.glsl"
#ifdef HAS_ROPE
#include "rope.glsl"
#endif
#include "subgroup.glsl"

shared float columns[HEAD_DIM]; // of the head

#ifdef HAS_NORM
/* In the order of norm.comp. */
float my_squares(uint at, uint me) {
    if (HEAD_DIM % 4 != 0) {
        float sum = 0.0;
        for (uint c = me; c < HEAD_DIM; c += WG_SIZE)
            sum += x[at + c] * x[at + c];
        return sum;
    }
    vec4 sums = vec4(0.0);
    for (uint c = me; c < HEAD_DIM / 4; c += WG_SIZE)
        sums += x4[at / 4 + c] * x4[at / 4 + c];
    return (sums.x + sums.y) + (sums.z + sums.w);
}

float weight_of(bool is_query, uint c) {
#ifdef HAS_Q_WEIGHT
    if (is_query)
        return q_weight[c];
#endif
#ifdef HAS_K_WEIGHT
    if (!is_query)
        return k_weight[c];
#endif
    return 1.0;
}

void norm(uint at, uint me, bool is_query) {
    float scale =
        inversesqrt(reduce_add(my_squares(at, me)) / float(HEAD_DIM) + push.eps);
    for (uint c = me; c < HEAD_DIM; c += WG_SIZE)
        columns[c] = columns[c] * scale * weight_of(is_query, c);
}
#endif

#ifdef HAS_ROPE
void rotate(uint pos, uint me) {
    for (uint i = me; i < HEAD_DIM / 2; i += WG_SIZE) {
        bool halves = HALVES != 0 && i < N_ROT / 2;
        uint a = halves ? i : 2 * i, b = halves ? a + N_ROT / 2 : a + 1;
        vec2 v = turned(vec2(columns[a], columns[b]), pos, i, N_ROT / 2);
        columns[a] = v.x;
        columns[b] = v.y;
    }
}
#endif

uint pair_bits(uint i) {
    return half_bits(floatBitsToUint(columns[2 * i])) |
           half_bits(floatBitsToUint(columns[2 * i + 1])) << 16;
}

/* Words of a head in a row of a cache; what is no head of a row, zeros. */
#define STORE(NAME, WORDS, N_WORD, N_MINE, BITS)                                                   \
    void NAME(uint row, uint h, uint me) {                                                         \
        uint first = h * (N_MINE);                                                                 \
        for (uint i = me; i < (N_MINE); i += WG_SIZE)                                              \
            WORDS[row * N_WORD + first + i] = BITS;                                                \
        for (uint i = N_KV * (N_MINE) + me; h == N_KV - 1 && i < N_WORD; i += WG_SIZE)             \
            WORDS[row * N_WORD + i] = 0u;                                                          \
    }

#ifdef K_F16
STORE(store_key, keys, N_K_WORD, HEAD_DIM / 2, pair_bits(i))
#else
STORE(store_key, keys, N_K_WORD, HEAD_DIM, floatBitsToUint(columns[i]))
#endif
#ifdef V_F16
STORE(store_value, values, N_V_WORD, HEAD_DIM / 2, pair_bits(i))
#else
STORE(store_value, values, N_V_WORD, HEAD_DIM, floatBitsToUint(columns[i]))
#endif

void main() {
    uint h = gl_WorkGroupID.x, r = gl_WorkGroupID.y, me = gl_LocalInvocationIndex;
    uint at = (r * (N_HEAD + 2 * N_KV) + h) * HEAD_DIM, pos = rows[r].pos;
    bool is_query = h < N_HEAD, is_value = h >= N_HEAD + N_KV;
    for (uint c = me; c < HEAD_DIM; c += WG_SIZE)
        columns[c] = x[at + c];
#ifdef HAS_NORM
    if (!is_value)
        norm(at, me, is_query);
#endif
    barrier();
#ifdef HAS_ROPE
    if (!is_value)
        rotate(pos, me);
    barrier();
#endif
    if (is_query) {
        for (uint c = me; c < HEAD_DIM; c += WG_SIZE)
            y[(r * N_HEAD + h) * HEAD_DIM + c] = columns[c];
        return;
    }
    if (pos >= N_CTX)
        return;
    uint page = pages[rows[r].seq * ((N_CTX + PM_PAGE - 1) / PM_PAGE) + pos / PM_PAGE];
    uint row = page * PM_PAGE + pos % PM_PAGE;
    if (is_value)
        store_value(row, h - N_HEAD - N_KV, me);
    else
        store_key(row, h - N_HEAD, me);
}
