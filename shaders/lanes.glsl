/* lanes.glsl: sums of products in which each lane has rows of the weight of its own (matvec_lanes,
 * experts_lanes).
 * before  N_CHUNK, N_SCALE, N_WEIGHT, types.glsl, product.glsl; N_PASS, a define: rows of x at once
 * calls   multiply(rows of x, the same for all lanes; rows of the weight; out: sums; out: what each
 *         row's sums are to be multiplied with)
 * order   fixed, and the same for any N_PASS */
#ifndef N_PASS
#define N_PASS 1
#endif
#ifdef W_SPAN
const uint SPAN = W_SPAN;
#else
const uint SPAN = W_CHUNK;
#endif

/* Products of four weights and of four x, added to a sum. */
float add_products(vec4 ws, vec4 xs, float sum) {
    return fma(ws.x, xs.x, fma(ws.y, xs.y, fma(ws.z, xs.z, fma(ws.w, xs.w, sum))));
}

/* Four weights; with W_SPAN 2^24 times their levels, bytes being left where a conversion sees their
 * signs. */
vec4 levels(w_raw raw, uint e) {
#ifdef W_SPAN
    uint b = w_bytes(raw, e);
    return vec4(ivec4(b << 24, (b << 16) & 0xff000000u, (b << 8) & 0xff000000u, b & 0xff000000u));
#else
    return w_four(raw, e);
#endif
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
    [[unroll]] for (uint i = 0; i < SPAN; i += 4) {
        uint e = first + i;
        vec4 xs[N_PASS];
        [[unroll]] for (uint m = 0; m < N_PASS; m++) {
            xs[m] = x_four(x_rows[m], chunk * W_CHUNK + e);
#ifdef HAS_NORM
            squares[m] = add_products(xs[m], xs[m], squares[m]);
#endif
#ifdef HAS_NORM_WEIGHT
            xs[m] *= norm_four(chunk * W_CHUNK + e);
#endif
            x_sums[m] += (xs[m].x + xs[m].y) + (xs[m].z + xs[m].w);
        }
        [[unroll]] for (uint k = 0; k < N_WEIGHT; k++) {
            vec4 ws = levels(raws[k], e);
            [[unroll]] for (uint m = 0; m < N_PASS; m++)
                parts[k][m] = add_products(ws, xs[m], parts[k][m]);
        }
    }
    [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
        [[unroll]] for (uint m = 0; m < N_PASS; m++) {
#ifdef W_SPAN
            float unit = w_scale(raws[k], first) * 5.9604644775390625e-8; // 2^-24
            sums[k][m] = fma(unit, parts[k][m], sums[k][m]);
#ifdef W_OFFSET
            sums[k][m] = fma(w_offset(raws[k], first), x_sums[m], sums[k][m]);
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
    [[dont_unroll]] for (uint chunk = 0; chunk < N_CHUNK; chunk++) {
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
        scales[m] = inversesqrt(squares[m] / float(N_IN) + push.eps);
#endif
    }
}
