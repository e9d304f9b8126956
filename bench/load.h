/* load.h: the load engine: requests at their intended times, whatever the server does.
 *
 * Open loop    Arrivals have a schedule made without looking at the server. One that finds no idle connection
 *              waits, and its wait counts: latency is the reply's time less the intended time. A server that
 *              stalls for 200 ms is charged for every request that should have been served meanwhile.
 * Closed loop  (rate 0) The next request starts when a reply has come. It finds the capacity; its latencies flatter.
 * Window       Counts are of replies that came within the measured time, latencies of requests intended within it.
 * Unanswered   What has no reply when the drain time is over counts with the time it has waited so far.
 * Threads      load_run() starts its own and returns when all have ended.
 */
#ifndef ASSAY_BENCH_LOAD_H
#define ASSAY_BENCH_LOAD_H

#include "bench/facts.h"
#include "bench/histogram.h"
#include "bench/workload.h"

#define LOAD_STATUSES 600u

struct load_options {
    const struct client_target *target;
    struct workload_plan *plan;
    const struct facts *facts;
    pid_t server; /* 0: unknown */
    unsigned connections;
    unsigned threads;
    double rate; /* requests a second in all; 0: closed loop */
    bool poisson;
    double warmup_seconds;
    double duration_seconds;
    double drain_seconds;
};

struct load_tally {
    struct histogram latency;  /* from the intended time */
    struct histogram service;  /* from the moment of sending: what a closed loop would have seen */
    struct histogram lateness; /* how late the generator sent when a connection was idle */
    uint64_t arrivals;         /* intended within the window */
    uint64_t replies;
    uint64_t successes; /* replies 2xx */
    uint64_t waited;    /* arrivals that found every connection busy */
    uint64_t unanswered;
    uint64_t broken; /* connections that failed or closed under a request */
    uint64_t events; /* in successful requests */
    uint64_t accepted;
    uint64_t duplicates;
    uint64_t rejected; /* these three as the server's replies count them */
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t statuses[LOAD_STATUSES];
};

struct load_result {
    struct load_tally tally;
    struct facts_sample before; /* at the window's two ends */
    struct facts_sample after;
    double window_seconds;
};

MUST_USE enum status load_run(const struct load_options *options, struct error *error,
                              struct load_result *out_result);
void load_result_deinit(struct load_result *result); /* zeroed memory is fine */

#endif
