/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy.c - the table of policies, and what they decide about fills.
 *
 * Owns: the table of policies. ring.c and ghost.c keep what S3R remembers of blocks. simulation.c
 * and rule_choice.c measure for AUTO. docs/policy.md says what each policy is good for.
 *
 * Who: api/, protocol/, state/.
 */
#include "policy/policy.h"

static const struct cm_policy_kind kinds[] = {
    [CM_POLICY_AUTO] = { .name = "auto", .automatic = true, .buffer = true },
    [CM_POLICY_S3R] = { .name = "s3r",
                        .buffer = true,
                        .rule = { { .probation = 100, .earn = 2 },
                                  { .probation = 0, .earn = 2, .remembered = true } } },
    /* "Generalized CLOCK", Smith 1978, "Sequentiality and prefetching in database systems". */
    [CM_POLICY_GCLOCK] = { .name = "gclock", .rule = { { .probation = 0, .earn = 1 } } },
};

const struct cm_policy_kind *cm_policy_kind_of(uint32_t number)
{
    return number < sizeof(kinds) / sizeof(kinds[0]) ? &kinds[number] : NULL;
}

const char *cm_policy_name(int policy)
{
    const struct cm_policy_kind *kind = policy < 0 ? NULL : cm_policy_kind_of((uint32_t)policy);
    return kind ? kind->name : NULL;
}

void cm_policy_set_rule(struct cm_policy_state *p, const struct cm_rule *rule)
{
    cm_ring_rule(&p->ring, at_load_relaxed(&p->ring.slots) * rule->probation / 1000, rule->earn,
                 rule->remembered);
}

/* ---- Fill ------------------------------------------------------------------------------------ */

enum cm_start cm_policy_leaves_buffer(struct cm_policy_state *p, unsigned count, bool unread)
{
    if (!unread && count >= at_load_relaxed(&p->ring.earn))
        return CM_START_MEMBER;
    /* The caller knows for how many blocks there are empty slots. So here they do not count. */
    if (at_load_relaxed(&p->ring.remembered) && cm_ring_unused(&p->ring) == 0)
        return CM_START_NOT;
    if (cm_ring_unused(&p->ring) > 0)
        return CM_START_KNOWN;
    return unread ? CM_START_AHEAD : CM_START_ASK;
}
