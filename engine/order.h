/* order.h: which of two values is the greater: numbers as the decimals they stand for, texts as versions. Pure; any
 * thread; no allocation.
 *
 * Decimals     Numbers compare digit by digit, never as doubles: 5 equals 5.0, 0.1 equals 0.1 whatever carried it, and
 *              9007199254740993 is above 9007199254740992. A double that is whole and below 2^64 is that whole number;
 *              any other stands for the shortest decimal that reads back as the same double.
 * Versions     Semantic versioning 2.0.0, pre-releases included; a missing minor or patch counts as 0, a leading "v" is
 *              passed over, leading zeros do not count, and numbers may have any length.
 */
#ifndef ASSAY_ENGINE_ORDER_H
#define ASSAY_ENGINE_ORDER_H

#include "engine/base.h"
#include "engine/pack.h"

/* An integer, a double (NaN and infinities too) or a count of millionths. */
bool decimal_is_number(const struct pack_value *value);
/* -1, 0, 1. A text counts as the number that it spells, in JSON's grammar (of its exponent at most nine digits). False
 * where either is no number: other types, other texts, NaN, infinities. */
bool decimal_compare(const struct pack_value *a, const struct pack_value *b, int *out_order);

/* -1, 0, 1. False where either is no version. */
bool semver_compare(struct bytes a, struct bytes b, int *out_order);

#endif
