#define _GNU_SOURCE /* dladdr */
#include "shader.h"

#include "../base/hash.h"
#include "embedded.h"
#include "prebuilt.h"

#include <dlfcn.h>
#include <errno.h>
#include <shaderc/shaderc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The build gives the version of the library it links. */
#ifndef PM__SHADERC_VERSION
#define PM__SHADERC_VERSION ""
#endif

enum { MOST_SOURCES = 96, MOST_SOURCE_BYTES = 1 << 20, MOST_NAME = 128 };

/* ---- sources --------------------------------------------------------------------------------- */

typedef struct source {
    char name[MOST_NAME];
    const char *text;
    size_t n_byte;
    size_t embedded;                 /* number of it, one more; 0: it was read from disk */
    char *owned;                     /* text, where it was read from disk */
    shaderc_include_result included; /* as the compiler wants it: it takes no refusal */
} source;

/* A shader and everything it includes, however deep; the shader first. */
typedef struct source_set {
    source items[MOST_SOURCES];
    size_t n;
    const pm__shader_file *instead;
} source_set;

static void finish_sources(source_set *set) {
    for (size_t i = 0; i < set->n; i++)
        free(set->items[i].owned);
    set->n = 0;
}

static source *find_source(source_set *set, const char *name) {
    for (size_t i = 0; i < set->n; i++)
        if (strcmp(set->items[i].name, name) == 0)
            return &set->items[i];
    return NULL;
}

static pm_status read_stream(FILE *file, const char *path, source *out) {
    char *text = malloc(MOST_SOURCE_BYTES);
    if (text == NULL)
        return pm__fail_memory("shader: source", MOST_SOURCE_BYTES);
    out->owned = text;
    out->text = text;
    out->n_byte = fread(text, 1, MOST_SOURCE_BYTES, file);
    if (ferror(file))
        return pm__fail(PM_FAILURE, "shader: %s: %s", path, strerror(errno));
    if (out->n_byte == MOST_SOURCE_BYTES)
        return pm__fail(PM_FAILURE, "shader: %s: longer than %d bytes", path, MOST_SOURCE_BYTES);
    return PM_OK;
}

static pm_status read_from_disk(const char *dir, source *out) {
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s/%s", dir, out->name);
    errno = ENAMETOOLONG;
    FILE *file = n > 0 && n < (int)sizeof path ? fopen(path, "rb") : NULL;
    if (file == NULL)
        return pm__fail(PM_FAILURE, "shader: %s/%s: %s (PUMICE_SHADER_DIR)", dir, out->name,
                        strerror(errno));
    const pm_status status = read_stream(file, path, out);
    fclose(file);
    return status;
}

static pm_status read_embedded(source *out) {
    for (size_t i = 0; i < pm__embedded_shader_count; i++) {
        if (strcmp(pm__embedded_shaders[i].name, out->name) != 0)
            continue;
        out->embedded = i + 1;
        out->text = pm__embedded_shaders[i].text;
        out->n_byte = pm__embedded_shaders[i].n_byte;
        return PM_OK;
    }
    return pm__fail(PM_FAILURE, "shader: %s is not in this library", out->name);
}

static pm_status add_source(source_set *set, const char *name, size_t n_name) {
    if (n_name >= MOST_NAME || set->n == MOST_SOURCES)
        return pm__fail(PM_FAILURE, "shader: %.*s: name too long, or more than %d files",
                        (int)(n_name < MOST_NAME ? n_name : MOST_NAME), name, MOST_SOURCES);
    source *item = &set->items[set->n];
    *item = (source){0};
    memcpy(item->name, name, n_name);
    set->n++;
    if (set->instead != NULL && strcmp(set->instead->name, item->name) == 0) {
        item->text = set->instead->text;
        item->n_byte = strlen(item->text);
        return PM_OK;
    }
    const char *dir = getenv("PUMICE_SHADER_DIR");
    return dir != NULL && dir[0] != '\0' ? read_from_disk(dir, item) : read_embedded(item);
}

static const char *skip_blanks(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* The name in a line `# include "name"`; NULL for any other line. */
static const char *included_name(const char *line, const char *end, size_t *n_name) {
    static const char word[] = "include";
    const char *at = skip_blanks(line, end);
    if (at == end || *at != '#')
        return NULL;
    at = skip_blanks(at + 1, end);
    if ((size_t)(end - at) < sizeof word || memcmp(at, word, sizeof word - 1) != 0)
        return NULL;
    at = skip_blanks(at + sizeof word - 1, end);
    if (at == end || *at != '"')
        return NULL;
    const char *close = memchr(at + 1, '"', (size_t)(end - at - 1));
    if (close == NULL)
        return NULL;
    *n_name = (size_t)(close - at - 1);
    return at + 1;
}

/* Adds what source i includes and the set lacks. Conditions are not looked at: a file more in the
 * key does no harm. */
static pm_status add_includes(source_set *set, size_t i) {
    const char *line = set->items[i].text, *const end = line + set->items[i].n_byte;
    while (line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline != NULL ? newline : end;
        size_t n_name;
        const char *name = included_name(line, line_end, &n_name);
        char text[MOST_NAME] = {0};
        if (name != NULL && n_name < MOST_NAME)
            memcpy(text, name, n_name);
        if (name != NULL && (n_name >= MOST_NAME || find_source(set, text) == NULL))
            PM_TRY(add_source(set, name, n_name));
        line = line_end + 1;
    }
    return PM_OK;
}

static pm_status load_sources(source_set *set, const char *file) {
    PM_TRY(add_source(set, file, strlen(file)));
    for (size_t i = 0; i < set->n; i++)
        PM_TRY(add_includes(set, i));
    return PM_OK;
}

/* ---- key ------------------------------------------------------------------------------------- */

/* shaderc cannot tell its version. Linked statically, it is the one known at build time; a shared
 * library may be replaced at any time, so its file stands for it. */
static uint64_t hash_compiler(uint64_t state) {
    unsigned version[2];
    shaderc_get_spv_version(&version[0], &version[1]);
    state = pm__hash(state, version, sizeof version);
    state = pm__hash_string(state, PM__SHADERC_VERSION);
    Dl_info theirs, ours;
    struct stat info;
    if (dladdr((void *)(uintptr_t)shaderc_compiler_initialize, &theirs) == 0 ||
        dladdr(&pm__embedded_shader_count, &ours) == 0 || theirs.dli_fbase == ours.dli_fbase ||
        stat(theirs.dli_fname, &info) != 0)
        return state;
    const int64_t file[2] = {(int64_t)info.st_size, (int64_t)info.st_mtime};
    return pm__hash(state, file, sizeof file);
}

static uint64_t hash_text(uint64_t state, const source_set *set, const pm__shader_desc *desc) {
    for (size_t i = 0; i < desc->n_define; i++)
        state = pm__hash_string(state, desc->defines[i]);
    for (size_t i = 0; i < set->n; i++) {
        state = pm__hash_string(state, set->items[i].name);
        state = pm__hash(state, &set->items[i].n_byte, sizeof set->items[i].n_byte);
        state = pm__hash(state, set->items[i].text, set->items[i].n_byte);
    }
    return state;
}

/* Of the text alone. That of a file in this library, which many others include, is found once. */
static uint64_t hash_source(const source *item) {
    enum { MOST_KNOWN = 256 };
    static _Atomic uint64_t known[MOST_KNOWN];
    const size_t i = item->embedded;
    if (i == 0 || i >= MOST_KNOWN)
        return pm__hash(PM__HASH_START, item->text, item->n_byte);
    uint64_t hash = atomic_load_explicit(&known[i], memory_order_relaxed);
    if (hash != 0)
        return hash;
    hash = pm__hash(PM__HASH_START, item->text, item->n_byte);
    atomic_store_explicit(&known[i], hash, memory_order_relaxed);
    return hash;
}

static uint64_t hash_sources(uint64_t state, const source_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        const uint64_t hash = hash_source(&set->items[i]);
        state = pm__hash_string(state, set->items[i].name);
        state = pm__hash(state, &hash, sizeof hash);
    }
    return state;
}

static uint64_t hash_key(const source_set *set, const pm__shader_desc *desc) {
    uint64_t state = hash_compiler(pm__hash_string(PM__HASH_START, PM_VERSION));
    const uint32_t tier = (uint32_t)desc->tier;
    state = pm__hash(state, &tier, sizeof tier);
    for (size_t i = 0; i < desc->n_define; i++)
        state = pm__hash_string(state, desc->defines[i]);
    return hash_sources(state, set);
}

pm_status pm__shader_text_hash(const pm__shader_desc *desc, uint64_t *hash) {
    source_set set = {.n = 0};
    const pm_status status = load_sources(&set, desc->file);
    *hash = hash_text(PM__HASH_START, &set, desc);
    finish_sources(&set);
    return status;
}

pm_status pm__shader_hash(const char *file, uint64_t *state) {
    source_set set = {.n = 0};
    const pm_status status = load_sources(&set, file);
    if (status == PM_OK)
        *state = hash_sources(*state, &set);
    finish_sources(&set);
    return status;
}

/* ---- compiler -------------------------------------------------------------------------------- */

static shaderc_include_result *resolve_include(void *user, const char *requested, int type,
                                               const char *requesting, size_t depth) {
    (void)type;
    (void)requesting;
    (void)depth;
    /* An empty name tells the compiler that the content is an error message. */
    static shaderc_include_result missing = {
        .source_name = "", .content = "no such file", .content_length = 12};
    source *found = find_source(user, requested);
    if (found == NULL)
        return &missing;
    found->included = (shaderc_include_result){.source_name = found->name,
                                               .source_name_length = strlen(found->name),
                                               .content = found->text,
                                               .content_length = found->n_byte};
    return &found->included;
}

static void release_include(void *user, shaderc_include_result *result) {
    (void)user;
    (void)result;
}

static void add_define(shaderc_compile_options_t options, const char *define) {
    const char *equals = strchr(define, '=');
    const size_t n_name = equals != NULL ? (size_t)(equals - define) : strlen(define);
    const char *value = equals != NULL ? equals + 1 : "";
    shaderc_compile_options_add_macro_definition(options, define, n_name, value, strlen(value));
}

/* Vulkan 1.1 (SPIR-V 1.3) is the oldest that has subgroup operations, and every device here has it;
 * those with the coop tiers, and a stack as one launch, have 1.2, with coop2 1.3. */
static void set_target(shaderc_compile_options_t options, const pm__shader_desc *desc) {
    const bool coop = desc->tier >= PM__TIER_COOP || desc->instead != NULL;
    const bool coop2 = desc->tier == PM__TIER_COOP2;
    shaderc_compile_options_set_target_env(options, shaderc_target_env_vulkan,
                                           coop2  ? shaderc_env_version_vulkan_1_3
                                           : coop ? shaderc_env_version_vulkan_1_2
                                                  : shaderc_env_version_vulkan_1_1);
    shaderc_compile_options_set_target_spirv(options, coop2  ? shaderc_spirv_version_1_6
                                                      : coop ? shaderc_spirv_version_1_5
                                                             : shaderc_spirv_version_1_3);
}

static shaderc_compile_options_t make_options(source_set *set, const pm__shader_desc *desc) {
    shaderc_compile_options_t options = shaderc_compile_options_initialize();
    if (options == NULL)
        return NULL;
    shaderc_compile_options_set_source_language(options, shaderc_source_language_glsl);
    set_target(options, desc);
    /* Optimisers of SPIR-V are not to be trusted with cooperative matrices; drivers optimise. */
    shaderc_compile_options_set_optimization_level(
        options, desc->tier >= PM__TIER_COOP ? shaderc_optimization_level_zero
                                             : shaderc_optimization_level_performance);
    shaderc_compile_options_set_include_callbacks(options, resolve_include, release_include, set);
    for (size_t i = 0; i < desc->n_define; i++)
        add_define(options, desc->defines[i]);
    return options;
}

static pm_status fail_compile(const pm__shader_desc *desc, const char *message) {
    char defines[512] = "";
    size_t n = 0;
    for (size_t i = 0; i < desc->n_define && n < sizeof defines; i++)
        n += (size_t)snprintf(defines + n, sizeof defines - n, " %s", desc->defines[i]);
    return pm__fail(PM_FAILURE, "shader: %.*s (compiling %s with%s)", (int)strcspn(message, "\n"),
                    message, desc->file, desc->n_define > 0 ? defines : " no defines");
}

static pm_status take_result(const pm__shader_desc *desc, shaderc_compilation_result_t result,
                             uint32_t **words, size_t *n_word) {
    if (shaderc_result_get_compilation_status(result) != shaderc_compilation_status_success)
        return fail_compile(desc, shaderc_result_get_error_message(result));
    const size_t n_byte = shaderc_result_get_length(result);
    uint32_t *copy = malloc(n_byte);
    if (copy == NULL)
        return pm__fail_memory("shader: SPIR-V", n_byte);
    memcpy(copy, shaderc_result_get_bytes(result), n_byte);
    *words = copy;
    *n_word = n_byte / sizeof **words;
    return PM_OK;
}

static pm_status compile(pm__gpu *gpu, source_set *set, const pm__shader_desc *desc,
                         uint32_t **words, size_t *n_word) {
    shaderc_compile_options_t options = make_options(set, desc);
    if (options == NULL)
        return pm__fail_memory("shader: compiler", sizeof options);
    const source *main_source = &set->items[0];
    /* One compiler serves all threads: shaderc only reads it. */
    shaderc_compilation_result_t result =
        shaderc_compile_into_spv(gpu->compiler, main_source->text, main_source->n_byte,
                                 shaderc_compute_shader, main_source->name, "main", options);
    const pm_status status = result != NULL ? take_result(desc, result, words, n_word)
                                            : pm__fail_memory("shader: compiler", 0);
    shaderc_result_release(result);
    shaderc_compile_options_release(options);
    return status;
}

static pm_status take_text(const pm__shader_desc *desc, shaderc_compilation_result_t result,
                           char **text) {
    if (shaderc_result_get_compilation_status(result) != shaderc_compilation_status_success)
        return fail_compile(desc, shaderc_result_get_error_message(result));
    const size_t n_byte = shaderc_result_get_length(result);
    *text = malloc(n_byte + 1);
    if (*text == NULL)
        return pm__fail_memory("shader: text", n_byte + 1);
    memcpy(*text, shaderc_result_get_bytes(result), n_byte);
    (*text)[n_byte] = '\0';
    return PM_OK;
}

static pm_status preprocess(pm__gpu *gpu, source_set *set, const pm__shader_desc *desc,
                            char **text) {
    PM_TRY(load_sources(set, desc->file));
    shaderc_compile_options_t options = make_options(set, desc);
    if (options == NULL)
        return pm__fail_memory("shader: compiler", sizeof options);
    const source *main_source = &set->items[0];
    shaderc_compilation_result_t result = shaderc_compile_into_preprocessed_text(
        gpu->compiler, main_source->text, main_source->n_byte, shaderc_compute_shader,
        main_source->name, "main", options);
    const pm_status status =
        result != NULL ? take_text(desc, result, text) : pm__fail_memory("shader: compiler", 0);
    shaderc_result_release(result);
    shaderc_compile_options_release(options);
    return status;
}

pm_status pm__shader_preprocess(pm__gpu *gpu, const pm__shader_desc *desc, char **text) {
    source_set set = {.instead = desc->instead};
    const pm_status status = preprocess(gpu, &set, desc, text);
    finish_sources(&set);
    return status;
}

/* ---- cache ----------------------------------------------------------------------------------- */

static uint32_t *read_cached(const pm__gpu *gpu, const char *name, size_t *n_word) {
    size_t n_byte;
    uint32_t *words = pm__cache_read(gpu->shaders, name, &n_byte);
    if (words == NULL)
        return NULL;
    if (n_byte >= 20 && n_byte % sizeof *words == 0 && words[0] == 0x07230203u) { /* SPIR-V magic */
        *n_word = n_byte / sizeof *words;
        return words;
    }
    free(words);
    return NULL;
}

static pm_status compile_or_read(pm__gpu *gpu, source_set *set, const pm__shader_desc *desc,
                                 uint32_t **words, size_t *n_word) {
    PM_TRY(load_sources(set, desc->file));
    if (desc->anew)
        return compile(gpu, set, desc, words, n_word);
    if (desc->tier >= PM__TIER_COOP)
        PM_TRY(pm__prebuilt_read(desc, hash_text(PM__HASH_START, set, desc), words, n_word));
    if (*words != NULL)
        return PM_OK;
    char name[40];
    snprintf(name, sizeof name, "shader-%016llx.spv", (unsigned long long)hash_key(set, desc));
    uint32_t *cached = read_cached(gpu, name, n_word);
    if (cached != NULL) {
        *words = cached;
        return PM_OK;
    }
    PM_TRY(compile(gpu, set, desc, words, n_word));
    pm__cache_write(gpu->shaders, name, *words, *n_word * sizeof **words);
    return PM_OK;
}

pm_status pm__shader_compile(pm__gpu *gpu, const pm__shader_desc *desc, uint32_t **words,
                             size_t *n_word) {
    source_set set = {.instead = desc->instead};
    *words = NULL;
    const pm_status status = compile_or_read(gpu, &set, desc, words, n_word);
    finish_sources(&set);
    return status;
}
