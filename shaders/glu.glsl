/* glu.glsl: glu_of(g, u), what a gate g makes of u.
 * before  GLU_<NAME> (graph/functions.def), a define
 * source  arXiv:2002.05202 eq. 6 */
#include "functions.glsl"

#if defined(GLU_SILU)
#define GLU(g, u) silu(g) * u
#elif defined(GLU_GELU)
#define GLU(g, u) gelu(g) * u
#elif defined(GLU_RELU)
#define GLU(g, u) max(g, 0.0) * u
#elif defined(GLU_CLAMPED)
#define GLU(g, u) min(g, 7.0) * sigmoid(1.702 * min(g, 7.0)) * (clamp(u, -7.0, 7.0) + 1.0)
#elif defined(GLU_SIGMOID)
#define GLU(g, u) sigmoid(g) * u
#else
#error "no function: give it its line here"
#endif

float glu_of(float g, float u) {
    return GLU(g, u);
}
