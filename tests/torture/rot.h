/* rot.h: bytes that are not what was written.
 *
 * A small log of several segments, closed; then, one at a time: every byte flipped (one bit, and all of them), every page
 * replaced by every other of this log, of an older copy of it and of a fork of it, files cut short at every sector,
 * emptied, removed, swapped, replaced by their older copies, and put there twice. With a checkpoint that includes the
 * whole log the answer is either a refusal that names the file, or exactly the records that were there. Without one, the
 * very last block may be cut as torn: nobody knows of it.
 */
#ifndef ASSAY_TORTURE_ROT_H
#define ASSAY_TORTURE_ROT_H

#include "tests/torture/workload.h"

struct rot_counts {
    uint64_t bytes;    /* flipped */
    uint64_t pages;    /* replaced */
    uint64_t files;    /* harmed as a whole */
    uint64_t refused;  /* and named */
    uint64_t harmless; /* the same records */
    uint64_t cut;      /* the last block, without a witness */
    uint64_t losses;
};

/* `every`: of the bytes, this one in so many (1: all). False on the first finding. */
bool rot_run(uint64_t seed, uint32_t every, struct rot_counts *counts, struct trouble *trouble);

#endif
