/* tokenizer.h: text to token ids and back, for the tokenizers found in GGUF files.
 *
 * One pm__tokenizer holds what all kinds share (pieces, kinds of pieces, special ids, the trie of
 * special texts); the kinds (tokenizers.def) add their own tables and one function, encode. */
#ifndef PM_TEXT_TOKENIZER_H
#define PM_TEXT_TOKENIZER_H

#include "../format/gguf.h"

typedef struct pm__tokenizer pm__tokenizer;

/* Values of tokenizer.ggml.token_type. */
typedef enum pm__piece_kind {
    PM__PIECE_NORMAL = 1,
    PM__PIECE_UNKNOWN = 2,
    PM__PIECE_CONTROL = 3,
    PM__PIECE_USER = 4,
    PM__PIECE_UNUSED = 5,
    PM__PIECE_BYTE = 6
} pm__piece_kind;

/* Growing list of ids. */
typedef struct pm__ids {
    int32_t *data;
    size_t n, capacity;
} pm__ids;

pm_status pm__ids_push(pm__ids *ids, int32_t id);
void pm__ids_finish(pm__ids *ids);

/* Reads tokenizer.ggml.*; the gguf and its bytes must outlive the tokenizer.
 * errors  BAD_FILE (arrays of different lengths or types, ids out of range, ...), UNSUPPORTED
 * (names the model or pre-tokenizer) */
pm_status pm__tokenizer_create(const pm__gguf *gguf, pm__tokenizer **out);
void pm__tokenizer_destroy(pm__tokenizer *tokenizer);

/* What the kind is called, and the name of its expressions ("" where it has none). */
const char *pm__tokenizer_kind_words(const pm__tokenizer *tokenizer);
const char *pm__tokenizer_pre(const pm__tokenizer *tokenizer);
uint32_t pm__tokenizer_n_vocab(const pm__tokenizer *tokenizer);
int32_t pm__tokenizer_bos(const pm__tokenizer *tokenizer); /* -1: none */
int32_t pm__tokenizer_eos(const pm__tokenizer *tokenizer);
int32_t pm__tokenizer_eot(const pm__tokenizer *tokenizer);
bool pm__tokenizer_adds_bos(const pm__tokenizer *tokenizer);
/* True for every id that ends an answer: eos, eot, and control pieces that mean the same
 * (<|im_end|>, <|eot_id|>, <end_of_turn>, ...). */
bool pm__tokenizer_is_end(const pm__tokenizer *tokenizer, int32_t id);

/* Bytes [begin, end) of a text. */
typedef struct pm__range {
    size_t begin, end;
} pm__range;

/* The parts of a text that are data, in which no control piece may be found: in order, apart, none
 * empty. */
typedef struct pm__ranges {
    const pm__range *first;
    size_t n;
} pm__ranges;

/* Appends the ids of n bytes of text. add_special: BOS/EOS as the file asks. parse_special: texts
 * of control and user-defined pieces become their ids; otherwise only user-defined ones do, control
 * texts are plain text. Broken UTF-8 is data, not an error. Time is linear in n but for a
 * logarithm.
 * errors  ARGUMENT (more than 512 MiB; a byte for which a byte-level vocabulary has no piece),
 * BAD_FILE (a charsmap that points outside of itself), OUT_OF_MEMORY; ids appended before the
 * failure stay. */
pm_status pm__tokenizer_encode(const pm__tokenizer *tokenizer, const char *text, size_t n,
                               bool add_special, bool parse_special, pm__ids *out);
/* The same for a text with data in it: control pieces are found where no byte of theirs is data,
 * all else is plain text. The borders of the data divide nothing. */
pm_status pm__tokenizer_encode_around(const pm__tokenizer *tokenizer, pm__span text,
                                      pm__ranges data, bool add_special, pm__ids *out);

/* The bytes of a piece; control pieces are empty unless `special`. Valid as long as the tokenizer.
 * An id out of range is empty. */
pm__span pm__tokenizer_piece(const pm__tokenizer *tokenizer, int32_t id, bool special);

/* Ids come one by one, whole UTF-8 characters go out. */
typedef struct pm__detokenizer {
    const pm__tokenizer *tokenizer;
    bool special;    /* show control pieces */
    bool started;    /* SentencePiece drops the blank that it put before the first word */
    char pending[4]; /* bytes of a character that is not complete */
    size_t n_pending;
    char *text; /* what the last call made; owned */
    size_t capacity;
} pm__detokenizer;

void pm__detokenizer_init(pm__detokenizer *detokenizer, const pm__tokenizer *tokenizer,
                          bool special, bool at_text_start);
/* *text: the characters that id completes (may be empty), valid until the next call. */
pm_status pm__detokenizer_push(pm__detokenizer *detokenizer, int32_t id, pm__span *text);
/* What is left; broken bytes become U+FFFD. */
pm_status pm__detokenizer_flush(pm__detokenizer *detokenizer, pm__span *text);
void pm__detokenizer_finish(pm__detokenizer *detokenizer);

#endif
