/* status.h: status codes and the one sentence that explains the last failure of a thread. */
#ifndef PM_BASE_STATUS_H
#define PM_BASE_STATUS_H

#include "../pumice.h"

#if defined(__GNUC__)
#define PM__PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PM__COLD __attribute__((cold))
#else
#define PM__PRINTF(fmt, args)
#define PM__COLD
#endif

/* Stores the sentence (what, where, what to try) for pm_last_error and returns `code`.
 * Written once, where the facts are; callers only forward the code. */
PM__COLD pm_status pm__fail(pm_status code, const char *fmt, ...) PM__PRINTF(2, 3);

/* The sentence for a failed host allocation of `bytes` for `what`. */
PM__COLD pm_status pm__fail_memory(const char *what, size_t bytes);

/* Logs the way a failure takes; debug builds only. */
void pm__trace(pm_status code, const char *expr, const char *file, int line);

#ifdef NDEBUG
#define PM__TRACE(code, expr) ((void)0)
#else
#define PM__TRACE(code, expr) pm__trace(code, expr, __FILE__, __LINE__)
#endif

/* Forwards a failure to the caller. */
#define PM_TRY(expr)                                                                               \
    do {                                                                                           \
        const pm_status pm__try_status = (expr);                                                   \
        if (pm__try_status != PM_OK) {                                                             \
            PM__TRACE(pm__try_status, #expr);                                                      \
            return pm__try_status;                                                                 \
        }                                                                                          \
    } while (0)

#define PM__COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
