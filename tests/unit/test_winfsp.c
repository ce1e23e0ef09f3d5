/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_winfsp.c - the operations of cachemax-winfsp with a pool and files, called without FUSE: so
 * they run on Windows (Wine), too, where WinFsp may not be.
 */
#include "winfsp_case.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#ifdef _WIN32
#include <sddl.h>
#endif

#include "../../examples/winfsp/announce.h"

static void test_reads_and_writes(void)
{
    struct fuse_file_info fi = { 0 };
    uint64_t fh, other;

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    fh = open_it("/file", O_RDONLY);
    other = open_it("/file", O_RDWR);
    for (int i = 0; i < 4; i++)
        CALL(is_right(fh, SIZE));
    CHECK(hits() > 0);
    wrote[5000]++;
    write_at(other, 5000, 1); /* also what the first handle has cached */
    CALL(is_right(fh, SIZE));
    fi.fh = other;
    CHECK_EQ(ops.fsync(NULL, 0, &fi), 0);
    CHECK_EQ(ops.truncate(NULL, 9000, &fi), 0);
    CALL(is_right(fh, 9000));
    CHECK_EQ(ops.truncate("/file", 9500, NULL), 0);
    memset(wrote + 9000, 0, 500);
    CALL(is_right(fh, 9500));
    close_it(fh);
    close_it(other);
    fh = open_it("/file", O_RDWR | O_TRUNC);
    CALL(is_right(fh, 0));
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

/* CREATE_ALWAYS asks for a truncation also by a handle that may only read, and Windows writes what
 * is mapped by any handle. The name may be another file's by then. */
static void test_changes_by_reader(void)
{
    struct fuse_file_info fi = { 0 };
    uint64_t fh, other;

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    fh = fi.fh = open_it("/file", O_RDONLY);
    other = open_it("/file", O_RDONLY);
    for (int i = 0; i < 4; i++)
        CALL(is_right(other, SIZE));
    wrote[5000]++;
    CALL(write_at(fh, 5000, 1));
    CALL(is_right(other, SIZE));
    CHECK_EQ(ops.truncate("/file", 9000, &fi), 0);
    CALL(is_right(other, 9000));
    CHECK_EQ(ops.rename("/file", "/moved", 0), 0);
    CALL(make_it("/file", 300));
#ifdef _WIN32
    const int e = ops.truncate("/file", 0, &fi);
    CHECK(e == 0 || e == -EACCES); /* Wine finds another file, which must stay */
    CALL(is_right(other, e == 0 ? 0 : 9000));
#else
    CHECK_EQ(ops.truncate("/file", 0, &fi), 0);
    CALL(is_right(other, 0));
#endif
    close_it(fh);
    close_it(other);
    fh = open_it("/file", O_RDONLY);
    CALL(is_right(fh, 300));
    close_it(fh);
    CHECK(ops.unlink("/file") == 0 && ops.unlink("/moved") == 0);
    CALL(end_test());
}

static bool make_hard_link(const char *path, const char *to)
{
#ifdef _WIN32
    return CreateHardLinkA(to, path, NULL);
#else
    return link(path, to) == 0;
#endif
}

static void write_outside(const char *path, int off)
{
    FILE *f = fopen(path, "r+b");

    REQUIRE(f != NULL);
    CHECK(fseek(f, off, SEEK_SET) == 0 && fputc(wrote[off], f) >= 0 && fclose(f) == 0);
}

/* A file with a name outside of the folder may be written there at any time. What is open, and what
 * was cached when it had one name, is not served. */
static void test_name_outside(void)
{
    char path[700], outside[700];
    uint64_t fh, other, before;

    CALL(begin_test());
    (void)snprintf(path, sizeof(path), "%s/file", folder);
    (void)snprintf(outside, sizeof(outside), "%s/outside", base);
    CALL(make_it("/file", SIZE));
    fh = open_it("/file", O_RDONLY);
    for (int i = 0; i < 4; i++)
        CALL(is_right(fh, SIZE));
    close_it(fh);
    REQUIRE(make_hard_link(path, outside));
    fh = open_it("/file", O_RDONLY);
    other = open_it("/file", O_RDWR);
    before = hits();
    for (int i = 0; i < 3; i++) {
        wrote[5000 + i]++;
        CALL(write_outside(outside, 5000 + i));
        CALL(is_right(fh, SIZE));
        wrote[9000 + i]++;
        write_at(other, 9000 + i, 1);
        CALL(is_right(fh, SIZE));
    }
    CHECK_EQ(hits(), before);
    close_it(other);
    CHECK_EQ(remove(outside), 0);
    CALL(is_right(fh, SIZE));
    close_it(fh);
    fh = open_it("/file", O_RDONLY);
    CALL(is_right(fh, SIZE));
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

/* What the origin is asked of a file that is open: what it is, and what it holds. */
static unsigned asked;
static bool fails;               /* the next time */
static void (*after_stat)(void); /* the next time */

int __real_origin_stat_file(origin_file f, api_stat *st);
int __wrap_origin_stat_file(origin_file f, api_stat *st);
int __wrap_origin_stat_file(origin_file f, api_stat *st)
{
    const int e = fails ? -EIO : __real_origin_stat_file(f, st);
    void (*after)(void) = after_stat;

    asked++;
    fails = false;
    after_stat = NULL;
    if (after)
        after();
    return e;
}

int64_t __real_origin_read(origin_file f, uint64_t off, void *buf, size_t len);
int64_t __wrap_origin_read(origin_file f, uint64_t off, void *buf, size_t len);
int64_t __wrap_origin_read(origin_file f, uint64_t off, void *buf, size_t len)
{
    asked++;
    return __real_origin_read(f, off, buf, len);
}

static void test_hits_ask_nothing(void)
{
    uint64_t fh, before;

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    fh = open_it("/file", O_RDONLY);
    for (int i = 0; i < 4; i++)
        CALL(is_right_at(fh, 0, BLOCK));
    before = hits();
    asked = 0;
    for (int i = 0; i < 4; i++)
        CALL(is_right_at(fh, 0, BLOCK));
    CHECK_EQ(asked, 0);
    CHECK_EQ(hits(), before + 4);
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

/* So a name that is made outside while the file is open is noticed when the origin is asked, by
 * whatever handle: then nothing is served by any. */
static void test_name_comes(void)
{
    char path[700], outside[700];
    struct fuse_file_info fi = { 0 };
    uint64_t fh, other, before;
    api_stat st;

    for (unsigned k = 0; k < 4; k++) {
        CASE("noticed by %u", k);
        CALL(begin_test());
        (void)snprintf(path, sizeof(path), "%s/file", folder);
        (void)snprintf(outside, sizeof(outside), "%s/outside", base);
        CALL(make_it("/file", SIZE));
        CALL(make_it("/another", SIZE));
        fh = open_it("/file", O_RDONLY);
        other = open_it("/another", O_RDONLY);
        for (int i = 0; i < 4; i++) {
            CALL(is_right_at(fh, LAST, 1000));
            CALL(is_right_at(other, LAST, 1000));
        }
        fi.fh = k == 3 ? open_it("/file", O_RDONLY) : fh;
        REQUIRE(make_hard_link(path, outside));
        before = hits();
        CALL(is_right_at(other, LAST, 1000));
        CHECK_EQ(hits(), before + 1);
        wrote[LAST]++;
        CALL(write_outside(outside, LAST));
        if (k == 0)
            CALL(is_right_at(fh, BLOCK, 1000)); /* a miss */
        else if (k == 1)
            close_it(open_it("/file", O_RDONLY));
        else
            CHECK(ops.getattr("/file", &st, &fi) == 0 && st.st_nlink == 2);
        CALL(is_right_at(fh, LAST, 1000));
        CHECK_EQ(hits(), before + 1);
        wrote[LAST]--;
        CALL(is_right_at(other, LAST, 1000)); /* another file */
        CHECK_EQ(hits(), before + 2);
        close_it(fh);
        close_it(other);
        if (fi.fh != fh)
            close_it(fi.fh);
        CHECK_EQ(remove(outside), 0);
        CHECK(ops.unlink("/file") == 0 && ops.unlink("/another") == 0);
        CALL(end_test());
    }
}

static char inside_name[700], outside_name[700];
static uint64_t witness; /* a handle that is open */
static unsigned then; /* what happens after a name was made and seen: 0: nothing; 1: it goes, when
                       * it was used for a write; 2: the handle that has seen it is closed */

static void name_comes(void)
{
    struct fuse_file_info fi = { .fh = witness };
    api_stat st;

    CHECK(make_hard_link(inside_name, outside_name));
    CHECK(ops.getattr("/file", &st, &fi) == 0 && st.st_nlink == 2);
    if (then == 1) {
        CALL(write_outside(outside_name, LAST));
        CHECK_EQ(remove(outside_name), 0);
    } else if (then == 2) {
        close_it(witness);
    }
}

/* A handle that is being opened has looked for names, and is in no list yet. */
static void test_name_comes_in_open(void)
{
    uint64_t fh, before;

    for (then = 0; then < 3; then++) {
        CASE("then %u", then);
        CALL(begin_test());
        (void)snprintf(inside_name, sizeof(inside_name), "%s/file", folder);
        (void)snprintf(outside_name, sizeof(outside_name), "%s/outside", base);
        CALL(make_it("/file", SIZE));
        usleep(100000); /* so that its times prove something */
        witness = open_it("/file", O_RDONLY);
        for (int i = 0; i < 4; i++)
            CALL(is_right_at(witness, LAST, 1000));
        before = hits();
        wrote[LAST]++;
        after_stat = name_comes;
        fh = open_it("/file", O_RDONLY);
        CHECK(after_stat == NULL);
        if (then != 1)
            CALL(write_outside(outside_name, LAST));
        CALL(is_right_at(fh, LAST, 1000));
        CHECK_EQ(hits(), before);
        close_it(fh);
        if (then != 2)
            close_it(witness);
        if (then != 1)
            CHECK_EQ(remove(outside_name), 0);
        CHECK_EQ(ops.unlink("/file"), 0);
        CALL(end_test());
    }
}

/* The other name is gone, and nobody has the file open here. Who has opened it by that name may
 * write it still. */
static void test_had_names(void)
{
    uint64_t fh, before;

    CALL(begin_test());
    (void)snprintf(inside_name, sizeof(inside_name), "%s/file", folder);
    (void)snprintf(outside_name, sizeof(outside_name), "%s/outside", base);
    CALL(make_it("/file", SIZE));
    CALL(make_it("/another", SIZE));
    REQUIRE(make_hard_link(inside_name, outside_name));
    close_it(open_it("/file", O_RDONLY));
    CHECK_EQ(remove(outside_name), 0);
    before = hits();
    fh = open_it("/file", O_RDONLY);
    for (int i = 0; i < 4; i++)
        CALL(is_right_at(fh, LAST, 1000));
    wrote[LAST]++;
    CALL(write_outside(inside_name, LAST)); /* as the other one does */
    CALL(is_right_at(fh, LAST, 1000));
    close_it(fh);
    CHECK_EQ(hits(), before);
    wrote[LAST]--;
    fh = open_it("/another", O_RDONLY);
    for (int i = 0; i < 4; i++)
        CALL(is_right_at(fh, LAST, 1000));
    close_it(fh);
    CHECK(hits() > before);
    CHECK_EQ(ops_end(), 0);
    CHECK_EQ(cache_end(), 0);
    REQUIRE(cache_begin(pool) == 0); /* another mount knows nothing of it */
    before = hits();
    wrote[LAST]++;
    fh = open_it("/file", O_RDONLY);
    for (int i = 0; i < 4; i++)
        CALL(is_right_at(fh, LAST, 1000));
    close_it(fh);
    CHECK(hits() > before);
    CHECK(ops.unlink("/file") == 0 && ops.unlink("/another") == 0);
    CALL(end_test());
}

/* A handle that could not look for names once serves nothing. It tells the others all the same when
 * it sees some. */
static void test_name_comes_after_trouble(void)
{
    struct fuse_file_info fi = { 0 };
    uint64_t other;
    api_stat st;

    CALL(begin_test());
    (void)snprintf(inside_name, sizeof(inside_name), "%s/file", folder);
    (void)snprintf(outside_name, sizeof(outside_name), "%s/outside", base);
    CALL(make_it("/file", SIZE));
    fi.fh = open_it("/file", O_RDONLY);
    other = open_it("/file", O_RDONLY);
    for (int i = 0; i < 4; i++)
        CALL(is_right_at(other, LAST, 1000));
    fails = true;
    CALL(is_right_at(fi.fh, BLOCK, 1000));
    CHECK(!fails);
    REQUIRE(make_hard_link(inside_name, outside_name));
    CHECK(ops.getattr("/file", &st, &fi) == 0 && st.st_nlink == 2);
    wrote[LAST]++;
    CALL(write_outside(outside_name, LAST));
    CALL(is_right_at(other, LAST, 1000));
    close_it(fi.fh);
    close_it(other);
    CHECK_EQ(remove(outside_name), 0);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

static unsigned seen;

static int see(void *buf, const char *name, const api_stat *st, api_off off,
               enum fuse_fill_dir_flags flags)
{
    (void)buf, (void)off, (void)flags;
    if (!strcmp(name, "\xc3\xa4 b"))
        seen += (st->st_mode & S_IFMT) == S_IFREG ? 2 : 1;
    return 0;
}

static unsigned forgotten;

int __real_cm_forget(cm_cache *cache, const cm_file_id *id);
int __wrap_cm_forget(cm_cache *cache, const cm_file_id *id);
int __wrap_cm_forget(cm_cache *cache, const cm_file_id *id)
{
    forgotten++;
    return __real_cm_forget(cache, id);
}

static void test_names(void)
{
    struct fuse_file_info fi = { .flags = O_RDONLY };
    api_statvfs s;
    api_stat st;
    uint64_t fh;

    CALL(begin_test());
    CHECK_EQ(ops.mkdir("/dir", 0755), 0);
    CHECK_EQ(ops.mkdir("/dir", 0755), -EEXIST);
    CALL(make_it("/a", 5000));
    CALL(make_it("/dir/over", 100));
    fh = open_it("/dir/over", O_RDONLY);
    CALL(is_right(fh, 100));
    close_it(fh);
    CHECK_EQ(ops.rename("/a", "/dir/over", 0), 0); /* what was there is forgotten */
    fh = open_it("/dir/over", O_RDONLY);
    CALL(is_right(fh, 5000));
    close_it(fh);
    CHECK_EQ(ops.rename("/dir/over", "/dir/\xc3\xa4 b", 0), 0);
    CHECK_EQ(ops.readdir("/dir", NULL, see, 0, NULL, (enum fuse_readdir_flags)0), 0);
    CHECK_EQ(seen, 2);
    CHECK_EQ(ops.getattr("/dir", &st, NULL), 0);
    CHECK_EQ(st.st_mode & S_IFMT, S_IFDIR);
    CHECK_EQ(ops.getattr("/a", &st, NULL), -ENOENT);
    CHECK_EQ(ops.open("/a", &fi), -ENOENT);
    fi.flags = O_RDWR | O_CREAT | O_EXCL;
    CHECK_EQ(ops.create("/dir/\xc3\xa4 b", 0644, &fi), -EEXIST);
    CHECK_EQ(ops.rmdir("/dir"), -ENOTEMPTY);
    CHECK(ops.statfs("/", &s) == 0 && s.f_blocks > 0);
    CHECK_EQ(ops.unlink("/dir/\xc3\xa4 b"), 0);
    CHECK_EQ(ops.unlink("/dir/\xc3\xa4 b"), -ENOENT);
    CHECK_EQ(ops.rmdir("/dir"), 0);
    CALL(end_test());
}

/* What a file's name becomes may be a name of the same file: on Windows with other letters. Then
 * nothing is lost, and nothing is forgotten. */
static void test_other_letters(void)
{
    unsigned before;
    api_stat st;

    CALL(begin_test());
    CALL(make_it("/name.txt", 5000));
    CALL(make_it("/other", 100));
    before = forgotten;
    CHECK_EQ(ops.rename("/name.txt", "/Name.TXT", 0), 0);
    CHECK_EQ(forgotten, before);
    CHECK_EQ(ops.getattr("/Name.TXT", &st, NULL), 0);
    CHECK_EQ(ops.rename("/other", "/Name.TXT", 0), 0);
    CHECK_EQ(forgotten, before + 1);
    CHECK_EQ(ops.unlink("/Name.TXT"), 0);
    CHECK_EQ(forgotten, before + 2);
    CALL(end_test());
}

/* WinFsp makes the rights of users of the mode, and all is done with those of who started the
 * mount. So others get none, unless that is asked for. Names differ only if they do so for Windows.
 */
static void test_others(void)
{
    const unsigned insensitive = 1u << 29; /* FSP_FUSE_CAP_CASE_INSENSITIVE */
    struct fuse_config config = { .use_ino = 0 };
    struct fuse_conn_info conn = { .capable = ~0u };
    api_stat st;

    for (unsigned k = 0; k < 2; k++) {
        CASE("everyone %u", k);
        everyone = k != 0;
        CALL(begin_test());
        CALL(make_it("/file", 100));
        CHECK_EQ(ops.mkdir("/dir", 0755), 0);
#ifdef _WIN32
        CHECK(ops.getattr("/file", &st, NULL) == 0);
        CHECK_EQ(st.st_mode & 0777, everyone ? 0777 : 0700);
        CHECK(ops.getattr("/dir", &st, NULL) == 0);
        CHECK_EQ(st.st_mode & 0777, everyone ? 0777 : 0700);
        CHECK_EQ(ops.chmod("/file", 0444, NULL), 0);
        CHECK(ops.getattr("/file", &st, NULL) == 0);
        CHECK_EQ(st.st_mode & 0777, everyone ? 0555 : 0500);
        CHECK_EQ(ops.chmod("/file", 0644, NULL), 0);
#endif
        CHECK_EQ(ops.unlink("/file"), 0);
        CHECK_EQ(ops.rmdir("/dir"), 0);
        CALL(end_test());
    }
    everyone = false;
    (void)st;
    (void)ops.init(&conn, &config);
#ifdef _WIN32
    CHECK((conn.want & insensitive) != 0);
#else
    CHECK((conn.want & insensitive) == 0);
#endif
}

/* With --everyone all users have all rights that CreateFile asks for, also FILE_WRITE_EA, which
 * WinFsp makes of no mode. Else no rights are given but by the modes. */
static void test_rights_of_everyone(void)
{
#ifdef _WIN32
    const DWORD asks = FILE_GENERIC_READ | FILE_GENERIC_WRITE | FILE_GENERIC_EXECUTE | DELETE;
    const char *const given = strstr(ops_options(true), ",FileSecurity=");
    PSECURITY_DESCRIPTOR d;
    BYTE all[SECURITY_MAX_SID_SIZE];
    DWORD room = sizeof(all);
    ACCESS_ALLOWED_ACE *ace;
    BOOL there, unused;
    ACL *acl;

    CHECK(!strstr(ops_options(false), "FileSecurity"));
    REQUIRE(given && !strchr(given + 1, ','));
    REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorA(given + strlen(",FileSecurity="),
                                                                 SDDL_REVISION_1, &d, NULL));
    CHECK(GetSecurityDescriptorDacl(d, &there, &acl, &unused) && there);
    CHECK_EQ(acl->AceCount, 1);
    CHECK(GetAce(acl, 0, (void **)&ace) && CreateWellKnownSid(WinWorldSid, NULL, all, &room));
    CHECK_EQ(ace->Header.AceType, ACCESS_ALLOWED_ACE_TYPE);
    CHECK_EQ(ace->Mask & asks, asks);
    CHECK(EqualSid(&ace->SidStart, all));
    LocalFree(d);
#else
    CHECK(strstr(ops_options(true), "allow_other,default_permissions") != NULL);
    CHECK(!strstr(ops_options(false), "allow_other"));
#endif
}

/* "Read only" restricts nothing in a directory of Windows, and Explorer sets it. Wine does not set
 * it, but shows it of a directory that nobody may write. */
static void test_read_only_folder(void)
{
#ifdef _WIN32
    api_stat st;

    CALL(begin_test());
    CHECK_EQ(ops.mkdir("/dir", 0755), 0);
    CHECK_EQ(ops.chmod("/dir", 0555, NULL), 0);
    CHECK_EQ(ops.getattr("/dir", &st, NULL), 0);
    CHECK_EQ(st.st_mode & 0777, 0700);
    CALL(make_it("/dir/in", 100));
    CHECK_EQ(ops.unlink("/dir/in"), 0);
    CHECK_EQ(ops.chmod("/dir", 0755, NULL), 0);
    CHECK_EQ(ops.rmdir("/dir"), 0);
    CALL(end_test());
    REQUIRE(origin_begin("Z:\\proc", false) == 0);
    if (ops.getattr("/", &st, NULL) == 0)
        CHECK_EQ(st.st_mode & 0777, 0700);
    origin_end();
#endif
}

static atomic_uint said;

static void say(void)
{
    atomic_fetch_add(&said, 1);
}

/* "Is mounted" is said when the mount is there. WinFsp makes it after it has called init. */
static void test_announced(void)
{
    struct fuse_config config = { .use_ino = 0 };
    struct fuse_conn_info conn = { .capable = 0 };
    char place[600], dir[512];

    REQUIRE(os_make_dir(base, sizeof(base), NULL, "winfsp"));
    REQUIRE(os_make_dir(dir, sizeof(dir), base, "new"));
    (void)snprintf(place, sizeof(place), "%s/folder", base);
    atomic_store(&said, 0);
    announce_begin(place, say);
#ifdef _WIN32
    (void)ops.init(&conn, &config);
    usleep(200000);
    CHECK_EQ(atomic_load(&said), 0);
    CHECK_EQ(rename(dir, place), 0);
    for (unsigned i = 0; i < 1000 && atomic_load(&said) == 0; i++)
        usleep(10000);
#else
    CHECK_EQ(rename(dir, place), 0);
    CHECK_EQ(atomic_load(&said), 0);
    (void)ops.init(&conn, &config);
#endif
    CHECK_EQ(atomic_load(&said), 1);
    announce_end();
    announce_end();
    CHECK_EQ(atomic_load(&said), 1);
    CHECK_EQ(rename(place, dir), 0);
    announce_begin(place, say); /* it never comes */
    announce_end();
    CHECK_EQ(atomic_load(&said), 1);
    CHECK(os_remove_dir(dir) && os_remove_dir(base));
}

static void test_attributes(void)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = 1500000000 } };
    api_stat st;
    uint64_t fh;

    CALL(begin_test());
    CALL(make_it("/file", 5000));
    CHECK_EQ(ops.chmod("/file", 0444, NULL), 0);
    CHECK(ops.getattr("/file", &st, NULL) == 0 && (st.st_mode & 0222) == 0);
    CHECK_EQ(ops.chmod("/file", 0644, NULL), 0);
    CHECK(ops.getattr("/file", &st, NULL) == 0 && (st.st_mode & 0200) != 0);
    CHECK_EQ(ops.utimens("/file", tv, NULL), 0);
    CHECK(ops.getattr("/file", &st, NULL) == 0 && st.st_mtim.tv_sec == 1500000000);
    fh = open_it("/file", O_RDONLY);
    CALL(is_right(fh, 5000));
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

/* What the last calls were: of cm_identify_with (i) and origin_close (c). */
static char calls[8];

static void note_call(char what)
{
    memmove(calls, calls + 1, sizeof(calls) - 2);
    calls[sizeof(calls) - 2] = what;
}

int __real_cm_identify_with(intptr_t file, const cm_identify_options *o, cm_file_id *id,
                            cm_validator *v);
int __wrap_cm_identify_with(intptr_t file, const cm_identify_options *o, cm_file_id *id,
                            cm_validator *v);
int __wrap_cm_identify_with(intptr_t file, const cm_identify_options *o, cm_file_id *id,
                            cm_validator *v)
{
    note_call('i');
    return __real_cm_identify_with(file, o, id, v);
}

/* What NTFS does: a handle that has written sets the time of the last write anew when it is closed,
 * but not if the time was set by that handle, whose writes leave it. */
static struct {
    origin_file f;
    bool written, timed;
    api_timespec times[2];
} ntfs[16];
static bool is_ntfs;

static void note(origin_file f, bool written, const api_timespec *times)
{
    unsigned i = 0;

    while (i < 16 && ntfs[i].f != f)
        i++;
    for (i = i < 16 ? i : 0; i < 15 && ntfs[i].f != f && ntfs[i].f != 0;)
        i++;
    ntfs[i].f = f;
    ntfs[i].written |= written;
    if (times)
        memcpy(ntfs[i].times, times, sizeof(ntfs[i].times));
    ntfs[i].timed |= times != NULL;
}

int64_t __real_origin_write(origin_file f, uint64_t off, const void *buf, size_t len);
int64_t __wrap_origin_write(origin_file f, uint64_t off, const void *buf, size_t len);
int64_t __wrap_origin_write(origin_file f, uint64_t off, const void *buf, size_t len)
{
    note(f, true, NULL);
    return __real_origin_write(f, off, buf, len);
}

int __real_origin_set_times_of(origin_file f, const api_timespec tv[2]);
int __wrap_origin_set_times_of(origin_file f, const api_timespec tv[2]);
int __wrap_origin_set_times_of(origin_file f, const api_timespec tv[2])
{
    note(f, false, tv);
    return __real_origin_set_times_of(f, tv);
}

static void note_end(origin_file f)
{
    const api_timespec now[2] = { { .tv_sec = time(NULL) }, { .tv_sec = time(NULL) } };

    for (unsigned i = 0; i < 16; i++)
        if (ntfs[i].f == f) {
            if (is_ntfs && ntfs[i].written)
                CHECK_EQ(__real_origin_set_times_of(f, ntfs[i].timed ? ntfs[i].times : now), 0);
            memset(&ntfs[i], 0, sizeof(ntfs[i]));
        }
}

static unsigned closed;

int __real_origin_close(origin_file f);
int __wrap_origin_close(origin_file f);
int __wrap_origin_close(origin_file f)
{
    note_call('c');
    note_end(f);
    closed++;
    return __real_origin_close(f);
}

/* Windows moves the times and the number of the journal when what has changed a file is closed. So
 * the validator is taken after that. */
static void test_validator_after_close(void)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = 1500000000 } };
    struct fuse_file_info fi = { 0 };
    uint64_t fh;

    CALL(begin_test());
    CALL(make_it("/file", 5000));
    memset(calls, '.', sizeof(calls) - 1);
    fh = open_it("/file", O_RDWR);
    CALL(write_at(fh, 0, 100));
    fi.fh = fh;
    CHECK_EQ(ops.release("/file", &fi), 0);
    CHECK(!strcmp(calls, "...icic"));
    memset(calls, '.', sizeof(calls) - 1);
    CHECK_EQ(ops.utimens("/file", tv, NULL), 0);
    CHECK(!strcmp(calls, "...icic"));
    CHECK_EQ(ops.rename("/file", "/other", 0), 0);
    memset(calls, '.', sizeof(calls) - 1);
    fh = open_it("/other", O_RDONLY);
    CALL(is_right(fh, 5000));
    close_it(fh);
    CHECK(!strcmp(calls, ".....ic")); /* nothing has changed */
    CHECK_EQ(ops.unlink("/other"), 0);
    CALL(end_test());
}

/* WinFsp closes no file that is open when it ends. Windows does not rename the folder back then. */
static void test_ends_while_open(void)
{
    uint64_t first, middle;
    unsigned before;

    CALL(begin_test());
    first = open_it("/file", O_CREAT | O_RDWR);
    CALL(write_at(first, 0, 5000));
    middle = open_it("/file", O_RDONLY);
    CALL(is_right(middle, 5000));
    (void)open_it("/other", O_CREAT | O_RDWR);
    close_it(middle);
    before = closed;
    CHECK_EQ(ops_end(), 2);
    CHECK_EQ(closed, before + 2);
    CHECK_EQ(ops_end(), 0);
    CHECK(ops.unlink("/file") == 0 && ops.unlink("/other") == 0);
    CALL(end_test()); /* the pool is in use no more */
}

#define PAST 1500000000

static int64_t last_write(const char *path)
{
    api_stat st;

    CHECK_EQ(ops.getattr(path, &st, NULL), 0);
    return st.st_mtim.tv_sec;
}

/* WinFsp never says which handle sets a time. It stays when those are closed that have written. */
static void test_times_stay(void)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = PAST } };
    uint64_t fh, other, later, not_it;

    is_ntfs = true;
    CALL(begin_test());
    fh = open_it("/file", O_CREAT | O_RDWR);
    CALL(write_at(fh, 0, 5000));
    other = open_it("/file", O_RDWR);
    CALL(write_at(other, 0, 5000));
    later = open_it("/file", O_RDWR);
    not_it = open_it("/other", O_CREAT | O_RDWR);
    CALL(write_at(not_it, 0, 5000));
    CHECK_EQ(ops.utimens("/file", tv, NULL), 0);
    CHECK_EQ(last_write("/file"), PAST);
    close_it(fh);
    close_it(other);
    close_it(not_it);
    CHECK_EQ(last_write("/file"), PAST);
    CHECK(last_write("/other") > PAST);
    CALL(write_at(later, 0, 100)); /* it had not written: its writes set the time */
    close_it(later);
    CHECK(last_write("/file") > PAST);
    CHECK(ops.unlink("/file") == 0 && ops.unlink("/other") == 0);
    CALL(end_test());
    is_ntfs = false;
}

/* Linux does say so, and no name leads to what was deleted. */
static void test_times_of_handle(void)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = PAST } };
    struct fuse_file_info fi = { 0 };
    api_stat st;
    uint64_t fh;

    CALL(begin_test());
    fh = open_it("/file", O_CREAT | O_RDWR);
    CALL(write_at(fh, 0, 5000));
    fi.fh = fh;
    CHECK_EQ(ops.utimens(NULL, tv, &fi), 0);
    CHECK(ops.getattr("/file", &st, &fi) == 0 && st.st_mtim.tv_sec == PAST);
    CALL(write_at(fh, 0, 5000));
    CHECK_EQ(ops.utimens("/file", tv, &fi), 0);
    CHECK_EQ(ops.release("/file", &fi), 0);
    CHECK_EQ(last_write("/file"), PAST);
    CHECK_EQ(ops.chmod("/file", 0644, NULL), 0);
    fh = open_it("/file", O_RDONLY);
    fi.fh = fh;
    CHECK_EQ(ops.utimens("/file", (api_timespec[2]){ tv[1], tv[0] }, &fi), 0);
    CHECK(ops.getattr("/file", &st, &fi) == 0 && st.st_mtim.tv_sec == 1600000000);
    CALL(is_right(fh, 5000));
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

static atomic_uint checkpoints, by_reader;
static _Thread_local bool reads; /* this thread */

int __real_cm_checkpoint(cm_cache *cache);
int __wrap_cm_checkpoint(cm_cache *cache);
int __wrap_cm_checkpoint(cm_cache *cache)
{
    const int e = __real_cm_checkpoint(cache);

    atomic_fetch_add(reads ? &by_reader : &checkpoints, 1);
    return e;
}

/* They come as long as something changes, and no reader waits for one. */
static void test_checkpoints(void)
{
    const uint64_t end = cm_now() + UINT64_C(120000000000);
    uint64_t fh;

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    fh = open_it("/file", O_RDONLY);
    reads = true;
    do {
        CALL(is_right(fh, SIZE));
        usleep(20000);
    } while (atomic_load(&checkpoints) + atomic_load(&by_reader) == 0 && cm_now() < end);
    reads = false;
    CHECK_EQ(atomic_load(&by_reader), 0);
    CHECK(atomic_load(&checkpoints) > 0);
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

static const struct harness_test tests[] = { TEST(reads_and_writes),
                                             TEST(changes_by_reader),
                                             TEST(name_outside),
                                             TEST(hits_ask_nothing),
                                             TEST(name_comes),
                                             TEST(name_comes_in_open),
                                             TEST(name_comes_after_trouble),
                                             TEST(names),
                                             TEST(had_names),
                                             TEST(other_letters),
                                             TEST(attributes),
                                             TEST(validator_after_close),
                                             TEST(ends_while_open),
                                             TEST(times_stay),
                                             TEST(times_of_handle),
                                             TEST(read_only_folder),
                                             TEST(others),
                                             TEST(rights_of_everyone),
                                             TEST(announced),
                                             TEST(checkpoints) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
