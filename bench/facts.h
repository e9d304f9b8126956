/* facts.h: what a figure cannot be read without: the machine, and what the run cost in processor time and flushes. */
#ifndef ASSAY_BENCH_FACTS_H
#define ASSAY_BENCH_FACTS_H

#include "engine/base.h"

#include <sys/types.h>

struct facts {
    char processor[128];
    unsigned cores;
    double memory_gib;
    char kernel[128];
    char filesystem
        [160];      /* type, options, device of the data directory; empty where none was given */
    char disk[128]; /* write cache, FUA, rotation */
    char disk_stat[256]; /* path of the block device's statistics; empty where there is none */
};

/* data may be NULL. What cannot be found is left empty. */
void facts_collect(const char *data, struct facts *out_facts);

/* The process that listens on the port of this machine; 0 where none is found or it is not ours to see. */
pid_t facts_listener(uint16_t port);
/* The process's name; empty when it is gone. */
void facts_process_name(pid_t pid, char out_name[64]);

/* Counters at one moment; two of them bracket what is measured. */
struct facts_sample {
    double client_user_seconds;
    double client_system_seconds;
    double server_user_seconds;
    double server_system_seconds;
    uint64_t disk_flushes;
    uint64_t disk_sectors_written; /* of 512 bytes */
};

/* pid 0: no server. The server's times come in steps of a clock tick, 10 ms on most kernels. */
void facts_sample_take(const struct facts *facts, pid_t pid, struct facts_sample *out_sample);

#endif
