/* hf_tensors.c: tensors of safetensors files under the names, and with the rows in the order, that
 * GGUF files have. */
#include "hf.h"

#include "../base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
#define PM_HF_GROUP(NAME) NAME = 1 << PM__HF_##NAME##_BIT,
#include "hf.def"
};

typedef enum change { PLAIN, TURN_Q, TURN_K, TRANSPOSE, FLAT, EXPERTS, DROP } change;

static const struct row {
    uint32_t groups;
    const char *name, *gguf_name;
    change change;
} rows[] = {
#define PM_HF_TENSOR(GROUPS, NAME, GGUF_NAME, CHANGE) {GROUPS, NAME, GGUF_NAME, CHANGE},
#include "hf.def"
};

enum { MOST_NAME = 128, ALIGNMENT = 8, NO_ROW = -1, N_FACTOR = 3 };

/* Parts of models that are about more than text. */
static const char *const other_parts[] = {
    "vision_tower.",
    "model.vision_tower.",
    "multi_modal_projector.",
    "visual.",
    "model.multi_modal_projector.",
    "model.visual.",
    "model.vision_model.",
    "vision_model.",
};

static const struct {
    const char *prefix, *instead;
} prefixes[] = {
    {"language_model.model.", "model."},
    {"model.language_model.", "model."},
    {"language_model.", ""},
    {"transformer.", ""},
};

/* Numbers that a name has in the places of # and @. */
typedef struct numbers {
    uint32_t layer, expert;
} numbers;

typedef struct built {
    pm__gguf_tensor tensor;
    size_t row; /* of the table: the order of tensors within a layer */
    uint32_t layer;
} built;

/* Experts of one layer and row that were found so far. */
struct experts {
    const uint8_t **parts; /* [n_expert] NULL: none was found at all */
    size_t built;          /* the tensor of all of them */
};

typedef struct loader {
    pm__hf *hf;
    built *built; /* [n] */
    size_t n;
    struct experts *experts; /* [n_layer][PM__COUNT(rows)] */
    const pm__safetensor *now;
    numbers at;
    size_t row;
} loader;

/* ---- names ----------------------------------------------------------------------------------- */

static bool take_number(const char **text, uint32_t most, uint32_t *out) {
    const char *at = *text;
    uint32_t n = 0;
    if (*at < '0' || *at > '9' || (*at == '0' && at[1] >= '0' && at[1] <= '9'))
        return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        n = 10 * n + (uint32_t)(*at - '0');
        if (n >= most)
            return false;
    }
    *text = at;
    *out = n;
    return true;
}

static bool fits(const char *pattern, const char *name, numbers *out) {
    for (; *pattern != '\0'; pattern++) {
        if (*pattern == '#' || *pattern == '@') {
            if (!take_number(&name, *pattern == '#' ? PM__HF_MOST_LAYER : PM__HF_MOST_EXPERT,
                             *pattern == '#' ? &out->layer : &out->expert))
                return false;
        } else if (*pattern != *name++)
            return false;
    }
    return *name == '\0';
}

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static bool is_other_part(const char *name) {
    for (size_t i = 0; i < PM__COUNT(other_parts); i++)
        if (starts_with(name, other_parts[i]))
            return true;
    return false;
}

/* The row for a tensor, NO_ROW if there is none. */
static int find_row(const pm__hf *hf, const char *name, numbers *out) {
    char usual[PM__SAFETENSORS_MOST_NAME + 16];
    snprintf(usual, sizeof usual, "%s", name);
    for (size_t i = 0; i < PM__COUNT(prefixes); i++)
        if (starts_with(name, prefixes[i].prefix)) {
            snprintf(usual, sizeof usual, "%s%s", prefixes[i].instead,
                     name + strlen(prefixes[i].prefix));
            break;
        }
    for (size_t i = 0; i < PM__COUNT(rows); i++) {
        *out = (numbers){0};
        if ((rows[i].groups & hf->family->groups) != 0 && fits(rows[i].name, usual, out))
            return (int)i;
    }
    return NO_ROW;
}

/* The GGUF name, in the arena; NULL without memory. */
static const char *new_name(const loader *l) {
    char name[MOST_NAME];
    const char *pattern = rows[l->row].gguf_name;
    const char *layer = strchr(pattern, '#');
    if (layer == NULL)
        snprintf(name, sizeof name, "%s", pattern);
    else
        snprintf(name, sizeof name, "%.*s%u%s", (int)(layer - pattern), pattern, l->at.layer,
                 layer + 1);
    return pm__arena_string(&l->hf->source->arena, name, strlen(name));
}

/* ---- one tensor ------------------------------------------------------------------------------ */

static pm_status fail_shape(const pm__safetensor *t, const char *why) {
    char shape[PM__SAFETENSORS_MOST_DIM * 21 + 1] = "";
    int used = 0;
    for (uint32_t i = 0; i < t->n_dim; i++)
        used += snprintf(shape + used, sizeof shape - (size_t)used, "%s%" PRIu64, i > 0 ? ", " : "",
                         t->shape[i]);
    return pm__fail(PM_BAD_FILE, "folder: tensor '%.80s' of shape [%s] %s", t->name, shape, why);
}

/* The tensor as it is: shape, type, bytes. */
static pm_status describe(loader *l, pm__gguf_tensor *out) {
    const pm__safetensor *t = l->now;
    pm__type_block block;
    if (t->type_id == PM__NO_TYPE_ID)
        return pm__fail(
            PM_UNSUPPORTED,
            "folder: tensor '%.80s' is of dtype %s, which is not read; get the model in "
            "BF16, or as a GGUF file",
            t->name, t->dtype);
    PM_TRY(pm__type_block_from_id(t->type_id, &block));
    if (t->n_dim < 1 || t->n_dim > 3)
        return fail_shape(t, "has not 1 to 3 dimensions");
    *out = (pm__gguf_tensor){.name = new_name(l),
                             .type = block.type,
                             .type_id = t->type_id,
                             .n_dim = t->n_dim,
                             .shape = {1, 1, 1, 1},
                             .data = t->data,
                             .bytes = t->bytes};
    for (uint32_t i = 0; i < t->n_dim; i++) {
        out->shape[i] = t->shape[t->n_dim - 1 - i];
        if (out->shape[i] == 0 || out->shape[i] > UINT32_MAX)
            return fail_shape(t, "is empty or too large");
    }
    return out->name != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

/* The way of a value of a turned row to its place; halves as in pm__gguf_rows. */
static uint64_t turned(uint64_t i, uint32_t halves) {
    const uint64_t in_head = i % halves;
    return i - in_head + in_head / 2 + in_head % 2 * (halves / 2);
}

/* Vectors are F32 in GGUF files. */
static pm_status make_vector(loader *l, pm__gguf_tensor *out, uint32_t halves) {
    const uint64_t n = out->shape[0];
    if (out->type == PM__TYPE_COUNT)
        return pm__fail(PM_UNSUPPORTED, "folder: tensor '%.80s' is of dtype %s, which is not read",
                        l->now->name, l->now->dtype);
    float *values = pm__arena_array(&l->hf->source->arena, (size_t)n, 2 * sizeof *values);
    if (values == NULL)
        return PM_OUT_OF_MEMORY;
    pm__type_decode(out->type, l->now->data, (uint32_t)n, values + n);
    const bool more =
        (l->hf->family->groups & ONE_MORE) != 0 && ends_with(out->name, "norm.weight");
    for (uint64_t i = 0; i < n; i++) {
        const float x = values[n + (halves > 0 ? turned(i, halves) : i)];
        values[i] = more ? x + 1.0f : x; /* -0 stays what it is */
    }
    out->type = PM__TYPE_F32;
    out->type_id = pm__type_get(PM__TYPE_F32)->id;
    out->data = (const uint8_t *)values;
    out->bytes = n * sizeof *values;
    return PM_OK;
}

/* Rows that lie apart: of n_part parts, in another order within heads if halves is not 0. */
static pm_status set_rows(loader *l, pm__gguf_tensor *out, const uint8_t *const *parts,
                          uint64_t n_row, uint32_t halves) {
    pm__gguf_rows *apart = pm__arena_alloc(&l->hf->source->arena, sizeof *apart);
    if (apart == NULL)
        return PM_OUT_OF_MEMORY;
    *apart = (pm__gguf_rows){.parts = parts, .n_row = n_row, .halves = halves};
    out->rows = apart;
    out->data = NULL;
    return PM_OK;
}

static pm_status set_one_part(loader *l, pm__gguf_tensor *out, uint32_t halves) {
    const uint8_t **parts = pm__arena_array(&l->hf->source->arena, 1, sizeof *parts);
    if (parts == NULL)
        return PM_OUT_OF_MEMORY;
    parts[0] = l->now->data;
    return set_rows(l, out, parts, out->shape[1] * out->shape[2], halves);
}

/* 0 where nothing turns. */
static pm_status find_halves(const loader *l, const pm__gguf_tensor *t, uint32_t *halves) {
    const pm__hf *hf = l->hf;
    const change c = rows[l->row].change;
    *halves = 0;
    if ((hf->family->groups & TURN) == 0 || (c != TURN_Q && c != TURN_K))
        return PM_OK;
    const uint32_t n_head = c == TURN_Q ? hf->n_head : hf->n_head_kv;
    const uint64_t n_row = t->n_dim == 1 ? t->shape[0] : t->shape[1];
    if (n_row % n_head != 0 || n_row / n_head % 2 != 0)
        return fail_shape(l->now, "does not cut into heads of an even size");
    *halves = (uint32_t)(n_row / n_head);
    return PM_OK;
}

static pm_status transpose(loader *l, pm__gguf_tensor *t) {
    const size_t size = t->type_id == 0 ? 4 : 2;
    if (t->n_dim != 2 || (t->type_id != 0 && t->type_id != 1 && t->type_id != 30))
        return fail_shape(l->now,
                          "is no matrix of F32, F16 or BF16, which alone can be transposed");
    const uint64_t n_in = t->shape[1], n_out = t->shape[0];
    uint8_t *copy = pm__arena_alloc(&l->hf->source->arena, (size_t)t->bytes);
    if (copy == NULL)
        return PM_OUT_OF_MEMORY;
    for (uint64_t o = 0; o < n_out; o++)
        for (uint64_t i = 0; i < n_in; i++)
            memcpy(copy + (o * n_in + i) * size, t->data + (i * n_out + o) * size, size);
    t->shape[0] = n_in;
    t->shape[1] = n_out;
    t->data = copy;
    return PM_OK;
}

static pm_status change_tensor(loader *l, pm__gguf_tensor *t) {
    uint32_t halves = 0;
    if (rows[l->row].change == FLAT && t->n_dim == 2 && t->shape[1] == 1)
        t->n_dim = 1;
    if (rows[l->row].change == TRANSPOSE)
        PM_TRY(transpose(l, t));
    PM_TRY(find_halves(l, t, &halves));
    if (t->n_dim == 1)
        return make_vector(l, t, halves);
    if (halves != 0 || (uintptr_t)t->data % ALIGNMENT != 0)
        return set_one_part(l, t, halves);
    return PM_OK;
}

/* ---- experts --------------------------------------------------------------------------------- */

/* The first of its layer and row begins the tensor of all of them. */
static pm_status begin_experts(loader *l, struct experts *e, const pm__gguf_tensor *one) {
    const uint32_t n = l->hf->n_expert;
    built *b = &l->built[l->n];
    *b = (built){.tensor = *one, .row = l->row, .layer = l->at.layer};
    b->tensor.n_dim = 3;
    b->tensor.shape[2] = n;
    e->parts = pm__arena_array(&l->hf->source->arena, n, sizeof *e->parts);
    e->built = l->n++;
    if (e->parts == NULL)
        return PM_OUT_OF_MEMORY;
    if (!pm__mul_u64(one->bytes, n, &b->tensor.bytes))
        return fail_shape(l->now, "is too large");
    return set_rows(l, &b->tensor, e->parts, one->shape[1], 0);
}

static pm_status add_expert(loader *l, const pm__gguf_tensor *one) {
    const pm__hf *hf = l->hf;
    if (l->at.layer >= hf->n_layer || l->at.expert >= hf->n_expert)
        return pm__fail(PM_BAD_FILE,
                        "folder: tensor '%.80s' is past the %u layers or %u experts of config.json",
                        l->now->name, hf->n_layer, hf->n_expert);
    if (one->n_dim != 2)
        return fail_shape(l->now, "is no matrix");
    struct experts *e = &l->experts[l->at.layer * PM__COUNT(rows) + l->row];
    if (e->parts == NULL)
        PM_TRY(begin_experts(l, e, one));
    const pm__gguf_tensor *all = &l->built[e->built].tensor;
    if (all->type_id != one->type_id || all->shape[0] != one->shape[0] ||
        all->shape[1] != one->shape[1])
        return fail_shape(l->now, "has another shape or dtype than the other experts of its layer");
    e->parts[l->at.expert] = one->data;
    return PM_OK;
}

static pm_status check_experts(const loader *l) {
    for (size_t i = 0; i < l->n; i++) {
        if (rows[l->built[i].row].change != EXPERTS)
            continue;
        for (uint32_t e = 0; e < l->hf->n_expert; e++)
            if (l->built[i].tensor.rows->parts[e] == NULL)
                return pm__fail(PM_BAD_FILE, "folder: expert %u of %u of '%s' is missing", e,
                                l->hf->n_expert, l->built[i].tensor.name);
    }
    return PM_OK;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static pm_status add_tensor(loader *l, const pm__safetensor *t) {
    const int row = find_row(l->hf, t->name, &l->at);
    if (row == NO_ROW && is_other_part(t->name))
        return PM_OK;
    if (row == NO_ROW)
        return pm__fail(PM_UNSUPPORTED,
                        "folder: tensor '%.80s' has no place in %s as it is read from a folder",
                        t->name, l->hf->family->model_type);
    l->now = t;
    l->row = (size_t)row;
    if (rows[row].change == DROP ||
        (l->hf->tied && strcmp(rows[row].gguf_name, "output.weight") == 0))
        return PM_OK;
    pm__gguf_tensor tensor;
    PM_TRY(describe(l, &tensor));
    if (rows[row].change == EXPERTS)
        return add_expert(l, &tensor);
    PM_TRY(change_tensor(l, &tensor));
    l->built[l->n++] = (built){.tensor = tensor, .row = l->row, .layer = l->at.layer};
    return PM_OK;
}

static void add_factors(loader *l, const char *name, const float *factors) {
    if (factors == NULL)
        return;
    l->built[l->n++] = (built){.tensor = {.name = name,
                                          .type = PM__TYPE_F32,
                                          .type_id = pm__type_get(PM__TYPE_F32)->id,
                                          .n_dim = 1,
                                          .shape = {l->hf->n_rot / 2, 1, 1, 1},
                                          .data = (const uint8_t *)factors,
                                          .bytes = l->hf->n_rot / 2 * sizeof *factors}};
}

/* What belongs to no layer, then layer by layer. */
static int compare(const void *a, const void *b) {
    const built *x = a, *y = b;
    const bool x_in_layer = strchr(rows[x->row].gguf_name, '#') != NULL,
               y_in_layer = strchr(rows[y->row].gguf_name, '#') != NULL;
    if (x_in_layer != y_in_layer)
        return x_in_layer ? 1 : -1;
    if (x->layer != y->layer)
        return x->layer > y->layer ? 1 : -1;
    if (x->row != y->row)
        return x->row > y->row ? 1 : -1;
    return strcmp(x->tensor.name, y->tensor.name);
}

static pm_status finish(loader *l) {
    pm__hf *hf = l->hf;
    PM_TRY(check_experts(l));
    add_factors(l, "rope_freqs.weight", hf->rope_factors[0]);
    add_factors(l, "rope_factors_long.weight", hf->rope_factors[1]);
    add_factors(l, "rope_factors_short.weight", hf->rope_factors[2]);
    pm__gguf_tensor *tensors = pm__arena_array(&hf->source->arena, l->n, sizeof *tensors);
    if (tensors == NULL)
        return PM_OUT_OF_MEMORY;
    if (l->n > 1)
        qsort(l->built, l->n, sizeof *l->built, compare);
    for (size_t i = 0; i < l->n; i++)
        tensors[i] = l->built[i].tensor;
    hf->tensors = tensors;
    hf->n_tensor = l->n;
    return PM_OK;
}

/* wanted  of tensors in an index: the file each is to come from; NULL: all that files hold */
static pm_status load(loader *l, const cJSON *wanted, const char *const *file_names) {
    pm__hf *hf = l->hf;
    size_t n = wanted != NULL ? (size_t)cJSON_GetArraySize(wanted) : 0;
    for (uint32_t i = 0; wanted == NULL && i < hf->n_file; i++)
        n += hf->files[i].n;
    if ((uint64_t)hf->n_layer * hf->n_expert > n)
        return pm__fail(
            PM_BAD_FILE,
            "folder: config.json has %u experts in each of %u layers, but there are %zu "
            "tensors",
            hf->n_expert, hf->n_layer, n);
    l->built = calloc(n + N_FACTOR, sizeof *l->built);
    l->experts = calloc(hf->n_expert > 0 ? hf->n_layer * PM__COUNT(rows) : 1, sizeof *l->experts);
    if (l->built == NULL || l->experts == NULL)
        return pm__fail_memory("folder: tensors", n * sizeof *l->built);
    for (uint32_t i = 0; i < hf->n_file; i++)
        for (size_t k = 0; wanted == NULL && k < hf->files[i].n; k++)
            PM_TRY(add_tensor(l, &hf->files[i].tensors[k]));
    const cJSON *entry;
    cJSON_ArrayForEach(entry, wanted) {
        uint32_t file = 0;
        while (strcmp(file_names[file], entry->valuestring) != 0)
            file++;
        const pm__safetensor *t = pm__safetensors_find(&hf->files[file], entry->string);
        if (t == NULL)
            return pm__fail(PM_BAD_FILE,
                            "folder: %s has no tensor '%.80s', which the index says is "
                            "there",
                            file_names[file], entry->string);
        PM_TRY(add_tensor(l, t));
    }
    return finish(l);
}

/* ---- files ----------------------------------------------------------------------------------- */

static pm_status open_file(pm__hf *hf, const char *name) {
    char path[PM__HF_MOST_PATH];
    pm__source_file *file = NULL;
    if (!pm__hf_path(hf, name, path))
        return pm__fail(PM_BAD_FILE, "folder: the path of %.80s is too long", name);
    pm__safetensors *files = realloc(hf->files, (hf->n_file + 1) * sizeof *files);
    if (files == NULL)
        return pm__fail_memory("folder: files", (hf->n_file + 1) * sizeof *files);
    hf->files = files;
    const pm_status status = pm__source_map(hf->source, path, &file);
    if (status == PM_BAD_FILE)
        return pm__fail(status, "folder: a file of the index cannot be opened: %s",
                        pm_last_error());
    PM_TRY(status);
    if (pm__safetensors_init(&files[hf->n_file], file->map.data, file->map.size) != PM_OK)
        return strncmp(pm_last_error(), "safetensors: ", 13) == 0
                   ? pm__fail(PM_BAD_FILE, "folder: %.80s: %s", name, pm_last_error())
                   : PM_OUT_OF_MEMORY;
    hf->n_file++;
    return PM_OK;
}

static bool is_file_name(const cJSON *value) {
    return cJSON_IsString(value) && strchr(value->valuestring, '/') == NULL &&
           ends_with(value->valuestring, ".safetensors");
}

/* names  out, [n of the map] of the files that were opened */
static pm_status open_files(pm__hf *hf, const cJSON *map, const char **names) {
    const cJSON *entry;
    cJSON_ArrayForEach(entry, map) {
        if (!is_file_name(entry))
            return pm__fail(PM_BAD_FILE,
                            "folder: the index puts tensor '%.80s' into what is no name of a "
                            "safetensors file",
                            entry->string);
        uint32_t i = 0;
        while (i < hf->n_file && strcmp(names[i], entry->valuestring) != 0)
            i++;
        if (i < hf->n_file)
            continue;
        PM_TRY(open_file(hf, entry->valuestring));
        names[i] = entry->valuestring;
    }
    return PM_OK;
}

static pm_status load_indexed(loader *l, const cJSON *index) {
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map");
    const int n = cJSON_IsObject(map) ? cJSON_GetArraySize(map) : 0;
    if (n == 0)
        return pm__fail(PM_BAD_FILE, "folder: model.safetensors.index.json has no weight_map");
    const char **names = calloc((size_t)n, sizeof *names);
    if (names == NULL)
        return pm__fail_memory("folder: index", (size_t)n * sizeof *names);
    pm_status status = open_files(l->hf, map, names);
    if (status == PM_OK)
        status = load(l, map, names);
    free(names);
    return status;
}

static pm_status load_single(loader *l) {
    char path[PM__HF_MOST_PATH];
    if (!pm__hf_path(l->hf, "model.safetensors", path))
        return pm__fail(PM_BAD_FILE, "folder: its path is too long");
    if (access(path, F_OK) != 0)
        return pm__fail(PM_BAD_FILE,
                        "folder: %s has neither model.safetensors nor "
                        "model.safetensors.index.json; other files of weights are not read",
                        l->hf->folder);
    PM_TRY(open_file(l->hf, "model.safetensors"));
    return load(l, NULL, NULL);
}

pm_status pm__hf_tensors(pm__hf *hf) {
    loader l = {.hf = hf};
    cJSON *index = NULL;
    PM_TRY(pm__hf_json(hf, "model.safetensors.index.json", PM__SAFETENSORS_MOST_VALUES, &index));
    const pm_status status = index != NULL ? load_indexed(&l, index) : load_single(&l);
    cJSON_Delete(index);
    free(l.built);
    free(l.experts);
    return status;
}
