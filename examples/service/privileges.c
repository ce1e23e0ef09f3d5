/* SPDX-License-Identifier: BSD-2-Clause
 *
 * privileges.c - see privileges.h.
 *
 * A hole in the mount or the service, which root often runs, is then worth less: nobody gets
 * modules into the kernel, raw sockets or another clock through it. The system calls are used
 * directly, so libcap is not needed.
 */
#include "privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Capabilities that a later exec could give. It takes CAP_SETPCAP: without it there are none. */
static void limit(uint64_t keep)
{
    for (unsigned c = 0; c < 64; c++)
        if (!(keep >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0)
            break; /* the kernel knows no more, or it is not permitted */
}

bool privileges_keep(uint64_t keep)
{
    struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct d[2] = { { 0 } };

    if (syscall(SYS_capget, &h, d) != 0)
        return false;
    limit(keep);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned i = 0; i < 2; i++) {
        const uint32_t some = (uint32_t)(keep >> (32 * i));

        d[i].effective &= some;
        d[i].permitted &= some;
        d[i].inheritable &= some;
    }
    return syscall(SYS_capset, &h, d) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}
