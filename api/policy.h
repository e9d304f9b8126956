/* policy.h: what the server may be told while it runs, as one piece: a loop takes the next one between two turns.
 *
 * Life  Made by policy_make() with one reference. Nothing of it changes afterwards.
 */
#ifndef ASSAY_API_POLICY_H
#define ASSAY_API_POLICY_H

#include <stdatomic.h>

#include "api/cors.h"
#include "engine/arena.h"

struct ssl_ctx_st; /* OpenSSL's */

struct policy {
    struct cors cors;
    struct ssl_ctx_st *tls; /* NULL: connections are in the clear. A reference; policy_make() takes one of its own */
    struct arena arena; /* of its texts */
    _Atomic uint32_t references;
};

/* Copies what `wanted` says; its arena and count are not looked at. NULL where memory is out. */
struct policy *policy_make(const struct policy *wanted);
struct policy *policy_ref(struct policy *policy);
void policy_unref(struct policy *policy); /* NULL is fine */

#endif
