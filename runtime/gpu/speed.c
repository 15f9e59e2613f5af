/* speed.c: one line of text a device and driver, "pumice speed 1 copy 2.41e+11 fma 9.1e+12". */
#include "measure.h"

#include "shader.h"
#include "weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_TEXT = 256, NAME_SIZE = 40 };

static const pm__gpu *gpu_of(const pm__device_handle *handle) {
    return ((const pm__gpu_device *)handle->device)->gpu;
}

static void name_file(const pm__gpu *gpu, char name[NAME_SIZE]) {
    snprintf(name, NAME_SIZE, "speed-%016" PRIx64 ".txt", pm__gpu_key(gpu));
}

void pm__gpu_keep_speed(const pm__device_handle *handle, const pm_device_speed *speed) {
    char name[NAME_SIZE], text[MOST_TEXT];
    const pm__gpu *gpu = gpu_of(handle);
    name_file(gpu, name);
    snprintf(text, sizeof text, "pumice speed 1 copy %.6e fma %.6e\n", speed->copy_bytes_per_second,
             speed->flops_per_second);
    if (pm__cache_is_kept(gpu->shaders))
        pm__cache_write_text(gpu->shaders, name, text);
}

static bool is_speed(double x) {
    return isfinite(x) && x > 0;
}

bool pm__gpu_recall_speed(const pm__device_handle *handle, pm_device_speed *out) {
    char name[NAME_SIZE], *text = NULL;
    pm_device_speed speed = {0};
    bool found = false;
    name_file(gpu_of(handle), name);
    if (pm__cache_read_text(gpu_of(handle)->shaders, name, MOST_TEXT, &text, &found) != PM_OK ||
        text == NULL)
        return false;
    const int n = sscanf(text, "pumice speed 1 copy %lf fma %lf", &speed.copy_bytes_per_second,
                         &speed.flops_per_second);
    free(text);
    if (n != 2 || !is_speed(speed.copy_bytes_per_second) || !is_speed(speed.flops_per_second))
        return false;
    *out = speed;
    return true;
}
