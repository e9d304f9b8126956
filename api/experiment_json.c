/* experiment_json.c: see experiment_json.h. */
#include "api/experiment_json.h"

#include "api/handler.h"

static void write_encoded(struct json_writer *writer, struct bytes encoded)
{
    /* What is stored was checked on its way in; what JSON cannot say (a key that is no text) is left out. */
    if (encoded.size == 0 || !json_pack(writer, encoded)) {
        json_null(writer);
    }
}

static void write_optional_time(struct json_writer *writer, const char *key, int64_t us)
{
    json_key(writer, key);
    if (us == 0) {
        json_null(writer);
    } else {
        json_time(writer, us);
    }
}

static void write_variants(struct json_writer *writer, const struct experiment *experiment)
{
    json_begin_array(writer);
    for (uint32_t i = 0; i < experiment->variant_count; i++) {
        const struct variant *variant = &experiment->variants[i];
        json_begin_object(writer);
        json_key(writer, "id");
        json_uuid(writer, &variant->id);
        json_key(writer, "name");
        json_text_bytes(writer, variant->name);
        json_key(writer, "weight");
        json_double(writer, variant->weight);
        json_key(writer, "is_control");
        json_bool(writer, variant->is_control);
        json_key(writer, "value");
        write_encoded(writer, variant->value);
        json_end_object(writer);
    }
    json_end_array(writer);
}

static void write_metric_names(struct json_writer *writer, const struct experiment *experiment)
{
    json_begin_array(writer);
    for (uint32_t i = 0; i < experiment->metric_count; i++) {
        json_text_bytes(writer, experiment->metrics[i]);
    }
    json_end_array(writer);
}

static void write_holdout(struct json_writer *writer, const struct experiment *experiment)
{
    if (experiment->holdout.size == 0) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    json_key(writer, "name");
    json_text_bytes(writer, experiment->holdout);
    json_key(writer, "share");
    json_double(writer, experiment->holdout_share);
    json_end_object(writer);
}

static void write_ramp(struct json_writer *writer, const struct experiment *experiment)
{
    json_key(writer, "ramp");
    json_begin_array(writer);
    for (uint32_t i = 0; i < experiment->ramp_count; i++) {
        json_begin_object(writer);
        write_optional_time(writer, "at", experiment->ramp[i].at_us);
        json_key(writer, "traffic_allocation");
        json_double(writer, experiment->ramp[i].traffic_allocation);
        json_end_object(writer);
    }
    json_end_array(writer);
}

const char *experiment_effective_status(const struct experiment *experiment, int64_t now_us)
{
    if (experiment->status != EXPERIMENT_RUNNING) {
        return experiment_status_name(experiment->status);
    }
    const bool is_over = experiment->end_at_us != 0 && now_us >= experiment->end_at_us;
    return now_us < experiment->start_at_us ? "scheduled" : is_over ? "ended" : "running";
}

static void write_guardrail(struct json_writer *writer, const struct experiment *experiment)
{
    json_key(writer, "guardrail_action");
    json_text(writer, guardrail_action_name(experiment->guardrail_action));
    json_key(writer, "guardrail_breach");
    if (experiment->breached_at_us == 0) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    json_key(writer, "metric");
    json_text_bytes(writer, experiment->breached_metric);
    json_key(writer, "variant");
    json_text_bytes(writer, experiment->breached_variant);
    write_optional_time(writer, "at", experiment->breached_at_us);
    json_end_object(writer);
}

static void write_effective(struct json_writer *writer, const struct experiment *experiment, int64_t now_us)
{
    json_key(writer, "effective_status");
    json_text(writer, experiment_effective_status(experiment, now_us));
    json_key(writer, "effective_traffic_allocation");
    json_double(writer, experiment_allocation_at(experiment, now_us));
}

void experiment_write(struct json_writer *writer, const struct experiment *experiment, int64_t now_us)
{
    json_begin_object(writer);
    json_key(writer, "id");
    json_uuid(writer, &experiment->id);
    json_key(writer, "key");
    json_text_bytes(writer, experiment->key);
    json_key(writer, "name");
    json_text_bytes(writer, experiment->name);
    json_key(writer, "description");
    json_text_bytes(writer, experiment->description);
    json_key(writer, "version");
    json_uint(writer, experiment->version);
    json_key(writer, "status");
    json_text(writer, experiment_status_name(experiment->status));
    json_key(writer, "variants");
    write_variants(writer, experiment);
    json_key(writer, "targeting");
    write_encoded(writer, experiment->targeting.document);
    json_key(writer, "traffic_allocation");
    json_double(writer, experiment->traffic_allocation);
    write_ramp(writer, experiment);
    json_key(writer, "layer");
    handler_write_optional_text(writer, experiment->layer);
    json_key(writer, "holdout");
    write_holdout(writer, experiment);
    json_key(writer, "generation");
    json_uint(writer, experiment->generation);
    json_key(writer, "metrics");
    write_metric_names(writer, experiment);
    write_guardrail(writer, experiment);
    write_optional_time(writer, "start_at", experiment->start_at_us);
    write_optional_time(writer, "end_at", experiment->end_at_us);
    write_optional_time(writer, "started_at", experiment->started_at_us);
    write_optional_time(writer, "ended_at", experiment->ended_at_us);
    write_optional_time(writer, "randomized_at", experiment->randomized_at_us);
    write_optional_time(writer, "created_at", experiment->created_at_us);
    write_optional_time(writer, "updated_at", experiment->updated_at_us);
    write_effective(writer, experiment, now_us);
    json_end_object(writer);
}
