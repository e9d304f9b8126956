/* facts.c: read from /proc and /sys. */
#include "bench/facts.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The text behind the colon of the first line that begins with `name`. */
static void field_read(const char *path, const char *name, char *out_value, size_t capacity)
{
    out_value[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    char line[512];
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon == NULL || strncmp(line, name, strlen(name)) != 0) {
            continue;
        }
        colon += 1 + strspn(colon + 1, " \t");
        (void)snprintf(out_value, capacity, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    (void)fclose(file);
}

static bool line_read(const char *path, char *out_line, size_t capacity)
{
    out_line[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    const bool found = fgets(out_line, (int)capacity, file) != NULL;
    (void)fclose(file);
    out_line[strcspn(out_line, "\n")] = '\0';
    return found;
}

/* The mount that holds the device: its type, options and source, from /proc/self/mountinfo. */
static void filesystem_describe(dev_t device, struct facts *facts)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL) {
        return;
    }
    char wanted[32];
    (void)snprintf(wanted, sizeof(wanted), "%u:%u", major(device), minor(device));
    char line[1024];
    while (fgets(line, sizeof(line), file) != NULL) {
        char number[32];
        char options[128];
        char type[32];
        char source[64];
        const char *dash = strstr(line, " - ");
        if (dash == NULL || sscanf(line, "%*s %*s %31s %*s %*s %127s", number, options) != 2 ||
            sscanf(dash, " - %31s %63s", type, source) != 2) {
            continue;
        }
        if (strcmp(number, wanted) == 0) {
            (void)snprintf(facts->filesystem, sizeof(facts->filesystem), "%s (%.64s) on %.48s",
                           type, options, source);
            break;
        }
    }
    (void)fclose(file);
}

/* A partition's queue and flush counter are its whole disk's, one directory up. */
static void disk_describe(dev_t device, struct facts *facts)
{
    char base[128];
    char path[192];
    char cache[64] = "";
    (void)snprintf(base, sizeof(base), "/sys/dev/block/%u:%u", major(device), minor(device));
    (void)snprintf(path, sizeof(path), "%s/queue/write_cache", base);
    if (!line_read(path, cache, sizeof(cache))) {
        (void)snprintf(base, sizeof(base), "/sys/dev/block/%u:%u/..", major(device), minor(device));
        (void)snprintf(path, sizeof(path), "%s/queue/write_cache", base);
        if (!line_read(path, cache, sizeof(cache))) {
            return; /* tmpfs, overlayfs: no disk of its own */
        }
    }
    char fua[16];
    char rotational[16];
    (void)snprintf(path, sizeof(path), "%s/queue/fua", base);
    (void)line_read(path, fua, sizeof(fua));
    (void)snprintf(path, sizeof(path), "%s/queue/rotational", base);
    (void)line_read(path, rotational, sizeof(rotational));
    (void)snprintf(facts->disk, sizeof(facts->disk), "cache %.32s, FUA %s, rotational %s", cache,
                   fua[0] == '1' ? "yes" : "no", rotational[0] == '1' ? "yes" : "no");
    (void)snprintf(facts->disk_stat, sizeof(facts->disk_stat), "%s/stat", base);
}

void facts_collect(const char *data, struct facts *out_facts)
{
    *out_facts = (struct facts){0};
    field_read("/proc/cpuinfo", "model name", out_facts->processor, sizeof(out_facts->processor));
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    out_facts->cores = cores > 0 ? (unsigned)cores : 0;
    char memory[64];
    field_read("/proc/meminfo", "MemTotal", memory, sizeof(memory));
    out_facts->memory_gib = strtod(memory, NULL) / 1048576.0;
    struct utsname system;
    if (uname(&system) == 0) {
        (void)snprintf(out_facts->kernel, sizeof(out_facts->kernel), "%.40s %.80s", system.sysname,
                       system.release);
    }
    struct stat status;
    if (data != NULL && stat(data, &status) == 0) {
        filesystem_describe(status.st_dev, out_facts);
        disk_describe(status.st_dev, out_facts);
    }
}

/* The inode of the socket that listens on the port, from one of the kernel's two tables; 0 where there is none. */
static uint64_t listener_inode(const char *path, uint16_t port)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    uint64_t found = 0;
    char line[512];
    while (found == 0 && fgets(line, sizeof(line), file) != NULL) {
        unsigned local_port = 0;
        unsigned state = 0;
        unsigned long inode = 0;
        const int fields =
            sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu",
                   &local_port, &state, &inode); /* NOLINT(cert-err34-c): the kernel's own format */
        const unsigned listening = 0x0a;
        if (fields == 3 && state == listening && local_port == port) {
            found = inode;
        }
    }
    (void)fclose(file);
    return found;
}

static bool process_has_socket(const char *pid, uint64_t inode)
{
    char path[320];
    char wanted[64];
    (void)snprintf(path, sizeof(path), "/proc/%.32s/fd", pid);
    (void)snprintf(wanted, sizeof(wanted), "socket:[%lu]", (unsigned long)inode);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return false;
    }
    bool found = false;
    const struct dirent *entry = NULL;
    while (!found && (entry = readdir(directory)) !=
                         NULL) { /* NOLINT(concurrency-mt-unsafe): our own stream */
        char link[64] = "";
        (void)snprintf(path, sizeof(path), "/proc/%.32s/fd/%.32s", pid, entry->d_name);
        const ssize_t size = readlink(path, link, sizeof(link) - 1);
        found = size > 0 && strncmp(link, wanted, sizeof(link)) == 0;
    }
    (void)closedir(directory);
    return found;
}

pid_t facts_listener(uint16_t port)
{
    uint64_t inode = listener_inode("/proc/net/tcp", port);
    if (inode == 0) {
        inode = listener_inode("/proc/net/tcp6", port);
    }
    DIR *directory = inode != 0 ? opendir("/proc") : NULL;
    if (directory == NULL) {
        return 0;
    }
    pid_t pid = 0;
    const struct dirent *entry = NULL;
    while (pid == 0 && (entry = readdir(directory)) !=
                           NULL) { /* NOLINT(concurrency-mt-unsafe): our own stream */
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            process_has_socket(entry->d_name, inode)) {
            pid = (pid_t)strtol(entry->d_name, NULL, 10);
        }
    }
    (void)closedir(directory);
    return pid;
}

void facts_process_name(pid_t pid, char out_name[64])
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    (void)line_read(path, out_name, 64);
}

static double seconds_of(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

static void server_sample(pid_t pid, struct facts_sample *sample)
{
    char path[64];
    char line[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    const char *behind_name = line_read(path, line, sizeof(line)) ? strrchr(line, ')') : NULL;
    unsigned long user = 0;
    unsigned long system = 0;
    /* The name may hold spaces and brackets, so fields are counted from its end: state is the third. */
    if (behind_name != NULL &&
        sscanf(behind_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
               &user, /* NOLINT(cert-err34-c) */
               &system) == 2) {
        const double ticks = (double)sysconf(_SC_CLK_TCK);
        sample->server_user_seconds = (double)user / ticks;
        sample->server_system_seconds = (double)system / ticks;
    }
}

static void disk_sample(const char *path, struct facts_sample *sample)
{
    char line[512];
    if (path[0] == '\0' || !line_read(path, line, sizeof(line))) {
        return;
    }
    uint64_t fields[17] = {0};
    const char *at = line;
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        char *end = NULL;
        fields[i] = strtoull(at, &end, 10);
        at = end;
    }
    sample->disk_sectors_written = fields[6];
    sample->disk_flushes = fields[15];
}

void facts_sample_take(const struct facts *facts, pid_t pid, struct facts_sample *out_sample)
{
    *out_sample = (struct facts_sample){0};
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    out_sample->client_user_seconds = seconds_of(&usage.ru_utime);
    out_sample->client_system_seconds = seconds_of(&usage.ru_stime);
    if (pid > 0) {
        server_sample(pid, out_sample);
    }
    disk_sample(facts->disk_stat, out_sample);
}
