/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_tool_owner.c - what the command knows of mounts: the list of the kernel, and how it waits
 * for a mount that ends (Linux).
 *
 * The list, the clock and the pool are made up (--wrap).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

#include "tool/control/control.h"
#include "tool/os.h"

/* ---- The system ------------------------------------------------------------------------------ */

static const char *mounts; /* the text of /proc/self/mountinfo; NULL: the system's */

static FILE *open_text(void)
{
    FILE *f = tmpfile();

    if (f && (fputs(mounts, f) < 0 || fseek(f, 0, SEEK_SET) != 0)) {
        (void)fclose(f);
        f = NULL;
    }
    return f;
}

#define FOPEN(name)                                                                                \
    FILE *__real_##name(const char *path, const char *mode);                                       \
    FILE *__wrap_##name(const char *path, const char *mode);                                       \
    FILE *__wrap_##name(const char *path, const char *mode)                                        \
    {                                                                                              \
        return mounts && !strcmp(path, "/proc/self/mountinfo") ? open_text()                       \
                                                               : __real_##name(path, mode);        \
    }
FOPEN(fopen)
FOPEN(fopen64)

static unsigned asked;      /* how often the pool was */
static unsigned asked_most; /* then it has no owner any more */
static uint64_t wall = UINT64_C(1790000000000000000);

int __wrap_cm_pool_info(const char *pool, cm_info *info);
int __wrap_cm_pool_info(const char *pool, cm_info *info)
{
    (void)pool;
    info->owned = ++asked <= asked_most;
    return 0;
}

void __wrap_os_program(uint64_t process, char name[OS_PROGRAM]);
void __wrap_os_program(uint64_t process, char name[OS_PROGRAM])
{
    (void)process;
    (void)snprintf(name, OS_PROGRAM, "cachemax-mount");
}

/* Each look finds the wall clock set back once more. */
uint64_t __wrap_os_wall_time(void);
uint64_t __wrap_os_wall_time(void)
{
    return wall -= UINT64_C(3600000000000);
}

void __wrap_os_sleep(double seconds);
void __wrap_os_sleep(double seconds)
{
    (void)seconds;
}

/* ---- Mounts ---------------------------------------------------------------------------------- */

/* Its name may have anything in it. The user is an option. */
static void test_user_of_mount(void)
{
    static const struct {
        const char *source, *is;
        uint64_t user;
    } t[] = {
        { "/srv/pool rw,user_id=1000,group_id=1000", "/srv/pool", 1000 },
        { "/srv/user_id=7/pool rw,user_id=1000,group_id=1000", "/srv/user_id=7/pool", 1000 },
        { "/srv/user_id=7 rw,group_id=1000", "/srv/user_id=7", UINT64_MAX },
        { "/a\\040user_id=7 rw,user_id=0,group_id=0", "/a user_id=7", 0 },
        { " rw,user_id=5,group_id=0", "", 5 },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct os_mount *list = NULL;
        char text[512];
        size_t n = 0;
        CASE("%s", t[i].source);

        (void)snprintf(text, sizeof(text),
                       "22 1 0:20 / /proc rw - proc proc rw\n"
                       "77 22 0:99 / /m rw,nosuid shared:7 - fuse.cachemax %s\n",
                       t[i].source);
        mounts = text;
        CHECK_EQ(os_read_mounts(&list, &n), 0);
        mounts = NULL;
        REQUIRE(n == 1);
        CHECK_EQ(list[0].id, 77);
        CHECK_EQ(list[0].user, t[i].user);
        CHECK(strcmp(list[0].source, t[i].is) == 0);
        CHECK(strcmp(list[0].point, "/m") == 0);
        os_free_mounts(list, n);
    }
}

/* ---- A mount that ends ----------------------------------------------------------------------- */

static void test_leaves(void)
{
    asked = 0;
    asked_most = 5;
    CHECK(owner_leaves("/no/such/pool", OWNER_LEAVE_SECONDS));
    CHECK_EQ(asked, 6);
}

static const struct harness_test tests[] = {
    TEST(user_of_mount),
    TEST(leaves),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
