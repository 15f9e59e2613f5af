#include "live_objects.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static pm__live_object *objects;
static uint32_t n_object, room;
static char misuse[256]; /* the first, or "" */
static uint32_t n_allocation;
static uint64_t allocated_bytes;

const char *pm__fault_object_name(pm__fault_object object) {
#define NAME(name) "Vk" #name,
    static const char *const names[] = {PM__FAULT_OBJECTS(NAME)};
#undef NAME
    return names[object];
}

static void note_misuse(const char *what, const char *whose) {
    if (misuse[0] == '\0')
        snprintf(misuse, sizeof misuse, "%s: %s", whose, what);
}

void pm__live_note(const char *what, const char *whose) {
    pthread_mutex_lock(&lock);
    note_misuse(what, whose);
    pthread_mutex_unlock(&lock);
}

void pm__live_add(const pm__live_object *added) {
    pthread_mutex_lock(&lock);
    if (n_object == room) {
        room = 2 * room + 64;
        pm__live_object *more = realloc(objects, room * sizeof *objects);
        if (more == NULL)
            abort();
        objects = more;
    }
    objects[n_object++] = *added;
    if (added->kind == PM__OBJECT_DeviceMemory) {
        n_allocation++;
        allocated_bytes += added->bytes;
    }
    pthread_mutex_unlock(&lock);
}

static pm__live_object *find(pm__fault_object kind, const void *key, uint64_t handle) {
    for (uint32_t i = n_object; i-- > 0;)
        if (objects[i].handle == handle && objects[i].kind == kind && objects[i].key == key)
            return &objects[i];
    return NULL;
}

bool pm__live_remove(pm__fault_object kind, const void *key, uint64_t handle) {
    if (handle == 0)
        return true;
    pthread_mutex_lock(&lock);
    pm__live_object *found = find(kind, key, handle);
    if (found != NULL)
        *found = objects[--n_object];
    else
        note_misuse("what was destroyed does not exist", pm__fault_object_name(kind));
    pthread_mutex_unlock(&lock);
    return found != NULL;
}

void pm__live_remove_children(uint64_t pool, const void *key) {
    pthread_mutex_lock(&lock);
    for (uint32_t i = n_object; i-- > 0;)
        if (pool != 0 && objects[i].parent == pool && objects[i].key == key)
            objects[i] = objects[--n_object];
    pthread_mutex_unlock(&lock);
}

void pm__live_remove_orphans(const void *key) {
    pthread_mutex_lock(&lock);
    for (uint32_t i = n_object; i-- > 0;)
        if (objects[i].key == key) {
            if (!objects[i].forgotten)
                note_misuse("it outlives its device", pm__fault_object_name(objects[i].kind));
            objects[i] = objects[--n_object];
        }
    pthread_mutex_unlock(&lock);
}

bool pm__live_find(pm__fault_object kind, const void *key, uint64_t handle, pm__live_object *out) {
    pthread_mutex_lock(&lock);
    const pm__live_object *found = find(kind, key, handle);
    if (found != NULL)
        *out = *found;
    pthread_mutex_unlock(&lock);
    return found != NULL;
}

VkDeviceSize pm__live_heap_bytes(const void *key, uint32_t heap) {
    VkDeviceSize bytes = 0;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < n_object; i++)
        if (objects[i].kind == PM__OBJECT_DeviceMemory && objects[i].key == key &&
            objects[i].heap == heap)
            bytes += objects[i].bytes;
    pthread_mutex_unlock(&lock);
    return bytes;
}

uint32_t pm__faults_alive(pm__fault_object kind) {
    uint32_t n = 0;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < n_object; i++)
        n += objects[i].kind == kind && !objects[i].forgotten;
    pthread_mutex_unlock(&lock);
    return n;
}

pm__fault_memory pm__faults_memory(void) {
    pthread_mutex_lock(&lock);
    pm__fault_memory memory = {.n_allocation = n_allocation, .allocated_bytes = allocated_bytes};
    for (uint32_t i = 0; i < n_object; i++) {
        if (objects[i].kind != PM__OBJECT_DeviceMemory || objects[i].forgotten)
            continue;
        memory.n_live++;
        memory.live_bytes += objects[i].bytes;
        memory.live_heap_bytes[objects[i].heap] += objects[i].bytes;
    }
    pthread_mutex_unlock(&lock);
    return memory;
}

void pm__live_reset(void) {
    pthread_mutex_lock(&lock);
    n_allocation = 0;
    allocated_bytes = 0;
    pthread_mutex_unlock(&lock);
}

const char *pm__faults_complaint(void) {
    static char complaint[sizeof misuse + 64];
    uint32_t n_alive = 0;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < n_object; i++) {
        if (objects[i].forgotten)
            continue;
        note_misuse("it is still alive", pm__fault_object_name(objects[i].kind));
        objects[i].forgotten = true;
        n_alive++;
    }
    complaint[0] = '\0';
    if (misuse[0] != '\0')
        snprintf(complaint, sizeof complaint, "%s (%u objects alive)", misuse, n_alive);
    misuse[0] = '\0';
    pthread_mutex_unlock(&lock);
    return complaint;
}

void pm__faults_check_clean(void) {
    const char *complaint = pm__faults_complaint();
    if (complaint[0] != '\0')
        fail_msg("%s", complaint);
}
