/* attention.glsl: what the kernels of attention share: sizes, bindings, which positions a row sees
 * and what becomes of a score.
 * before  params_attention.h, the extensions of the kernel; FOURS, a define: q and y are read and
 *         written by four floats; CONSTANT_OPTIONS, a define: options are bits of a constant
 * defines K_<TYPE>, V_<TYPE>, options SOFTCAP, ALIBI, SINKS, REL_BIAS, BIDIRECTIONAL, CHUNKED;
 *         SPLIT: each row's positions in N_SLICE slices, of which y gets parts (op attention_split)
 * spec    0 WG_SIZE, 1 HEAD_DIM, 2 N_HEAD, 3 N_HEAD_KV, 4 N_CTX, 5 K_N_CHUNK, 6 K_N_SCALE,
 *         7 V_N_CHUNK, 8 V_N_SCALE, 9 HEAD_DIM_V, 10 WINDOW (0: none), 11 N_BUCKET, 12 N_SLICE;
 *         13 OPTIONS, with CONSTANT_OPTIONS
 * source  ALiBi arXiv:2108.12409; biases arXiv:1910.10683 section 2.1; block table
 *         arXiv:2309.06180 */
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint HEAD_DIM = 8;
layout(constant_id = 2) const uint N_HEAD = 1;
layout(constant_id = 3) const uint N_HEAD_KV = 1;
layout(constant_id = 4) const uint N_CTX = 1;
layout(constant_id = 5) const uint K_N_CHUNK = 1;
layout(constant_id = 6) const uint K_N_SCALE = 0;
layout(constant_id = 7) const uint V_N_CHUNK = 1;
layout(constant_id = 8) const uint V_N_SCALE = 0;
layout(constant_id = 9) const uint HEAD_DIM_V = 8;
layout(constant_id = 10) const uint WINDOW = 0;
layout(constant_id = 11) const uint N_BUCKET = 4;
layout(constant_id = 12) const uint N_SLICE = 1;
#ifdef CONSTANT_OPTIONS
layout(constant_id = 13) const uint OPTIONS = 0;
#else
const uint OPTIONS = 0
#ifdef SOFTCAP
                     | 1u
#endif
#ifdef ALIBI
                     | 2u
#endif
#ifdef SINKS
                     | 4u
#endif
#ifdef REL_BIAS
                     | 8u
#endif
#ifdef BIDIRECTIONAL
                     | 16u
#endif
#ifdef CHUNKED
                     | 32u
#endif
    ;
#endif
const bool HAS_SOFTCAP = (OPTIONS & 1u) != 0u;
const bool HAS_ALIBI = (OPTIONS & 2u) != 0u;
const bool HAS_SINKS = (OPTIONS & 4u) != 0u;
const bool HAS_REL_BIAS = (OPTIONS & 8u) != 0u;
const bool IS_BIDIRECTIONAL = (OPTIONS & 16u) != 0u;
const bool IS_CHUNKED = (OPTIONS & 32u) != 0u;

layout(push_constant) uniform Push { pm_push_attention push; };
#ifdef FOURS
#define PM_FLOATS vec4
#else
#define PM_FLOATS float
#endif
layout(std430, binding = 0) readonly buffer Q { PM_FLOATS q[]; };
#define K_QUANTS_BINDING 1
#define V_QUANTS_BINDING 2
layout(std430, binding = 3) writeonly buffer Y { PM_FLOATS y[]; };
layout(std430, binding = 4) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 5) readonly buffer Pages { uint pages[]; };
#define K_SCALES_BINDING 6
#define V_SCALES_BINDING 7
#if defined(SINKS) || defined(REL_BIAS) || defined(CONSTANT_OPTIONS)
#define HAS_EXTRA
layout(std430, binding = 8) readonly buffer Extra { float extra[]; };
#endif
#include "cache.glsl"
#include "functions.glsl"

const float LOWEST = -3.0e38;
const uint GROUP = N_HEAD / N_HEAD_KV; // query heads that read one key head

/* Of the pages of a sequence. */
uint table_of(uint seq) {
    return seq * ((N_CTX + PM_PAGE - 1) / PM_PAGE);
}

/* The row of the caches that holds a position. */
uint place_of(uint table, uint pos) {
    return pages[table + pos / PM_PAGE] * PM_PAGE + pos % PM_PAGE;
}

uint position_of(uint r) {
    return min(rows[r].pos, N_CTX - 1);
}

/* A row sees positions [x, y). */
uvec2 seen_by(uint r) {
    uint mine = position_of(r);
    uint end = mine + 1, before = IS_BIDIRECTIONAL ? WINDOW / 2 : WINDOW - 1;
    if (IS_BIDIRECTIONAL) {
        end = clamp(rows[r].n_pos, 1, N_CTX);
        if (WINDOW != 0)
            end = min(end, mine + WINDOW / 2 + 1);
    }
    uint begin = WINDOW != 0 && mine > before ? mine - before : 0;
    if (IS_CHUNKED)
        begin = mine - mine % WINDOW;
    return uvec2(begin, end);
}

/* Those of a slice: whole pages but for the ends, as many in each slice; where there are none left,
 * y is 0. As slice_of() of cpu_attention.c. */
uvec2 slice_of(uint r, uint slice) {
    uvec2 seen = seen_by(r);
#ifdef SPLIT
    uint first = seen.x - seen.x % PM_PAGE, n_page = (seen.y - first + PM_PAGE - 1) / PM_PAGE;
    uint n = (n_page + N_SLICE - 1) / N_SLICE * PM_PAGE;
    seen = uvec2(max(seen.x, first + slice * n), min(seen.y, first + (slice + 1) * n));
    if (seen.x >= seen.y)
        seen = uvec2(N_CTX, 0);
#endif
    return seen;
}

/* Rows [from, to) are those of one sequence, from the row `from` on; of a slice, all of them
 * together see positions [x, y). */
uvec2 range_of(uint from, uint end, uint slice, out uint to) {
    uint seq = rows[from].seq;
    uvec2 range = slice_of(from, slice);
    for (to = from + 1; to < end && rows[to].seq == seq; to++) {
        uvec2 seen = slice_of(to, slice);
        range = uvec2(min(range.x, seen.x), max(range.y, seen.y));
    }
    return range;
}

/* Where the part of a head in a slice begins, in floats: sums of weighted values, then the largest
 * score, the sum of the weights, and two zeros. */
uint part_of(uint r, uint h, uint slice) {
    return ((r * N_HEAD + h) * N_SLICE + slice) * (HEAD_DIM_V + 4);
}

vec4 part_end(float most, float sum) {
    return vec4(sum > 0.0 ? most : 0.0, sum, 0.0, 0.0);
}

/* Of the distance to a position, in the table of biases. */
#ifdef HAS_EXTRA
uint bucket_of(uint mine, uint pos) {
    const uint N = IS_BIDIRECTIONAL ? N_BUCKET / 2 : N_BUCKET, EXACT = N / 2;
    uint skip = IS_BIDIRECTIONAL && pos > mine ? N : 0;
    uint distance = pos <= mine ? mine - pos : IS_BIDIRECTIONAL ? pos - mine : 0;
    if (distance < EXACT)
        return skip + distance;
    float octaves = log(float(distance) / float(EXACT)) / log(128.0 / float(EXACT));
    return skip + min(N - 1, EXACT + uint(octaves * float(N - EXACT) + 1.0e-4));
}
#endif

/* What becomes of a score at a position. */
float shaped(float s, uint h, uint mine, uint pos) {
    if (HAS_SOFTCAP)
        s = push.softcap * tanh_of(s / push.softcap);
    if (HAS_ALIBI) {
        uint p = 1u << findMSB(N_HEAD);
        float power = h < p ? float(h + 1) / float(p) : (float(h - p) + 0.5) / float(p);
        s -= exp2(-push.max_alibi_bias * power) * abs(float(pos) - float(mine));
    }
#ifdef HAS_EXTRA
    if (HAS_REL_BIAS)
        s += extra[bucket_of(mine, pos) * N_HEAD + h];
#endif
    return s;
}
