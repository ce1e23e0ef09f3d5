/* SPDX-License-Identifier: BSD-2-Clause
 *
 * s3r.h - the policy S3R: a CLOCK ring of physical slots, probation before it, a ghost behind it.
 */
#ifndef S3R_H
#define S3R_H

#include "ghost.h"
#include "policy.h"

/* How blocks earn a place. May be changed at any time. */
struct s3r_rule {
    uint32_t probation; /* in place: slots that may be on probation before they are evicted first */
    uint32_t window;    /* departures back to which the ghost is believed */
    uint8_t earn;       /* reads on probation, beside the first, that earn a place */
    bool
        eager; /* buffer: a block moves to the pool when it has earned it, not when it must leave */
    bool pass; /* buffer: what has not earned a place leaves it for probation in place */
    bool remembered_only; /* in place: only what the ghost remembers gets a slot, when there is no
                             free one */
};

struct s3r_size {
    uint32_t slots;     /* of the pool */
    uint32_t buffer;    /* blocks of DRAM that first-time blocks wait in; 0: probation in place */
    uint32_t window;    /* departures that the ghost remembers */
    uint32_t probation; /* the largest that rule.probation will be */
};

/* Entries are the slots and, behind them, the blocks of the buffer. */
struct s3r {
    struct s3r_size size;
    struct s3r_rule rule;
    struct tally *tally;
    struct ghost ghost;
    /* each entry */
    uint32_t *key;
    uint32_t *next; /* with the same hash; of a free slot: the next free one */
    uint8_t *flag;
    uint32_t *head, mask; /* by hash */
    /* the ring */
    uint32_t hand, frontier; /* slots from the frontier on were never used */
    uint32_t free;           /* slots that were dropped; NONE: there is none */
    /* probation in place: slots in order of arrival, stale where the generation differs */
    uint32_t *line;
    uint16_t *line_generation, *generation;
    uint32_t line_first, line_length, line_max, on_probation;
    /* the buffer: a ring of entries in order of arrival */
    uint32_t *newer, *older; /* by entry - size.slots; the last one is the list's head */
    uint32_t buffer_free;
    uint64_t steps, searches; /* of the hand */
};

bool s3r_init(struct s3r *s, const struct s3r_size *size, const struct s3r_rule *rule,
              struct tally *tally);
void s3r_free(struct s3r *s);
size_t s3r_bytes(const struct s3r_size *size);

/* `again`: among the last few blocks that this reader touched, so it says nothing about reuse. */
enum found s3r_read(struct s3r *s, uint32_t key, bool again);
void s3r_drop(struct s3r *s, uint32_t key);
void s3r_restart(struct s3r *s, enum restart how);

uint64_t s3r_hash(uint32_t key);

#endif
