/* fma.comp: as many multiply-adds of fp32 as a device can do
 * shape   x [4] f32   y [n] of 4 f32
 * grid    x: WG_SIZE elements of y a workgroup, each of 32 * TURNS multiply-adds in 8 chains of 4
 * defines none   spec 0 WG_SIZE, 1 TURNS   accum f32 */
#version 450
#extension GL_EXT_control_flow_attributes : enable

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint TURNS = 1;

layout(std430, binding = 0) readonly buffer X { vec4 x; };
layout(std430, binding = 1) writeonly buffer Y { vec4 y[]; };

void main() {
    vec4 a = x, b = x.yzwx;
    vec4 sums[8];
    [[unroll]] for (int i = 0; i < 8; i++)
        sums[i] = vec4(float(gl_LocalInvocationIndex) + float(i));
    [[dont_unroll]] for (uint turn = 0; turn < TURNS; turn++)
        [[unroll]] for (int i = 0; i < 8; i++)
            sums[i] = fma(sums[i], a, b);
    vec4 sum = vec4(0.0);
    [[unroll]] for (int i = 0; i < 8; i++)
        sum += sums[i];
    y[gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex] = sum;
}
