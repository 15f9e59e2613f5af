/* model_file.h: a model file that a call of the library writes front to back: never over another
 * one unless asked, whole or not at all. */
#ifndef PM_TOOLS_MODEL_FILE_H
#define PM_TOOLS_MODEL_FILE_H

#include "new_file.h"
#include "report.h"

/* The library's `user` is a pointer to this, or to a struct that begins with it. */
typedef struct pm__model_file {
    const char *command, *path;
    pm__progress progress;
    pm__new_file file;
    int error; /* errno of the write that failed; 0: none */
} pm__model_file;

/* command  what sentences begin with
 * force    replace a file that is there */
int pm__model_file_open(pm__model_file *file, const char *command, const char *path, bool force);
/* pm_write_fn and pm_progress_fn. */
bool pm__model_file_write(void *user, const void *data, size_t n);
bool pm__model_file_progress(void *user, const char *what, uint64_t done, uint64_t total);
/* status  of the call: the file is kept if it is PM_OK. Gives the exit code. */
int pm__model_file_close(pm__model_file *file, pm_status status);

#endif
