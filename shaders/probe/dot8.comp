#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_spirv_intrinsics : require
#include "dot8.glsl"
layout(local_size_x_id = 0) in;
layout(binding = 0) readonly buffer X { int x[]; };
layout(binding = 1) buffer Y { int y[]; };
layout(push_constant) uniform Push { uint n; };
void main() {
    if (gl_GlobalInvocationID.x < n)
        y[gl_GlobalInvocationID.x] = dot8(x[gl_GlobalInvocationID.x], int(0x7f80ff03));
}
