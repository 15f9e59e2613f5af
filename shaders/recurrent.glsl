/* recurrent.glsl: what kernels share that carry something from row to row. Rows of one sequence are
 * neighbours in a step, in order of position: a run. A state is read where a run begins and written
 * where it ends, by the same invocation.
 * before   the block Rows { head, rows }; WG_SIZE
 * calls    run_first, run_length; softplus, sigmoid; lanes_add, with HAS_LANES and N_LANE */

/* Elements at ARRAY[AT ..], which are S .. S + 3 of N; zeros past N. ARRAY##4 is the same memory in
 * fours, which is used where FOURS, and never where N or AT is no multiple of four. */
#define LOAD_FOUR(ARRAY, FOURS, AT, S, N)                                                          \
    ((FOURS) ? ((S) < (N) ? ARRAY##4 [(AT) / 4] : vec4(0.0))                                       \
             : vec4((S) < (N) ? ARRAY[AT] : 0.0, (S) + 1 < (N) ? ARRAY[(AT) + 1] : 0.0,            \
                    (S) + 2 < (N) ? ARRAY[(AT) + 2] : 0.0, (S) + 3 < (N) ? ARRAY[(AT) + 3] : 0.0))

/* A state counts as zeros at position 0. */
#define LOAD_STATE(FOURS, AT, S, N, POS)                                                           \
    ((POS) == 0 ? vec4(0.0) : LOAD_FOUR(state, FOURS, AT, S, N))

#define STORE_STATE(FOURS, AT, S, N, V)                                                            \
    if (FOURS) {                                                                                   \
        if ((S) < (N))                                                                             \
            state4[(AT) / 4] = V;                                                                  \
    } else {                                                                                       \
        if ((S) < (N))                                                                             \
            state[AT] = (V).x;                                                                     \
        if ((S) + 1 < (N))                                                                         \
            state[(AT) + 1] = (V).y;                                                               \
        if ((S) + 2 < (N))                                                                         \
            state[(AT) + 2] = (V).z;                                                               \
        if ((S) + 3 < (N))                                                                         \
            state[(AT) + 3] = (V).w;                                                               \
    }

/* First row of the i-th run of the step. */
uint run_first(uint i) {
    uint r = 0;
    for (; i > 0; i--)
        r += rows[r].n_pos - rows[r].pos;
    return r;
}

uint run_length(uint first) {
    return rows[first].n_pos - rows[first].pos;
}

float sigmoid(float x) {
    return 1.0 / (1.0 + exp(-x));
}

/* log(1 + e) for e = exp(-|x|) as 2 artanh(e / (2 + e)): a device's log has no good digits near 1.
 */
float softplus(float x) {
    float e = exp(-abs(x)), z = e / (2.0 + e), zz = z * z;
    float sum = 1.0 / 13.0;
    sum = sum * zz + 1.0 / 11.0;
    sum = sum * zz + 1.0 / 9.0;
    sum = sum * zz + 1.0 / 7.0;
    sum = sum * zz + 1.0 / 5.0;
    sum = sum * zz + 1.0 / 3.0;
    sum = sum * zz + 1.0;
    return max(x, 0.0) + 2.0 * z * sum;
}

#ifdef HAS_LANES
/* Sum over the N_LANE neighbours that share a column. `turn` counts the calls, so that one barrier
 * is enough: what a call reads is written again two calls later. */
shared vec4 lane_parts[2 * WG_SIZE];

vec4 lanes_add(vec4 mine, uint turn) {
    uint me = gl_LocalInvocationIndex, at = (turn & 1u) * WG_SIZE;
    lane_parts[at + me] = mine;
    barrier();
    at += me - me % N_LANE;
    vec4 all = lane_parts[at];
    for (uint i = 1; i < N_LANE; i++)
        all += lane_parts[at + i];
    return all;
}
#endif
