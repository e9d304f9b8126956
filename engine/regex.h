/* regex.h: regular expressions that match in time linear in the text: the C face of RE2 (BSD-3).
 *
 * Syntax       RE2's: Perl's without backreferences and lookaround. Patterns and texts are UTF-8.
 * Bounds       REGEX_MEMORY for the program and its cache; what needs a larger program is refused when it is compiled.
 *              A cache that is full costs time, never the answer.
 * Memory       What a match needs is the regex's own, taken with the first matches and kept. Where memory is out then,
 *              the process ends: a wrong answer would be in results for ever.
 * Threads      A compiled regex is immutable to its callers: any number of them may match.
 */
#ifndef ASSAY_ENGINE_REGEX_H
#define ASSAY_ENGINE_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct regex;

/* NULL where the pattern is refused: out_fault then says why, cut to its size; it is empty where memory is out. */
struct regex *regex_compile(const void *pattern, size_t pattern_size, char *out_fault, size_t fault_size);
/* Does the pattern match anywhere in the text? */
bool regex_matches(const struct regex *regex, const void *text, size_t text_size);
void regex_free(struct regex *regex); /* NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
