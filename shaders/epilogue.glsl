/* epilogue.glsl: what becomes of a finished sum of a product: * scale of the weight + bias[o] +
 * residual[r, o], each if its define is set.
 * before  N_OUT; HAS_SCALE, HAS_BIAS, HAS_RESIDUAL, defines */
#ifdef HAS_SCALE
layout(std430, binding = 7) readonly buffer Scale { float w_scale_all[]; };
#endif
#ifdef HAS_BIAS
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
#endif
#ifdef HAS_RESIDUAL
layout(std430, binding = 5) readonly buffer Residual { float residual[]; };
#endif

float epilogue(float sum, uint r, uint o) {
#ifdef HAS_SCALE
    sum *= w_scale_all[0];
#endif
#ifdef HAS_BIAS
    sum += bias[o];
#endif
#ifdef HAS_RESIDUAL
    sum += residual[r * N_OUT + o];
#endif
    return sum;
}
