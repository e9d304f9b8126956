/* survey.h: looks at a disk as a starting process does, and says what it found.
 */
#ifndef ASSAY_TORTURE_SURVEY_H
#define ASSAY_TORTURE_SURVEY_H

#include "tests/torture/workload.h"

struct survey {
    const struct snapshot *snapshot; /* the checkpoint; NULL: none */
    struct event_log_recovery recovery;
    enum status status; /* of event_log_open() */
    struct error error;
    uint64_t chain;  /* of the records up to the lsn asked for (model.h) */
    uint64_t last;   /* hash of the last record; 0: there is none */
    uint64_t blocks; /* digest of where blocks begin */
};

/* Recovers. The log is the caller's to close where this returns STATUS_OK. */
enum status survey_open(struct io *io, const struct io_sim *disk, struct survey *survey,
                        struct event_log **out_log);
/* Reads everything from the start. The chain is that of the records below `chain_lsn`. */
bool survey_scan(struct io *io, uint64_t chain_lsn, struct survey *survey, struct trouble *trouble);
/* What was cut must lie in quarantine/. */
bool survey_quarantine(struct io *io, const struct survey *survey, struct trouble *trouble);
/* Replays the log, from nothing and from the checkpoint, and compares both with each other and with the model. */
bool survey_fold(struct io *io, const struct survey *survey, const struct model *model,
                 struct trouble *trouble);
/* Appends one record and waits. *out_last: its hash. */
bool survey_append(struct event_log *log, uint64_t lsn, uint64_t *out_last,
                   struct trouble *trouble);

#endif
