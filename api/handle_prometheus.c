/* handle_prometheus.c: GET /metrics, in Prometheus's text format, version 0.0.4. */
#include <stdio.h>

#include "api/observation.h"
#include "api/routes.h"
#include "api/trace.h"

#define PAGE_SIZE (128u * 1024) /* all histograms with all their series are about half of it */

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
        {"assay_disk_full", "gauge", "1 while writes are refused because the disk is full.", seen->disk_full},
        {"assay_ready", "gauge", "1 while writes can be acknowledged.", seen->can_write},
        {"assay_log_durable_lsn", "gauge", "First log position not yet durable.", (double)engine->durable_lsn},
        {"assay_log_applied_lsn", "gauge", "First log position not yet applied.", (double)engine->applied_lsn},
        {"assay_log_checkpoint_lsn", "gauge", "First log position not in the checkpoint.",
         (double)engine->checkpoint_lsn},
        {"assay_log_apply_lag_records", "gauge", "Records durable and not yet applied.",
         engine->durable_lsn > engine->applied_lsn ? (double)(engine->durable_lsn - engine->applied_lsn) : 0.0},
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
        {"assay_trace_dropped_total", "counter", "Traces of requests for which stderr had no room.",
         (double)trace_dropped()},
        {"assay_uptime_seconds", "gauge", "Time since the start.", seen->uptime_seconds},
        {"assay_disk_free_bytes", "gauge", "Free space of the data directory's disk.", (double)seen->disk_free_bytes},
        {"assay_disk_total_bytes", "gauge", "Size of the data directory's disk.", (double)seen->disk_total_bytes},
        {"process_resident_memory_bytes", "gauge", "Resident memory.", (double)seen->resident_bytes},
        {"process_open_fds", "gauge", "Open files.", (double)seen->open_files},
        {"process_max_fds", "gauge", "The most files that may be open.", (double)seen->files_most},
        {"process_start_time_seconds", "gauge", "When it started, in seconds since 1970.", seen->started_at_seconds},
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

/* Histograms. */

/* One series: labels is empty or 'name="value",...', the tally's unit in the metric's. */
static void page_add_histogram(struct page *page, const char *name, const char *labels, const struct tally_view *tally,
                               double unit, double sum_unit)
{
    const char *comma = labels[0] != '\0' ? "," : "";
    uint64_t count = 0;
    for (size_t i = 0; i < TALLY_BOUNDS; i++) {
        count += tally->counts[i];
        page_add(page, "%s_bucket{%s%sle=\"%.10g\"} %llu\n", name, labels, comma, (double)tally_bound(i) * unit,
                 (unsigned long long)count);
    }
    const char *open = labels[0] != '\0' ? "{" : "";
    const char *close = labels[0] != '\0' ? "}" : "";
    count = tally_count(tally);
    page_add(page, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, (unsigned long long)count);
    page_add(page, "%s_sum%s%s%s %.17g\n%s_count%s%s%s %llu\n", name, open, labels, close,
             (double)tally->sum * sum_unit, name, open, labels, close, (unsigned long long)count);
}

static void page_add_head(struct page *page, const char *name, const char *help)
{
    page_add(page, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
}

static void page_add_log_histograms(struct page *page, const struct engine_counters *engine)
{
    const double unit = TALLY_UNIT_US / 1e6;
    page_add_head(page, "assay_log_flush_duration_seconds", "How long a block's write and flush took.");
    page_add_histogram(page, "assay_log_flush_duration_seconds", "", &engine->flush_us, unit, 1e-6);
    page_add_head(page, "assay_log_block_records", "Records that shared one write and flush.");
    page_add_histogram(page, "assay_log_block_records", "", &engine->block_records, 1.0, 1.0);
    page_add_head(page, "assay_log_apply_delay_seconds", "From a block's being durable to its being applied.");
    page_add_histogram(page, "assay_log_apply_delay_seconds", "", &engine->apply_us, unit, 1e-6);
}

/* A series that has seen nothing is left out, but for successes, so that a rate has its zero. */
static void page_add_traffic(struct page *page, const struct traffic_view *traffic)
{
    static const char name[] = "assay_http_request_duration_seconds";
    page_add_head(page, name, "From a request's last byte to its reply, by the scope that it needs.");
    for (size_t i = 0; i < TRAFFIC_CLASSES; i++) {
        for (size_t j = 0; j < TRAFFIC_STATUSES; j++) {
            const struct tally_view *tally = &traffic->duration_us[i][j];
            char labels[64];
            (void)snprintf(labels, sizeof(labels), "scope=\"%s\",status=\"%zuxx\"", traffic_class_name(i), j + 2);
            if (j == 0 || tally_count(tally) > 0) {
                page_add_histogram(page, name, labels, tally, TALLY_UNIT_US / 1e6, 1e-6);
            }
        }
    }
    page_add(page, "# HELP assay_http_refusals_total Answers that say not now or not you, by status.\n"
                   "# TYPE assay_http_refusals_total counter\n");
    for (size_t i = 0; i < TRAFFIC_REFUSALS; i++) {
        page_add(page, "assay_http_refusals_total{status=\"%d\"} %llu\n", traffic_refusal_status(i),
                 (unsigned long long)traffic->refusals[i]);
    }
}

void handle_prometheus(struct call *call)
{
    struct page page = {.capacity = PAGE_SIZE};
    page.text = arena_take(&call->arena, page.capacity);
    struct observation *seen = arena_take(&call->arena, sizeof(*seen));
    if (page.text == NULL || seen == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    observe(call, seen);
    page_add_engine(&page, seen);
    page_add_log_histograms(&page, &seen->engine);
    page_add_process(&page, seen);
    page_add_traffic(&page, &seen->server.traffic);
    call_reply_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", bytes_of(page.text, page.size));
}
