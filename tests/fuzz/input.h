/* input.h: what the fuzz targets share: values out of the bytes of an input, and a check that does
 * not vanish from release builds. */
#ifndef PM_TESTS_FUZZ_INPUT_H
#define PM_TESTS_FUZZ_INPUT_H

#include "format/gguf.h"
#include "tests/vocabulary.h"

/* One target a program. Data [size] ends where its allocation does. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must be true for every input. */
#define PM__HOLDS(condition)                                                                       \
    ((condition) ? (void)0 : pm__input_broken(#condition, __FILE__, __LINE__))
_Noreturn void pm__input_broken(const char *what, const char *file, int line);

/* Bytes that no call has taken yet; what is past the end reads as zeros. */
typedef struct pm__input {
    const uint8_t *at;
    size_t left;
} pm__input;

uint8_t pm__input_u8(pm__input *in);
uint16_t pm__input_u16(pm__input *in);
uint64_t pm__input_u64(pm__input *in);
/* The next n bytes, or as many as there are. */
pm__span pm__input_bytes(pm__input *in, size_t n);

/* A copy that ends where its allocation does; NULL for no bytes. Freed by the caller. */
uint8_t *pm__input_copy(const void *data, size_t size);

/* Reads all of it, so that the sanitizers see a wrong span. */
void pm__input_read(const void *data, size_t size);

/* Log lines are looked at, and not shown. Called first by each target. */
void pm__input_quiet(void);
/* Fit for a terminal: UTF-8 without control characters. */
bool pm__input_is_plain(const char *text, size_t n);
/* A failure has one of the given statuses and a sentence that is fit for a terminal. */
void pm__input_failed(pm_status status, const pm_status *allowed, size_t n_allowed);

/* Characters of text for the broken bytes in it, as any output must have them. Freed by the caller.
 */
char *pm__input_clean(const char *text, size_t n, size_t *n_out);

/* A vocabulary as the next bytes say. First byte, flags: FILE: a length of 16 bits and a GGUF file
 * follow; else a list of pieces (see input.c). */
enum {
    PM__INPUT_BYTE_LEVEL = 1, /* gpt2, else llama; t5: remove_extra_whitespaces; bert: accents */
    PM__INPUT_SPACE = 2,      /* add_space_prefix; bert: lowercase */
    PM__INPUT_BOS = 4,        /* id 0 is put before each text */
    PM__INPUT_ALL_BYTES = 8,  /* each byte has a piece */
    PM__INPUT_KIND = 112,     /* 0: gpt2 or llama; else t5, bert, rwkv, gemma4, 16 apart */
    PM__INPUT_T5 = 16,
    PM__INPUT_BERT = 32,
    PM__INPUT_RWKV = 48,
    PM__INPUT_GEMMA4 = 64,
    PM__INPUT_FILE = 128
};
pm_status pm__input_vocabulary(pm__input *in, pm__vocabulary *out);

#endif
