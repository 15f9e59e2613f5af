/* hf.h: a folder as models are published on Hugging Face, seen as keys and tensors of a GGUF file:
 * config.json and generation_config.json become keys, tensors of the safetensors files get the
 * names and the order of rows that GGUF files have, tokenizer.model or tokenizer.json becomes
 * tokenizer.ggml.*. What is known of model families is the tables of hf.def; anything else is
 * refused by name, never guessed.
 *
 * Tensors stay where the files are mapped; vectors become F32, as GGUF files have them. */
#ifndef PM_SOURCE_HF_H
#define PM_SOURCE_HF_H

#include "../format/json.h"
#include "../format/keys.h"
#include "../format/safetensors.h"
#include "source.h"

enum {
#define PM_HF_GROUP(NAME) PM__HF_##NAME##_BIT,
#include "hf.def"
    PM__HF_N_GROUP
};

#define PM__HF(NAME) ((uint32_t)1 << PM__HF_##NAME##_BIT)

typedef struct pm__hf_family {
    const char *model_type, *arch;
    uint32_t groups;
    const char *activation;
} pm__hf_family;

enum {
    PM__HF_MOST_PATH = 4096,
    PM__HF_MOST_CONFIG = 1 << 16,    /* values of JSON in a small file */
    PM__HF_MOST_TOKENIZER = 1 << 23, /* in tokenizer.json */
    PM__HF_MOST_LAYER = 1024,
    PM__HF_MOST_EXPERT = 4096,
    PM__HF_MOST_VOCAB = 1 << 22
};

/* While a folder is opened. */
typedef struct pm__hf {
    pm__source *source;
    const char *folder;
    cJSON *root;         /* of config.json; NULL: none */
    const cJSON *config; /* root, or the part of it that is about text */
    cJSON *tokenizer_config, *generation;
    const pm__hf_family *family;
    pm__keys keys;
    pm__safetensors *files; /* [n_file] */
    uint32_t n_file;
    /* What the tensors need, from config.json. */
    uint32_t n_layer, n_head, n_head_kv, n_rot;
    uint32_t n_expert; /* 0: none */
    bool tied;
    const float *rope_factors[3]; /* [n_rot / 2] llama3, long, short; or NULL */
    pm__gguf_tensor *tensors;     /* [n_tensor] */
    size_t n_tensor;
} pm__hf;

/* Opens source->files and source->gguf from a folder.
 * errors  BAD_FILE, UNSUPPORTED (their sentences begin with "folder: "), OUT_OF_MEMORY */
pm_status pm__hf_open(pm__source *source, const char *path);

/* The path of a file of the folder; false if it is too long. */
bool pm__hf_path(const pm__hf *hf, const char *name, char out[PM__HF_MOST_PATH]);
/* A file of the folder as JSON, an object; *out is NULL if there is no such file. */
pm_status pm__hf_json(const pm__hf *hf, const char *name, size_t most, cJSON **out);

/* ---- hf_config.c ----------------------------------------------------------------------------- */

/* Family, keys of the architecture, what the tensors need. */
pm_status pm__hf_config(pm__hf *hf);
/* A value of config.json that is there and not null, else NULL. */
const cJSON *pm__hf_value(const pm__hf *hf, const char *name);
/* errors  BAD_FILE: no whole number of at least 1 and at most `most`; 0 stands for none */
pm_status pm__hf_whole(const pm__hf *hf, const char *name, uint32_t most, uint32_t *out);
/* Keys below the architecture's name. */
void pm__hf_u32(pm__hf *hf, const char *suffix, uint32_t value);
void pm__hf_f32(pm__hf *hf, const char *suffix, double value);
void pm__hf_text(pm__hf *hf, const char *suffix, const char *value);

/* ---- hf_rope.c ------------------------------------------------------------------------------- */

/* Keys and factors of rope_theta, rope_scaling, rope_parameters. n_rot and n_head are set. */
pm_status pm__hf_rope(pm__hf *hf);

/* ---- hf_tensors.c ---------------------------------------------------------------------------- */

/* Opens the safetensors files; sets hf->tensors. */
pm_status pm__hf_tensors(pm__hf *hf);

/* ---- hf_tokenizer.c -------------------------------------------------------------------------- */

/* Keys tokenizer.ggml.*, a piece for every row of the embedding. */
pm_status pm__hf_tokenizer(pm__hf *hf);

/* A vocabulary as it is read; all is in an arena. */
typedef struct pm__hf_vocab {
    pm__arena *arena;
    pm__span *texts; /* [n] without data: no piece of that id yet */
    float *scores;   /* [n] */
    int32_t *kinds;  /* [n] as in tokenizer.ggml.token_type */
    uint32_t n;
    size_t room;
    const char *model, *pre; /* pre: NULL where there is none */
    const pm__span *merges;  /* [n_merge] "left right" */
    size_t n_merge;
    int32_t bos, eos, unknown; /* -1: none */
    bool adds_bos, adds_eos, adds_space;
    bool has_scores;
} pm__hf_vocab;

enum { PM__HF_NORMAL = 1, PM__HF_UNKNOWN, PM__HF_CONTROL, PM__HF_USER, PM__HF_UNUSED, PM__HF_BYTE };

/* Piece `id`, which may lie beyond n, but not far beyond the pieces that a file can hold: `most` of
 * them. */
pm_status pm__hf_piece(pm__hf_vocab *vocab, uint64_t id, uint64_t most, pm__span text, float score,
                       int32_t kind);
/* "<0x0A>" */
bool pm__hf_is_byte(pm__span text);

/* ---- hf_spm.c -------------------------------------------------------------------------------- */

/* tokenizer.model: a SentencePiece model of n bytes, which must outlive the vocabulary. */
pm_status pm__hf_spm(pm__hf_vocab *vocab, const uint8_t *data, size_t n);

/* ---- hf_bpe.c -------------------------------------------------------------------------------- */

/* True for a byte-level vocabulary of tokenizer.json. */
bool pm__hf_is_byte_level(const cJSON *json);
pm_status pm__hf_bpe(pm__hf_vocab *vocab, const cJSON *json);
/* The pieces of added_tokens. */
pm_status pm__hf_added(pm__hf_vocab *vocab, const cJSON *json);

#endif
