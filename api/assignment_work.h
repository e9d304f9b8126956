/* assignment_work.h: the assignments that one request asks for: looked up, decided, written where they are new, answered.
 *
 * A work is a list of entries (experiment, user), answered in order. An entry whose assignment is stored is answered from
 * memory. The others are decided by assign_user(), written as one frame, and answered from what is stored once that is
 * applied: where two requests raced, both get the first one's answer.
 *
 * Whoever asks fills the entries (entry.h) and `reply`, which then finds in each entry either `stored` or a `reason`; an
 * override has a reason and yet a variant.
 * Functions that return NULL have replied.
 */
#ifndef ASSAY_API_ASSIGNMENT_WORK_H
#define ASSAY_API_ASSIGNMENT_WORK_H

#include "api/entry.h"

struct assignment_work {
    struct entry *entries;
    uint32_t count;
    void (*reply)(struct call *call, const struct assignment_work *work);
    const void *context; /* for reply() */
    /* Its own: what is being written. */
    uint32_t records;
    uint32_t attempts;
    uint8_t *outcomes;
};

/* With `count` empty entries. */
struct assignment_work *assignment_work_make(struct call *call, uint32_t count);
/* With one entry, which is `asked`, for each experiment that runs, or shows the user something by an override. */
struct assignment_work *assignment_work_everywhere(struct call *call, const struct entry *asked);
/* Ends with work->reply(), now or later, or with the reply that fits a failure. */
void assignment_work_run(struct call *call, struct assignment_work *work);

/* The definition of an answered entry's variant: of a newer catalog than the call's where it was added meanwhile, so
 * nothing that was borrowed from call->catalog outlives this. NULL where there is none. */
const struct variant *assignment_variant(struct call *call, const struct entry *entry);

#endif
