/* SPDX-License-Identifier: BSD-2-Clause
 *
 * memo.h - what the policy knows, kept in the pool over a clean close.
 */
#ifndef CM_MEMO_H
#define CM_MEMO_H

#include "media/media.h"
#include "policy/policy.h"

struct cm_memo {
    const struct cm_media *media;
    struct cm_policy_state *policy;
    uint64_t generation; /* atomic; the oldest that counts; 0: no page counts */
    uint64_t pages;      /* that may be loaded */
    uint32_t done;       /* atomic; no page needs to be loaded any more */
    uint64_t *reached;   /* atomic; a bit for each page: its content was joined, if it counts */
    struct cm_memo_page *page; /* that is being loaded */
    uint32_t loading;          /* atomic; 1: a thread owns `page` */
};

/* Bytes of DRAM for `reached`. */
uint64_t cm_memo_bytes(const struct cm_geometry *g);
/* Can a page be read? A hole of a sparse file that a full volume cannot fill counts as empty. */
bool cm_memo_readable(const struct cm_media *m, uint64_t number);
/* Copies page `number` of what a closed pool kept: `kept` as its superblock says. false: the page
 * does not count. */
bool cm_memo_read(const struct cm_media *m, const struct cm_super_memo *kept, uint64_t number,
                  struct cm_memo_page *p);
/* Writes the body of *p as page `number`; sets its other fields. Durable after a fence. CM_EIO. */
int cm_memo_store(const struct cm_media *m, uint64_t generation, uint64_t number,
                  struct cm_memo_page *p);
/* Called after the policy was set up. `kept`: what the last session left; NULL: that session was
 * not closed cleanly. Reads no page. */
void cm_memo_begin(struct cm_memo *o, const struct cm_media *m, struct cm_policy_state *policy,
                   const struct cm_super_memo *kept);
/* Loads all that counts. The pages need not be there any more after that: the next ones may be
 * elsewhere (grow.c). */
void cm_memo_load_all(struct cm_memo *o);
/* Writes what the policy knows, as `generation`, and fences it. The caller must then write *kept to
 * the superblock. No other thread uses memo or policy meanwhile. CM_EIO: nothing is kept. */
int cm_memo_write(struct cm_memo *o, uint64_t generation, struct cm_super_memo *kept);

#endif
