#include "fake_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

fake_settings fake;
fake_counts fake_seen;

typedef struct slot { /* one position of a page */
    uint32_t token, pos;
    pm__among among;
} slot;

/* What a sequence carries from token to token. */
typedef struct carried {
    uint32_t n, hash; /* of its first n tokens */
} carried;

typedef struct context {
    pm__limits limits;
    uint32_t n_page;
    slot *store;       /* [n_page, PM_PAGE] */
    uint32_t *table;   /* [n_seq, n_ctx / PM_PAGE], PM_NONE: not set */
    uint32_t *history; /* [n_seq, n_ctx] */
    struct pm_step_sampler *samplers;
    carried *carried;         /* [n_seq] */
    struct pm_step_row *rows; /* of the next step */
    uint32_t *outs;
    uint32_t n_row, n_out;
    bool begun, sample;
    pm__among among;
    bool repeats; /* the next submit() runs what the step before drew */
    uint32_t n_submitted, n_collected;
    struct pm_step_drawn *ring; /* [PM_RING, n_out] */
    uint32_t ring_n_out[PM_RING];
    uint32_t *states; /* [n_out] hash of the sequence at each output of the step submitted last */
} context;

/* ---- what it computes ------------------------------------------------------------------------ */

static uint32_t mix(uint32_t state, uint32_t x) {
    state = (state ^ x) * 0x9e3779b1u;
    return state ^ state >> 15;
}

static uint32_t draw_token(uint32_t state, uint32_t n, const struct pm_step_sampler *sampler) {
    const uint32_t h = mix(mix(state, sampler->seed_lo), sampler->seed_hi);
    if (fake.script != NULL)
        return n < fake.n_script ? (uint32_t)fake.script[n] : FAKE_EOS;
    if (fake.end_one_in != 0 && h % fake.end_one_in == 0)
        return FAKE_EOS;
    return FAKE_BYTE + 'a' + h / 64 % 26;
}

/* The tokens that the penalties see change what is drawn. */
static uint32_t mix_history(uint32_t state, const uint32_t *history, uint32_t n,
                            const struct pm_step_sampler *sampler) {
    if (sampler->repeat_penalty == 1.0f)
        return state;
    for (uint32_t i = n > sampler->repeat_last_n ? n - sampler->repeat_last_n : 0; i < n; i++)
        state = mix(state, history[i] + 7);
    return state;
}

static float logit(uint32_t state, uint32_t id) {
    return (float)(mix(state, id) % 4096) / 256.0f - 8.0f;
}

static uint32_t state_of(const int32_t *tokens, uint32_t n) {
    uint32_t state = 1;
    for (uint32_t i = 0; i < n; i++)
        state = mix(state, (uint32_t)tokens[i]);
    return state;
}

int32_t fake_next(const int32_t *tokens, uint32_t n, uint64_t seed, uint32_t looks_back,
                  uint32_t *hash) {
    const struct pm_step_sampler sampler = {.repeat_penalty = looks_back > 0 ? 2.0f : 1.0f,
                                            .repeat_last_n = looks_back,
                                            .seed_lo = (uint32_t)seed,
                                            .seed_hi = (uint32_t)(seed >> 32)};
    const uint32_t state = state_of(tokens, n);
    if (hash != NULL)
        *hash = state;
    return (int32_t)draw_token(mix_history(state, (const uint32_t *)tokens, n, &sampler), n,
                               &sampler);
}

float fake_logit(const int32_t *tokens, uint32_t n, uint32_t id) {
    return logit(state_of(tokens, n), id);
}

/* ---- losing it ------------------------------------------------------------------------------- */

static bool lost;

/* At the beginning of whatever can fail. */
static pm_status operate(void) {
    fake_seen.n_operation++;
    for (size_t i = 0; i < PM__COUNT(fake.lose_at); i++)
        if (fake.lose_at[i] == fake_seen.n_operation)
            lost = true;
    return lost ? pm__fail(PM_DEVICE_LOST, "fake: lost at %u", fake_seen.n_operation) : PM_OK;
}

static pm_status fake_reopen(void *device) {
    assert_ptr_equal(device, &lost);
    assert_int_equal(fake_seen.n_context, 0);
    assert_int_equal(fake_seen.n_weights, 0);
    fake_seen.n_reopen++;
    if (fake.fail_reopen)
        return pm__fail(PM_NO_DEVICE, "fake: it is not there any more");
    lost = false;
    return operate();
}

static pm_status fake_weights_create(void *device, const pm__model_def *def,
                                     pm_progress_fn progress, void *user, void **out) {
    static int weights;
    assert_ptr_equal(device, &lost);
    assert_non_null(def);
    PM_TRY(operate());
    for (uint64_t i = 1; progress != NULL && i <= 3; i++)
        if (!progress(user, "weights", i, 3))
            return pm__fail(PM_CANCELLED, "fake: interrupted");
    *out = &weights;
    fake_seen.n_weights++;
    return PM_OK;
}

static void fake_weights_destroy(void *weights) {
    assert_non_null(weights);
    assert_int_equal(fake_seen.n_context, 0);
    fake_seen.n_weights--;
}

/* ---- the protocol ---------------------------------------------------------------------------- */

static uint32_t *entry_of(const context *c, uint32_t seq, uint32_t entry) {
    const uint32_t n_entry = c->limits.n_ctx / PM_PAGE;
    assert_true(seq < c->limits.n_seq && entry < n_entry);
    return &c->table[(size_t)seq * n_entry + entry];
}

static slot *slot_of(const context *c, uint32_t seq, uint32_t pos) {
    const uint32_t page = *entry_of(c, seq, pos / PM_PAGE);
    assert_int_not_equal(page, PM_NONE);
    return &c->store[(size_t)page * PM_PAGE + pos % PM_PAGE];
}

static void check_idle(const context *c) {
    assert_int_equal(c->n_submitted, c->n_collected);
}

static void fake_context_destroy(void *user) {
    context *c = user;
    if (c == NULL)
        return;
    free(c->store);
    free(c->table);
    free(c->history);
    free(c->samplers);
    free(c->carried);
    free(c->rows);
    free(c->outs);
    free(c->ring);
    free(c->states);
    free(c);
    fake_seen.n_context--;
}

static pm_status fake_context_create(void *weights, const pm__graph *g, const pm__limits *limits,
                                     void **out) {
    assert_non_null(weights);
    assert_non_null(g);
    PM_TRY(operate());
    assert_int_equal(limits->n_ctx % PM_PAGE, 0);
    assert_true(limits->n_out >= limits->n_seq && limits->n_batch >= limits->n_out);
    context *c = calloc(1, sizeof *c);
    c->limits = *limits;
    c->n_page = pm__limits_pages(limits);
    c->store = calloc((size_t)c->n_page * PM_PAGE, sizeof *c->store);
    c->table = malloc(c->n_page * sizeof *c->table);
    memset(c->table, 0xff, c->n_page * sizeof *c->table);
    c->history = calloc((size_t)limits->n_seq * limits->n_ctx, sizeof *c->history);
    c->samplers = calloc(limits->n_seq, sizeof *c->samplers);
    c->carried = calloc(limits->n_seq, sizeof *c->carried);
    c->rows = calloc(limits->n_batch, sizeof *c->rows);
    c->outs = calloc(limits->n_out, sizeof *c->outs);
    c->ring = calloc((size_t)PM_RING * limits->n_out, sizeof *c->ring);
    c->states = calloc(limits->n_out, sizeof *c->states);
    fake_seen.n_context++;
    *out = c;
    return PM_OK;
}

static void fake_context_get_info(const void *user, pm__context_info *out) {
    const context *c = user;
    *out = (pm__context_info){.most_rows = fake.most_rows != 0 ? fake.most_rows : c->limits.n_batch,
                              .most_ahead = fake.most_ahead,
                              .alone_differs = fake.shows_among,
                              .few_differ = fake.shows_among && !fake.few_as_together};
}

static pm_status fake_set_sampler(void *user, uint32_t seq, const struct pm_step_sampler *sampler) {
    context *c = user;
    check_idle(c);
    PM_TRY(operate());
    assert_true(seq < c->limits.n_seq);
    c->samplers[seq] = *sampler;
    return PM_OK;
}

static pm_status fake_set_pages(void *user, uint32_t seq, uint32_t first, uint32_t n,
                                const uint32_t *pages) {
    context *c = user;
    check_idle(c);
    PM_TRY(operate());
    assert_true(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(pages[i] < c->n_page);
        *entry_of(c, seq, first + i) = pages[i];
    }
    return PM_OK;
}

static pm_status fake_copy_page(void *user, uint32_t from, uint32_t to) {
    context *c = user;
    check_idle(c);
    PM_TRY(operate());
    assert_true(from < c->n_page && to < c->n_page && from != to);
    memcpy(c->store + (size_t)to * PM_PAGE, c->store + (size_t)from * PM_PAGE,
           PM_PAGE * sizeof *c->store);
    fake_seen.n_copy++;
    return PM_OK;
}

static pm_status fake_copy_state(void *user, uint32_t from, uint32_t to) {
    context *c = user;
    check_idle(c);
    PM_TRY(operate());
    assert_true(fake.has_states);
    assert_true(from < c->limits.n_seq && to < c->limits.n_seq && from != to);
    c->carried[to] = c->carried[from];
    fake_seen.n_copy_state++;
    return PM_OK;
}

static pm_status fake_begin(void *user, const pm__step *step) {
    context *c = user;
    check_idle(c);
    PM_TRY(operate());
    assert_true(step->n_row > 0 && step->n_row <= c->limits.n_batch);
    assert_true(step->n_out <= c->limits.n_out);
    for (uint32_t i = 0; i < step->n_row; i++) {
        const struct pm_step_row row = step->rows[i];
        assert_true(row.seq < c->limits.n_seq && row.pos < c->limits.n_ctx);
        assert_true(row.token < FAKE_VOCAB);
        for (uint32_t k = 0; k < i; k++)
            if (step->rows[k].seq == row.seq)
                assert_true(step->rows[k].pos < row.pos);
        c->history[(size_t)row.seq * c->limits.n_ctx + row.pos] = row.token;
        c->rows[i] = row;
    }
    for (uint32_t i = 0; i < step->n_out; i++) {
        assert_true(step->outs[i] < step->n_row);
        assert_true(i == 0 || step->outs[i] > step->outs[i - 1]);
        c->outs[i] = step->outs[i];
    }
    c->n_row = step->n_row;
    c->n_out = step->n_out;
    c->sample = step->sample;
    c->among = step->among == PM__ALONE && step->n_row > 1 ? PM__TOGETHER : step->among;
    c->begun = true;
    c->repeats = false;
    fake_seen.n_begin++;
    fake_seen.n_alone += step->n_row == 1 && step->among == PM__ALONE;
    if (step->n_row > fake_seen.most_rows)
        fake_seen.most_rows = step->n_row;
    return PM_OK;
}

static uint32_t mix_token(uint32_t state, uint32_t token, pm__among among) {
    return mix(state, token + FAKE_VOCAB * (uint32_t)among);
}

/* The state must be that of the tokens before the row. */
static void carry(context *c, struct pm_step_row row, pm__among among, uint32_t expected) {
    carried *s = &c->carried[row.seq];
    if (row.pos == 0)
        *s = (carried){.hash = 1};
    assert_int_equal(s->n, row.pos);
    *s = (carried){.n = row.pos + 1, .hash = mix_token(s->hash, row.token, among)};
    assert_int_equal(s->hash, expected);
}

/* Writes the row's token to its page and reads the sequence up to it. */
static uint32_t run_row(context *c, struct pm_step_row row) {
    const pm__among way = fake.few_as_together && c->among == PM__FEW ? PM__TOGETHER : c->among;
    const pm__among among = fake.shows_among ? way : PM__ALONE;
    *slot_of(c, row.seq, row.pos) = (slot){.token = row.token, .pos = row.pos, .among = among};
    uint32_t state = 1;
    for (uint32_t pos = 0; pos <= row.pos; pos++) {
        const slot *s = slot_of(c, row.seq, pos);
        assert_int_equal(s->pos, pos);
        state = mix_token(state, s->token, s->among);
    }
    if (fake.has_states)
        carry(c, row, among, state);
    return state;
}

static void draw_out(context *c, uint32_t i, struct pm_step_drawn *drawn) {
    const struct pm_step_row row = c->rows[c->outs[i]];
    uint32_t *history = c->history + (size_t)row.seq * c->limits.n_ctx;
    const struct pm_step_sampler *sampler = &c->samplers[row.seq];
    const uint32_t state = mix_history(c->states[i], history, row.pos + 1, sampler);
    const uint32_t number = c->n_submitted;
    uint32_t token = draw_token(state, row.pos + 1, sampler);
    if (fake.wild_step == number + 1)
        token = FAKE_VOCAB;
    if (row.pos + 1 < c->limits.n_ctx)
        history[row.pos + 1] = token;
    if (fake.stale_step != number + 1)
        *drawn = (struct pm_step_drawn){
            .token = token, .logits_hash = c->states[i], .step = number, .row = c->outs[i]};
}

static pm_status fake_submit(void *user) {
    context *c = user;
    assert_true(c->begun);
    assert_true(c->n_submitted - c->n_collected < fake.most_ahead);
    PM_TRY(operate());
    if (fake.fail_submit == c->n_submitted + 1)
        return pm__fail(PM_DEVICE_LOST, "fake: lost");
    struct pm_step_drawn *ring = c->ring + (size_t)(c->n_submitted % PM_RING) * c->limits.n_out;
    c->ring_n_out[c->n_submitted % PM_RING] = c->n_out;
    if (c->repeats) {
        assert_true(c->sample && c->n_out == c->n_row);
        const uint32_t before = (c->n_submitted - 1) % PM_RING;
        const struct pm_step_drawn *drawn = c->ring + (size_t)before * c->limits.n_out;
        for (uint32_t i = 0; i < c->n_row; i++) {
            c->rows[i].token = drawn[i].token;
            c->rows[i].pos++;
            assert_true(c->rows[i].pos < c->limits.n_ctx);
        }
    }
    uint32_t out = 0;
    for (uint32_t i = 0; i < c->n_row; i++) {
        const uint32_t state = run_row(c, c->rows[i]);
        if (out < c->n_out && c->outs[out] == i)
            c->states[out++] = state;
    }
    for (uint32_t i = 0; i < c->n_out; i++) {
        if (!c->sample)
            ring[i] = (struct pm_step_drawn){0};
        else
            draw_out(c, i, &ring[i]);
    }
    c->repeats = true;
    c->n_submitted++;
    fake_seen.n_submit++;
    fake_seen.n_row += c->n_row;
    if (c->n_submitted - c->n_collected > fake_seen.most_in_flight)
        fake_seen.most_in_flight = c->n_submitted - c->n_collected;
    return PM_OK;
}

static pm_status fake_collect(void *user, struct pm_step_drawn *drawn) {
    context *c = user;
    assert_true(c->n_submitted != c->n_collected);
    PM_TRY(operate());
    const uint32_t place = c->n_collected++ % PM_RING;
    memcpy(drawn, c->ring + (size_t)place * c->limits.n_out, c->ring_n_out[place] * sizeof *drawn);
    return PM_OK;
}

static pm_status fake_read_logits(void *user, uint32_t first, uint32_t n, float *logits) {
    const context *c = user;
    check_idle(c);
    PM_TRY(operate());
    assert_true(first + n <= c->n_out);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t id = 0; id < FAKE_VOCAB; id++)
            logits[(size_t)i * FAKE_VOCAB + id] = logit(c->states[first + i], id);
    return PM_OK;
}

#define FAKE_MEMBERS                                                                               \
    .weights_create = fake_weights_create, .weights_destroy = fake_weights_destroy,                \
    .context_create = fake_context_create, .context_destroy = fake_context_destroy,                \
    .context_get_info = fake_context_get_info, .set_sampler = fake_set_sampler,                    \
    .set_pages = fake_set_pages, .copy_page = fake_copy_page, .copy_state = fake_copy_state,       \
    .begin = fake_begin, .submit = fake_submit, .collect = fake_collect,                           \
    .read_logits = fake_read_logits

const pm__backend fake_backend = {FAKE_MEMBERS};
static const pm__backend reopening = {FAKE_MEMBERS, .reopen = fake_reopen};

/* ---- its vocabulary -------------------------------------------------------------------------- */

static uint8_t file[1 << 15];
static size_t n_file;
static pm__gguf gguf;

static void put(const void *data, size_t n) {
    assert_true(n_file + n <= sizeof file);
    memcpy(file + n_file, data, n);
    n_file += n;
}

static void put_u32(uint32_t x) {
    put(&x, sizeof x);
}

static void put_u64(uint64_t x) {
    put(&x, sizeof x);
}

static void put_text(const char *text) {
    put_u64(strlen(text));
    put(text, strlen(text));
}

static void put_array(const char *name, pm__gguf_type element) {
    put_text(name);
    put_u32(PM__GGUF_ARRAY);
    put_u32((uint32_t)element);
    put_u64(FAKE_VOCAB);
}

static void put_id(const char *name, uint32_t id) {
    put_text(name);
    put_u32(PM__GGUF_U32);
    put_u32(id);
}

static void name_piece(uint32_t id, char *out, size_t size) {
    static const char *const words[] = {"<unk>", "<s>", "</s>"};
    if (id < FAKE_BYTE)
        snprintf(out, size, "%s", words[id]);
    else if (id < FAKE_BYTE + 256)
        snprintf(out, size, "<0x%02X>", id - FAKE_BYTE);
    else
        snprintf(out, size, "word%u", id);
}

pm__tokenizer *fake_tokenizer_create(void) {
    n_file = 0;
    put("GGUF", 4);
    put_u32(3);
    put_u64(0); /* tensors */
    put_u64(6); /* keys */
    put_text("tokenizer.ggml.model");
    put_u32(PM__GGUF_STRING);
    put_text("llama");
    put_array("tokenizer.ggml.tokens", PM__GGUF_STRING);
    for (uint32_t i = 0; i < FAKE_VOCAB; i++) {
        char name[32];
        name_piece(i, name, sizeof name);
        put_text(name);
    }
    put_array("tokenizer.ggml.scores", PM__GGUF_F32);
    for (uint32_t i = 0; i < FAKE_VOCAB; i++) {
        const float score = -(float)i;
        put(&score, sizeof score);
    }
    put_array("tokenizer.ggml.token_type", PM__GGUF_I32);
    for (uint32_t i = 0; i < FAKE_VOCAB; i++) {
        static const uint32_t kinds[] = {PM__PIECE_UNKNOWN, PM__PIECE_CONTROL, PM__PIECE_CONTROL};
        const uint32_t other = i < FAKE_BYTE + 256 ? PM__PIECE_BYTE : PM__PIECE_NORMAL;
        put_u32(i < FAKE_BYTE ? kinds[i] : other);
    }
    put_id("tokenizer.ggml.bos_token_id", FAKE_BOS);
    put_id("tokenizer.ggml.eos_token_id", FAKE_EOS);
    pm__tokenizer *tokenizer = NULL;
    if (pm__gguf_init(&gguf, file, n_file) != PM_OK ||
        pm__tokenizer_create(&gguf, &tokenizer) != PM_OK)
        fail_msg("%s", pm_last_error());
    return tokenizer;
}

void fake_tokenizer_destroy(pm__tokenizer *tokenizer) {
    pm__tokenizer_destroy(tokenizer);
    pm__gguf_finish(&gguf);
}

int32_t fake_byte(char c) {
    return FAKE_BYTE + (unsigned char)c;
}

/* The least that is a graph: a session builds one, and the backend never looks at it. */
static pm__t build(pm__graph *g, const pm__model_def *def, const void *self) {
    static const pm__tensor table = {
        .name = "table", .kind = PM__WEIGHT, .n_row = FAKE_VOCAB, .n_col = FAKE_VOCAB};
    (void)def;
    (void)self;
    if (fake.has_states)
        pm__state(g, "state", 1);
    return pm__select(g, "select", pm__embed(g, "embed", &table));
}

/* A device and a model for the sessions that are open. */
static pm_model *model_of(const pm__tokenizer *tokenizer) {
    static const pm__arch arch = {.name = "fake", .build = build};
    static pm_device device;
    static pm_model model;
    if (model.sessions != NULL)
        return &model;
    fake_seen.n_weights = 0;
    lost = false;
    device = (pm_device){
        .handle = {.backend = fake.reopens ? &reopening : &fake_backend, .device = &lost},
        .models = &model};
    model = (pm_model){
        .device = &device, .placed = true, .def = {.arch = &arch, .n_vocab = FAKE_VOCAB}};
    model.tokenizer = (pm__tokenizer *)(uintptr_t)tokenizer; /* it is only read */
    return &model;
}

pm_status fake_session_try(const pm__tokenizer *tokenizer, const pm_session_desc *desc,
                           pm_session **out) {
    return pm_session_open(model_of(tokenizer), desc, out);
}

pm_session *fake_session_open(const pm__tokenizer *tokenizer, uint32_t n_ctx, uint32_t n_batch,
                              uint32_t n_seq) {
    const pm_session_desc desc = {.n_ctx = n_ctx, .n_batch = n_batch, .n_seq = n_seq};
    pm_session *session = NULL;
    if (fake_session_try(tokenizer, &desc, &session) != PM_OK)
        fail_msg("%s", pm_last_error());
    return session;
}
