/* dot8.glsl: dot8(a, b): the sum of the products of four pairs of signed 8-bit integers, the lowest
 * in bits 0 to 7. OpSDotKHR by its number: compilers older than GL_EXT_integer_dot_product know
 * that.
 * before  #extension GL_EXT_spirv_intrinsics : require */
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019],
                  id = 4450)
int dot8_packed(int a, int b, spirv_literal int format);

int dot8(int a, int b) {
    return dot8_packed(a, b, 0);
}
