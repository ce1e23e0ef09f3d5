/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_core.h - what a file system filter keeps of the service: its connection, the files that
 * were written while nobody told it, and the handle of each file in use.
 *
 * Owns: the connection's state, the written-set, and for each file in use its handle at the
 * service. No call of a system: the shell around it gives it a lock, memory, messages and the facts
 * of a file (struct fc_env). The shell knows file objects and buffers; the core knows neither.
 * Which operations take part is the matter of filter_rules.h.
 *
 * LIVES
 *   L1  Each connection of the service is a life. Handles, tickets and tokens are void in another.
 *   L2  Without a life all passes (safe mode): reads go to the file system, writes are outside.
 *   L3  A reply that does not come in time, or makes no sense, ends the life at once. The service
 *       may still do what it was asked, but nothing of that life counts any more.
 *   L4  A service that cannot forget all files (CMP_FORGETS_ALL) is none for a driver.
 *   L5  If a later life has another pool, all files are forgotten in it: what was forgotten before
 *       was forgotten in the other one.
 *   L6  A thread that is being ended hears no reply, nor does one of the service. What it asked
 *       counts as refused, and the life goes on: else every program that is killed would end it. A
 *       bracket, a sync or a handle that nobody knows of may stay at the service until the life
 *       ends. So may a sync of which nobody knows how it has ended: told as one that failed, it
 *       would make its file cold until the next boot. The life ends after FC_LOST_MAX of them.
 *   H1  A handle is closed when nobody uses the file any more, also if it was deleted before: the
 *       service gives its number to another file.
 *   H2  A file is forgotten as one that is gone only if the last close has found it deleted. A
 *       program may take a deletion back, and then the id is in use again.
 *
 * OUTSIDE WRITES. A write that no bracket of the present life covers is *outside*.
 *   W1  A bracket is outside from the moment on that its life ends, and when it is refused.
 *   W2  While an outside write lasts, its file passes; if it is one of all files, they all do.
 *   W3  The file's id is in the *written-set* at the begin and at the end of an outside write. It
 *       leaves the set when the service has forgotten the file, and comes back if it has not. Each
 *       time somebody is asked to have it forgotten soon, if nobody is at that already. To ask so
 *       needs no memory.
 *   W4  A file in the set, or one that is just being forgotten, passes.
 *   W5  A set that is full stands for all files. So does a file whose id is not known.
 *   W6  A volume that was in use before the filter saw its writes is an outside write of all files
 *       (fc_written_anything). Has the filter ever left a volume in use, or not come to it, each
 *       volume that comes may be that one. After a restart of the system nobody would know: so the
 *       service forgets all files when the filter leaves a volume in use, or all (fc_leave).
 *   W7  What a transaction has written others see when it commits, and nobody tells when that is.
 *       So its file passes until the filter is loaded again (fc_transacted).
 *
 * BRACKETS AND FILLS
 *   B1  A bracket is asked for before the write begins, and ended after it has ended.
 *   B2  A fill goes to the life and the handle of the read that missed, and to no other.
 *   B3  A read of several blocks counts only if all of them are of one version of the file, no
 *       bracket that touches it has ended meanwhile, and no outside write of the file has begun or
 *       ended: its new blocks may be filled between two that are looked for.
 *   B4  A file's times are told to the service when a writer closes it, but not while a write is on
 *       its way, nor if an outside write has begun since they were asked for: they may be those of
 *       that write, and the pool still has what was before it.
 *   B5  What was written outside is not synced, as far as anybody knows, and the file's times need
 *       not tell as long as it is open. So the service takes all of the file for not synced before
 *       anything of it is read through it again. Else a power cut could leave what was read from
 *       the system's cache in the pool, and not in the file.
 *   B6  Neither the times nor the journal have to move for each write of a file that has been
 *       written before and is still open. So times that are asked for meanwhile do not tell of the
 *       next one. They are told when the last handle that may write is closed. If the service has
 *       to know them earlier (an open), it hears that the file has a writer: then what it caches is
 *       cold for the next service. Else it would be warm for one that comes after a power cut,
 *       although the program has written while there was none. (Handles that only read are not
 *       counted, although the journal waits for them, too: README.md, "Limits".) A handle that is
 *       older than the filter is counted from its first write on. Each close takes only its own
 *       handle away. One that there was no memory to mark counts as long as the file is in use.
 *   B7  The file system moves the times at the close itself. So what a writer's close tells is
 *       mostly so fresh that it proves nothing, and the file would be cold for the next service. It
 *       stays unsettled, and each later close, of whatever handle, tells the times again, until
 *       they are old enough.
 *
 *   B8  What moves a file's times, or its number in the journal, and not its content (names,
 *       attributes, rights, the object's id, FSCTL_WRITE_USN_CLOSE_RECORD) gets an *empty* bracket,
 *       without a length: then the service takes the new times for the same file when they are
 *       told. It forgets nothing. Without such a bracket nothing is noted: the file is right, and
 *       cold at its next use, because its times are others.
 *
 *   B9  What may be a write, and is known to be one only at its end, has no bracket: that would
 *       have the file forgotten. If it was a write, it counts as an outside one that begins and
 *       ends then, before its caller hears of it. Until then the file passes, nothing of it is
 *       filled, and no close tells its times: both may be from the middle of the change, and only
 *       its end has the file forgotten. After a power cut before that nobody would know. A read
 *       that was asked for before may get what was there before. A change or a sync that is the
 *       first use of the file opens it at the service, with the times of then. That does no harm:
 *       what the service has of other times it drops, and nothing comes to these.
 *   B10 A fill is sent under the same condition as a read: no outside write of its file is on its
 *       way, nor what may be one, and the service has forgotten all that came before. Until then
 *       it does not know that the ticket is void. What was read may be from before the write, and
 *       the disk gets what is written without the service; or from after it, and only the system's
 *       cache has that. A power cut would leave in the pool what is not in the file.
 *   B11 An open may empty a file (FILE_SUPERSEDE, FILE_OVERWRITE). Only its end tells which one,
 *       and whether it has. Meanwhile the new end may be seen, and somebody may write behind it. So
 *       until the open has ended, and the file is noted, there is what may be a write of each file
 *       of its volume (B9): what was in the file before is neither read nor filled.
 *
 * WHY NOTHING STALE IS READ. (1) A read is answered by the service only if its file has no outside
 * write and is not in the written-set. So each write before it was in a bracket of the same life,
 * or has been forgotten since. (2) A ticket is given under the same condition, and used under it
 * (B10). The service voids it when a bracket begins and when the file is forgotten, and each
 * outside write is followed by that. (3) If a bracket is not confirmed in time, the life ends
 * before the write goes on.
 *
 * WAITING. An operation waits for the service for no longer than three times a message's time-out.
 * A read sends no more when the first time-out is over. Forgetting is done by fc_tend(), in a
 * thread that nobody waits for.
 *
 * Threads: every function may be called by any number of threads at a time. Those marked "may wait"
 * send messages. They must not be called for paging I/O, nor by the service's process.
 */
#ifndef CACHEMAX_FILTER_CORE_H
#define CACHEMAX_FILTER_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filter_set.h"

/* What the file system says of a file now. */
struct fc_facts {
    uint64_t volume;    /* serial number */
    uint64_t file[2];   /* id; the second word is 0 on volumes with ids of 64 bits */
    uint64_t size;      /* bytes */
    int64_t written_ns; /* time of the last write, since 1970 */
    int64_t changed_ns; /* time of the last change */
    uint64_t change;    /* the file's last number in the change journal, or its time of birth */
    uint64_t taken_at;  /* the system's monotonic clock, before all that was asked */
    bool racy;          /* a time is so recent that a later write may not move it */
};

#define FC_GONE (-1)    /* no service, or its reply came too late */
#define FC_STOPPED (-2) /* the thread is the service's, or being ended: it may have been taken */
#define FC_LOST_MAX 64u

/* The shell. None of the calls is made with the lock held. */
struct fc_env {
    void *ctx;
    /* Sends a message through this connection, and through no later one. Waits for the reply, for a
     * limited time, or, if `patient`, for as long as the connection lasts. Returns the bytes of the
     * reply, FC_GONE or FC_STOPPED. room == 0: no reply is expected, and 0 is returned. May wait.
     */
    int (*ask)(void *ctx, uint32_t life, const void *message, uint32_t bytes, void *reply,
               uint32_t room, bool patient);
    /* The connection is to end: the service shall get no message any more. May be called again. */
    void (*hang_up)(void *ctx, uint32_t life);
    /* fc_tend() shall be called soon, in a thread that may wait. Does not wait, nor fail. */
    void (*tend)(void *ctx);
    void *(*alloc)(void *ctx, size_t bytes); /* NULL: no memory; then the caller passes */
    void (*free)(void *ctx, void *at);
    void (*lock)(void *ctx); /* a mutex */
    void (*unlock)(void *ctx);
    /* False: the facts cannot be had. `only_id`: the volume and the id are enough. May wait. */
    bool (*facts)(void *ctx, const void *via, struct fc_facts *facts, bool only_id);
    uint64_t (*now_ns)(void *ctx); /* a monotonic clock */
    uint64_t timeout_ns;           /* of a message */
};

enum fc_counter {
    FC_HITS,       /* reads that the service answered */
    FC_MISSES,     /* reads of which it had not all */
    FC_PASSED,     /* reads that it was not asked for */
    FC_FILLS,      /* fills sent */
    FC_BRACKETS,   /* writes in a bracket */
    FC_OUTSIDES,   /* writes outside */
    FC_LATE,       /* lives that ended because of a reply that did not come */
    FC_FORGOTTEN,  /* files that were forgotten because of outside writes */
    FC_FORGOT_ALL, /* times that all files were */
    FC_COUNTERS
};

#define FC_TRANSACTED 1024u /* files of transactions that are kept apart; more: all pass */

struct fc_write;
struct fc_reading;
struct fc {
    const struct fc_env *env;
    /* env->lock: all of it. */
    uint32_t life; /* of the connection; 0: there is none */
    uint32_t last_life;
    uint32_t lost;     /* replies in this life that nobody heard, and that mattered */
    bool greeted;      /* hello was said */
    bool met;          /* there was a life before */
    uint8_t pool[16];  /* of the last one */
    uint32_t block;    /* bytes of a block of the cache */
    uint32_t data_max; /* bytes of data in a message */
    uint64_t tag;
    struct fc_set written, transacted;
    struct fc_id transacted_slot[FC_TRANSACTED];
    uint64_t outsides;       /* of all files, so far */
    uint32_t all_outside;    /* outside writes of all files, in flight */
    bool tending;            /* a thread is in fc_tend() */
    struct fc_id forgets;    /* taken out of the set, and not yet forgotten; 0, 0: none */
    bool forgets_all;        /* the same of all files */
    struct fc_write *writes; /* all in flight */
    uint64_t counter[FC_COUNTERS];
};

/* A volume. All of it is 0 at first. The shell keeps it longer than the files that are on it. */
struct fc_volume {
    uint32_t emptying; /* env->lock: opens on their way that may empty a file (B11) */
};

/* A file that is in use: one stream of one file. The shell keeps it with the stream. */
struct fc_file {
    struct fc *fc;
    bool portable;                  /* fc_file_is_portable(); never changes later */
    const struct fc_volume *volume; /* fc_file_is_on(); never changes later; or NULL */
    /* env->lock: all that follows. */
    bool known; /* the id is known */
    struct fc_id id;
    uint32_t handle; /* at the service, in life `life`; 0: not open */
    uint32_t life;
    uint32_t outside;            /* outside writes in flight */
    uint32_t brackets;           /* in flight */
    uint32_t maybe;              /* what may be a write (B9), in flight */
    struct fc_reading *readings; /* reads of several blocks that are on their way */
    uint64_t outsides;           /* begins and ends of outside writes, so far */
    uint64_t marked;             /* so many of them the service knows of, in life `marked_life` */
    uint32_t marked_life;
    uint32_t writers; /* handles that may write (fc_writer) */
    bool wrote;       /* one of them has written, or may have */
    bool unsettled;   /* its times moved since they were told, or those told proved nothing */
    bool written;     /* was written since it has been in use */
    bool gone;        /* was deleted: it is forgotten when nobody uses it any more */
};

enum fc_kind { FC_RANGE, FC_SIZE, FC_ALL };

/* A write in flight. The caller keeps it from begin to end. */
struct fc_write {
    struct fc_file *file;
    struct fc_write *next, *prev; /* fc.writes */
    uint64_t token;
    uint32_t life, handle; /* of the token */
    uint64_t from, to;     /* of a bracket: what it may change, and what follows that */
    bool outside;
};

/* A read that the service could not answer. */
struct fc_read {
    uint64_t ticket; /* 0: nothing to fill */
    uint64_t offset; /* of what is missing */
    uint32_t len;
    uint32_t life, handle;
};

struct fc_sync {
    uint64_t token; /* 0: none */
    uint32_t life, handle;
};

enum fc_answer {
    FC_PASS, /* the file system answers; if missed->ticket is not 0, fc_fill() stores that part */
    FC_DONE  /* the buffer has *got bytes. Fewer than asked for: the file ends there */
};

/* `written`: memory for the set, FC_SET_BYTES(slots). */
void fc_init(struct fc *fc, const struct fc_env *env, void *written, uint32_t slots);

/* A service has connected. `life` is the number of the connection, which counts up from 1. Says
 * hello, and tends. False: the connection is of no use, and was hung up. May wait. */
bool fc_connect(struct fc *fc, uint32_t life);
/* This connection has ended. */
void fc_disconnect(struct fc *fc, uint32_t life);
/* Has the service forget what is in the written-set. Returns at once if another thread is there.
 * May wait for long. */
void fc_tend(struct fc *fc);
/* Has the service forgotten all that was written? For tests. */
bool fc_is_settled(struct fc *fc);
/* Something was written that may be any file's (a volume was written as a whole, or before the
 * filter saw it). */
void fc_written_anything(struct fc *fc);
/* The filter goes: what is written from now on nobody sees. All files pass, and are forgotten when
 * this returns, if there is a service. May wait for as long as the connection lasts. */
void fc_leave(struct fc *fc);
/* Around such a write. Does not wait. */
void fc_anything_begin(struct fc *fc);
void fc_anything_end(struct fc *fc);

/* `via` in what follows: how the shell reaches the file now, for env->facts. */
void fc_file_init(struct fc_file *f, struct fc *fc);
/* Right after that: the file's disk may be pulled out, or lose its power, while the system runs.
 * What it had in its own cache is lost then, and nobody tells. So the file is cold at its next use
 * if it was written and not synced. */
void fc_file_is_portable(struct fc_file *f);
/* Also right after that. */
void fc_file_is_on(struct fc_file *f, const struct fc_volume *v);
/* Asks for the file's id. May wait. */
void fc_know(struct fc_file *f, const void *via);
/* Nobody uses the file any more: the handle is closed, and a deleted file is forgotten. Nothing may
 * be in flight. May wait. */
void fc_file_done(struct fc_file *f);

/* A read of a part of the file, 1 byte or more. May wait. */
enum fc_answer fc_read(struct fc_file *f, const void *via, uint64_t off, uint32_t len, void *buf,
                       uint32_t *got, struct fc_read *missed);
/* What the file system has at missed->offset: `n` bytes, at most missed->len, and fewer only if the
 * file ends there. It must have been read after fc_read() returned. May wait. */
void fc_fill(struct fc_file *f, const struct fc_read *missed, const void *data, uint32_t n);

/* Before a write: of a range (FC_RANGE; off UINT64_MAX: at the end), of the size (FC_SIZE: off is
 * the new one), or of anything (FC_ALL). It always succeeds. May wait. */
void fc_write_begin(struct fc_file *f, const void *via, struct fc_write *w, enum fc_kind kind,
                    uint64_t off, uint64_t len);
/* The same without a message: an outside write. For what may not wait. */
void fc_write_begin_outside(struct fc_file *f, struct fc_write *w);
/* After it, whether it succeeded or not, and before its caller hears of it. May wait, but not for
 * an outside write. */
void fc_write_end(struct fc_write *w);

/* Around what moves its times only. False: there is no such bracket, and nothing to end. May wait,
 * as its end. */
bool fc_attributes_begin(struct fc_file *f, const void *via, struct fc_write *w);
void fc_attributes_end(struct fc_write *w);

/* Around what may be a write (B9). `is`: it was one, as far as anybody knows. Does not wait. */
void fc_maybe_begin(struct fc_file *f);
void fc_maybe_end(struct fc_file *f, bool is);
/* Around an open that may empty a file of this volume (B11). If it has, it is told first that the
 * file was written. Does not wait. */
void fc_emptying_begin(struct fc *fc, struct fc_volume *v);
void fc_emptying_end(struct fc *fc, struct fc_volume *v);

/* A transaction may write the file, or has. The file passes from now on. */
void fc_transacted(struct fc_file *f);

/* Around a sync of the file. False: the service does not take part. May wait. */
bool fc_sync_begin(struct fc_file *f, const void *via, struct fc_sync *s);
void fc_sync_end(struct fc_file *f, const struct fc_sync *s, bool ok);
/* Instead of its end: nobody knows how the sync has ended, so it proves nothing. */
void fc_sync_drop(struct fc_file *f, const struct fc_sync *s);

/* A handle that may write is opened (`comes`), or has been closed. *counted belongs to the handle,
 * and is false at first. One that is not counted is older than the filter: its close takes no other
 * one away. */
void fc_writer(struct fc_file *f, bool *counted, bool comes);
/* Was it written since it has been in use? Then not all of it need be on the disk. */
bool fc_was_written(struct fc_file *f);
/* Does its next close matter: is there anything for fc_settle() to do, or was it deleted? */
bool fc_is_unsettled(struct fc_file *f);
/* A handle was closed. If the file was written before, its times are final now, so it can stay
 * warm. May wait. */
void fc_settle(struct fc_file *f, const void *via);
/* The file is deleted (`is`), or it turns out that it is not: that was taken back. Others may use
 * it still. */
void fc_gone(struct fc_file *f, bool is);

#endif
