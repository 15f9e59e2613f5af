/* copy.comp: y = x, for the speed of the device's memory
 * shape   x, y [n] of 16 bytes
 * grid    y x 65535 and x: spec 1 COUNT elements an invocation, a workgroup's neighbours side by
 *         side
 * defines none   spec 0 WG_SIZE, 1 COUNT */
#version 450
#extension GL_EXT_control_flow_attributes : enable

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint COUNT = 4;

layout(std430, binding = 0) readonly buffer X { uvec4 x[]; };
layout(std430, binding = 1) writeonly buffer Y { uvec4 y[]; };

void main() {
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint first = group * WG_SIZE * COUNT + gl_LocalInvocationIndex;
    [[unroll]] for (uint i = 0; i < COUNT; i++)
        y[first + i * WG_SIZE] = x[first + i * WG_SIZE];
}
