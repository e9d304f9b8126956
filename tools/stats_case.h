/* stats_case.h: one case of assay stats: a question in summary numbers, and its answer. Formats: docs/statistics.md.
 */
#ifndef ASSAY_TOOLS_STATS_CASE_H
#define ASSAY_TOOLS_STATS_CASE_H

#include "api/json.h"
#include "engine/arena.h"

/* What is wrong with a case. */
struct stats_fault {
    char path[64]; /* of the field, such as "variants[1].sum"; empty: the case as a whole */
    char message[192];
};

/* Writes the answer as one object. False where the case cannot be answered: then out_fault says why, and the writer holds
 * something that is to be thrown away. Memory comes from the arena. */
bool stats_case_answer(struct bytes document, struct arena *arena, struct json_writer *writer, struct stats_fault *out_fault);

#endif
