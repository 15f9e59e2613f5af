/* experts.glsl: what products with experts share: which outputs of an expert a part of the weight
 * has, and what is done with a finished sum.
 * before  N_OUT, push (pm_push_part); HAS_BIAS, HAS_SCALE, defines */
#ifdef HAS_BIAS
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
#endif
#ifdef HAS_SCALE
layout(std430, binding = 5) readonly buffer ExpertScale { float expert_scale[]; };
#endif

/* Row of the bound part; push.n_row or more if it is in another. */
uint row_in_part(uint expert, uint o) {
    return expert * N_OUT + o - push.first_row;
}

/* Whether the part has any of n outputs of the expert from `first` on. */
bool in_part(uint expert, uint first, uint n) {
    uint begin = expert * N_OUT + first, end = expert * N_OUT + min(first + n, N_OUT);
    return begin < end && begin < push.first_row + push.n_row && end > push.first_row;
}

float epilogue(float sum, uint expert, uint o) {
#ifdef HAS_SCALE
    sum *= expert_scale[expert];
#endif
#ifdef HAS_BIAS
    sum += bias[expert * N_OUT + o];
#endif
    return sum;
}
