/* pumice.h: large language models on any GPU with a Vulkan driver.
 *
 *   1. pm_device_open    choose a Vulkan device, or "cpu"
 *   2. pm_model_open     read a model file and place its weights on the device
 *   3. pm_session_open   reserve context; from here on no device memory is taken
 *   4. pm_generate       prompt in, text out; or pm_session_eval for logits
 *
 * pumice does NOT abort, exit, print (unless a log callback is missing), read environment variables
 * other than XDG_CACHE_HOME, HOME, PUMICE_SHADER_DIR and those of the Vulkan loader, or fall back
 * to another device on its own.
 *
 * A device that is lost (a driver gave up on work, a GPU was reset, work was reported as done that
 * was not) is opened again by the call that notices it: weights come back from the file, the caches
 * of a session from its tokens, and the call goes on with the same bits as if nothing had happened.
 * A warning says so. A second loss within one call ends it with DEVICE_LOST, and the session is
 * finished; device and model are still good, and the next call that needs them tries again.
 *
 * Every function that can fail returns pm_status; the sentence that says what failed, where, and
 * what to try is in pm_last_error() of the same thread. Handles are written only on PM_OK. A desc
 * of zeros asks for defaults. close(NULL) does nothing. One handle is used by one thread at a time;
 * a device outlives its models, a model its sessions. Strings are UTF-8. */
#ifndef PUMICE_H
#define PUMICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PM_VERSION "0.1.0"

#if defined(__GNUC__)
#define PM_API __attribute__((visibility("default")))
#else
#define PM_API
#endif

/* ---- status and log -------------------------------------------------------------------------- */

/* X(name, value, exit code of the program, text). Part of the ABI: append, never renumber. */
#define PM_STATUS_LIST(X)                                                                          \
    X(OK, 0, 0, "success")                                                                         \
    X(FAILURE, 1, 1, "failure")                                                                    \
    X(ARGUMENT, 2, 2, "bad argument")                                                              \
    X(BAD_FILE, 3, 3, "bad input file")                                                            \
    X(UNSUPPORTED, 4, 3, "unsupported input file")                                                 \
    X(NO_DEVICE, 5, 4, "no suitable device")                                                       \
    X(OUT_OF_MEMORY, 6, 5, "out of memory")                                                        \
    X(DEVICE_LOST, 7, 6, "device lost")                                                            \
    X(CHECK_FAILED, 8, 7, "check failed")                                                          \
    X(CONTEXT_FULL, 9, 1, "context full")                                                          \
    X(CANCELLED, 10, 130, "interrupted")

#define PM_STATUS_ENUM(name, value, exit_code, text) PM_##name = value,
typedef enum pm_status { PM_STATUS_LIST(PM_STATUS_ENUM) PM_STATUS_END } pm_status;
#undef PM_STATUS_ENUM

PM_API const char *pm_status_text(pm_status status);
PM_API int pm_status_exit_code(pm_status status);
PM_API const char *pm_last_error(void); /* "" if nothing has failed on this thread */

typedef enum pm_log_level { PM_LOG_ERROR, PM_LOG_WARN, PM_LOG_INFO, PM_LOG_DEBUG } pm_log_level;
typedef void (*pm_log_fn)(void *user, pm_log_level level, const char *line);

/* Sends lines up to level `most` to fn (NULL: stderr, the default, with PM_LOG_WARN). Process-wide:
 * to be set before other threads use the library. fn may be called by any thread that does. */
PM_API void pm_set_log(pm_log_level most, pm_log_fn fn, void *user);

/* Progress of long work: done of total units of `what`. false ends it with CANCELLED. */
typedef bool (*pm_progress_fn)(void *user, const char *what, uint64_t done, uint64_t total);

/* Takes the next n bytes of a file that is written front to back. false ends the writing with
 * FAILURE. */
typedef bool (*pm_write_fn)(void *user, const void *data, size_t n);

/* ---- devices --------------------------------------------------------------------------------- */

typedef struct pm_device pm_device;

typedef struct pm_tier_info {
    const char *tier; /* "plain", "subgroup" */
    bool available;
    bool used;       /* available, and kernels of it are what such a device takes by default */
    const char *why; /* one sentence, whether available or not */
} pm_tier_info;

#define PM_NO_INDEX 0xffffffffu

typedef struct pm_device_info {
    uint32_t index; /* as --device takes it; PM_NO_INDEX: opened by "cpu", without a list */
    const char *name;
    const char *kind;   /* cpu, software, integrated, discrete, virtual */
    const char *driver; /* name and version */
    const char *api;    /* "1.3.239"; "" for the CPU path */
    char pci[40];       /* "0000:03:00.0" on its bus; "": it is on none, or nobody tells */
    uint64_t memory_bytes;
    uint32_t subgroup_min, subgroup_max; /* 0 for the CPU path */
    const pm_tier_info *tiers;
    size_t n_tier;
    bool usable;
    const char *why; /* why it was chosen, or why it is not usable */
} pm_device_info;

typedef struct pm_device_desc {
    /* "cpu", an index, or a Vulkan device's name or a part of it, in upper or lower case. NULL: the
     * best GPU, else the best software driver; never the CPU path. */
    const char *name;
    bool require_gpu;      /* refuse cpu and software drivers: NO_DEVICE */
    uint32_t n_thread;     /* of the CPU path and of shader compilation; 0: one a processor */
    const char *cache_dir; /* SPIR-V and pipelines; NULL: $XDG_CACHE_HOME/pumice; "": no cache */
    uint32_t submit_ms;    /* time budget of one submission; 0: 100 */
    /* Most device memory that models and sessions take together: of a discrete GPU its own memory,
     * where memory is shared all of it, on the CPU path the mapped model file included. 0: no limit
     * but what is free. */
    uint64_t max_memory_bytes;
    /* Research: a step of one row runs its layers in one launch, in which workgroups wait for each
     * other, where a session finds that the driver runs enough of them at the same time. Vulkan
     * does not promise that, so waits end, and then the session takes single launches; pm_log says
     * so. */
    bool one_dispatch;
} pm_device_desc;

/* errors  NO_DEVICE (nothing fits `name`, not usable, no loader, no driver),
 *         ARGUMENT (`name` fits several; lists them) */
PM_API pm_status pm_device_open(const pm_device_desc *desc, pm_device **out);
PM_API void pm_device_close(pm_device *device);
PM_API const pm_device_info *pm_device_get_info(const pm_device *device);

/* What a device can do at most, as two small kernels and its own copy find out. */
typedef struct pm_device_speed {
    double copy_bytes_per_second; /* read and written, from and to its memory */
    double flops_per_second;      /* of fp32; a multiply-add is two */
} pm_device_speed;

/* Measured by the first call that succeeds, within a second; takes up to 512 MiB of memory
 * meanwhile.
 * errors  UNSUPPORTED: the CPU path; OUT_OF_MEMORY, DEVICE_LOST */
PM_API pm_status pm_device_measure(pm_device *device, pm_device_speed *out);
/* What was measured of it last, also by another run with the same driver that used the same cache
 * directory; false: nothing was. */
PM_API bool pm_device_get_speed(const pm_device *device, pm_device_speed *out);

/* Every Vulkan device and the CPU path (always last). Free with pm_device_list_free. A machine
 * without a Vulkan loader has the CPU path alone; *note then says why (else ""), and lives as long
 * as the list. */
PM_API pm_status pm_device_list(pm_device_info **list, size_t *n, const char **note);
PM_API void pm_device_list_free(pm_device_info *list);

/* ---- models ---------------------------------------------------------------------------------- */

typedef struct pm_model pm_model;

typedef struct pm_model_desc {
    /* A GGUF file, the first of several (-00001-of-00003.gguf), or a folder with config.json,
     * safetensors and a tokenizer, as models are published on Hugging Face. */
    const char *path;
    /* In the place of a path: a model with random weights, which takes next to no memory of the
     * host; its rows repeat. What its desc says of writing does not count. */
    const struct pm_synth_desc *synth;
    bool vocab_only; /* metadata and tokenizer; no architecture needed, no session possible */
    /* Metadata, and whether all the rest could be used: what stands in the way is no failure but
     * pm_model_info.fault. No session possible. */
    bool info_only;
    bool no_weights; /* all but placing the weights: for pm_session_plan */
    /* A session that is to follow: OUT_OF_MEMORY before a weight is read if the two do not fit. Its
     * kernels are compiled while the weights are read. */
    const struct pm_session_desc *session;
    bool check_first; /* but not where pm_check_is_due(): a check comes before that session */
    pm_progress_fn progress;
    void *user;
} pm_model_desc;

/* device  may be NULL with vocab_only or info_only
 * errors  BAD_FILE, UNSUPPORTED (names the key or tensor), OUT_OF_MEMORY, DEVICE_LOST, CANCELLED */
PM_API pm_status pm_model_open(pm_device *device, const pm_model_desc *desc, pm_model **out);
PM_API void pm_model_close(pm_model *model);

/* How the states of a text's tokens become one vector. */
typedef enum pm_pooling {
    PM_POOLING_MODEL, /* as the file says; where it does not: an encoder's mean, else the last */
    PM_POOLING_MEAN,
    PM_POOLING_FIRST, /* of the first token ([CLS]) */
    PM_POOLING_LAST
} pm_pooling;

typedef struct pm_model_info {
    const char *architecture; /* "" if the file names none */
    const char *name;         /* general.name or "" */
    const char *tokenizer;    /* tokenizer.ggml.model or "" */
    /* What that is, such as "byte-level BPE", and the pre-tokenizer it uses; "" if there is
     * none. */
    const char *tokenizer_kind, *pre_tokenizer;
    const char *chat_template; /* text of the default one, or NULL */
    /* With info_only: why it cannot be used, naming key or tensor; "" if it can be. */
    const char *fault;
    const char *container; /* "GGUF", "Hugging Face folder", "synthetic" */
    uint32_t version;      /* of a GGUF file */
    uint32_t n_file;       /* of which the model is made */
    uint64_t file_bytes, n_parameter, n_tensor, n_key;
    uint32_t n_ctx_train, n_vocab, n_embd, n_layer;
    /* What a session keeps of a sequence: keys and values of each position (as f16), and states,
     * which do not grow; 0 also where no architecture was read (vocab_only). */
    uint64_t position_bytes, state_bytes;
    int32_t bos, eos, eot; /* -1: none */
    bool encoder;          /* reads texts and writes none: pm_embed() alone */
    pm_pooling pooling;    /* of pm_embed() where nobody says another */
} pm_model_info;

typedef struct pm_tensor_info {
    const char *name, *type;
    uint32_t n_dim;
    uint64_t shape[4]; /* innermost first */
    uint64_t bytes;
} pm_tensor_info;

PM_API const pm_model_info *pm_model_get_info(const pm_model *model);
PM_API bool pm_model_get_tensor(const pm_model *model, uint64_t i, pm_tensor_info *out);
/* Key i and its value as text (long arrays shortened). value_size includes the closing zero. */
PM_API bool pm_model_get_key(const pm_model *model, uint64_t i, const char **key, char *value,
                             size_t value_size);

/* ---- text ------------------------------------------------------------------------------------ */

typedef struct pm_tokenize_desc {
    const char *text;
    size_t n_byte;
    bool add_special;   /* BOS and EOS as the model wants them */
    bool parse_special; /* text such as <|im_end|> becomes its token */
} pm_tokenize_desc;

/* ids     out, [capacity] int32; NULL asks for the count alone
 * n_id    out, ids the text has; more than capacity: FAILURE, nothing written to ids */
PM_API pm_status pm_tokenize(const pm_model *model, const pm_tokenize_desc *desc, int32_t *ids,
                             size_t capacity, size_t *n_id);
/* The bytes of one token (may be part of a UTF-8 character); control tokens have none unless
 * `special`. */
PM_API pm_status pm_token_text(const pm_model *model, int32_t id, bool special, const char **text,
                               size_t *n_byte);

typedef struct pm_message {
    const char *role;    /* system, user, assistant, tool, developer, function, ipython */
    const char *content; /* NULL: none, or in `fields` */
    /* What else the message has, as the text of a JSON object: reasoning_content, tool_calls,
     * tool_call_id, name ... NULL: nothing. */
    const char *fields;
} pm_message;

typedef struct pm_chat_desc {
    const pm_message *messages; /* [n_message]; none: `variables` may have them, as JSON */
    size_t n_message;
    bool open_answer;      /* begin the assistant's turn */
    const char *variables; /* the text of a JSON object of what else templates look at: tools,
                              documents, enable_thinking, reasoning_effort ... NULL: nothing */
    /* Both NULL: the model's own, of several tool_use if there are tools, else its default. */
    const char *chat_template; /* the text of one */
    const char *template_name; /* of one of the model's, or a format of the field: chatml, llama3,
                                  gemma ... */
    const char *now; /* "2026-01-31T09:30:00", for templates that ask; NULL: the clock's */
} pm_chat_desc;

/* The ids of messages in a chat template (Jinja2), with BOS and EOS as the model wants them.
 * Control tokens come from the template alone: where a message says <|im_end|>, that is text.
 * ids, n_id  as for pm_tokenize
 * errors     UNSUPPORTED: the model has no template, or one that does what templates of chats do
 *            not; BAD_FILE: a template or JSON that cannot be read; FAILURE: the template refuses
 *            the messages, or does not come to an end; ARGUMENT */
PM_API pm_status pm_chat_tokenize(const pm_model *model, const pm_chat_desc *desc, int32_t *ids,
                                  size_t capacity, size_t *n_id);
/* The text that is turned into ids there.
 * model  may be NULL, there are no BOS and EOS then
 * text   out, [n_byte] and a zero, to be freed with pm_text_free */
PM_API pm_status pm_chat_render(const pm_model *model, const pm_chat_desc *desc, char **text,
                                size_t *n_byte);
PM_API void pm_text_free(char *text);

/* ---- sessions -------------------------------------------------------------------------------- */

/* One mutable inference timeline (or several: sequences) of a model. */
typedef struct pm_session pm_session;

/* As many positions as fit into what is free beside the weights and the rest of the session: the
 * model's own at most, else in steps of 32. One part in PM_AUTO_SPARE of what is free is left to
 * the driver and to other programs. */
#define PM_CTX_AUTO   0xffffffffu
#define PM_AUTO_SPARE 16

typedef struct pm_session_desc {
    uint32_t n_ctx;   /* positions a sequence can hold; 0: the model's own, at most 4096;
                         PM_CTX_AUTO */
    uint32_t n_batch; /* rows of one prompt step; 0: 512 (at most n_ctx) */
    uint32_t n_seq;   /* sequences; 0: 1 */
    /* The bits of a token's logits depend on the tokens before it alone. By default they also
     * depend on whether it is evaluated alone, in a call with several tokens, or for one of several
     * answers (on a GPU by other kernels where n_seq is at most 8): kernels for many rows add up in
     * another order. Costs the kernels for many rows: prompts take about as long a token as answers
     * do. On the CPU path it always holds. */
    bool deterministic;
    /* Runs the model node by node, as it is written down, where a device else has norms, gates, and
     * all between queries and attention within other kernels. Slower; for comparing. The CPU path
     * always does. */
    bool no_fuse;
    /* Whether products may read x as eight-bit integers in blocks of 32, each with a scale: "on"
     * where the device has integer dot products and the weights have levels (Q4_0, Q4_K, Q8_0 and
     * the like), "off", or "auto" (NULL): where such dot products are accelerated, and not for a
     * token alone nor with deterministic. Faster there, and less exact: logits come to an NMSE of
     * 2e-5 to 7e-5 against those of f32, perplexity to within 0.5 %. On the CPU path, and with
     * no_fuse, it is always off. */
    const char *int8;
    /* What keys and values are kept as: "f32", "f16", "q8_0" or "q4_0"; NULL: "f16". The last two
     * need heads of a multiple of 32 values. */
    const char *cache_type_k, *cache_type_v;
    /* Hidden states in the place of logits, for pm_embed(). Nothing can be generated; n_batch is
     * then n_ctx where it is 0. */
    bool embeddings;
    /* Times every launch for pm_session_get_profile(); steps then do not run ahead. */
    bool profile;
} pm_session_desc;

typedef enum pm_plan_part {
    PM_PLAN_WEIGHTS,
    PM_PLAN_LOADING, /* given back once the weights are there, before any session */
    PM_PLAN_SESSION
} pm_plan_part;

typedef struct pm_plan_buffer {
    const char *name;
    const char *heap;
    uint64_t bytes; /* of the allocation */
    pm_plan_part part;
} pm_plan_buffer;

typedef struct pm_plan_heap {
    const char *name;
    uint64_t needed; /* at most at one time: weights and the larger of loading and session */
    uint64_t free;   /* weights that are placed already count as free */
    bool limited;    /* counts against max_memory_bytes */
} pm_plan_heap;

typedef struct pm_plan {
    const pm_plan_buffer *buffers;
    size_t n_buffer;
    const pm_plan_heap *heaps;
    size_t n_heap;
    uint64_t needed; /* of all limited heaps together, at most at one time */
    uint64_t limit;  /* what max_memory_bytes leaves for that; UINT64_MAX: no limit */
    uint32_t n_ctx;  /* positions; of PM_CTX_AUTO those that were chosen */
    bool fits;
    const char *why; /* what does not fit, and what would help; "" */
} pm_plan;

/* Every buffer that the model and a session of it allocate, to the byte, and the session's tables
 * in system memory. Free with pm_plan_free.
 * errors  OUT_OF_MEMORY: a buffer is larger than the device can have or bind; or PM_CTX_AUTO, and
 *         not even the smallest context fits (names needed and free bytes); ARGUMENT */
PM_API pm_status pm_session_plan(pm_model *model, const pm_session_desc *desc, pm_plan **out);
PM_API void pm_plan_free(pm_plan *plan);

/* errors  OUT_OF_MEMORY (names needed and free bytes and what would help), ARGUMENT */
PM_API pm_status pm_session_open(pm_model *model, const pm_session_desc *desc, pm_session **out);
PM_API void pm_session_close(pm_session *session);
PM_API uint32_t pm_session_n_ctx(const pm_session *session);
/* Tokens that sequence `seq` holds now. The last one of an answer counts, though it is evaluated
 * only with the next call that needs what follows it. */
PM_API uint32_t pm_session_length(const pm_session *session, uint32_t seq);

/* What came before a session's first step: seconds on the clock, one after the other. */
typedef struct pm_start {
    double device_seconds;  /* pm_device_open(), nearly all of it the drivers' own */
    double model_seconds;   /* pm_model_open(): keys, vocabulary, graph, plan */
    double weights_seconds; /* the rest of it: weights read, packed and placed */
    uint64_t weights_bytes; /* as the file has them */
    double session_seconds; /* pm_session_open(), last of all */
    uint32_t n_pipeline;    /* compiled kernels */
    uint32_t n_ahead;       /* of them begun before the weights were read */
    double compile_seconds; /* from the beginning of the first to the end of the last */
    double wait_seconds;    /* in which pm_session_open() waited for them */
    /* Of all threads together: to SPIR-V, compiled or found in the cache; in the driver. */
    double shader_seconds, driver_seconds;
} pm_start;

PM_API void pm_session_get_start(const pm_session *session, pm_start *out);

/* Appends n tokens to a sequence.
 * ids     [n] int32, each in [0, n_vocab); none: the logits of the token that is last already
 * logits  out, [n_vocab] f32 of the last token, owned by the session, valid until the next call;
 *         may be NULL
 * cost    one pass over the weights for n_batch tokens
 * errors  CONTEXT_FULL (nothing appended), DEVICE_LOST (session is finished), ARGUMENT */
PM_API pm_status pm_session_eval(pm_session *session, uint32_t seq, const int32_t *ids, size_t n,
                                 const float **logits);

/* The same, handing over the logits of every position in order. each() != PM_OK ends the call with
 * it; the sequence then holds the tokens evaluated so far. each() must not call into the session.
 */
typedef pm_status (*pm_logits_fn)(void *user, size_t i, const float *logits);
PM_API pm_status pm_session_eval_all(pm_session *session, uint32_t seq, const int32_t *ids,
                                     size_t n, pm_logits_fn each, void *user);

/* Of a model with an encoder beside its decoder (T5): the text that a sequence is to answer to. The
 * sequence is emptied and begins with the model's start token; pm_generate() does this with its
 * prompt.
 * errors  UNSUPPORTED: the model has no encoder; CONTEXT_FULL: more tokens than a step has rows or
 *         the context positions (nothing is changed); ARGUMENT */
PM_API pm_status pm_session_encode(pm_session *session, uint32_t seq, const int32_t *ids, size_t n);

/* Forgets all tokens of a sequence from position n_keep on. ARGUMENT if it holds fewer.
 * cost  none; of a model that carries states from token to token (Mamba and others) the tokens that
 *       stay are evaluated again by the next call */
PM_API pm_status pm_session_rewind(pm_session *session, uint32_t seq, uint32_t n_keep);

/* What the launches of a kernel came to, or those of one node by it. */
typedef struct pm_profile_row {
    const char *kernel;
    const char *node; /* "blk.3.attn_q"; NULL: of all */
    bool one;         /* in steps of one row alone, as in generation; else of several */
    uint64_t n_launch;
    double seconds;
    double gap_seconds;  /* before them, within a step, in which nothing ran */
    double bytes, flops; /* moved and computed, by the operation's arithmetic */
} pm_profile_row;

typedef struct pm_profile {
    const pm_profile_row *kernels, *nodes; /* those that took longest first */
    size_t n_kernel, n_node;
    double seconds, gap_seconds; /* of all together */
    pm_device_speed speed;       /* zeros: it could not be measured */
    const char *why;             /* why nothing could be timed; "" */
} pm_profile;

/* Where the time of a session's steps went since it was opened with `profile`. The first step of
 * one row, and of several, counts only where it is the only one: drivers may compile in it. Free
 * with pm_profile_free.
 * errors  ARGUMENT: it was opened without; OUT_OF_MEMORY */
PM_API pm_status pm_session_get_profile(pm_session *session, pm_profile **out);
PM_API void pm_profile_free(pm_profile *profile);

/* ---- embeddings ------------------------------------------------------------------------------ */

typedef struct pm_embed_desc {
    const int32_t *ids; /* [n], as pm_tokenize gives them with add_special */
    size_t n;
    pm_pooling pooling;
    bool raw; /* not scaled to length 1 */
} pm_embed_desc;

/* One vector for a text, in sequence 0, which is emptied first; the session was opened with
 * `embeddings`.
 * out     [n_embd]
 * errors  CONTEXT_FULL: more tokens than the context has positions, or, of an encoder, than a step
 *         has rows; DEVICE_LOST, ARGUMENT */
PM_API pm_status pm_embed(pm_session *session, const pm_embed_desc *desc, float *out);

/* ---- generation ------------------------------------------------------------------------------ */

/* Start from pm_sampling_default(): zero is not neutral in every field. */
typedef struct pm_sampling {
    float temperature;                                         /* 0: the likeliest token */
    uint32_t top_k;                                            /* 0: off */
    float top_p;                                               /* 1: off */
    float min_p;                                               /* 0: off */
    float repeat_penalty, presence_penalty, frequency_penalty; /* 1, 0, 0: off */
    uint32_t repeat_last_n; /* tokens the penalties look back, at most PM_MOST_REPEAT */
    uint64_t seed;
} pm_sampling;

#define PM_MOST_REPEAT 1024

/* temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, penalties off over 64, seed 0 */
PM_API pm_sampling pm_sampling_default(void);

typedef enum pm_stop { PM_STOP_EOS, PM_STOP_LENGTH, PM_STOP_STRING, PM_STOP_CANCELLED } pm_stop;

/* Whole UTF-8 characters as they come; false cancels. Also called with no bytes: for a token that
 * gives no text yet and between the steps of a long prompt, so that both can be cancelled. Must not
 * call into the session. */
typedef bool (*pm_text_fn)(void *user, uint32_t answer, const char *text, size_t n_byte);

typedef struct pm_generate_desc {
    const int32_t *prompt; /* [n_prompt], appended to sequence 0 first */
    size_t n_prompt;
    const pm_sampling *sampling; /* NULL: pm_sampling_default() */
    uint32_t n_predict;          /* tokens at most; 0: until the context is full */
    uint32_t n_answer; /* answers to the one prompt, in sequences 0..n-1 (at most n_seq), answer i
                          with seed + i; 0: 1 */
    const char *const *stop; /* [n_stop] texts that end an answer and are not part of it */
    size_t n_stop;
    bool ignore_eos;
    uint32_t run_ahead; /* steps submitted before the host reads a token; 0: 4, 1: none ahead, which
                           a model with states always does */
    pm_text_fn on_text; /* may be NULL */
    void *user;
} pm_generate_desc;

typedef struct pm_answer {
    const char *text;
    size_t n_byte;
    const int32_t *tokens; /* as drawn, those of a stop text included, an end token left out */
    size_t n_token;
    pm_stop stop;
    uint32_t logits_hash; /* of the logits the last of tokens was drawn from; 0 if there is none */
} pm_answer;

typedef struct pm_generation {
    const pm_answer *answers;
    size_t n_answer;
    size_t n_prompt;
    double prompt_seconds;      /* from the call to the first token */
    double generate_seconds;    /* from the first token to the end: n_token - 1 tokens an answer */
    double first_token_seconds; /* prompt_seconds, or 0 if no token was drawn */
    double host_seconds;        /* processor time of the calling thread within generate_seconds */
    uint64_t bytes_per_step;    /* memory one decoded token reads and writes, by the plan */
    uint32_t n_dispatch;        /* of one decoded token; 0 on the CPU path */
    uint32_t n_barrier;         /* between them */
} pm_generation;

/* Sequence 0 afterwards holds what it held, the prompt, and the tokens of answer 0; the sequences
 * of the other answers are emptied, before and after. An empty prompt goes on from what sequence 0
 * holds. A cancelled answer is PM_OK with PM_STOP_CANCELLED. Free with pm_generation_free.
 * errors  CONTEXT_FULL (the prompt does not fit; names both numbers; nothing appended),
 *         DEVICE_LOST (session is finished), ARGUMENT */
PM_API pm_status pm_generate(pm_session *session, const pm_generate_desc *desc,
                             pm_generation **out);
PM_API void pm_generation_free(pm_generation *generation);

/* ---- model files ----------------------------------------------------------------------------- */

typedef struct pm_synth_desc {
    const char *shape;     /* "llama-8b": a name that pm_synth_shape lists */
    const char *type;      /* of matrices: "q4_k"; or a mix: "q4_k_m"; NULL: "q4_0" */
    const char *tokenizer; /* model whose vocabulary is taken; NULL: one of bytes, and words of
                              letters */
    uint64_t seed;
    uint32_t n_layer, n_ctx; /* 0: those of the shape */
    pm_write_fn write;
    pm_progress_fn progress; /* may be NULL */
    void *user;
} pm_synth_desc;

/* Writes a model with random weights as a GGUF file: the sizes of a real one, nothing learned. Same
 * desc, same bytes. Logits are finite and differ.
 * errors  ARGUMENT (no such shape or type), BAD_FILE (the tokenizer's), FAILURE (write() was),
 *         CANCELLED, OUT_OF_MEMORY */
PM_API pm_status pm_synth(const pm_synth_desc *desc);
/* The i-th shape; false past the last. */
PM_API bool pm_synth_shape(size_t i, const char **name, const char **what);

/* What becomes of a tensor. */
typedef struct pm_quantized {
    const char *name;
    uint64_t index, n;     /* among n tensors */
    const uint64_t *shape; /* [4], innermost first */
    const char *from, *to; /* types; the same: it is copied */
    const char
        *instead_of; /* the type it would have, but for the length of its rows; "": it has it */
    uint64_t from_bytes, to_bytes;
    bool weighted; /* by importances */
} pm_quantized;

typedef struct pm_quantize_desc {
    const char *path; /* as in pm_model_desc */
    const char *type; /* "Q4_K_M": a name that pm_quantize_type lists; NULL: all stay as they are */
    const char *imatrix; /* file of importances, as pm_imatrix writes it; NULL: none */
    /* Types ("Q6_K") instead of those of the mix: for the matrix that gives the logits, for
     * token_embd.weight; NULL: the mix's. */
    const char *output_type, *embedding_type;
    /* [n_tensor_type] "PATTERN=TYPE": matrices in whose name the extended regular expression is
     * found, whatever else says; the first one that is counts. */
    const char *const *tensor_types;
    size_t n_tensor_type;
    bool pure;         /* all matrices get the type of most of them */
    bool requantize;   /* matrices that have lost precision already may lose more */
    uint32_t n_thread; /* 0: one a processor */
    pm_write_fn write; /* NULL: nothing is computed, on_tensor is called alone */
    /* Before the tensor is written; may be NULL. */
    void (*on_tensor)(void *user, const pm_quantized *tensor);
    pm_progress_fn progress; /* may be NULL */
    void *user;
} pm_quantize_desc;

/* Writes the model with its matrices in other types, as one GGUF file.
 * errors  ARGUMENT (no such type or pattern), BAD_FILE (also what is no number), UNSUPPORTED (a
 *         matrix is quantised already), FAILURE (write() was), CANCELLED, OUT_OF_MEMORY */
PM_API pm_status pm_quantize(const pm_quantize_desc *desc);
/* The i-th type that can be asked for; false past the last. */
PM_API bool pm_quantize_type(size_t i, const char **name, const char **what);

typedef struct pm_imatrix_desc {
    const char *text;
    size_t n_byte;
    const char *dataset;     /* a name for it in the file; NULL: "" */
    uint32_t n_ctx;          /* tokens of a chunk; 0: 512, at most what the model was trained for */
    uint32_t n_chunk;        /* chunks at most; 0: all. Tokens that fill no chunk are left out */
    pm_write_fn write;       /* called once all is known */
    pm_progress_fn progress; /* may be NULL */
    void *user;
} pm_imatrix_desc;

/* Evaluates a text and writes, as a GGUF file, the sum of squares of what each column of each
 * weight matrix was multiplied by: for pm_quantize. No session of the model may be in use
 * meanwhile.
 * errors  ARGUMENT (the model is not on the CPU path, the text is empty), FAILURE (write() was),
 *         CANCELLED, OUT_OF_MEMORY */
PM_API pm_status pm_imatrix(pm_model *model, const pm_imatrix_desc *desc);

/* ---- checks ---------------------------------------------------------------------------------- */

typedef enum pm_check_level {
    PM_CHECK_QUICK,    /* a few cases a kernel */
    PM_CHECK_STANDARD, /* every kernel, type and kind of shape */
    PM_CHECK_DEEP      /* and a depth of 32768 positions, and every batch size from 1 to 64 */
} pm_check_level;

/* One kernel over one set of operands, compared with the CPU reference. */
typedef struct pm_check_case {
    const char *name;    /* "matvec/Q8_0/65x96/rows2", "node/blk.3.attn_q/rows7" */
    const char *kernel;  /* "matvec" */
    uint32_t index, n;   /* among n cases */
    uint32_t node;       /* of the model, through two steps; PM_NO_INDEX: a kernel's own case */
    bool done;           /* false: it is about to run, and what follows is not known yet */
    pm_status status;    /* OK; CHECK_FAILED, FAILURE, DEVICE_LOST: the kernel's fault; UNSUPPORTED,
                            OUT_OF_MEMORY: it could not be checked */
    double error, bound; /* NMSE; bound 0: compared bit by bit */
    double seconds;
    const char *why; /* what is wrong, or "" */
} pm_check_case;

/* false cancels. Must not call into the device. */
typedef bool (*pm_check_fn)(void *user, const pm_check_case *done);

typedef struct pm_check_desc {
    pm_check_level level;
    const char *only;    /* a kernel, or part of the name of cases; NULL: all */
    const char *skip;    /* "matvec,rope": kernels whose own cases are left out; NULL: none */
    uint32_t first_node; /* nodes of the model before it are left out */
    uint64_t seed;       /* of the inputs; 0: 1 */
    bool used_only;      /* only kernels and types that a run of the model takes, no nodes */
    bool few_types; /* of matrices, one for each way to read them, and few of caches; else all */
    const char *cache_type_k, *cache_type_v; /* of the model's nodes, as in pm_session_desc */
    pm_check_fn on_case;                     /* may be NULL */
    void *user;
} pm_check_desc;

typedef struct pm_check_summary {
    uint32_t n_case, n_failed, n_unchecked;
    double seconds;
} pm_check_summary;

/* Runs every kernel of the device three times over each set of operands: outputs within the bound
 * of their operation, no byte written around them, the same bits each time. With a model, also
 * every node of its graph, alone, over the inputs it has in a forward pass of a short text. On the
 * CPU path: many threads against one. A kernel that fails is not used any more while this
 * device is open; pm_device_quarantine remembers it.
 *
 * A driver may crash or hang here; `pumice check` runs this in a process of its own.
 * model    may be NULL; of this device
 * summary  out, also of a check that failed; may be NULL
 * errors   CHECK_FAILED, CANCELLED, DEVICE_LOST, ARGUMENT (nothing fits `only`) */
PM_API pm_status pm_check(pm_device *device, pm_model *model, const pm_check_desc *desc,
                          pm_check_summary *summary);

/* True where a quick check of what this model uses is worth a run: on a GPU with a cache directory
 * that holds no note of one with this driver and this version of pumice. */
PM_API bool pm_check_is_due(const pm_device *device, const pm_model *model);
PM_API void pm_check_note(pm_device *device, const pm_model *model);

typedef struct pm_quarantined {
    const char *kernel, *why;
    const char *instead; /* kernel that is used in its place; NULL: there is none */
} pm_quarantined;

/* The i-th kernel in quarantine; false past the last. */
PM_API bool pm_device_get_quarantined(const pm_device *device, size_t i, pm_quarantined *out);
/* Takes a kernel out of use with this device and driver, here and in the cache directory.
 * errors  ARGUMENT: no such kernel */
PM_API pm_status pm_device_quarantine(pm_device *device, const char *kernel, const char *why);
/* Forgets what checks found out about this device. */
PM_API pm_status pm_device_forget_checks(pm_device *device);

/* ---- times of kernels ------------------------------------------------------------------------ */

/* One kernel over one node of a model, in steps of n_row rows. */
typedef struct pm_kernel_time {
    const char *kernel, *op;
    const char *type; /* of the matrix or the cache; "" */
    const char *node; /* "blk.0.attn_q": of n_node that are alike */
    const char *rows; /* of steps: "1", "2-8", "9-" */
    uint32_t n_out, n_in, n_row, n_node;
    uint32_t index, n; /* among n shapes */
    double seconds;    /* of one node; 0: it was not timed */
    double bytes, flops;
    bool standard;   /* what is taken without a tuning */
    bool used;       /* what a run takes now */
    const char *why; /* why it cannot be used, or "" */
} pm_kernel_time;

/* false ends it. Must not call into the device. */
typedef bool (*pm_kernel_time_fn)(void *user, const pm_kernel_time *time);

typedef struct pm_kernels_desc {
    bool all;       /* every kernel that takes a node, not only those that a run takes */
    double seconds; /* that all may take, about; 0: 20. Shapes that come too late are left out */
    pm_kernel_time_fn on_time;
    void *user;
} pm_kernels_desc;

/* Times kernels over every shape of node that the model has. Its weights are not looked at: it may
 * be opened without them.
 * errors  UNSUPPORTED: the CPU path; CANCELLED, DEVICE_LOST, OUT_OF_MEMORY */
PM_API pm_status pm_bench_kernels(pm_model *model, const pm_kernels_desc *desc);

/* A choice in use. */
typedef struct pm_tuned {
    const char *kernel, *instead; /* the latter without a tuning */
    const char *op, *type, *rows; /* as in pm_kernel_time */
    uint32_t n_out, n_in;
    double seconds, instead_seconds;
} pm_tuned;

typedef struct pm_tune_desc {
    double seconds;            /* about; 0: 30 */
    pm_kernel_time_fn on_time; /* each kernel that was timed; may be NULL */
    /* Each shape that is done; NULL: none of its kernels is faster than the default. May be
     * NULL. */
    void (*on_shape)(void *user, const pm_tuned *tuned);
    void *user;
} pm_tune_desc;

typedef struct pm_tune_summary {
    uint32_t n_shape, n_changed; /* that were measured; that another kernel is faster for */
    uint32_t n_left;             /* for which there was no time */
    double seconds;
} pm_tune_summary;

/* Measures, for every shape of node that the model has, all kernels that take it, and has this
 * device use the fastest from now on: sessions opened later, and those of other processes through
 * the cache directory. A kernel counts as faster only by more than 3 %, in turns with the default
 * one, after its check, and where its output agrees. What was found is kept also where this ends
 * early.
 * summary  out, also of one that ended early; may be NULL
 * errors   UNSUPPORTED: the CPU path; CANCELLED, DEVICE_LOST, OUT_OF_MEMORY */
PM_API pm_status pm_tune(pm_model *model, const pm_tune_desc *desc, pm_tune_summary *summary);

/* The i-th choice of the device's tuning; false past the last. */
PM_API bool pm_device_get_tuned(const pm_device *device, size_t i, pm_tuned *out);
/* The tuning as a text that pm_device_set_tuning() takes; to be freed with pm_text_free. */
PM_API pm_status pm_device_get_tuning(const pm_device *device, char **text);
/* Puts such a text, of this or another machine, in the place of the tuning, and keeps it.
 * on_unused  told of each line that is not used, and why; may be NULL
 * errors     BAD_FILE: it is no tuning; ARGUMENT: it was made for another device */
PM_API pm_status pm_device_set_tuning(pm_device *device, const char *text,
                                      void (*on_unused)(void *user, unsigned line, const char *why),
                                      void *user);
/* Forgets it: the defaults are used. */
PM_API pm_status pm_device_forget_tuning(pm_device *device);

#ifdef __cplusplus
}
#endif

#endif
