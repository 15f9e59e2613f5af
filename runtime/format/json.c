#include "json.h"

#include "../base/utf8.h"

#include <stdlib.h>
#include <string.h>

static bool only_space(const char *text, size_t n) {
    size_t i = 0;
    while (i < n && memchr(" \t\r\n", text[i], 4) != NULL)
        i++;
    return i == n;
}

pm_status pm__json_parse(const char *what, const char *text, size_t n, cJSON **out) {
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(text, n, &end, false);
    const size_t offset = end != NULL ? (size_t)(end - text) : 0;
    if (json == NULL || !only_space(text + offset, n - offset)) {
        cJSON_Delete(json);
        return pm__fail(PM_BAD_FILE, "%s: not JSON near byte %zu", what, offset);
    }
    *out = json;
    return PM_OK;
}

/* Values begin after one of [ { , : and are counted there, wherever the text is no string. */
static bool few_values(const char *text, size_t n, size_t most) {
    bool in_string = false;
    size_t count = 0;
    for (size_t i = 0; i < n && count <= most; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string)
            count += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    return count <= most;
}

pm_status pm__json_parse_bounded(const char *what, const char *text, size_t n, size_t most,
                                 cJSON **out) {
    if (!few_values(text, n, most))
        return pm__fail(PM_BAD_FILE, "%s: more than %zu values of JSON", what, most);
    return pm__json_parse(what, text, n, out);
}

bool pm__json_whole(const cJSON *json, uint64_t most, uint64_t *out) {
    const double value = cJSON_IsNumber(json) ? json->valuedouble : -1.0;
    if (!(value >= 0.0 && value <= 0x1p53) || value != (double)(uint64_t)value ||
        (uint64_t)value > most)
        return false;
    *out = (uint64_t)value;
    return true;
}

cJSON *pm__json_string(const char *text, size_t n) {
    if (n > (SIZE_MAX - 1) / 3)
        return NULL;
    char *copy = malloc(3 * n + 1); /* U+FFFD takes 3 bytes */
    if (copy == NULL)
        return NULL;
    size_t used = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        at += pm__utf8_decode(text + at, n - at, &code);
        used += pm__utf8_encode(code != 0 ? code : 0xfffd, copy + used);
    }
    copy[used] = '\0';
    cJSON *json = cJSON_CreateString(copy);
    free(copy);
    return json;
}
