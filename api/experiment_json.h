/* experiment_json.h: an experiment as clients see it. */
#ifndef ASSAY_API_EXPERIMENT_JSON_H
#define ASSAY_API_EXPERIMENT_JSON_H

#include "api/json.h"
#include "engine/definitions.h"

/* now_us: for what the schedule and the ramp make of it. */
void experiment_write(struct json_writer *writer, const struct experiment *experiment, int64_t now_us);
/* "running" and so on; of what is running by its status alone, "scheduled" before its start and "ended" after its end. */
const char *experiment_effective_status(const struct experiment *experiment, int64_t now_us);

#endif
