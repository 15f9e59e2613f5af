/* subgroup_rows.glsl: sums of products in which each subgroup has rows of the weight of its own, and
 * neighbours in it read neighbouring chunks (matvec_rows, experts_rows). No barrier, no shared
 * memory, any size of subgroups.
 * before  N_CHUNK, N_SCALE, N_WEIGHT, types.glsl, product.glsl; N_PASS, a define: rows of x at once;
 *         AT_ONCE, a power of two: products an invocation may have in hand; where a chunk has more,
 *         it is taken in pieces, so that registers suffice
 * calls   multiply(rows of x; rows of the weight, the same for a subgroup; out: sums, which all of
 *         the subgroup get; out: what each row's sums are to be multiplied with)
 * order   fixed, and the same for any N_PASS */
#ifndef N_PASS
#define N_PASS 1
#endif
#ifdef W_SPAN
const uint SPAN = W_SPAN;
#else
const uint SPAN = W_CHUNK;
#endif
const uint SHARE = AT_ONCE / (N_WEIGHT * N_PASS), MOST_PIECE = SHARE < 8u ? 8u : SHARE;
const uint PIECE = MOST_PIECE < SPAN ? MOST_PIECE : SPAN; // elements of a chunk

/* Four weights, or their levels. */
vec4 levels(w_raw raw, uint e) {
#ifndef W_SPAN
    return w_four(raw, e);
#elif defined(W_SIGNED)
    int b = int(w_bytes(raw, e));
    return vec4(ivec4(bitfieldExtract(b, 0, 8), bitfieldExtract(b, 8, 8),
                      bitfieldExtract(b, 16, 8), bitfieldExtract(b, 24, 8)));
#else
    uint b = w_bytes(raw, e);
    return vec4(uvec4(b & 255u, (b >> 8) & 255u, (b >> 16) & 255u, b >> 24));
#endif
}

/* Always true, which no compiler knows: none fetches or decodes the piece before it comes to it. */
bool goes_on(uint first) {
    return MOST_PIECE >= W_CHUNK || push.first_row != PM_NONE - first;
}

/* Elements [first, first + PIECE) of a chunk. */
void add_piece(w_raw raws[N_WEIGHT], uint x_rows[N_PASS], uint chunk, uint first,
               inout float parts[N_WEIGHT][N_PASS], inout float x_sums[N_PASS],
               inout float squares[N_PASS]) {
    [[unroll]] for (uint i = 0; i < PIECE; i += 4) {
        uint e = first + i;
        vec4 xs[N_PASS];
        [[unroll]] for (uint m = 0; m < N_PASS; m++) {
            xs[m] = x_four(x_rows[m], chunk * W_CHUNK + e);
#ifdef HAS_NORM
            squares[m] += dot(xs[m], xs[m]);
#endif
#ifdef HAS_NORM_WEIGHT
            xs[m] *= norm_four(chunk * W_CHUNK + e);
#endif
            x_sums[m] += (xs[m].x + xs[m].y) + (xs[m].z + xs[m].w);
        }
        [[unroll]] for (uint k = 0; k < N_WEIGHT; k++) {
            vec4 ws = levels(raws[k], e);
            [[unroll]] for (uint m = 0; m < N_PASS; m++)
                parts[k][m] += dot(ws, xs[m]);
        }
    }
}

/* Adds what elements [first, first + SPAN) of a chunk are to each sum. */
void add_span(w_raw raws[N_WEIGHT], uint x_rows[N_PASS], uint chunk, uint first,
              inout float sums[N_WEIGHT][N_PASS], inout float squares[N_PASS]) {
    float parts[N_WEIGHT][N_PASS], x_sums[N_PASS];
    [[unroll]] for (uint m = 0; m < N_PASS; m++) {
        x_sums[m] = 0.0;
        [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
            parts[k][m] = 0.0;
    }
    [[unroll]] for (uint p = 0; p < SPAN; p += PIECE)
        if (goes_on(first + p))
            add_piece(raws, x_rows, chunk, first + p, parts, x_sums, squares);
    [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
        [[unroll]] for (uint m = 0; m < N_PASS; m++) {
#ifdef W_SPAN
            sums[k][m] += w_scale(raws[k], first) * parts[k][m];
#ifdef W_OFFSET
            sums[k][m] += w_offset(raws[k], first) * x_sums[m];
#endif
#else
            sums[k][m] += parts[k][m];
#endif
        }
}

void multiply(uint x_rows[N_PASS], uint w_rows[N_WEIGHT], out float sums[N_WEIGHT][N_PASS],
              out float scales[N_PASS]) {
    float squares[N_PASS];
    [[unroll]] for (uint m = 0; m < N_PASS; m++) {
        squares[m] = 0.0;
        [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
            sums[k][m] = 0.0;
    }
    [[dont_unroll]] for (uint chunk = gl_SubgroupInvocationID; chunk < N_CHUNK;
                         chunk += gl_SubgroupSize) {
        w_raw raws[N_WEIGHT];
        [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
            raws[k] = w_load(w_rows[k], chunk, N_CHUNK, N_SCALE);
        add_span(raws, x_rows, chunk, 0, sums, squares);
        if (SPAN < W_CHUNK)
            add_span(raws, x_rows, chunk, SPAN, sums, squares);
    }
    [[unroll]] for (uint m = 0; m < N_PASS; m++) {
        scales[m] = 1.0;
#ifdef HAS_NORM
        scales[m] = inversesqrt(subgroupAdd(squares[m]) / float(N_IN) + push.eps);
#endif
        [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
            sums[k][m] = subgroupAdd(sums[k][m]);
    }
}
