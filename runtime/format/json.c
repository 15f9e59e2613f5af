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
