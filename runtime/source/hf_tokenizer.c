/* hf_tokenizer.c: tokenizer.json or tokenizer.model, tokenizer_config.json and the chat template,
 * as the keys tokenizer.* that GGUF files have. */
#include "hf.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Everything a vocabulary is read from; the vocabulary points into it. */
typedef struct tokenizer_files {
    pm__arena arena;
    pm__hf_vocab vocab;
    cJSON *json;        /* tokenizer.json or NULL */
    pm__file_map model; /* tokenizer.model */
} tokenizer_files;

/* ---- pieces ---------------------------------------------------------------------------------- */

static pm_status make_room(pm__hf_vocab *vocab, size_t n) {
    if (n <= vocab->room)
        return PM_OK;
    const size_t room = n > 2 * vocab->room ? n : 2 * vocab->room;
    pm__span *texts = pm__arena_array(vocab->arena, room, sizeof *texts);
    float *scores = pm__arena_array(vocab->arena, room, sizeof *scores);
    int32_t *kinds = pm__arena_array(vocab->arena, room, sizeof *kinds);
    if (texts == NULL || scores == NULL || kinds == NULL)
        return PM_OUT_OF_MEMORY;
    if (vocab->n > 0) {
        memcpy(texts, vocab->texts, vocab->n * sizeof *texts);
        memcpy(scores, vocab->scores, vocab->n * sizeof *scores);
        memcpy(kinds, vocab->kinds, vocab->n * sizeof *kinds);
    }
    vocab->texts = texts;
    vocab->scores = scores;
    vocab->kinds = kinds;
    vocab->room = room;
    return PM_OK;
}

pm_status pm__hf_piece(pm__hf_vocab *vocab, uint64_t id, uint64_t most, pm__span text, float score,
                       int32_t kind) {
    if (id >= PM__HF_MOST_VOCAB || id > most / 4 + 16)
        return pm__fail(
            PM_BAD_FILE,
            "folder: the tokenizer has a piece of id %llu, which is not within what its "
            "file can hold",
            (unsigned long long)id);
    PM_TRY(make_room(vocab, (size_t)id + 1));
    if (id >= vocab->n)
        vocab->n = (uint32_t)id + 1;
    vocab->texts[id] = text;
    vocab->scores[id] = score;
    vocab->kinds[id] = kind;
    return PM_OK;
}

bool pm__hf_is_byte(pm__span text) {
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
        return false;
    for (size_t i = 3; i < 5; i++)
        if (strchr("0123456789ABCDEFabcdef", text.data[i]) == NULL)
            return false;
    return true;
}

/* Ids without a piece, up to the rows of the embedding, get one that no text becomes. */
static pm_status fill(pm__hf_vocab *vocab, uint64_t n_row) {
    const uint32_t n = n_row > vocab->n ? (uint32_t)n_row : vocab->n;
    PM_TRY(make_room(vocab, n));
    for (uint32_t i = 0; i < n; i++) {
        char text[24];
        if (i < vocab->n && vocab->texts[i].data != NULL)
            continue;
        const int size = snprintf(text, sizeof text, "[PAD%u]", i);
        const char *copy = pm__arena_string(vocab->arena, text, (size_t)size);
        if (copy == NULL)
            return PM_OUT_OF_MEMORY;
        vocab->texts[i] = (pm__span){copy, (size_t)size};
        vocab->kinds[i] = PM__HF_UNUSED;
        vocab->scores[i] = -1000.0f;
    }
    vocab->n = n;
    return PM_OK;
}

static int32_t find(const pm__hf_vocab *vocab, const char *text) {
    const size_t n = strlen(text);
    for (uint32_t i = 0; i < vocab->n && n > 0; i++)
        if (vocab->texts[i].size == n && memcmp(vocab->texts[i].data, text, n) == 0)
            return (int32_t)i;
    return -1;
}

/* ---- special pieces -------------------------------------------------------------------------- */

/* A text, or an object with a text in `content`. */
static const char *special_text(const pm__hf *hf, const char *name) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(hf->tokenizer_config, name);
    if (cJSON_IsObject(value))
        value = cJSON_GetObjectItemCaseSensitive(value, "content");
    return cJSON_IsString(value) ? value->valuestring : "";
}

/* Id i of a number or a list of them; -1: none. */
static int32_t listed_id(const pm__hf_vocab *vocab, const cJSON *value, int i) {
    uint64_t id;
    if (cJSON_IsArray(value))
        value = cJSON_GetArrayItem(value, i);
    else if (i > 0)
        return -1;
    return vocab->n > 0 && pm__json_whole(value, vocab->n - 1, &id) ? (int32_t)id : -1;
}

/* As tokenizer_config.json says, or config.json, or what the vocabulary says itself. */
static int32_t special_id(const pm__hf *hf, const pm__hf_vocab *vocab, const char *text_name,
                          const char *id_name, int32_t otherwise) {
    int32_t id = find(vocab, special_text(hf, text_name));
    if (id < 0)
        id = listed_id(vocab, pm__hf_value(hf, id_name), 0);
    if (id < 0)
        id = listed_id(vocab, cJSON_GetObjectItemCaseSensitive(hf->generation, id_name), 0);
    return id >= 0 ? id : otherwise;
}

/* Another end than eos: the last one of a list. */
static int32_t find_turn_end(const pm__hf *hf, const pm__hf_vocab *vocab, int32_t eos) {
    const cJSON *lists[] = {cJSON_GetObjectItemCaseSensitive(hf->generation, "eos_token_id"),
                            pm__hf_value(hf, "eos_token_id")};
    for (size_t i = 0; i < PM__COUNT(lists); i++)
        for (int k = cJSON_IsArray(lists[i]) ? cJSON_GetArraySize(lists[i]) : 1; k-- > 0;) {
            const int32_t id = listed_id(vocab, lists[i], k);
            if (id >= 0 && id != eos)
                return id;
        }
    return -1;
}

static bool flag_of(const pm__hf *hf, const char *name, bool otherwise) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(hf->tokenizer_config, name);
    return cJSON_IsBool(value) ? cJSON_IsTrue(value) : otherwise;
}

static void add_id(pm__hf *hf, const char *name, int32_t id) {
    if (id >= 0)
        pm__keys_u32(&hf->keys, name, (uint32_t)id);
}

/* Special pieces that tokenizer_config.json lists by id, for vocabularies without
 * tokenizer.json. */
static pm_status add_decoder(const pm__hf *hf, pm__hf_vocab *vocab, size_t most) {
    const cJSON *list =
        cJSON_GetObjectItemCaseSensitive(hf->tokenizer_config, "added_tokens_decoder");
    const cJSON *entry;
    cJSON_ArrayForEach(entry, list) {
        const cJSON *content = cJSON_GetObjectItemCaseSensitive(entry, "content");
        const bool special = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(entry, "special"));
        uint64_t id = 0;
        const char *at = entry->string;
        for (; *at >= '0' && *at <= '9' && id < PM__HF_MOST_VOCAB; at++)
            id = 10 * id + (uint64_t)(*at - '0');
        if (*at != '\0' || at == entry->string || !cJSON_IsString(content))
            return pm__fail(PM_BAD_FILE,
                            "folder: tokenizer_config.json: added_tokens_decoder holds '%.40s', "
                            "which is no id with its content",
                            entry->string);
        const bool known = id < vocab->n && vocab->kinds[id] != PM__HF_NORMAL;
        if (known && !(special && vocab->kinds[id] == PM__HF_USER))
            continue;
        PM_TRY(pm__hf_piece(vocab, id, most,
                            (pm__span){content->valuestring, strlen(content->valuestring)},
                            -1000.0f, special ? PM__HF_CONTROL : PM__HF_USER));
    }
    return PM_OK;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void add_keys(pm__hf *hf, pm__hf_vocab *vocab) {
    pm__keys *keys = &hf->keys;
    pm__keys_text(keys, "tokenizer.ggml.model", vocab->model);
    if (vocab->pre != NULL)
        pm__keys_text(keys, "tokenizer.ggml.pre", vocab->pre);
    pm__keys_spans(keys, "tokenizer.ggml.tokens", vocab->texts, vocab->n);
    if (vocab->has_scores)
        pm__keys_f32s(keys, "tokenizer.ggml.scores", vocab->scores, vocab->n);
    pm__keys_i32s(keys, "tokenizer.ggml.token_type", vocab->kinds, vocab->n);
    if (vocab->merges != NULL)
        pm__keys_spans(keys, "tokenizer.ggml.merges", vocab->merges, vocab->n_merge);
    const int32_t eos = special_id(hf, vocab, "eos_token", "eos_token_id", vocab->eos);
    add_id(hf, "tokenizer.ggml.bos_token_id",
           special_id(hf, vocab, "bos_token", "bos_token_id", vocab->bos));
    add_id(hf, "tokenizer.ggml.eos_token_id", eos);
    add_id(hf, "tokenizer.ggml.eot_token_id", find_turn_end(hf, vocab, eos));
    add_id(hf, "tokenizer.ggml.unknown_token_id",
           special_id(hf, vocab, "unk_token", "unk_token_id", vocab->unknown));
    add_id(hf, "tokenizer.ggml.padding_token_id",
           special_id(hf, vocab, "pad_token", "pad_token_id", -1));
    pm__keys_bool(keys, "tokenizer.ggml.add_bos_token",
                  flag_of(hf, "add_bos_token", vocab->adds_bos));
    pm__keys_bool(keys, "tokenizer.ggml.add_eos_token",
                  flag_of(hf, "add_eos_token", vocab->adds_eos));
    if (strcmp(vocab->model, "llama") == 0)
        pm__keys_bool(keys, "tokenizer.ggml.add_space_prefix", vocab->adds_space);
}

/* The key of a template: that of the default has no name behind it. */
static void add_named(pm__hf *hf, const char *name, pm__span text) {
    char key[128];
    for (const char *c = name; *c != '\0'; c++)
        if (*c < '!' || *c > '~')
            return; /* no name that anybody could ask for */
    const int n = strcmp(name, "default") == 0
                      ? snprintf(key, sizeof key, "tokenizer.chat_template")
                      : snprintf(key, sizeof key, "tokenizer.chat_template.%s", name);
    if (n > 0 && (size_t)n < sizeof key)
        pm__keys_span(&hf->keys, key, text);
}

static pm_status add_file(pm__hf *hf, const char *path) {
    pm__file_map map;
    PM_TRY(pm__file_map_init(&map, path));
    add_named(hf, "default", (pm__span){map.data != NULL ? (const char *)map.data : "", map.size});
    pm__file_map_finish(&map);
    return PM_OK;
}

static pm__span span_of(const cJSON *text) {
    return (pm__span){text->valuestring, strlen(text->valuestring)};
}

/* chat_template is a text, or a list of named ones; a file of its own stands for the default. */
static pm_status add_templates(pm__hf *hf) {
    char path[PM__HF_MOST_PATH];
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(hf->tokenizer_config, "chat_template");
    const cJSON *entry;
    const bool has_file = pm__hf_path(hf, "chat_template.jinja", path) && access(path, F_OK) == 0;
    if (has_file)
        PM_TRY(add_file(hf, path));
    else if (cJSON_IsString(value))
        add_named(hf, "default", span_of(value));
    cJSON_ArrayForEach(entry, value) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(entry, "name");
        const cJSON *text = cJSON_GetObjectItemCaseSensitive(entry, "template");
        if (cJSON_IsString(name) && cJSON_IsString(text) &&
            !(has_file && strcmp(name->valuestring, "default") == 0))
            add_named(hf, name->valuestring, span_of(text));
    }
    return PM_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static pm_status read_vocabulary(pm__hf *hf, tokenizer_files *files) {
    pm__hf_vocab *vocab = &files->vocab;
    char path[PM__HF_MOST_PATH];
    *vocab = (pm__hf_vocab){.arena = &files->arena, .bos = -1, .eos = -1, .unknown = -1};
    PM_TRY(pm__hf_json(hf, "tokenizer.json", PM__HF_MOST_TOKENIZER, &files->json));
    const bool has_model = pm__hf_path(hf, "tokenizer.model", path) && access(path, F_OK) == 0;
    if (files->json == NULL && !has_model)
        return pm__fail(PM_BAD_FILE, "folder: %s has neither tokenizer.json nor tokenizer.model",
                        hf->folder);
    if (!has_model || (files->json != NULL && pm__hf_is_byte_level(files->json)))
        return pm__hf_bpe(vocab, files->json);
    PM_TRY(pm__file_map_init(&files->model, path));
    PM_TRY(pm__hf_spm(vocab, files->model.data, files->model.size));
    PM_TRY(add_decoder(hf, vocab, files->model.size));
    return files->json != NULL ? pm__hf_added(vocab, files->json) : PM_OK;
}

static pm_status read_all(pm__hf *hf, tokenizer_files *files) {
    uint64_t n_row = 0;
    PM_TRY(read_vocabulary(hf, files));
    for (size_t i = 0; i < hf->n_tensor; i++)
        if (strcmp(hf->tensors[i].name, "token_embd.weight") == 0)
            n_row = hf->tensors[i].shape[1];
    if (n_row > PM__HF_MOST_VOCAB)
        return pm__fail(PM_BAD_FILE, "folder: the embedding has %llu rows; at most %d are read",
                        (unsigned long long)n_row, PM__HF_MOST_VOCAB);
    PM_TRY(fill(&files->vocab, n_row));
    add_keys(hf, &files->vocab);
    PM_TRY(hf->keys.status);
    return add_templates(hf);
}

pm_status pm__hf_tokenizer(pm__hf *hf) {
    tokenizer_files files = {0};
    const pm_status status = read_all(hf, &files);
    cJSON_Delete(files.json);
    pm__file_map_finish(&files.model);
    pm__arena_finish(&files.arena);
    return status;
}
