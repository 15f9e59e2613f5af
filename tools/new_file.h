/* new_file.h: a file that is written whole or not at all: what bore its name is lost only once all
 * of the new one is on the disk. */
#ifndef PM_TOOLS_NEW_FILE_H
#define PM_TOOLS_NEW_FILE_H

#include "common.h"

typedef struct pm__new_file {
    FILE *stream;
    char path[PM__PATH_SIZE];      /* links followed */
    char temporary[PM__PATH_SIZE]; /* beside it; "" for what is no regular file, such as a pipe */
} pm__new_file;

/* False: errno says why, and nothing is to be closed. */
bool pm__new_file_open(pm__new_file *file, const char *path);
/* whole  false: nothing is kept. False, with errno, if the file is not in its place. */
bool pm__new_file_close(pm__new_file *file, bool whole);

#endif
