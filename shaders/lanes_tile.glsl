/* lanes_tile.glsl: as lanes.glsl, for many rows: products of LANE_R rows of x and eight rows of the
 * weight in each lane. x is read at addresses that all lanes share, so that a load is one of a
 * number, not one for every lane; nothing is exchanged, and nobody waits. A turn takes the fewer
 * columns the more rows there are: longer ones take longer to compile, and help where decoding is
 * most of it.
 * before  LANE_R; N_IN, N_CHUNK, N_SCALE; types.glsl, product.glsl
 * calls   multiply(rows of x, the same for all lanes; rows of the weight; out: sums[i * LANE_O + j]
 *         of row i of x and row j of the weight) */
const uint LANE_O = 8;
const uint MOST_TURN = LANE_R > 4 ? 4 : LANE_R > 2 ? 8 : LANE_R > 1 ? 16 : 32;
const uint TURN = MOST_TURN < W_CHUNK ? MOST_TURN : W_CHUNK; // columns

void multiply(uint x_rows[LANE_R], uint w_rows[LANE_O], out float sums[LANE_R * LANE_O]) {
    [[unroll]] for (uint i = 0; i < LANE_R * LANE_O; i++)
        sums[i] = 0.0;
    [[dont_unroll]] for (uint chunk = 0; chunk < N_CHUNK; chunk++) {
        w_raw raws[LANE_O];
        [[unroll]] for (uint j = 0; j < LANE_O; j++)
            raws[j] = w_load(w_rows[j], chunk, N_CHUNK, N_SCALE);
        [[dont_unroll]] for (uint first = 0; first < W_CHUNK; first += TURN)
            [[unroll]] for (uint t = 0; t < TURN; t += 4) {
                uint e = first + t;
                vec4 ws[LANE_O];
                [[unroll]] for (uint j = 0; j < LANE_O; j++)
                    ws[j] = w_four(raws[j], e);
                [[unroll]] for (uint i = 0; i < LANE_R; i++) {
                    vec4 xs = x_four(x_rows[i], chunk * W_CHUNK + e);
                    [[unroll]] for (uint j = 0; j < LANE_O; j++)
                        [[unroll]] for (uint k = 0; k < 4; k++)
                            sums[i * LANE_O + j] += ws[j][k] * xs[k];
                }
            }
    }
}
