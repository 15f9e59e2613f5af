/* ctest: gpu */
/* test_shader_cache.c: sources, keys and messages of the compiler; files of the cache that are
 * whole, damaged, foreign, or written by two processes at once. */
#include "base/file_map.h"
#include "devices.h"
#include "gpu/embedded.h"
#include "gpu/pipeline.h"
#include "reference.h"

#include <shaderc/shaderc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* A compiler and a cache, without a device. */
typedef struct bench {
    char sources[PM__FOLDER_SIZE], cache[PM__FOLDER_SIZE];
    pm__gpu gpu;
} bench;

static const char double_comp[] = "#version 450\n"
                                  "#include \"scale.glsl\"\n"
                                  "layout(local_size_x_id = 0) in;\n"
                                  "layout(set = 0, binding = 0) buffer Data { uint data[]; };\n"
                                  "void main() {\n"
                                  "    data[gl_GlobalInvocationID.x] *= SCALE + FACTOR;\n"
                                  "}\n";

static int set_up(void **state) {
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    pm__folder_init(b->sources);
    pm__folder_init(b->cache);
    pm__folder_write(b->sources, "double.comp", double_comp);
    pm__folder_write(b->sources, "scale.glsl", "#define SCALE 2u\n");
    setenv("PUMICE_SHADER_DIR", b->sources, 1);
    b->gpu.compiler = shaderc_compiler_initialize();
    assert_int_equal(pm__shader_cache_create(b->cache, &b->gpu.shaders), PM_OK);
    *state = b;
    return 0;
}

static int tear_down(void **state) {
    bench *b = *state;
    shaderc_compiler_release(b->gpu.compiler);
    pm__shader_cache_destroy(b->gpu.shaders);
    unsetenv("PUMICE_SHADER_DIR");
    pm__folder_finish(b->sources);
    pm__folder_finish(b->cache);
    free(b);
    return 0;
}

typedef struct code {
    uint32_t *words;
    size_t n;
} code;

static pm_status compile(bench *b, const char *file, const char *define, code *out) {
    const pm__shader_desc desc = {.file = file, .defines = &define, .n_define = 1};
    return pm__shader_compile(&b->gpu, &desc, &out->words, &out->n);
}

static code compile_ok(bench *b, const char *define) {
    code result = {0};
    if (compile(b, "double.comp", define, &result) != PM_OK)
        fail_msg("%s", pm_last_error());
    assert_true(result.n > 20);
    assert_int_equal(result.words[0], 0x07230203);
    return result;
}

static void expect_same(bench *b, const char *define, const code *wanted) {
    code got = compile_ok(b, define);
    assert_int_equal(got.n, wanted->n);
    assert_memory_equal(got.words, wanted->words, wanted->n * 4);
    free(got.words);
}

static void cache_path(const bench *b, char path[2 * PM__FOLDER_SIZE]) {
    char name[PM__FOLDER_SIZE];
    pm__folder_find(b->cache, "shader-", name);
    snprintf(path, 2 * PM__FOLDER_SIZE, "%s/%s", b->cache, name);
}

/* ---- hits ------------------------------------------------------------------------------------ */

static void hit(void **state) {
    bench *b = *state;
    code first = compile_ok(b, "FACTOR=3u");
    expect_same(b, "FACTOR=3u", &first);
    /* Other code under the same name comes back: the compiler is not asked again. */
    char name[PM__FOLDER_SIZE];
    pm__folder_find(b->cache, "shader-", name);
    const uint32_t marked[] = {0x07230203, 1, 2, 3, 4, 5};
    pm__cache_write(b->gpu.shaders, name, marked, sizeof marked);
    code second = {0};
    assert_int_equal(compile(b, "double.comp", "FACTOR=3u", &second), PM_OK);
    assert_int_equal(second.n, PM__COUNT(marked));
    assert_memory_equal(second.words, marked, sizeof marked);
    free(first.words);
    free(second.words);
}

static void remove_cached(const bench *b) {
    char path[2 * PM__FOLDER_SIZE];
    cache_path(b, path);
    assert_int_equal(remove(path), 0);
}

/* The name of the file that compiling now makes. */
static void key_now(bench *b, const char *define, char name[PM__FOLDER_SIZE]) {
    code result = compile_ok(b, define);
    free(result.words);
    pm__folder_find(b->cache, "shader-", name);
    remove_cached(b);
}

static void keys(void **state) {
    bench *b = *state;
    char plain[PM__FOLDER_SIZE], other[PM__FOLDER_SIZE];
    key_now(b, "FACTOR=3u", plain);
    key_now(b, "FACTOR=3u", other);
    assert_string_equal(plain, other);
    pm__folder_write(b->sources, "unrelated.glsl", "#define SCALE 5u\n");
    key_now(b, "FACTOR=3u", other);
    assert_string_equal(plain, other);
    key_now(b, "FACTOR=4u", other);
    assert_string_not_equal(plain, other);
    pm__folder_write(b->sources, "scale.glsl", "#define SCALE 3u\n");
    key_now(b, "FACTOR=3u", other);
    assert_string_not_equal(plain, other);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static long file_length(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (long)info.st_size;
}

static void flip_byte(const char *path, long at) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    const int byte = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_not_equal(fputc(byte ^ 0x41, file), EOF);
    assert_int_equal(fclose(file), 0);
}

static void damaged(void **state) {
    bench *b = *state;
    char path[2 * PM__FOLDER_SIZE];
    code first = compile_ok(b, "FACTOR=3u");
    cache_path(b, path);
    const long length = file_length(path);
    for (long at = 0; at < length; at += at < 60 ? 3 : 97) {
        flip_byte(path, at);
        expect_same(b, "FACTOR=3u", &first);
        flip_byte(path, at); /* it was written anew, so this damages it as well */
        expect_same(b, "FACTOR=3u", &first);
    }
    for (long n = 0; n < length; n += n < 60 ? 3 : 97) {
        assert_int_equal(truncate(path, n), 0);
        expect_same(b, "FACTOR=3u", &first);
        assert_int_equal(file_length(path), length);
    }
    assert_int_equal(truncate(path, length + 4), 0);
    expect_same(b, "FACTOR=3u", &first);
    free(first.words);
}

static void no_regular_file(void **state) {
    bench *b = *state;
    char path[2 * PM__FOLDER_SIZE];
    code first = compile_ok(b, "FACTOR=3u");
    cache_path(b, path);
    remove_cached(b);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_same(b, "FACTOR=3u", &first); /* and it is replaced */
    assert_true(file_length(path) > 0);
    free(first.words);
}

static void renamed(void **state) {
    bench *b = *state;
    char from[2 * PM__FOLDER_SIZE], to[2 * PM__FOLDER_SIZE];
    size_t n_byte = 0;
    pm__cache_write(b->gpu.shaders, "a", "words", 5);
    void *data = pm__cache_read(b->gpu.shaders, "a", &n_byte);
    assert_non_null(data);
    assert_int_equal(n_byte, 5);
    assert_memory_equal(data, "words", 5);
    free(data);
    snprintf(from, sizeof from, "%s/a", b->cache);
    snprintf(to, sizeof to, "%s/b", b->cache);
    assert_int_equal(rename(from, to), 0);
    assert_null(pm__cache_read(b->gpu.shaders, "a", &n_byte));
    assert_null(pm__cache_read(b->gpu.shaders, "b", &n_byte));
}

/* ---- two at once ----------------------------------------------------------------------------- */

enum { N_WRITE = 200, N_PAYLOAD = 50001 };

static void write_often(const bench *b, char letter) {
    char *payload = malloc(N_PAYLOAD);
    if (payload == NULL)
        _exit(1);
    memset(payload, letter, N_PAYLOAD);
    for (int i = 0; i < N_WRITE; i++)
        pm__cache_write(b->gpu.shaders, "shared", payload, N_PAYLOAD);
    _exit(0);
}

static pid_t start_writer(const bench *b, char letter) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0)
        write_often(b, letter);
    assert_true(child > 0);
    return child;
}

static void two_writers(void **state) {
    bench *b = *state;
    pm__cache_write(b->gpu.shaders, "shared", "start", 5);
    const pid_t writers[] = {start_writer(b, 'x'), start_writer(b, 'y')};
    int n_left = 2;
    while (n_left > 0) {
        size_t n_byte = 0;
        char *data = pm__cache_read(b->gpu.shaders, "shared", &n_byte);
        assert_non_null(data); /* there is a whole file at every moment */
        assert_true(n_byte == 5 || (n_byte == N_PAYLOAD && data[0] == data[N_PAYLOAD - 1]));
        free(data);
        int result;
        if (waitpid(writers[n_left - 1], &result, WNOHANG) > 0) {
            assert_int_equal(result, 0);
            n_left--;
        }
    }
    char name[PM__FOLDER_SIZE];
    pm__folder_find(b->cache, "shared", name); /* no temporary file is left */
}

/* ---- directories ----------------------------------------------------------------------------- */

static int n_warning;

static void count_warnings(void *user, pm_log_level level, const char *line) {
    (void)user;
    n_warning += level <= PM_LOG_WARN && strncmp(line, "cache: ", 7) == 0;
}

static void no_directory(void **state) {
    bench *b = *state;
    char below_file[2 * PM__FOLDER_SIZE];
    snprintf(below_file, sizeof below_file, "%s/scale.glsl/cache", b->sources);
    n_warning = 0;
    pm_set_log(PM_LOG_WARN, count_warnings, NULL);
    pm__shader_cache_destroy(b->gpu.shaders);
    assert_int_equal(pm__shader_cache_create(below_file, &b->gpu.shaders), PM_OK);
    assert_int_equal(n_warning, 1);
    code result = compile_ok(b, "FACTOR=3u");
    free(result.words);
    pm__shader_cache_destroy(b->gpu.shaders);
    assert_int_equal(pm__shader_cache_create(below_file, &b->gpu.shaders), PM_OK);
    assert_int_equal(n_warning, 1); /* said once */
    pm_set_log(PM_LOG_WARN, NULL, NULL);
}

static void default_directory(void **state) {
    bench *b = *state;
    char path[2 * PM__FOLDER_SIZE];
    struct pm__shader_cache *cache;
    char *home = getenv("HOME") != NULL ? strdup(getenv("HOME")) : NULL;
    setenv("XDG_CACHE_HOME", b->cache, 1);
    assert_int_equal(pm__shader_cache_create(NULL, &cache), PM_OK);
    pm__cache_write(cache, "file", "words", 5);
    pm__shader_cache_destroy(cache);
    snprintf(path, sizeof path, "%s/pumice/file", b->cache);
    assert_int_equal(remove(path), 0);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", b->cache, 1);
    assert_int_equal(pm__shader_cache_create(NULL, &cache), PM_OK);
    pm__cache_write(cache, "file", "words", 5);
    pm__shader_cache_destroy(cache);
    snprintf(path, sizeof path, "%s/.cache/pumice/file", b->cache);
    assert_int_equal(remove(path), 0);
    snprintf(path, sizeof path, "%s/.cache/pumice", b->cache);
    assert_int_equal(remove(path), 0);
    if (home != NULL)
        setenv("HOME", home, 1);
    else
        unsetenv("HOME");
    free(home);
}

/* ---- messages -------------------------------------------------------------------------------- */

static void expect_message(bench *b, const char *word) {
    code result = {0};
    assert_int_equal(compile(b, "double.comp", "FACTOR=3u", &result), PM_FAILURE);
    assert_null(result.words);
    if (strstr(pm_last_error(), word) == NULL)
        fail_msg("no '%s' in '%s'", word, pm_last_error());
}

static void messages(void **state) {
    bench *b = *state;
    pm__folder_write(b->sources, "scale.glsl", "#define SCALE 2u\nfloat f = nothing;\n");
    expect_message(b, "scale.glsl:2: ");
    expect_message(b, "FACTOR=3u");
    pm__folder_write(b->sources, "double.comp", "#version 450\n\n\nvoid main() { x = 1; }\n");
    expect_message(b, "double.comp:4: ");
    pm__folder_write(b->sources, "double.comp", "#version 450\n#include \"absent.glsl\"\n");
    expect_message(b, "absent.glsl");
    unsetenv("PUMICE_SHADER_DIR");
    expect_message(b, "double.comp is not in this library");
}

/* ---- the sources in the library -------------------------------------------------------------- */

static void embedded(void **state) {
    (void)state;
    assert_true(pm__embedded_shader_count > 0);
    for (size_t i = 0; i < pm__embedded_shader_count; i++) {
        char relative[PM__FOLDER_SIZE];
        snprintf(relative, sizeof relative, "shaders/%s", pm__embedded_shaders[i].name);
        const char *path = pm__source_path(relative);
        if (path == NULL)
            skip();
        pm__file_map map;
        assert_int_equal(pm__file_map_init(&map, path), PM_OK);
        assert_int_equal(pm__embedded_shaders[i].n_byte, map.size);
        assert_memory_equal(pm__embedded_shaders[i].text, map.data, map.size);
        pm__file_map_finish(&map);
    }
}

/* ---- pipeline caches ------------------------------------------------------------------------- */

static char pipeline_folder[PM__FOLDER_SIZE];

static uint64_t reopen(const pm__gpu *like) {
    pm__gpu *gpu = NULL;
    const pm_device_desc desc = {.cache_dir = pipeline_folder};
    assert_int_equal(pm__gpu_create(like->info.index, &desc, &gpu), PM_OK);
    const uint64_t hash = gpu->pipeline_cache_hash;
    pm__gpu_destroy(gpu);
    return hash;
}

static void check_pipeline_cache(pm__gpu *gpu) {
    char name[PM__FOLDER_SIZE], path[2 * PM__FOLDER_SIZE];
    size_t n_byte = 0;
    assert_int_equal(gpu->pipeline_cache_hash, 0);
    pm__pipeline_cache_store(gpu);
    if (!pm__gives_pipeline_cache(gpu)) {
        assert_int_equal(gpu->pipeline_cache_hash, 0);
        return;
    }
    pm__folder_find(pipeline_folder, "pipelines-", name);
    assert_int_not_equal(reopen(gpu), 0);
    /* Another device, another driver, no header at all: whole files, but none of this driver. */
    unsigned char *data = pm__cache_read(gpu->shaders, name, &n_byte);
    assert_non_null(data);
    assert_true(n_byte >= 32);
    for (size_t at = 4; at < 32; at += 7) {
        data[at] ^= 1;
        pm__cache_write(gpu->shaders, name, data, n_byte);
        data[at] ^= 1;
        assert_int_equal(reopen(gpu), 0);
    }
    pm__cache_write(gpu->shaders, name, "garbage", 7);
    assert_int_equal(reopen(gpu), 0);
    pm__cache_write(gpu->shaders, name, data, n_byte);
    assert_int_not_equal(reopen(gpu), 0);
    free(data);
    snprintf(path, sizeof path, "%s/%s", pipeline_folder, name);
    assert_int_equal(remove(path), 0);
}

static void pipeline_cache(void **state) {
    (void)state;
    pm__folder_init(pipeline_folder);
    pm__each_gpu(pipeline_folder, check_pipeline_cache);
    pm__folder_finish(pipeline_folder);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_BENCH(hit),
        WITH_BENCH(keys),
        WITH_BENCH(damaged),
        WITH_BENCH(no_regular_file),
        WITH_BENCH(renamed),
        WITH_BENCH(two_writers),
        WITH_BENCH(no_directory),
        WITH_BENCH(default_directory),
        WITH_BENCH(messages),
        cmocka_unit_test(embedded),
        cmocka_unit_test(pipeline_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
