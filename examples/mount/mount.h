/* SPDX-License-Identifier: BSD-2-Clause
 *
 * mount.h - what the files of cachemax-mount share.
 *
 *   main.c      life of the process: checks, daemonizing, pool, session, shutdown
 *   options.c   command line
 *   fstab.c     what mount(8) gives: its helper's command line, options of all file systems
 *   place.c     what is true about a path before and after mounting: stale mounts, pool inside
 *   mountinfo.c the list of the kernel's mounts
 *   cover.c     several directories: one mount that nobody sees, bound over each of them
 *   loop.c      requests of the kernel: who handles each; threads.h: the threads, who reads, who
 *               works
 *   inode.c     inode table: (st_dev, st_ino) -> O_PATH descriptor
 *   number.c    inode numbers as the mount shows them, unique over all devices below DIR
 *   cache.c     what is attached: brackets, giving the cache up
 *   rules.h     which files are cached
 *   quota.c     how much of the pool the files below a directory may take
 *   backing.h   where the cached blocks are, behind a table of calls; backing_pool.c: in a pool;
 *               backing_service.c: in that of a service; pool_refused.c: why one cannot be opened;
 *               key.c: the key of a sealed one
 *   manager.c   what a service manager is told
 *   checkpoint.c  one background thread: checkpoints of the pool
 *   keeper.c    two background threads: second validators, proofs of cleanness
 *   relief.h    descriptors for names are given back before they run out
 *   coherence.c changes that others make at the origin, beside programs that have files open
 *   watch.c     one background thread: the kernel tells of these changes
 *   zeros.c     zeros that the kernel has behind the end of a file, where others may have written
 *   times.c     servers whose times tell who changed what
 *   direct.c    O_DIRECT writes beside pages of the kernel: notifiers and their helper process
 *   paranoid.c  compares what is cached with the origin
 *   proof.c     which syncs prove that the origin has what was written
 *   flush.c     pages that the kernel holds alone, written and taken at the end
 *   creds.c     acting as the requesting user
 *   wire.c      what is agreed with the kernel beside libfuse
 *   uring.h     requests by io_uring instead of /dev/fuse
 *   control.c   control socket of a running mount; control_ops.c does what is asked for there;
 *               control_head.c reads the first line of a request
 *   resize.c    another size for the pool of a running mount
 *   gate.c      for that, a moment at which nobody uses what is attached
 *   why.c       why a file is not cached, for a client of that socket
 *   record.c    what programs read and write, for a client of that socket
 *   ops_*.c     the FUSE operations
 *
 * LOCKS  inode.lock -> keeper, lru or direct.c's lock -> table lock -> devices lock; lists of
 *        writers and of open files -> watch.c's lock -> table lock; the mutex of
 *        coherence_look_local() -> direct.c's lock, table lock. That of zeros.c is held for
 *        nothing else. None is held in a call of the
 *        origin except inode.lock: while a file is attached or judged (rules.h), and before a
 *        change without a bracket (cache.c), where the pool or the service may be asked, too.
 */
#ifndef CACHEMAX_MOUNT_H
#define CACHEMAX_MOUNT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define FUSE_USE_VERSION 312

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backing.h"
#include "rules.h"

/* Exit statuses, documented in --help. */
enum exit_status {
    EXIT_OK = 0,
    EXIT_RUNTIME = 1,
    EXIT_USAGE = 2,
    EXIT_POOL = 3,
    EXIT_LOST = 4,
    EXIT_WRONG = 5
};

/* Who writes the origin beside the mount, and how soon its users see that; docs/mount.md has a
 * table.
 */
enum coherence {
    COHERENCE_LOCAL,         /* nobody */
    COHERENCE_CLOSE_TO_OPEN, /* others: each open validates, and what is open follows */
    COHERENCE_STRICT         /* others: each read validates */
};

/* A directory that is served. */
struct place {
    char *path;           /* as given, then absolute */
    char *seen;           /* as /proc/self/fd shows it; NULL: not known */
    int fd;               /* O_PATH, from before it was covered; later that of its inode */
    unsigned long limits; /* number_limits() of its own mount */
};

struct options {
    struct place *place;
    unsigned places;
    char *dir;      /* their paths, for messages */
    char *pool;     /* as given, then absolute, later without links; NULL: `service` */
    char *key_file; /* absolute; NULL: the pool is not sealed */
    char *service;  /* path of its socket, as given, then absolute; NULL: `pool` */
    bool foreground;
    bool ro;
    bool any_owner; /* take a pool that others own or may write */
    enum coherence coherence;
    double trust_times; /* seconds that times must be old to prove something; 0: see times_tell() */
    bool paranoid;      /* compare every hit with the origin */
    bool writeback;     /* the kernel may hold writes back until a close or an fsync */
    bool one_file_system;
    double entry_timeout;
    double attr_timeout;
    unsigned max_background;
    unsigned verify; /* enum cm_verify */
    unsigned policy; /* enum cm_policy */
    uint64_t probation_bytes;
    uint64_t fill_rate;  /* bytes a second; 0: no limit */
    double drive_writes; /* a day; 0: no limit */
    const char *of_pool; /* the last of these that was given, from `verify` on; NULL: none */
    unsigned loops;
    bool ring;       /* io_uring=auto */
    char *volume_id; /* names the volume DIR is on; NULL: the system's identity */
    struct rules rules;
    /* fstab.c */
    bool helper;         /* mount(8) has started it */
    bool sloppy;         /* -o options that it does not know are no error */
    bool dirsync;        /* names are synced at once */
    char *source;        /* mount(8)'s, as given; later "none", DIR, or NULL: the pool */
    unsigned long flags; /* ST_NOSUID, ST_NODEV, ST_NOEXEC, ST_SYNCHRONOUS, ST_NOATIME and
                          * ST_NODIRATIME that were asked for */
};

struct device; /* number.c */

/* What fstat said of the origin. */
struct sight {
    off_t size;
    struct timespec mtim, ctim;
    bool known;
    bool young;       /* it could change once more and look the same */
    bool sound;       /* the validation after it was accepted, and nobody was writing */
    uint64_t changes; /* inode.changes_begun; UINT64_MAX: the mount was changing it */
};

/* A look at the origin. */
struct look {
    struct stat st;
    uint64_t cuts; /* inode.cuts before it */
};

/* What the kernel may have in its pages behind an end: zeros.c, and under its lock. */
struct zeros {
    uint64_t from, to;
    uint64_t notes;      /* how often such zeros were noted */
    uint64_t dropped_at; /* inode.tells when pages were dropped for a READ that ended early */
    bool held;
    _Atomic bool any;
};

/* An origin file that the kernel knows or that an operation is working on. */
struct inode {
    struct inode *hash_next; /* table lock */
    dev_t dev;               /* with ino: table lock when `linked`, else they stay */
    ino_t ino;
    struct device *device;
    uint64_t number; /* st_ino as the mount shows it */
    uint64_t node;   /* number_node's, mixed with the name if it has several */
    /* Has or had several names, and may be reached by other inodes: never cached. Set once. */
    _Atomic bool linked;
    _Atomic bool several; /* it had more names than one when it was looked at */
    uint32_t generation;
    uint32_t place; /* of mnt.opt: below which it was found first */
    bool top;       /* that directory itself */
    /* i->lock. Made through this mount, and never attached: the pool has nothing of it, so a change
     * needs no bracket. A reader attaches it. */
    bool unread;
    bool attached; /* has been */
    /* A directory whose list of names the kernel may have: number_look_at_mounts() then, and one.
     */
    _Atomic unsigned listed;
    /* A directory that is shown empty: with --one-file-system one elsewhere; and the root that
     * nobody sees (cover.c). */
    bool barred;
    mode_t type;    /* S_IFMT bits */
    uint64_t mount; /* that fd is on; 0: not known */
    /* number_limits of that mount, and of others on which it was found (hard links, binds). */
    _Atomic unsigned long limits;
    int fd; /* O_PATH, or rfd; keeps st_ino from being reused */
    /* Table lock: refs counts internal holds, plus one while nlookup > 0. Freed at 0. */
    uint64_t refs;
    uint64_t nlookup; /* the kernel's count */

    /* inode.lock: the attachment. While cf is set, rfd >= 0. While users > 0 neither changes,
     * except from "not attached" to "attached", and by resize.c: it takes cf, and leaves rfd, which
     * handles use. */
    pthread_mutex_t lock;
    cm_file *_Atomic cf;
    struct remote *remote; /* as cf; backing_service.c's */
    int rfd;               /* to read the origin: misses, fstat, fsync; mostly `fd` itself */
    cm_file_id id;
    int advice;            /* of --advise, to the pool: as it was when it was attached */
    unsigned users;        /* open handles and running operations */
    unsigned raw;          /* changes that have no bracket: no attaching meanwhile */
    unsigned marked;       /* when its ctime was changed for that; cache.c */
    bool starved;          /* it could not be attached for want of a descriptor or memory */
    int unread_errno;      /* why it could not be opened to be attached, or 0 */
    bool forgotten;        /* the pool has been told, since it was attached last */
    _Atomic bool unlinked; /* no name left: forget it once users is 0 */
    _Atomic bool written;  /* through this mount, since attach */
    _Atomic bool changed;  /* its content, through this mount */
    _Atomic bool left_out; /* by the rules, when they were asked last */
    bool proved;           /* an fsync at attach was made or tried */
    /* Errors of fsync on rfd. The kernel reports them there once, for all who share it. */
    unsigned losses;             /* how many */
    int loss;                    /* errno of the last one */
    bool told;                   /* to a user */
    bool told_now;               /* while a background sync runs */
    bool proving;                /* proof_begin_alone is running */
    bool kept;                   /* proof.c holds a reference: no user has been told */
    uint64_t proofs;             /* how often the origin was proved to hold everything */
    uint64_t rfd_needs;          /* as handle.needs, of rfd */
    _Atomic bool asked;          /* a sync that proved nothing asks for a proof in the background */
    uint64_t kernel_incarnation; /* of the pages that the kernel may hold; 0: not known */
    _Atomic bool pages;          /* somebody reads or writes it through the kernel's pages */
    _Atomic bool pages_read;     /* reads */
    _Atomic bool paged, bare;    /* direct.c: pages came since its last drop of all; it is done */
    /* coherence.c, with local coherence: */
    _Atomic bool others_seen;      /* somebody else has changed it */
    _Atomic bool others_changed;   /* the same, and no open has told the kernel to drop the pages */
    _Atomic unsigned drops;        /* how many times it has yet to drop them */
    _Atomic off_t size_before;     /* before their first change after the last own one */
    _Atomic uint64_t size_changes; /* changes_begun then */
    _Atomic off_t told_size;       /* coherence.c, zeros.c: the size that the kernel knows */
    _Atomic uint64_t tells;        /* how often it was told something of it */
    struct zeros zeros;
    _Atomic uint64_t checked_ns;   /* cm_now() of the last revalidation */
    _Atomic uint64_t lost_said_ns; /* cm_now() when the log told last that a write was lost */
    _Atomic bool no_caps;          /* known: no security.capability, asked before every write */
    unsigned xattr_changes;        /* changes that have ended */
    /* Of the mode: one before and one after each. No set-user-id or set-group-id bit was seen when
     * they were `no_bits` - 1. */
    _Atomic unsigned mode_changes, no_bits;
    _Atomic uint64_t cuts; /* direct.c: truncations through the mount: begins and ends */
    _Atomic uint64_t changes_begun,
        changes_ended;         /* for coherence.c, paranoid.c, times.c and watch.c */
    _Atomic uint64_t shown;    /* times.c: the server shows the time of so many changes */
    _Atomic bool announced;    /* and one of a change that has begun */
    _Atomic uint64_t recorded; /* record.c's: session and number */

    /* coherence.c's lock, but for the last one: inode.lock, or with local coherence the mutex of
     * coherence_look_local(). */
    unsigned opens;
    struct inode *open_prev, *open_next;
    struct sight seen;

    /* watch.c's lock. */
    bool watch_open, watch_listed;
    int watch_number; /* of the watch that is set; 0: none */
    struct inode *watch_same, *watch_next;
    uint64_t watch_due_ns, watch_looked_ns;
    bool watch_own;       /* an event may be of this mount's change */
    uint64_t watch_begun; /* changes_begun when the watch was set; UINT64_MAX: one was going on */
    uint64_t watch_busy;  /* changes_begun when it was seen last, if it is watch_own */
    bool watch_fresh;     /* no look since it was opened */

    struct sight watch_saw; /* at the last look; its thread's */

    /* lru lock: idle attached inodes; membership holds a reference. */
    struct inode *lru_prev, *lru_next;
    bool on_lru;

    /* keeper lock: membership holds a reference. */
    struct inode *due_next, **due_at; /* the next one; what leads to this one */
    uint64_t due_ns;
    bool scheduled;
    _Atomic bool surplus; /* to be detached */
    _Atomic unsigned tries;

    /* Where it was found last, so that the kernel can be told to drop the name; table lock. */
    struct inode *parent; /* a number that goes back to the kernel; never followed */
    char *name;
};

/* An open file. */
struct handle {
    struct inode *inode;
    bool cached;          /* may use what is attached; false: passes through */
    int fd;               /* inode->rfd when !own_fd */
    _Atomic int store_fd; /* times.c: reads what is stored in the pool; mostly fd */
    bool own_fd;
    bool writable;
    bool readable;
    bool maps;     /* open for reading and writing, which a writable mapping needs */
    bool appends;  /* the origin's descriptor can only append */
    bool no_pages; /* the kernel reads and writes it past its pages, whatever its flags */
    /* inode.lock, all three: errors of fsync that its descriptor does not report. */
    bool owed;       /* there was one at open, and no user had been told of it */
    bool shares;     /* later errors count, too */
    unsigned losses; /* how many it knows of */
    uint64_t needs;  /* its sync proves something from this value of inode.proofs on */
    /* The kernel drops the file's pages while it opens the file for this handle. So its pages after
     * the first use of the handle are of this incarnation. 0: already noted. */
    _Atomic uint64_t fresh;
    bool listed; /* flush.c's lock, with the next two */
    struct handle *prev, *next;
};

struct mount {
    struct options opt;
    const struct backing *backing;
    cm_cache *_Atomic cache; /* NULL: not now (resize.c) */
    _Atomic bool gave_up;    /* the pool is gone for good: no brackets, no hits */
    struct fuse_session *se;
    bool root_user;    /* privileged: may act as the requesting user */
    bool kernel_drops; /* the kernel drops a file's pages when it learns another size or time */
};
extern struct mount mnt;

static inline bool others_write(void)
{
    return mnt.opt.coherence != COHERENCE_LOCAL;
}

static inline bool is_strict(void)
{
    return mnt.opt.coherence == COHERENCE_STRICT;
}

/* main.c: writes one line to stderr, or to syslog once in the background. What a terminal should
 * not get, such as the control characters of a name, becomes \\x1b and the like (src/tool/text.c).
 */
void say(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* options.c: 0, or the exit status after a message; -1: it was answered (--help), exit 0. */
int options_parse(int argc, char **argv, struct options *o);
int options_take_list(const char *list, struct options *o); /* of -o; as options_parse() */
int options_complete(struct options *o); /* checks what excludes each other; defaults */
int options_answer(int letter);          /* 'h' or 'V'; as options_parse() */
int options_take_dir(const char *dir, struct options *o);

/* fstab.c */
enum taken { NOT_TAKEN, TAKEN, NEEDS_NO_VALUE, NOT_KEPT };
/* An option of -o that all file systems have. */
enum taken fstab_take(const char *key, const char *value, struct options *o);
bool fstab_is_helper(const char *argv0);
int fstab_parse(int argc, char **argv, struct options *o); /* as options_parse() */
/* open() of what the O_PATH descriptor `fd` leads to, as noatime, nodiratime and sync say. */
int fstab_open(int fd, int flags);
/* With sync or dirsync, after a change of names in a directory: syncs it. 0 or errno. */
int fstab_sync_names(int dirfd);
int fstab_status(int status); /* as mount(8) has them */

/* place.c */
int place_prepare(struct options *o); /* exit status */
void place_mounted(unsigned place);   /* this process has just mounted it */
const char *place_device(void);       /* of our mounts: "MAJOR:MINOR", as mountinfo has it */
/* An O_PATH descriptor of our mount, wherever it is now. -ENOENT: it is nowhere. -EBUSY: another
 * mount covers it. Or another -errno. With several places: of any. */
int place_open(void);
/* The kernel reads so far ahead in files of this mount, if this process may set that. The answer to
 * INIT must come before, because it sets it, too. */
void place_read_ahead(unsigned kib);
bool place_leave(void); /* unmounts all, lazily. False: one stays, after a message */
/* Is our mount still there, so that nobody changes what lies below it? If not, *until is the wall
 * clock until which it was. Also notes the time. */
#define PLACE_ALL UINT_MAX /* all of them; *until: of the first that went */
bool place_still_ours(unsigned place, int64_t *until);
bool place_stays(void); /* one of them is mounted. False also if that is not known */
/* One that has lost its mount while another one has not; each is told once. -1: none. */
int place_lost(void);
/* Each second, by main's thread: says it if the session goes on for some seconds though all are
 * gone here: another mount of it is elsewhere. */
void place_look(void);
const char *place_below(const char *path); /* what it is below a DIR; NULL: nothing there */
bool place_is_local(int fd);
/* Last parts of the paths mounted below DIRs; the caller frees each and the list. False: they could
 * not be read whole, and nothing was changed. */
bool place_mount_points(char ***names, size_t *n);

/* cover.c, for more than one place */
/* Mounts the session out of sight. `mount`: does it, at that path; 0 or an exit status. */
int cover_mount(int (*mount)(const char *at));
/* The loops run: binds a part of it over each DIR. 0, or an exit status after a message: then
 * nothing is covered any more. */
int cover_all(void);
/* main.c: ST_RDONLY, ST_NOSUID, ST_NODEV, ST_NOEXEC and ST_NOATIME that a mount there has. */
unsigned long mount_flags(unsigned place);

/* manager.c: nothing of it is told by a mount in the background. */
void manager_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void manager_ready(void);    /* the loops run */
void manager_stopping(void); /* they are about to end */

/* loop.c, threads.c */
#define READ_MAX (1u << 20)     /* largest read the kernel sends: 256 pages */
int loop_start(unsigned loops); /* threads; SIGUSR2 to the process when the session has ended */
void loop_interrupt(void);      /* tells the loops to end; repeat until they have */
bool loop_running(void);
/* Is no loop at the same request as at the call before? One thread calls it, between loop_start()
 * and loop_finish(). */
bool loop_answers(void);
/* Once a second, by one thread: says if a request waits long for the origin, and when that is over.
 * Requests by io_uring are not looked at. */
void loop_look(void);
/* After the loops ended: answers what the kernel has sent, completes queued work, joins the
 * workers. */
void loop_finish(void);
/* h NULL: the kernel has sent no OPEN. `pages`: the answer goes into pages of the kernel. */
void loop_defer_read(fuse_req_t req, struct inode *i, struct handle *h, size_t size, off_t off,
                     bool pages);
void *loop_scratch(void); /* the calling thread's page-aligned buffer of READ_MAX bytes */

/* inode.c */
int inode_init(void);
struct inode *inode_of(fuse_ino_t ino);
/* Holds the inode behind a name. NULL: errno says why. *st is filled in, with st_ino as shown. */
struct inode *inode_child(struct inode *parent, const char *name, struct stat *st);
/* The same as an answer to the kernel; counts as one of its lookups. 0 or errno. */
int inode_entry(struct inode *parent, const char *name, struct fuse_entry_param *e);
/* The same for a file that was made in `parent` just now, and is open as fd; and for one that was
 * made without a name. */
int inode_made(struct inode *parent, const char *name, int fd, struct fuse_entry_param *e);
int inode_unnamed(struct inode *parent, int fd, struct fuse_entry_param *e);
/* A name was moved there. The kernel does not look it up again, and keeps it until it is told that
 * it may have changed (inode_idle_names). */
void inode_moved(struct inode *parent, const char *name);
void inode_hold(struct inode *i);
void inode_put(struct inode *i);
void inode_forget(fuse_ino_t ino, uint64_t n);
bool inode_known(struct inode *i); /* does the kernel know it? */
/* The number of the directory that the mount covers, if that is the ".." of this one, whose list
 * says that ".." is `listed`; else 0. */
uint64_t inode_number_above(const struct inode *i, ino_t listed);
int inode_stat(struct inode *i, struct stat *st); /* 0 or errno; st_ino as shown */
double inode_attr_timeout(struct inode *i);
/* It is about to get one more name. */
void inode_gets_name(struct inode *i);
/* Before and after a change: no other inode of a file with several names is cached. */
void inode_changes(struct inode *i);
/* The directory of mnt.opt below which it was found, held; NULL: it has lost its mount. */
struct inode *inode_top(const struct inode *i);
/* It has lost its mount: the kernel forgets what it knows there, so that its file system can be
 * unmounted. Not in a thread that answers requests. */
void inode_leave(unsigned place);
bool inode_places_doubtful(void);       /* is a DIR on a doubtful device? */
bool inode_left(const struct inode *i); /* inode_leave() was called for its place */
uint64_t inode_count(void);
/* Those on file systems that are far, or the others. */
bool inode_each(bool far, void (*fn)(struct inode *i, void *ctx), void *ctx);
/* Names of up to n files nobody uses, for fuse_lowlevel_notify_inval_entry; caller frees. */
struct idle_name {
    fuse_ino_t parent;
    char *name;
};
size_t inode_idle_names(bool far, struct idle_name *v, size_t n);

/* number.c */
struct dirent;
struct device *number_init(const struct stat *st, int fd); /* the first DIR's */
/* The device of a file behind fd, counted. `hint`: probably this one. NULL: no memory. */
struct device *number_device(struct device *hint, const struct stat *st, int fd);
void number_put(struct device *d);
bool number_own(const struct device *d); /* the first DIR's */
/* FUSE and overlayfs: names with one number may be two files, or may become two (copied up). */
bool number_doubtful(const struct device *d);
bool number_local(const struct device *d); /* no other machine or process serves it */
/* Forgets a deleted file. Where no other file will ever have its id, that costs no sync. */
void number_forget(const struct device *d, const cm_file_id *id);
/* It has no blocks, as procfs: its files may have content, and say that they are empty. */
bool number_sizeless(const struct device *d);
/* As procfs: modes do not say who may read a file. That is judged when it is opened, read or
 * written, so the caller does that, and nothing is kept for others. */
bool number_judges(const struct device *d);
/* It may wait for a server, or (overlayfs) one of its layers may; also in fstat and close. */
bool number_far(const struct device *d);
/* Does a sync there prove anything? overlayfs reports no losses of its layers. */
bool number_proves(const struct device *d);
/* ST_NOSUID, ST_NODEV, ST_NOEXEC of the mount behind fd. May wait. */
unsigned long number_limits(int fd);
/* A descriptor of it that is older than all writes to it through this mount; -1: none. */
int number_witness(const struct device *d);
/* It lost data, so no sync proves anything any more. `now` sets that. Returns whether it was set.
 */
bool number_lost(struct device *d, bool now);
/* A file that is not synced is detached. It is forgotten as soon as the file system is known to
 * have lost something. */
void number_leave(struct device *d, const cm_file_id *id);
void number_forget_left(struct device *d);
void number_ask_left(bool far); /* at the end: asks the witnesses, for these files */
/* Attributes as the mount shows them: its number, and nothing that its limits forbid. */
void number_show(const struct inode *i, struct stat *st);
/* What tells a file from others with its number, as long as it is held: FUSE's node. "": dirfd
 * itself. *node 0: the number alone. False: the kernel does not tell. */
bool number_node(const struct device *d, int dirfd, const char *name, uint64_t *node);
uint64_t number_of(const struct device *d, ino_t ino);
/* Before the next two: reads the list of mount points again if it has changed. Returns how often
 * that was so. */
unsigned number_look_at_mounts(void);
bool number_has_points(void);           /* is anything mounted below the directories? */
bool number_is_point(const char *name); /* the last part of a mount point below DIR */
/* The number to show for an entry that readdir of the directory found. */
uint64_t number_listed(struct inode *dir, int dirfd, const struct dirent *e);

/* Path of an O_PATH descriptor, for calls without AT_EMPTY_PATH. */
struct procpath {
    char s[32];
};
struct procpath procpath(int fd);
/* The path that is open now, cut off if it is too long. It asks no file system. False: "". */
bool path_of_fd(int fd, char *path, size_t size);
void close_from(unsigned first); /* in a child: closes this descriptor and all that are higher */

/* cache.c */
enum change_kind { CHANGE_RANGE, CHANGE_SIZE, CHANGE_ATTR };
struct change {
    struct inode *inode;
    enum change_kind kind;
    struct bracket w;
    bool bracketed;
};
bool cache_on(void);
/* Before any file is used: so many files may be attached that nobody uses, if there are descriptors
 * for them. */
void cache_limit(uint64_t most);
/* Detaches a quarter of the files that are attached and that nobody uses, but no more than `most`.
 * Not inside of an inode's lock. False: there was none. */
bool cache_make_room(uint64_t most);
/* Attaches the inode if it is not attached, and keeps it so. True: attached just now. */
bool file_use(struct inode *i);
void file_judge(struct inode *i); /* before it is used by an open */
/* The same for who does not read; but a file that the pool knows nothing of stays as it is. */
bool file_use_to_change(struct inode *i);
void file_made(struct inode *i);         /* this mount has just made it */
bool file_is_unread(struct inode *i);    /* made here, and the pool knows nothing of it */
bool file_use_attached(struct inode *i); /* false: it is not attached, and stays so */
bool file_try_use(struct inode *i);      /* the same, but returns false instead of waiting */
void file_unuse(struct inode *i);
void file_detach_idle(struct inode *i);
void file_detach_linked(struct inode *i); /* if it is in use: at the end of that use */
/* Presents the current validator; 0, CM_IGNORED or a negative CM_E*. */
int file_revalidate(struct inode *i, cm_file_info *info);
uint64_t file_version(const struct inode *i); /* its incarnation in this pool; 0: not known */
void file_must_validate(struct inode *i);     /* before its cached blocks are used again */
/* After file_use: may the kernel keep the pages that it has? If not, *fresh is the incarnation of
 * the pages that it will have after it has dropped these, for file_has_pages(); 0: not known. */
bool file_keep_pages(struct inode *i, uint64_t *fresh);
void file_has_pages(struct inode *i, uint64_t incarnation);
void file_gone(struct inode *i);  /* sets unlinked if no name is left */
void file_named(struct inode *i); /* it had no name, and was given one */
/* 0: the origin may be changed now. -errno: it must not be changed. */
int change_begin(struct change *c, struct inode *i, enum change_kind kind, uint64_t off,
                 uint64_t len);
void change_end(struct change *c);
int file_sync(struct handle *h, bool datasync); /* 0 or errno */
/* Has its DIR still the mount, and each one in which it may have, or had, another name? Else *until
 * as place_still_ours(). */
bool file_is_ours(const struct inode *i, int64_t *until);
/* Id and validator of the file that `fd` is open on; 0 or a negative CM_E*. */
int file_identify(const struct inode *i, int fd, cm_file_id *id, cm_validator *v);
void cache_give_up(void);         /* something must be forgotten, but it is not known what */
void cache_detach_all(bool far);  /* of file systems that are far, or of the others; at the end */
bool cache_detach_used(bool far); /* also what is in use; the gate is closed. False: no memory */
void cache_attach_used(bool far); /* what is in use */

/* times.c: servers whose times tell. Without --trust-times nothing of it does anything. */
bool times_tell(const struct inode *i); /* it is on such a server */
bool times_are_young(int64_t changed_ns, const struct timespec *now);
int times_flags(const struct inode *i);           /* to open it for reads that are stored */
void times_opened(struct handle *h);              /* h->fd is open */
int times_store_fd(struct handle *h);             /* -1: errno */
void times_closed(struct handle *h);              /* before h->fd is */
void times_write_begin(struct handle *h);         /* before a write */
uint64_t times_sync_begin(const struct inode *i); /* around what brings writes to the server */
void times_sync_end(struct handle *h, uint64_t ended);

/* coherence.c: does nothing with --coherence=local. Only coherence_look_local(),
 * coherence_follow_local() and coherence_kernel_drops() are for that, and coherence_shown() is for
 * each level. */
void coherence_opened(struct inode *i); /* a handle more, */
void coherence_closed(struct inode *i); /* or less */
/* Around a validation, and only if it was accepted. `sound`: nobody was writing. False: there is
 * nothing to remember. */
bool coherence_begin(const struct inode *i, struct look *l);
void coherence_end(struct inode *i, const struct look *l, bool sound);
void coherence_seen(struct inode *i, const struct look *l, bool sound); /* inode.lock held */
/* Is it as a validation has found it that was accepted? False also if that would take a wait. */
bool coherence_unchanged(struct inode *i);
/* With local coherence: if somebody else has changed it since the last look, the kernel drops its
 * pages soon. */
void coherence_look_local(struct inode *i);
/* Does the kernel drop its pages by itself when it learns another size or mtime? */
bool coherence_kernel_drops(const struct inode *i);
/* As coherence_look_local(), if the kernel may have pages of it. Of a file with several names it
 * also waits until they are dropped, a tenth of a second at most. */
void coherence_follow_local(struct inode *i);
/* For an answer with these attributes; the look must be younger than they are. Returns for how many
 * seconds they hold. If others made the file longer, the kernel first drops its pages: this waits
 * for a tenth of a second at most. */
double coherence_shown(struct inode *i, struct stat *st);
void coherence_told(struct inode *i, const struct stat *st); /* the kernel is told this */
/* Before the reply to an open: the kernel asks for the end of the file if it may have another one.
 */
void coherence_tell_end(struct inode *i);
/* Has somebody else changed it since the last validation, or may that be? To be asked after a read
 * of the origin, before what was read is stored: it may be newer than the validator it would be
 * stored under. If nobody has synced it, a power cut takes the change back, and the new times with
 * it, but not what is stored. If the mount itself has changed it, too, nobody can say: false. */
bool coherence_moved(struct inode *i);
void coherence_look(bool far); /* now and then, by the keeper: at the files that are open */
/* By watch.c's thread: the kernel says that it has changed, or (`first`) it was opened. False: look
 * again, it could not be judged. */
bool coherence_look_at(struct inode *i, bool first);

/* zeros.c: with --coherence=local it does nothing. */
uint64_t zeros_notes(struct inode *i); /* before a READ through pages, or a drop of all pages, */
/* and then, before the answer with n bytes: what the kernel makes of it; */
void zeros_read(struct inode *i, uint64_t notes, uint64_t off, uint64_t n, uint64_t size);
void zeros_dropped(struct inode *i, uint64_t notes); /* or: they are dropped */
void zeros_told(struct inode *i, uint64_t end);      /* the kernel is being told that end */
void zeros_behind(struct inode *i, uint64_t end);    /* the kernel puts them into that page */
/* Around a notification of this end. One at a time. */
void zeros_hold(struct inode *i, uint64_t end);
void zeros_release(struct inode *i);
/* May there be some in front of this end? Then the kernel must not learn it. */
bool zeros_before(struct inode *i, uint64_t end);
void zeros_written(struct inode *i, uint64_t end); /* the same, by a WRITE that ends there */
/* The same, if the mount has begun no change since there were so many (inode.changes_begun). */
void zeros_shorter(struct inode *i, uint64_t end, uint64_t begun);
/* Before the answer to a change by the mount, after which the kernel knows this end, or a longer
 * one. From `start` on all bytes are the mount's, or the origin has zeros behind `before`, its end
 * before the change; UINT64_MAX: not known. */
void zeros_longer(struct inode *i, uint64_t start, uint64_t before, uint64_t end);
/* A page of a mapping is written. How many bytes of it are zeros that stay away from the origin; 0:
 * then *size bytes, or less, are to be written. */
size_t zeros_skip(struct inode *i, uint64_t off, const char *buf, size_t *size);

/* watch.c: nothing of it is needed, and nobody waits for it. */
void watch_start(void);
/* Open files, by coherence.c, which holds the lock of its list. */
void watch_opened(struct inode *i);
void watch_closed(struct inode *i);
bool watch_stop(void);       /* false: its thread waits for a file system */
void watch_waiting(int sig); /* sends it a signal, then */

/* keeper.c */
int keeper_start(void);
/* After loops and workers: leaves files warm if possible, and detaches all. False: a server below
 * DIR does not answer, and *waiting still waits for it. */
bool keeper_stop(pthread_t *waiting);
bool keeper_ending(void);              /* keeper_stop has begun */
void keeper_schedule(struct inode *i); /* schedules a new validator for it */
void keeper_prove(struct inode *i);    /* schedules a proof that it is synced */
void keeper_detach(struct inode *i);   /* it is on a far file system, and not needed any more */
void keeper_origin_read(void); /* the origin is being read, so this is no time for an fsync */
bool keeper_has(struct inode *i);
void keeper_gone(struct inode *i); /* it is `unlinked`: no proof, no validator, and no hold */
void keeper_wake(void);            /* both threads look around */

/* direct.c */
void direct_start(void);  /* session mounted, no threads yet: forks */
void direct_look(void);   /* main's thread, each second: says it if the helper is gone */
void direct_finish(void); /* loops and workers have ended: answers the rest */
bool direct_on(void);
bool direct_survives_ring(void); /* if this process is killed, who waits for it is released */
bool direct_bypasses(const struct fuse_file_info *fi); /* READ, WRITE: not through pages */
/* Before a READ through pages is answered, and a WRITE from pages. */
void direct_note_pages(struct inode *i, bool read);
/* The reply to a WRITE that bypassed the pages, once the kernel has none of the range. `anywhere`:
 * it is not known to be at `off`. */
void direct_reply(fuse_req_t req, struct inode *i, off_t off, size_t done, bool anywhere);

/* The kernel drops the pages of the file, a moment later. Its holder may wait for anything. */
void direct_drop(struct inode *i);
/* Until what is queued of the file is done, for a short time at most; for none if what is being
 * done has taken that long. */
void direct_wait(const struct inode *i);
/* Before an answer: then nobody reads what the kernel had, nor uses the size that it knew. It waits
 * for a short time at most. A page that is locked until the answer is one that the kernel reads
 * anew. */
void direct_drop_now(struct inode *i);
/* The same, and then the kernel knows that the file is as long as it was at the look: also what
 * asks nobody for the end finds it there. */
void direct_follow(struct inode *i, const struct look *l);
/* Around a truncation through the mount: the kernel does not learn an end from before it. */
void direct_cut_begin(struct inode *i);
void direct_cut_end(struct inode *i);
void direct_drop_counted(struct inode *i); /* until it is done, it is one of inode.drops */

/* paranoid.c: around a read from the cache, and then one of the origin */
struct paranoid {
    struct inode *inode;
    uint64_t begun, version;
    bool quiet;
};
void paranoid_begin(struct paranoid *p, struct inode *i); /* attached and in use */
/* `n` bytes of the cache in buf, `is` of the origin, or an error. Leaves those of the origin in
 * buf, and returns their number, or the error. */
int64_t paranoid_end(const struct paranoid *p, void *buf, int64_t n, int64_t is, const void *origin,
                     uint64_t off);
bool paranoid_found(void); /* a difference: nothing is read from the cache any more */

/* proof.c: around a sync of an attached file. Between begin and end it stays attached. */
struct proof {
    struct inode *inode;
    struct sync sync;
    int err; /* errno of the sync */
    bool open;
};
void proof_begin(struct proof *p, struct inode *i, int fd, bool datasync);
/* With the attachment's descriptor, for no user; users are told of an error later. */
void proof_begin_alone(struct proof *p, struct inode *i);
void proof_attached(struct inode *i); /* inode.lock held */
/* `made`: the file is new, and this its first handle. */
void proof_opened(struct handle *h, bool made);
/* After a sync with the handle's descriptor: what the user is told. 0 or errno. */
int proof_tell(struct handle *h, int err);
void proof_gone(struct inode *i); /* the file has no name, so nobody can be told */
/* After a user's sync with the descriptor of h. */
void proof_end_of(struct proof *p, const struct handle *h);
void proofs_end(struct proof *v, size_t n); /* after syncs with any descriptor */
void proof_fail(struct inode *i);           /* it is attached, and data that is not synced may be
                                             * lost */
bool proof_vouched(struct device *d);       /* asks its witness; false: it lost something */
void proof_look(bool far);                  /* now and then: releases deleted files */
/* At the end: names losses of which no user was told. True: there are some. */
bool proof_untold(bool far);

/* checkpoint.c */
int checkpoint_start(void);
void checkpoint_again(void); /* during a session; says it if they cannot be started */
void checkpoint_stop(void);  /* waits for one that runs; before the pool is closed */
bool checkpoint_helps(void); /* a file whose origin is synced is warm after a power cut */
void checkpoint_proof(void); /* a sync has proved that the origin has what was written */

/* gate.c: around all work that may use what is attached; they nest. */
void gate_enter(void);
void gate_leave(void);
/* Waits until nobody is inside, and lets nobody in. False: somebody stays too long; it is open. */
bool gate_close(void);
void gate_open(void);

/* resize.c */
bool resize_runs(void);       /* the mount is without its pool for a while */
unsigned resize_number(void); /* of the last one */
bool resize_grows(void);      /* the pool becomes larger while it is used */
bool resize_lost_pool(void);  /* and could not open it again yet */
/* A file was removed. True: the pool is away, and is told when it is back. */
bool resize_forgets(struct device *d, const cm_file_id *id);
/* For work that uses the pool without the gate. False: the mount is without it, or a resize waits
 * for those who use it; and there is no end to call. */
bool resize_hold(void);
void resize_release(void);

/* backing_pool.c: for resize.c */
int pool_leave(void); /* closes it; as cm_close(): after CM_EBUSY it is still open */
/* Opens it again, or if leaving failed goes on with it. 0, or an exit status after a message: there
 * is no pool. */
int pool_return(void);
/* Is the file with the pool's name the one that is open? Else it was moved, and another pool may
 * have its name. */
bool pool_has_name(void);
void pool_grown(void);    /* sets anew what its size decides */
uint64_t pool_room(void); /* how large it may become in its place; 0: it cannot grow there */
void pool_abandon(void);  /* it was given up while it was away: removes what has its name now */

/* control.c: the socket through which the command cachemax steers this mount. */
void control_start(void);  /* after the last fork; a failure is only logged */
void control_cancel(void); /* an end was asked for: all its work stops soon */
/* Loops and workers have ended; before keeper_stop. False: a file system below DIR does not answer,
 * and threads of control_waiting() still wait for it. */
bool control_stop(void);
bool control_ending(void);     /* control_cancel() was called */
void control_waiting(int sig); /* sends them a signal */

/* record.c */
extern _Atomic uint32_t record_session; /* 0: nobody records */
static inline bool record_on(void)
{
    /* Relaxed: who sees the begin late was before it. */
    return atomic_load_explicit(&record_session, memory_order_relaxed) != 0;
}
/* Something was read or written, and its program has no answer yet. Only while record_on(). */
void record_note(struct inode *i, bool write, uint64_t off, uint64_t len);
void record_renamed(struct inode *i); /* its name has changed */

/* flush.c */
bool flush_list(struct handle *h);   /* a handle open for writing; false: too late */
void flush_unlist(struct handle *h); /* any handle */
void flush_begin(void);   /* an end was asked for; call it before the mount is detached */
bool flush_running(void); /* data that was stored before is being written */
void flush_end(void);     /* the grace period is over; the loops still run */
bool flush_refuses(void); /* nobody gets new pages */
/* A page of a mapping, or with -o writeback of a write, could not be written: its data is lost. The
 * kernel drops its pages of the file, so nobody reads it from there. */
void flush_failed(struct inode *i, off_t off, size_t size, int err);
void flush_incomplete(const char *why);
bool flush_lost(void);
/* The kernel may have data of it that is not written yet. `new`: where the origin may have a hole:
 * what write() has put into pages the origin has, too. */
bool flush_may_hold(struct inode *i, bool new);

/* creds.c */
struct creds {
    bool umask, switched, tried;
    bool clears; /* clears set-user-id and set-group-id bits by changing the content */
    const struct inode *changes; /* it has such bits, and the kernel does not know what becomes of
                                  * them */
    fuse_req_t req;
};
void creds_thread_init(void); /* once in each thread that serves requests */
/* The mode to create with. The origin applies the umask, or this function does. */
mode_t creds_mode(fuse_req_t req, mode_t mode);
mode_t creds_mode_of(const struct fuse_ctx *ctx, mode_t mode);
/* As the caller in everything; for calls that create something. */
void creds_enter(struct creds *c, fuse_req_t req);
void creds_enter_as(struct creds *c, const struct fuse_ctx *ctx);
/* The same, for calls that the kernel has not checked. */
void creds_enter_unchecked(struct creds *c, fuse_req_t req);
/* For calls that take room for the caller and change the inode (or NULL). req NULL: for the mount.
 */
void creds_charge(struct creds *c, fuse_req_t req, struct inode *i);
/* After creds_charge and an error. True, once: there was no room, but the caller may have more. */
bool creds_more(struct creds *c, int err);
bool creds_admin(fuse_req_t req); /* the caller has CAP_SYS_ADMIN */
/* May the caller take the file capability from a file with these attributes, which has set-user-id
 * or set-group-id bits? In an ordinary user's mount the origin decides. */
bool creds_may_strip(fuse_req_t req, const struct stat *st);
void creds_leave(struct creds *c); /* keeps errno */

/* wire.c */
int wire_begin(void);  /* the session is mounted, and no thread serves it yet; 0 or -errno */
bool wire_kills(void); /* the mount clears set-user-id bits when the content changes */
/* Answers a request without libfuse: 0 or -errno. */
int wire_answer(const struct iovec *iov, int count);
/* Takes all pages of a file from the kernel, which first writes what is dirty: 0 or -errno. Not by
 * libfuse: an error of a notification of libfuse is only logged. */
int wire_drop_pages(const struct inode *i);

/* ops_*.c fill their part of the table. */
void ops_read_init(struct fuse_lowlevel_ops *ops);
void ops_write_init(struct fuse_lowlevel_ops *ops);
void ops_name_init(struct fuse_lowlevel_ops *ops);
void ops_attr_init(struct fuse_lowlevel_ops *ops);
void ops_dir_init(struct fuse_lowlevel_ops *ops);
void ops_open_init(struct fuse_lowlevel_ops *ops);
void ops_ioctl_init(struct fuse_lowlevel_ops *ops);
void ops_ioctl_protocol(unsigned minor);             /* of the kernel's version; once */
int dir_descriptor(const struct fuse_file_info *fi); /* ops_dir.c: of an open directory */
/* ops_open.c. O_TMPFILE: makes and opens a file without a name. 0 or errno. */
int open_unnamed(const struct fuse_ctx *ctx, struct inode *parent, mode_t mode,
                 struct fuse_entry_param *e, struct fuse_file_info *fi);
/* The kernel has opened it for a program: a READ has come, or it was open for writing. */
void handle_in_use(struct handle *h);
void close_handle(struct handle *h);
int flush_handle(struct handle *h); /* ops_write.c: as at a close of it; 0 or errno */
/* The handle of a request that only reads. Where the kernel sends no OPEN it is made here, and
 * handle_end() closes it. NULL: an error was replied. */
struct handle *handle_begin(fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi);
void handle_end(struct handle *h, const struct fuse_file_info *fi);
void ops_open_agree(unsigned capable); /* what the kernel can; once, before the first request */
bool opens_are_sent(void);             /* does the kernel send OPEN and RELEASE? */
/* ops_write.c: truncates inside a bracket. fd >= 0 or -1. 0 or errno. */
int set_size(fuse_req_t req, struct inode *i, int fd, off_t size);
/* ops_raw.c: false if libfuse knows the request. */
bool raw_request(const void *request);
bool raw_refuse_change(const void *request); /* of a read-only mount: true: it was answered */
bool raw_gives_pages(uint32_t opcode);       /* a program may get pages, or store in them */
bool raw_reads_attributes(uint32_t opcode);  /* as GETATTR */
/* ops_read.c */
void read_worker(fuse_req_t req, struct inode *i, struct handle *h, size_t size, off_t off,
                 bool pages);
/* Reads the origin: the bytes read, short only at its end; or -ORIGIN_ERROR - errno. */
#define ORIGIN_ERROR 100000 /* keeps values of errno apart from CM_E* */
int64_t read_origin(int fd, uint64_t off, void *buf, size_t len);

/* --one-file-system: replies that this directory, and what is in it, cannot be changed. */
static inline bool refuse_barred(fuse_req_t req, const struct inode *i)
{
    if (i->barred)
        fuse_reply_err(req, EROFS);
    return i->barred;
}

/* NULL: there was no OPEN. */
static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

#endif
