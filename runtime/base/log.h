/* log.h: lines for people, to the callback set with pm_set_log (default: stderr). */
#ifndef PM_BASE_LOG_H
#define PM_BASE_LOG_H

#include "status.h"

void pm__log(pm_log_level level, const char *fmt, ...) PM__PRINTF(2, 3);

#endif
