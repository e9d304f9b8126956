/* main.c: assay-bench: which workload or command, and the repetitions of a run. */
#include "bench/commands.h"
#include "bench/report.h"

#include "engine/limits.h"

#include <stdlib.h>

struct command_row {
    const char *name;
    const char *summary;
    int (*run)(const struct options *options);
};

/* clang-format off */
static const struct command_row commands[] = {
    {"flush", "durable overwrites on the disk of --data, io_uring against pwrite: what no commit can beat",
     command_flush},
    {"selftest", "a responder that stalls 200 ms must show as 200 ms in the tail", command_selftest},
    {"responder", "answers 200 to everything on the --url's port: how much load can this generator make?",
     command_responder},
};

/* clang-format on */

static void explain(FILE *out)
{
    (void)fprintf(out, "assay-bench: load for an assay server, measured from when each request "
                       "should have started\n\n"
                       "usage: assay-bench WORKLOAD|COMMAND [option ...]\n\nworkloads\n");
    for (size_t i = 0; workload_at(i) != NULL; i++) {
        (void)fprintf(out, "  %-20s %s\n", workload_name(workload_at(i)),
                      workload_summary(workload_at(i)));
    }
    (void)fprintf(out, "\ncommands\n");
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        (void)fprintf(out, "  %-20s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fprintf(out, "\noptions (defaults in brackets; counts take k and M)\n");
    options_explain(out);
    (void)fprintf(
        out,
        "\nhow to measure\n"
        "  1. Find the capacity with the closed loop (no --rate). Believe its throughput, not its "
        "latencies.\n"
        "  2. Offer a share of it, say 20, 50 and 80 %%, with --rate and --poisson. Now the "
        "latencies are real: they\n"
        "     start when a request was due, so time in the queue of a slow server counts. A run "
        "that achieved less\n"
        "     than 99 %% of what was offered is marked INVALID.\n"
        "  3. Client and server share the machine: compare the server's CPU per request, and "
        "ratios within one\n"
        "     sitting, rather than absolute rates. `late by` large or client CPU near the run's "
        "length: the generator\n"
        "     is the limit, not the server.\n"
        "\nexamples\n"
        "  assay-bench hello --data /var/lib/assay --connections 64\n"
        "  assay-bench ingest --data /var/lib/assay --batch 1000 --users 1M --zipf 1 --duplicates "
        "0.01 --late 0.02\n"
        "  assay-bench assign-new --data /var/lib/assay --rate 20k --poisson --connections 256\n"
        "  assay-bench flush --data /var/lib/assay --duration 6 --repeat 1\n"
        "\nexit code: 0 good, 1 a run is invalid or a self-test failed, 2 usage, 3 could not do "
        "it\n");
}

static int complain(const struct error *error, int code)
{
    (void)fprintf(stderr, "assay-bench: %s\n", error->text);
    return code;
}

static void runs_print(const struct report_head *head, const struct report_run *runs,
                       unsigned count)
{
    if (head->options->json) {
        report_json(head, runs, count);
    } else {
        report_text(head, runs, count);
    }
}

/* The repetitions. Stops at the first that could not run at all. */
static enum status runs_make(const struct load_options *load, uint64_t count, struct error *error,
                             struct report_run *runs)
{
    for (uint64_t i = 0; i < count; i++) {
        struct load_result result = {0};
        const enum status status = load_run(load, error, &result);
        if (status != STATUS_OK) {
            return status;
        }
        report_run_make(&result, load->rate > 0, &runs[i]);
        load_result_deinit(&result);
    }
    return STATUS_OK;
}

static int runs_code(const struct report_run *runs, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!runs[i].is_valid) {
            return BENCH_INVALID;
        }
    }
    return BENCH_GOOD;
}

/* Only a warning: how a server refuses is worth measuring too. */
static void limits_warn(const struct workload_plan *plan)
{
    if (workload_plan_events(plan) > LIMIT_EVENTS_PER_REQUEST ||
        workload_plan_request_size(plan) > LIMIT_BODY) {
        (void)fprintf(
            stderr,
            "assay-bench: a request of %lu events and %zu bytes is beyond the server's limits\n",
            (unsigned long)workload_plan_events(plan), workload_plan_request_size(plan));
    }
}

static int runs_report(const struct workload *workload, const struct options *options,
                       const struct client_target *target, struct workload_plan *plan)
{
    struct error error = {{0}};
    struct facts facts;
    facts_collect(options->data, &facts);
    const pid_t server = options->pid > 0 ? (pid_t)options->pid : facts_listener(target->port);
    const struct load_options load = {
        .target = target,
        .plan = plan,
        .facts = &facts,
        .server = server,
        .connections = (unsigned)options->connections,
        .threads = (unsigned)options->threads,
        .rate = options->rate,
        .poisson = options->poisson,
        .warmup_seconds = options->warmup,
        .duration_seconds = options->duration,
        .drain_seconds = options->drain,
    };
    struct report_run *runs = calloc(options->repeat, sizeof(runs[0]));
    if (runs == NULL) {
        return BENCH_UNABLE;
    }
    int code = BENCH_UNABLE;
    if (runs_make(&load, options->repeat, &error, runs) == STATUS_OK) {
        const struct report_head head = {
            .workload = workload_name(workload),
            .options = options,
            .facts = &facts,
            .server = server,
            .events_a_request = workload_plan_events(plan),
            .request_size = workload_plan_request_size(plan),
        };
        runs_print(&head, runs, (unsigned)options->repeat);
        code = runs_code(runs, options->repeat);
    } else {
        (void)complain(&error, code);
    }
    free(runs);
    return code;
}

static int workload_run(const struct workload *workload, const struct options *options)
{
    struct error error = {{0}};
    struct client_target target;
    struct workload_plan *plan = NULL;
    enum status status = client_target_parse(options->url, &error, &target);
    if (status == STATUS_OK) {
        status = workload_plan_open(workload, options, &target, &error, &plan);
    }
    if (status != STATUS_OK) {
        return complain(&error, status == STATUS_INVALID ? BENCH_USAGE : BENCH_UNABLE);
    }
    limits_warn(plan);
    status = workload_plan_prepare(plan, &error);
    const int code = status == STATUS_OK ? runs_report(workload, options, &target, plan)
                                         : complain(&error, BENCH_UNABLE);
    workload_plan_close(plan);
    return code;
}

static const struct command_row *command_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

int main(int count, char **arguments)
{
    static struct options options;
    struct error error = {{0}};
    const bool is_named = count > 1 && arguments[1][0] != '-';
    const int skipped = is_named ? 2 : 1;
    if (options_parse(count - skipped < 0 ? 0 : count - skipped, arguments + skipped, &options,
                      &error) != STATUS_OK) {
        return complain(&error, BENCH_USAGE);
    }
    if (options.help || !is_named) {
        explain(options.help ? stdout : stderr);
        return options.help ? BENCH_GOOD : BENCH_USAGE;
    }
    const struct workload *workload = workload_find(arguments[1]);
    if (workload != NULL) {
        return workload_run(workload, &options);
    }
    const struct command_row *command = command_find(arguments[1]);
    if (command == NULL) {
        (void)error_set(&error, STATUS_INVALID,
                        "no workload or command '%s'; see assay-bench --help", arguments[1]);
        return complain(&error, BENCH_USAGE);
    }
    return command->run(&options);
}
