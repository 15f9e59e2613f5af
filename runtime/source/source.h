/* source.h: a model by its path: its keys and tensors, from however many files they come.
 *
 * What can be opened: a GGUF file; the first of the files that a GGUF model was split into
 * (name-00001-of-00003.gguf: keys split.no, split.count, split.tensors.count); a folder as models
 * are published on Hugging Face (hf.h). */
#ifndef PM_SOURCE_SOURCE_H
#define PM_SOURCE_SOURCE_H

#include "../base/file_map.h"
#include "../format/gguf.h"

/* One file of a model. */
typedef struct pm__source_file {
    const char *path;
    pm__file_map map;
    pm__gguf gguf; /* of a GGUF file; nothing else is in it otherwise */
} pm__source_file;

typedef struct pm__source {
    const char *kind; /* "GGUF", "Hugging Face folder" */
    pm__gguf gguf;    /* all keys and tensors; pm__gguf_tensor.file counts files */
    pm__source_file *files;
    uint32_t n_file, n_room;
    uint64_t bytes; /* of all files */
    pm__arena arena;
    bool shared; /* gguf is that of the one file */
} pm__source;

/* errors  BAD_FILE, UNSUPPORTED (names key or tensor), OUT_OF_MEMORY. A failed call leaves nothing
 * to finish. */
pm_status pm__source_init(pm__source *source, const char *path);
void pm__source_finish(pm__source *source);

/* Opens the file as the next one; files may move. */
pm_status pm__source_map(pm__source *source, const char *path, pm__source_file **out);

/* split.c: the other files of a model whose first file was opened as files[0] and parsed; one that
 * was not split is left as it is. */
pm_status pm__split_open(pm__source *source);

#endif
