/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_swap.c - a folder that is renamed aside gets its name back: when a step fails, when the
 * process is killed at any step, also while it recovers, and when somebody else was there.
 */
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "../os.h"
#include "../../examples/winfsp/swap.h"
#ifdef _WIN32
#include "../../examples/service/owner_win32.h"
#endif

static char base[512], folder[600], aside[640], journal[640], file[700], said[16384];

static void hear(const char *text)
{
    (void)snprintf(said, sizeof(said), "%s", text);
}

static void make_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");

    REQUIRE(f != NULL);
    CHECK(fputs(text, f) >= 0 && fclose(f) == 0);
}

static bool is_file(const char *path)
{
    return os_size(path) >= 0;
}

static void make_folder(const char *path)
{
    char dir[512];

    REQUIRE(os_make_dir(dir, sizeof(dir), base, "new"));
    CHECK_EQ(rename(dir, path), 0);
}

static void begin_test(void)
{
    swap_say = hear;
    swap_fault = NULL;
    *said = '\0';
    REQUIRE(os_make_dir(base, sizeof(base), NULL, "swap"));
    (void)snprintf(folder, sizeof(folder), "%s/folder", base);
    (void)snprintf(aside, sizeof(aside), "%s.cachemax-origin", folder);
    (void)snprintf(journal, sizeof(journal), "%s.cachemax-journal", folder);
    (void)snprintf(file, sizeof(file), "%s/file", folder);
    CALL(make_folder(folder));
    CALL(make_file(file, "content"));
}

/* All is as it was, and nothing else is there. */
static void end_test(void)
{
    swap_fault = NULL;
    CHECK(is_file(file));
    CHECK_EQ(remove(file), 0);
    CHECK(os_remove_dir(folder));
    CHECK(!is_file(journal));
    CHECK(os_remove_dir(base));
}

static void test_goes_and_comes(void)
{
    static struct swap s;
    char beside[700];

    CALL(begin_test());
    CHECK_EQ(swap_recover(folder), SWAP_OK); /* nothing to do */
    CHECK_EQ(swap_begin(&s, folder), SWAP_OK);
    (void)snprintf(beside, sizeof(beside), "%s/file", aside);
    CHECK(is_file(beside) && !is_file(file) && is_file(journal));
    CHECK_EQ(swap_end(&s), SWAP_OK);
    CHECK_EQ(said[0], 0);
    CALL(end_test());
}

static void test_is_used_once(void)
{
    static struct swap s, other;

    CALL(begin_test());
    CHECK_EQ(swap_begin(&s, folder), SWAP_OK);
    CHECK_EQ(swap_begin(&other, folder), SWAP_IN_USE);
    CHECK_EQ(swap_recover(folder), SWAP_IN_USE);
    CHECK(strstr(said, "is mounted by a process") != NULL);
    CHECK_EQ(swap_end(&s), SWAP_OK);
    CALL(end_test());
}

/* ---- Steps that fail ------------------------------------------------------------------------- */

static enum swap_step failing;
static bool for_ever;
static unsigned failed;

static int fail(enum swap_step step)
{
    if (step != failing || (failed && !for_ever))
        return 0;
    failed++;
    return EIO;
}

static void one_failure(enum swap_step step, bool ever)
{
    static struct swap s;
    enum swap_result r;

    CASE("step %d, %s", (int)step, ever ? "from then on" : "once");
    CALL(begin_test());
    failing = step, for_ever = ever, failed = 0;
    swap_fault = fail;
    r = swap_begin(&s, folder);
    if (r == SWAP_OK)
        r = swap_end(&s);
    CHECK(failed > 0);
    CHECK_EQ(r, SWAP_FAILED);
    CHECK(said[0] != '\0');
    if (step == SWAP_MOVE_ASIDE && !ever)
        CHECK(strstr(said, "End the programs that have files of it open") != NULL);
    if (step <= SWAP_MAKE_PLACE && !ever)
        CHECK(is_file(file) && !is_file(journal)); /* without a recovery */
    swap_fault = NULL;
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CALL(end_test());
}

static void test_each_step_fails(void)
{
    for (int step = 0; step < SWAP_STEPS; step++) {
        CALL(one_failure((enum swap_step)step, false));
        CALL(one_failure((enum swap_step)step, true));
    }
}

/* ---- What others have done ------------------------------------------------------------------- */

/* A process that has died here has left this. */
static void leave_aside(void)
{
    static struct swap s;

    CHECK_EQ(swap_begin(&s, folder), SWAP_OK);
    failing = SWAP_CLEAR_PLACE, for_ever = true;
    swap_fault = fail;
    CHECK_EQ(swap_end(&s), SWAP_FAILED);
    swap_fault = NULL;
}

/* Content that others have made at the name is not touched. */
static void test_a_new_folder(void)
{
    char moved[640];

    CALL(begin_test());
    CALL(leave_aside());
    (void)os_remove_dir(folder); /* the place of the mount */
    CALL(make_folder(folder));
    CALL(make_file(file, "of somebody else"));
    CHECK_EQ(swap_recover(folder), SWAP_FAILED);
    CHECK(strstr(said, "something else has this name") && strstr(said, ".cachemax-origin"));
    CHECK(is_file(file) && is_file(journal));
    (void)snprintf(moved, sizeof(moved), "%s/moved", base);
    CHECK_EQ(rename(folder, moved), 0);
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CHECK_EQ(os_size(file), 7);
    (void)snprintf(file, sizeof(file), "%s/file", moved);
    CHECK_EQ(os_size(file), 16);
    CHECK(remove(file) == 0 && os_remove_dir(moved));
    (void)snprintf(file, sizeof(file), "%s/file", folder);
    CALL(end_test());
}

static void test_a_file_at_the_name(void)
{
    CALL(begin_test());
    CALL(leave_aside());
    (void)os_remove_dir(folder);
    CALL(make_file(folder, "no folder"));
    CHECK_EQ(swap_recover(folder), SWAP_FAILED);
    CHECK_EQ(os_size(folder), 9);
    CHECK_EQ(remove(folder), 0);
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CALL(end_test());
}

/* Another folder is aside than the one that the journal names. */
static void test_another_folder_aside(void)
{
    char moved[640];

    CALL(begin_test());
    CALL(leave_aside());
    (void)snprintf(moved, sizeof(moved), "%s/moved", base);
    CHECK_EQ(rename(aside, moved), 0);
    CALL(make_folder(aside));
    CHECK_EQ(swap_recover(folder), SWAP_FAILED);
    CHECK(strstr(said, "not the folder that the journal names") != NULL);
    CHECK(os_remove_dir(aside));
    CHECK_EQ(swap_recover(folder), SWAP_FAILED); /* it is nowhere */
    CHECK(is_file(journal));
    (void)os_remove_dir(folder);
    CHECK_EQ(rename(moved, folder), 0); /* by hand, with the journal left */
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CALL(end_test());
}

/* The folder is aside no more when the mount ends. What has its name is not the folder. */
static void test_moved_away(void)
{
    static struct swap s;
    char moved[640];

    CALL(begin_test());
    CHECK_EQ(swap_begin(&s, folder), SWAP_OK);
    (void)snprintf(moved, sizeof(moved), "%s/moved", base);
    CHECK_EQ(rename(aside, moved), 0);
    CHECK_EQ(swap_end(&s), SWAP_FAILED);
    CHECK(strstr(said, "at neither of its names") != NULL && is_file(journal));
    CHECK_EQ(rename(moved, aside), 0);
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CALL(end_test());
}

static unsigned busy;

static int is_busy(enum swap_step step)
{
    if (step != SWAP_MOVE_BACK || busy == 0)
        return 0;
    return busy-- % 2 ? EACCES : EBUSY;
}

/* Somebody has a file of the folder open for a moment, when it is to get its name back. */
static void test_open_for_a_moment(void)
{
    static struct swap s;

    CALL(begin_test());
    CHECK_EQ(swap_begin(&s, folder), SWAP_OK);
    busy = 3;
    swap_fault = is_busy;
    CHECK_EQ(swap_end(&s), SWAP_OK);
    CHECK(busy == 0 && said[0] == '\0');
    CALL(end_test());
}

#ifdef _WIN32
/* The folder's name in its directory; other letters, and a short name, lead to it, too. */
static void check_name(const char *path)
{
    WIN32_FIND_DATAA found;
    HANDLE const h = FindFirstFileA(path, &found);

    REQUIRE(h != INVALID_HANDLE_VALUE);
    FindClose(h);
    CHECK_EQ(strcmp(found.cFileName, "folder"), 0);
}

static void test_other_letters(void)
{
    static struct swap s;
    char other[700];

    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CALL(begin_test());
        (void)snprintf(other, sizeof(other), "%s/FOLDER", base);
        if (i == 0) {
            CHECK_EQ(swap_begin(&s, other), SWAP_OK);
            CHECK_EQ(swap_end(&s), SWAP_OK);
        } else { /* it is aside */
            CALL(leave_aside());
            CHECK_EQ(swap_recover(other), SWAP_OK);
        }
        CALL(check_name(folder));
        CALL(end_test());
    }
}
#endif

/* For nobody else, as the program makes it. */
static void make_journal(const char *text)
{
#ifdef _WIN32
    SECURITY_ATTRIBUTES who;
    HANDLE h;

    REQUIRE(owner_only(&who));
    h = CreateFileA(journal, GENERIC_WRITE, 0, &who, CREATE_NEW, 0, NULL);
    owner_only_end(&who);
    REQUIRE(h != INVALID_HANDLE_VALUE);
    CloseHandle(h);
#endif
    CALL(make_file(journal, text));
}

static void test_journals(void)
{
    static struct swap s;

    CALL(begin_test());
#ifdef _WIN32
    CALL(make_file(journal, "")); /* others may use it */
    CHECK_EQ(swap_recover(folder), SWAP_FAILED);
    CHECK(strstr(said, "is not believed") != NULL);
    CHECK_EQ(remove(journal), 0);
#endif
    CALL(make_journal("")); /* nothing was renamed yet */
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CHECK(!is_file(journal) && is_file(file));
    CALL(make_journal("cachemax-winfsp 1: a mo"));
    CHECK_EQ(swap_begin(&s, folder), SWAP_OK); /* recovers first */
    CHECK_EQ(swap_end(&s), SWAP_OK);
    CALL(make_folder(aside)); /* without a journal nobody touches it */
    CHECK_EQ(swap_begin(&s, folder), SWAP_FAILED);
    CHECK(strstr(said, "without a journal") != NULL);
    CALL(make_journal("damaged"));
    CHECK_EQ(swap_recover(folder), SWAP_FAILED);
    CHECK(strstr(said, "damaged") != NULL && is_file(file));
    CHECK(os_remove_dir(aside));
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CALL(end_test());
}

#ifndef _WIN32
/* Nothing was done, and the message says why. */
static void is_refused(const char *why)
{
    static struct swap s;

    CHECK_EQ(swap_recover(folder), SWAP_FAILED);
    CHECK(strstr(said, why) != NULL);
    CHECK_EQ(swap_begin(&s, folder), SWAP_FAILED);
    CHECK(is_file(journal));
}

/* A journal that another user may have made, or written, is believed by nobody: it would bring a
 * directory of his to the folder's name. */
static void test_planted_journals(void)
{
    CALL(begin_test());
    CALL(leave_aside());
    CHECK_EQ(chmod(journal, 0622), 0);
    CALL(is_refused("others may write it"));
    CHECK_EQ(chmod(journal, 0600), 0);
    if (geteuid() == 0) {
        CHECK_EQ(chown(journal, 65534, 65534), 0);
        CALL(is_refused("belongs to another user"));
        CHECK_EQ(chown(journal, 0, 0), 0);
    }
    CHECK_EQ(chmod(base, 0777), 0);
    CALL(is_refused("others may write its directory"));
    CHECK_EQ(chmod(base, 01777), 0); /* sticky: others may not rename it */
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CALL(end_test());
}

/* The journal is not whole, so the mount has renamed nothing: what is aside is somebody else's. */
static void test_planted_folder(void)
{
    CALL(begin_test());
    CALL(make_file(journal, ""));
    CALL(make_folder(aside));
    CHECK_EQ(remove(file), 0);
    CHECK_EQ(rmdir(folder), 0);
    CHECK_EQ(swap_recover(folder), SWAP_FAILED);
    CHECK(strstr(said, "damaged") != NULL);
    CHECK_EQ(rmdir(aside), 0);
    CALL(make_folder(folder));
    CALL(make_file(file, "content"));
    CHECK_EQ(swap_recover(folder), SWAP_OK);
    CALL(end_test());
}

static struct swap second;

/* Another process has found the new journal before it was locked, removed it as one of a process
 * that has died, and mounts. Then the lock of the first one is that of a file without a name. */
static int come_between(enum swap_step step)
{
    if (step != SWAP_WRITE)
        return 0;
    swap_fault = NULL;
    CHECK_EQ(unlink(journal), 0);
    CHECK_EQ(swap_begin(&second, folder), SWAP_OK);
    return 0;
}

static void test_two_at_once(void)
{
    static struct swap s;
    char beside[700];

    CALL(begin_test());
    swap_fault = come_between;
    CHECK_EQ(swap_begin(&s, folder), SWAP_IN_USE);
    (void)snprintf(beside, sizeof(beside), "%s/file", aside);
    CHECK(is_file(beside) && !is_file(file) && is_file(journal));
    CHECK_EQ(swap_recover(folder), SWAP_IN_USE); /* the second one is mounted */
    CHECK_EQ(swap_end(&second), SWAP_OK);
    CALL(end_test());
}
#endif

/* Only a directory that has a name of its own can be renamed. */
static void test_names(void)
{
    static struct swap s;
    char path[700];

    CALL(begin_test());
    CHECK_EQ(swap_begin(&s, file), SWAP_FAILED);
    (void)snprintf(path, sizeof(path), "%s/nothing", base);
    CHECK_EQ(swap_begin(&s, path), SWAP_FAILED);
    CHECK_EQ(swap_recover(path), SWAP_FAILED);
    CHECK(strstr(said, "there is no such folder") != NULL);
    (void)snprintf(path, sizeof(path), "%s/..", folder);
    CHECK_EQ(swap_begin(&s, path), SWAP_FAILED);
    CHECK(strstr(said, "by its own name") != NULL);
    *said = '\0';
    CHECK_EQ(swap_begin(&s, "/"), SWAP_FAILED);
    CHECK(strstr(said, "a whole volume cannot be taken") != NULL);
    (void)snprintf(path, sizeof(path), "%s//", folder);
    CHECK_EQ(swap_begin(&s, path), SWAP_OK);
    CHECK_EQ(swap_recover(folder), SWAP_IN_USE); /* the same */
    CHECK_EQ(swap_end(&s), SWAP_OK);
    CALL(end_test());
}

/* For the folders of a service, of which most never were a mount's. */
static void test_recover_if_left(void)
{
    static char path[4 * 600];

    CALL(begin_test());
    CHECK_EQ(swap_recover_if_left(folder), SWAP_OK);
    CHECK_EQ(swap_recover_if_left("/"), SWAP_OK);
    (void)snprintf(path, sizeof(path), "%s/..", folder);
    CHECK_EQ(swap_recover_if_left(path), SWAP_OK);
    (void)snprintf(path, sizeof(path), "%s/nothing", base);
    CHECK_EQ(swap_recover_if_left(path), SWAP_OK);
    (void)snprintf(path, sizeof(path), "%s/nothing/folder", base);
    CHECK_EQ(swap_recover_if_left(path), SWAP_OK);
    for (size_t n = strlen(path); n < sizeof(path) - 1; n++) /* names of 200 characters */
        path[n] = n % 200 ? 'x' : '/';
    CHECK_EQ(swap_recover_if_left(path), SWAP_OK);
    memset(path + strlen(base) + 1, 'x', sizeof(path) - strlen(base) - 2);
    CHECK_EQ(swap_recover_if_left(path), SWAP_OK);
#ifdef _WIN32
    CHECK_EQ(swap_recover_if_left("Z:\\"), SWAP_OK);
    CHECK_EQ(swap_recover_if_left("Q:\\"), SWAP_OK);
    CHECK_EQ(swap_recover_if_left("Q:\\folder"), SWAP_OK);
    CHECK_EQ(swap_recover_if_left("\\\\?\\Z:\\"), SWAP_OK);
    CHECK_EQ(swap_recover_if_left("\\\\localhost\\nothing"), SWAP_OK);
#endif
    CHECK_EQ(said[0], 0);
    CALL(leave_aside());
    *said = '\0';
    CHECK_EQ(swap_recover_if_left(folder), SWAP_OK);
    CHECK(strstr(said, "has its name again") != NULL);
    CALL(make_folder(aside));
    CHECK_EQ(swap_recover_if_left(folder), SWAP_FAILED);
    CHECK(strstr(said, "without a journal") != NULL);
    CHECK(os_remove_dir(aside));
    *said = '\0';
    CALL(make_journal("")); /* nothing was renamed yet */
    CHECK_EQ(swap_recover_if_left(folder), SWAP_OK);
    CHECK(strstr(said, "has its name again") && !is_file(journal));
    CALL(end_test());
}

/* What lies in the folder, whatever it is called. */
static void test_is_below(void)
{
    char path[700];

    CALL(begin_test());
    CHECK(swap_is_below(folder, file));
    CHECK(!swap_is_below(folder, folder));
    (void)snprintf(path, sizeof(path), "%s/folder2", base);
    CALL(make_folder(path));
    CHECK(!swap_is_below(folder, path));
    CHECK(os_remove_dir(path));
    (void)snprintf(path, sizeof(path), "%s/../folder/file", folder);
    CHECK(swap_is_below(folder, path));
    (void)snprintf(path, sizeof(path), "%s/not there", folder);
    CHECK(swap_is_below(folder, path));
#ifdef _WIN32
    (void)snprintf(path, sizeof(path), "%s/FOLDER/file", base);
    CHECK(swap_is_below(folder, path));
#else
    (void)snprintf(path, sizeof(path), "%s/link", base);
    CHECK_EQ(symlink("folder/file", path), 0);
    CHECK(swap_is_below(folder, path));
    CHECK_EQ(unlink(path), 0);
#endif
    CALL(end_test());
}

/* ---- Kills ----------------------------------------------------------------------------------- */

#ifndef _WIN32
static unsigned steps_left;

static int kill_here(enum swap_step step)
{
    (void)step;
    if (steps_left-- == 0)
        (void)raise(SIGKILL);
    return 0;
}

static void mount_once(void)
{
    static struct swap s;

    if (swap_begin(&s, folder) == SWAP_OK)
        (void)swap_end(&s);
}

static void recover_once(void)
{
    (void)swap_recover(folder);
}

/* False: it came to its end before. */
static bool killed_after(void (*what)(void), unsigned steps)
{
    const pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        steps_left = steps;
        swap_fault = kill_here;
        what();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status);
}

/* Killed at each step of a life, and at each step of the recovery after that. */
static void test_killed_at_each_step(void)
{
    unsigned lives = 0, recoveries = 0;

    for (unsigned life = 0, again = 1; again; life++) {
        for (unsigned step = 0;; step++) {
            CASE("killed after %u steps, and %u of the recovery", life, step);
            CALL(begin_test());
            again = killed_after(mount_once, life);
            const bool killed = again && killed_after(recover_once, step);
            CHECK_EQ(swap_recover(folder), SWAP_OK);
            CALL(end_test());
            recoveries += killed;
            if (!killed)
                break;
        }
        lives += again;
    }
    CHECK_EQ(lives, 7);
    CHECK(recoveries >= 10);
}
#endif

static const struct harness_test tests[] = {
    TEST(goes_and_comes),     TEST(is_used_once),
    TEST(each_step_fails),    TEST(a_new_folder),
    TEST(a_file_at_the_name), TEST(another_folder_aside),
    TEST(journals),           TEST(names),
    TEST(recover_if_left),    TEST(is_below),
    TEST(moved_away),         TEST(open_for_a_moment),
#ifdef _WIN32
    TEST(other_letters),
#endif
#ifndef _WIN32
    TEST(planted_journals),   TEST(planted_folder),
    TEST(two_at_once),        TEST(killed_at_each_step),
#endif
};

int main(int argc, char **argv)
{
#ifndef _WIN32
    (void)umask(022); /* journals that others may write are refused */
#endif
    return HARNESS_MAIN(tests, argc, argv);
}
