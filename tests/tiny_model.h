/* tiny_model.h: a Llama of random weights, made in memory: no size is a multiple of a tile or like
 * another one, several tensor types are there, and a tokenizer of bytes and words. */
#ifndef PM_TESTS_TINY_MODEL_H
#define PM_TESTS_TINY_MODEL_H

#include "graph/model.h"

enum { PM__TINY_VOCAB = 331 };

typedef struct pm__tiny_model {
    uint8_t *file; /* a GGUF file */
    size_t n_byte;
    pm__gguf gguf;
    pm__model_def def;
    pm__graph graph;
} pm__tiny_model;

/* Layers 0, 1 and 2 are F16, Q8_0 and Q4_0, the embedding is Q8_0, the output F32. n_layer: 1 to
 * 3. */
void pm__tiny_model_init(pm__tiny_model *model, uint32_t n_layer);
void pm__tiny_model_finish(pm__tiny_model *model);
/* As a file, for pm_model_open. */
void pm__tiny_model_write(const pm__tiny_model *model, const char *path);

#endif
