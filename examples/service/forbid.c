/* SPDX-License-Identifier: BSD-2-Clause
 *
 * forbid.c - see forbid.h.
 *
 * It is a list of what is refused, and not one of what is allowed: a newer C library makes other
 * calls for the same work, and a mount passes on nearly all calls on files that there are. A call
 * that is refused fails with EPERM, as on a system that does not permit it. So a mistake here costs
 * a function, and not the process. docs/security.md says why each call is in the list.
 *
 * The names are looked up when the program runs. One that this kernel or libseccomp does not know
 * is left out.
 *
 * Who: the mount and the service, at their start. Owns: nothing.
 */
#include "forbid.h"

#include <errno.h>

#ifdef HAVE_SECCOMP
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const struct {
    const char *name;
    unsigned group;
} calls[] = {
    /* Code of the kernel, and the whole system. */
    { "init_module", FORBID_SYSTEM },
    { "finit_module", FORBID_SYSTEM },
    { "delete_module", FORBID_SYSTEM },
    { "kexec_load", FORBID_SYSTEM },
    { "kexec_file_load", FORBID_SYSTEM },
    { "bpf", FORBID_SYSTEM },
    { "perf_event_open", FORBID_SYSTEM },
    { "userfaultfd", FORBID_SYSTEM },
    { "reboot", FORBID_SYSTEM },
    { "swapon", FORBID_SYSTEM },
    { "swapoff", FORBID_SYSTEM },
    { "acct", FORBID_SYSTEM },
    { "syslog", FORBID_SYSTEM },
    { "sethostname", FORBID_SYSTEM },
    { "setdomainname", FORBID_SYSTEM },
    { "vhangup", FORBID_SYSTEM },
    { "iopl", FORBID_SYSTEM },
    { "ioperm", FORBID_SYSTEM },
    /* The clock. */
    { "settimeofday", FORBID_SYSTEM },
    { "stime", FORBID_SYSTEM },
    { "clock_settime", FORBID_SYSTEM },
    { "clock_settime64", FORBID_SYSTEM },
    { "clock_adjtime", FORBID_SYSTEM },
    { "clock_adjtime64", FORBID_SYSTEM },
    { "adjtimex", FORBID_SYSTEM },
    /* Keys of the kernel. */
    { "add_key", FORBID_SYSTEM },
    { "request_key", FORBID_SYSTEM },
    { "keyctl", FORBID_SYSTEM },
    /* Other processes. */
    { "ptrace", FORBID_SYSTEM },
    { "process_vm_readv", FORBID_SYSTEM },
    { "process_vm_writev", FORBID_SYSTEM },
    { "process_madvise", FORBID_SYSTEM },
    { "pidfd_getfd", FORBID_SYSTEM },
    { "kcmp", FORBID_SYSTEM },
    /* With READ_IMPLIES_EXEC, memory that is mapped to be read can be executed, too. */
    { "personality", FORBID_SYSTEM },
    /* Name spaces, roots; other flags of unshare and clone are below. */
    { "setns", FORBID_SYSTEM },
    { "pivot_root", FORBID_SYSTEM },
    { "chroot", FORBID_SYSTEM },
    { "mount", FORBID_MOUNTS },
    { "open_tree", FORBID_MOUNTS },
    { "open_tree_attr", FORBID_MOUNTS },
    { "move_mount", FORBID_MOUNTS },
    { "fsopen", FORBID_MOUNTS },
    { "fsconfig", FORBID_MOUNTS },
    { "fsmount", FORBID_MOUNTS },
    { "fspick", FORBID_MOUNTS },
    { "mount_setattr", FORBID_MOUNTS },
    { "execve", FORBID_REST },
    { "execveat", FORBID_REST },
    { "umount", FORBID_REST },
    { "umount2", FORBID_REST },
    { "io_uring_setup", FORBID_RINGS },
};

/* With a bit in an argument. */
static const struct {
    const char *name;
    unsigned group, argument;
    uint64_t bit;
} bits[] = {
    { "unshare", FORBID_SYSTEM, 0, CLONE_NEWUSER },
    { "unshare", FORBID_SYSTEM, 0, CLONE_NEWNET },
    { "unshare", FORBID_SYSTEM, 0, CLONE_NEWPID },
    { "unshare", FORBID_SYSTEM, 0, CLONE_NEWIPC },
    { "unshare", FORBID_SYSTEM, 0, CLONE_NEWUTS },
    { "unshare", FORBID_SYSTEM, 0, CLONE_NEWCGROUP },
    { "unshare", FORBID_SYSTEM, 0, CLONE_NEWTIME },
    { "unshare", FORBID_MOUNTS, 0, CLONE_NEWNS },
#ifdef __s390__
#define CLONE_FLAGS 1
#else
#define CLONE_FLAGS 0
#endif
    { "clone", FORBID_SYSTEM, CLONE_FLAGS, CLONE_NEWUSER },
    { "clone", FORBID_SYSTEM, CLONE_FLAGS, CLONE_NEWNET },
    { "clone", FORBID_SYSTEM, CLONE_FLAGS, CLONE_NEWPID },
    { "clone", FORBID_SYSTEM, CLONE_FLAGS, CLONE_NEWIPC },
    { "clone", FORBID_SYSTEM, CLONE_FLAGS, CLONE_NEWUTS },
    { "clone", FORBID_SYSTEM, CLONE_FLAGS, CLONE_NEWCGROUP },
    { "clone", FORBID_SYSTEM, CLONE_FLAGS, CLONE_NEWNS },
    /* Memory that becomes code after it was written. */
    { "mprotect", FORBID_SYSTEM, 2, PROT_EXEC },
    { "pkey_mprotect", FORBID_SYSTEM, 2, PROT_EXEC },
    { "shmat", FORBID_SYSTEM, 2, SHM_EXEC },
};

/* Adds a rule for a call; `n` conditions. 0 or an error of errno, negative. */
static int refuse(scmp_filter_ctx f, int error, const char *name, unsigned n,
                  const struct scmp_arg_cmp *conditions)
{
    const int call = seccomp_syscall_resolve_name(name);

    if (call == __NR_SCMP_ERROR)
        return 0;
    return seccomp_rule_add_array(f, SCMP_ACT_ERRNO((unsigned)error), call, n, conditions);
}

static int refuse_calls(scmp_filter_ctx f, unsigned groups)
{
    int e = 0;

    for (size_t i = 0; e == 0 && i < sizeof(calls) / sizeof(calls[0]); i++)
        if (calls[i].group & groups)
            e = refuse(f, EPERM, calls[i].name, 0, NULL);
    for (size_t i = 0; e == 0 && i < sizeof(bits) / sizeof(bits[0]); i++)
        if (bits[i].group & groups)
            e = refuse(f, EPERM, bits[i].name, 1,
                       &SCMP_CMP(bits[i].argument, SCMP_CMP_MASKED_EQ, bits[i].bit, bits[i].bit));
    return e;
}

/* What takes more than a bit. */
static int refuse_others(scmp_filter_ctx f)
{
    const uint64_t both = PROT_WRITE | PROT_EXEC;
    int e = refuse(f, EPERM, "socket", 1, &SCMP_A0(SCMP_CMP_NE, AF_UNIX, 0));

    if (e == 0)
        e = refuse(f, EPERM, "mmap", 1, &SCMP_A2(SCMP_CMP_MASKED_EQ, both, both));
    /* A filter does not see its flags, which are in memory. The C library takes clone() then. */
    return e == 0 ? refuse(f, ENOSYS, "clone3", 0, NULL) : e;
}

int forbid_calls(unsigned groups)
{
    const scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    int e = f ? 0 : -ENOMEM;

    if (e == 0) /* calls of other architectures, such as 32 bits */
        e = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
    if (e == 0)
        e = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (e == 0) /* or old kernels make all the program's memory accesses slower */
        e = seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
    if (e == 0) /* a tree, not a list */
        e = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (e == 0)
        e = seccomp_attr_set(f, SCMP_FLTATR_API_SYSRAWRC, 1);
    if (e == 0)
        e = refuse_calls(f, groups);
    if (e == 0 && (groups & FORBID_SYSTEM))
        e = refuse_others(f);
    if (e == 0)
        e = seccomp_load(f);
    if (f)
        seccomp_release(f);
    return -e;
}
#else
int forbid_calls(unsigned groups)
{
    (void)groups;
    return ENOTSUP;
}
#endif
