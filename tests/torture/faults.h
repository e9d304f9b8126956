/* faults.h: the n-th operation of the disk fails, for every n.
 *
 * Writing      A workload runs on a good start; then operation n fails, once or from then on, with an error or for want
 *              of room. What was acknowledged is there after any power cut that follows; a log that failed stays failed
 *              and says so; a log that found no room goes on when there is some.
 * Recovering   A disk with a torn tail is opened while operation n fails. Whatever comes of it, the next start on the
 *              same disk, after a power cut or without, finds what was acknowledged.
 */
#ifndef ASSAY_TORTURE_FAULTS_H
#define ASSAY_TORTURE_FAULTS_H

#include "tests/torture/explorer.h"

struct fault_counts {
    uint64_t runs;
    uint64_t struck;      /* operations that failed */
    uint64_t poisoned;    /* runs */
    uint64_t refused;     /* frames, for want of room */
    uint64_t images;      /* looked at afterwards */
    uint64_t resurrected; /* images with frames that had been refused for want of room */
    uint64_t losses;
};

/* `cache`: a failed write stays readable in the page cache for the next process of the same boot, as where a filesystem
 * cannot do direct I/O. Without it such a process reads what the device has, as with direct I/O; a process after a power
 * cut always does. `strict`: a frame that was refused for want of room must never be found in the log. Both
 * are more than the engine keeps today: docs/torture.md. False on the first finding: see trouble, whose text ends with
 * what to repeat. */
bool faults_run(uint64_t seed, bool cache, bool strict, struct fault_counts *counts,
                struct trouble *trouble);

#endif
