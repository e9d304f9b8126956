/* definitions.h: the records of definitions, made once by the engine's own encoders and kept.
 */
#ifndef ASSAY_TORTURE_DEFINITIONS_H
#define ASSAY_TORTURE_DEFINITIONS_H

#include "tests/torture/model.h"

/* A whole record each; borrowed until definitions_free(). */
struct bytes definition_of_metric(int metric, const struct model_metric *definition,
                                  uint32_t version);
struct bytes definition_of_experiment(int experiment, uint32_t version);
void definitions_free(void);

#endif
