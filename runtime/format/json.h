/* json.h: JSON text through cJSON, with the two things every caller needs beside it. */
#ifndef PM_FORMAT_JSON_H
#define PM_FORMAT_JSON_H

#include "../base/status.h"

#include <cjson/cJSON.h>

/* Parses one document of n bytes; trailing text is an error.
 * errors  BAD_FILE: "<what>: not JSON near byte <offset>" */
pm_status pm__json_parse(const char *what, const char *text, size_t n, cJSON **out);

/* The same for what is to stay in proportion: a document of more than `most` values is refused
 * before anything is allocated, and so are deep ones. A value takes about 100 bytes of memory.
 * errors  BAD_FILE: also "<what>: more than <most> values of JSON" */
pm_status pm__json_parse_bounded(const char *what, const char *text, size_t n, size_t most,
                                 cJSON **out);

/* A whole number of JSON in [0, most]; false for anything else. */
bool pm__json_whole(const cJSON *json, uint64_t most, uint64_t *out);

/* A JSON string of n bytes that need not be valid UTF-8 (broken bytes, and zeros, become U+FFFD).
 * NULL without memory. */
cJSON *pm__json_string(const char *text, size_t n);

#endif
