/* route.comp: the n_used experts of each row that are best, best first, and their weights
 * shape   logits [rows, n_expert] f32   y [rows, 2 * n_used] f32: numbers of experts, then weights
 *         bias, expert_scale [n_expert] f32
 * grid    y: one workgroup a row
 * defines HAS_BIAS, HAS_SCALE, TIER_SUBGROUP
 *         spec 0 WG_SIZE, 1 N_EXPERT, 2 N_USED, 3 GATING (pm__route_gating), 4 RENORM, 5 N_GROUP,
 *         6 N_GROUP_USED   accum f32
 * order   an expert's rank is how many are better, so nothing depends on who compares; of equal
 *         ones the lowest number is best
 * checked tests row route against cpu_route, NMSE 1e-13
 * source  arXiv:1701.06538; groups and the bias for choosing alone arXiv:2412.19437 sections
 *         2.1.2 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint N_EXPERT = 1;
layout(constant_id = 2) const uint N_USED = 1;
layout(constant_id = 3) const uint GATING = 0;
layout(constant_id = 4) const uint RENORM = 0;
layout(constant_id = 5) const uint N_GROUP = 1;
layout(constant_id = 6) const uint N_GROUP_USED = 1;

layout(push_constant) uniform Push { pm_push_route push; };
layout(std430, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#ifdef HAS_BIAS
layout(std430, binding = 2) readonly buffer Bias { float bias[]; };
#endif
#ifdef HAS_SCALE
layout(std430, binding = 3) readonly buffer ExpertScale { float expert_scale[]; };
#endif
#include "subgroup.glsl"

const uint SOFTMAX = 0, SIGMOID = 1;
const float LOWEST = -3.0e38;
const float LEAST_SUM = 6.103515625e-5; // of weights, so that none is divided by zero
const uint IN_GROUP = N_EXPERT / N_GROUP;

shared float gates[N_EXPERT];
shared uint keys[N_EXPERT];
shared uint group_keys[N_GROUP];
shared uint chosen[N_USED];

/* Integers that are in the order of floats. A NaN is the least of all; what is left out is 0. */
uint key_of(float v) {
    uint bits = floatBitsToUint(v);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return 1u;
    if (bits == 0x80000000u)
        bits = 0u;
    return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}

float float_of(uint key) {
    return uintBitsToFloat((key & 0x80000000u) != 0u ? key & 0x7fffffffu : ~key);
}

/* The largest logit, and the sum of exp(logit - largest). */
vec2 total(uint at, uint me) {
    float most = LOWEST, sum = 0.0;
    for (uint e = me; e < N_EXPERT; e += WG_SIZE)
        most = max(most, logits[at + e]);
    most = reduce_max(most);
    for (uint e = me; e < N_EXPERT; e += WG_SIZE)
        sum += exp(logits[at + e] - most);
    return vec2(most, reduce_add(sum));
}

float gate(float logit, vec2 all) {
    if (GATING == SOFTMAX)
        return exp(logit - all.x) / all.y;
    if (GATING == SIGMOID) {
        float e = exp(-abs(logit)); // never overflows
        return (logit < 0.0 ? e : 1.0) / (1.0 + e);
    }
    return logit;
}

/* What experts are compared by. Gates grow with their logits, which are exact. */
uint choice(float logit, float gated, uint e) {
#ifdef HAS_BIAS
    return key_of(gated + bias[e]);
#else
    return key_of(N_GROUP > 1 ? gated : logit);
#endif
}

/* Leaves out the experts of all groups but the best, by the sum of a group's two best. */
void drop_groups(uint me) {
    for (uint g = me; g < N_GROUP; g += WG_SIZE) {
        float first = LOWEST, second = IN_GROUP > 1 ? LOWEST : 0.0;
        for (uint i = 0; i < IN_GROUP; i++) {
            float v = float_of(keys[g * IN_GROUP + i]);
            if (v > first) {
                second = IN_GROUP > 1 ? first : 0.0;
                first = v;
            } else if (v > second && IN_GROUP > 1) {
                second = v;
            }
        }
        group_keys[g] = key_of(first + second);
    }
    barrier();
    for (uint e = me; e < N_EXPERT; e += WG_SIZE) {
        uint mine = e / IN_GROUP, rank = 0;
        for (uint g = 0; g < N_GROUP; g++)
            rank += uint(group_keys[g] > group_keys[mine] ||
                         (group_keys[g] == group_keys[mine] && g < mine));
        if (rank >= N_GROUP_USED)
            keys[e] = 0u;
    }
    barrier();
}

float weight(uint u) {
    float w = gates[chosen[u]], sum = 0.0;
    if (GATING == SOFTMAX || GATING == SIGMOID) {
        for (uint i = 0; i < N_USED; i++)
            sum += gates[chosen[i]];
        return RENORM != 0 ? w / max(sum, LEAST_SUM) : w;
    }
    float most = LOWEST;
    for (uint i = 0; i < N_USED; i++)
        most = max(most, gates[chosen[i]]);
    for (uint i = 0; i < N_USED; i++)
        sum += exp(gates[chosen[i]] - most);
    return exp(w - most) / sum;
}

void main() {
    uint r = gl_WorkGroupID.y, me = gl_LocalInvocationIndex;
    vec2 all = vec2(0.0, 1.0);
    if (GATING == SOFTMAX)
        all = total(r * N_EXPERT, me);
    for (uint e = me; e < N_EXPERT; e += WG_SIZE) {
        float logit = logits[r * N_EXPERT + e];
        gates[e] = gate(logit, all);
        keys[e] = choice(logit, gates[e], e);
    }
    barrier();
    if (N_GROUP > 1)
        drop_groups(me);
    for (uint e = me; e < N_EXPERT; e += WG_SIZE) {
        uint mine = keys[e], rank = 0;
        [[dont_unroll]] for (uint f = 0; f < N_EXPERT; f++)
            rank += uint(keys[f] > mine || (keys[f] == mine && f < e));
        if (rank < N_USED)
            chosen[rank] = e;
    }
    barrier();
    for (uint u = me; u < N_USED; u += WG_SIZE) {
        float w = weight(u) * push.scale;
#ifdef HAS_SCALE
        w *= expert_scale[chosen[u]];
#endif
        y[r * 2 * N_USED + u] = float(chosen[u]);
        y[r * 2 * N_USED + N_USED + u] = w;
    }
}
