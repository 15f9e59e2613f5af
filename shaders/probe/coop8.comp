#version 450
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint M = 16;
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;
layout(binding = 1) buffer Y { int y[]; };
void main() {
    coopmat<int8_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a =
        coopmat<int8_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>(int8_t(-5));
    coopmat<int8_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b =
        coopmat<int8_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>(int8_t(100));
    coopmat<int, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> c =
        coopmat<int, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(7);
    if (gl_WorkGroupID.x == 0)
        coopMatStore(coopMatMulAdd(a, b, c), y, 0, N, gl_CooperativeMatrixLayoutRowMajor);
}
