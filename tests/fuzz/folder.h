/* folder.h: a folder of files for targets whose readers take paths. */
#ifndef PM_TESTS_FUZZ_FOLDER_H
#define PM_TESTS_FUZZ_FOLDER_H

#include "input.h"

/* Of this process, empty at first, removed at its end. */
const char *pm__folder(void);
void pm__folder_write(const char *name, pm__span data);
/* The path of a file in it, valid until the next call. */
const char *pm__folder_path(const char *name);
/* Removes all files. */
void pm__folder_clear(void);

#endif
