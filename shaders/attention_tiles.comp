/* attention_tiles.comp: attention for real GPUs: a workgroup takes QUERIES queries that share a key
 *         head (ROWS rows, HEADS heads of each) over pages of positions, so that what it reads of
 *         the caches serves them all
 * shape   as attention.comp; sizes of heads multiples of 8 and of chunks of the caches, that of
 *         values at most 512
 * grid    x: key heads times blocks of HEADS of their query heads; y: ROWS rows; z: slices. WG_SIZE
 *         is 128
 * defines those of attention.glsl
 *         spec 0 to 12 as there, 13 HEADS, 14 QUERIES: 4, 8, 16 or 32   accum f32
 * memory  at most 14.5 KiB shared: 32 columns of the page, 32 columns of the queries and then the
 *         weights, scores
 * checked tests rows attention_tiles, attention_split_tiles against cpu_attention,
 *         cpu_attention_split, NMSE 1e-9
 * source  arXiv:2205.14135 algorithm 1, with the running maximum of arXiv:1805.02867 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"
#define FOURS
#include "attention.glsl"
layout(constant_id = 13) const uint HEADS = 1;
layout(constant_id = 14) const uint QUERIES = 4;

const uint ROWS = QUERIES / HEADS;
const uint BLOCKS = (GROUP + HEADS - 1) / HEADS;
const uint TILE = PM_PAGE, WIDE = 32, STRIDE = WIDE / 4 + 1; // in vec4, odd: spread over banks
const uint K_N = HEAD_DIM / K_CHUNK, V_N = HEAD_DIM_V / V_CHUNK;
/* An invocation computes SHARE scores of one position, and weighs as many positions of one
 * query. */
const uint SHARE = QUERIES / 4, TEAM = 128 / QUERIES;
/* It adds four columns of each 32 for OWN queries, over one part in PARTS of the positions. */
const uint ADDERS = QUERIES < 16 ? QUERIES : 16, PARTS = 16 / ADDERS, OWN = QUERIES / ADDERS;
const uint SLABS = (HEAD_DIM_V + WIDE - 1) / WIDE;

shared vec4 stored[TILE * STRIDE];
shared vec4 query[QUERIES * STRIDE]; // then the weights of the page
shared vec4 scores[QUERIES * STRIDE];
shared float shrinks[QUERIES], tops[QUERIES];
shared uvec4 seen[QUERIES]; // positions from x to y - 1, by the row at position z, head w

vec4 acc[SLABS * OWN];
float most = LOWEST, sum = 0.0; // of query me / TEAM; the sum over the positions of this one

void see(uint first_r, uint end_r, uint first_h, uint n_h, uint from, uint to) {
    uint i = gl_LocalInvocationIndex, r = first_r + i / HEADS, h = i % HEADS;
    if (i < QUERIES) {
        bool here = r >= from && r < to && h < n_h && i < ROWS * HEADS;
        r = min(r, end_r - 1);
        seen[i] = uvec4(here ? slice_of(r, gl_WorkGroupID.z) : uvec2(0), position_of(r),
                        first_h + min(h, n_h - 1));
    }
}

void load_queries(uint first_r, uint end_r, uint first_h, uint n_h, uint slab) {
    for (uint i = gl_LocalInvocationIndex; i < QUERIES * WIDE / 4; i += 128) {
        uint n = i / (WIDE / 4), d = slab * WIDE / 4 + i % (WIDE / 4);
        uint r = first_r + n / HEADS, h = n % HEADS;
        vec4 four = vec4(0.0);
        if (r < end_r && h < n_h && d < HEAD_DIM / 4)
            four = q[(r * N_HEAD + first_h + h) * (HEAD_DIM / 4) + d] * push.scale;
        query[n * STRIDE + i % (WIDE / 4)] = four;
    }
}

/* 32 columns of the page at `place`; what lies past `last` may be no numbers. */
void load_keys(uint place, uint last, uint kv, uint slab) {
    const uint n = WIDE / K_CHUNK;
    for (uint i = gl_LocalInvocationIndex; i < TILE * n; i += 128) {
        uint p = i / n, c = slab * n + i % n;
        k_raw raw = k_load(place + min(p, last), kv * K_N + min(c, K_N - 1), K_N_CHUNK, K_N_SCALE);
        [[unroll]] for (uint e = 0; e < K_CHUNK; e += 4)
            stored[p * STRIDE + (i % n * K_CHUNK + e) / 4] = c < K_N ? k_four(raw, e) : vec4(0.0);
    }
}

void load_values(uint place, uint last, uint kv, uint slab) {
    const uint n = WIDE / V_CHUNK;
    for (uint i = gl_LocalInvocationIndex; i < TILE * n; i += 128) {
        uint p = i / n, c = slab * n + i % n;
        v_raw raw = v_load(place + min(p, last), kv * V_N + min(c, V_N - 1), V_N_CHUNK, V_N_SCALE);
        [[unroll]] for (uint e = 0; e < V_CHUNK; e += 4)
            stored[p * STRIDE + (i % n * V_CHUNK + e) / 4] = v_four(raw, e);
    }
}

/* Of one position with SHARE queries, over 32 columns. */
void add_scores(inout float s[SHARE]) {
    uint p = gl_LocalInvocationIndex % TILE, first = gl_LocalInvocationIndex / TILE * SHARE;
    [[unroll]] for (uint d = 0; d < WIDE / 4; d++) {
        vec4 key = stored[p * STRIDE + d];
        [[unroll]] for (uint k = 0; k < SHARE; k++)
            s[k] += dot(key, query[(first + k) * STRIDE + d]);
    }
}

void put_scores(float s[SHARE], uint pos) {
    uint p = gl_LocalInvocationIndex % TILE, first = gl_LocalInvocationIndex / TILE * SHARE;
    [[unroll]] for (uint k = 0; k < SHARE; k++) {
        uvec4 by = seen[first + k];
        bool sees = pos + p >= by.x && pos + p < by.y;
        scores[(first + k) * STRIDE + p / 4][p % 4] =
            sees ? shaped(s[k], by.w, by.z, pos + p) : LOWEST;
    }
}

/* Scores to weights. All of a query's team find its maximum. */
void weigh() {
    uint i = gl_LocalInvocationIndex / TEAM, mine = gl_LocalInvocationIndex % TEAM;
    vec4 four = vec4(most);
    [[unroll]] for (uint v = 0; v < TILE / 4; v++)
        four = max(four, scores[i * STRIDE + v]);
    float top = max(max(four.x, four.y), max(four.z, four.w)), shrink = exp(most - top);
    sum *= shrink;
    [[unroll]] for (uint k = 0; k < SHARE; k++) {
        uint p = mine * SHARE + k;
        float s = scores[i * STRIDE + p / 4][p % 4], w = s > LOWEST ? exp(s - top) : 0.0;
        query[i * STRIDE + p / 4][p % 4] = w;
        sum += w;
    }
    if (mine == 0)
        shrinks[i] = shrink;
    most = top;
}

void add_values(uint slab) {
    uint column = gl_LocalInvocationIndex % 8, first = gl_LocalInvocationIndex / 8 % ADDERS * OWN;
    uint part = gl_LocalInvocationIndex / (8 * ADDERS);
    [[unroll]] for (uint k = 0; k < OWN; k++)
        acc[slab * OWN + k] *= shrinks[first + k];
    [[dont_unroll]] for (uint j = part * (8 / PARTS); j < (part + 1) * (8 / PARTS); j++) {
        vec4 v0 = stored[4 * j * STRIDE + column], v1 = stored[(4 * j + 1) * STRIDE + column];
        vec4 v2 = stored[(4 * j + 2) * STRIDE + column], v3 = stored[(4 * j + 3) * STRIDE + column];
        [[unroll]] for (uint k = 0; k < OWN; k++) {
            vec4 w = query[(first + k) * STRIDE + j];
            acc[slab * OWN + k] += (w.x * v0 + w.y * v1) + (w.z * v2 + w.w * v3);
        }
    }
}

/* Query i, columns 4d to 4d + 3. */
void put(uint i, uint d, uint first_r, uint end_r, uint first_h, uint n_h, vec4 value) {
    uint r = first_r + i / HEADS, h = i % HEADS;
    float all = 0.0;
    for (uint t = i * TEAM; t < (i + 1) * TEAM; t++)
        all += scores[t / 4][t % 4];
    if (gl_LocalInvocationIndex >= 8 * ADDERS || i >= ROWS * HEADS || r >= end_r || h >= n_h)
        return;
#ifdef SPLIT
    uint at = part_of(r, first_h + h, gl_WorkGroupID.z) / 4;
    if (d < HEAD_DIM_V / 4)
        y[at + d] = value;
    if (d == 0)
        y[at + HEAD_DIM_V / 4] = part_end(tops[i], all);
#else
    if (d < HEAD_DIM_V / 4)
        y[(r * N_HEAD + first_h + h) * (HEAD_DIM_V / 4) + d] = value / all;
#endif
}

/* The sums of all parts, and the results. */
void finish(uint slab, uint first_r, uint end_r, uint first_h, uint n_h) {
    uint me = gl_LocalInvocationIndex, first = me / 8 % ADDERS * OWN;
    if (PARTS > 1) {
        stored[me] = acc[slab * OWN];
        barrier();
        for (uint part = 1; part < PARTS && me < 8 * ADDERS; part++)
            acc[slab * OWN] += stored[me + part * 8 * ADDERS];
        barrier();
    }
    [[unroll]] for (uint k = 0; k < OWN; k++)
        put(first + k, slab * 8 + me % 8, first_r, end_r, first_h, n_h, acc[slab * OWN + k]);
}

/* A loop that no compiler may leave as one: then sums would lie in memory. */
#define EACH_SLAB(DO)                                                                              \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)                                                \
    DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define ADD(slab)                                                                                  \
    if (slab < SLABS) {                                                                            \
        load_values(place, last, kv, slab);                                                        \
        barrier();                                                                                 \
        add_values(slab);                                                                          \
        barrier();                                                                                 \
    }
#define FINISH(slab)                                                                               \
    if (slab < SLABS)                                                                              \
        finish(slab, first_r, end_r, first_h, n_h);

void main() {
    uint kv = gl_WorkGroupID.x / BLOCKS, block = gl_WorkGroupID.x % BLOCKS * HEADS;
    uint first_r = gl_WorkGroupID.y * ROWS, end_r = min(first_r + ROWS, head.n_row);
    uint first_h = kv * GROUP + block, n_h = min(HEADS, GROUP - block);
    [[unroll]] for (uint i = 0; i < SLABS * OWN; i++)
        acc[i] = vec4(0.0);
#ifdef SINKS
    most = extra[first_h + min(gl_LocalInvocationIndex / TEAM % HEADS, n_h - 1)];
    sum = gl_LocalInvocationIndex % TEAM == 0 ? 1.0 : 0.0;
#endif
    for (uint from = first_r; from < end_r;) {
        uint table = table_of(rows[from].seq), to = from;
        uvec2 range = range_of(from, end_r, gl_WorkGroupID.z, to);
        see(first_r, end_r, first_h, n_h, from, to);
        [[dont_unroll]] for (uint pos = range.x - range.x % TILE; pos < range.y; pos += TILE) {
            uint place = place_of(table, pos), last = range.y - 1 - pos;
            float s[SHARE];
            [[unroll]] for (uint k = 0; k < SHARE; k++)
                s[k] = 0.0;
            [[dont_unroll]] for (uint slab = 0; slab < (HEAD_DIM + WIDE - 1) / WIDE; slab++) {
                load_queries(first_r, end_r, first_h, n_h, slab);
                load_keys(place, last, kv, slab);
                barrier();
                add_scores(s);
                barrier();
            }
            put_scores(s, pos);
            barrier();
            weigh();
            EACH_SLAB(ADD)
        }
        from = to;
    }
    scores[gl_LocalInvocationIndex / 4][gl_LocalInvocationIndex % 4] = sum;
    if (gl_LocalInvocationIndex % TEAM == 0)
        tops[gl_LocalInvocationIndex / TEAM] = most;
    barrier();
    EACH_SLAB(FINISH)
}
