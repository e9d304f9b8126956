/* handle_admin.c: how the server is doing: for load balancers, Prometheus and people. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "api/routes.h"
#include "api/server.h"

void handle_health(struct call *call)
{
    static const char text[] = "{\"status\":\"ok\"}";
    call_reply_text(call, 200, "application/json", bytes_of(text, sizeof(text) - 1));
}

void handle_ready(struct call *call)
{
    static const char text[] = "{\"status\":\"ready\"}";
    if (engine_can_write(call->engine)) {
        call_reply_text(call, 200, "application/json", bytes_of(text, sizeof(text) - 1));
        return;
    }
    call_header(call, "retry-after", "1");
    call_reply_problem(call, 503, "not_ready", "%s",
                       engine_disk_full(call->engine) ? "the disk is full: writes are refused until there is room"
                                                      : "writes cannot be acknowledged now");
}

/* Everything there is to count, read once. */
struct observation {
    struct engine_counters engine;
    struct server_counters server;
    bool is_healthy;
    bool can_write;
    uint32_t experiments;
    uint32_t metrics;
    uint32_t tokens;
    double uptime_seconds;
    double cpu_seconds;
    uint64_t resident_bytes;
    uint64_t disk_free_bytes;
    uint64_t disk_total_bytes;
};

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

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static struct observation observe(const struct call *call)
{
    const struct api *api = call->api;
    struct observation seen = {
        .is_healthy = engine_healthy(call->engine),
        .can_write = engine_can_write(call->engine),
        .experiments = call->catalog->experiment_count,
        .metrics = call->catalog->metric_count,
        .tokens = call->catalog->token_count,
        .uptime_seconds = (double)(call->received_at_us - api->started_at_us) / 1e6,
        .resident_bytes = resident_bytes(),
    };
    engine_counters(call->engine, &seen.engine);
    if (api->server != NULL) {
        server_counters(api->server, &seen.server);
    }
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        seen.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    }
    struct statvfs disk;
    if (api->directory != NULL && statvfs(api->directory, &disk) == 0) {
        seen.disk_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
        seen.disk_total_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
    }
    return seen;
}

/* Prometheus's text format, version 0.0.4. */

struct page {
    char *text;
    size_t size;
    size_t capacity;
};

static void page_add(struct page *page, const char *format, ...) PRINTF_LIKE(2, 3);

static void page_add(struct page *page, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int added =
        vsnprintf(page->text + page->size, page->capacity - page->size, format, arguments);
    va_end(arguments);
    assert(added >= 0 &&
           (size_t)added < page->capacity - page->size); /* the page's size is ours to choose */
    page->size += (size_t)added;
}

struct sample {
    const char *name;
    const char *type;
    const char *help;
    double value;
};

static void page_add_samples(struct page *page, const struct sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct sample *sample = &samples[i];
        page_add(page, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", sample->name, sample->help,
                 sample->name, sample->type, sample->name, sample->value);
    }
}

static void page_add_engine(struct page *page, const struct observation *seen)
{
    const struct engine_counters *engine = &seen->engine;
    // clang-format off
    const struct sample samples[] = {
        {"assay_healthy", "gauge", "1 while the storage is sound.", seen->is_healthy},
        {"assay_ready", "gauge", "1 while writes can be acknowledged.", seen->can_write},
        {"assay_log_durable_lsn", "counter", "First log position not yet durable.", (double)engine->durable_lsn},
        {"assay_log_applied_lsn", "counter", "First log position not yet applied.", (double)engine->applied_lsn},
        {"assay_log_checkpoint_lsn", "counter", "First log position not in the checkpoint.",
         (double)engine->checkpoint_lsn},
        {"assay_log_blocks_total", "counter", "Blocks committed.", (double)engine->blocks},
        {"assay_log_block_bytes_total", "counter", "Bytes of blocks committed.", (double)engine->block_bytes},
        {"assay_log_flush_seconds_total", "counter", "Time spent in writes and flushes.",
         (double)engine->flush_us_total / 1e6},
        {"assay_events_applied_total", "counter", "Event records applied.", (double)engine->events_applied},
        {"assay_events_duplicate_total", "counter", "Of these, repeated event ids.",
         (double)engine->events_duplicate},
        {"assay_assignments", "gauge", "Assignments stored.", (double)engine->assignments},
        {"assay_users", "gauge", "Users known.", (double)engine->users},
        {"assay_experiments", "gauge", "Experiments, archived ones included.", seen->experiments},
        {"assay_metric_definitions", "gauge", "Metric definitions, archived ones included.", seen->metrics},
        {"assay_tokens", "gauge", "Tokens, revoked ones included.", seen->tokens},
        {"assay_commits_queued", "gauge", "Commits waiting for the log.", (double)engine->commits_queued},
        {"assay_commit_bytes_queued", "gauge", "Bytes of commits waiting for the log.",
         (double)engine->commit_bytes_queued},
        {"assay_checkpoints_total", "counter", "Checkpoints written.", (double)engine->checkpoints},
        {"assay_checkpoint_seconds", "gauge", "Duration of the last checkpoint.",
         (double)engine->checkpoint_us_last / 1e6},
    };
    // clang-format on
    page_add_samples(page, samples, COUNT_OF(samples));
}

static void page_add_process(struct page *page, const struct observation *seen)
{
    const struct server_counters *server = &seen->server;
    // clang-format off
    const struct sample samples[] = {
        {"assay_http_requests_total", "counter", "Requests read.", (double)server->requests},
        {"assay_http_connections", "gauge", "Connections open.", (double)server->connections},
        {"assay_http_overload_refused_total", "counter", "Writes refused before their body was looked at.",
         (double)server->overload_refused},
        {"assay_events_received_total", "counter", "Events in requests.", (double)server->events_received},
        {"assay_events_rejected_total", "counter", "Of these, refused as invalid.", (double)server->events_rejected},
        {"assay_uptime_seconds", "gauge", "Time since the start.", seen->uptime_seconds},
        {"assay_disk_free_bytes", "gauge", "Free space of the data directory's disk.", (double)seen->disk_free_bytes},
        {"assay_disk_total_bytes", "gauge", "Size of the data directory's disk.", (double)seen->disk_total_bytes},
        {"process_resident_memory_bytes", "gauge", "Resident memory.", (double)seen->resident_bytes},
        {"process_cpu_seconds_total", "counter", "User and system CPU time.", seen->cpu_seconds},
    };
    // clang-format on
    page_add_samples(page, samples, COUNT_OF(samples));
    page_add(page, "# HELP assay_http_responses_total Responses by class of status.\n"
                   "# TYPE assay_http_responses_total counter\n");
    for (size_t i = 2; i < COUNT_OF(server->responses); i++) {
        page_add(page, "assay_http_responses_total{class=\"%zuxx\"} %llu\n", i,
                 (unsigned long long)server->responses[i]);
    }
    page_add(page,
             "# HELP assay_build_info The version, as a label.\n# TYPE assay_build_info gauge\n"
             "assay_build_info{version=\"" ASSAY_VERSION "\"} 1\n");
}

void handle_prometheus(struct call *call)
{
    struct page page = {.capacity = 16 * 1024};
    page.text = arena_take(&call->arena, page.capacity);
    if (page.text == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    const struct observation seen = observe(call);
    page_add_engine(&page, &seen);
    page_add_process(&page, &seen);
    call_reply_text(call, 200, "text/plain; version=0.0.4; charset=utf-8",
                    bytes_of(page.text, page.size));
}

/* GET /status: the same, for a person or a script. */

static void write_count(struct json_writer *writer, const char *name, uint64_t value)
{
    json_key(writer, name);
    json_uint(writer, value);
}

static void write_start(struct json_writer *writer, const struct call *call)
{
    const struct engine_info *info = call->api->info;
    const struct uuid store_id = engine_store_id(call->engine);
    json_key(writer, "store_id");
    json_uuid(writer, &store_id);
    json_key(writer, "started_at");
    json_time(writer, call->api->started_at_us);
    if (info != NULL) {
        json_key(writer, "io_backend");
        json_text(writer, info->io_backend);
        json_key(writer, "start");
        json_begin_object(writer);
        write_count(writer, "cut_bytes", info->cut_bytes);
        write_count(writer, "replayed_records", info->replayed);
        json_key(writer, "store_rebuilt");
        json_bool(writer, info->rebuilt);
        json_end_object(writer);
    }
}

static void write_positions(struct json_writer *writer, const struct observation *seen)
{
    const struct engine_counters *engine = &seen->engine;
    json_key(writer, "log");
    json_begin_object(writer);
    write_count(writer, "durable_lsn", engine->durable_lsn);
    write_count(writer, "applied_lsn", engine->applied_lsn);
    write_count(writer, "checkpoint_lsn", engine->checkpoint_lsn);
    write_count(
        writer, "apply_lag",
        engine->durable_lsn > engine->applied_lsn ? engine->durable_lsn - engine->applied_lsn : 0);
    write_count(writer, "blocks", engine->blocks);
    write_count(writer, "block_bytes", engine->block_bytes);
    write_count(writer, "flush_us_mean",
                engine->blocks > 0 ? engine->flush_us_total / engine->blocks : 0);
    write_count(writer, "commits_queued", engine->commits_queued);
    write_count(writer, "commit_bytes_queued", engine->commit_bytes_queued);
    write_count(writer, "checkpoints", engine->checkpoints);
    write_count(writer, "checkpoint_us_last", engine->checkpoint_us_last);
    json_end_object(writer);
}

static void write_counts(struct json_writer *writer, const struct observation *seen)
{
    json_key(writer, "counts");
    json_begin_object(writer);
    write_count(writer, "experiments", seen->experiments);
    write_count(writer, "metric_definitions", seen->metrics);
    write_count(writer, "tokens", seen->tokens);
    write_count(writer, "users", seen->engine.users);
    write_count(writer, "assignments", seen->engine.assignments);
    write_count(writer, "events_applied", seen->engine.events_applied);
    write_count(writer, "events_duplicate", seen->engine.events_duplicate);
    json_end_object(writer);
    json_key(writer, "http");
    json_begin_object(writer);
    write_count(writer, "requests", seen->server.requests);
    write_count(writer, "connections", seen->server.connections);
    write_count(writer, "overload_refused", seen->server.overload_refused);
    write_count(writer, "events_received", seen->server.events_received);
    write_count(writer, "events_rejected", seen->server.events_rejected);
    json_end_object(writer);
    json_key(writer, "memory_bytes");
    json_uint(writer, seen->resident_bytes);
    json_key(writer, "disk");
    json_begin_object(writer);
    write_count(writer, "free_bytes", seen->disk_free_bytes);
    write_count(writer, "total_bytes", seen->disk_total_bytes);
    json_end_object(writer);
}

void handle_status(struct call *call)
{
    const struct observation seen = observe(call);
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "status");
    json_text(&writer, !seen.is_healthy ? "failed" : seen.can_write ? "ok" : "read_only");
    json_key(&writer, "version");
    json_text(&writer, ASSAY_VERSION);
    json_key(&writer, "format_version");
    json_uint(&writer, FORMAT_VERSION);
    write_start(&writer, call);
    json_key(&writer, "uptime_seconds");
    json_int(&writer, (int64_t)seen.uptime_seconds);
    write_positions(&writer, &seen);
    write_counts(&writer, &seen);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}
