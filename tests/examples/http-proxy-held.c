/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http-proxy-held.c - linked into examples/http-proxy: the first thread that asks the library for
 * the version of an object goes on when the file $HELD is gone. All objects share a lock.
 */
#include <cachemax.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

int __real_cm_file_get_info(cm_file *file, cm_file_info *info);
int __wrap_cm_file_get_info(cm_file *file, cm_file_info *info);

int __wrap_cm_file_get_info(cm_file *file, cm_file_info *info)
{
    static atomic_flag taken = ATOMIC_FLAG_INIT;
    const char *flag = getenv("HELD");

    if (flag && !atomic_flag_test_and_set(&taken))
        while (access(flag, F_OK) == 0)
            usleep(10000);
    return __real_cm_file_get_info(file, info);
}
