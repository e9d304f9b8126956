/* head.h: a request's head, read again for what libh2o accepts and a proxy may read otherwise. */
#ifndef ASSAY_API_HEAD_H
#define ASSAY_API_HEAD_H

#include "engine/base.h"

/* What is wrong with the framing of this raw head, NULL where nothing is; and the head's size. libh2o has made the names lower case
 * in place, and hides the framing headers from its list. */
const char *head_fault(const char *text, size_t size, size_t *out_head_size);

#endif
