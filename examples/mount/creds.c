/* SPDX-License-Identifier: BSD-2-Clause
 *
 * creds.c - acting as the requesting user.
 *
 * The kernel has checked the permissions (default_permissions). Some effects still depend on who
 * acts at the origin: owner, group, set-group-id bit and default ACL of new files; the set-group-id
 * bit when an ACL is set; and room that is reserved or beyond a quota.
 *
 *   creds_enter   acts as the caller in everything: user, groups, umask, effective capabilities. It
 *                 reads /proc, so it is for calls that create something or set an ACL.
 *   creds_enter_unchecked  does the same for a call that the kernel has not checked: the origin
 *                 judges the caller. If his capabilities are not known, he has none. On file
 *                 systems that judge at each call (number_judges) creds_charge is the same.
 *   creds_charge  takes the caller's user and group, and the mount's capabilities without
 *                 CAP_SYS_RESOURCE. It is for calls that take room. Only if there is no room left,
 *                 creds_more() looks in /proc whether the caller has that capability, or a group
 *                 that may have more. The kernel clears set-user-id and set-group-id bits for a
 *                 caller without CAP_FSETID. It does not clear bits that the mount hides (nosuid
 *                 below DIR), nor bits that were set through another name of the file. There the
 *                 origin clears them, for all callers but root; otherwise every write would have to
 *                 read /proc.
 *
 * The threads that serve requests of a privileged mount run without CAP_SYS_RESOURCE and without
 * supplementary groups from their start. setfsuid does not change their capabilities
 * (SECBIT_NO_SETUID_FIXUP). So a write of root costs nothing, and a write of another user four
 * short system calls. The kernel writes the pages of mappings without a caller: such a write runs
 * as the mount, with all its rights.
 *
 * All of this is per thread. The raw system calls avoid the C library, which would change every
 * thread. CLONE_FS gives the thread its own umask. Called by any thread that serves requests
 * (loop.c), around single calls of the origin.
 */
#include "mount.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define CAP_BIT(c) (1ull << (c))
/* For a caller whose capabilities are not known, or count only elsewhere: what the kernel has
 * checked is not checked again, but nothing more is granted. */
#define CHECKED_BEFORE                                                                             \
    (CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH) |               \
     CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_MKNOD))

struct identity {
    uid_t uid;
    gid_t gid;
    int n; /* supplementary groups */
    const gid_t *groups;
    uint64_t caps;
};

static _Thread_local bool own_umask;
static _Thread_local bool keeps_caps; /* over setfsuid */
static _Thread_local struct {
    uid_t uid;
    gid_t gid;
    bool groups;
    uint64_t caps;
} now;
static uint64_t all_caps; /* of the mount */
static uid_t own_uid;
static gid_t own_gid;
static uint32_t permitted[2], inheritable[2];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct identity base(void)
{
    return (struct identity){ .uid = own_uid,
                              .gid = own_gid,
                              .caps = all_caps & ~CAP_BIT(CAP_SYS_RESOURCE) };
}

static void read_caps(void)
{
    struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct d[2] = { { 0 } };

    own_uid = geteuid();
    own_gid = getegid();
    if (syscall(SYS_capget, &h, d) < 0)
        return;
    for (int i = 0; i < 2; i++) {
        permitted[i] = d[i].permitted;
        inheritable[i] = d[i].inheritable;
    }
    all_caps = d[0].effective | (uint64_t)d[1].effective << 32;
}

static void set_caps(uint64_t caps)
{
    struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct d[2];

    if (caps == now.caps)
        return;
    for (int i = 0; i < 2; i++)
        d[i] = (struct __user_cap_data_struct){ .effective =
                                                    (uint32_t)(caps >> (32 * i)) & permitted[i],
                                                .permitted = permitted[i],
                                                .inheritable = inheritable[i] };
    if (syscall(SYS_capset, &h, d) == 0)
        now.caps = caps;
}

static void act_as(const struct identity *who)
{
    if (who->uid != now.uid || who->gid != now.gid || who->n || now.groups)
        set_caps(base().caps); /* changing them takes capabilities */
    if ((who->n || now.groups) && syscall(SYS_setgroups, (size_t)who->n, who->groups) == 0)
        now.groups = who->n > 0;
    if (who->gid != now.gid)
        syscall(SYS_setfsgid, who->gid);
    if (who->uid != now.uid) {
        syscall(SYS_setfsuid, who->uid);
        if (!keeps_caps)
            now.caps = ~0ull; /* unknown */
    }
    now.gid = who->gid;
    now.uid = who->uid;
    set_caps(who->caps);
}

void creds_thread_init(void)
{
    struct identity b;
    int bits;

    pthread_once(&once, read_caps);
    own_umask = unshare(CLONE_FS) == 0;
    if (!mnt.root_user)
        return;
    bits = prctl(PR_GET_SECUREBITS);
    keeps_caps =
        bits >= 0 && prctl(PR_SET_SECUREBITS, (unsigned long)bits | SECBIT_NO_SETUID_FIXUP) == 0;
    now.uid = own_uid;
    now.gid = own_gid;
    now.groups = true; /* of the process: remove them */
    now.caps = all_caps;
    b = base();
    act_as(&b);
}

mode_t creds_mode_of(const struct fuse_ctx *ctx, mode_t mode)
{
    return own_umask ? mode : mode & ~ctx->umask;
}

mode_t creds_mode(fuse_req_t req, mode_t mode)
{
    return creds_mode_of(fuse_req_ctx(req), mode);
}

/* ---- Who asks ------------------------------------------------------------------------------- */

struct caller {
    int n;
    gid_t *groups; /* to be freed */
    uint64_t caps;
    bool known; /* they are what the origin would look at */
};

static bool same_user_namespace(pid_t pid)
{
    char path[64];
    struct stat theirs, ours;

    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    return stat(path, &theirs) == 0 && stat("/proc/self/ns/user", &ours) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/* The kernel gives the file at once if there is room. So with a part that stands behind all that is
 * looked for, and a whole line, it is complete. */
static bool ends_here(char *buf, size_t n)
{
    buf[n] = '\0';
    return buf[n - 1] == '\n' && strstr(buf, "\nCapEff:");
}

/* The whole file, which the caller frees; with 65536 groups it is long. NULL: none. */
static char *read_status(pid_t pid)
{
    char path[64], *buf = NULL, *more = NULL;
    size_t room = 4096, n = 0;
    ssize_t got = -1;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    while ((more = realloc(buf, room))) {
        buf = more;
        got = read(fd, buf + n, room - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        if (n < room - 1 && ends_here(buf, n)) {
            got = 0; /* as the next read would say */
            break;
        }
        room += n == room - 1 ? room : 0;
    }
    close(fd);
    if (got != 0) {
        free(buf);
        return NULL;
    }
    buf[n] = '\0';
    return buf;
}

/* The last of the four numbers in a line: the one that counts for files. */
static bool fs_id_is(const char *status, const char *key, unsigned id)
{
    const char *line = strstr(status, key);
    unsigned v[4];

    return line && sscanf(line + strlen(key), "%u %u %u %u", &v[0], &v[1], &v[2], &v[3]) == 4 &&
           v[3] == id;
}

static void read_groups(struct caller *c, const char *status)
{
    const char *p = strstr(status, "\nGroups:");
    char *end;

    if (p)
        c->groups = malloc((strcspn(p + 8, "\n") / 2 + 1) * sizeof(*c->groups));
    for (p = c->groups ? p + 8 : NULL; p; p = end) {
        unsigned long g;
        while (*p == ' ' || *p == '\t')
            p++;
        if (*p == '\n' || !*p)
            break;
        g = strtoul(p, &end, 10);
        if (end == p)
            break;
        c->groups[c->n++] = (gid_t)g;
    }
}

/* The caller waits for the answer, so its number stays its own, except if the request is
 * asynchronous or another process made it in the caller's name. Then the ids decide, and it gets
 * what the kernel has checked. A caller whose number means nothing here (0: another PID namespace)
 * gets no more, even as root: the root of a container has few capabilities. */
static void look_at(struct caller *c, const struct fuse_ctx *ctx)
{
    char *status = ctx->pid > 0 ? read_status(ctx->pid) : NULL;
    const char *p;

    *c = (struct caller){ .known = false };
    c->caps = ctx->uid == 0 && ctx->pid > 0 ? all_caps : all_caps & CHECKED_BEFORE;
    if (status && fs_id_is(status, "\nUid:", ctx->uid) && fs_id_is(status, "\nGid:", ctx->gid)) {
        read_groups(c, status);
        p = strstr(status, "\nCapEff:");
        c->known = p && same_user_namespace(ctx->pid);
        if (c->known)
            c->caps = strtoull(p + 8, NULL, 16) & all_caps;
        else
            c->caps = all_caps & CHECKED_BEFORE; /* what it has counts in its own namespace */
    }
    free(status);
}

bool creds_admin(fuse_req_t req)
{
    struct caller c;

    if (!mnt.root_user)
        return true; /* the origin does not tell the mount more than the caller may know */
    look_at(&c, fuse_req_ctx(req));
    free(c.groups);
    return c.caps & CAP_BIT(CAP_SYS_ADMIN);
}

bool creds_may_strip(fuse_req_t req, const struct stat *st)
{
    struct caller c;

    if (!mnt.root_user || fuse_req_ctx(req)->uid == st->st_uid)
        return true;
    look_at(&c, fuse_req_ctx(req));
    free(c.groups);
    return c.known && (c.caps & (CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_SETFCAP)));
}

/* ---- Entering and leaving ------------------------------------------------------------------- */

/* `checked`: the kernel has checked that the caller may do it. */
static void enter(struct creds *c, const struct fuse_ctx *ctx, bool checked)
{
    struct caller who;

    *c = (struct creds){ .umask = own_umask, .switched = mnt.root_user, .tried = true };
    if (own_umask)
        umask(ctx->umask);
    if (!mnt.root_user)
        return;
    look_at(&who, ctx);
    if (!checked && !who.known)
        who.caps = 0;
    act_as(&(struct identity){ ctx->uid, ctx->gid, who.n, who.groups, who.caps });
    free(who.groups);
}

void creds_enter_as(struct creds *c, const struct fuse_ctx *ctx)
{
    enter(c, ctx, true);
}

void creds_enter(struct creds *c, fuse_req_t req)
{
    enter(c, fuse_req_ctx(req), true);
}

void creds_enter_unchecked(struct creds *c, fuse_req_t req)
{
    enter(c, fuse_req_ctx(req), false);
}

/* The mount's own capabilities, for a caller that creds_charge has entered. */
static uint64_t charged_caps(const struct creds *c)
{
    return base().caps & ~(c->clears ? CAP_BIT(CAP_FSETID) : 0);
}

/* Has the file bits that the kernel leaves to the mount? If nobody else changes modes, the answer
 * "none" is remembered until the next change. */
static bool has_bits(struct inode *i)
{
    const unsigned changes = atomic_load(&i->mode_changes); /* before the look */
    const bool sole = !others_write() && !atomic_load(&i->linked);
    struct stat st;

    if (!wire_kills() || (sole && atomic_load(&i->no_bits) == changes + 1))
        return false;
    if (fstat(i->fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    if ((st.st_mode & (S_ISUID | S_ISGID)) != 0)
        return true;
    atomic_store(&i->no_bits, changes + 1);
    return false;
}

/* Such a file is rare. The caller's groups and its CAP_FSETID decide what becomes of the bits. */
static void charge_with_bits(struct creds *c, fuse_req_t req, const struct inode *i)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct caller who;

    look_at(&who, ctx);
    c->changes = i;
    c->clears = c->clears || !(who.caps & CAP_BIT(CAP_FSETID));
    act_as(&(struct identity){ ctx->uid, ctx->gid, who.n, who.groups, charged_caps(c) });
    free(who.groups);
}

void creds_charge(struct creds *c, fuse_req_t req, struct inode *i)
{
    const struct fuse_ctx *ctx = req ? fuse_req_ctx(req) : NULL;

    if (req && i && number_judges(i->device)) {
        creds_enter_unchecked(c, req);
        return;
    }
    *c = (struct creds){ .switched = mnt.root_user, .req = req };
    if (!req)
        return;
    if (!mnt.root_user) { /* the origin clears bits, because the mount has no capabilities */
        c->changes = i && has_bits(i) ? i : NULL;
        return;
    }
    c->clears = i && ((i->limits & ST_NOSUID) || i->linked) && ctx->uid != 0;
    if (i && has_bits(i)) {
        charge_with_bits(c, req, i);
        return;
    }
    act_as(&(struct identity){ ctx->uid, ctx->gid, 0, NULL, charged_caps(c) });
}

bool creds_more(struct creds *c, int err)
{
    struct identity who = base();
    struct caller caller = { .groups = NULL };
    bool more;

    if (!c->switched || c->tried || (err != ENOSPC && err != EDQUOT))
        return false;
    c->tried = true;
    if (!c->req) {
        who.caps = all_caps;
    } else {
        look_at(&caller, fuse_req_ctx(c->req));
        who.uid = fuse_req_ctx(c->req)->uid;
        who.gid = fuse_req_ctx(c->req)->gid;
        who.n = caller.n;
        who.groups = caller.groups;
        who.caps = charged_caps(c) | (caller.caps & CAP_BIT(CAP_SYS_RESOURCE));
    }
    more = who.n || who.caps != now.caps;
    if (more)
        act_as(&who);
    free(caller.groups);
    return more;
}

void creds_leave(struct creds *c)
{
    int err = errno;
    struct identity b;

    if (c->switched) {
        b = base();
        act_as(&b);
    }
    if (c->umask)
        umask(0);
    /* Of the attributes only: that waits for nobody. */
    if (c->changes)
        fuse_lowlevel_notify_inval_inode(mnt.se, (uintptr_t)c->changes, -1, 0);
    errno = err;
}
