#include "hf.h"

#include <string.h>
#include <sys/stat.h>

/* Room for one file more. */
static pm_status reserve(pm__source *source) {
    if (source->n_file < source->n_room)
        return PM_OK;
    const uint32_t n = source->n_room > 0 ? 2 * source->n_room : 1;
    pm__source_file *files = pm__arena_array(&source->arena, n, sizeof *files);
    if (files == NULL)
        return PM_OUT_OF_MEMORY;
    if (source->n_file > 0)
        memcpy(files, source->files, source->n_file * sizeof *files);
    source->files = files;
    source->n_room = n;
    return PM_OK;
}

pm_status pm__source_map(pm__source *source, const char *path, pm__source_file **out) {
    PM_TRY(reserve(source));
    pm__source_file *file = &source->files[source->n_file];
    *file = (pm__source_file){.path = pm__arena_string(&source->arena, path, strlen(path))};
    if (file->path == NULL)
        return PM_OUT_OF_MEMORY;
    PM_TRY(pm__file_map_init(&file->map, path));
    source->n_file++;
    source->bytes += file->map.size;
    *out = file;
    return PM_OK;
}

static bool ends_with(const char *path, const char *end) {
    const size_t n = strlen(path), n_end = strlen(end);
    return n >= n_end && strcmp(path + n - n_end, end) == 0;
}

static pm_status open_file(pm__source *source, const char *path) {
    if (ends_with(path, ".safetensors") || ends_with(path, ".json"))
        return pm__fail(PM_BAD_FILE,
                        "%s: is one file of several that make up a model; give the folder it lies "
                        "in",
                        path);
    pm__source_file *file = NULL;
    source->kind = "GGUF";
    PM_TRY(pm__source_map(source, path, &file));
    PM_TRY(pm__gguf_init(&file->gguf, file->map.data, file->map.size));
    return pm__split_open(source);
}

pm_status pm__source_init(pm__source *source, const char *path) {
    *source = (pm__source){0};
    struct stat info;
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    const pm_status status = folder ? pm__hf_open(source, path) : open_file(source, path);
    if (status != PM_OK)
        pm__source_finish(source);
    return status;
}

void pm__source_finish(pm__source *source) {
    if (!source->shared)
        pm__gguf_finish(&source->gguf);
    for (uint32_t i = 0; i < source->n_file; i++) {
        pm__gguf_finish(&source->files[i].gguf);
        pm__file_map_finish(&source->files[i].map);
    }
    pm__arena_finish(&source->arena);
    *source = (pm__source){0};
}
