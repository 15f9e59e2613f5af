/* matmul_coop.glsl: what products with matrix units share, all but how sums are written:
 * invocations bring tiles of x and of the weight to shared memory as halves, 32 columns at a time,
 * the next of which are fetched meanwhile; each of SUBS_R x SUBS_O parties makes MR x MO matrices M
 * x N of y
 * before  the extensions of the kernel; SCOPE, of matrices; EXPERTS
 * after   write_sums()
 * defines W_<TYPE>; all else is a constant or pushed, so that there is one SPIR-V file a type
 *         spec 0 WG_SIZE, 1 TILE_R, 2 TILE_O, 3 M, 4 N, 5 K, 6 SUBS_R, 7 SUBS_O (parties along rows
 *         and outputs), 8 BUFFERS
 * x is taken 16 times, then rounded. Rows whose largest element is not in f16's middle (above 2048,
 * below 1/32), and weights past 65504, are found on the way: then there is a second pass, with such
 * rows, or the tile's weights, taken by another power of two, so that nothing finite overflows, and
 * no row vanishes */
#define PM_GLSL
#include "params_coop.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint TILE_R = 64;
layout(constant_id = 2) const uint TILE_O = 128;
layout(constant_id = 3) const uint M = 16;
layout(constant_id = 4) const uint N = 16;
layout(constant_id = 5) const uint K = 16;
layout(constant_id = 6) const uint SUBS_R = 2;
layout(constant_id = 7) const uint SUBS_O = 2;
layout(constant_id = 8) const uint BUFFERS = 2;

layout(push_constant) uniform Push { pm_push_coop push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, binding = 5) readonly buffer Residual { float residual[]; };
layout(std430, binding = 5) readonly buffer Groups { float groups[]; }; // of experts
layout(std430, binding = 6) readonly buffer Rows { uint head_n_row, head_n_out; };
layout(std430, binding = 7) readonly buffer Scale { float w_scale_all[]; };

const uint MR = TILE_R / M / SUBS_R, MO = TILE_O / N / SUBS_O;
const uint TILE_C = 32, STRIDE = TILE_C / 8 + 1; // in uvec4; one more, so that banks are spread
const uint X_TURNS = TILE_R * (TILE_C / 4) / WG_SIZE, W_CHUNKS = TILE_C / W_CHUNK;
const uint W_TURNS = TILE_O * W_CHUNKS / WG_SIZE;
const uint NONE = 0xffffffffu;
const float X_SCALE = 16.0, X_MOST = 2048.0, X_LEAST = 0.03125, W_MOST = 65504.0;

shared uvec4 x_tile[BUFFERS * TILE_R * STRIDE];
shared uvec4 w_tile[BUFFERS * TILE_O * STRIDE];
shared uint peaks[TILE_R + 1]; // of rows, then of weights; bits of floats
shared float scales[TILE_R + 1];
shared uint n_wild;

coopmat<float, SCOPE, M, N, gl_MatrixUseAccumulator> sums[MR * MO];
uint n_r, first_r, first_o, expert, x_rows[X_TURNS];
vec4 x_next[X_TURNS];
w_raw w_next[W_TURNS];
float x_peaks[X_TURNS], weights_peak, weights_scale;

uvec2 to_halves(vec4 v) {
    return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
}

/* Row of the tile, and its four columns, that this invocation fetches in a turn. */
uint x_row(uint turn) {
    return (turn * WG_SIZE + gl_LocalInvocationIndex) / (TILE_C / 4);
}

/* Row of y of a row of the tile, NONE past the last. */
uint y_row_of(uint tile_r) {
    uint r = first_r + tile_r;
    if (r >= n_r)
        return NONE;
    if (EXPERTS == 0)
        return r;
    if ((push.options & 2u) == 0u)
        return r * push.n_slot + expert;
    float place = groups[r * push.n_expert + expert];
    return place < 0.0 ? NONE : uint(place);
}

uint x_row_of(uint y_row) {
    return EXPERTS == 0 || push.x_slots != 1 || y_row == NONE ? y_row : y_row / push.n_slot;
}

/* Row of the bound part of the weight; push.n_row or more if it is in another. */
uint w_row_of(uint o) {
    return EXPERTS == 0 ? o : expert * push.n_out + o - push.first_row;
}

/* Whether the part has any output of the workgroup. */
bool has_outputs() {
    if (EXPERTS == 0)
        return first_o < push.n_row;
    uint begin = expert * push.n_out + first_o;
    uint end = expert * push.n_out + min(first_o + TILE_O, push.n_out);
    return begin < push.first_row + push.n_row && end > push.first_row;
}

vec4 x_four(uint r, uint c) {
    vec4 four = vec4(0.0);
    if (r != NONE) {
        uint at = r * push.n_in + c;
        if (push.n_in % 4 == 0) {
            if (c < push.n_in)
                four = x4[at / 4];
        } else {
            for (uint i = 0; i < 4; i++)
                if (c + i < push.n_in)
                    four[i] = x[at + i];
        }
    }
    return four;
}

/* Past the last row or chunk any weight does: there x is zero, or nothing is written. */
void fetch(uint first_c) {
    [[unroll]] for (uint t = 0; t < X_TURNS; t++)
        x_next[t] = x_four(EXPERTS == 0 ? y_row_of(x_row(t)) : x_rows[t],
                           first_c + gl_LocalInvocationIndex % (TILE_C / 4) * 4);
    [[unroll]] for (uint t = 0; t < W_TURNS; t++) {
        uint i = t * WG_SIZE + gl_LocalInvocationIndex;
        w_next[t] = w_load(min(w_row_of(first_o + i / W_CHUNKS), push.n_row - 1),
                           min(first_c / W_CHUNK + i % W_CHUNKS, push.n_chunk - 1), push.n_chunk,
                           push.n_scale);
    }
}

float most(vec4 v) {
    v = abs(v);
    return max(max(v.x, v.y), max(v.z, v.w));
}

/* Eight weights as halves, and their peak. F16 weights are what they are. */
uvec4 w_eight(w_raw raw, uint e) {
#ifdef W_F16
    return raw.q;
#else
    vec4 a = w_four(raw, e), b = w_four(raw, e + 4);
    weights_peak = max(weights_peak, max(most(a), most(b)));
    return uvec4(to_halves(a * weights_scale), to_halves(b * weights_scale));
#endif
}

void put_w(uint buf) {
    [[unroll]] for (uint t = 0; t < W_TURNS; t++) {
        uint i = t * WG_SIZE + gl_LocalInvocationIndex;
        uint at = (buf * TILE_O + i / W_CHUNKS) * STRIDE + i % W_CHUNKS * (W_CHUNK / 8);
        [[unroll]] for (uint e = 0; e < W_CHUNK; e += 8)
            w_tile[at + e / 8] = w_eight(w_next[t], e);
    }
}

void put_x(uint buf, uint turn, float scale) {
    uint part = gl_LocalInvocationIndex % (TILE_C / 4);
    uvec2 halves = to_halves(x_next[turn] * scale);
    uint at = (buf * TILE_R + x_row(turn)) * STRIDE + part / 2;
    x_tile[at][part % 2 * 2] = halves.x;
    x_tile[at][part % 2 * 2 + 1] = halves.y;
}

/* Power of two that brings a peak to between 2^14 and 2^15. */
float scale_of(float peak) {
    uint exponent = floatBitsToUint(peak) >> 23;
    return uintBitsToFloat(min(268u - min(exponent, 254u), 227u) << 23);
}

float inverse(float scale) {
    return uintBitsToFloat((254u - (floatBitsToUint(scale) >> 23)) << 23);
}

/* Chooses the scales of what needs one; whether anything does. */
bool find_wild() {
    [[unroll]] for (uint t = 0; t < X_TURNS; t++)
        atomicMax(peaks[x_row(t)], floatBitsToUint(x_peaks[t]));
    atomicMax(peaks[TILE_R], floatBitsToUint(weights_peak));
    barrier();
    for (uint r = gl_LocalInvocationIndex; r <= TILE_R; r += WG_SIZE) {
        float peak = uintBitsToFloat(peaks[r]);
        if (peak > (r < TILE_R ? X_MOST : W_MOST) ||
            (r < TILE_R && peak < X_LEAST && peak > 0.0)) {
            scales[r] = scale_of(peak);
            n_wild = 1u;
        }
    }
    barrier();
    return n_wild > 0u;
}

float epilogue(float sum, uint r, uint o) {
    if ((push.options & 4u) != 0u)
        sum *= w_scale_all[expert];
    if ((push.options & 1u) != 0u)
        sum += bias[expert * push.n_out + o];
    if (EXPERTS == 0 && (push.options & 2u) != 0u)
        sum += residual[r * push.n_out + o];
    return sum;
}

/* Of a row and an output of the tile. */
void write_sum(float sum, uint tile_r, uint tile_o) {
    uint r = y_row_of(tile_r), part_o = first_o + tile_o;
    uint o = EXPERTS == 0 ? push.first_row + part_o : part_o;
    if (r != NONE && o < push.n_out && w_row_of(part_o) < push.n_row) {
        sum = sum * inverse(scales[tile_r]) * inverse(weights_scale);
        y[r * push.n_out + o] = epilogue(sum, r, o);
    }
}

/* The matrices of the party whose rows and outputs begin there in the tile. */
void write_sums(uint my_r, uint my_o);

void main() {
    n_r = push.outs == 0 ? head_n_row : head_n_out;
    first_r = gl_WorkGroupID.y * TILE_R;
    expert = EXPERTS == 0 ? 0 : gl_WorkGroupID.z;
    first_o = EXPERTS == 0 ? (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * TILE_O
                           : gl_WorkGroupID.x * TILE_O;
    uint party = SCOPE == gl_ScopeSubgroup ? gl_SubgroupID : 0;
    uint my_r = party / SUBS_O * MR * M, my_o = party % SUBS_O * MO * N;
    uint n_step = (push.n_in + TILE_C - 1) / TILE_C;
    if (!has_outputs() || (EXPERTS != 0 && y_row_of(0) == NONE))
        return;
    [[unroll]] for (uint t = 0; t < X_TURNS; t++)
        x_rows[t] = x_row_of(y_row_of(x_row(t)));
    for (uint r = gl_LocalInvocationIndex; r <= TILE_R; r += WG_SIZE) {
        peaks[r] = 0u;
        scales[r] = r < TILE_R ? X_SCALE : 1.0;
    }
    n_wild = 0u;
    barrier();
    [[dont_unroll]] for (uint pass = 0; pass < 2; pass++) {
        float x_scales[X_TURNS];
        [[unroll]] for (uint t = 0; t < X_TURNS; t++) {
            x_peaks[t] = 0.0;
            x_scales[t] = scales[x_row(t)];
        }
        weights_peak = 0.0;
        weights_scale = scales[TILE_R];
        [[unroll]] for (uint i = 0; i < MR * MO; i++)
            sums[i] = coopmat<float, SCOPE, M, N, gl_MatrixUseAccumulator>(0.0);
        fetch(0);
        [[dont_unroll]] for (uint s = 0; s < n_step; s++) {
            uint buf = BUFFERS > 1 ? s & 1u : 0u;
            [[unroll]] for (uint t = 0; t < X_TURNS; t++) {
                x_peaks[t] = max(x_peaks[t], most(x_next[t]));
                put_x(buf, t, x_scales[t]);
            }
            put_w(buf);
            barrier();
            if (s + 1 < n_step)
                fetch((s + 1) * TILE_C);
            [[dont_unroll]] for (uint k = 0; k < TILE_C / K; k++) {
                coopmat<float16_t, SCOPE, M, K, gl_MatrixUseA> a[MR];
                [[unroll]] for (uint i = 0; i < MR; i++)
                    coopMatLoad(a[i], x_tile, (buf * TILE_R + my_r + i * M) * STRIDE + k * K / 8,
                                STRIDE, gl_CooperativeMatrixLayoutRowMajor);
                [[unroll]] for (uint j = 0; j < MO; j++) {
                    coopmat<float16_t, SCOPE, K, N, gl_MatrixUseB> b;
                    coopMatLoad(b, w_tile, (buf * TILE_O + my_o + j * N) * STRIDE + k * K / 8,
                                STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
                    [[unroll]] for (uint i = 0; i < MR; i++)
                        sums[j * MR + i] = coopMatMulAdd(a[i], b, sums[j * MR + i]);
                }
            }
            if (BUFFERS == 1)
                barrier();
        }
        if (pass == 1 || !find_wild())
            break;
    }
    write_sums(my_r, my_o);
}
