/* flush.c: how long the disk takes to say that bytes are safe, with nothing else in the way.
 *
 * One durable overwrite after another, through the engine's own struct io, into a file whose blocks were all written
 * before: what a commit cannot be faster than. The backends take turns within a repetition, so that noise on a shared
 * machine meets them alike; compare their ratio.
 */
#include "bench/commands.h"
#include "bench/facts.h"
#include "bench/histogram.h"
#include "bench/report.h"

#include "engine/io.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define SCRATCH_NAME "assay-bench.scratch"
#define SCRATCH_SIZE (UINT64_C(64) * 1024 * 1024)
#define BUFFER_ALIGN 4096u

static const size_t block_sizes[] = {4096, 65536, 262144};

struct flush_backend {
    enum io_backend kind;
    const char *name;
    struct io *io; /* NULL: not to be had here */
    int file;
    uint64_t offset; /* of the next overwrite */
    double cpu_seconds[COUNT_OF(block_sizes)];
    struct histogram latency[COUNT_OF(block_sizes)];
    struct error error;
};

static int64_t monotonic_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static enum status backend_open(struct flush_backend *backend, const char *directory)
{
    for (size_t i = 0; i < COUNT_OF(block_sizes); i++) {
        if (histogram_init(&backend->latency[i]) != STATUS_OK) {
            return error_set(&backend->error, STATUS_NO_MEMORY, "out of memory");
        }
    }
    struct io *io = NULL;
    enum status status = io_open(backend->kind, directory, &backend->error, &io);
    if (status != STATUS_OK) {
        return status;
    }
    backend->io = io;
    (void)io->operations->unlink(io, SCRATCH_NAME); /* of a run that was killed */
    status =
        io->operations->open(io, SCRATCH_NAME, IO_OPEN_CREATE | IO_OPEN_DIRECT, &backend->file);
    if (status == STATUS_OK) {
        status = io->operations->allocate(io, backend->file, SCRATCH_SIZE);
        (void)io->operations->unlink(
            io, SCRATCH_NAME); /* the open file lives on, and nothing stays behind */
    }
    if (status != STATUS_OK) {
        (void)error_set(&backend->error, status, "%s: scratch file in %s: %s (errno %d)",
                        backend->name, directory, status_name(status), io->last_errno);
        io_close(io);
        backend->io = NULL;
    }
    return status;
}

static void backend_close(struct flush_backend *backend)
{
    io_close(backend->io);
    for (size_t i = 0; i < COUNT_OF(block_sizes); i++) {
        histogram_deinit(&backend->latency[i]);
    }
}

/* Overwrites blocks of one size for a while. */
static enum status slice_run(struct flush_backend *backend, size_t index, void *buffer,
                             double seconds)
{
    const size_t size = block_sizes[index];
    const int64_t end_ns = monotonic_ns() + (int64_t)(seconds * 1e9);
    const double cpu_before = cpu_seconds();
    int64_t now_ns = monotonic_ns();
    while (now_ns < end_ns) {
        backend->offset = (backend->offset + size) % SCRATCH_SIZE / size * size;
        const enum status status =
            io_write_durable(backend->io, backend->file, buffer, size, backend->offset);
        if (status != STATUS_OK) {
            return error_set(&backend->error, status, "%s: durable write failed: %s (errno %d)",
                             backend->name, status_name(status), backend->io->last_errno);
        }
        const int64_t done_ns = monotonic_ns();
        histogram_record(&backend->latency[index], (uint64_t)(done_ns - now_ns));
        now_ns = done_ns;
    }
    backend->cpu_seconds[index] += cpu_seconds() - cpu_before;
    return STATUS_OK;
}

static enum status slices_run(struct flush_backend *backends, size_t count,
                              const struct options *options, void *buffer)
{
    const double seconds = options->duration / (double)(count * COUNT_OF(block_sizes));
    for (uint64_t turn = 0; turn < options->repeat * COUNT_OF(block_sizes) * count; turn++) {
        struct flush_backend *backend = &backends[turn % count];
        const size_t index = turn / count % COUNT_OF(block_sizes);
        if (backend->io == NULL) {
            continue;
        }
        const enum status status = slice_run(backend, index, buffer, seconds);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

struct flush_row {
    uint64_t flushes;
    double mean_us;
    double p50_us;
    double p90_us;
    double p99_us;
    double p999_us;
    double max_us;
    double cpu_us; /* the caller's processor time for one flush */
    double mb_per_second;
};

static double us_at(const struct histogram *histogram, double percent)
{
    return (double)histogram_percentile(histogram, percent) / 1e3;
}

static struct flush_row row_of(const struct flush_backend *backend, size_t index)
{
    const struct histogram *latency = &backend->latency[index];
    const double count = latency->count > 0 ? (double)latency->count : 1.0;
    const double mean_ns = histogram_mean(latency);
    return (struct flush_row){
        .flushes = latency->count,
        .mean_us = mean_ns / 1e3,
        .p50_us = us_at(latency, 50),
        .p90_us = us_at(latency, 90),
        .p99_us = us_at(latency, 99),
        .p999_us = us_at(latency, 99.9),
        .max_us = (double)latency->max / 1e3,
        .cpu_us = backend->cpu_seconds[index] * 1e6 / count,
        .mb_per_second = mean_ns > 0 ? (double)block_sizes[index] * 1e3 / mean_ns : 0,
    };
}

static void rows_text(const struct flush_backend *backends, size_t count, const struct facts *facts)
{
    report_machine_text(facts);
    (void)printf(
        "\none durable O_DIRECT overwrite at a time, of blocks written before; microseconds\n");
    (void)printf("%-8s %8s %8s %9s %9s %9s %9s %9s %9s %8s\n", "backend", "bytes", "flushes", "p50",
                 "p90", "p99", "p99.9", "max", "CPU each", "MB/s");
    for (size_t index = 0; index < COUNT_OF(block_sizes); index++) {
        for (size_t i = 0; i < count; i++) {
            if (backends[i].io == NULL) {
                continue;
            }
            const struct flush_row row = row_of(&backends[i], index);
            (void)printf("%-8s %8zu %8lu %9.1f %9.1f %9.1f %9.1f %9.1f %9.2f %8.1f\n",
                         backends[i].name, block_sizes[index], (unsigned long)row.flushes,
                         row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us, row.cpu_us,
                         row.mb_per_second);
        }
    }
}

static void rows_json(const struct flush_backend *backends, size_t count, const struct facts *facts)
{
    (void)printf("{\"workload\": \"flush\", ");
    report_machine_json(facts);
    (void)printf(", \"rows\": [");
    const char *comma = "";
    for (size_t turn = 0; turn < count * COUNT_OF(block_sizes); turn++) {
        const struct flush_backend *backend = &backends[turn % count];
        if (backend->io == NULL) {
            continue;
        }
        const struct flush_row row = row_of(backend, turn / count);
        (void)printf("%s{\"backend\": \"%s\", \"bytes\": %zu, \"flushes\": %lu, \"mean_us\": %.1f, "
                     "\"p50_us\": %.1f, "
                     "\"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, "
                     "\"cpu_us\": %.2f, "
                     "\"mb_per_second\": %.1f}",
                     comma, backend->name, block_sizes[turn / count], (unsigned long)row.flushes,
                     row.mean_us, row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us,
                     row.cpu_us, row.mb_per_second);
        comma = ", ";
    }
    (void)printf("]}\n");
}

int command_flush(const struct options *options)
{
    struct flush_backend backends[] = {
        {.kind = IO_BACKEND_URING, .name = "uring"},
        {.kind = IO_BACKEND_SYNC,  .name = "sync" },
    };
    const char *directory = options->data != NULL ? options->data : ".";
    struct facts facts;
    facts_collect(directory, &facts);
    const size_t largest = block_sizes[COUNT_OF(block_sizes) - 1];
    void *buffer = aligned_alloc(BUFFER_ALIGN, largest);
    if (buffer == NULL) {
        return BENCH_UNABLE;
    }
    memset(buffer, 0xa5, largest);
    unsigned opened = 0;
    for (size_t i = 0; i < COUNT_OF(backends); i++) {
        if (backend_open(&backends[i], directory) == STATUS_OK) {
            opened++;
        } else {
            (void)fprintf(stderr, "assay-bench: not measured: %s\n", backends[i].error.text);
        }
    }
    int code = opened > 0 ? BENCH_GOOD : BENCH_UNABLE;
    if (opened > 0 && slices_run(backends, COUNT_OF(backends), options, buffer) != STATUS_OK) {
        for (size_t i = 0; i < COUNT_OF(backends); i++) {
            (void)fprintf(stderr, "%s%s", backends[i].error.text,
                          backends[i].error.text[0] != '\0' ? "\n" : "");
        }
        code = BENCH_UNABLE;
    }
    if (code == BENCH_GOOD && options->json) {
        rows_json(backends, COUNT_OF(backends), &facts);
    } else if (code == BENCH_GOOD) {
        rows_text(backends, COUNT_OF(backends), &facts);
    }
    for (size_t i = 0; i < COUNT_OF(backends); i++) {
        backend_close(&backends[i]);
    }
    free(buffer);
    return code;
}
