#version 450
#extension GL_KHR_shader_subgroup_arithmetic : require
layout(binding = 0) buffer Y { float y; };
void main() { y = subgroupAdd(y); }
