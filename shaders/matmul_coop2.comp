/* matmul_coop2.comp: y[r,o] = sum_c w[o,c] * x[r,c] * scale + bias[o] + residual[r,o], for many
 *         rows, with matrix units through matrices of any size, of which the workgroup shares one
 *         where the driver has such, and each of its subgroups has one where it has not
 * shape   x [rows, n_in] f32   y [rows, n_out] f32
 *         w [n_out, n_in], rows [first_row, first_row + n_row) of it bound; any type but F32
 * grid    x and z: TILE_O outputs a workgroup; y: TILE_R rows
 * defines those of matmul_coop.glsl   spec 9 SCOPE, 2 workgroup or 3 subgroup. M = TILE_R / SUBS_R,
 *         N = TILE_O / SUBS_O
 * accum   f32 sums of products of f16; in a second pass where some overflow or vanish
 * checked tests row matmul_coop2 against cpu_matmul, NMSE 1e-5 (factors of 11 bits) */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int32 : require
layout(constant_id = 9) const int SCOPE = 3;
const uint EXPERTS = 0;
#include "matmul_coop.glsl"

float write_one(const in uint32_t row, const in uint32_t column, const in float sum,
                const in uint32_t my_r, const in uint32_t my_o) {
    write_sum(sum, my_r + row, my_o + column);
    return sum;
}

void write_sums(uint my_r, uint my_o) {
    coopMatPerElementNV(sums[0], sums[0], write_one, my_r, my_o);
}
