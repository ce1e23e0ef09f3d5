/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cachemax_client.h - the cache of a service, for programs that may not open its pool.
 *
 * The calls are those of cachemax.h, with the same meaning; a program reads and writes its files
 * itself. What is different:
 *
 * - A service that is not there, is slow or ends fails no call. Reads find nothing then ("pass"),
 *   and writes are noted in a file that service and clients share, so that nothing stale is served
 *   later. When the service is back, the client finds it by itself.
 * - A client keeps how to take a file's validator (`identify`), because a new service asks again.
 *
 * FIRST CALLS (through.c is a small program that uses them, docs/service.md tells more)
 *   cmc_connect       begins to use a service; cmc_disconnect ends that
 *   cmc_file_open     begins to use a file; cmc_file_close ends that
 *   cmc_read_through  reads: from the service, or from the origin with a callback of yours
 *   cmc_write_begin, cmc_write_end   around each of your own writes to the origin
 *
 * Errors are the CM_E* codes of cachemax.h. A program must not write a file of the cache, by any
 * descriptor, outside a bracket, as with the library itself.
 *
 * Threads: every call may be made from any thread at any time, but for cmc_disconnect() and
 * cmc_file_close(), which are the last ones of their object. After fork() the child must not use
 * the client.
 */
#ifndef CACHEMAX_CLIENT_H
#define CACHEMAX_CLIENT_H

#include "cachemax.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cmc_client cmc_client;
typedef struct cmc_file cmc_file;

/* How to reach a service. All zeros but `where`: the usual. */
struct cmc_options {
    /* Path of the service's socket; Windows: \\.\pipe\NAME. A relative one counts from the
     * directory that the process is in at cmc_connect(). It is too long if the path from the root
     * is longer than the system allows the name of a socket to be (Linux: 107 bytes). */
    const char *where;
    uint32_t flags; /* CMC_NO_RING */
    /* A service that is slower has lost the connection; 0: 2000. A call may wait so long for each
     * step: the stream, a new connection, the hello, the open of its file, and its own answer. A
     * call that does not get the stream because the service answers other threads all the time
     * passes; but ends, cmc_file_close() and cmc_file_revalidate() wait on as long as it does. */
    uint32_t timeout_ms;
};
#define CMC_NO_RING 1u /* no shared memory: messages by the socket only */

/* Begins to use a service, even if it is not there yet. Fails only if nobody would know of this
 * client's writes: CM_EINVAL: there can be no service at `where`: it is too long, or something else
 * than a socket; CM_ENOENT: its directory is not there; CM_EACCES: the file "WHERE.writes"
 * (Windows: that of the pipe, docs/service.md) cannot be opened or made, or the service that is
 * there has another one, because `where` is a link or was mounted alone; `why` gets the reason,
 * with the file's name, and may be NULL. CM_ENOMEM. */
int cmc_connect(const struct cmc_options *o, cmc_client **out, char why[256]);
/* Close all files first. NULL is allowed. */
void cmc_disconnect(cmc_client *k);
/* Is there a connection now? */
int cmc_is_connected(cmc_client *k);
/* 0: there is a connection now; else why not: CMC_AWAY or CMC_CROWDED. */
int cmc_state(cmc_client *k);

/* Takes a validator of the file as it is now, for instance with cm_identify(). Returns 0, or a
 * CM_E* code: the file is not cached then. It must not call the client. */
typedef int (*cmc_identify)(void *arg, cm_validator *out);

/* Begins to use a file. `flags`: CM_SOLE_WRITER, which means here: nobody but clients of this
 * service writes the origin while it is open. It holds until some client opens the file without
 * it. CM_ORIGIN_VOLATILE holds until the last client closes the file.
 * The validator must change with each write: a proof of your own that does
 * not (CM_EXCLUSIVE) would hide writes that were made while the service was away. `identify` is
 * called now, and again for each new connection and by cmc_file_revalidate(). If it fails, the open
 * does not: the file is read at the origin then, and is tried again after a second, or by
 * cmc_file_revalidate(). A change by a program that is no client is seen at the open, at a new
 * connection, and by cmc_file_revalidate(): call it as often as that matters. CM_ENOMEM;
 * CM_EINVAL: the id is zero, or other flags. */
int cmc_file_open(cmc_client *k, const cm_file_id *id, uint32_t flags, cmc_identify identify,
                  void *arg, cmc_file **out);
/* The last call that uses the file. All its brackets have ended before. NULL is allowed. */
void cmc_file_close(cmc_file *f);

/* Reads [offset, offset + len): from the service, and what it does not have with `origin_read`,
 * which gets `ctx`; stores that. Returns the bytes read, less than len only at the end of the file,
 * or what origin_read returned, if that is negative. All bytes are of one version of the file, as
 * far as the service knows versions: if it gets another one meanwhile, the call begins again, and
 * in the end it reads the origin alone, in one call if that can go to `buf`. origin_read gets
 * multiples of CM_BLOCK_SIZE, as in cm_read_through(); it must return. If offset, len and buf are
 * such multiples, it reads into `buf`. origin_read may return less than it was asked for only at
 * the end of the file, so it has to repeat short reads: one call of read() reads 0x7ffff000 bytes
 * at most. If the service does not know the size, for instance after a write that may have moved
 * the end, all clients take the end of such a read for that of the file.
 * CM_EINVAL (NULL, beyond the largest file, origin_read returned more than it was asked for)
 * CM_ENOMEM (a buffer of up to 1 MiB). */
int64_t cmc_read_through(cmc_file *f, uint64_t offset, void *buf, size_t len,
                         cm_origin_read_fn origin_read, void *ctx);

/* The same in steps, for programs that read the origin in their own way. */

/* What a read left to be read from the origin. */
typedef struct {
    uint64_t offset, len;
    uint32_t flags; /* CM_MISS_EOF, CM_MISS_NOFILL */
    uint32_t handle;
    uint64_t ticket;
    uint64_t connection;
} cmc_miss;

/* Reads what is cached from `offset` on. Returns the bytes that are in `buf`. If they are fewer
 * than `len`, *miss says what to read from the origin, AFTER this call, unless CM_MISS_EOF is set:
 * the file ends there. A read of 0 bytes returns 0. CM_EINVAL is the only error. */
int64_t cmc_read(cmc_file *f, uint64_t offset, void *buf, uint32_t len, cmc_miss *miss);
/* Reads all or nothing, for a thread that must not wait for the origin: it takes no validator, and
 * does not look for the service. Returns len, or less if the file ends there, or CM_EABSENT: then
 * let another thread call cmc_read(), which looks. Counts no miss. CM_EINVAL. */
int64_t cmc_read_whole(cmc_file *f, uint64_t offset, void *buf, uint32_t len);
/* What a call returns that only the service can do, if it is not there, does not answer in time, or
 * is older than these calls. If it has refused the file, the call returns why: CMC_FULL, what
 * `identify` returned, or a CM_E* code. */
#define CMC_AWAY (-900)
/* The same, if the service is there, and all clients together have too many files open: `files` in
 * its configuration. */
#define CMC_FULL (-901)
/* The same, if the service is there, and refuses this client because it has too many: `clients` in
 * its configuration. It is asked again after some time, half a minute at most. */
#define CMC_CROWDED (-902)

/* Stores what the origin had where a read missed. It waits for no answer; but a service that is
 * stopped, and takes no more messages, makes it wait for the time-out, as any call. `flags`:
 * CM_FILL_EOF: the file ends after these bytes. CM_FILL_WARM: as cm_fill(); it waits for the
 * answer, and returns it (CM_NOT_STORED_*), or CMC_AWAY. Else 0, or CM_EINVAL: more bytes than the
 * miss, or fewer that end inside a block without CM_FILL_EOF. */
int cmc_fill(cmc_file *f, const cmc_miss *miss, const void *data, uint32_t len, uint32_t flags);

/* An open bracket or sync. */
typedef struct {
    uint64_t token;
    /* If outside: a number of the time in which there is no service; one ctime is enough for that
     * time. 0: the service is there, but refused this, so it may take a validator at any moment,
     * and each change needs a ctime of its own. */
    uint64_t connection;
    int32_t claim;
    uint32_t outside; /* the service does not know of it; the note that it finds later is lost in a
                       * power cut. So before the change make a new ctime of the file durable */
} cmc_bracket;

/* Before and after a change of the origin. A file stays warm when clients write it if all of them
 * open it with CM_SOLE_WRITER, take its validators with cm_identify_with() and
 * CM_IDENTIFY_SOLE_WRITER, and call cmc_file_revalidate() after the write: at once if the end
 * returns CM_WANT_VALIDATOR, and once more some 0.3 s later, when the file's times are no longer
 * fresh (CM_RACY_TIMES). A bracket ends once; a second end costs the connection. After a begin that
 * returned 0 write, whether or not the service is there. CM_EINVAL: NULL, or beyond the largest
 * file; do not write. The ends return 0, CM_WANT_VALIDATOR (then cmc_file_revalidate() keeps the
 * file warm), or CM_EINVAL. `after`: taken after the change, or NULL. */
/* offset, len: as in cm_write_begin(), with CM_ALL and CM_APPEND. */
int cmc_write_begin(cmc_file *f, uint64_t offset, uint64_t len, cmc_bracket *w);
int cmc_truncate_begin(cmc_file *f, uint64_t size, cmc_bracket *w);
int cmc_write_end(cmc_file *f, cmc_bracket *w, const cm_validator *after);
/* What a call returns, which is no error, if the service does not know of it. */
#define CMC_UNTOLD 100

/* Before a sync of the origin, as cm_sync_begin(). 0, or CM_EINVAL: NULL. */
int cmc_sync_begin(cmc_file *f, cmc_bracket *s);
/* After the sync, as cm_sync_end(). Returns 0, CMC_UNTOLD, or CM_EINVAL: NULL. If the sync had
 * failed, begin and end it again (ok 0) until the end returns 0, and do not read the file through
 * the service until then: it may have bytes that the origin has lost, and no validator shows that.
 */
int cmc_sync_end(cmc_file *f, cmc_bracket *s, int ok, const cm_validator *after);

/* Somebody else has changed a range; CM_ALL: to the end. 0, or CM_EINVAL. */
int cmc_invalidate(cmc_file *f, uint64_t offset, uint64_t len);
/* Takes a validator and tells it. 0, or what `identify` returned. */
int cmc_file_revalidate(cmc_file *f);
/* A file is gone, open or not. `gone`: no file will ever have this id again. 0, or CMC_UNTOLD: it
 * is noted as a write, which is enough if its validator is another one next time. CM_EINVAL. */
int cmc_forget(cmc_client *k, const cm_file_id *id, int gone);
/* The same. *kept: cmc_file_set_keep() was on it, and has gone with it: 1 or 0. */
int cmc_forget_kept(cmc_client *k, const cm_file_id *id, int gone, int *kept);
/* Reads what of [offset, offset + len) is not cached, ahead of need, and stores it, as cm_warm();
 * all options and members of the report are those, and so are the results, with CMC_AWAY. `len` is
 * not CM_ALL. What is cached in part is read from the service, and counts as read. CM_ENOTSUP:
 * CM_WARM_VERIFY. CM_EINVAL also for an option that this library does not know. */
int cmc_warm(cmc_file *f, uint64_t offset, uint64_t len, const cm_warm_options *opts,
             cm_origin_read_fn origin_read, void *ctx, cm_warm_report *report);
/* How many bytes of a range are cached, and is the file kept? *kept may be NULL. Nothing counts as
 * used. 0, CMC_AWAY, or CM_EINVAL: `len` is more than CMC_COUNT_MAX. */
int cmc_file_cached(cmc_file *f, uint64_t offset, uint64_t len, uint64_t *bytes, int *kept);
#define CMC_COUNT_MAX (UINT64_C(1) << 26)
/* As cm_file_set_keep(), for all clients of the service. Its result, or CMC_AWAY. */
int cmc_file_set_keep(cmc_file *f, int keep);
/* Why the service does not cache a file: 0: it has it open; CMC_AWAY, or why it has refused it.
 * Asks nobody. A file that was refused is tried again by cmc_file_revalidate(). CM_EINVAL: NULL. */
int cmc_file_refused(cmc_file *f);
/* How many files all clients of the service have open, and how many they may. Beyond that it
 * refuses files of all of them. So a program that keeps files open which it does not use should
 * close some when *open comes near *most. 0, CMC_AWAY, CM_ENOTSUP: an older service; or CM_EINVAL:
 * NULL. */
int cmc_files(cmc_client *k, uint32_t *open, uint32_t *most);
/* Does the pool know a file? Asking makes no record of it. 0, CM_EABSENT, CMC_AWAY, or CM_EINVAL.
 */
int cmc_look_up(cmc_client *k, const cm_file_id *id);
/* What the pool is: uuid, size, slots, used_slots, mode, kept_files, kept_bytes and kept_max of
 * *info; the rest of it stays as it is. 0, CMC_AWAY, or CM_EINVAL: NULL, or its struct_size is
 * none. */
int cmc_pool(cmc_client *k, cm_info *info);
/* The service's counters, in the order of cm_stat_name(). Returns how many there are, at most n; 0:
 * the service is not there. */
unsigned cmc_stats(cmc_client *k, uint64_t *values, unsigned n);

#ifdef __cplusplus
}
#endif
#endif
