/* report.c: the table of figures, printed three ways. */
#include "bench/report.h"

#include <stdio.h>
#include <stdlib.h>

#define ACHIEVED_SHARE_LEAST 0.99
#define MEGABYTE             1e6
#define SECTOR_SIZE          512.0

#define FIELD(name) #name, offsetof(struct report_run, name)

/* clang-format off */
static const struct {
    const char *name;
    size_t offset;
    const char *label;
    int decimals;
    bool needs_events;
    bool needs_server;
    bool needs_disk;
    bool needs_open_loop;
} figures[] = {
    {FIELD(offered_per_second),             "offered requests/s",              0, false, false, false, true},
    {FIELD(requests_per_second),            "requests/s answered 2xx",         0, false, false, false, false},
    {FIELD(events_per_second),              "events/s",                        0, true,  false, false, false},
    {FIELD(events_per_server_cpu_second),   "events per server CPU second",    0, true,  true,  false, false},
    {FIELD(requests_per_server_cpu_second), "requests per server CPU second",  0, false, true,  false, false},
    {FIELD(server_us_per_request),          "server CPU us per request",       2, false, true,  false, false},
    {FIELD(server_cpu_seconds),             "server CPU seconds",              2, false, true,  false, false},
    {FIELD(client_cpu_seconds),             "client CPU seconds",              2, false, false, false, false},
    {FIELD(p50_ms),                         "latency p50 ms",                  3, false, false, false, false},
    {FIELD(p90_ms),                         "latency p90 ms",                  3, false, false, false, false},
    {FIELD(p99_ms),                         "latency p99 ms",                  3, false, false, false, false},
    {FIELD(p999_ms),                        "latency p99.9 ms",                3, false, false, false, false},
    {FIELD(max_ms),                         "latency max ms",                  3, false, false, false, false},
    {FIELD(service_p99_ms),                 "p99 ms from sending (flatters)",  3, false, false, false, true},
    {FIELD(lateness_p99_ms),                "generator late by, p99 ms",       3, false, false, false, true},
    {FIELD(waited_percent),                 "% that found no idle connection", 2, false, false, false, true},
    {FIELD(sent_mb_per_second),             "sent MB/s",                       1, false, false, false, false},
    {FIELD(received_mb_per_second),         "received MB/s",                   1, false, false, false, false},
    {FIELD(flushes_per_second),             "disk flushes/s (whole disk)",     0, false, false, true,  false},
    {FIELD(written_mb_per_second),          "disk MB/s written (whole disk)",  1, false, false, true,  false},
};

/* clang-format on */

static double ms_of(uint64_t ns)
{
    return (double)ns / 1e6;
}

static double ratio(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void run_judge(const struct load_tally *tally, bool is_open_loop, struct report_run *run)
{
    run->is_valid = true;
    if (tally->successes == 0) {
        run->is_valid = false;
        (void)snprintf(run->verdict, sizeof(run->verdict), "no request was answered 2xx");
        return;
    }
    const double share = ratio((double)tally->successes, (double)tally->arrivals);
    if (is_open_loop && share < ACHIEVED_SHARE_LEAST) {
        run->is_valid = false;
        (void)snprintf(run->verdict, sizeof(run->verdict),
                       "achieved %.1f %% of the offered load: latencies tell how long the run was, "
                       "not how good the "
                       "server is",
                       share * 100.0);
    } else if (!is_open_loop && tally->successes < tally->replies) {
        run->is_valid = false;
        (void)snprintf(run->verdict, sizeof(run->verdict), "%lu of %lu replies were not 2xx",
                       (unsigned long)(tally->replies - tally->successes),
                       (unsigned long)tally->replies);
    }
}

void report_run_make(const struct load_result *result, bool is_open_loop,
                     struct report_run *out_run)
{
    const struct load_tally *tally = &result->tally;
    const struct facts_sample *before = &result->before;
    const struct facts_sample *after = &result->after;
    const double seconds = result->window_seconds;
    const double server = after->server_user_seconds + after->server_system_seconds -
                          before->server_user_seconds - before->server_system_seconds;
    const double client = after->client_user_seconds + after->client_system_seconds -
                          before->client_user_seconds - before->client_system_seconds;
    struct report_run run = {
        .offered_per_second = is_open_loop ? (double)tally->arrivals / seconds : 0,
        .requests_per_second = (double)tally->successes / seconds,
        .events_per_second = (double)tally->events / seconds,
        .p50_ms = ms_of(histogram_percentile(&tally->latency, 50)),
        .p90_ms = ms_of(histogram_percentile(&tally->latency, 90)),
        .p99_ms = ms_of(histogram_percentile(&tally->latency, 99)),
        .p999_ms = ms_of(histogram_percentile(&tally->latency, 99.9)),
        .max_ms = ms_of(tally->latency.max),
        .service_p99_ms = ms_of(histogram_percentile(&tally->service, 99)),
        .lateness_p99_ms = ms_of(histogram_percentile(&tally->lateness, 99)),
        .server_cpu_seconds = server,
        .client_cpu_seconds = client,
        .requests_per_server_cpu_second = ratio((double)tally->successes, server),
        .events_per_server_cpu_second = ratio((double)tally->events, server),
        .server_us_per_request = ratio(server * 1e6, (double)tally->successes),
        .sent_mb_per_second = (double)tally->bytes_sent / MEGABYTE / seconds,
        .received_mb_per_second = (double)tally->bytes_received / MEGABYTE / seconds,
        .flushes_per_second = (double)(after->disk_flushes - before->disk_flushes) / seconds,
        .written_mb_per_second =
            (double)(after->disk_sectors_written - before->disk_sectors_written) * SECTOR_SIZE /
            MEGABYTE / seconds,
        .waited_percent = 100.0 * ratio((double)tally->waited, (double)tally->arrivals),
        .accepted = tally->accepted,
        .duplicates = tally->duplicates,
        .rejected = tally->rejected,
        .unanswered = tally->unanswered,
        .broken = tally->broken,
    };
    memcpy(run.statuses, tally->statuses, sizeof(run.statuses));
    run_judge(tally, is_open_loop, &run);
    *out_run = run;
}

static double figure_of(const struct report_run *run, size_t index)
{
    double value = 0;
    memcpy(&value, (const char *)run + figures[index].offset, sizeof(value));
    return value;
}

static bool figure_is_shown(const struct report_head *head, size_t index)
{
    return (!figures[index].needs_events || head->events_a_request > 0) &&
           (!figures[index].needs_server || head->server > 0) &&
           (!figures[index].needs_disk || head->facts->disk_stat[0] != '\0') &&
           (!figures[index].needs_open_loop || head->options->rate > 0);
}

static int compare_doubles(const void *a, const void *b)
{
    double left = 0;
    double right = 0;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return (left > right) - (left < right);
}

struct spread {
    double least;
    double median;
    double most;
};

static struct spread spread_of(const struct report_run *runs, unsigned count, size_t index)
{
    double values[BENCH_REPEAT_MAX];
    assert(count >= 1 && count <= BENCH_REPEAT_MAX);
    for (unsigned i = 0; i < count; i++) {
        values[i] = figure_of(&runs[i], index);
    }
    qsort(values, count, sizeof(values[0]), compare_doubles);
    return (struct spread){values[0], (values[(count - 1) / 2] + values[count / 2]) / 2.0,
                           values[count - 1]};
}

/* --- text --- */

void report_machine_text(const struct facts *facts)
{
    (void)printf("machine     %s, %u cores, %.1f GiB, %s\n", facts->processor, facts->cores,
                 facts->memory_gib, facts->kernel);
    if (facts->filesystem[0] != '\0') {
        (void)printf("data        %s\n", facts->filesystem);
    }
    if (facts->disk[0] != '\0') {
        (void)printf("disk        %s\n", facts->disk);
    }
}

static void head_text(const struct report_head *head)
{
    const struct options *options = head->options;
    (void)printf("workload    %s", head->workload);
    if (head->events_a_request > 0) {
        (void)printf(
            ", %lu events a request as %s, %zu bytes; %lu users, zipf %g, duplicates %g, late %g",
            (unsigned long)head->events_a_request, options->format, head->request_size,
            (unsigned long)options->users, options->zipf, options->duplicates, options->late);
    }
    (void)printf("\nload        ");
    if (options->rate > 0) {
        (void)printf("open loop, %g requests/s, %s", options->rate,
                     options->poisson ? "Poisson" : "evenly spaced");
    } else {
        (void)printf("closed loop (capacity; its latencies hide stalls)");
    }
    (void)printf(", %lu connections, %lu thread%s, %g s after %g s of warm-up, %lu runs\n",
                 (unsigned long)options->connections, (unsigned long)options->threads,
                 options->threads > 1 ? "s" : "", options->duration, options->warmup,
                 (unsigned long)options->repeat);
    char name[64] = "";
    if (head->server > 0) {
        facts_process_name(head->server, name);
        (void)printf("server      %s at %s, pid %d\n", name, options->url, (int)head->server);
    } else {
        (void)printf("server      at %s; its process was not found: no server CPU (give --pid)\n",
                     options->url);
    }
    report_machine_text(head->facts);
}

static void statuses_text(const struct report_run *run)
{
    for (unsigned status = 0; status < LOAD_STATUSES; status++) {
        if (run->statuses[status] > 0) {
            (void)printf("  %u: %lu", status, (unsigned long)run->statuses[status]);
        }
    }
    if (run->unanswered > 0) {
        (void)printf("  unanswered: %lu", (unsigned long)run->unanswered);
    }
    if (run->broken > 0) {
        (void)printf("  broken connections: %lu", (unsigned long)run->broken);
    }
}

void report_text(const struct report_head *head, const struct report_run *runs, unsigned count)
{
    head_text(head);
    (void)printf("\n%-34s %14s %14s %14s\n", "", "median", "lowest", "highest");
    for (size_t i = 0; i < COUNT_OF(figures); i++) {
        if (!figure_is_shown(head, i)) {
            continue;
        }
        const struct spread spread = spread_of(runs, count, i);
        const int decimals = figures[i].decimals;
        (void)printf("%-34s %14.*f %14.*f %14.*f\n", figures[i].label, decimals, spread.median,
                     decimals, spread.least, decimals, spread.most);
    }
    (void)printf("\n");
    for (unsigned i = 0; i < count; i++) {
        (void)printf("run %u  %s%s", i + 1,
                     runs[i].is_valid ? "valid" : "INVALID: ", runs[i].verdict);
        statuses_text(&runs[i]);
        if (head->events_a_request > 0) {
            (void)printf("  events accepted %lu, duplicates %lu, rejected %lu",
                         (unsigned long)runs[i].accepted, (unsigned long)runs[i].duplicates,
                         (unsigned long)runs[i].rejected);
        }
        (void)printf("\n");
    }
}

/* --- JSON --- */

void report_json_string(const char *text)
{
    (void)putchar('"');
    for (const char *at = text; *at != '\0'; at++) {
        const unsigned char byte = (unsigned char)*at;
        if (byte == '"' || byte == '\\') {
            (void)printf("\\%c", byte);
        } else if (byte < 0x20) {
            (void)printf("\\u%04x", (unsigned)byte);
        } else {
            (void)putchar(byte);
        }
    }
    (void)putchar('"');
}

static void member_text(const char *name, const char *text)
{
    (void)printf("\"%s\": ", name);
    report_json_string(text);
}

void report_machine_json(const struct facts *facts)
{
    (void)printf("\"machine\": {");
    member_text("processor", facts->processor);
    (void)printf(", \"cores\": %u, \"memory_gib\": %.1f, ", facts->cores, facts->memory_gib);
    member_text("kernel", facts->kernel);
    (void)printf(", ");
    member_text("filesystem", facts->filesystem);
    (void)printf(", ");
    member_text("disk", facts->disk);
    (void)printf("}");
}

static void head_json(const struct report_head *head)
{
    const struct options *options = head->options;
    member_text("workload", head->workload);
    (void)printf(", ");
    member_text("url", options->url);
    (void)printf(", ");
    member_text("format", options->format);
    (void)printf(", \"rate\": %g, \"poisson\": %s, \"connections\": %lu, \"threads\": %lu, "
                 "\"duration\": %g, "
                 "\"warmup\": %g, \"events_per_request\": %lu, \"request_bytes\": %zu, \"users\": "
                 "%lu, \"zipf\": %g, "
                 "\"duplicates\": %g, \"late\": %g, \"server_pid\": %d, ",
                 options->rate, options->poisson ? "true" : "false",
                 (unsigned long)options->connections, (unsigned long)options->threads,
                 options->duration, options->warmup, (unsigned long)head->events_a_request,
                 head->request_size, (unsigned long)options->users, options->zipf,
                 options->duplicates, options->late, (int)head->server);
    report_machine_json(head->facts);
}

static void run_json(const struct report_head *head, const struct report_run *run)
{
    (void)printf("{\"valid\": %s, ", run->is_valid ? "true" : "false");
    member_text("verdict", run->verdict);
    for (size_t i = 0; i < COUNT_OF(figures); i++) {
        if (figure_is_shown(head, i)) {
            (void)printf(", \"%s\": %.6g", figures[i].name, figure_of(run, i));
        }
    }
    (void)printf(", \"unanswered\": %lu, \"broken\": %lu, \"accepted\": %lu, \"duplicates\": %lu, "
                 "\"rejected\": %lu, "
                 "\"statuses\": {",
                 (unsigned long)run->unanswered, (unsigned long)run->broken,
                 (unsigned long)run->accepted, (unsigned long)run->duplicates,
                 (unsigned long)run->rejected);
    const char *comma = "";
    for (unsigned status = 0; status < LOAD_STATUSES; status++) {
        if (run->statuses[status] > 0) {
            (void)printf("%s\"%u\": %lu", comma, status, (unsigned long)run->statuses[status]);
            comma = ", ";
        }
    }
    (void)printf("}}");
}

void report_json(const struct report_head *head, const struct report_run *runs, unsigned count)
{
    (void)printf("{");
    head_json(head);
    (void)printf(", \"figures\": {");
    const char *comma = "";
    for (size_t i = 0; i < COUNT_OF(figures); i++) {
        if (!figure_is_shown(head, i)) {
            continue;
        }
        const struct spread spread = spread_of(runs, count, i);
        (void)printf("%s\"%s\": {\"median\": %.6g, \"lowest\": %.6g, \"highest\": %.6g}", comma,
                     figures[i].name, spread.median, spread.least, spread.most);
        comma = ", ";
    }
    (void)printf("}, \"runs\": [");
    for (unsigned i = 0; i < count; i++) {
        (void)printf("%s", i > 0 ? ", " : "");
        run_json(head, &runs[i]);
    }
    (void)printf("]}\n");
}
