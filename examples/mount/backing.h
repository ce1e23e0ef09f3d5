/* SPDX-License-Identifier: BSD-2-Clause
 *
 * backing.h - where the cached blocks are. The rest of the mount does not know.
 *
 *   backing_pool.c      in a pool that this process opens
 *   backing_service.c   in the pool of a service
 *
 * In every case mnt.cache is a cache of the library in which each attached inode has a file
 * (inode.cf). The rest of the mount asks it what it knows of a file: cm_file_get_info().
 */
#ifndef CACHEMAX_MOUNT_BACKING_H
#define CACHEMAX_MOUNT_BACKING_H

#include <stdbool.h>

#include "cachemax_client.h"

struct inode;

struct bracket {
    cm_bracket own;   /* of mnt.cache */
    bool judged;      /* backing_service.c: `own` has begun */
    cmc_bracket told; /* the service */
};
struct sync {
    cm_sync own;
    cmc_bracket told;
};

/* All calls may be made from any thread, unless it says otherwise. Codes are CM_E* of cachemax.h.
 */
struct backing {
    /* Sets mnt.cache. Returns 0 or an exit status, after a message. Once, before anything else. */
    int (*open)(void);
    /* Starts threads, after the last fork. 0 or errno. */
    int (*start)(void);
    /* All files are detached. Returns 0 or an exit status. */
    int (*close)(void);
    /* About once a second; also after it was given up. */
    void (*look)(void);
    /* Is a file warm after a power cut if its origin is synced, and not without? */
    bool (*pays_to_sync)(void);

    /* inode.lock is held. `fd` will be rfd. Sets cf. As cm_file_open(). */
    int (*attach)(struct inode *i, int fd, const cm_validator *v, uint32_t flags);
    /* Of an attached inode in use: has a service no room for it, because too many files are open
     * there? `again`: tries once more. NULL: there is no service. */
    bool (*no_room)(struct inode *i, bool again);
    /* inode.lock is held. Ends brackets that were left open. */
    void (*detach)(struct inode *i);
    /* A deleted file, or one that may have lost data; attached or not. As cm_forget(), and with
     * `gone` as cm_forget_gone(). */
    int (*forget)(const cm_file_id *id, bool gone);
    /* It cannot forget something, because of the error `why`. When this returns, reads that begin
     * from now on are served nothing old, and the origin may be changed. */
    void (*give_up)(int why);

    /* Of an attached inode in use: as the calls of the library. A `buf` is loop_scratch(). */
    int (*revalidate)(struct inode *i, const cm_validator *v);
    int64_t (*read_whole)(struct inode *i, uint64_t off, void *buf, size_t len);
    int64_t (*read_through)(struct inode *i, uint64_t off, void *buf, size_t len,
                            cm_origin_read_fn origin_read, void *ctx);
    int (*write_begin)(struct inode *i, uint64_t off, uint64_t len, struct bracket *b);
    int (*truncate_begin)(struct inode *i, uint64_t size, struct bracket *b);
    void (*write_end)(struct inode *i, struct bracket *b, const cm_validator *after);
    int (*sync_begin)(struct inode *i, struct sync *s);
    void (*sync_end)(struct inode *i, struct sync *s, bool ok, const cm_validator *after);

    /* For control_ops.c; those with an inode as above. Codes of the library, or CMC_AWAY. */
    int (*look_up)(const cm_file_id *id); /* 0, or CM_EABSENT: the pool does not know the file */
    /* Forgets a file that cannot be attached, and so its pin, as forget(). *kept: did it have one?
     */
    int (*unpin)(const cm_file_id *id, int *kept);
    int (*warm)(struct inode *i, uint64_t off, uint64_t len, const cm_warm_options *o,
                cm_origin_read_fn origin_read, void *ctx, cm_warm_report *report);
    uint64_t count_max; /* bytes that one call of cached() may count */
    /* *kept: is the file pinned? */
    int (*cached)(struct inode *i, uint64_t offset, uint64_t len, uint64_t *bytes, int *kept);
    int (*keep)(struct inode *i, int keep);
    int (*drop)(struct inode *i); /* all that is cached of it, durably */
    int (*info)(cm_info *info, uint64_t *hits, uint64_t *misses);
};
extern const struct backing backing_pool, backing_service;

/* pool_refused.c */
#define POOL_LINE 800
/* Says why the pool could not be opened. rc: the error; line: what the library has said, or "".
 * Returns the exit status. */
int pool_refused(int rc, const char *line);
#define POOL_PROGRAM 40
/* " (NAME)" of a process, or "" if that is not told; for messages. Returns text. */
const char *pool_program(uint32_t pid, char text[POOL_PROGRAM]);

/* ---- The key of a sealed pool (key.c) -------------------------------------------------------- */

/* Reads the file of -o key_file, if it was given and was not read before. 0 or an exit status. */
int key_read(void);
/* For cm_options.seal; NULL: no key was given. */
const cm_seal *key_seal(void);

#endif
