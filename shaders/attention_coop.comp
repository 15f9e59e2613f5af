/* attention_coop.comp: attention of many rows with matrix units through matrices of a subgroup: a
 *         workgroup takes QUERIES queries that share a key head (ROWS rows, HEADS heads of each)
 *         over pages of positions
 * shape   as attention.comp; sizes of heads multiples of 8 and of chunks of the caches, at most 256
 * grid    x: key heads times blocks of HEADS of their query heads; y: ROWS rows. WG_SIZE is 128
 * defines K_<TYPE>, V_<TYPE>; all else is a constant or pushed
 *         spec 0 to 13 as in attention.glsl, 14 HEADS, 15 QUERIES, 16 M, 17 N, 18 K (of matrices),
 *         19 SUBS_Q, 20 SUBS_D (subgroups along queries and along columns of values)
 * accum   f32 sums of products of f16; what a cache has past 65504 is taken as that. Queries are
 *         scaled before they are rounded. Weights are taken 2^14 times, so that those far below the
 *         largest are not lost, and the sum that divides them is that of the rounded ones
 * memory  40 KiB shared at most: a page of keys and then of values, scores and then weights of the
 *         page; the queries, where they are too many for registers
 * checked tests row attention_coop against cpu_attention, NMSE 1e-5 (factors of 11 bits)
 * source  arXiv:2205.14135 algorithm 1, with the running maximum of arXiv:1805.02867 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define PM_GLSL
#include "params_attention.h"
#define FOURS
#define CONSTANT_OPTIONS
#include "attention.glsl"
layout(constant_id = 14) const uint HEADS = 1;
layout(constant_id = 15) const uint QUERIES = 32;
layout(constant_id = 16) const uint M = 16;
layout(constant_id = 17) const uint N = 16;
layout(constant_id = 18) const uint K = 16;
layout(constant_id = 19) const uint SUBS_Q = 2;
layout(constant_id = 20) const uint SUBS_D = 2;

const uint ROWS = QUERIES / HEADS;
const uint BLOCKS = (GROUP + HEADS - 1) / HEADS;
const uint TILE = PM_PAGE, SUBS = SUBS_Q * SUBS_D;
const uint K_N = HEAD_DIM / K_CHUNK, V_N = HEAD_DIM_V / V_CHUNK;
const uint K_TURNS = (TILE * K_N + 127) / 128, V_TURNS = (TILE * V_N + 127) / 128;
/* Strides are in uvec4, and odd, so that banks are spread. Columns past those of keys are zeros. */
const uint WIDE = (HEAD_DIM + K - 1) / K * K, DEEP = (HEAD_DIM_V + N - 1) / N * N;
const uint Q_STRIDE = WIDE / 8 | 1u, KV_STRIDE = (WIDE > DEEP ? WIDE : DEEP) / 8 | 1u;
const uint S_STRIDE = TILE / 4 + 1;
/* Matrices of scores: a subgroup makes SR x SP, neighbours, of SUBS or fewer such blocks. */
const uint ALONG = TILE / N, EACH = (QUERIES / M * ALONG + SUBS - 1) / SUBS;
const uint SP = EACH < ALONG ? EACH : ALONG, SR = EACH / SP;
/* Matrices of results: a subgroup makes OR x OD, and those past the last column are none. */
const uint OR = QUERIES / M / SUBS_Q, OD = (DEEP / N + SUBS_D - 1) / SUBS_D;
/* An invocation weighs SHARE positions of one query. */
const uint TEAM = 128 / QUERIES, SHARE = TILE / TEAM;
const uint PUT = SUBS * M * N / 4; // a matrix of each subgroup
const uint KV_SIZE = TILE * KV_STRIDE > PUT ? TILE * KV_STRIDE : PUT;
const float WEIGHT = 16384.0, MOST = 65504.0;

/* Queries whose matrices are few are held in registers, and only pass through shared memory. */
const uint STEPS = WIDE / K;
const bool HELD = STEPS * SR <= 8;
/* Where `stored` has what: a page, scores as floats and then weights as halves, queries. */
const uint S_AT = KV_SIZE, S_END = S_AT + QUERIES * S_STRIDE;
const uint Q_AT = HELD ? 0 : S_END, Q_END = Q_AT + QUERIES * Q_STRIDE;

shared uvec4 stored[Q_END > S_END ? Q_END : S_END];
shared float shrinks[QUERIES], tops[128];
shared uvec4 seen[QUERIES]; // positions from x to y - 1, by the row at position z, head w

coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[OR * OD];
coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> scored[SR * SP];
coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> held[HELD ? STEPS * SR : SR];
k_raw k_next[K_TURNS];
v_raw v_next[V_TURNS];
float most = LOWEST, sum = 0.0; // of query me / TEAM; the sum over the positions of this one
uint me;                        // neighbours are in one subgroup

uvec2 to_halves(vec4 v) {
    v = clamp(v, -MOST, MOST);
    return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
}

void see(uint first_r, uint end_r, uint first_h, uint n_h, uint from, uint to) {
    uint r = first_r + me / HEADS, h = me % HEADS;
    if (me < QUERIES) {
        bool here = r >= from && r < to && h < n_h && me < ROWS * HEADS;
        r = min(r, end_r - 1);
        seen[me] = uvec4(here ? seen_by(r) : uvec2(0), position_of(r), first_h + min(h, n_h - 1));
    }
}

void load_queries(uint first_r, uint end_r, uint first_h, uint n_h) {
    [[dont_unroll]] for (uint i = me; i < QUERIES * (WIDE / 8); i += 128) {
        uint n = i / (WIDE / 8), d = i % (WIDE / 8) * 2;
        uint r = first_r + n / HEADS, h = n % HEADS;
        uvec4 eight = uvec4(0u);
        if (r < end_r && h < n_h && d < HEAD_DIM / 4) {
            uint at = (r * N_HEAD + first_h + h) * (HEAD_DIM / 4) + d;
            eight = uvec4(to_halves(q[at] * push.scale), to_halves(q[at + 1] * push.scale));
        }
        stored[Q_AT + n * Q_STRIDE + d / 2] = eight;
    }
}

/* What lies past the `last` of a page may be no numbers: there that one is taken. */
void fetch_keys(uint place, uint last, uint kv) {
    [[unroll]] for (uint t = 0; t < K_TURNS; t++) {
        uint i = t * 128 + me;
        k_next[t] = k_load(place + min(i / K_N, last), kv * K_N + i % K_N, K_N_CHUNK, K_N_SCALE);
    }
}

void fetch_values(uint place, uint last, uint kv) {
    [[unroll]] for (uint t = 0; t < V_TURNS; t++) {
        uint i = t * 128 + me;
        v_next[t] = v_load(place + min(i / V_N, last), kv * V_N + i % V_N, V_N_CHUNK, V_N_SCALE);
    }
}

/* Four columns of a position, from column c on. */
void put_four(uint p, uint c, vec4 four) {
    uvec2 halves = to_halves(four);
    stored[p * KV_STRIDE + c / 8][c % 8 / 2] = halves.x;
    stored[p * KV_STRIDE + c / 8][c % 8 / 2 + 1] = halves.y;
}

void put_keys() {
    [[unroll]] for (uint t = 0; t < K_TURNS; t++) {
        uint p = (t * 128 + me) / K_N, c = (t * 128 + me) % K_N * K_CHUNK;
        if (p < TILE) {
#ifdef K_F16
            stored[p * KV_STRIDE + c / 8] = k_next[t].q;
#else
            [[unroll]] for (uint e = 0; e < K_CHUNK; e += 4)
                put_four(p, c + e, k_four(k_next[t], e));
#endif
        }
    }
    for (uint p = me; p < TILE; p += 128)
        for (uint c = HEAD_DIM / 8; c < WIDE / 8; c++)
            stored[p * KV_STRIDE + c] = uvec4(0u);
}

void put_values() {
    [[unroll]] for (uint t = 0; t < V_TURNS; t++) {
        uint p = (t * 128 + me) / V_N, c = (t * 128 + me) % V_N * V_CHUNK;
        if (p < TILE) {
#ifdef V_F16
            stored[p * KV_STRIDE + c / 8] = v_next[t].q;
#else
            [[unroll]] for (uint e = 0; e < V_CHUNK; e += 4)
                put_four(p, c + e, v_four(v_next[t], e));
#endif
        }
    }
}

/* The scores that a subgroup makes begin at this query and position; past the last there are
 * none. */
uint score_row() {
    return gl_SubgroupID * EACH / ALONG * M;
}

uint score_column() {
    return gl_SubgroupID * EACH % ALONG * N;
}

/* Matrices of queries from `first` on in `held`, of columns K * step and on. */
void hold(uint first, uint step) {
    [[unroll]] for (uint i = 0; i < SR; i++)
        coopMatLoad(held[first + i], stored,
                    Q_AT + (score_row() + i * M) * Q_STRIDE + step * (K / 8), Q_STRIDE,
                    gl_CooperativeMatrixLayoutRowMajor);
}

/* Queries, from `first` on in `held`, times keys. */
void add_scores(uint first, uint step) {
    [[unroll]] for (uint j = 0; j < SP; j++) {
        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
        coopMatLoad(b, stored, (score_column() + j * N) * KV_STRIDE + step * (K / 8), KV_STRIDE,
                    gl_CooperativeMatrixLayoutColumnMajor);
        [[unroll]] for (uint i = 0; i < SR; i++)
            scored[j * SR + i] = coopMatMulAdd(held[first + i], b, scored[j * SR + i]);
    }
}

void score() {
    [[unroll]] for (uint i = 0; i < SR * SP; i++)
        scored[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
    if (HELD) {
        [[unroll]] for (uint step = 0; step < STEPS; step++)
            add_scores(step * SR, step);
    } else {
        [[dont_unroll]] for (uint step = 0; step < STEPS; step++) {
            hold(0, step);
            add_scores(0, step);
        }
    }
    [[unroll]] for (uint j = 0; j < SP; j++)
        [[unroll]] for (uint i = 0; i < SR; i++)
            coopMatStore(scored[j * SR + i], stored,
                         S_AT + (score_row() + i * M) * S_STRIDE + (score_column() + j * N) / 4,
                         S_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
}

/* Scores to weights, which lie where the scores were. A query's team is in one subgroup. */
void weigh(uint pos) {
    uint i = me / TEAM, first = me % TEAM * SHARE;
    uvec4 by = seen[i];
    vec4 s[SHARE / 4];
    float top = most;
    [[unroll]] for (uint v = 0; v < SHARE / 4; v++) {
        s[v] = uintBitsToFloat(stored[S_AT + i * S_STRIDE + first / 4 + v]);
        [[unroll]] for (uint k = 0; k < 4; k++) {
            uint p = pos + first + 4 * v + k;
            s[v][k] = p >= by.x && p < by.y ? shaped(s[v][k], by.w, by.z, p) : LOWEST;
            top = max(top, s[v][k]);
        }
    }
    tops[me] = top;
    subgroupBarrier();
    for (uint t = i * TEAM; t < (i + 1) * TEAM; t++)
        top = max(top, tops[t]);
    float shrink = exp(most - top);
    sum *= shrink;
    [[unroll]] for (uint v = 0; v < SHARE / 4; v++) {
        vec4 w = mix(vec4(0.0), exp(s[v] - top) * WEIGHT, greaterThan(s[v], vec4(LOWEST)));
        uvec2 halves = uvec2(packHalf2x16(w.xy), packHalf2x16(w.zw));
        uint c = first + 4 * v;
        stored[S_AT + i * S_STRIDE + c / 8][c % 8 / 2] = halves.x;
        stored[S_AT + i * S_STRIDE + c / 8][c % 8 / 2 + 1] = halves.y;
        vec2 sum2 = unpackHalf2x16(halves.x) + unpackHalf2x16(halves.y);
        sum += sum2.x + sum2.y;
    }
    if (first == 0)
        shrinks[i] = shrink;
    most = top;
}

/* Each query's results by its number of `shrinks`: a matrix of stride 0 has the same in all of a
 * row. */
void shrink_sums(uint row) {
    [[unroll]] for (uint i = 0; i < OR; i++) {
        coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> shrink;
        coopMatLoad(shrink, shrinks, row + i * M, 0, gl_CooperativeMatrixLayoutColumnMajor);
        [[unroll]] for (uint j = 0; j < OD; j++)
            sums[j * OR + i] = sums[j * OR + i] * shrink;
    }
}

/* Weights times values. */
void add_values(uint row, uint d) {
    shrink_sums(row);
    [[unroll]] for (uint k = 0; k < TILE; k += K) {
        coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[OR];
        [[unroll]] for (uint i = 0; i < OR; i++)
            coopMatLoad(a[i], stored, S_AT + (row + i * M) * S_STRIDE + k / 8, S_STRIDE,
                        gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < OD; j++) {
            if (d + j * N < HEAD_DIM_V) {
                coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
                coopMatLoad(b, stored, k * KV_STRIDE + (d + j * N) / 8, KV_STRIDE,
                            gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint i = 0; i < OR; i++)
                    sums[j * OR + i] = coopMatMulAdd(a[i], b, sums[j * OR + i]);
            }
        }
    }
}

/* A matrix of results, of query `row` and column d on, from `stored`, where its subgroup has put
 * it. */
void write(uint from, uint row, uint d, uint first_r, uint end_r, uint first_h, uint n_h) {
    [[unroll]] for (uint t = 0; t < PUT / 128; t++) {
        uint i = t * (128 / SUBS) + gl_SubgroupInvocationID;
        uint n = row + i / (N / 4), c = d + i % (N / 4) * 4;
        uint r = first_r + n / HEADS, h = n % HEADS;
        if (r < end_r && h < n_h && c < HEAD_DIM_V)
            y[((r * N_HEAD + first_h + h) * HEAD_DIM_V + c) / 4] =
                uintBitsToFloat(stored[from + i]);
    }
}

void main() {
    uint kv = gl_WorkGroupID.x / BLOCKS, block = gl_WorkGroupID.x % BLOCKS * HEADS;
    uint first_r = gl_WorkGroupID.y * ROWS, end_r = min(first_r + ROWS, head.n_row);
    uint first_h = kv * GROUP + block, n_h = min(HEADS, GROUP - block);
    uint row = gl_SubgroupID / SUBS_D * OR * M, d = gl_SubgroupID % SUBS_D * OD * N;
    me = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
    [[unroll]] for (uint i = 0; i < OR * OD; i++)
        sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
    if (HAS_SINKS) {
        most = extra[first_h + min(me / TEAM % HEADS, n_h - 1)];
        sum = me % TEAM == 0 ? WEIGHT : 0.0;
    }
    load_queries(first_r, end_r, first_h, n_h);
    barrier();
    if (HELD && score_row() < QUERIES) {
        [[unroll]] for (uint step = 0; step < STEPS; step++)
            hold(step * SR, step);
    }
    barrier();
    for (uint from = first_r; from < end_r;) {
        uint table = table_of(rows[from].seq), to = from;
        uvec2 range = range_of(from, end_r, 0, to);
        uint pos = range.x - range.x % TILE;
        see(first_r, end_r, first_h, n_h, from, to);
        fetch_keys(place_of(table, pos), min(range.y - 1 - pos, TILE - 1), kv);
        [[dont_unroll]] for (; pos < range.y; pos += TILE) {
            put_keys();
            barrier();
            fetch_values(place_of(table, pos), min(range.y - 1 - pos, TILE - 1), kv);
            if (score_row() < QUERIES)
                score();
            barrier();
            put_values();
            uint next = pos + TILE;
            if (next < range.y)
                fetch_keys(place_of(table, next), min(range.y - 1 - next, TILE - 1), kv);
            weigh(pos);
            barrier();
            add_values(row, d);
            barrier();
        }
        from = to;
    }
    tops[me] = sum;
    subgroupBarrier();
    sum = 0.0;
    for (uint t = 0; t < TEAM; t++)
        sum += tops[me / TEAM * TEAM + t];
    shrinks[me / TEAM] = 1.0 / sum;
    barrier();
    shrink_sums(row);
    [[unroll]] for (uint j = 0; j < OD; j++)
        [[unroll]] for (uint i = 0; i < OR; i++) {
            uint from = gl_SubgroupID * M * N / 4;
            subgroupBarrier();
            coopMatStore(sums[j * OR + i], stored, from, N / 4, gl_CooperativeMatrixLayoutRowMajor);
            subgroupBarrier();
            write(from, row + i * M, d + j * N, first_r, end_r, first_h, n_h);
        }
}
