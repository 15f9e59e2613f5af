/* synth_vocabulary.c: a vocabulary for models that have learned nothing. */
#include "synth.h"

#include "../base/utf8.h"

#include <string.h>

static const char *const controls[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
static const char *const merges[] = {"t h", "i n", "e r", "a n", "o n", "h e"};
static const char chat_template[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";

enum { N_BYTE = 256, MOST_WORD = 12, CONTROL = 3, NORMAL = 1 };

/* The letter of a byte in vocabularies over bytes: itself where it is visible, else the next of
 * those from 256 on. */
static uint32_t letter_of(uint32_t byte, uint32_t *hidden) {
    const bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
    return visible ? byte : 256 + (*hidden)++;
}

/* Word i of letters: two of them at least, then all of three, and so on. */
static size_t word_of(uint32_t i, char out[MOST_WORD]) {
    size_t n = 2;
    uint32_t of_length = 26 * 26;
    for (; i >= of_length; n++, of_length *= 26)
        i -= of_length;
    for (size_t k = n; k-- > 0; i /= 26)
        out[k] = (char)('a' + i % 26);
    return n;
}

/* Text of piece `id`; false without memory. */
static bool set_text(pm__arena *arena, uint32_t id, uint32_t *hidden, pm__span *out) {
    char text[MOST_WORD + 4];
    size_t n;
    if (id >= N_BYTE && id < N_BYTE + PM__COUNT(controls)) {
        *out = (pm__span){controls[id - N_BYTE], strlen(controls[id - N_BYTE])};
        return true;
    }
    if (id < N_BYTE)
        n = pm__utf8_encode(letter_of(id, hidden), text);
    else
        n = word_of(id - N_BYTE - (uint32_t)PM__COUNT(controls), text);
    const char *copy = pm__arena_string(arena, text, n);
    *out = (pm__span){copy, n};
    return copy != NULL;
}

static void put_text(pm__gguf_writer *w, const char *name, const char *text) {
    pm__gguf_put_string(w, name, text, strlen(text));
}

static pm_status put_all(pm__gguf_writer *w, pm__arena *arena, uint32_t n_vocab) {
    pm__span *texts = pm__arena_array(arena, n_vocab, sizeof *texts);
    int32_t *kinds = pm__arena_array(arena, n_vocab, sizeof *kinds);
    pm__span pairs[PM__COUNT(merges)];
    uint32_t hidden = 0;
    if (texts == NULL || kinds == NULL)
        return PM_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (!set_text(arena, i, &hidden, &texts[i]))
            return PM_OUT_OF_MEMORY;
        kinds[i] = i >= N_BYTE && i < N_BYTE + PM__COUNT(controls) ? CONTROL : NORMAL;
    }
    /* The words of two letters, that merges make, are not there in the smallest vocabularies. */
    const size_t n_pair = n_vocab >= N_BYTE + PM__COUNT(controls) + 26 * 26 ? PM__COUNT(merges) : 0;
    for (size_t i = 0; i < n_pair; i++)
        pairs[i] = (pm__span){merges[i], strlen(merges[i])};
    put_text(w, "tokenizer.ggml.model", "gpt2");
    put_text(w, "tokenizer.ggml.pre", "gpt-2");
    pm__gguf_put_strings(w, "tokenizer.ggml.tokens", texts, n_vocab);
    pm__gguf_put_i32s(w, "tokenizer.ggml.token_type", kinds, n_vocab);
    pm__gguf_put_strings(w, "tokenizer.ggml.merges", pairs, n_pair);
    pm__gguf_put_u32(w, "tokenizer.ggml.bos_token_id", N_BYTE);
    pm__gguf_put_u32(w, "tokenizer.ggml.eos_token_id", N_BYTE + 2);
    pm__gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    put_text(w, "tokenizer.chat_template", chat_template);
    return PM_OK;
}

pm_status pm__synth_vocabulary(pm__gguf_writer *writer, uint32_t n_vocab) {
    pm__arena arena = {0};
    const pm_status status = put_all(writer, &arena, n_vocab);
    pm__arena_finish(&arena);
    return status;
}
