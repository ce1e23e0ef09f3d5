/* SPDX-License-Identifier: BSD-2-Clause
 *
 * mountinfo.c - mountinfo.h: reads the list of mounts line by line.
 *
 * Owns nothing between two lists. Who: place.c.
 */
#include "mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Undoes the octal escapes of mountinfo in place. */
static void unescape(char *s)
{
    char *w = s;

    for (; *s; s++)
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *w++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *w++ = *s;
        }
    *w = '\0';
}

/* "ID PARENT DEVICE ROOT POINT OPTIONS [TAG]... - TYPE SOURCE OPTIONS", cut up in place. */
static bool parse(char *text, struct mount_line *l)
{
    char *field[5], *save = NULL;

    l->ours = strstr(text, " - fuse.cachemax ") != NULL;
    for (int k = 0; k < 5; k++)
        if (!(field[k] = strtok_r(k ? NULL : text, " ", &save)))
            return false;
    l->id = strtoull(field[0], NULL, 10);
    l->device = field[2];
    l->root = field[3];
    l->point = field[4];
    unescape(l->root);
    unescape(l->point);
    return true;
}

void mountinfo_begin(struct mountinfo *m)
{
    *m = (struct mountinfo){ .f = fopen("/proc/self/mountinfo", "re") };
    m->error = m->f ? 0 : errno;
}

bool mountinfo_next(struct mountinfo *m, struct mount_line *l)
{
    while (m->f && !m->error) {
        if (getline(&m->text, &m->room, m->f) <= 0) {
            m->error = feof(m->f) ? 0 : errno; /* also without memory */
            return false;
        }
        if (parse(m->text, l))
            return true;
    }
    return false;
}

bool mountinfo_end(struct mountinfo *m)
{
    free(m->text);
    if (m->f)
        fclose(m->f);
    errno = m->error;
    return m->error == 0;
}

char *mountinfo_place(const char *device)
{
    struct mountinfo mounts;
    struct mount_line l;
    char *at = NULL;

    mountinfo_begin(&mounts);
    while (!at && mountinfo_next(&mounts, &l))
        if (!strcmp(l.device, device))
            at = strdup(l.point);
    (void)mountinfo_end(&mounts);
    return at;
}

unsigned long long mountinfo_of(int fd)
{
    char name[40], line[128];
    unsigned long long id = 0;
    FILE *f;

    snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    f = fopen(name, "re");
    if (!f)
        return 0;
    while (!id && fgets(line, sizeof(line), f))
        if (sscanf(line, "mnt_id: %llu", &id) != 1)
            id = 0;
    fclose(f);
    if (!id)
        errno = EIO; /* each kernel since 3.15 has the line */
    return id;
}

/* "MAJOR:MINOR" of the file system. No server is asked, unless the C library does not know statx().
 */
static bool device_of(int fd, char *device, size_t n)
{
#ifdef STATX_TYPE
    struct statx x;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &x) != 0)
        return false;
    snprintf(device, n, "%u:%u", x.stx_dev_major, x.stx_dev_minor);
#else
    struct stat st;

    if (fstat(fd, &st) != 0)
        return false;
    snprintf(device, n, "%u:%u", major(st.st_dev), minor(st.st_dev));
#endif
    return true;
}

bool mountinfo_at(const char *dir, unsigned long long *id, char *device, size_t n)
{
    const int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool known;

    *id = fd < 0 ? 0 : mountinfo_of(fd);
    known = *id && device_of(fd, device, n);
    if (fd >= 0)
        close(fd);
    return known;
}
