#include "../base/clock.h"
#include "internal.h"
#include "synth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the file says ---------------------------------------------------------------------- */

/* A string key as text in the arena; `otherwise` where the file has none. */
static pm_status read_string(pm_model *model, const char *name, const char *otherwise,
                             const char **out) {
    const pm__gguf_key *key = pm__gguf_find_key(&model->source.gguf, name);
    pm__span span;
    *out = otherwise;
    if (key == NULL || !pm__gguf_string(key, &span))
        return PM_OK;
    *out = pm__arena_string(&model->arena, span.data, span.size);
    return *out != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

/* An integer key below the architecture's name, 0 where the file has none that fits: for show only.
 */
static uint32_t read_shown_u32(const pm_model *model, const char *suffix) {
    char name[256];
    const int n = snprintf(name, sizeof name, "%s.%s", model->info.architecture, suffix);
    if (n < 0 || (size_t)n >= sizeof name)
        return 0;
    const pm__gguf_key *key = pm__gguf_find_key(&model->source.gguf, name);
    uint64_t value = 0;
    if (key == NULL || !pm__gguf_u64(key, &value) || value > UINT32_MAX)
        return 0;
    return (uint32_t)value;
}

static uint64_t count_parameters(const pm__gguf *gguf) {
    uint64_t total = 0;
    for (uint64_t i = 0; i < gguf->n_tensor; i++) {
        const uint64_t *shape = gguf->tensors[i].shape;
        total += shape[0] * shape[1] * shape[2] * shape[3]; /* the parser has checked the product */
    }
    return total;
}

static pm_status read_info(pm_model *model) {
    pm_model_info *info = &model->info;
    const pm__gguf *gguf = &model->source.gguf;
    info->fault = info->tokenizer_kind = info->pre_tokenizer = "";
    info->bos = info->eos = info->eot = -1;
    PM_TRY(read_string(model, "general.architecture", "", &info->architecture));
    PM_TRY(read_string(model, "general.name", "", &info->name));
    PM_TRY(read_string(model, "tokenizer.ggml.model", "", &info->tokenizer));
    PM_TRY(read_string(model, "tokenizer.chat_template", NULL, &info->chat_template));
    info->tokenizer_kind = info->pre_tokenizer = "";
    info->version = gguf->version;
    info->container = model->source.kind;
    info->n_file = model->source.n_file;
    info->file_bytes = model->source.bytes;
    info->n_key = gguf->n_key;
    info->n_tensor = gguf->n_tensor;
    info->n_parameter = count_parameters(gguf);
    for (uint64_t i = 0; i < gguf->n_tensor; i++)
        model->start.weights_bytes += gguf->tensors[i].bytes;
    info->n_ctx_train = read_shown_u32(model, "context_length");
    info->n_embd = read_shown_u32(model, "embedding_length");
    info->n_layer = read_shown_u32(model, "block_count");
    model->key_names = pm__arena_array(&model->arena, gguf->n_key, sizeof *model->key_names);
    if (model->key_names == NULL)
        return PM_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < gguf->n_key; i++) {
        const pm__span name = gguf->keys[i].name;
        model->key_names[i] = pm__arena_string(&model->arena, name.data, name.size);
        if (model->key_names[i] == NULL)
            return PM_OUT_OF_MEMORY;
    }
    return PM_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static pm_status read_vocabulary(pm_model *model) {
    PM_TRY(pm__tokenizer_create(&model->source.gguf, &model->tokenizer));
    model->info.tokenizer_kind = pm__tokenizer_kind_words(model->tokenizer);
    model->info.pre_tokenizer = pm__tokenizer_pre(model->tokenizer);
    model->info.n_vocab = pm__tokenizer_n_vocab(model->tokenizer);
    model->info.bos = pm__tokenizer_bos(model->tokenizer);
    model->info.eos = pm__tokenizer_eos(model->tokenizer);
    model->info.eot = pm__tokenizer_eot(model->tokenizer);
    return PM_OK;
}

/* As files number them: none, mean, the first token, the last; anything else is not known here. */
static void read_pooling(pm_model *model) {
    static const pm_pooling kinds[] = {PM_POOLING_MODEL, PM_POOLING_MEAN, PM_POOLING_FIRST,
                                       PM_POOLING_LAST};
    const uint32_t kind = read_shown_u32(model, "pooling_type");
    model->info.encoder = model->def.arch->encoder;
    model->info.pooling = kind < PM__COUNT(kinds) ? kinds[kind] : PM_POOLING_MODEL;
    if (model->info.pooling == PM_POOLING_MODEL)
        model->info.pooling = model->info.encoder ? PM_POOLING_MEAN : PM_POOLING_LAST;
}

static void count_kept(pm_model *model) {
    const pm__graph *g = &model->graph;
    for (uint32_t i = 0; i < g->n_cache; i++)
        model->info.position_bytes +=
            pm__type_packed_bytes(g->caches[i]->type, g->caches[i]->n_col);
    for (uint32_t i = 0; i < g->n_state; i++)
        model->info.state_bytes += g->states[i]->n_col * sizeof(float);
}

static pm_status read_architecture(pm_model *model) {
    pm__model_def *def = &model->def;
    PM_TRY(pm__model_def_init(def, &model->source.gguf));
    if (model->info.n_vocab > def->n_vocab)
        return pm__fail(PM_BAD_FILE, "model: the tokenizer has %u pieces, the embedding %u rows",
                        model->info.n_vocab, def->n_vocab);
    model->info.n_vocab = def->n_vocab;
    model->info.n_ctx_train = def->n_ctx_train;
    model->info.n_embd = def->n_embd;
    model->info.n_layer = def->n_layer;
    read_pooling(model);
    PM_TRY(pm__model_graph(model, NULL, &model->graph));
    count_kept(model);
    return PM_OK;
}

static pm_status place_weights(pm_model *model, const pm_model_desc *desc) {
    const pm__device_handle *handle = &model->device->handle;
    PM_TRY(pm__device_restore(model->device));
    pm_status status = handle->backend->weights_create(handle->device, &model->def, desc->progress,
                                                       desc->user, &model->weights);
    if (pm__device_recover(model->device, &status))
        status = handle->backend->weights_create(handle->device, &model->def, desc->progress,
                                                 desc->user, &model->weights);
    model->placed = status == PM_OK;
    if (status == PM_OUT_OF_MEMORY)
        return pm__fail(status,
                        "%s; a smaller or more quantised model, or another device "
                        "(--device) would help",
                        pm_last_error());
    return status;
}

/* Keeps the sentence of what stands in the way. */
static pm_status keep_fault(pm_model *model, pm_status status) {
    if (status != PM_BAD_FILE && status != PM_UNSUPPORTED)
        return status;
    if (model->info.fault[0] == '\0')
        model->info.fault =
            pm__arena_string(&model->arena, pm_last_error(), strlen(pm_last_error()));
    return model->info.fault != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

static pm_status look_at(pm_model *model) {
    const pm_status status = read_vocabulary(model);
    PM_TRY(keep_fault(model, status));
    if (status != PM_OK)
        return PM_OK;
    if (model->source.gguf.n_tensor > 0)
        return keep_fault(model, read_architecture(model));
    model->info.fault = "model: there are no tensors, only a vocabulary";
    return PM_OK;
}

/* Of the session that is to follow, what needs no weights is begun. Kernels that are to be checked
 * first are left alone: a driver may crash over them. */
static pm_status expect_session(pm_model *model, const pm_model_desc *desc) {
    const pm__device_handle *handle = &model->device->handle;
    pm_session_desc resolved;
    pm__limits limits;
    pm__graph graph;
    uint32_t n_ctx;
    PM_TRY(pm__plan_check(model, desc->session, &resolved));
    if (desc->no_weights || handle->backend->expect == NULL ||
        (desc->check_first && pm_check_is_due(model->device, model)))
        return PM_OK;
    PM_TRY(pm__session_limits(&resolved, model->def.n_ctx_train, &limits, &n_ctx));
    PM_TRY(pm__model_graph(model, &resolved, &graph));
    const pm_status status = handle->backend->expect(handle->device, &model->def, &graph, &limits);
    pm__graph_finish(&graph);
    return status;
}

static pm_status load(pm_model *model, const pm_model_desc *desc) {
    const double begun = pm__clock_seconds();
    PM_TRY(desc->synth != NULL ? pm__synth_open(desc->synth, &model->source)
                               : pm__source_init(&model->source, desc->path));
    PM_TRY(read_info(model));
    if (desc->info_only)
        return look_at(model);
    PM_TRY(read_vocabulary(model));
    if (desc->vocab_only)
        return PM_OK;
    PM_TRY(read_architecture(model));
    if (desc->session != NULL)
        PM_TRY(expect_session(model, desc));
    const double opened = pm__clock_seconds();
    model->start.model_seconds = opened - begun;
    if (desc->no_weights)
        return PM_OK;
    PM_TRY(place_weights(model, desc));
    model->start.weights_seconds = pm__clock_seconds() - opened;
    return PM_OK;
}

pm_status pm_model_open(pm_device *device, const pm_model_desc *desc, pm_model **out) {
    if (desc == NULL || (desc->path == NULL) == (desc->synth == NULL))
        return pm__fail(PM_ARGUMENT,
                        "model: neither a path nor a synthetic model is given, or both");
    if (device == NULL && !desc->vocab_only && !desc->info_only)
        return pm__fail(PM_ARGUMENT, "model: no device given; only vocab_only and info_only work "
                                     "without one");
    pm_model *model = calloc(1, sizeof *model);
    if (model == NULL)
        return pm__fail_memory("model", sizeof *model);
    model->device = device;
    if (device != NULL) {
        model->next = device->models;
        device->models = model;
    }
    const pm_status status = load(model, desc);
    if (status != PM_OK) {
        pm_model_close(model);
        return status;
    }
    *out = model;
    return PM_OK;
}

static void leave_device(pm_model *model) {
    pm_model **link = &model->device->models;
    while (*link != model)
        link = &(*link)->next;
    *link = model->next;
}

void pm_model_close(pm_model *model) {
    if (model == NULL)
        return;
    if (model->device != NULL)
        leave_device(model);
    if (model->weights != NULL)
        model->device->handle.backend->weights_destroy(model->weights);
    pm__graph_finish(&model->graph);
    pm__model_def_finish(&model->def);
    pm__tokenizer_destroy(model->tokenizer);
    pm__source_finish(&model->source);
    pm__arena_finish(&model->arena);
    free(model);
}

/* ---- listings -------------------------------------------------------------------------------- */

const pm_model_info *pm_model_get_info(const pm_model *model) {
    return &model->info;
}

bool pm_model_get_tensor(const pm_model *model, uint64_t i, pm_tensor_info *out) {
    if (i >= model->source.gguf.n_tensor)
        return false;
    const pm__gguf_tensor *tensor = &model->source.gguf.tensors[i];
    *out = (pm_tensor_info){.name = tensor->name,
                            .type = pm__type_id_name(tensor->type_id),
                            .n_dim = tensor->n_dim,
                            .bytes = tensor->bytes};
    memcpy(out->shape, tensor->shape, sizeof out->shape);
    return true;
}

bool pm_model_get_key(const pm_model *model, uint64_t i, const char **key, char *value,
                      size_t value_size) {
    if (i >= model->source.gguf.n_key)
        return false;
    *key = model->key_names[i];
    if (value_size > 0)
        pm__gguf_print_value(&model->source.gguf.keys[i], value, value_size);
    return true;
}
