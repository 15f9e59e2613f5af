/* ctest: quick */
/* test_spirv.c: shared memory of compiled shaders against sums by hand; modules that are none. */
#include "gpu/spirv.h"

#include <shaderc/shaderc.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/status.h"

typedef struct code {
    uint32_t *words;
    size_t n;
} code;

static code compile(const char *text) {
    shaderc_compiler_t compiler = shaderc_compiler_initialize();
    assert_non_null(compiler);
    shaderc_compilation_result_t result = shaderc_compile_into_spv(
        compiler, text, strlen(text), shaderc_compute_shader, "text", "main", NULL);
    if (shaderc_result_get_compilation_status(result) != shaderc_compilation_status_success)
        fail_msg("%s", shaderc_result_get_error_message(result));
    const size_t n_byte = shaderc_result_get_length(result);
    code out = {.words = malloc(n_byte), .n = n_byte / 4};
    assert_non_null(out.words);
    memcpy(out.words, shaderc_result_get_bytes(result), n_byte);
    shaderc_result_release(result);
    shaderc_compiler_release(compiler);
    return out;
}

static const char shader[] = "#version 450\n"
                             "layout(local_size_x = 8) in;\n"
                             "layout(binding = 0) buffer Y { float y[]; };\n"
                             "const uint N = 5;\n"
                             "struct pair { vec2 a; uint b; };\n"
                             "shared float floats[N * 7];\n" /* 140: 144 */
                             "shared vec4 fours[N][2];\n"    /* 160 */
                             "shared vec3 three;\n"          /* 16 */
                             "shared pair pairs[3];\n"       /* 36: 48 */
                             "shared bool flag;\n"           /* 16 */
                             "float mine[100];\n"
                             "void main() {\n"
                             "    uint i = gl_LocalInvocationIndex;\n"
                             "    mine[i] = y[i];\n"
                             "    floats[i] = mine[i];\n"
                             "    fours[i % N][1] = vec4(mine[i]);\n"
                             "    three = vec3(mine[i]);\n"
                             "    pairs[1].b = i;\n"
                             "    flag = y[1] > 2.0;\n"
                             "    barrier();\n"
                             "    if (flag)\n"
                             "        y[i] = floats[0] + fours[0][1].x + three.y + pairs[1].b;\n"
                             "}\n";

static void what_is_shared_adds_up(void **state) {
    (void)state;
    code c = compile(shader);
    uint64_t bytes = 0;
    assert_int_equal(pm__spirv_shared_bytes(c.words, c.n, &bytes), PM_OK);
    assert_int_equal(bytes, 144 + 160 + 16 + 48 + 16);
    free(c.words);
}

static void nothing_shared_is_nothing(void **state) {
    (void)state;
    code c = compile("#version 450\nlayout(binding = 0) buffer Y { float y[]; };\n"
                     "void main() { y[gl_GlobalInvocationID.x] = 1.0; }\n");
    uint64_t bytes = 1;
    assert_int_equal(pm__spirv_shared_bytes(c.words, c.n, &bytes), PM_OK);
    assert_int_equal(bytes, 0);
    free(c.words);
}

/* Copies of their own length, so that a sanitizer sees what is read past the end. */
static pm_status read_first(const code *c, size_t n) {
    uint64_t bytes;
    uint32_t *words = malloc(n * sizeof *words + 1);
    assert_non_null(words);
    memcpy(words, c->words, n * sizeof *words);
    const pm_status status = pm__spirv_shared_bytes(words, n, &bytes);
    free(words);
    return status;
}

static void damaged_modules_are_refused(void **state) {
    (void)state;
    code c = compile(shader);
    for (size_t n = 0; n < c.n; n++) {
        const pm_status status = read_first(&c, n);
        assert_true(status == PM_OK || status == PM_FAILURE);
        if (n < 5)
            assert_int_equal(status, PM_FAILURE);
    }
    c.words[5] = 0; /* of no words: it would never end */
    assert_int_equal(read_first(&c, c.n), PM_FAILURE);
    c.words[3] = UINT32_MAX;
    assert_int_equal(read_first(&c, c.n), PM_FAILURE);
    c.words[0] = 0;
    assert_int_equal(read_first(&c, c.n), PM_FAILURE);
    free(c.words);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_shared_adds_up),
        cmocka_unit_test(nothing_shared_is_nothing),
        cmocka_unit_test(damaged_modules_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
