/* SPDX-License-Identifier: BSD-2-Clause
 *
 * super_boots.c - boots of the system, as the superblock knows them.
 *
 * Owns: the number of the boot that has the pool (boot_number), since which number the system has
 * not booted (boot_first), which boots had the pool before (boot_before), and in which one an fsync
 * of an origin failed.
 *
 * Why: what was written and not synced is lost when the system boots, and only then. A pool can be
 * used in several boots that go on side by side: containers, or machines that share a disk. So
 * another boot id alone does not say that anything was lost, and a failed fsync stays true for the
 * boot in which it failed.
 *
 * Nothing here writes to the pool.
 *
 * Who: api/, media/, state/.
 */
#include "media/superblock.h"

#include <string.h>

#define BOOT_MASK UINT32_C(0x7fffffff) /* of numbers of boots */

static bool is_zero(const uint8_t id[16])
{
    static const uint8_t zero[16];
    return memcmp(id, zero, 16) == 0;
}

static bool same_boot(const struct cm_super *sb, const struct cm_super_owner *owner)
{
    return !is_zero(owner->boot_id) && memcmp(sb->boot_id, owner->boot_id, 16) == 0;
}

/* Same boot of the system and same mount of the volume. Unknown identities match nothing. */
static bool same_page_cache(const struct cm_super *sb, const struct cm_super_owner *owner)
{
    return same_boot(sb, owner) && !is_zero(owner->mount_id) &&
           memcmp(sb->mount_id, owner->mount_id, 16) == 0;
}

bool cm_super_was_cut(const struct cm_super *sb, const struct cm_super_owner *owner)
{
    return sb->state != CM_SUPER_CLEAN && sb->durability == CM_DURABILITY_CHECKPOINT &&
           !same_page_cache(sb, owner);
}

bool cm_super_must_empty(const struct cm_super *sb, const struct cm_super_owner *owner)
{
    if (sb->state == CM_SUPER_CLEAN || sb->durability == CM_DURABILITY_DAX ||
        (sb->durability == CM_DURABILITY_CHECKPOINT && owner->syncs))
        return false;
    /* The page cache held the truth, so it must be the same page cache. */
    return !same_page_cache(sb, owner);
}

/* Was it the owner's boot in which an fsync failed? */
static bool is_failed_boot(const struct cm_super *sb, const struct cm_super_owner *owner)
{
    return !is_zero(owner->boot_id) &&
           memcmp(sb->failed_boot_id, owner->boot_id, sizeof(sb->failed_boot_id)) == 0;
}

/* What the last boot that had the pool will be known by; 0 if there was none. */
static uint16_t last_boot(const struct cm_super *sb)
{
    return sb->boot_number == 0 ? 0 : cm_format_boot_sum(sb->boot_id);
}

/* May both be sums of one boot? An unknown one may be any; `b` may be 0, none. */
static bool may_be_one(uint16_t a, uint16_t b)
{
    return b != 0 && (a == b || a == CM_BOOT_UNKNOWN || b == CM_BOOT_UNKNOWN);
}

static bool may_be_before(const struct cm_super *sb, uint16_t sum)
{
    return may_be_one(sum, sb->boot_before[0]) || may_be_one(sum, sb->boot_before[1]);
}

/* Had the owner's boot the pool before the last one had it (a container, another machine)? */
static bool came_back(const struct cm_super *sb, const struct cm_super_owner *owner)
{
    return !same_boot(sb, owner) &&
           (may_be_before(sb, cm_format_boot_sum(owner->boot_id)) || is_failed_boot(sb, owner));
}

/* Notes the last boot, which is not the last one any more. The boot that was noted before it stays,
 * if it is neither this one nor the owner's: so two boots that take turns push out no third. */
static void remember_boot(uint16_t before[2], uint16_t last, uint16_t own)
{
    if (before[0] != own)
        before[1] = before[0];
    before[0] = last;
}

/* Only the last boot in which an fsync failed is known. An earlier failure in a boot that came back
 * may be hidden by it, but only if that boot had the pool since. */
static bool may_hide(const struct cm_super *sb)
{
    const uint16_t sum = cm_format_boot_sum(sb->failed_boot_id);
    return sb->failed_boot != 0 && (may_be_one(sum, last_boot(sb)) || may_be_before(sb, sum));
}

/* Gives this boot a new number. An fsync may have failed in this same boot, in three cases:
 * - The boot id says that one failed in this boot, whatever came in between.
 * - One may have failed in the last boot, and the system does not say whether this is the same one.
 * - This boot had the pool before, and a later failure hides whether one failed then.
 * The marks in the records have another number in all cases. */
static void next_boot(struct cm_super *sb, const struct cm_super_owner *owner)
{
    const bool unknown = is_zero(owner->boot_id) || is_zero(sb->boot_id);
    const bool failed = sb->failed_boot != 0 && sb->failed_boot == sb->boot_number;
    const bool again = failed && unknown;
    const bool back = came_back(sb, owner) && may_hide(sb);
    sb->boot_number = (sb->boot_number + 1) & BOOT_MASK;
    if (!again && !back && !is_failed_boot(sb, owner))
        return;
    sb->failed_boot = sb->unnamed_boot = sb->boot_number;
    if (!is_zero(owner->boot_id)) /* so it is known again, whatever comes in between */
        memcpy(sb->failed_boot_id, owner->boot_id, sizeof(sb->failed_boot_id));
}

void cm_super_count_boot(struct cm_super *sb, const struct cm_super_owner *owner)
{
    /* If the system does not say which boot it is, it may be the same one. */
    const bool unknown = is_zero(owner->boot_id) || is_zero(sb->boot_id);
    const bool other = !same_boot(sb, owner), back = came_back(sb, owner);
    const uint16_t last = last_boot(sb);
    if (other || cm_super_was_cut(sb, owner))
        next_boot(sb, owner);
    if (back) /* its writes of then may still not be synced; older records are not kept */
        sb->boot_first = (sb->boot_number - CM_BOOTS) & BOOT_MASK;
    else if (other && !unknown)
        sb->boot_first = sb->boot_number;
    if (other)
        remember_boot(sb->boot_before, last, cm_format_boot_sum(owner->boot_id));
}

static bool is_known(uint16_t sum)
{
    return sum != 0 && sum != CM_BOOT_UNKNOWN;
}

/* Is any of the boots known? Those that nobody knows may all be one. */
static bool is_any_known(const struct cm_super *sb)
{
    return !is_zero(sb->boot_id) || is_known(sb->boot_before[0]) || is_known(sb->boot_before[1]);
}

struct cm_super_failed cm_super_failed_in(const struct cm_super *sb)
{
    struct cm_super_failed f = { .any = sb->failed_boot == sb->boot_number,
                                 .unnamed = sb->unnamed_boot == sb->boot_number };
    /* This boot had the pool before, and others since (cm_super_count_boot). */
    f.all = f.unnamed && is_any_known(sb) && !cm_super_booted(sb, sb->boot_number - (CM_BOOTS - 1));
    return f;
}

struct cm_super_failed cm_super_failed(struct cm_superblocks *s)
{
    cm_lock_acquire(&s->lock);
    const struct cm_super_failed f = cm_super_failed_in(&s->now);
    cm_lock_release(&s->lock);
    return f;
}
