#version 450
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int32 : require
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint M = 16;
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;
layout(constant_id = 4) const int SCOPE = 3;
layout(binding = 1) buffer Y { float y[]; };

float write_one(const in uint32_t row, const in uint32_t column, const in float sum) {
    y[row * N + column] = sum + float(row * N + column);
    return sum;
}

void main() {
    coopmat<float16_t, SCOPE, M, K, gl_MatrixUseA> a =
        coopmat<float16_t, SCOPE, M, K, gl_MatrixUseA>(0.5);
    coopmat<float16_t, SCOPE, K, N, gl_MatrixUseB> b =
        coopmat<float16_t, SCOPE, K, N, gl_MatrixUseB>(6.0);
    coopmat<float, SCOPE, M, N, gl_MatrixUseAccumulator> c =
        coopmat<float, SCOPE, M, N, gl_MatrixUseAccumulator>(7.0);
    c = coopMatMulAdd(a, b, c);
    if (gl_WorkGroupID.x == 0)
        coopMatPerElementNV(c, c, write_one);
}
