/* layer.c: see layer.h. Layers have few experiments, so slices are looked through one by one. */
#include "engine/layer.h"

#define SLACK 1e-9 /* thirds and tenths add up to 1 only nearly */

bool layer_is_held(const struct experiment *experiment)
{
    return experiment->layer.size != 0 && experiment->status != EXPERIMENT_COMPLETED &&
           experiment->status != EXPERIMENT_ARCHIVED;
}

/* A slice holds the place that a ramp will come to. */
static double length(const struct experiment *experiment)
{
    return experiment_allocation_at(experiment, INT64_MAX);
}

/* The slice of the catalog's i-th experiment, where it could be in the way of `experiment`. */
static const struct experiment *neighbour(const struct catalog *catalog, uint32_t i,
                                          const struct experiment *experiment)
{
    const struct experiment *other = catalog->experiments[i]->current;
    const bool counts = layer_is_held(other) && bytes_equal(other->layer, experiment->layer) &&
                        !uuid_equal(&other->id, &experiment->id);
    return counts ? other : NULL;
}

bool layer_fits(const struct catalog *catalog, const struct experiment *experiment)
{
    if (!layer_is_held(experiment)) {
        return true;
    }
    const double start = experiment->layer_start;
    const double end = start + length(experiment);
    if (end > 1 + SLACK) {
        return false;
    }
    for (uint32_t i = 0; i < catalog->experiment_count; i++) {
        const struct experiment *other = neighbour(catalog, i, experiment);
        if (other != NULL && start + SLACK < other->layer_start + length(other) &&
            other->layer_start + SLACK < end) {
            return false;
        }
    }
    return true;
}

/* Where the gap that begins at `start` ends: at the next slice, or at 1. */
static double gap_end(const struct catalog *catalog, const struct experiment *experiment, double start)
{
    double end = 1;
    for (uint32_t i = 0; i < catalog->experiment_count; i++) {
        const struct experiment *other = neighbour(catalog, i, experiment);
        if (other == NULL || length(other) <= 0) {
            continue;
        }
        const double other_end = other->layer_start + length(other);
        if (other_end > start + SLACK && other->layer_start < end) {
            end = other->layer_start;
        }
    }
    return end;
}

enum status layer_place(const struct catalog *catalog, const struct experiment *experiment, double *out_start,
                        double *out_largest)
{
    /* A gap begins at 0 or where some slice ends. */
    double best = 2;
    double largest = 0;
    for (uint32_t i = 0; i <= catalog->experiment_count; i++) {
        const struct experiment *before =
            i < catalog->experiment_count ? neighbour(catalog, i, experiment) : NULL;
        if (i < catalog->experiment_count && before == NULL) {
            continue;
        }
        const double start = before != NULL ? before->layer_start + length(before) : 0;
        const double gap = gap_end(catalog, experiment, start) - start;
        largest = gap > largest ? gap : largest;
        if (gap + SLACK >= length(experiment) && start < best) {
            best = start;
        }
    }
    if (best > 1 + SLACK) {
        *out_largest = largest;
        return STATUS_TOO_LARGE;
    }
    *out_start = best < 1 ? best : 1;
    return STATUS_OK;
}
