/* levels.glsl: what levels of four bits stand for
 * w_levels_nl   of IQ4_NL and IQ4_XS: eight bits each, lowest first, in four words
 * w_level_bytes_nl  the same of four places in bytes, as signed bytes
 * w_levels_fp4  twice those of MXFP4 and NVFP4: a sign (of zero too, without meaning) above one of
 *               0 1 2 3 4 6 8 12 */
#ifndef LEVELS_GLSL
#define LEVELS_GLSL

vec4 w_levels_nl(uvec4 place) {
    bvec4 upper = notEqual(place & 8u, uvec4(0u)), odd = notEqual(place & 4u, uvec4(0u));
    uvec4 low = mix(uvec4(0xbfad9881u), uvec4(0xf6eaddcfu), odd);
    uvec4 high = mix(uvec4(0x26190d01u), uvec4(0x71594535u), odd);
    ivec4 four = ivec4(mix(low, high, upper) >> 8u * (place & 3u)) << 24;
    return vec4(four >> 24);
}

uint w_level_bytes_nl(uint places) {
    uvec4 place = (uvec4(places) >> uvec4(0u, 8u, 16u, 24u)) & 15u;
    bvec4 upper = notEqual(place & 8u, uvec4(0u)), odd = notEqual(place & 4u, uvec4(0u));
    uvec4 low = mix(uvec4(0xbfad9881u), uvec4(0xf6eaddcfu), odd);
    uvec4 high = mix(uvec4(0x26190d01u), uvec4(0x71594535u), odd);
    uvec4 four = (mix(low, high, upper) >> 8u * (place & 3u)) & 255u;
    return four.x | four.y << 8 | four.z << 16 | four.w << 24;
}

vec4 w_levels_fp4(uvec4 place) {
    ivec4 size = ivec4(uvec4(0xc8643210u) >> 4u * (place & 7u)) & 15;
    return vec4(mix(size, -size, notEqual(place & 8u, uvec4(0u))));
}

#endif
