#include "hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool pm__hf_path(const pm__hf *hf, const char *name, char out[PM__HF_MOST_PATH]) {
    const int n = snprintf(out, PM__HF_MOST_PATH, "%s/%s", hf->folder, name);
    return n > 0 && n < PM__HF_MOST_PATH;
}

pm_status pm__hf_json(const pm__hf *hf, const char *name, size_t most, cJSON **out) {
    char path[PM__HF_MOST_PATH], what[64];
    *out = NULL;
    if (!pm__hf_path(hf, name, path))
        return pm__fail(PM_BAD_FILE, "folder: the path of %s is too long", name);
    if (access(path, F_OK) != 0)
        return PM_OK;
    pm__file_map map;
    PM_TRY(pm__file_map_init(&map, path));
    snprintf(what, sizeof what, "folder: %s", name);
    cJSON *json = NULL;
    const pm_status status =
        pm__json_parse_bounded(what, (const char *)map.data, map.size, most, &json);
    pm__file_map_finish(&map);
    PM_TRY(status);
    if (!cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return pm__fail(PM_BAD_FILE, "%s: no JSON object", what);
    }
    *out = json;
    return PM_OK;
}

/* The last part of the path, for want of another name. */
static void add_name(pm__hf *hf) {
    size_t end = strlen(hf->folder);
    while (end > 1 && hf->folder[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && hf->folder[begin - 1] != '/')
        begin--;
    pm__keys_span(&hf->keys, "general.name", (pm__span){hf->folder + begin, end - begin});
}

static pm_status read_all(pm__hf *hf) {
    PM_TRY(pm__hf_json(hf, "config.json", PM__HF_MOST_CONFIG, &hf->root));
    if (hf->root == NULL)
        return pm__fail(PM_BAD_FILE,
                        "folder: %s has no config.json; give a GGUF file, or a folder as models "
                        "are published on Hugging Face",
                        hf->folder);
    PM_TRY(pm__hf_json(hf, "generation_config.json", PM__HF_MOST_CONFIG, &hf->generation));
    PM_TRY(pm__hf_json(hf, "tokenizer_config.json", PM__HF_MOST_TOKENIZER, &hf->tokenizer_config));
    PM_TRY(pm__hf_config(hf));
    add_name(hf);
    PM_TRY(pm__hf_tensors(hf));
    PM_TRY(pm__hf_tokenizer(hf));
    PM_TRY(hf->keys.status);
    PM_TRY(pm__gguf_make(&hf->source->gguf, "folder", hf->keys.items, hf->keys.n, hf->tensors,
                         hf->n_tensor));
    hf->source->gguf.version = 0;
    if (!hf->tied && pm__hf_value(hf, "tie_word_embeddings") != NULL &&
        pm__gguf_find_tensor(&hf->source->gguf, "output.weight") == NULL)
        return pm__fail(PM_BAD_FILE, "folder: config.json says that tie_word_embeddings is false, "
                                     "but there is no tensor 'lm_head.weight'");
    return PM_OK;
}

pm_status pm__hf_open(pm__source *source, const char *path) {
    pm__hf hf = {.source = source, .folder = path};
    source->kind = "Hugging Face folder";
    pm__keys_init(&hf.keys, &source->arena);
    const pm_status status = read_all(&hf);
    for (uint32_t i = 0; i < hf.n_file; i++)
        pm__safetensors_finish(&hf.files[i]);
    free(hf.files);
    cJSON_Delete(hf.root);
    cJSON_Delete(hf.generation);
    cJSON_Delete(hf.tokenizer_config);
    return status;
}
