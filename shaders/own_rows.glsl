/* own_rows.glsl: sums of products in which each lane, or each subgroup, has rows of the weight of
 * its own. lanes.glsl and subgroup_rows.glsl say how four levels are taken and added, which chunks
 * an invocation takes, and how its sums become whole; they include this.
 * before  N_CHUNK, N_SCALE, N_WEIGHT, types.glsl, product.glsl; N_PASS, a define: rows of x at
 *         once; AT_ONCE, a power of two: products an invocation may have in hand; where a chunk has
 *         more, it is taken in pieces, so that registers suffice
 * calls   multiply(rows of x; rows of the weight; out: sums; out: what each row's sums are to be
 *         multiplied with)
 * order   fixed, and the same for any N_PASS */
#ifdef W_SPAN
const uint SPAN = W_SPAN;
#else
const uint SPAN = W_CHUNK;
#endif
const uint LEAST_PIECE = N_PASS > 4 ? 4 : 8; // more rows, more of x and more sums to keep
const uint SHARE = AT_ONCE / (N_WEIGHT * N_PASS) * LEAST_PIECE / 8;
const uint MOST_PIECE = SHARE < LEAST_PIECE ? LEAST_PIECE : SHARE;
const uint PIECE = MOST_PIECE < SPAN ? MOST_PIECE : SPAN; // elements of a chunk

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
            sums[k][m] = add_scaled(w_scale(raws[k], first) * LEVEL_UNIT, parts[k][m], sums[k][m]);
#ifdef W_OFFSET
            sums[k][m] = add_scaled(w_offset(raws[k], first), x_sums[m], sums[k][m]);
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
    [[dont_unroll]] for (uint chunk = first_chunk(); chunk < N_CHUNK; chunk = next_chunk(chunk)) {
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
        scales[m] = inversesqrt(total(squares[m]) / float(N_IN) + push.eps);
#endif
        [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
            sums[k][m] = total(sums[k][m]);
    }
}
