/* SPDX-License-Identifier: BSD-2-Clause
 *
 * recorder.h - a persist table that records; what a crash may leave of the recorded stores.
 *
 * The library's code runs unchanged on ordinary memory (`live`). Every store, non-temporal copy,
 * flush and fence that it makes to the pool is also written to a log. Replaying the log maintains
 * what the media is guaranteed to hold. For every word stored since, it also maintains what the
 * media may hold instead: any value that the word has had since its last guaranteed one. Each word
 * is in doubt on its own, with no order and no cache line atomicity: hardware leaves at most these
 * states.
 */
#ifndef RECORDER_H
#define RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What makes stores durable. */
enum rules {
    RULES_ADR,  /* a flush (or non-temporal copy) and a fence by the same thread */
    RULES_EADR, /* stores are durable at once, non-temporal copies after a fence */
    /* From here on only sync calls; all else may or may not be written back. */
    RULES_PAGECACHE,
    RULES_CHECKPOINT /* the pool is checkpointed from the beginning */
};

enum event_kind {
    EV_STORE, /* one word */
    EV_COPY,  /* non-temporal: 512 words or fewer */
    EV_FLUSH, /* one line */
    EV_FENCE,
    EV_SYNC,  /* a range is on the device */
    EV_LOST,  /* a sync of a range failed: only words stored anew will ever be written */
    EV_MEDIA, /* every word of a range became `value` by itself, durably: damage, a new file */
    EV_MARK   /* the world did something: `value` says what */
};

struct event {
    enum event_kind kind;
    uint32_t thread;
    uint64_t at;    /* offset in the pool */
    uint64_t value; /* EV_STORE; EV_MARK: number; EV_COPY: offset in the log's data; EV_SYNC,
                       EV_LOST: bytes */
    uint64_t bytes; /* EV_COPY */
    uint64_t old;   /* the value before: EV_STORE; EV_COPY: its offset in the log's data */
};

/* There are three recorders: of the operations; of the session that judges what they leave; of the
 * session that judges what a crash in that one leaves. */
#define REC_LEVELS 3
/* Selects the recorder for all functions below. Returns the level selected before. */
unsigned rec_level(unsigned level);

/* Where each block is one doubt: the payloads of slots. */
#define REC_PAYLOADS 5u
struct range {
    uint64_t from, to;
};
/* Attaches the recorder to a pool in memory. From now on cm_persist_choose gives the recorder's
 * tables, for this pool only. */
void rec_attach(uint8_t *live, uint64_t bytes, uint64_t ignore_from, uint64_t ignore_to,
                const struct range *payload, unsigned payloads, enum rules rules);
void rec_detach(void);
/* Calls `hook` before the n-th fence or sync from now and before every later one; NULL: no more
 * calls. */
void rec_at_fence(unsigned n, void (*hook)(void));
/* Adds a mark to the log. */
void rec_mark(uint64_t number);
/* The pool's [offset, offset + bytes) was synced to the device. 0, or CM_EIO if it had to fail. */
int rec_sync(uint64_t offset, uint64_t bytes);
/* The n-th thing from now that can fail will fail, once; 0: nothing will. In the page cache that is
 * a sync, else a load, store or flush. What fails may be half done. */
void rec_fail_at(unsigned n);
bool rec_failed(void); /* did that failure happen? */
/* A guarded load begins: does it fail? */
bool rec_load_fails(void);
/* A change that the library did not make: the words of a range become `value`. */
void rec_media(uint64_t offset, uint64_t bytes, uint64_t value);
/* The log since the last rec_begin(). */
void rec_begin(void);
const struct event *rec_log(size_t *n);

/* For a trace: from now on all recorders keep with each event what `walk` finds. These are the
 * return addresses of the calls that led to the event: the innermost first, NULL after the last. */
#define REC_CALLS 40
void rec_trace(void (*walk)(void *calls[REC_CALLS]));
/* The calls of an event of the log. */
void *const *rec_calls(size_t event);

/* Sets live memory to what the CPU saw at the point that the replay has reached. The rest of the
 * log did not happen. What is in doubt stays in doubt. */
void rec_rewind(void);

/* Undoes all stores since rec_begin(). They stay in the log. */
void rec_undo(void);

/* ---- Replay ---------------------------------------------------------------------------------- */

/* Forgets what was replayed. The live image is now what the media holds. */
void rep_reset(void);
/* Applies one event of the log. */
void rep_apply(const struct event *e);
/* Would this event make something durable that was not (so that crashing before it counts)? */
bool rep_settles(const struct event *e);

/* One thing that may or may not have reached the media: a word, or the payload of a slot. */
struct doubt {
    uint64_t at;       /* offset */
    uint32_t choices;  /* 0, the guaranteed value, to choices - 1 */
    size_t first_hash; /* index in the recorder's hashes */
};
/* All that is in doubt now. */
const struct doubt *rep_doubts(size_t *n);
/* Builds the image that a crash leaves, by one choice for each doubt. */
void rep_image_begin(uint8_t *image); /* image := the guaranteed one: all choices are 0 */
void rep_choose(uint8_t *image, size_t doubt, uint32_t choice);
/* Does the image have these choices? Compares every byte. (Images are changed from one choice to
 * the next and never built anew.) */
bool rep_is(const uint8_t *image, const uint32_t *choice);
/* The hash of an image. Equal images have equal hashes. */
uint64_t rep_hash_guaranteed(void);
uint64_t rep_hash_choice(size_t doubt, uint32_t choice); /* to be XORed in */

/* Is any word of [offset, offset + bytes) in doubt? */
bool rep_doubtful(uint64_t offset, uint64_t bytes);

/* Compares live memory with the replayed log: that shows a store that bypassed the table. Returns
 * the offset of the first difference or UINT64_MAX. */
uint64_t rep_compare(void);

#endif
