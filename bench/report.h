/* report.h: what a series of runs says, for people and for programs.
 *
 * Every figure is a row of one table, so the text, the JSON and the medians cannot disagree about what is shown.
 */
#ifndef ASSAY_BENCH_REPORT_H
#define ASSAY_BENCH_REPORT_H

#include "bench/load.h"

struct report_run {
    double offered_per_second; /* 0 in a closed loop */
    double requests_per_second;
    double events_per_second;
    double p50_ms;
    double p90_ms;
    double p99_ms;
    double p999_ms;
    double max_ms;
    double service_p99_ms;
    double lateness_p99_ms;
    double server_cpu_seconds;
    double client_cpu_seconds;
    double requests_per_server_cpu_second;
    double events_per_server_cpu_second;
    double server_us_per_request;
    double sent_mb_per_second;
    double received_mb_per_second;
    double flushes_per_second;
    double written_mb_per_second;
    double waited_percent;
    uint64_t accepted;
    uint64_t duplicates;
    uint64_t rejected;
    uint64_t unanswered;
    uint64_t broken;
    uint64_t statuses[LOAD_STATUSES];
    bool is_valid;
    char verdict[160]; /* why it is not valid */
};

struct report_head {
    const char *workload;
    const struct options *options;
    const struct facts *facts;
    pid_t server;
    uint64_t events_a_request;
    size_t request_size;
};

/* Offered against achieved: a run counts only if at least 99 % of what was due was answered 2xx in time. */
void report_run_make(const struct load_result *result, bool is_open_loop,
                     struct report_run *out_run);
void report_text(const struct report_head *head, const struct report_run *runs, unsigned count);
void report_json(const struct report_head *head, const struct report_run *runs, unsigned count);

void report_machine_text(const struct facts *facts);
void report_machine_json(const struct facts *facts); /* a member named "machine", without comma */
void report_json_string(const char *text);

#endif
