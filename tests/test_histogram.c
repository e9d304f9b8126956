/* test_histogram.c: the bench's percentiles are right to three digits, and parts merge to the whole. */
#include "bench/histogram.c"

#include <criterion/criterion.h>

/* The next of a fixed sequence of numbers that look random. */
static uint64_t next_number(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Spread over the decades: from 1 ns to about 2^40 ns. */
static uint64_t next_latency(uint64_t *state)
{
    const uint64_t number = next_number(state);
    return (number >> 24) >> (number % 40);
}

static int compare_values(const void *a, const void *b)
{
    uint64_t left;
    uint64_t right;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    return (left > right) - (left < right);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

Test(histogram, empty_answers_zero)
{
    struct histogram histogram;
    cr_assert_eq(histogram_init(&histogram), STATUS_OK);
    cr_assert_eq(histogram_percentile(&histogram, 99.9), 0);
    cr_assert_eq(histogram_mean(&histogram), 0.0);
    histogram_deinit(&histogram);
}

/* Goal: no value is reported lower than it was, nor more than 0.1 % higher.
 * Method: one record at a time, around every power of two, where the slot width changes. */
Test(histogram, keeps_three_digits_at_every_size)
{
    struct histogram histogram;
    cr_assert_eq(histogram_init(&histogram), STATUS_OK);
    for (unsigned bit = 0; bit < VALUE_BITS; bit++) {
        const uint64_t power = UINT64_C(1) << bit;
        const uint64_t values[] = {power - 1, power, power + 1, power + power / 3,
                                   power + power / 2};
        for (size_t i = 0; i < COUNT_OF(values); i++) {
            const uint64_t value = values[i];
            histogram_reset(&histogram);
            histogram_record(&histogram, value);
            histogram_record(&histogram,
                             UINT64_C(1)
                                 << VALUE_BITS); /* or max would cut the answer to the value */
            const uint64_t answer = histogram_percentile(&histogram, 50.0);
            cr_assert_geq(answer, value);
            cr_assert_leq((answer - value) * 1000, value, "%lu became %lu", (unsigned long)value,
                          (unsigned long)answer);
        }
    }
    histogram_deinit(&histogram);
}

/* Goal: percentiles of a wide spread of values agree with those of the sorted values. */
Test(histogram, percentiles_agree_with_sorting)
{
    enum { COUNT = 100000 };

    uint64_t *values = calloc(COUNT, sizeof(values[0]));
    struct histogram histogram;
    cr_assert_not_null(values);
    cr_assert_eq(histogram_init(&histogram), STATUS_OK);
    uint64_t state = 7;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = next_latency(&state);
        histogram_record(&histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare_values);
    /* With 100,000 records each of these percentiles falls on a whole rank. */
    static const double percents[] = {0.001, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0};
    for (size_t i = 0; i < COUNT_OF(percents); i++) {
        const size_t rank = (size_t)(percents[i] * 1000.0 + 0.5);
        const uint64_t exact = values[rank - 1];
        const uint64_t answer = histogram_percentile(&histogram, percents[i]);
        cr_assert_leq(distance(answer, exact) * 1000, exact, "p%g: %lu for %lu", percents[i],
                      (unsigned long)answer, (unsigned long)exact);
    }
    cr_assert_eq(histogram_percentile(&histogram, 100.0), values[COUNT - 1]);
    cr_assert_eq(histogram.min, values[0]);
    histogram_deinit(&histogram);
    free(values);
}

Test(histogram, rank_is_not_pushed_up_by_rounding)
{
    struct histogram histogram;
    cr_assert_eq(histogram_init(&histogram), STATUS_OK);
    for (uint64_t value = 1; value <= 1000; value++) {
        histogram_record(&histogram, value);
    }
    cr_assert_eq(histogram_percentile(&histogram, 0.0), 1);
    cr_assert_eq(histogram_percentile(&histogram, 50.0), 500);
    cr_assert_eq(histogram_percentile(&histogram, 99.9), 999);
    cr_assert_eq(histogram_percentile(&histogram, 100.0), 1000);
    cr_assert_eq(histogram_mean(&histogram), 500.5);
    histogram_deinit(&histogram);
}

/* Goal: the merge of parts equals the whole, in every slot, whichever part comes first; empty parts change nothing. */
Test(histogram, parts_merge_to_the_whole)
{
    struct histogram whole;
    struct histogram parts[3];
    struct histogram merged;
    cr_assert_eq(histogram_init(&whole), STATUS_OK);
    cr_assert_eq(histogram_init(&merged), STATUS_OK);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        cr_assert_eq(histogram_init(&parts[i]), STATUS_OK);
    }
    uint64_t state = 11;
    for (size_t i = 0; i < 20000; i++) {
        const uint64_t value = next_latency(&state);
        histogram_record(&whole, value);
        histogram_record(&parts[i % 2], value); /* the third stays empty */
    }
    histogram_merge(&merged, &parts[2]);
    histogram_merge(&merged, &parts[1]);
    histogram_merge(&merged, &parts[0]);
    cr_assert_arr_eq(merged.counts, whole.counts, HISTOGRAM_SLOTS * sizeof(whole.counts[0]));
    cr_assert_eq(merged.count, whole.count);
    cr_assert_eq(merged.min, whole.min);
    cr_assert_eq(merged.max, whole.max);
    cr_assert(merged.sum == whole.sum);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        histogram_deinit(&parts[i]);
    }
    histogram_deinit(&merged);
    histogram_deinit(&whole);
}

Test(histogram, beyond_the_range_max_stays_exact)
{
    struct histogram histogram;
    cr_assert_eq(histogram_init(&histogram), STATUS_OK);
    histogram_record(&histogram, 5);
    histogram_record(&histogram, UINT64_MAX);
    cr_assert_eq(histogram.max, UINT64_MAX);
    cr_assert_eq(histogram_percentile(&histogram, 100.0), UINT64_MAX);
    cr_assert_eq(histogram_percentile(&histogram, 50.0), 5);
    histogram_deinit(&histogram);
}
