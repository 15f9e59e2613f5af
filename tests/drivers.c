/* drivers.c: for pm__keep_drivers; what is loaded and how to keep it is no part of POSIX. */
#define _GNU_SOURCE
#include "devices.h"

#include "gpu/adapter.h"

#include <dlfcn.h>
#include <link.h>

static int keep(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size;
    (void)user;
    if (info->dlpi_name[0] == '/')
        dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    return 0;
}

void pm__keep_drivers(void) {
    pm__adapters set; /* drivers are loaded while there is an instance */
    if (pm__adapters_init(&set) != PM_OK)
        return;
    dl_iterate_phdr(keep, NULL);
    pm__adapters_finish(&set);
}
