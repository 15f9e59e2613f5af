/* tile.glsl: a product of TILE_R rows of x and 64 rows of a weight by a workgroup of 128. Turns of
 * 32 columns go through shared memory, column after column, so that an invocation reads four rows
 * of one side at once; what the next turn needs is on its way while this one is multiplied.
 * before  TILE_R (32 or 64), a define; N_IN, N_CHUNK, N_SCALE; push.n_row; types.glsl,
 *         product.glsl; tile_x_row(i), row of x that is row i of the tile, PM_NONE past the last;
 *         tile_w_row(j), row of the bound part of the weight, push.n_row or more for zeros
 * calls   tile_multiply(out: sums[i] of row tile_r(i) and outputs tile_o() to tile_o() + 3)
 * banks   of a column c, four rows that belong together are at place (row / 4) ^ (c / 4): neither
 *         writing nor reading has two invocations at one bank */
const uint TILE_THREADS = 128, TILE_O = 64, TILE_C = 32, TILE_SUMS = TILE_R / 8;
const uint PIECE = min(W_CHUNK, 16u), PIECES = TILE_C / PIECE; // of a row of the weight
const uint X_LOADS = TILE_R / 16, W_LOADS = PIECES / 2;         // of an invocation a turn

shared vec4 x_tile[TILE_C * TILE_R / 4];
shared vec4 w_tile[TILE_C * TILE_O / 4];

uint tile_r(uint i) {
    return i / 4 * 32 + gl_LocalInvocationIndex / 16 * 4 + i % 4;
}

uint tile_o() {
    return gl_LocalInvocationIndex % 16 * 4;
}

vec4 tile_x_load(uint row, uint c) {
    return row != PM_NONE && c < N_IN ? x_four(row, c) : vec4(0.0);
}

w_raw tile_w_load(uint row, uint c) {
    return w_load(min(row, push.n_row - 1), min(c / W_CHUNK, N_CHUNK - 1), N_CHUNK, N_SCALE);
}

void tile_multiply(out vec4 sums[TILE_SUMS]) {
    uint me = gl_LocalInvocationIndex;
    uint my_c = me % 8 * 4, my_piece = me % PIECES;
    uint my_r = me / 16, my_o = me % 16; // of four rows each
    uint x_rows[X_LOADS], w_rows[W_LOADS];
    vec4 xs[X_LOADS];
    w_raw raws[W_LOADS];
    bool idle = tile_x_row(tile_r(0)) == PM_NONE; // as whole subgroups are where rows are few
    [[unroll]] for (uint j = 0; j < X_LOADS; j++) {
        x_rows[j] = tile_x_row(me / 8 + 16 * j);
        xs[j] = tile_x_load(x_rows[j], my_c);
    }
    [[unroll]] for (uint j = 0; j < W_LOADS; j++) {
        w_rows[j] = tile_w_row(me / PIECES + TILE_THREADS / PIECES * j);
        raws[j] = tile_w_load(w_rows[j], my_piece * PIECE);
    }
    [[unroll]] for (uint i = 0; i < TILE_SUMS; i++)
        sums[i] = vec4(0.0);
    [[dont_unroll]] for (uint first_c = 0; first_c < N_IN; first_c += TILE_C) {
        barrier();
        [[unroll]] for (uint j = 0; j < X_LOADS; j++)
            [[unroll]] for (uint k = 0; k < 4; k++) {
                uint r = me / 8 + 16 * j;
                x_tile[(my_c + k) * (TILE_R / 4) + (r / 4 ^ my_c / 4)][r % 4] = xs[j][k];
            }
        [[unroll]] for (uint j = 0; j < W_LOADS; j++) {
            uint o = me / PIECES + TILE_THREADS / PIECES * j;
            bool inside = w_rows[j] < push.n_row && first_c + my_piece * PIECE < N_CHUNK * W_CHUNK;
            [[unroll]] for (uint e = 0; e < PIECE; e += 4) {
                uint c = my_piece * PIECE + e;
                vec4 ws = inside ? w_four(raws[j], c % W_CHUNK) : vec4(0.0);
                [[unroll]] for (uint k = 0; k < 4; k++)
                    w_tile[(c + k) * (TILE_O / 4) + (o / 4 ^ c / 4)][o % 4] = ws[k];
            }
        }
        barrier();
        [[unroll]] for (uint j = 0; j < X_LOADS; j++)
            xs[j] = tile_x_load(x_rows[j], first_c + TILE_C + my_c);
        [[unroll]] for (uint j = 0; j < W_LOADS; j++)
            raws[j] = tile_w_load(w_rows[j], first_c + TILE_C + my_piece * PIECE);
        [[dont_unroll]] for (uint q = idle ? TILE_C / 4 : 0; q < TILE_C / 4; q++)
            [[unroll]] for (uint k = 0; k < 4; k++) {
                vec4 ws = w_tile[(4 * q + k) * (TILE_O / 4) + (my_o ^ q)];
                [[unroll]] for (uint i = 0; i < TILE_SUMS; i += 4) {
                    vec4 four = x_tile[(4 * q + k) * (TILE_R / 4) + i * 2 + (my_r ^ q)];
                    [[unroll]] for (uint n = 0; n < 4; n++)
                        sums[i + n] += four[n] * ws;
                }
            }
    }
}
