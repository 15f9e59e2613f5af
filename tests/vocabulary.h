/* vocabulary.h: tokenizers for tests: of files, and of small vocabularies written here. */
#ifndef PM_TESTS_VOCABULARY_H
#define PM_TESTS_VOCABULARY_H

#include "base/file_map.h"
#include "text/tokenizer.h"

/* A GGUF file in memory that holds keys only. Zeroed is empty. */
typedef struct pm__writer {
    uint8_t *data;
    size_t size, capacity;
    uint64_t n_key;
} pm__writer;

void pm__write_text(pm__writer *out, const char *key, const char *text);
void pm__write_u32(pm__writer *out, const char *key, uint32_t value);
void pm__write_bool(pm__writer *out, const char *key, bool value);
void pm__write_texts(pm__writer *out, const char *key, const char *const *texts, size_t n);
void pm__write_i32s(pm__writer *out, const char *key, const int32_t *values, size_t n);
void pm__write_f32s(pm__writer *out, const char *key, const float *values, size_t n);
void pm__write_i8s(pm__writer *out, const char *key, const int8_t *values, size_t n);

/* A vocabulary of small_vocabularies.h, and the ids it gives for each of small_texts there, -1
 * after each text's. */
typedef struct pm__small_vocabulary {
    const char *model;
    const char *const *pieces;
    const int32_t *kinds;
    const float *scores;
    const char *const *merges;
    const int8_t *charsmap;
    const int32_t *ids;
    size_t n, n_merge, n_charsmap;
    int32_t unknown;
    bool space, merges_blanks, lowers, strips;
} pm__small_vocabulary;

void pm__write_small(pm__writer *out, const pm__small_vocabulary *v);

/* A tokenizer with what it reads from. Zeroed is closed. */
typedef struct pm__vocabulary {
    pm__writer written;
    pm__file_map map;
    pm__gguf gguf;
    bool has_gguf;
    pm__tokenizer *tokenizer;
} pm__vocabulary;

/* Each closes again when it fails. The writer's bytes go over to the vocabulary. */
pm_status pm__vocabulary_open(pm__vocabulary *vocabulary, const char *path);
pm_status pm__vocabulary_open_written(pm__vocabulary *vocabulary, pm__writer *written);
void pm__vocabulary_close(pm__vocabulary *vocabulary);

#endif
