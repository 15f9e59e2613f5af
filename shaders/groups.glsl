/* groups.glsl: which rows an expert has, for kernels that take the rows of an expert together.
 * before  N_EXPERT, N_SLOT, head; HAS_ROUTE, a define: without it slot u is expert u */
#ifdef HAS_ROUTE
layout(std430, binding = 6) readonly buffer Groups { float groups[]; };
#endif

/* Row of y of the ith row of an expert; PM_NONE past its last. */
uint place_of(uint i, uint expert) {
    if (i >= head.n_row)
        return PM_NONE;
#ifdef HAS_ROUTE
    float place = groups[i * N_EXPERT + expert];
    return place < 0.0 ? PM_NONE : uint(place);
#else
    return i * N_SLOT + expert;
#endif
}
