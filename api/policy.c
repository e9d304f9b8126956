/* policy.c: see policy.h. */
#include "api/policy.h"

#include <openssl/ssl.h>
#include <stdlib.h>

static bool cors_copy(struct policy *policy, const struct cors *wanted)
{
    const char **origins = arena_take(&policy->arena, (wanted->origin_count + 1) * sizeof(*origins));
    bool is_good = origins != NULL;
    for (uint32_t i = 0; i < wanted->origin_count && is_good; i++) {
        origins[i] = arena_copy(&policy->arena, bytes_of_text(wanted->origins[i]));
        is_good = origins[i] != NULL;
    }
    policy->cors = (struct cors){origins, wanted->origin_count};
    return is_good;
}

struct policy *policy_make(const struct policy *wanted)
{
    struct policy *policy = calloc(1, sizeof(*policy));
    if (policy == NULL) {
        return NULL;
    }
    arena_init(&policy->arena, 1024);
    atomic_init(&policy->references, 1);
    if (!cors_copy(policy, &wanted->cors)) {
        policy_unref(policy);
        return NULL;
    }
    if (wanted->tls != NULL && SSL_CTX_up_ref(wanted->tls) == 1) {
        policy->tls = wanted->tls;
    }
    return policy;
}

struct policy *policy_ref(struct policy *policy)
{
    atomic_fetch_add_explicit(&policy->references, 1, memory_order_relaxed);
    return policy;
}

void policy_unref(struct policy *policy)
{
    if (policy == NULL || atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    SSL_CTX_free(policy->tls);
    arena_deinit(&policy->arena);
    free(policy);
}
