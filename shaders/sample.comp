/* sample.comp: draws a token from each row of logits, by the rules of runtime/graph/sampling.h
 * shape   logits [outs, n_vocab] f32, n_vocab below 2^21   drawn [outs]
 * grid    y: one workgroup an output
 * defines TIER_SUBGROUP
 *         spec 0 WG_SIZE, 1 N_VOCAB, 2 N_CTX, 3 MOST_REPEAT (a power of two, at most 1024)
 * accum   thresholds and draws in integers through histograms, so no order of arrival shows
 * checked tests row sample against cpu_sample, exact */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint N_VOCAB = 1;
layout(constant_id = 2) const uint N_CTX = 1;
layout(constant_id = 3) const uint MOST_REPEAT = 1024;

layout(std430, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, binding = 1) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 2) readonly buffer Outs { uint outs[]; };
layout(std430, binding = 3) readonly buffer History { uint history[]; };
layout(std430, binding = 4) readonly buffer Samplers { pm_step_sampler samplers[]; };
layout(std430, binding = 5) writeonly buffer Drawn { pm_step_drawn drawn[]; };
#include "subgroup.glsl"
#include "random.glsl"

/* Open-addressed table of the tokens in the penalised window: token << 11 | count; half of it stays
 * empty. */
const uint TABLE_N = 2 * MOST_REPEAT, EMPTY = 0xffffffffu;
shared uint table[TABLE_N];
/* A bit for each value of 15 bits of the hash: nearly all tokens are seen there not to be in the
 * table. */
const uint FILTER_BITS = 15, FILTER_N = (1u << FILTER_BITS) / 32;
shared uint filter_words[FILTER_N];
shared uint bins[256];
shared uint found[2];

#define LOWEST uintBitsToFloat(0xff800000u) // -infinity

uint me = gl_LocalInvocationIndex;
uint logits_at; // of this output's row
pm_step_sampler sampler_;
bool penalised;
float most; // the largest logit
uint least_key = 0; // filters: tokens below either are out
float least = LOWEST;

void count_window(pm_step_row row) {
    uint pos = min(row.pos, N_CTX - 1);
    uint n = min(min(sampler_.repeat_last_n, MOST_REPEAT), pos + 1);
    for (uint i = me; i < TABLE_N; i += WG_SIZE)
        table[i] = EMPTY;
    for (uint i = me; i < FILTER_N; i += WG_SIZE)
        filter_words[i] = 0;
    barrier();
    for (uint i = me; i < n; i += WG_SIZE) {
        uint token = history[row.seq * N_CTX + pos - i];
        uint hash = hash32(token), bit = hash >> (32 - FILTER_BITS);
        uint slot = hash % TABLE_N;
        atomicOr(filter_words[bit / 32], 1u << bit % 32);
        for (uint probe = 0; probe < TABLE_N; probe++) {
            uint old = atomicCompSwap(table[slot], EMPTY, token << 11 | 1u);
            if (old == EMPTY)
                break;
            if (old >> 11 == token) {
                atomicAdd(table[slot], 1u);
                break;
            }
            slot = (slot + 1) % TABLE_N;
        }
    }
    barrier();
    penalised = n > 0 && (sampler_.repeat_penalty != 1.0 || sampler_.presence_penalty != 0.0 ||
                          sampler_.frequency_penalty != 0.0);
}

/* The logit of a token after penalties. */
float logit(uint id) {
    precise float l = logits[logits_at + id];
    if ((floatBitsToUint(l) & 0x7fffffffu) > 0x7f800000u) // NaN; isnan() may be assumed false
        l = LOWEST;
    if (!penalised)
        return l;
    uint hash = hash32(id), bit = hash >> (32 - FILTER_BITS), slot = hash % TABLE_N;
    if ((filter_words[bit / 32] >> bit % 32 & 1u) == 0u)
        return l;
    while (table[slot] != EMPTY && table[slot] >> 11 != id)
        slot = (slot + 1) % TABLE_N;
    if (table[slot] == EMPTY)
        return l;
    l = l > 0.0 ? l / sampler_.repeat_penalty : l * sampler_.repeat_penalty;
    float count = float(table[slot] & 0x7ffu);
    precise float fine = count * sampler_.frequency_penalty + sampler_.presence_penalty;
    return l - fine;
}

bool kept(float l) {
    return float_key(l) >= least_key && l >= least;
}

uint weight(float l, float temperature) {
    const float unit = float(1u << (31 - (N_VOCAB > 1 ? findMSB(N_VOCAB - 1) + 1 : 0)));
    return uint((l == most ? 1.0 : exp((l - most) / temperature)) * unit);
}

/* Least key so that the tokens kept from it on are `need` or more, or for top_p weigh as much: byte
 * after byte from the top, each by a histogram of the tokens that share the bytes found so far. */
uint select_key(bool by_weight, uint need) {
    uint prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (uint i = me; i < 256; i += WG_SIZE)
            bins[i] = 0;
        barrier();
        [[dont_unroll]] for (uint id = me; id < N_VOCAB; id += WG_SIZE) {
            float l = logit(id);
            uint key = float_key(l);
            if (kept(l) && (shift == 24 || (key ^ prefix) >> (shift + 8) == 0))
                atomicAdd(bins[key >> shift & 255u], by_weight ? weight(l, 1.0) : 1u);
        }
        barrier();
        if (me == 0) {
            int b = 255;
            for (; b > 0 && bins[b] < need; b--)
                need -= bins[b];
            found[0] = prefix | uint(b) << shift;
            found[1] = need;
        }
        barrier();
        prefix = found[0];
        need = found[1];
        barrier();
    }
    return prefix;
}

uint whole_weight() {
    uint sum = 0;
    [[dont_unroll]] for (uint id = me; id < N_VOCAB; id += WG_SIZE) {
        float l = logit(id);
        if (kept(l))
            sum += weight(l, 1.0);
    }
    return reduce_add(sum);
}

/* First id whose running sum of weights exceeds a random part of the whole. An invocation owns a
 * range of ids. */
uint draw(uint random) {
    const uint n_each = (N_VOCAB + WG_SIZE - 1) / WG_SIZE;
    uint first = min(me * n_each, N_VOCAB), end = min(first + n_each, N_VOCAB);
    uint mine = 0, before = 0, goal, low;
    [[dont_unroll]] for (uint id = first; id < end; id++) {
        float l = logit(id);
        if (kept(l))
            mine += weight(l, sampler_.temperature);
    }
    reduce_uints[me] = mine;
    barrier();
    for (uint i = 0; i < me; i++)
        before += reduce_uints[i];
    barrier();
    umulExtended(random, reduce_add(mine), goal, low);
    uint token = EMPTY;
    if (goal >= before && goal - before < mine)
        for (uint id = first; id < end && token == EMPTY; id++) {
            float l = logit(id);
            if (kept(l))
                before += weight(l, sampler_.temperature);
            if (before > goal)
                token = id;
        }
    return reduce_min(token);
}

/* Sets `most` and gives the lowest id that has it. */
uint find_most() {
    uint key = 0, id_of_key = EMPTY;
    [[dont_unroll]] for (uint id = me; id < N_VOCAB; id += WG_SIZE) {
        uint candidate = float_key(logit(id));
        if (candidate > key) {
            key = candidate;
            id_of_key = id;
        }
    }
    uint most_key = reduce_max(key);
    uint best = reduce_min(key == most_key ? id_of_key : EMPTY);
    most = logit(best);
    return best;
}

uint choose(uint pos) {
    uint best = find_most();
    if (sampler_.temperature <= 0.0 || most == LOWEST)
        return best;
    if (sampler_.top_k > 0 && sampler_.top_k < N_VOCAB)
        least_key = select_key(false, sampler_.top_k);
    if (sampler_.top_p < 1.0) {
        uint high, low;
        umulExtended(uint(max(sampler_.top_p, 0.0) * 16777216.0), whole_weight(), high, low);
        least_key = select_key(true, max(high << 8 | low >> 24, 1u));
    }
    if (sampler_.min_p > 0.0)
        least = most + log(sampler_.min_p);
    uint token = draw(philox(pos, sampler_.seed_lo, sampler_.seed_hi));
    return token == EMPTY ? best : token;
}

void main() {
    uint i = gl_WorkGroupID.y;
    pm_step_row row = rows[outs[i]];
    logits_at = i * N_VOCAB;
    sampler_ = samplers[row.seq];
    count_window(row);
    uint hash = 0;
    [[dont_unroll]] for (uint id = me; id < N_VOCAB; id += WG_SIZE)
        hash += hash32(floatBitsToUint(logits[logits_at + id]) ^ hash32(id));
    hash = reduce_add(hash);
    uint token = choose(row.pos);
    if (me == 0)
        drawn[i] = pm_step_drawn(token, hash, head.step, outs[i]);
}
