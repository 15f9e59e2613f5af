/* matmul_coop.comp: y[r,o] = sum_c w[o,c] * x[r,c] * scale + bias[o] + residual[r,o], for many
 *         rows, with matrix units through matrices of a subgroup; or, with EXPERTS, y[r,u,o] =
 *         (sum_c w[e,o,c] * x[r,u,c]) * scale[e] + bias[e,o] with e the u-th expert of row r
 * shape   x [rows, n_in] f32   y [rows, n_out] f32
 *         w [n_out, n_in], rows [first_row, first_row + n_row) of it bound; any type but F32
 *         EXPERTS: as experts_matmul.comp has it
 * grid    x and z: TILE_O outputs a workgroup; y: TILE_R rows. EXPERTS: y: TILE_R rows of an
 *         expert; z: experts; those past the rows of their expert, or of another part, end at once
 * defines those of matmul_coop.glsl   spec 9 EXPERTS
 * accum   f32 sums of products of f16; in a second pass where some overflow or vanish
 * checked tests rows matmul_coop against cpu_matmul, experts_coop against cpu_experts_matmul, NMSE
 *         1e-5 (factors of 11 bits) */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define SCOPE gl_ScopeSubgroup
layout(constant_id = 9) const uint EXPERTS = 0;
#include "matmul_coop.glsl"

shared float y_tile[SUBS_R * SUBS_O * M * N];

/* A matrix of y from y_tile, where its subgroup has put it. */
void write_y(uint from, uint tile_r, uint tile_o) {
    [[dont_unroll]] for (uint i = gl_SubgroupInvocationID; i < M * N; i += gl_SubgroupSize)
        write_sum(y_tile[from + i], tile_r + i / N, tile_o + i % N);
}

void write_sums(uint my_r, uint my_o) {
    uint from = gl_SubgroupID * M * N;
    /* A loop around another is not unrolled, and matrices whose number is no constant are not kept
     * in registers. */
    [[dont_unroll]] for (uint n = 0; n < MR * MO; n++) {
        subgroupBarrier();
        [[unroll]] for (uint i = 0; i < MR * MO; i++)
            if (i == n)
                coopMatStore(sums[i], y_tile, from, N, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        write_y(from, my_r + n % MR * M, my_o + n / MR * N);
    }
}
