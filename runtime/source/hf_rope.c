/* hf_rope.c: how positions turn: rope_theta and rope_scaling, or rope_parameters of newer files.
 * source  modeling_rope_utils.py of transformers, for the names; arXiv:2309.00071 (yarn),
 *         arXiv:2402.13753 (longrope) */
#include "hf.h"

#include <math.h>
#include <string.h>

/* A number above 0; `otherwise` where there is none. */
static pm_status read_number(const cJSON *rope, const char *name, double otherwise, double *out) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(rope, name);
    *out = otherwise;
    if (value == NULL || cJSON_IsNull(value))
        return PM_OK;
    if (!cJSON_IsNumber(value) || !(value->valuedouble > 0.0) ||
        !isfinite((float)value->valuedouble))
        return pm__fail(PM_BAD_FILE, "folder: config.json: %s of RoPE is no number above 0", name);
    *out = value->valuedouble;
    return PM_OK;
}

static float *factors_of(pm__hf *hf) {
    return pm__arena_array(&hf->source->arena, hf->n_rot / 2, sizeof(float));
}

/* Low frequencies are divided by the factor, high ones are not, those between are blended. */
static pm_status scale_llama3(pm__hf *hf, const cJSON *rope, double theta) {
    double factor, low, high, original;
    PM_TRY(read_number(rope, "factor", 0.0, &factor));
    PM_TRY(read_number(rope, "low_freq_factor", 1.0, &low));
    PM_TRY(read_number(rope, "high_freq_factor", 4.0, &high));
    PM_TRY(read_number(rope, "original_max_position_embeddings", 8192.0, &original));
    if (factor == 0.0 || low >= high)
        return pm__fail(PM_BAD_FILE,
                        "folder: config.json: RoPE of type llama3 has no factor, or its "
                        "low_freq_factor is not below its high_freq_factor");
    float *factors = factors_of(hf);
    if (factors == NULL)
        return PM_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < hf->n_rot / 2; i++) {
        const double wave = 2.0 * 3.14159265358979323846 * pow(theta, 2.0 * i / hf->n_rot);
        const double smooth = (original / wave - low) / (high - low);
        if (wave < original / high)
            factors[i] = 1.0f;
        else if (wave > original / low)
            factors[i] = (float)factor;
        else
            factors[i] = (float)(1.0 / ((1.0 - smooth) / factor + smooth));
    }
    hf->rope_factors[0] = factors;
    return PM_OK;
}

static pm_status scale_yarn(pm__hf *hf, const cJSON *rope) {
    double factor, original, fast, slow, attention;
    uint32_t n_ctx = 0;
    PM_TRY(read_number(rope, "factor", 0.0, &factor));
    PM_TRY(pm__hf_whole(hf, "max_position_embeddings", INT32_MAX, &n_ctx));
    PM_TRY(read_number(rope, "original_max_position_embeddings", n_ctx, &original));
    PM_TRY(read_number(rope, "beta_fast", 32.0, &fast));
    PM_TRY(read_number(rope, "beta_slow", 1.0, &slow));
    const double usual = 0.1 * log(factor > 1.0 ? factor : 1.0) + 1.0;
    PM_TRY(read_number(rope, "attention_factor", usual, &attention));
    if (factor == 0.0 || original < 1.0)
        return pm__fail(PM_BAD_FILE, "folder: config.json: RoPE of type yarn has no factor");
    if (fast != 32.0 || slow != 1.0 || fabs(attention - usual) > 1e-6 ||
        cJSON_GetObjectItemCaseSensitive(rope, "mscale") != NULL)
        return pm__fail(PM_UNSUPPORTED, "folder: config.json: RoPE of type yarn with its own "
                                        "beta_fast, beta_slow, attention_factor or mscale is not "
                                        "read");
    pm__hf_text(hf, "rope.scaling.type", "yarn");
    pm__hf_f32(hf, "rope.scaling.factor", factor);
    pm__hf_u32(hf, "rope.scaling.original_context_length", (uint32_t)fmin(original, INT32_MAX));
    return PM_OK;
}

static pm_status read_factors(pm__hf *hf, const cJSON *rope, const char *name, const float **out) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(rope, name), *value;
    if (!cJSON_IsArray(list) || (uint32_t)cJSON_GetArraySize(list) != hf->n_rot / 2)
        return pm__fail(PM_BAD_FILE, "folder: config.json: %s is no list of %u numbers", name,
                        hf->n_rot / 2);
    float *factors = factors_of(hf);
    if (factors == NULL)
        return PM_OUT_OF_MEMORY;
    *out = factors;
    cJSON_ArrayForEach(value, list) {
        if (!cJSON_IsNumber(value) || !(value->valuedouble > 0.0))
            return pm__fail(PM_BAD_FILE, "folder: config.json: %s holds what is no number above 0",
                            name);
        *factors++ = (float)value->valuedouble;
    }
    return PM_OK;
}

static pm_status scale_longrope(pm__hf *hf, const cJSON *rope) {
    uint32_t n_ctx = 0, original = 0;
    double attention;
    PM_TRY(pm__hf_whole(hf, "max_position_embeddings", INT32_MAX, &n_ctx));
    PM_TRY(pm__hf_whole(hf, "original_max_position_embeddings", INT32_MAX, &original));
    if (original == 0) {
        double listed;
        PM_TRY(read_number(rope, "original_max_position_embeddings", n_ctx, &listed));
        original = (uint32_t)fmin(listed, INT32_MAX);
    }
    if (n_ctx < 2 || original < 2)
        return pm__fail(PM_BAD_FILE, "folder: config.json: RoPE of type longrope without "
                                     "max_position_embeddings");
    const double ratio = (double)n_ctx / original;
    PM_TRY(read_number(rope, "attention_factor",
                       ratio > 1.0 ? sqrt(1.0 + log(ratio) / log((double)original)) : 1.0,
                       &attention));
    PM_TRY(read_factors(hf, rope, "long_factor", &hf->rope_factors[1]));
    PM_TRY(read_factors(hf, rope, "short_factor", &hf->rope_factors[2]));
    pm__hf_u32(hf, "rope.scaling.original_context_length", original);
    pm__hf_f32(hf, "rope.scaling.attn_factor", attention);
    return PM_OK;
}

static const char *type_of(const cJSON *rope) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(rope, "rope_type");
    if (!cJSON_IsString(type))
        type = cJSON_GetObjectItemCaseSensitive(rope, "type");
    return cJSON_IsString(type) ? type->valuestring : "default";
}

/* hunyuan grows the base with `alpha`. */
static pm_status grow_base(pm__hf *hf, const cJSON *rope, double *theta) {
    double alpha;
    PM_TRY(read_number(rope, "alpha", 0.0, &alpha));
    if (alpha == 0.0 || hf->n_rot < 4 || strcmp(hf->family->arch, "hunyuan-dense") != 0)
        return pm__fail(PM_UNSUPPORTED,
                        "folder: config.json: RoPE of type dynamic is not read for %s",
                        hf->family->arch);
    *theta *= pow(alpha, (double)hf->n_rot / (hf->n_rot - 2));
    return PM_OK;
}

static pm_status scale(pm__hf *hf, const cJSON *rope, double *theta) {
    const char *type = type_of(rope);
    double factor;
    if (strcmp(type, "default") == 0)
        return PM_OK;
    if (strcmp(type, "llama3") == 0)
        return scale_llama3(hf, rope, *theta);
    if (strcmp(type, "yarn") == 0)
        return scale_yarn(hf, rope);
    if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0)
        return scale_longrope(hf, rope);
    if (strcmp(type, "dynamic") == 0)
        return grow_base(hf, rope, theta);
    if (strcmp(type, "linear") != 0)
        return pm__fail(PM_UNSUPPORTED, "folder: config.json: RoPE of type '%.40s' is not read",
                        type);
    PM_TRY(read_number(rope, "factor", 1.0, &factor));
    pm__hf_text(hf, "rope.scaling.type", "linear");
    pm__hf_f32(hf, "rope.scaling.factor", factor);
    return PM_OK;
}

pm_status pm__hf_rope(pm__hf *hf) {
    const cJSON *parameters = pm__hf_value(hf, "rope_parameters");
    const cJSON *full = cJSON_GetObjectItemCaseSensitive(parameters, "full_attention");
    const cJSON *sliding = cJSON_GetObjectItemCaseSensitive(parameters, "sliding_attention");
    const cJSON *rope = full != NULL ? full : parameters;
    double theta, theta_sliding;
    PM_TRY(read_number(hf->config, "rope_theta", 10000.0, &theta));
    PM_TRY(read_number(rope, "rope_theta", theta, &theta));
    if (rope == NULL)
        rope = pm__hf_value(hf, "rope_scaling");
    if (sliding != NULL && (hf->family->groups & PM__HF(GEMMA3)) != 0) {
        PM_TRY(read_number(sliding, "rope_theta", 10000.0, &theta_sliding));
        if (pm__hf_value(hf, "rope_local_base_freq") == NULL)
            pm__hf_f32(hf, "rope.freq_base_swa", theta_sliding);
    }
    pm__hf_u32(hf, "rope.dimension_count", hf->n_rot);
    PM_TRY(scale(hf, rope, &theta));
    pm__hf_f32(hf, "rope.freq_base", theta);
    return PM_OK;
}
