#include "mix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the tables ------------------------------------------------------------------------------ */

typedef enum mix_id {
#define PM_MIX(NAME, type, id, output, what) MIX_##NAME,
#include "mixes.def"
    MIX_COUNT
} mix_id;

static const pm__mix_info mixes[] = {
#define PM_MIX(NAME, type, id, output, what) {#NAME, PM__TYPE_##type, PM__TYPE_##output, id, what},
#include "mixes.def"
};

static const struct {
    mix_id mix;
    const char *name;
} others[] = {
#define PM_MIX_ALSO(NAME, other) {MIX_##NAME, #other},
#include "mixes.def"
};

typedef enum condition {
    ALWAYS,
    SPREAD, /* the first and the last eighth of the layers, and every third between */
    FIRST_TWO,
    FIRST_FOUR,
    FIRST_EIGHTH,
    FIRST_SIXTEENTH,
    IMATRIX_FIRST_EIGHTH, /* only with importances */
    PLAIN_FIRST_EIGHTH,   /* only without */
    GROUPED,              /* four or more heads share a value */
    EIGHT_EXPERTS,        /* models of exactly eight: attention is a small part of them */
    NOT_EIGHT_EXPERTS
} condition;

static const struct {
    mix_id mix;
    pm__role role;
    condition when;
    pm__type type;
} rules[] = {
#define PM_MIX_RULE(NAME, role, when, type) {MIX_##NAME, PM__ROLE_##role, when, PM__TYPE_##type},
#include "mixes.def"
};

const pm__mix_info *pm__mix_get(size_t i) {
    return i < PM__COUNT(mixes) ? &mixes[i] : NULL;
}

const pm__mix_info *pm__mix_find(const char *name) {
    for (size_t i = 0; i < PM__COUNT(mixes); i++)
        if (strcasecmp(mixes[i].name, name) == 0)
            return &mixes[i];
    for (size_t i = 0; i < PM__COUNT(others); i++)
        if (strcasecmp(others[i].name, name) == 0)
            return &mixes[others[i].mix];
    return NULL;
}

/* ---- roles ----------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), n_end = strlen(end);
    return n >= n_end && strcmp(name + n - n_end, end) == 0;
}

/* Small or delicate: norms, routers, positions, convolutions, mixing vectors of recurrent
 * layers. */
static bool is_kept(const char *name) {
    static const char *const parts[] = {"_norm.weight",
                                        "ffn_gate_inp",
                                        "position_embd",
                                        "token_types",
                                        "ssm_conv1d",
                                        "shortconv.conv",
                                        "altup",
                                        "laurel",
                                        "per_layer_model_proj",
                                        "time_mix_first",
                                        "time_mix_w0",
                                        "time_mix_w1",
                                        "time_mix_w2",
                                        "time_mix_v0",
                                        "time_mix_v1",
                                        "time_mix_v2",
                                        "time_mix_a0",
                                        "time_mix_a1",
                                        "time_mix_a2",
                                        "time_mix_g1",
                                        "time_mix_g2",
                                        "time_mix_decay_w1",
                                        "time_mix_decay_w2",
                                        "time_mix_lerp_fused",
                                        "attn_rel_b"};
    if (!ends_with(name, "weight"))
        return true;
    for (size_t i = 0; i < PM__COUNT(parts); i++)
        if (strstr(name, parts[i]) != NULL)
            return true;
    return false;
}

static uint32_t count_dims(const pm__gguf_tensor *tensor) {
    uint32_t n = tensor->n_dim;
    while (n > 1 && tensor->shape[n - 1] == 1)
        n--;
    return n;
}

pm__role pm__mix_role(const pm__mix_model *model, const pm__gguf_tensor *tensor) {
    static const struct {
        const char *part;
        pm__role role;
    } parts[] = {
        {"attn_v.weight", PM__ROLE_VALUE},          {"attn_qkv.weight", PM__ROLE_VALUE},
        {"attn_kv_b.weight", PM__ROLE_VALUE},       {"attn_k.weight", PM__ROLE_KEY},
        {"attn_output.weight", PM__ROLE_ATTENTION}, {"ffn_down", PM__ROLE_DOWN},
        {"_exps.weight", PM__ROLE_EXPERTS},
    };
    const char *name = tensor->name;
    if (count_dims(tensor) < 2 || is_kept(name))
        return PM__ROLE_KEPT;
    if (strcmp(name, "output.weight") == 0)
        return PM__ROLE_OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0)
        return model->has_output ? PM__ROLE_EMBEDDING : PM__ROLE_OUTPUT;
    if (strcmp(name, "per_layer_token_embd.weight") == 0)
        return PM__ROLE_EMBEDDING;
    for (size_t i = 0; i < PM__COUNT(parts); i++)
        if (strstr(name, parts[i].part) != NULL)
            return parts[i].role;
    return PM__ROLE_OTHER;
}

/* ---- a model --------------------------------------------------------------------------------- */

/* Layer of "blk.12.ffn_down.weight"; PM__MIX_LAYERS where the name has none that counts. */
static uint32_t layer_of(const char *name) {
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9')
        return PM__MIX_LAYERS;
    const unsigned long layer = strtoul(name + 4, NULL, 10);
    return layer < PM__MIX_LAYERS ? (uint32_t)layer : PM__MIX_LAYERS;
}

/* An integer key below the architecture's name; the largest of an array. */
static uint32_t read_count(const pm__gguf *gguf, const pm__span *arch, const char *suffix,
                           uint32_t otherwise) {
    char name[256];
    uint64_t value = 0, most = 0;
    const int n = snprintf(name, sizeof name, "%.*s.%s", (int)arch->size, arch->data, suffix);
    const pm__gguf_key *key =
        n > 0 && (size_t)n < sizeof name ? pm__gguf_find_key(gguf, name) : NULL;
    if (key == NULL)
        return otherwise;
    if (!pm__gguf_u64(key, &most))
        for (uint64_t i = 0; i < key->n && pm__gguf_array_u64(key, i, &value); i++)
            most = value > most ? value : most;
    return most > 0 && most <= UINT32_MAX ? (uint32_t)most : otherwise;
}

/* From marks to how many are marked below. */
static void rank(uint32_t *layers) {
    uint32_t n = 0;
    for (uint32_t i = 0; i <= PM__MIX_LAYERS; i++) {
        const uint32_t here = layers[i];
        layers[i] = n;
        n += here;
    }
}

pm_status pm__mix_model_init(pm__mix_model *model, const pm__mix_info *mix, const pm__gguf *gguf,
                             bool imatrix) {
    pm__span arch = {"", 0};
    const pm__gguf_key *key = pm__gguf_find_key(gguf, "general.architecture");
    if (key != NULL && pm__gguf_string(key, &arch) && arch.size > 128)
        arch.size = 128;
    const uint32_t n_head = read_count(gguf, &arch, "attention.head_count", 1);
    const uint32_t n_head_kv = read_count(gguf, &arch, "attention.head_count_kv", n_head);
    *model = (pm__mix_model){
        .mix = mix,
        .imatrix = imatrix,
        .has_output = pm__gguf_find_tensor(gguf, "output.weight") != NULL,
        .n_layer = read_count(gguf, &arch, "block_count", 1),
        .n_expert = read_count(gguf, &arch, "expert_count", 0),
        .n_group = n_head / n_head_kv,
    };
    model->is_70b = model->n_layer == 80 && n_head != n_head_kv;
    uint32_t *layers =
        pm__arena_array(&model->arena, 2 * (PM__MIX_LAYERS + 1), sizeof *model->value_rank);
    if (layers == NULL)
        return PM_OUT_OF_MEMORY;
    model->value_rank = layers;
    model->down_rank = layers + PM__MIX_LAYERS + 1;
    for (uint64_t i = 0; i < gguf->n_tensor; i++) {
        const pm__role role = pm__mix_role(model, &gguf->tensors[i]);
        const uint32_t layer = layer_of(gguf->tensors[i].name);
        if (layer < PM__MIX_LAYERS && role == PM__ROLE_VALUE)
            model->value_rank[layer] = 1;
        if (layer < PM__MIX_LAYERS && role == PM__ROLE_DOWN)
            model->down_rank[layer] = 1;
    }
    rank(model->value_rank);
    rank(model->down_rank);
    return PM_OK;
}

void pm__mix_model_finish(pm__mix_model *model) {
    pm__arena_finish(&model->arena);
    *model = (pm__mix_model){0};
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* i  place among the n layers that have such a matrix */
static bool holds(const pm__mix_model *model, condition when, uint32_t i, uint32_t n) {
    switch (when) {
    case ALWAYS:
        return true;
    case SPREAD:
        return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case FIRST_TWO:
        return i < 2;
    case FIRST_FOUR:
        return i < 4;
    case FIRST_EIGHTH:
        return i < n / 8;
    case FIRST_SIXTEENTH:
        return i < n / 16;
    case IMATRIX_FIRST_EIGHTH:
        return model->imatrix && i < n / 8;
    case PLAIN_FIRST_EIGHTH:
        return !model->imatrix && i < n / 8;
    case GROUPED:
        return model->n_group >= 4;
    case EIGHT_EXPERTS:
        return model->n_expert == 8;
    case NOT_EIGHT_EXPERTS:
        return model->n_expert != 8;
    }
    return false;
}

static pm__type apply_rules(const pm__mix_model *model, pm__role role, const char *name) {
    const uint32_t *ranks = role == PM__ROLE_VALUE ? model->value_rank : model->down_rank;
    const uint32_t i = ranks[layer_of(name)], n = ranks[PM__MIX_LAYERS];
    const mix_id which = (mix_id)(model->mix - mixes);
    for (size_t k = 0; k < PM__COUNT(rules); k++) {
        const bool of_role = rules[k].role == role || (rules[k].role == PM__ROLE_EXPERTS &&
                                                       strstr(name, "_exps.weight") != NULL);
        if (rules[k].mix == which && of_role && holds(model, rules[k].when, i, n))
            return rules[k].type;
    }
    return model->mix->type;
}

pm__type pm__mix_type(const pm__mix_model *model, const pm__gguf_tensor *tensor, pm__role role) {
    const bool coarse = pm__type_get(model->mix->type)->block_n > 1;
    if (role == PM__ROLE_OUTPUT)
        return coarse && tensor->shape[0] % 256 != 0 && model->mix->output == PM__TYPE_Q6_K
                   ? PM__TYPE_Q8_0
                   : model->mix->output;
    const pm__type type = apply_rules(model, role, tensor->name);
    if (!coarse)
        return type;
    if (model->n_expert == 8 && (role == PM__ROLE_VALUE || role == PM__ROLE_KEY))
        return PM__TYPE_Q8_0;
    if (role == PM__ROLE_VALUE && model->is_70b && (type == PM__TYPE_Q3_K || type == PM__TYPE_Q4_K))
        return PM__TYPE_Q5_K;
    return type;
}

pm__type pm__mix_fit(pm__type type, uint64_t n_col) {
    static const struct {
        pm__type from, to;
    } nearest[] = {
        {PM__TYPE_Q2_K, PM__TYPE_IQ4_NL},   {PM__TYPE_Q3_K, PM__TYPE_IQ4_NL},
        {PM__TYPE_IQ4_XS, PM__TYPE_IQ4_NL}, {PM__TYPE_TQ2_0, PM__TYPE_Q4_0},
        {PM__TYPE_Q4_K, PM__TYPE_Q5_0},     {PM__TYPE_Q5_K, PM__TYPE_Q5_1},
        {PM__TYPE_Q6_K, PM__TYPE_Q8_0},
    };
    for (size_t i = 0; i < PM__COUNT(nearest); i++)
        if (type == nearest[i].from && n_col % pm__type_get(type)->block_n != 0)
            type = nearest[i].to;
    return n_col % pm__type_get(type)->block_n == 0 ? type : PM__TYPE_F16;
}
