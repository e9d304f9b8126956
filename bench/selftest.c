/* selftest.c: does the generator see a stall for what it is?
 *
 * Goal     A server that stops for 200 ms in a 2 s run at 1,000 requests a second keeps 200 requests waiting,
 *          from 200 ms down to nothing. Measured from their intended times, that is the slowest tenth of the run.
 * Method   Our own responder stalls once, in the middle. From intended times p99 must be near 200 ms. From the
 *          moment of sending only the few requests in flight saw it, so their p99 must stay small: that number is
 *          the error a generator makes that waits for the server (coordinated omission), and seeing it proves the test can fail.
 */
#include "bench/commands.h"
#include "bench/load.h"
#include "bench/responder.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define SELFTEST_RATE        1000.0
#define SELFTEST_CONNECTIONS 8u
#define STALL_MS             200u
#define STALL_AFTER_MS       1200 /* into the run, its warm-up included */

static void *stall_main(void *argument)
{
    const struct timespec pause = {.tv_sec = STALL_AFTER_MS / 1000,
                                   .tv_nsec = STALL_AFTER_MS % 1000 * 1000000L};
    (void)nanosleep(&pause, NULL);
    responder_stall(argument, STALL_MS);
    return NULL;
}

static enum status stalled_run(struct responder *responder, const struct options *options,
                               struct error *error, struct load_result *out_result)
{
    char url[64];
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)responder_port(responder));
    struct client_target target;
    struct workload_plan *plan = NULL;
    struct facts facts;
    facts_collect(NULL, &facts);
    enum status status = client_target_parse(url, error, &target);
    if (status == STATUS_OK) {
        status = workload_plan_open(workload_find("hello"), options, &target, error, &plan);
    }
    if (status != STATUS_OK) {
        return status;
    }
    const struct load_options load = {
        .target = &target,
        .plan = plan,
        .facts = &facts,
        .connections = SELFTEST_CONNECTIONS,
        .threads = 1,
        .rate = SELFTEST_RATE,
        .warmup_seconds = 0.3,
        .duration_seconds = 2,
        .drain_seconds = 2,
    };
    pthread_t staller;
    if (pthread_create(&staller, NULL, stall_main, responder) != 0) {
        workload_plan_close(plan);
        return error_set(error, STATUS_NO_MEMORY, "cannot start a thread");
    }
    status = load_run(&load, error, out_result);
    (void)pthread_join(staller, NULL);
    workload_plan_close(plan);
    return status;
}

static bool expect(bool is_met, const char *what, double value)
{
    (void)printf("%-4s %s: %.1f ms\n", is_met ? "ok" : "FAIL", what, value);
    return is_met;
}

int command_selftest(const struct options *options)
{
    struct error error = {{0}};
    struct responder *responder = NULL;
    struct load_result result = {0};
    enum status status = responder_open(0, &error, &responder);
    if (status == STATUS_OK) {
        status = stalled_run(responder, options, &error, &result);
    }
    responder_close(responder);
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "assay-bench: %s\n", error.text);
        return BENCH_UNABLE;
    }
    const double max_ms = (double)result.tally.latency.max / 1e6;
    const double intended_ms = (double)histogram_percentile(&result.tally.latency, 99) / 1e6;
    const double sent_ms = (double)histogram_percentile(&result.tally.service, 99) / 1e6;
    const double low_ms = STALL_MS * 0.85;
    const double high_ms =
        STALL_MS * 1.5; /* other work on the machine may add to the stall, never shorten it */
    (void)printf("a responder that stalls once for %u ms, %g requests/s for 2 s, %lu replies\n",
                 STALL_MS, SELFTEST_RATE, (unsigned long)result.tally.replies);
    bool is_good = expect(max_ms >= STALL_MS * 0.95 && max_ms < high_ms,
                          "the slowest request waited the stall", max_ms);
    is_good &= expect(intended_ms >= low_ms && intended_ms < high_ms,
                      "p99 from intended times shows it", intended_ms);
    is_good &= expect(sent_ms < low_ms / 2, "p99 from sending times hides it, as it must", sent_ms);
    load_result_deinit(&result);
    return is_good ? BENCH_GOOD : BENCH_INVALID;
}

int command_responder(const struct options *options)
{
    struct error error = {{0}};
    struct client_target target;
    struct responder *responder = NULL;
    enum status status = client_target_parse(options->url, &error, &target);
    if (status == STATUS_OK) {
        status = responder_open(target.port, &error, &responder);
    }
    if (status != STATUS_OK) {
        (void)fprintf(stderr, "assay-bench: %s\n", error.text);
        return BENCH_UNABLE;
    }
    (void)printf("answering on http://127.0.0.1:%u until interrupted\n",
                 (unsigned)responder_port(responder));
    (void)fflush(stdout);
    const struct timespec day = {.tv_sec = 86400};
    while (nanosleep(&day, NULL) == 0) {
    }
    responder_close(responder);
    return BENCH_GOOD;
}
