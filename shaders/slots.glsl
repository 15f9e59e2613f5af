/* slots.glsl: which expert a row has in a slot, for kernels that take the rows one by one.
 * before  N_EXPERT, N_SLOT; HAS_ROUTE, a define: without it slot u is expert u */
#ifdef HAS_ROUTE
layout(std430, binding = 6) readonly buffer Route { float route[]; };
#endif

uint expert_of(uint r, uint slot) {
#ifdef HAS_ROUTE
    return min(uint(route[r * 2 * N_SLOT + slot]), N_EXPERT - 1);
#else
    return slot;
#endif
}
