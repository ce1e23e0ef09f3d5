/* SPDX-License-Identifier: BSD-2-Clause
 *
 * container.h - an open container of objects.
 *
 * A container is made of files that exist in the pool only:
 *   buckets  block b is bucket b: the objects whose keys hash to b (entries.h)
 *   data     CM_DATA_FILES of them: the large values (values.h)
 *   owner    has no blocks. It is claimed while the container is open, so a second open is refused;
 *            and a bracket is open on it, so cm_close() is refused as well.
 * docs/decisions/objects.md says why it is made like this.
 */
#ifndef CM_CONTAINER_H
#define CM_CONTAINER_H

#include "objects/entries.h"
#include "platform/lock.h"

#define CM_DATA_FILES 64u
#define CM_OBJECT_LOCKS 128u
#define CM_OBJECT_SHARDS 16u /* of the counters */
#define CM_OBJECT_ENDS 65536u

/* Buckets share a lock. `turn` is odd while one of them is being changed. */
struct cm_bucket_lock {
    _Alignas(64) struct cm_lock lock;
    uint32_t turn;
};

enum cm_object_counter {
    CM_OBJECT_HITS,
    CM_OBJECT_MISSES,
    CM_OBJECT_PUTS,
    CM_OBJECT_DELETES,
    CM_OBJECT_NOT_STORED,
    CM_OBJECT_DROPPED,
    CM_OBJECT_EXPIRED,
    CM_OBJECT_COUNTERS
};

struct cm_object_shard {
    _Alignas(64) uint64_t counter[CM_OBJECT_COUNTERS];
};

/* A data file. `file` is NULL until it is needed; release: pairs with the acquire of readers. */
struct cm_data_file {
    cm_file *file;
    uint64_t incarnation; /* when it was looked at last */
};

/* When an object ends that was put after the wall clock was set back: cm_objects_keep_end(). Both
 * words are of the same object only if `sum` is its check and the other word, combined. */
struct cm_object_end {
    uint64_t sum;  /* atomic */
    uint64_t ends; /* atomic; by cm_plat_now_ns() */
};

/* What is remembered of a bucket, in DRAM. */
struct cm_bucket_hint {
    uint32_t where; /* atomic; cm_where: its slot */
    uint16_t hot;   /* atomic; which of its keys were read lately */
    uint16_t used;  /* atomic; so many bytes of it are used, or 0 */
};

struct cm_objects {
    struct cm_bucket_lock locks[CM_OBJECT_LOCKS];
    struct cm_object_shard shards[CM_OBJECT_SHARDS];
    cm_cache *cache;
    cm_file *owner, *buckets_file;
    cm_bracket owned; /* on `owner` */
    uint64_t buckets;
    struct cm_bucket_hint *hint; /* one for each bucket */
    uint32_t iterations;
    uint32_t told_unrecorded, told_ttl; /* atomic; the log has that line */
    int64_t ahead_ns;           /* atomic; the lead of the wall clock, at most: cm_objects_now() */
    struct cm_object_end *ends; /* atomic; CM_OBJECT_ENDS of them, or NULL: none yet */
    struct cm_lock data_lock;   /* to change `data` and `data_now`; the last lock of a container */
    uint32_t data_now;          /* atomic; what this session writes; CM_DATA_FILES: none yet */
    uint64_t data_next;         /* atomic; the first block of it that was never used */
    uint32_t data_most;         /* so many data files may have a record */
    struct cm_data_file data[CM_DATA_FILES];
    char name[CM_OBJECTS_NAME_MAX + 1];
};

/* A constant proof: nobody but this container ever writes its files, and each write is in a
 * bracket. */
struct cm_objects_proof {
    uint8_t tag[8];
    uint64_t buckets; /* 0: of a data file */
};

/* May the call go on, and take a lock? Not in a callback of the cache: the thread may have the lock
 * already. Calls that take none leave the question to the calls below. */
int cm_objects_enter(const cm_objects *o);

/* As strlen(), which not every environment has. */
static inline size_t cm_objects_length(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

/* The id of a file of a container. `part`: 'b', 'o', or 'd' with a number. */
void cm_objects_id(cm_file_id *id, const char *name, char part, uint32_t number);
/* Is it the proof of a file of buckets? */
bool cm_objects_is_proof(const struct cm_objects_proof *proof);
/* Opens a file of the container, with the proof of `buckets`. */
int cm_objects_file(cm_objects *o, char part, uint32_t number, uint64_t buckets, cm_file **file);
/* How many files of the container have no record: what they hold ends with the session. */
uint64_t cm_objects_unrecorded(const cm_objects *o);
/* Logs it, once. No lock is held. */
void cm_objects_tell_unrecorded(cm_objects *o);
/* The origin of a file of the container holds all that was written: there is no origin. */
void cm_objects_synced(cm_file *file);
/* Forgets all of a file of `len` bytes (CM_ALL: all there may be). CM_EFORGET and the like. */
int cm_objects_forget_all(cm_file *file, uint64_t len);

/* How long a call waits in all for brackets of others and for a growth of the pool, by the clock
 * (cachemax_objects.h says so). */
#define CM_OBJECTS_WAIT_NS UINT64_C(100000000)

/* Does a fill find that only now it cannot be stored? A bracket is open elsewhere in the same
 * stripe of the pool, or was in the meantime; or the pool grows. */
bool cm_objects_passes(const cm_file *file, int result);
/* Waits a little for that; `tries` counts from 0 for each fill. *waited begins with 0 for each
 * call. False: it has waited long enough. */
bool cm_objects_again(unsigned tries, uint64_t *waited);

/* The clocks, as they are now. */
struct cm_object_now {
    uint64_t ticks;  /* the monotonic clock */
    int64_t wall_ns; /* since 1970 */
    int64_t back_ns; /* so far has the wall clock been set back while the container was open */
};
struct cm_object_now cm_objects_now(cm_objects *o);
/* When an entry with a time to live ends, by the wall clock as it is now. */
int64_t cm_objects_end_of(const cm_objects *o, const struct cm_object_now *now,
                          const struct cm_entry *e);
/* A new entry, whose check is this, will end ttl_ns after `now`. If the wall clock was set back,
 * that is remembered before anybody can find the entry. */
void cm_objects_keep_end(cm_objects *o, const struct cm_object_now *now, const struct cm_entry *e,
                         uint64_t check, uint64_t ttl_ns);
void cm_objects_count(cm_objects *o, enum cm_object_counter what, uint64_t n);

#endif
