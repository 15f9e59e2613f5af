/* product.glsl: what kernels of products that can be normed or gated share.
 * before  N_IN, W_CHUNK, buffers x and x4; HAS_NORM, HAS_NORM_WEIGHT, GATED and GLU_<NAME>, defines
 * calls   x_four(r, c): four elements of row r of x from element c on, c a multiple of 4; zeros
 *         past its end
 *         norm_four(c): the weights of the norm for them, with HAS_NORM_WEIGHT
 *         N_SIDE: 2 where there is a gate, else 1 */
#ifdef GATED
#include "glu.glsl"
const uint N_SIDE = 2; // gate and up
#else
const uint N_SIDE = 1;
#endif

vec4 x_four(uint r, uint c) {
    vec4 four = vec4(0.0);
    if (N_IN % W_CHUNK == 0) {
        four = x4[(r * N_IN + c) / 4];
    } else {
        for (uint i = 0; i < 4; i++)
            if (c + i < N_IN)
                four[i] = x[r * N_IN + c + i];
    }
    return four;
}

#ifdef HAS_NORM_WEIGHT
layout(std430, binding = 5) readonly buffer NormWeight { float norm_weight[]; };
layout(std430, binding = 5) readonly buffer NormWeight4 { vec4 norm_weight4[]; };

vec4 norm_four(uint c) {
    vec4 four = vec4(0.0);
    if (N_IN % W_CHUNK == 0) {
        four = norm_weight4[c / 4];
    } else {
        for (uint i = 0; i < 4; i++)
            if (c + i < N_IN)
                four[i] = norm_weight[c + i];
    }
    return four;
}
#endif
