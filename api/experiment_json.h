/* experiment_json.h: an experiment as clients see it. */
#ifndef ASSAY_API_EXPERIMENT_JSON_H
#define ASSAY_API_EXPERIMENT_JSON_H

#include "api/json.h"
#include "engine/definitions.h"

void experiment_write(struct json_writer *writer, const struct experiment *experiment);

#endif
