/* lanes_tile.glsl: as lanes.glsl, for many rows: products of LANE_R rows of x and eight rows of the
 * weight in each lane. x is read at addresses that all lanes share, so that a load is one of a
 * number, not one for every lane; nothing is exchanged, and nobody waits. A turn takes few columns:
 * longer ones were no faster, and take longer to compile.
 * before  LANE_R; N_IN, N_CHUNK, N_SCALE; types.glsl, product.glsl
 * calls   multiply(rows of x, the same for all lanes; rows of the weight; out: sums[i * LANE_O + j]
 *         of row i of x and row j of the weight) */
const uint LANE_O = 8;

void multiply(uint x_rows[LANE_R], uint w_rows[LANE_O], out float sums[LANE_R * LANE_O]) {
    [[unroll]] for (uint i = 0; i < LANE_R * LANE_O; i++)
        sums[i] = 0.0;
    [[dont_unroll]] for (uint chunk = 0; chunk < N_CHUNK; chunk++) {
        w_raw raws[LANE_O];
        [[unroll]] for (uint j = 0; j < LANE_O; j++)
            raws[j] = w_load(w_rows[j], chunk, N_CHUNK, N_SCALE);
        [[dont_unroll]] for (uint e = 0; e < W_CHUNK; e += 4) {
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
