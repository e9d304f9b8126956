/* handle_admin.c: how the server is doing: for load balancers and people. For Prometheus: handle_prometheus.c. */
#include "api/observation.h"
#include "api/routes.h"

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

/* GET /status: for a person or a script. */

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
    struct observation seen;
    observe(call, &seen);
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
