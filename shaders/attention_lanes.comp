/* attention_lanes.comp: attention of many rows where a lane of a vector unit is an invocation: each
 *         has queries of its own (a head of a row), and all of them read the same key and value at
 *         the same time, through an address that they share; where SPLIT is defined, invocations
 *         have slices of their own, too. No barriers, no shared memory
 * shape   as attention.comp; sizes of heads multiples of 8, and of chunks of the caches
 * grid    x: key heads times blocks of HEADS of their query heads; y: ROWS rows
 * defines those of attention.glsl
 *         spec 0 to 12 as there, 13 HEADS, 14 QUERIES of an invocation, 1 where SPLIT is defined;
 *         HEADS * ROWS * N_SLICE is at most WG_SIZE * QUERIES   accum f32
 * checked tests rows attention_lanes, attention_split_lanes against cpu_attention,
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
layout(constant_id = 14) const uint QUERIES = 1;

const uint ROWS = WG_SIZE * QUERIES / (HEADS * N_SLICE);
const uint TILE = 2; // positions; a part of a page
const uint BLOCKS = (GROUP + HEADS - 1) / HEADS;
const uint K_N = HEAD_DIM / K_CHUNK, V_N = HEAD_DIM_V / V_CHUNK;

vec4 query[QUERIES * HEAD_DIM / 4];
vec4 acc[QUERIES * HEAD_DIM_V / 4];
float most[QUERIES], sum[QUERIES];
uint row_of[QUERIES], head_of[QUERIES];
bool used[QUERIES], present[QUERIES];

void load_queries(uint first_r, uint first_h, uint n_r, uint n_h) {
    [[unroll]] for (uint k = 0; k < QUERIES; k++) {
        uint i = (k * WG_SIZE + gl_LocalInvocationIndex) / N_SLICE, r = i / HEADS, h = i % HEADS;
        used[k] = r < n_r && h < n_h;
        row_of[k] = first_r + min(r, n_r - 1);
        head_of[k] = first_h + min(h, n_h - 1);
        uint at = (row_of[k] * N_HEAD + head_of[k]) * (HEAD_DIM / 4);
        [[unroll]] for (uint d = 0; d < HEAD_DIM / 4; d++)
            query[k * HEAD_DIM / 4 + d] = q[at + d] * push.scale;
        [[unroll]] for (uint d = 0; d < HEAD_DIM_V / 4; d++)
            acc[k * HEAD_DIM_V / 4 + d] = vec4(0.0);
        most[k] = LOWEST;
        sum[k] = 0.0;
#ifdef SINKS
        most[k] = extra[head_of[k]];
        sum[k] = 1.0;
#endif
    }
}

/* Positions [pos, pos + TILE) of a sequence for its rows; only those in the range are read. */
void add_tile(uint table, uint pos, uvec2 range, uint kv) {
    uint place[TILE];
    float s[TILE * QUERIES];
    [[unroll]] for (uint j = 0; j < TILE; j++) {
        place[j] = place_of(table, min(pos + j, range.y - 1));
        [[unroll]] for (uint k = 0; k < QUERIES; k++)
            s[j * QUERIES + k] = 0.0;
    }
    [[unroll]] for (uint c = 0; c < K_N; c++) {
        [[unroll]] for (uint j = 0; j < TILE; j++) {
            k_raw raw = k_load(place[j], kv * K_N + c, K_N_CHUNK, K_N_SCALE);
            [[unroll]] for (uint e = 0; e < K_CHUNK; e += 4) {
                vec4 four = k_four(raw, e);
                [[unroll]] for (uint k = 0; k < QUERIES; k++) {
                    vec4 p = four * query[(k * HEAD_DIM + c * K_CHUNK + e) / 4];
                    s[j * QUERIES + k] += (p.x + p.y) + (p.z + p.w);
                }
            }
        }
    }
    float shrink[QUERIES];
    [[unroll]] for (uint k = 0; k < QUERIES; k++) {
        uint mine = position_of(row_of[k]);
#ifdef SPLIT
        uvec2 seen = range;
#else
        uvec2 seen = present[k] ? seen_by(row_of[k]) : uvec2(0);
#endif
        float top = most[k];
        [[unroll]] for (uint j = 0; j < TILE; j++) {
            float t = shaped(s[j * QUERIES + k], head_of[k], mine, pos + j);
            s[j * QUERIES + k] = pos + j >= seen.x && pos + j < seen.y ? t : LOWEST;
            top = max(top, s[j * QUERIES + k]);
        }
        shrink[k] = exp(most[k] - top);
        most[k] = top;
        sum[k] *= shrink[k];
        [[unroll]] for (uint j = 0; j < TILE; j++) {
            float t = s[j * QUERIES + k];
            s[j * QUERIES + k] = t > LOWEST ? exp(t - top) : 0.0;
            sum[k] += s[j * QUERIES + k];
        }
    }
    [[unroll]] for (uint c = 0; c < V_N; c++) {
        v_raw raw[TILE];
        [[unroll]] for (uint j = 0; j < TILE; j++)
            raw[j] = v_load(place[j], kv * V_N + c, V_N_CHUNK, V_N_SCALE);
        [[unroll]] for (uint e = 0; e < V_CHUNK; e += 4) {
            [[unroll]] for (uint k = 0; k < QUERIES; k++)
                acc[(k * HEAD_DIM_V + c * V_CHUNK + e) / 4] *= shrink[k];
            [[unroll]] for (uint j = 0; j < TILE; j++) {
                vec4 four = v_four(raw[j], e);
                [[unroll]] for (uint k = 0; k < QUERIES; k++)
                    acc[(k * HEAD_DIM_V + c * V_CHUNK + e) / 4] += s[j * QUERIES + k] * four;
            }
        }
    }
}

void main() {
    uint kv = gl_WorkGroupID.x / BLOCKS, block = gl_WorkGroupID.x % BLOCKS * HEADS;
    uint first_r = gl_WorkGroupID.y * ROWS, end_r = min(first_r + ROWS, head.n_row);
    load_queries(first_r, kv * GROUP + block, end_r - first_r, min(HEADS, GROUP - block));
#ifdef SPLIT
    uint slice = gl_LocalInvocationIndex % N_SLICE, table = table_of(rows[row_of[0]].seq);
    uvec2 seen = slice_of(row_of[0], slice);
    if (used[0])
        [[dont_unroll]] for (uint pos = seen.x - seen.x % TILE; pos < seen.y; pos += TILE)
            add_tile(table, pos, seen, kv);
    uint at = part_of(row_of[0], head_of[0], slice) / 4;
    if (used[0]) {
        [[unroll]] for (uint d = 0; d < HEAD_DIM_V / 4; d++)
            y[at + d] = acc[d];
        y[at + HEAD_DIM_V / 4] = part_end(most[0], sum[0]);
    }
#else
    for (uint from = first_r; from < end_r;) {
        uint table = table_of(rows[from].seq), to = from;
        uvec2 range = range_of(from, end_r, 0, to);
        [[unroll]] for (uint k = 0; k < QUERIES; k++)
            present[k] = row_of[k] >= from && row_of[k] < to;
        [[dont_unroll]] for (uint pos = range.x - range.x % TILE; pos < range.y; pos += TILE)
            add_tile(table, pos, range, kv);
        from = to;
    }
    [[unroll]] for (uint k = 0; k < QUERIES; k++) {
        uint at = (row_of[k] * N_HEAD + head_of[k]) * (HEAD_DIM_V / 4);
        if (used[k])
            [[unroll]] for (uint d = 0; d < HEAD_DIM_V / 4; d++)
                y[at + d] = acc[k * HEAD_DIM_V / 4 + d] / sum[k];
    }
#endif
}
