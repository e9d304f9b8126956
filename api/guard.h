/* guard.h: guardrails that act: about every second the guardrail metrics of running experiments are judged by the sequential test, whose
 * promise holds however often it is looked at. On a breach the experiment's guardrail_action is taken, by an ordinary new version whose
 * author is assay itself, and the webhook is told. docs/guardrails.md.
 *
 * Threads      One of its own, between guard_start() and guard_stop().
 */
#ifndef ASSAY_API_GUARD_H
#define ASSAY_API_GUARD_H

#include "engine/engine.h"

struct guard;

struct guard_options {
    struct engine *engine;
    const char *webhook_url; /* NULL: nobody is told */
    struct bytes webhook_secret;
};

MUST_USE enum status guard_start(const struct guard_options *options, struct guard **out_guard);
void guard_stop(struct guard *guard); /* NULL is fine */

#endif
