/* fake_backend.h: a device that runs no model. Its next token is a hash of the tokens that the
 * sequence's pages hold, so a test can foretell every token, and any slip with pages, positions or
 * history gives another one. It fails the test at once where the engine breaks the protocol of
 * graph/backend.h. */
#ifndef PM_TESTS_FAKE_BACKEND_H
#define PM_TESTS_FAKE_BACKEND_H

#include "engine/internal.h"

enum { FAKE_VOCAB = 300, FAKE_BOS = 1, FAKE_EOS = 2, FAKE_BYTE = 3 /* token of byte 0 */ };

/* What a test may set before it opens a session. */
typedef struct fake_settings {
    uint32_t most_ahead;
    uint32_t most_rows;    /* rows of a step that keep it within the time budget; 0: n_batch */
    uint32_t end_one_in;   /* about one token in so many is FAKE_EOS; 0: none */
    const int32_t *script; /* [n_script] the token drawn for each position; NULL: the hash */
    uint32_t n_script;
    uint32_t fail_submit; /* the submit of this number (from 1) fails; 0: none */
    uint32_t stale_step;  /* the step of this number (from 1) changes no drawn token; 0: none */
    uint32_t
        wild_step; /* the step of this number (from 1) draws a token past the vocabulary; 0: none */
    bool reopens;  /* the device can be opened again after it was lost */
    uint32_t lose_at[2]; /* operations (from 1) at which the device is lost; 0: none */
    bool fail_reopen;
    bool has_states; /* the hash is carried from token to token, and cannot go back */
    /* In every hash, so that a row evaluated among others is noticed. */
    bool shows_among;
    bool few_as_together; /* of those, what is computed among few is not told from the rest */
} fake_settings;

/* What it saw. */
typedef struct fake_counts {
    uint32_t n_begin, n_submit, n_copy, n_context, n_weights;
    uint32_t n_copy_state;
    uint32_t n_row; /* of all steps that were submitted */
    uint32_t n_operation, n_reopen;
    uint32_t most_in_flight;
    uint32_t most_rows, n_alone; /* of steps that were begun: most rows, steps of a row alone */
} fake_counts;

extern fake_settings fake;
extern fake_counts fake_seen;

extern const pm__backend fake_backend; /* as long as fake.reopens is not set */

/* A vocabulary of bytes and a few whole words, as a tokenizer of SentencePiece's kind. */
pm__tokenizer *fake_tokenizer_create(void);
void fake_tokenizer_destroy(pm__tokenizer *tokenizer);
/* The token of a byte. */
int32_t fake_byte(char c);

/* A session over the fake; close it with pm_session_close. Sessions that are open together are of
 * one model. */
pm_status fake_session_try(const pm__tokenizer *tokenizer, const pm_session_desc *desc,
                           pm_session **out);
pm_session *fake_session_open(const pm__tokenizer *tokenizer, uint32_t n_ctx, uint32_t n_batch,
                              uint32_t n_seq);

/* What the fake draws after tokens [n], and the hash it gives with it. `looks_back`: tokens the
 * sampler looks back. */
int32_t fake_next(const int32_t *tokens, uint32_t n, uint64_t seed, uint32_t looks_back,
                  uint32_t *hash);
/* Logit of token id after tokens [n]. */
float fake_logit(const int32_t *tokens, uint32_t n, uint32_t id);

#endif
