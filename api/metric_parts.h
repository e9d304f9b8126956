/* metric_parts.h: the numerator and denominator of a new ratio, where a client describes them in place: each becomes a metric
 * of its own, NAME_numerator and NAME_denominator, and the ratio names them.
 */
#ifndef ASSAY_API_METRIC_PARTS_H
#define ASSAY_API_METRIC_PARTS_H

#include "api/http.h"

#define METRIC_PARTS 2u

struct metric_parts {
    struct bytes documents[METRIC_PARTS]; /* of the metrics to be made; empty where the client gave a name */
    struct bytes document;                /* the client's, with names in the place of descriptions */
    const char *members[METRIC_PARTS];    /* "numerator", "denominator" */
};

/* Takes a client's document apart, in the call's arena. False where a reply was made. A document without descriptions stays as
 * it is. */
bool metric_parts_take(struct call *call, struct bytes document, struct metric_parts *out_parts);

#endif
