/* report.h: what people and programs read: the device line, progress, the closing line, JSON. */
#ifndef PM_TOOLS_REPORT_H
#define PM_TOOLS_REPORT_H

#include <cjson/cJSON.h>

#include "common.h"

/* Seconds of the monotonic clock. */
double pm__now(void);

/* The first line of a run, on stderr: device, driver, tier and why. */
void pm__report_device(const pm_device_info *info);
/* That a tuning is in use; nothing where none is. */
void pm__report_tuning(const pm_device *device);
size_t pm__count_tuned(const pm_device *device);
/* What -c auto came to. */
void pm__report_auto(const pm_model *model, uint32_t n_ctx);
/* What came before the first step; a line. */
void pm__report_start(const pm_session *session);
/* The same: {"weights_seconds", ...} */
cJSON *pm__json_start(const pm_session *session);
/* Which kernels of the device are in quarantine, and what is used instead; a line each. */
void pm__report_quarantine(const pm_device *device);
/* The kernel tier a device works with: the last that is used; NULL on the CPU path. */
const pm_tier_info *pm__report_tier(const pm_device_info *info);

/* pm_progress_fn: a bar on a terminal, now and then a line otherwise; false where somebody
 * interrupts. user: pm__progress, zeros at first. */
typedef struct pm__progress {
    double shown_at; /* seconds of the monotonic clock */
    bool on_screen;
} pm__progress;
bool pm__report_progress(void *user, const char *what, uint64_t done, uint64_t total);
void pm__report_progress_end(pm__progress *progress);

/* Tokens a second after the first; 0 if there was one alone. */
double pm__report_rate(const pm_generation *generation);
/* The last line of a run, on stderr. */
void pm__report_generation(const pm_generation *generation, const pm_device *device);
const char *pm__report_stop(pm_stop stop);

/* "26.2 MiB" in one of a few turns of static text. */
const char *pm__report_bytes(uint64_t n);

/* Bytes of the character at text that a terminal shows; 0 for a byte of a control character or of
 * what is not UTF-8. */
size_t pm__printable(const char *text, size_t n_byte);
/* Makes text fit for a terminal, in place: '?' for each byte that is not printable. For what files
 * and their names say. */
void pm__make_plain(char *text);

/* A document is begun. cJSON leaves out what it has no memory for, and says nothing. */
void pm__json_begin(void);
/* Whether something was left out since. */
bool pm__json_starved(void);

/* A JSON string of any bytes: what is not UTF-8, or zero, becomes U+FFFD. */
cJSON *pm__json_text(const char *text, size_t n_byte);
cJSON *pm__json_ids(const int32_t *ids, size_t n);
/* {"name","driver","kind"} */
cJSON *pm__json_device(const pm_device_info *info);
/* Writes one document to stdout and frees it; OUT_OF_MEMORY if it is NULL or something was left out
 * of it. Gives an exit code. */
int pm__json_print(cJSON *document);

#endif
