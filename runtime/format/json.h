/* json.h: JSON text through cJSON, with the two things every caller needs beside it. */
#ifndef PM_FORMAT_JSON_H
#define PM_FORMAT_JSON_H

#include "../base/status.h"

#include <cjson/cJSON.h>

/* Parses one document of n bytes; trailing text is an error.
 * errors  BAD_FILE: "<what>: not JSON near byte <offset>" */
pm_status pm__json_parse(const char *what, const char *text, size_t n, cJSON **out);

/* A JSON string of n bytes that need not be valid UTF-8 (broken bytes, and zeros, become U+FFFD).
 * NULL without memory. */
cJSON *pm__json_string(const char *text, size_t n);

#endif
