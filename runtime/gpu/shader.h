/* shader.h: GLSL (embedded, or from PUMICE_SHADER_DIR) to SPIR-V through shaderc, kept on disk. */
#ifndef PM_GPU_SHADER_H
#define PM_GPU_SHADER_H

#include "device.h"

/* A text in the place of the file of this name. */
typedef struct pm__shader_file {
    const char *name, *text;
} pm__shader_file;

typedef struct pm__shader_desc {
    const char *file;           /* "norm.comp" */
    const char *const *defines; /* [n_define] "NAME=VALUE" or "NAME" */
    size_t n_define;
    pm__tier tier;                  /* sets the SPIR-V target */
    bool anew;                      /* compiled, even where it was before */
    const pm__shader_file *instead; /* NULL: none; with it the target is Vulkan 1.2 */
} pm__shader_desc;

/* Where it is kept among shaders/prebuilt, without folder and ending: "matmul_coop-w_q4_0"; what is
 * the same for all of its tier is left out. */
void pm__shader_name(const pm__shader_desc *desc, char *out, size_t n);

/* From the coop tiers on SPIR-V of the library is taken, which does not ask whether this compiler
 * knows the extensions, if it was made of this text. Else the key of the cache is a hash of all
 * text included, the defines, the compiler's version and ours. Thread-safe.
 * words   out, malloc'ed, [n_word]
 * errors  FAILURE: the compiler's first message with file and line */
pm_status pm__shader_compile(pm__gpu *gpu, const pm__shader_desc *desc, uint32_t **words,
                             size_t *n_word);

/* The text after the preprocessor, includes and macros expanded.
 * text    out, closed by a zero, malloc'ed
 * errors  those of pm__shader_compile */
pm_status pm__shader_preprocess(pm__gpu *gpu, const pm__shader_desc *desc, char **text);

/* What says whether SPIR-V was made of these texts and defines, by whatever compiler.
 * errors  FAILURE: a file is missing */
pm_status pm__shader_text_hash(const pm__shader_desc *desc, uint64_t *hash);

/* Hash of a shader and all it includes, chained through *state.
 * errors  FAILURE: a file is missing */
pm_status pm__shader_hash(const char *file, uint64_t *state);

/* Opened with the device. cache_dir as in pm_device_desc; a directory that cannot be made means no
 * cache, with a warning. What processes that died left half written there is removed. */
pm_status pm__shader_cache_create(const char *cache_dir, struct pm__shader_cache **out);
void pm__shader_cache_destroy(struct pm__shader_cache *cache);
/* A whole file of the cache directory, malloc'ed; NULL if there is none or it is damaged
 * (checksum). */
void *pm__cache_read(const struct pm__shader_cache *cache, const char *name, size_t *n_byte);
/* Written beside and renamed, so that another process never sees half a file. Failures are logged,
 * never returned. */
void pm__cache_write(const struct pm__shader_cache *cache, const char *name, const void *data,
                     size_t n_byte);

/* The same for texts that people may read and write, without a checksum.
 * text    out, closed by a zero, malloc'ed; NULL if there is none, if it is longer than `most` or
 *         has a zero byte; *found then says whether there is a file
 * errors  OUT_OF_MEMORY */
pm_status pm__cache_read_text(const struct pm__shader_cache *cache, const char *name, size_t most,
                              char **text, bool *found);
bool pm__cache_write_text(const struct pm__shader_cache *cache, const char *name, const char *text);
bool pm__cache_remove(const struct pm__shader_cache *cache, const char *name);
bool pm__cache_is_kept(const struct pm__shader_cache *cache);

#endif
