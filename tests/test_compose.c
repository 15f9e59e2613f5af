/* ctest: quick */
/* test_compose.c: kernels as functions of one shader: names that are told apart, names that stay,
 * what a launch told them, and what is refused. That the whole computes the same is in
 * test_stack. */
#include "gpu/compose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* In main() `x` is no buffer, and `.y` no binding. */
static const char kernel[] =
    "layout(local_size_x_id = 0) in;\n"
    "layout(constant_id = 0) const uint WG_SIZE = 64;\n"
    "layout(constant_id = 1) const uint N = 1;\n"
    "struct pm_push_part { uint first; };\n"
    "layout(push_constant) uniform Push { pm_push_part push; };\n"
    "layout(std430, binding = 0) readonly buffer X { float x[]; };\n"
    "layout(std430, binding = 1) writeonly buffer Y { vec4 y[]; };\n"
    "layout(std430, binding = 2) readonly buffer Z { uint z[]; };\n"
    "float twice(float v) { float N = v; return v + N; }\n"
    "float first() { return x[push.first] + 1.5e-8; }\n"
    "void main() {\n"
    "    uvec2 x = gl_WorkGroupID.xy;\n"
    "    y[gl_LocalInvocationIndex][z[x.y]] = twice(first()) + float(x.x * N);\n"
    "}\n";

static pm__part make_part(const char *text, bool together) {
    pm__part part = {.text = strdup(text), .width = 64, .together = together};
    part.desc = (pm__pipeline_desc){.file = "kernel.comp", .spec = {64, 7}, .n_spec = 2};
    part.desc.push_bytes = 4;
    part.homes[0] = PM__HOME_ARENA;
    part.homes[1] = PM__HOME_HELD;
    part.homes[2] = PM__HOME_KEPT;
    assert_non_null(part.text);
    return part;
}

static void expect(const char *text, const char *piece) {
    if (strstr(text, piece) == NULL)
        fail_msg("'%s' is not in:\n%s", piece, text);
}

static void parts_have_names_of_their_own(void **state) {
    (void)state;
    pm__part parts[] = {make_part(kernel, false), make_part(kernel, true)};
    char *text = NULL;
    assert_int_equal(pm__compose(parts, 2, 128, &text), PM_OK);
    expect(text, "const uint p0_WG_SIZE = 64u;");
    expect(text, "const uint p1_WG_SIZE = 128u;"); /* all of a workgroup take part */
    expect(text, "const uint p0_N = 7u;");
    expect(text, "float p0_twice(float v) { float N = v; return v + N; }");
    expect(text, "return float_arena[(stack_at[0].x / 4u) + "
                 "(p0_records[stack_step].push.first)] + 1.5e-8;");
    expect(text, "uvec2 x = stack_group.xy;");
    expect(text, "vec4_held(stack_at[1]).at[(stack_me)][uint_kept(stack_at[2]).at[(x.y)]] = "
                 "p0_twice(p0_first()) + float(x.x * p0_N);");
    expect(text, "if (stack_me < 64u)\n                p0_main();");
    expect(text, "p1_main();\n            barrier();");
    free(text);
    pm__part_finish(&parts[0]);
    pm__part_finish(&parts[1]);
}

static void wide_parts_take_turns(void **state) {
    (void)state;
    pm__part part = make_part(kernel, false);
    char *text = NULL;
    assert_int_equal(pm__compose(&part, 1, 16, &text), PM_OK);
    expect(text, "for (; stack_me < 64u; stack_me += 16u)\n                p0_main();");
    free(text);
    pm__part_finish(&part);
}

static void refuse(const char *declaration, const char *why) {
    char text[sizeof kernel + 256];
    char *none = NULL;
    snprintf(text, sizeof text, "%s%s", kernel, declaration);
    pm__part part = make_part(text, false);
    assert_int_equal(pm__compose(&part, 1, 64, &none), PM_UNSUPPORTED);
    assert_null(none);
    expect(pm_last_error(), "compose: kernel.comp: ");
    expect(pm_last_error(), why);
    pm__part_finish(&part);
}

static void what_no_kernel_has_is_refused(void **state) {
    (void)state;
    refuse("layout(binding = 3) uniform texture2D t;\n", "a layout that kernels do not have");
    refuse("layout(constant_id = 2) const uint M = 1;\n", "has no value");
    refuse("layout(constant_id = 1) const float M = 1;\n", "a constant that is no uint");
    refuse("layout(std430, binding = 3) buffer A { ivec2 a[]; };\n", "buffers have float, uint");
    refuse("layout(std430, binding = 3) buffer A { uint n; uint a[]; };\n", "no one array");
    refuse("layout(std430, binding = 9) buffer A { uint a[]; };\n", "a binding past the last");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_names_of_their_own),
        cmocka_unit_test(wide_parts_take_turns),
        cmocka_unit_test(what_no_kernel_has_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
