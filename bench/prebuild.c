/* prebuild.c: SPIR-V of the kernels of the coop tiers, for compilers that cannot make it.
 *
 *   prebuild FOLDER    writes FOLDER/<name>.spv, and FOLDER/list.def with what each was made of
 *
 * Run it where shaderc knows GL_KHR_cooperative_matrix (2023.5 or later): see
 * tools/prebuild. Names and the like are left out. test_prebuilt says when it has to be run
 * again. */
#include "runtime/gpu/prebuilt.h"

#include <inttypes.h>
#include <shaderc/shaderc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Leaves out what is for people: sources, names, lines. Returns the words that are left. */
static size_t strip(uint32_t *words, size_t n) {
    enum { HEADER = 5, LAST_FOR_PEOPLE = 8, NO_LINE = 317, PROCESSED = 330 };
    size_t kept = HEADER;
    for (size_t i = HEADER; i < n;) {
        const uint32_t op = words[i] & 0xffff, length = words[i] >> 16;
        const bool for_people =
            (op >= 2 && op <= LAST_FOR_PEOPLE) || op == NO_LINE || op == PROCESSED;
        if (!for_people) {
            memmove(words + kept, words + i, length * sizeof *words);
            kept += length;
        }
        i += length;
    }
    return kept;
}

static bool write_words(const char *folder, const char *name, const uint32_t *words, size_t n) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.spv", folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return false;
    const bool whole = fwrite(words, sizeof *words, n, file) == n;
    return fclose(file) == 0 && whole;
}

static pm_status make(pm__gpu *gpu, const pm__shader_desc *desc, const char *folder, FILE *list) {
    uint32_t *words = NULL;
    size_t n = 0;
    uint64_t hash;
    char name[128];
    pm__shader_name(desc, name, sizeof name);
    PM_TRY(pm__shader_text_hash(desc, &hash));
    PM_TRY(pm__shader_compile(gpu, desc, &words, &n));
    n = strip(words, n);
    const bool written = write_words(folder, name, words, n) &&
                         fprintf(list, "PM_PREBUILT(\"%s\", 0x%016" PRIx64 "u)\n", name, hash) > 0;
    free(words);
    return written ? PM_OK : pm__fail(PM_FAILURE, "%s/%s.spv: cannot be written", folder, name);
}

typedef struct output {
    pm__gpu gpu; /* its compiler alone */
    const char *folder;
    FILE *list;
} output;

static pm_status take(void *user, const pm__shader_desc *desc) {
    output *out = user;
    pm__shader_desc anew = *desc;
    anew.anew = true;
    return make(&out->gpu, &anew, out->folder, out->list);
}

static pm_status make_all(const char *folder, FILE *list) {
    output out = {.folder = folder, .list = list};
    out.gpu.compiler = shaderc_compiler_initialize();
    fputs("/* PM_PREBUILT(name, hash of what it was made of); written by bench/prebuild.c */\n",
          list);
    const pm_status status = pm__prebuilt_each(take, &out);
    shaderc_compiler_release(out.gpu.compiler);
    return status;
}

int main(int argc, char **argv) {
    char path[4096];
    if (argc != 2) {
        fprintf(stderr, "usage: prebuild FOLDER\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/list.def", argv[1]);
    FILE *list = fopen(path, "w");
    const pm_status status = list != NULL ? make_all(argv[1], list)
                                          : pm__fail(PM_FAILURE, "%s: cannot be written", path);
    if (status != PM_OK)
        fprintf(stderr, "prebuild: %s\n", pm_last_error());
    if (list != NULL)
        fclose(list);
    return status == PM_OK ? 0 : 1;
}
