/* hf_config.c: config.json to keys. */
#include "hf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Groups by their bare names, as the tables write them. */
enum {
#define PM_HF_GROUP(NAME) NAME = 1 << PM__HF_##NAME##_BIT,
#include "hf.def"
};

typedef enum kind { U32, F32 } kind;

static const pm__hf_family families[] = {
#define PM_HF_FAMILY(MODEL_TYPE, ARCHITECTURE, GROUPS, ACTIVATION)                                 \
    {MODEL_TYPE, ARCHITECTURE, GROUPS, ACTIVATION},
#include "hf.def"
};

static const struct {
    uint32_t groups;
    const char *config, *suffix;
    kind kind;
} key_rows[] = {
#define PM_HF_KEY(GROUPS, CONFIG, SUFFIX, KIND) {GROUPS, CONFIG, SUFFIX, KIND},
#include "hf.def"
};

static const struct {
    uint32_t groups;
    const char *config, *value;
} must_rows[] = {
#define PM_HF_MUST(GROUPS, CONFIG, VALUE) {GROUPS, CONFIG, VALUE},
#include "hf.def"
};

static bool of(const pm__hf *hf, uint32_t groups) {
    return (hf->family->groups & groups) != 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

const cJSON *pm__hf_value(const pm__hf *hf, const char *name) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(hf->config, name);
    return value != NULL && !cJSON_IsNull(value) ? value : NULL;
}

pm_status pm__hf_whole(const pm__hf *hf, const char *name, uint32_t most, uint32_t *out) {
    const cJSON *value = pm__hf_value(hf, name);
    uint64_t whole = 0;
    *out = 0;
    if (value == NULL)
        return PM_OK;
    if (!pm__json_whole(value, most, &whole) || whole == 0)
        return pm__fail(PM_BAD_FILE,
                        "folder: config.json: %s is no whole number of at least 1 and at most %u",
                        name, most);
    *out = (uint32_t)whole;
    return PM_OK;
}

enum { MOST_NAME = 128 };

static const char *name_of(const pm__hf *hf, const char *suffix, char name[MOST_NAME]) {
    snprintf(name, MOST_NAME, "%s.%s", hf->family->arch, suffix);
    return name;
}

void pm__hf_u32(pm__hf *hf, const char *suffix, uint32_t value) {
    char name[MOST_NAME];
    pm__keys_u32(&hf->keys, name_of(hf, suffix, name), value);
}

void pm__hf_f32(pm__hf *hf, const char *suffix, double value) {
    char name[MOST_NAME];
    pm__keys_f32(&hf->keys, name_of(hf, suffix, name), (float)value);
}

void pm__hf_text(pm__hf *hf, const char *suffix, const char *value) {
    char name[MOST_NAME];
    pm__keys_text(&hf->keys, name_of(hf, suffix, name), value);
}

/* ---- the family ------------------------------------------------------------------------------ */

static const char *text_of(const cJSON *object, const char *name) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(value) ? value->valuestring : "";
}

static pm_status find_family(pm__hf *hf) {
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(hf->root, "text_config");
    hf->config = cJSON_IsObject(text) ? text : hf->root;
    const char *model_type = text_of(hf->config, "model_type");
    for (size_t i = 0; i < PM__COUNT(families); i++)
        if (strcmp(families[i].model_type, model_type) == 0)
            hf->family = &families[i];
    if (hf->family != NULL)
        return PM_OK;
    char known[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < PM__COUNT(families) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, " %s", families[i].model_type);
    return pm__fail(PM_UNSUPPORTED,
                    "folder: config.json: model_type '%.64s' is none that is read from a folder "
                    "(those are%s); a GGUF file of the model may work",
                    model_type, known);
}

static pm_status add_defaults(const pm__hf *hf) {
    static const struct {
        const char *model_type, *config;
        double value;
    } rows[] = {
#define PM_HF_DEFAULT(MODEL_TYPE, CONFIG, VALUE) {MODEL_TYPE, CONFIG, VALUE},
#include "hf.def"
    };
    cJSON *config = (cJSON *)(uintptr_t)hf->config; /* a part of hf->root, which is ours */
    for (size_t i = 0; i < PM__COUNT(rows); i++)
        if (strcmp(rows[i].model_type, hf->family->model_type) == 0 &&
            cJSON_GetObjectItemCaseSensitive(config, rows[i].config) == NULL &&
            cJSON_AddNumberToObject(config, rows[i].config, rows[i].value) == NULL)
            return pm__fail_memory("folder: config.json", sizeof(cJSON));
    return PM_OK;
}

static pm_status check_quantised(const pm__hf *hf) {
    const cJSON *how = pm__hf_value(hf, "quantization_config");
    if (how == NULL)
        how = cJSON_GetObjectItemCaseSensitive(hf->root, "quantization_config");
    if (how == NULL || cJSON_IsNull(how))
        return PM_OK;
    return pm__fail(PM_UNSUPPORTED,
                    "folder: config.json: quantization_config (quant_method '%.40s') is not read; "
                    "get the model in BF16, or as a GGUF file",
                    text_of(how, "quant_method"));
}

static bool in_list(const char *list, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = strstr(list, word); at != NULL && n > 0; at = strstr(at + 1, word))
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

static pm_status check_activation(const pm__hf *hf) {
    static const char *const names[] = {"hidden_activation", "hidden_act", "activation_function"};
    for (size_t i = 0; i < PM__COUNT(names); i++) {
        const cJSON *value = pm__hf_value(hf, names[i]);
        if (value == NULL)
            continue;
        if (cJSON_IsString(value) && in_list(hf->family->activation, value->valuestring))
            return PM_OK;
        return pm__fail(PM_UNSUPPORTED,
                        "folder: config.json: %s is '%.40s', but %s is built with '%s' alone",
                        names[i], cJSON_IsString(value) ? value->valuestring : "no text",
                        hf->family->arch, hf->family->activation);
    }
    return PM_OK;
}

static pm_status check_musts(const pm__hf *hf) {
    for (size_t i = 0; i < PM__COUNT(must_rows); i++) {
        const cJSON *value = pm__hf_value(hf, must_rows[i].config);
        if (value == NULL || !of(hf, must_rows[i].groups))
            continue;
        char text[64] = "";
        if (!cJSON_PrintPreallocated((cJSON *)(uintptr_t)value, text, sizeof text, false))
            snprintf(text, sizeof text, "too long");
        if (strcmp(text, must_rows[i].value) != 0)
            return pm__fail(PM_UNSUPPORTED,
                            "folder: config.json: %s is %s, but %s is built with %s alone",
                            must_rows[i].config, text, hf->family->arch, must_rows[i].value);
    }
    return PM_OK;
}

/* ---- sliding windows ------------------------------------------------------------------------- */

/* *window  0: no layer has one
 * *period  layer i has one where i mod period < period - 1; 0: the architecture's own */
static pm_status read_pattern(const pm__hf *hf, uint32_t *window, uint32_t *period) {
    const cJSON *types = pm__hf_value(hf, "layer_types");
    PM_TRY(pm__hf_whole(hf, "sliding_window", INT32_MAX, window));
    *period = 0;
    if (*window == 0)
        return PM_OK;
    if (types == NULL)
        return pm__hf_whole(hf, "sliding_window_pattern", PM__HF_MOST_LAYER, period);
    uint32_t i = 0, n_sliding = 0, first_full = 0;
    const cJSON *type;
    cJSON_ArrayForEach(type, types) {
        const bool sliding =
            cJSON_IsString(type) && strcmp(type->valuestring, "sliding_attention") == 0;
        if (!sliding && first_full == 0)
            first_full = i + 1;
        n_sliding += sliding;
        i++;
    }
    *period = first_full > 0 ? first_full : i + 1;
    if (n_sliding == 0)
        *window = 0;
    i = 0;
    cJSON_ArrayForEach(type, types) {
        const bool sliding =
            cJSON_IsString(type) && strcmp(type->valuestring, "sliding_attention") == 0;
        if (*window != 0 && sliding != (i % *period < *period - 1))
            return pm__fail(PM_UNSUPPORTED,
                            "folder: config.json: layer_types: layer %u breaks the pattern of one "
                            "full layer in %u",
                            i, *period);
        i++;
    }
    return PM_OK;
}

/* Where windows are not built, a context no longer than the window makes them idle. */
static pm_status bound_context(const pm__hf *hf, uint32_t *n_ctx) {
    const cJSON *used = pm__hf_value(hf, "use_sliding_window");
    uint32_t window = 0;
    if (of(hf, WINDOW | FUSED) || cJSON_IsFalse(used))
        return PM_OK;
    PM_TRY(pm__hf_whole(hf, "sliding_window", INT32_MAX, &window));
    if (window != 0 && window < *n_ctx)
        *n_ctx = window;
    return PM_OK;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static pm_status add_row(pm__hf *hf, size_t row) {
    const cJSON *value = pm__hf_value(hf, key_rows[row].config);
    uint32_t whole = 0;
    if (key_rows[row].kind == U32) {
        PM_TRY(pm__hf_whole(hf, key_rows[row].config, INT32_MAX, &whole));
        if (strcmp(key_rows[row].suffix, "context_length") == 0)
            PM_TRY(bound_context(hf, &whole));
        pm__hf_u32(hf, key_rows[row].suffix, whole);
        return PM_OK;
    }
    if (!cJSON_IsNumber(value) || !isfinite((float)value->valuedouble))
        return pm__fail(PM_BAD_FILE, "folder: config.json: %s is no number", key_rows[row].config);
    pm__hf_f32(hf, key_rows[row].suffix, value->valuedouble);
    return PM_OK;
}

static bool had_suffix(const pm__hf *hf, size_t row) {
    for (size_t i = 0; i < row; i++)
        if (of(hf, key_rows[i].groups) && pm__hf_value(hf, key_rows[i].config) != NULL &&
            strcmp(key_rows[i].suffix, key_rows[row].suffix) == 0)
            return true;
    return false;
}

static pm_status add_rows(pm__hf *hf) {
    uint32_t window = 0, period = 0;
    if (of(hf, WINDOW))
        PM_TRY(read_pattern(hf, &window, &period));
    for (size_t i = 0; i < PM__COUNT(key_rows); i++) {
        const bool windows = strcmp(key_rows[i].suffix, "attention.sliding_window") == 0;
        if (!of(hf, key_rows[i].groups) || pm__hf_value(hf, key_rows[i].config) == NULL ||
            had_suffix(hf, i) || (windows && window == 0))
            continue;
        PM_TRY(add_row(hf, i));
    }
    if (period != 0 && window != 0)
        pm__hf_u32(hf, "attention.sliding_window_pattern", period);
    return PM_OK;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static pm_status need(const pm__hf *hf, const char *name, uint32_t most, uint32_t *out) {
    PM_TRY(pm__hf_whole(hf, name, most, out));
    if (*out == 0)
        return pm__fail(PM_BAD_FILE, "folder: config.json has no %s", name);
    return PM_OK;
}

static pm_status read_rotated(pm__hf *hf, uint32_t head_dim) {
    const cJSON *part = pm__hf_value(hf, "partial_rotary_factor");
    const cJSON *scaling = pm__hf_value(hf, "rope_parameters");
    if (part == NULL)
        part = pm__hf_value(hf, "rope_pct");
    if (part == NULL)
        part = cJSON_GetObjectItemCaseSensitive(scaling, "partial_rotary_factor");
    const double factor = cJSON_IsNumber(part) ? part->valuedouble : 1.0;
    if (part != NULL && !(factor > 0.0 && factor <= 1.0))
        return pm__fail(PM_BAD_FILE,
                        "folder: config.json: partial_rotary_factor is not above 0 and at most 1");
    hf->n_rot = (uint32_t)(factor * head_dim);
    if (hf->n_rot < 2 || hf->n_rot % 2 != 0)
        return pm__fail(PM_BAD_FILE,
                        "folder: config.json: RoPE turns %u values of a head, not an even number",
                        hf->n_rot);
    if (of(hf, TURN) && hf->n_rot != head_dim)
        return pm__fail(
            PM_UNSUPPORTED,
            "folder: config.json: partial_rotary_factor is %g, but %s turns whole heads", factor,
            hf->family->arch);
    return PM_OK;
}

/* gemma2 and gemma3 scale scores by the size of a head, or, in the largest models, by the width
 * over the heads. */
static pm_status check_scale(const pm__hf *hf, uint32_t width, uint32_t head_dim) {
    uint32_t scalar = 0;
    if (!of(hf, SOFTCAP))
        return PM_OK;
    PM_TRY(pm__hf_whole(hf, "query_pre_attn_scalar", INT32_MAX, &scalar));
    const bool largest = hf->n_layer == (of(hf, GEMMA3) ? 62 : 46);
    const uint32_t expected = largest ? width / hf->n_head : head_dim;
    if (scalar == 0 || scalar == expected)
        return PM_OK;
    return pm__fail(
        PM_UNSUPPORTED,
        "folder: config.json: query_pre_attn_scalar is %u, but %s of %u layers is built "
        "with %u",
        scalar, hf->family->arch, hf->n_layer, expected);
}

static pm_status read_sizes(pm__hf *hf) {
    const bool gpt2 = of(hf, GPT2);
    uint32_t width = 0, head_dim = 0, inner = 0;
    PM_TRY(need(hf, gpt2 ? "n_layer" : "num_hidden_layers", PM__HF_MOST_LAYER, &hf->n_layer));
    PM_TRY(need(hf, gpt2 ? "n_head" : "num_attention_heads", 1 << 16, &hf->n_head));
    PM_TRY(need(hf, gpt2 ? "n_embd" : "hidden_size", 1 << 24, &width));
    PM_TRY(pm__hf_whole(hf, "num_key_value_heads", 1 << 16, &hf->n_head_kv));
    PM_TRY(pm__hf_whole(hf, "head_dim", 1 << 16, &head_dim));
    if (of(hf, EXPERT)) {
        PM_TRY(pm__hf_whole(hf, "num_local_experts", PM__HF_MOST_EXPERT, &hf->n_expert));
        if (hf->n_expert == 0)
            PM_TRY(need(hf, "num_experts", PM__HF_MOST_EXPERT, &hf->n_expert));
    }
    if (hf->n_head_kv == 0)
        hf->n_head_kv = hf->n_head;
    if (head_dim == 0)
        head_dim = width / hf->n_head;
    PM_TRY(pm__hf_whole(hf, "n_inner", INT32_MAX, &inner));
    if (gpt2 && inner == 0)
        pm__hf_u32(hf, "feed_forward_length", 4 * width);
    PM_TRY(check_scale(hf, width, head_dim));
    return gpt2 ? PM_OK : read_rotated(hf, head_dim);
}

static pm_status check_no_rope(const pm__hf *hf) {
    const cJSON *layers = pm__hf_value(hf, "no_rope_layers"), *layer;
    uint32_t i = 0;
    if (!of(hf, SMOLLM3))
        return PM_OK;
    cJSON_ArrayForEach(layer, layers) {
        if (!cJSON_IsNumber(layer) || (layer->valueint != 0) != (i % 4 < 3))
            return pm__fail(PM_UNSUPPORTED,
                            "folder: config.json: no_rope_layers: layer %u is not as smollm3 is "
                            "built, with RoPE on three of four layers",
                            i);
        i++;
    }
    return PM_OK;
}

pm_status pm__hf_config(pm__hf *hf) {
    PM_TRY(find_family(hf));
    PM_TRY(add_defaults(hf));
    PM_TRY(check_quantised(hf));
    PM_TRY(check_activation(hf));
    PM_TRY(check_musts(hf));
    PM_TRY(check_no_rope(hf));
    pm__keys_text(&hf->keys, "general.architecture", hf->family->arch);
    PM_TRY(read_sizes(hf));
    PM_TRY(add_rows(hf));
    const cJSON *tied = pm__hf_value(hf, "tie_word_embeddings");
    if (tied == NULL)
        tied = cJSON_GetObjectItemCaseSensitive(hf->root, "tie_word_embeddings");
    hf->tied = cJSON_IsTrue(tied);
    return of(hf, ROPE) ? pm__hf_rope(hf) : PM_OK;
}
