/* log_copy.h: a data directory made of another one's log, whole or up to a cut: what backup and restore have in common.
 *
 * The log only grows, and a block is whole or it is not there: so the segments that are there when the copy begins, the last
 * one up to its last whole block, are the log as it was at one moment, also while a server goes on writing. A cut within a
 * block makes a shorter one of it; lsns and everything before stay as they are.
 *
 * The copy is made under the target's name with ".partial", read back as a server would, and only then gets its name. Where
 * anything fails, nothing is left.
 */
#ifndef ASSAY_TOOLS_LOG_COPY_H
#define ASSAY_TOOLS_LOG_COPY_H

#include "engine/base.h"

struct log_copy {
    const char *source; /* a data directory; a server may be using it where `is_shared` */
    const char *target; /* must not exist, or be empty */
    bool is_shared;
    uint64_t end_lsn;   /* records below it; 0: all */
    int64_t end_us;     /* records before the first one received after it; INT64_MAX: all */
    /* Afterwards. */
    uint64_t copied_end_lsn; /* first lsn that is not in the copy */
    uint64_t copied_records;
};

/* STATUS_DAMAGED names file and offset; STATUS_NOT_FOUND where the log does not reach to end_lsn, or begins after the cut. */
MUST_USE enum status log_copy_make(struct log_copy *copy, struct error *error);

#endif
