/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32_mount.c - os.h on Windows: mounts and their control sockets.
 *
 * There is no cachemax-mount on Windows, so there are no mounts, and nothing to connect to.
 *
 * Who: tool/.
 */
#include "tool/os.h"

#include <windows.h>

bool os_has_mounts(void)
{
    return false;
}

int os_read_mounts(struct os_mount **list, size_t *n)
{
    *list = NULL;
    *n = 0;
    return 0;
}

void os_free_mounts(struct os_mount *list, size_t n)
{
    (void)list;
    (void)n;
}

int os_locate(const char *path, uint64_t *mount, char **real)
{
    (void)path;
    *mount = 0;
    *real = NULL;
    return ERROR_NOT_SUPPORTED;
}

size_t os_processes(const char *program, uint64_t *list, size_t most)
{
    (void)program;
    (void)list;
    (void)most;
    return 0;
}

bool os_mount_point(const char *path, char *point, size_t n)
{
    (void)path;
    (void)point;
    (void)n;
    return false;
}

char *os_real_path(const char *path)
{
    (void)path;
    return NULL;
}

bool os_owner(const char *path, uint64_t *user)
{
    (void)path;
    (void)user;
    return false;
}

bool os_is_user(uint64_t user)
{
    (void)user;
    return false;
}

bool os_act_as_owner(const char *path)
{
    (void)path;
    return false;
}

void os_act_end(void)
{
}

void os_user_name(uint64_t user, char *name, size_t n)
{
    (void)user;
    if (n > 0)
        name[0] = '\0';
}

/* What forbids it there is more than a mode. */
bool os_may_write(const char *path)
{
    (void)path;
    return true;
}

enum os_bar os_bar(const char *path, unsigned *mode)
{
    (void)path;
    (void)mode;
    return OS_BAR_NONE;
}

bool os_is_socket(const char *path)
{
    (void)path;
    return false;
}

bool os_is_dead(int error)
{
    (void)error;
    return false;
}

bool os_is_refused(int error)
{
    (void)error;
    return false;
}

bool os_mount_is_dead(const char *point)
{
    (void)point;
    return false;
}

int os_walk(const char *path, os_walk_fn fn, void *ctx)
{
    (void)path;
    (void)fn;
    (void)ctx;
    return -ERROR_NOT_SUPPORTED;
}

void os_drop_pages(const char *path)
{
    (void)path;
}

int os_connect(const char *path, intptr_t *stream, uint64_t *user, uint64_t *process)
{
    (void)path;
    *stream = -1;
    *user = *process = 0;
    return ERROR_NOT_SUPPORTED;
}

int os_send(intptr_t stream, const void *data, size_t len)
{
    (void)stream;
    (void)data;
    (void)len;
    return ERROR_NOT_SUPPORTED;
}

int64_t os_receive(intptr_t stream, void *buf, size_t len, int seconds, int *error)
{
    (void)stream;
    (void)buf;
    (void)len;
    (void)seconds;
    *error = ERROR_NOT_SUPPORTED;
    return -1;
}

void os_end_sending(intptr_t stream)
{
    (void)stream;
}

void os_disconnect(intptr_t stream)
{
    (void)stream;
}

enum os_lock os_lock(const char *path)
{
    (void)path;
    return OS_LOCK_UNKNOWN;
}

enum os_whereabouts os_whereabouts(uint64_t process, const char *file)
{
    (void)process;
    (void)file;
    return OS_HERE;
}
