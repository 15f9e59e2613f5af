#include "energy.h"

#include <dirent.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

/* ---- counters -------------------------------------------------------------------------------- */

/* A number that is alone in a file; NAN where there is none, or it may not be read. */
static double read_number(const char *path) {
    char text[64];
    FILE *file = fopen(path, "r");
    if (!file)
        return NAN;
    const bool got = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    char *end = text;
    const double value = got ? strtod(text, &end) : NAN;
    return end != text && isfinite(value) && value >= 0 ? value : NAN;
}

static bool can_read(const char *path) {
    return !isnan(read_number(path));
}

/* A counter begins here. */
static bool add_counter(pm__energy *e, const char *path, double range) {
    const double value = read_number(path);
    if (e->n == PM__MOST_PACKAGES || isnan(value))
        return false;
    snprintf(e->paths[e->n], PM__PATH_SIZE, "%s", path);
    e->last[e->n] = value * e->unit;
    e->ranges[e->n++] = range * e->unit;
    return true;
}

static double read_counters(pm__energy *e) {
    double all = 0;
    for (size_t i = 0; i < e->n; i++) {
        const double now = read_number(e->paths[i]) * e->unit;
        if (isnan(now))
            return NAN;
        double more = now - e->last[i];
        if (more < 0)
            more += e->ranges[i];
        e->sum[i] += more > 0 ? more : 0;
        e->last[i] = now;
        all += e->sum[i];
    }
    return all;
}

/* ---- a GPU's sensors ------------------------------------------------------------------------- */

/* Some drivers tell watts alone: a thread adds them up. */
static void *add_power(void *user) {
    pm__energy *e = user;
    static const struct timespec moment = {.tv_nsec = 50000000};
    double then = pm__now();
    for (;;) {
        nanosleep(&moment, NULL);
        const double watts = read_number(e->paths[0]) * e->unit, now = pm__now();
        pthread_mutex_lock(&e->lock);
        e->sum[0] += isnan(watts) ? 0 : watts * (now - then);
        const bool leaving = e->leaving;
        pthread_mutex_unlock(&e->lock);
        then = now;
        if (leaving)
            return NULL;
    }
}

static bool use_power(pm__energy *e, const char *path) {
    if (!can_read(path))
        return false;
    snprintf(e->paths[0], PM__PATH_SIZE, "%s", path);
    e->unit = 1e-6;
    pthread_mutex_init(&e->lock, NULL);
    e->is_power = pthread_create(&e->thread, NULL, add_power, e) == 0;
    if (!e->is_power)
        pthread_mutex_destroy(&e->lock);
    return e->is_power;
}

static bool use_sensor(pm__energy *e, const char *folder) {
    static const char *const powers[] = {"power1_average", "power1_input"};
    char path[PM__PATH_SIZE];
    e->unit = 1e-6;
    snprintf(path, sizeof path, "%.3900s/energy1_input", folder);
    if (add_counter(e, path, 0)) {
        e->source = "hwmon energy1_input";
        return true;
    }
    for (size_t i = 0; i < sizeof powers / sizeof powers[0]; i++) {
        snprintf(path, sizeof path, "%.3900s/%s", folder, powers[i]);
        if (use_power(e, path)) {
            e->source = i == 0 ? "hwmon power1_average" : "hwmon power1_input";
            return true;
        }
    }
    return false;
}

/* The first of hwmon0, hwmon1 ... of the device that tells. */
static bool use_hwmon(pm__energy *e, const char *root, const char *pci) {
    char folder[PM__PATH_SIZE], sensor[PM__PATH_SIZE];
    bool found = false;
    snprintf(folder, sizeof folder, "%.3000s/sys/bus/pci/devices/%s/hwmon", root, pci);
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        if (strncmp(entry->d_name, "hwmon", 5) != 0)
            continue;
        snprintf(sensor, sizeof sensor, "%.3200s/%.200s", folder, entry->d_name);
        found = use_sensor(e, sensor);
    }
    if (dir)
        closedir(dir);
    return found;
}

/* ---- NVIDIA's library ------------------------------------------------------------------------ */

/* A function of a library; dlsym() gives what is no pointer to one. */
static bool find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static bool open_nvml(pm__energy *e, const char *pci) {
    int (*begin)(void) = NULL;
    int (*by_pci)(const char *, void **) = NULL;
    unsigned long long n;
    if (!find(e->library, "nvmlInit_v2", &begin) ||
        !find(e->library, "nvmlShutdown", &e->close_nvml) ||
        !find(e->library, "nvmlDeviceGetHandleByPciBusId_v2", &by_pci) ||
        !find(e->library, "nvmlDeviceGetTotalEnergyConsumption", &e->read_nvml) || begin() != 0) {
        e->close_nvml = NULL;
        return false;
    }
    return by_pci(pci, &e->nvml) == 0 && e->read_nvml(e->nvml, &n) == 0;
}

static bool use_nvml(pm__energy *e, const char *pci) {
    e->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!e->library || !open_nvml(e, pci)) {
        pm__energy_finish(e);
        return false;
    }
    e->source = "nvml";
    return true;
}

/* ---- processors ------------------------------------------------------------------------------ */

static bool use_rapl(pm__energy *e, const char *root) {
    char path[PM__PATH_SIZE];
    e->unit = 1e-6;
    for (int i = 0; i < PM__MOST_PACKAGES; i++) {
        snprintf(path, sizeof path, "%.3000s/sys/class/powercap/intel-rapl:%d/max_energy_range_uj",
                 root, i);
        const double range = read_number(path);
        snprintf(path, sizeof path, "%.3000s/sys/class/powercap/intel-rapl:%d/energy_uj", root, i);
        if (!add_counter(e, path, isnan(range) ? 0 : range))
            break;
    }
    if (e->n > 0)
        e->source = "rapl";
    return e->n > 0;
}

/* ---- all of them ----------------------------------------------------------------------------- */

void pm__energy_init(pm__energy *energy, const pm_device_info *device, const char *root) {
    *energy = (pm__energy){.source = ""};
    const bool on_processor =
        strcmp(device->kind, "cpu") == 0 || strcmp(device->kind, "software") == 0;
    if (on_processor)
        use_rapl(energy, root);
    else if (device->pci[0] && !use_hwmon(energy, root, device->pci))
        use_nvml(energy, device->pci);
}

double pm__energy_joules(pm__energy *energy) {
    unsigned long long millijoules;
    if (energy->is_power) {
        pthread_mutex_lock(&energy->lock);
        const double sum = energy->sum[0];
        pthread_mutex_unlock(&energy->lock);
        return sum;
    }
    if (energy->nvml)
        return energy->read_nvml(energy->nvml, &millijoules) == 0 ? 1e-3 * (double)millijoules
                                                                  : (double)NAN;
    return energy->n > 0 ? read_counters(energy) : (double)NAN;
}

void pm__energy_finish(pm__energy *energy) {
    if (energy->is_power) {
        pthread_mutex_lock(&energy->lock);
        energy->leaving = true;
        pthread_mutex_unlock(&energy->lock);
        pthread_join(energy->thread, NULL);
        pthread_mutex_destroy(&energy->lock);
    }
    if (energy->close_nvml)
        energy->close_nvml();
    if (energy->library)
        dlclose(energy->library);
    *energy = (pm__energy){.source = ""};
}
