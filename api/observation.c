/* observation.c: see observation.h. */
#include "api/observation.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

static uint64_t resident_bytes(void)
{
    unsigned long total = 0;
    unsigned long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return 0;
    }
    const int found = fscanf(file, "%lu %lu", &total, &resident);
    (void)fclose(file);
    return found == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Counts the names in /proc/self/fd: some microseconds at a few hundred connections, a few milliseconds at ten thousand. */
static uint64_t open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return 0;
    }
    uint64_t count = 0;
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(directory);
    return count > 0 ? count - 1 : 0; /* without the directory's own */
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void observe_process(const struct api *api, struct observation *seen)
{
    seen->resident_bytes = resident_bytes();
    seen->open_files = open_files();
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        seen->files_most = files.rlim_cur;
    }
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        seen->cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    }
    struct statvfs disk;
    if (api->directory != NULL && statvfs(api->directory, &disk) == 0) {
        seen->disk_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
        seen->disk_total_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
    }
}

void observe(const struct call *call, struct observation *out_seen)
{
    const struct api *api = call->api;
    *out_seen = (struct observation){
        .is_healthy = engine_healthy(call->engine),
        .can_write = engine_can_write(call->engine),
        .disk_full = engine_disk_full(call->engine),
        .experiments = call->catalog->experiment_count,
        .metrics = call->catalog->metric_count,
        .tokens = call->catalog->token_count,
        .uptime_seconds = (double)(call->received_at_us - api->started_at_us) / 1e6,
        .started_at_seconds = (double)api->started_at_us / 1e6,
    };
    engine_counters(call->engine, &out_seen->engine);
    if (api->server != NULL) {
        server_counters(api->server, &out_seen->server);
    }
    observe_process(api, out_seen);
}
