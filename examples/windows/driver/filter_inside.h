/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_inside.h - what the files of the filter's core share.
 *
 *   filter_core.c   lives, messages, outside writes, brackets, handles
 *   filter_reads.c  reads and fills
 *   filter_maybe.c  what may be a write
 */
#ifndef CACHEMAX_FILTER_INSIDE_H
#define CACHEMAX_FILTER_INSIDE_H

#include "filter_core.h"

#include "cachemax.h"
#include "cachemax_protocol.h"

static inline void lock(struct fc *fc)
{
    fc->env->lock(fc->env->ctx);
}

static inline void unlock(struct fc *fc)
{
    fc->env->unlock(fc->env->ctx);
}

union body {
    struct cmp_hello hello;
    struct cmp_open open;
    struct cmp_read read;
    struct cmp_range range;
    struct cmp_truncate truncate;
    struct cmp_end end;
    struct cmp_revalidate revalidate;
    struct cmp_forget forget;
};
union answer {
    struct cmp_hello_reply hello;
    struct cmp_open_reply open;
    struct cmp_token_reply token;
};
struct message {
    struct cmp_head head;
    union body body;
};
struct reply {
    struct cmp_head head;
    union answer body;
};

void fc_count(struct fc *fc, enum fc_counter c);
/* The service did not answer in time, or nonsense. */
void fc_give_up(struct fc *fc, uint32_t life);
void fc_head(struct fc *fc, struct cmp_head *h, unsigned command, uint32_t file, uint32_t bytes);
/* Sends what has a reply. FC_GONE: the life is over, or the thread is. Else the bytes of a sound
 * reply to it. */
int fc_ask(struct fc *fc, uint32_t life, const struct cmp_head *h, void *reply, uint32_t room);
/* The file's handle in the present life; 0: the service cannot be used for it. May wait for an
 * open, and a mark. An open tells the id of the file, so one may be stale after it that was not
 * before. */
uint32_t fc_handle_of(struct fc_file *f, const void *via, bool reads, uint32_t *life);
/* Locked. Is the service to be used for the file? `reads`: it shall answer, or take a fill. */
bool fc_is_usable(const struct fc_file *f, bool reads);
/* Locked. Begins and ends of outside writes that may be the file's, so far. */
uint64_t fc_outsides_of(const struct fc_file *f);
/* Locked. Is something on its way that may be a write of the file (B9, B11)? */
bool fc_is_maybe_written(const struct fc_file *f);
/* Locked. A bracket has ended: reads that it touches are torn. */
void fc_tear_readings(const struct fc_write *w);

#endif
