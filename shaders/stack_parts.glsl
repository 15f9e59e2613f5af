/* stack_parts.glsl: the parts of stack.comp. A session that runs its layers as one launch puts the
 * kernels of its model here (runtime/gpu/compose.h). */
void run_part(uint part) {
}
