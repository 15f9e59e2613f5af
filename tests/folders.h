/* folders.h: folders and files for tests, under TMPDIR. */
#ifndef PM_TESTS_FOLDERS_H
#define PM_TESTS_FOLDERS_H

enum { PM__FOLDER_SIZE = 256 };

/* An empty folder of its own; removed with the files in it. */
void pm__folder_init(char path[PM__FOLDER_SIZE]);
void pm__folder_finish(const char *path);
void pm__folder_path(const char *folder, const char *name, char path[2 * PM__FOLDER_SIZE]);
void pm__folder_write(const char *folder, const char *name, const char *text);
/* The one file whose name starts with `prefix`; fails the test if there is none or several. */
void pm__folder_find(const char *folder, const char *prefix, char name[PM__FOLDER_SIZE]);

/* An empty file outside of any, open for reading and writing; whoever asked for it unlinks it. */
int pm__scratch_file(char path[PM__FOLDER_SIZE]);

#endif
