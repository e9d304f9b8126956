/* observation.h: everything there is to count about the server, read once: for GET /metrics and GET /status. */
#ifndef ASSAY_API_OBSERVATION_H
#define ASSAY_API_OBSERVATION_H

#include "api/http.h"
#include "api/server.h"

struct observation {
    struct engine_counters engine;
    struct server_counters server;
    bool is_healthy;
    bool can_write;
    bool disk_full;
    uint32_t experiments;
    uint32_t metrics;
    uint32_t tokens;
    double uptime_seconds;
    double started_at_seconds;
    double cpu_seconds;
    uint64_t resident_bytes;
    uint64_t open_files;
    uint64_t files_most;
    uint64_t disk_free_bytes;
    uint64_t disk_total_bytes;
};

void observe(const struct call *call, struct observation *out_seen);

#endif
