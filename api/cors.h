/* cors.h: which web pages may call, by the Fetch standard's rules (CORS).
 *
 * A browser lets a page read the answers of another origin only where that one names the page's origin. Origins are given
 * one by one by whoever runs the server; there is no "any": a token in a page is for the pages of its own. None given: no
 * header of this is ever sent. Tokens decide what a call may do, whatever its origin.
 */
#ifndef ASSAY_API_CORS_H
#define ASSAY_API_CORS_H

#include "engine/base.h"

#define CORS_ORIGINS_MAX 64u

struct call;
struct call_input;

struct cors {
    const char *const *origins; /* "https://shop.example" */
    uint32_t origin_count;
};

/* Is it scheme://host or scheme://host:port, in lower case and nothing more, as browsers send it? */
bool cors_origin_is_valid(const char *origin);

/* Adds the headers that go with every answer to this origin. True for a preflight, the browser's own question whether the
 * page may call, which the headers answer: reply with 204 and nothing else. */
bool cors_begin(struct call *call, const struct call_input *input);

#endif
