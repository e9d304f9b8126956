/* layer.h: experiments of one layer never share a user: each takes a slice of the layer's space, [0, 1).
 *
 * A user's point in a layer is a hash of the layer's name and the user id, the same for all experiments of the layer. An
 * experiment's slice is [layer_start, layer_start + its largest allocation): traffic_allocation, or the last of its ramp. It holds it until it is completed or archived.
 * Slices never move: a change of traffic grows or shrinks one at its end. Whoever was assigned in a slice that shrank or
 * was freed keeps their assignment; state.c refuses to enrol them in another running experiment of the layer. Imports
 * (forced assignments) are facts from elsewhere and are taken as they are, layers or not.
 *
 * Pure; any thread.
 */
#ifndef ASSAY_ENGINE_LAYER_H
#define ASSAY_ENGINE_LAYER_H

#include "engine/base.h"
#include "engine/catalog.h"

/* Does the experiment hold a slice now? */
bool layer_is_held(const struct experiment *experiment);
/* Is the experiment's slice inside [0, 1) and free of all others' in the catalog? True where it holds none. */
bool layer_fits(const struct catalog *catalog, const struct experiment *experiment);
/* The place for a new slice of the experiment's size: the first gap that takes it. STATUS_TOO_LARGE where none does;
 * then *out_largest is the largest gap. */
MUST_USE enum status layer_place(const struct catalog *catalog, const struct experiment *experiment, double *out_start,
                                 double *out_largest);

#endif
