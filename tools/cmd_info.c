/* pumice info: what a model file holds. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define VALUE_SIZE 256
#define MOST_TYPE  64

typedef struct type_count {
    const char *type;
    uint64_t n_tensor, bytes;
} type_count;

/* Tensor types in order of first use. */
static size_t count_types(const pm_model *model, uint64_t n_tensor, type_count counts[MOST_TYPE]) {
    size_t n = 0;
    pm_tensor_info tensor;
    for (uint64_t i = 0; i < n_tensor && pm_model_get_tensor(model, i, &tensor); i++) {
        size_t k = 0;
        while (k < n && strcmp(counts[k].type, tensor.type) != 0)
            k++;
        if (k == MOST_TYPE)
            break;
        if (k == n)
            counts[n++] = (type_count){tensor.type, 0, 0};
        counts[k].n_tensor++;
        counts[k].bytes += tensor.bytes;
    }
    return n;
}

static cJSON *tensors_json(const pm_model *model, uint64_t n) {
    cJSON *tensors = cJSON_CreateArray();
    pm_tensor_info info;
    for (uint64_t i = 0; i < n && pm_model_get_tensor(model, i, &info); i++) {
        cJSON *tensor = cJSON_CreateObject();
        cJSON_AddItemToObject(tensor, "name", pm__json_text(info.name, strlen(info.name)));
        cJSON_AddStringToObject(tensor, "type", info.type);
        cJSON *shape = cJSON_AddArrayToObject(tensor, "shape");
        for (uint32_t d = 0; d < info.n_dim; d++)
            cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)info.shape[d]));
        cJSON_AddNumberToObject(tensor, "bytes", (double)info.bytes);
        cJSON_AddItemToArray(tensors, tensor);
    }
    return tensors;
}

static void add_text(cJSON *object, const char *name, const char *text) {
    cJSON_AddItemToObject(object, name,
                          text ? pm__json_text(text, strlen(text)) : cJSON_CreateNull());
}

static int print_json(const pm_model *model, bool with_tensors) {
    const pm_model_info *info = pm_model_get_info(model);
    cJSON *document = cJSON_CreateObject();
    add_text(document, "architecture", info->architecture);
    add_text(document, "name", info->name);
    cJSON_AddBoolToObject(document, "usable", info->fault[0] == '\0');
    add_text(document, "why", info->fault);
    add_text(document, "container", info->container);
    add_text(document, "tokenizer", info->tokenizer);
    add_text(document, "tokenizer_kind", info->tokenizer_kind);
    add_text(document, "pre_tokenizer", info->pre_tokenizer);
    add_text(document, "chat_template", info->chat_template);
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"version", info->version},
                   {"n_file", info->n_file},
                   {"file_bytes", (double)info->file_bytes},
                   {"n_parameter", (double)info->n_parameter},
                   {"n_tensor", (double)info->n_tensor},
                   {"n_ctx_train", info->n_ctx_train},
                   {"n_vocab", info->n_vocab},
                   {"n_embd", info->n_embd},
                   {"n_layer", info->n_layer},
                   {"position_bytes", (double)info->position_bytes},
                   {"state_bytes", (double)info->state_bytes},
                   {"bos", info->bos},
                   {"eos", info->eos},
                   {"eot", info->eot}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cJSON_AddNumberToObject(document, numbers[i].name, numbers[i].value);
    cJSON *keys = cJSON_AddObjectToObject(document, "keys");
    const char *key = NULL;
    char value[VALUE_SIZE];
    for (uint64_t i = 0; i < info->n_key && pm_model_get_key(model, i, &key, value, sizeof value);
         i++)
        add_text(keys, key, value);
    type_count counts[MOST_TYPE];
    const size_t n_type = count_types(model, info->n_tensor, counts);
    cJSON *types = cJSON_AddArrayToObject(document, "types");
    for (size_t i = 0; i < n_type; i++) {
        cJSON *type = cJSON_CreateObject();
        cJSON_AddStringToObject(type, "type", counts[i].type);
        cJSON_AddNumberToObject(type, "n_tensor", (double)counts[i].n_tensor);
        cJSON_AddNumberToObject(type, "bytes", (double)counts[i].bytes);
        cJSON_AddItemToArray(types, type);
    }
    if (with_tensors)
        cJSON_AddItemToObject(document, "tensors", tensors_json(model, info->n_tensor));
    return pm__json_print(document);
}

static void print_tensors(const pm_model *model, uint64_t n) {
    pm_tensor_info info;
    for (uint64_t i = 0; i < n && pm_model_get_tensor(model, i, &info); i++) {
        char shape[96];
        int at = 0;
        shape[0] = '\0';
        for (uint32_t d = 0; d < info.n_dim && d < 4; d++) {
            at += snprintf(shape + at, sizeof shape - (size_t)at, d ? " x %" PRIu64 : "%" PRIu64,
                           info.shape[d]);
        }
        printf("%-40s %-6s %-24s %" PRIu64 "\n", info.name, info.type, shape, info.bytes);
    }
}

/* Values come from the file; names of keys are plain already. */
static void print_value(const char *name, const char *value) {
    char plain[VALUE_SIZE];
    snprintf(plain, sizeof plain, "%s", value);
    pm__make_plain(plain);
    printf("%-40s %s\n", name, plain);
}

static void print_file(const pm_model_info *info) {
    printf("%-40s %s", "file", info->container);
    if (info->version > 0)
        printf(" version %" PRIu32, info->version);
    if (info->n_file > 1)
        printf(" in %" PRIu32 " files", info->n_file);
    printf(", %s, %" PRIu64 " parameters in %" PRIu64 " tensors\n",
           pm__report_bytes(info->file_bytes), info->n_parameter, info->n_tensor);
}

static void print_kept(const pm_model_info *info) {
    if (info->position_bytes == 0 && info->state_bytes == 0)
        return;
    printf("%-40s", "kept of a sequence");
    if (info->position_bytes > 0)
        printf(" caches, %s a position in f16", pm__report_bytes(info->position_bytes));
    if (info->state_bytes > 0)
        printf("%s states, %s", info->position_bytes > 0 ? ";" : "",
               pm__report_bytes(info->state_bytes));
    printf("\n");
}

/* The sentence names what is in the file, and is plain. */
static void print_use(const pm_model_info *info) {
    const char *why = info->fault[0]  ? info->fault
                      : info->encoder ? "yes, for embeddings: it reads texts and writes none"
                                      : "yes";
    printf("%-40s %s%s\n", "can be used", info->fault[0] ? "no: " : "", why);
}

static void print_text(const pm_model *model, bool with_tensors) {
    const pm_model_info *info = pm_model_get_info(model);
    print_value("architecture", info->architecture[0] ? info->architecture : "(none)");
    print_value("name", info->name);
    print_use(info);
    print_value("tokenizer", info->tokenizer[0] ? info->tokenizer : "(none)");
    print_value("kind of tokenizer", info->tokenizer_kind);
    print_value("pre-tokenizer", info->pre_tokenizer[0] ? info->pre_tokenizer : "(none)");
    print_value("chat template", info->chat_template ? "yes" : "no");
    print_file(info);
    print_kept(info);
    printf("%-40s context %" PRIu32 ", vocabulary %" PRIu32 ", width %" PRIu32 ", layers %" PRIu32
           "\n",
           "sizes", info->n_ctx_train, info->n_vocab, info->n_embd, info->n_layer);
    printf("%-40s bos %" PRId32 ", eos %" PRId32 ", eot %" PRId32 "\n", "special tokens (-1: none)",
           info->bos, info->eos, info->eot);
    type_count counts[MOST_TYPE];
    const size_t n_type = count_types(model, info->n_tensor, counts);
    for (size_t i = 0; i < n_type; i++) {
        printf("type %-35s %" PRIu64 " tensors, %s\n", counts[i].type, counts[i].n_tensor,
               pm__report_bytes(counts[i].bytes));
    }
    const char *key = NULL;
    char value[VALUE_SIZE];
    for (uint64_t i = 0; i < info->n_key && pm_model_get_key(model, i, &key, value, sizeof value);
         i++)
        print_value(key, value);
    if (with_tensors)
        print_tensors(model, info->n_tensor);
}

static int info(pm__options *options) {
    pm__cli cli = {0};
    int code = pm__cli_open(&cli, options, PM__NEED_INFO);
    if (code == 0 && options->json)
        code = print_json(cli.model, options->tensors);
    else if (code == 0)
        print_text(cli.model, options->tensors);
    pm__cli_close(&cli);
    return code;
}

static const unsigned char options_taken[] = {PM__OPT_MODEL, PM__OPT_TENSORS, PM__OPT_JSON,
                                              PM__OPT_VERBOSE};

const pm__spec pm__spec_info = {options_taken, sizeof options_taken, info, NULL};
