/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cachemax_objects.h - objects under keys, small and large, in a pool of cachemax.h.
 *
 * A cache of values under keys, as memcached is, which a restart and a kill -9 leave warm. Many
 * small values share a block of the pool, large ones have blocks of their own. docs/objects.md
 * shows how to use it, what it costs, and how it compares.
 *
 * A pool may hold files and several containers of objects. A container has a name.
 *
 * WHAT IS PROMISED
 * - A get returns the value of the last put that has returned, or nothing. If a put runs at the
 *   same time, it may be the value of that, or the one before. It is never older, never torn, and
 *   never another key's. Nothing that crashes changes this, not even a power cut.
 * - It is a cache, and the only place of what it holds. Any object may be gone at any time: when
 *   the pool is full, when a bucket is full, or when a page of the pool is damaged. So keep only
 *   what you can make again.
 * - After a restart or kill -9 everything is there that was there before, but for buckets that were
 *   being changed. A value above CM_OBJECT_INLINE_MAX bytes stays for at most 64 sessions that
 *   store such values, or an eighth of the pool's max_files, if that is less.
 *
 * MEMORY  Eight bytes of DRAM for each bucket (a block of the pool that small objects share), and
 * some 20 KiB. None for an object; but 1 MiB once objects with a time to live are put after the
 * wall clock was set back (docs/objects.md).
 *
 * THREADS  Several threads may call any function at any time, but for cm_objects_close(), which
 * must be the last call. Puts and deletes of keys whose buckets share one of 128 locks wait for
 * each other. cm_objects_get() and cm_objects_read() take no lock, with one exception: they find
 * nothing while a bucket with the same lock is being changed. Then they wait for that, and look
 * once more. One thread at a time uses an iteration.
 * STACK    At most 20 KiB below the caller.
 * ERRORS   As cachemax.h: negative CM_E*; 0 or positive is no error. Trouble with the pool is a
 *          miss for a get. Every call may return CM_EFORKED, CM_ECALLBACK, CM_EREADONLY and
 *          CM_EHANDLE (the handle is NULL); the lists below name the others.
 */
#ifndef CACHEMAX_OBJECTS_H
#define CACHEMAX_OBJECTS_H

#include "cachemax.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CM_OBJECT_KEY_MAX 255u     /* bytes of a key; 0 is a length, too: `key` may be NULL then */
#define CM_OBJECT_INLINE_MAX 1024u /* values up to this length share blocks */
#define CM_OBJECTS_NAME_MAX 200u   /* bytes of a container's name */

typedef struct cm_objects cm_objects; /* an open container */

/* What is expected. Both numbers together choose the number of buckets when the container is new.
 * It stays the same until cm_objects_forget(). With too few buckets, objects are dropped although
 * the pool has room. Each bucket that is too much costs a block of the pool for few objects. */
typedef struct cm_objects_options {
    uint32_t struct_size; /* set by CM_OBJECTS_OPTIONS_INIT */
    uint32_t flags;       /* none yet: 0 */
    /* How many objects there will be. 0: as many as fit. Buckets take 3/4 of the pool at most, or
     * 15/16 if object_bytes is given, too. If both are given, and these are too few for a new
     * container, the log says so. docs/objects.md has a table of how large the pool should be. */
    uint64_t objects;
    /* Bytes of an average one, key and value, where a value of more than CM_OBJECT_INLINE_MAX bytes
     * counts as 24. 0: the pool's size for each object, at most 1024. */
    uint64_t object_bytes;
    uint64_t reserved[4]; /* 0 */
} cm_objects_options;
#define CM_OBJECTS_OPTIONS_INIT CM_INIT_(cm_objects_options)

/* Opens the container `name` of an open pool, and makes it if it is not there. `opts` may be NULL
 * for defaults. *objects is set on success; release it with cm_objects_close(). Until then
 * cm_close() returns CM_EBUSY. Reads nothing of the objects, so it takes the same time whatever the
 * container holds.
 * The pool may have a probation buffer: objects do not use it. Do not set
 * cm_options.fill_rate_limit: what is over the limit is lost, and so are its neighbours.
 * CM_EINVAL (name or objects is NULL, the name is empty or too long, wrong options) CM_EBUSY (it is
 * open: of threads that open it at once, one gets it)
 * CM_EREADONLY (also with CM_OPEN_SHARED: only the owner of a pool has its objects)
 * CM_ENOMEM CM_ESEAL CM_EFORGET. */
CM_API int cm_objects_open(cm_cache *cache, const char *name, const cm_objects_options *opts,
                           cm_objects **objects);
/* Closes it. After CM_EBUSY (an iteration is live), CM_ECALLBACK and CM_EFORKED nothing was closed.
 * After anything else the handle is gone: do not use or close it again (undefined behaviour, as
 * after cm_close()). */
CM_API int cm_objects_close(cm_objects *objects);
/* Forgets a container that is not open, and all that it holds. The pool knows nothing of it then.
 * Opened again it is new, and may get another number of buckets. CM_EINVAL CM_EBUSY (it is open)
 * CM_ENOMEM CM_EFORGET CM_ESEAL (some of it may be left: call again). */
CM_API int cm_objects_forget(cm_cache *cache, const char *name);

/* What is known of an object. */
typedef struct cm_object_info {
    uint32_t struct_size; /* set by CM_OBJECT_INFO_INIT */
    uint32_t reserved;
    uint64_t size; /* of the value, in bytes */
    /* When it ends, in whole milliseconds of the wall clock since 1970; 0: it does not expire. It
     * moves if the clock is set back: see cm_objects_put(). */
    int64_t expires_ns;
    /* The same number: the same value. So two cm_objects_read() have parts of one value if they
     * tell the same version. */
    uint64_t version;
} cm_object_info;
#define CM_OBJECT_INFO_INIT CM_INIT_(cm_object_info)

/* Stores a value, in place of the one that the key has. `ttl_ns`: how long it lives, in nanoseconds
 * from now (a second is 1000000000, and parts of a millisecond do not count); 0: no end. An object
 * that lives for less than a millisecond is never found. The log says that once, because whoever
 * asks for it has probably taken another unit. The end is recorded by the wall clock. While the
 * container is open the monotonic clock ends the object, too, whoever sets the wall clock. If that
 * was ahead when the object was put, later sessions have an end that is too late: nobody corrects
 * it. If it was behind, and is set right, the object ends early, by as much. `value` may be NULL if
 * len is 0. Nobody may change the value during the call.
 * Returns 0: it is stored, and durable as far as the pool is (cm_info.durability). Or, positive,
 * one of CM_NOT_STORED_*: it is not stored. The old value is gone then, too. (After CM_ENOMEM and
 * CM_ESEAL it may be there or not.) CM_NOT_STORED_STALE: brackets of files beside it kept it out
 * for the 0.1 seconds that a call waits; then all objects of its bucket are gone. If its bucket is
 * full, what has expired leaves, then what was not read lately, oldest first. CM_NOT_STORED_ROOM:
 * the value takes more than 1/8 of the pool's slots (cm_info.slots), each of CM_BLOCK_SIZE bytes.
 * CM_NOT_STORED_MODE: the pool grew all that time (cm_grow). If the key was there, all objects of
 * its bucket are gone (by a delete, too), else none. CM_NOT_STORED_MEDIA: the pool's memory, or a
 * callback of the seal, failed. If that was at a bucket, it was tried twice, and all its objects
 * are gone. In modes CM_FREEZE and CM_BYPASS puts and deletes only forget: all objects of the
 * bucket.
 * CM_EINVAL (key or value is NULL, and its length is not 0; the key is longer than
 * CM_OBJECT_KEY_MAX) CM_ENOMEM CM_ESEAL (of a large value: a record could not be judged or sealed)
 * CM_EFORGET (the pool cannot forget the old value; it serves nothing of the container any more).
 * */
CM_API int cm_objects_put(cm_objects *objects, const void *key, size_t key_len, const void *value,
                          size_t len, uint64_t ttl_ns);
/* Copies the value to `buf`, as much of it as fits into `room` bytes, and returns its length. If
 * that is more than room, cm_objects_read() gets the rest. With room 0 it is only looked up: a
 * large value may then be a miss all the same. `info` may be NULL; it is filled in on success.
 * CM_EABSENT: there is none. What is in buf then is not specified.
 * CM_EINVAL (key or buf is NULL, and its length is not 0; the key is too long). */
CM_API int64_t cm_objects_get(cm_objects *objects, const void *key, size_t key_len, void *buf,
                              size_t room, cm_object_info *info);
/* Copies a part of the value: as cm_objects_get(), but [offset, offset+len) of it. Returns how many
 * bytes were copied: less than len only at its end. */
CM_API int64_t cm_objects_read(cm_objects *objects, const void *key, size_t key_len,
                               uint64_t offset, void *buf, size_t len, cm_object_info *info);
/* Removes an object. Returns 0, or CM_EABSENT: there is none. In both cases it cannot come back.
 * CM_EINVAL, as cm_objects_get(); CM_EFORGET, as cm_objects_put(). */
CM_API int cm_objects_delete(cm_objects *objects, const void *key, size_t key_len);
/* Removes all objects. Puts that run at the same time may be before or after it. CM_EFORGET. */
CM_API int cm_objects_clear(cm_objects *objects);

typedef struct cm_objects_iter cm_objects_iter;
/* Goes over all objects, in no order. Each object that is there all the time comes once; others may
 * come or not. A large value that comes may be a miss all the same. *iter is set on success;
 * release it with cm_objects_end(). CM_EINVAL CM_ENOMEM. */
CM_API int cm_objects_begin(cm_objects *objects, cm_objects_iter **iter);
/* Goes on to the next object. Returns 1: there is one. Its key is in `key`, which has room for
 * CM_OBJECT_KEY_MAX bytes, and *key_len is its length. `info` may be NULL. Returns 0: there was
 * none in the 256 buckets that the call has looked at; go on. CM_EABSENT: that was all. CM_EINVAL:
 * a pointer is NULL. */
CM_API int cm_objects_next(cm_objects_iter *iter, void *key, size_t *key_len, cm_object_info *info);
/* Releases an iteration, once. NULL: does nothing. */
CM_API void cm_objects_end(cm_objects_iter *iter);

/* Counters since the container was opened, and what it consists of. */
typedef struct cm_objects_info {
    uint32_t struct_size; /* set by CM_OBJECTS_INFO_INIT */
    uint32_t reserved;
    uint64_t buckets;    /* blocks that small objects share, when all are in use */
    uint64_t dram_bytes; /* that the open container takes */
    uint64_t hits;       /* gets and reads that found a value */
    uint64_t misses;     /* ... that found none */
    uint64_t puts;       /* values that were stored */
    uint64_t deletes;    /* objects that were deleted */
    uint64_t not_stored; /* puts whose value was not stored */
    uint64_t dropped;    /* objects that left a full bucket */
    uint64_t expired;    /* objects that left a bucket because their time was over; also one that
                          * a delete found over, and said CM_EABSENT */
    /* Files of the container, as it is now, that have no place in the pool's file table, because
     * other files have all that they may have, or because it cannot be written (a sparse pool on a
     * full volume). What they hold is gone after the next open: small objects, or large values of
     * one session. The log says so once. Make the pool with more cm_create_options.max_files, or
     * make room. */
    uint64_t unrecorded;
} cm_objects_info;
#define CM_OBJECTS_INFO_INIT CM_INIT_(cm_objects_info)
/* Fills in *info. CM_EINVAL: info is NULL, or struct_size is invalid. */
CM_API int cm_objects_get_info(cm_objects *objects, cm_objects_info *info);

#ifdef __cplusplus
}
#endif
#endif
