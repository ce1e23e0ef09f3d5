/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_port.c - the driver as a client of the service. The test is the Filter Manager and the
 * driver: a pipe of messages stands for the communication port.
 */
#include "fixture.h"

#include "../os.h"
#include "../../examples/service/driver_rules.h"
#include "../../examples/service/port_win32.h"

static struct pool p;
static struct outside outside;
static struct server server;
static void *transport;
static struct port_calls calls;
static struct folders folders;
static const char *pool_name = "C:\\pool";

/* ---- The log --------------------------------------------------------------------------------- */

static os_mutex log_lock;
static char logged[16384];

static void take_line(enum log_weight w, const char *text)
{
    (void)w;
    os_lock(&log_lock);
    snprintf(logged + strlen(logged), sizeof(logged) - strlen(logged), "%s\n", text);
    os_unlock(&log_lock);
}

/* Waits until the log has the text `times` times. */
static bool log_has(const char *text, unsigned times)
{
    for (unsigned waited = 0; waited < 60000; waited += 5) {
        unsigned found = 0;
        os_lock(&log_lock);
        for (const char *at = logged; (at = strstr(at, text)) != NULL; at += strlen(text))
            found++;
        os_unlock(&log_lock);
        if (found >= times)
            return true;
        os_sleep_ms(5);
    }
    return false;
}

/* The same at once. */
static bool log_has_now(const char *text)
{
    os_lock(&log_lock);
    const bool has = strstr(logged, text) != NULL;
    os_unlock(&log_lock);
    return has;
}

/* ---- The Filter Manager ---------------------------------------------------------------------- */

static HANDLE driver = INVALID_HANDLE_VALUE; /* the other end of the port */
static WCHAR pipe_name[64];
static char rules[65536]; /* what the service has told last */
static DWORD rules_bytes;
static HRESULT refuses;

static HRESULT WINAPI fake_connect(LPCWSTR name, DWORD options, LPCVOID context, WORD bytes,
                                   LPSECURITY_ATTRIBUTES security, HANDLE *port)
{
    DWORD mode = PIPE_READMODE_MESSAGE;
    (void)options, (void)security;
    memcpy(rules, context, bytes);
    rules_bytes = bytes;
    if (refuses)
        return refuses;
    if (wcscmp(name, L"\\CacheFilterPort") != 0)
        return E_INVALIDARG;
    *port = CreateFileW(pipe_name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                        FILE_FLAG_OVERLAPPED, NULL);
    if (*port == INVALID_HANDLE_VALUE)
        return HRESULT_FROM_WIN32(ERROR_FILE_NOT_FOUND);
    return SetNamedPipeHandleState(*port, &mode, NULL, NULL) ? S_OK : E_FAIL;
}

static HRESULT WINAPI fake_get(HANDLE port, PFILTER_MESSAGE_HEADER to, DWORD bytes, LPOVERLAPPED o)
{
    if (ReadFile(port, to, bytes, NULL, o))
        return S_OK;
    return HRESULT_FROM_WIN32(GetLastError());
}

static HRESULT WINAPI fake_reply(HANDLE port, PFILTER_REPLY_HEADER from, DWORD bytes)
{
    const HANDLE done = CreateEventW(NULL, TRUE, FALSE, NULL);
    OVERLAPPED o = { .hEvent = (HANDLE)((ULONG_PTR)done | 1) }; /* 1: no completion to the port */
    DWORD n = 0;
    BOOL ok = WriteFile(port, from, bytes, NULL, &o);
    if (!ok && GetLastError() == ERROR_IO_PENDING) {
        (void)WaitForSingleObject(done, INFINITE);
        ok = GetOverlappedResult(port, &o, &n, FALSE);
    }
    CloseHandle(done);
    return ok ? S_OK : HRESULT_FROM_WIN32(GetLastError());
}

/* ---- The driver ------------------------------------------------------------------------------ */

static struct {
    FILTER_REPLY_HEADER flt;
    struct cmp_head head;
    uint8_t body[RING_ROOM];
} reply;
static uint64_t last;

static void load_driver(void)
{
    swprintf(pipe_name, 64, L"\\\\.\\pipe\\cachemax-test-port-%lu", GetCurrentProcessId());
    driver =
        CreateNamedPipeW(pipe_name, PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE,
                         PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1, 1u << 20, 1u << 20, 0, NULL);
    REQUIRE(driver != INVALID_HANDLE_VALUE);
    (void)ConnectNamedPipe(driver, NULL);
}

static void unload_driver(void)
{
    CloseHandle(driver);
    driver = INVALID_HANDLE_VALUE;
}

/* Sends a request. `room`: of the reply with its header; 0: it waits for none. */
static void tell(uint16_t command, uint32_t file, const void *body, size_t n, const void *data,
                 size_t data_len, size_t room)
{
    static struct {
        FILTER_MESSAGE_HEADER flt;
        uint8_t message[RING_ROOM];
    } m;
    const struct cmp_head h = { .bytes = (uint32_t)(sizeof(h) + n + data_len),
                                .version = CMP_VERSION,
                                .command = command,
                                .tag = ++last,
                                .file = file };
    DWORD written;
    m.flt.MessageId = last;
    m.flt.ReplyLength = (ULONG)room;
    memcpy(m.message, &h, sizeof(h));
    if (n > 0)
        memcpy(m.message + sizeof(h), body, n);
    if (data_len > 0)
        memcpy(m.message + sizeof(h) + n, data, data_len);
    CHECK(WriteFile(driver, &m, (DWORD)(sizeof(m.flt) + h.bytes), &written, NULL));
}

/* Takes a reply. Returns its result. */
static int64_t hear(void)
{
    DWORD n = 0;
    CHECK(ReadFile(driver, &reply, sizeof(reply), &n, NULL));
    CHECK_EQ(reply.flt.Status, 0);
    CHECK_EQ(reply.flt.MessageId, reply.head.tag);
    CHECK_EQ(n, sizeof(reply.flt) + reply.head.bytes);
    CHECK_EQ(cmp_check(&reply.head, reply.head.bytes, 1), CMP_SOUND);
    return reply.head.result;
}

static int64_t ask(uint16_t command, uint32_t file, const void *body, size_t n)
{
    tell(command, file, body, n, NULL, 0, sizeof(reply));
    return hear();
}

static void hello(void)
{
    const struct cmp_hello m = { .magic = CMP_MAGIC, .oldest = 1 };
    struct cmp_hello_reply r;
    CHECK_EQ(ask(CMP_HELLO, 0, &m, sizeof(m)), 0);
    memcpy(&r, reply.body, sizeof(r));
    CHECK_EQ(r.data_max, RING_DATA);
    CHECK_EQ(r.flags, CMP_STEERS | CMP_FORGETS_ALL | CMP_TELLS_FILES);
}

static uint32_t open_file(uint64_t id)
{
    const cm_file_id file = { .lo = id };
    const cm_validator v = val(100 * BLK, 1);
    struct cmp_open m = { .id_lo = id, .outside = outside_ended(&outside, outside_hash(&file)) };
    m.validator = (struct cmp_validator){
        .taken_at = (uint64_t)later(), .size = v.size, .changed_ns = CM_CHANGED_LONG_AGO, .given = 1
    };
    memcpy(m.validator.proof, v.proof, sizeof(v.proof));
    CHECK_EQ(ask(CMP_OPEN, 0, &m, sizeof(m)), 0);
    return reply.head.file;
}

static int64_t read_block(uint32_t file, uint64_t block)
{
    const struct cmp_read m = { .offset = block * BLK, .len = BLK };
    return ask(CMP_READ, file, &m, sizeof(m));
}

static void store(uint32_t file, uint64_t block, uint8_t what)
{
    static uint8_t data[BLK];
    struct cmp_read_reply r;
    struct cmp_fill m = { .ticket = 0 };
    CHECK_EQ(read_block(file, block), 0);
    memcpy(&r, reply.body, sizeof(r));
    REQUIRE(r.ticket != 0);
    m.ticket = r.ticket;
    memset(data, what, sizeof(data));
    tell(CMP_FILL, file, &m, sizeof(m), data, sizeof(data), 0);
    /* A fill has no reply, and another thread may handle it later. */
    for (unsigned tries = 0; tries < 60000 && read_block(file, block) != (int64_t)BLK; tries++)
        os_sleep_ms(1);
    CHECK_EQ(reply.body[sizeof(struct cmp_read_reply)], what);
}

/* ---- The service ----------------------------------------------------------------------------- */

static void up(void)
{
    char why[256] = "";
    memset(&outside, 0, sizeof(outside));
    logged[0] = 0;
    os_mutex_begin(&log_lock);
    REQUIRE(pool_new(&p, MIB) == 0);
    memset(&server, 0, sizeof(server));
    service_begin(&server.service, p.c, &outside, 5);
    server.clients_max = 4;
    server.pool = pool_name;
    server.folders = &folders;
    server.log = take_line;
    server_begin(&server);
    calls = (struct port_calls){ fake_connect, fake_get, fake_reply };
    REQUIRE(port_start(&server, "\\CacheFilterPort", &calls, &transport, why) == 0);
}

static void down(void)
{
    transport_port.stop(transport);
    server_end(&server);
    service_end(&server.service);
    os_mutex_end(&log_lock);
    pool_end(&p);
}

/* The text that begins so, of the rules; or "". */
static const char *rule(const char *key)
{
    for (const char *at = rules; at < rules + rules_bytes; at += strlen(at) + 1)
        if (strncmp(at, key, strlen(key)) == 0)
            return at + strlen(key);
    return "";
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* ---- The volume of the folders --------------------------------------------------------------- */

static const WCHAR *volume_type = L"NTFS";
static DWORD volume_flags;

static BOOL WINAPI get_volume(HANDLE h, LPWSTR name, DWORD room, LPDWORD serial, LPDWORD longest,
                              LPDWORD has, LPWSTR type, DWORD type_room)
{
    (void)h, (void)name, (void)room, (void)serial, (void)longest;
    *has = volume_flags;
    wcsncpy(type, volume_type, type_room);
    return TRUE;
}
/* The address that the linker would take from the system's library. */
__typeof__(GetVolumeInformationByHandleW) *__imp_GetVolumeInformationByHandleW = get_volume;

/* ---- Tests ----------------------------------------------------------------------------------- */

/* The driver comes after the service, is served, goes, and comes back. */
static void test_comes_and_goes(void)
{
    up();
    CHECK(log_has("waits for the driver; \"fltmc load CacheFilter\"", 1));
    for (unsigned round = 1; round <= 2; round++) {
        load_driver();
        CHECK(log_has("the driver is connected", round));
        hello();
        const uint32_t file = open_file(7);
        if (round == 1)
            store(file, 3, 'a');
        else
            CHECK_EQ(read_block(file, 3), BLK);
        CHECK_EQ(reply.body[sizeof(struct cmp_read_reply)], 'a');
        unload_driver();
        CHECK(log_has("the driver is not connected any more", round));
    }
    down();
}

/* The driver is told which files to cache, by their names in the kernel. */
static void test_rules(void)
{
    char dir[256], sub[DRIVER_NAME_MAX], below[330], name[DRIVER_NAME_MAX], pools[DRIVER_NAME_MAX];
    REQUIRE(os_make_dir(dir, sizeof(dir), NULL, "port"));
    snprintf(below, sizeof(below), "%s\\not there/yet", dir);
    REQUIRE(driver_name_win32(dir, name));
    CHECK(strncmp(name, "\\Device\\", 8) == 0);
    CHECK(ends_with(name, dir + strlen(dir) - 6)); /* it has separators of both kinds */
    CHECK(driver_name_win32("C:\\", pools) && strncmp(pools, "\\Device\\", 8) == 0);
    CHECK(driver_name_win32("C:\\no such file", pools));
    CHECK(ends_with(pools, "\\no such file") && !strstr(pools + 1, "\\\\"));
    CHECK(!driver_name_win32("Q:\\data", pools));
    /* No root is left behind: what is there would be the current drive. */
    CHECK(!driver_name_win32("\\\\?\\Q:\\data", pools) && !driver_name_win32("\\\\?\\Q:\\", pools));
    CHECK(!driver_name_win32("\\\\?\\Volume{no such}\\data", pools));
    REQUIRE(driver_name_win32("C:\\no\\such", pools));
    CHECK(driver_name_win32("\\\\?\\C:\\no\\such", sub) && strcmp(sub, pools) == 0);
    CHECK(driver_name_win32("\\\\no.such.server\\data", pools));
    CHECK(strcmp(pools, "\\Device\\Mup\\no.such.server\\data") == 0);
    CHECK(driver_name_win32("\\\\?\\unc/no.such.server/data/a", pools));
    CHECK(strcmp(pools, "\\Device\\Mup\\no.such.server\\data\\a") == 0);
    folders = (struct folders){ .folder = { "Q:\\data", dir, below }, .count = 3 };
    folders.exclude[folders.excludes++] = "*.tmp";
    up();
    CHECK(log_has("Q:\\data is on no volume that is there", 1));
    CHECK(log_has("waits for the driver", 1));
    load_driver();
    CHECK(log_has("the driver is connected", 1));
    CHECK_EQ(rules[rules_bytes - 1], 0);
    REQUIRE(driver_name_win32("C:\\pool", pools));
    const size_t n = strlen(rule("pool="));
    CHECK(n > 8 && strncmp(pools, rule("pool="), n) == 0 && pools[n] == '\\');
    CHECK(strchr(rule("pool=") + 8, '\\') == NULL);
    CHECK(strcmp(rule("folder="), name) == 0);
    CHECK(ends_with(rule("folder=") + strlen(name) + 1, "\\not there\\yet"));
    CHECK(strcmp(rule("exclude="), "*.tmp") == 0);
    unload_driver();
    CHECK(log_has("the driver is not connected any more", 1));
    refuses = E_INVALIDARG;
    CHECK(log_has("the driver refuses: error 0x80070057; it does not understand", 1));
    refuses = HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED);
    CHECK(log_has("the driver refuses: error 0x80070005; run the service as administrator", 1));
    refuses = HRESULT_FROM_WIN32(ERROR_CONNECTION_COUNT_LIMIT);
    CHECK(log_has("the driver refuses: error 0x800704d6; it serves another service", 1));
    refuses = E_UNEXPECTED;
    CHECK(log_has("the driver refuses: error 0x8000ffff", 1));
    down();
    refuses = 0;
    memset(&folders, 0, sizeof(folders));
    (void)os_remove_dir(dir);
}

/* The driver does not attach to such volumes. It is said, or else nothing would be cached, and
 * nobody knew why. */
static void test_volumes_without_driver(void)
{
    static const struct {
        const WCHAR *type;
        DWORD flags;
        const char *says;
    } cases[] = {
        { L"FAT32", 0, "is on a volume that is neither NTFS nor ReFS; the driver passes it by" },
        { L"NTFS", 0x20000000, "is on a DAX volume; the driver passes it by" },
    };
    char dir[256], line[600];
    REQUIRE(os_make_dir(dir, sizeof(dir), NULL, "port"));
    pool_name = "\\\\no.such.server\\share\\pool"; /* another volume */
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CASE("i %u", i);
        folders = (struct folders){ .folder = { dir }, .count = 1 };
        volume_type = cases[i].type;
        volume_flags = cases[i].flags;
        snprintf(line, sizeof(line), "%s %s", dir, cases[i].says);
        up();
        load_driver();
        CHECK(log_has("the driver is connected", 1));
        CHECK(log_has_now(line));
        unload_driver();
        CHECK(log_has("the driver is not connected any more", 1));
        down();
    }
    pool_name = "C:\\pool";
    volume_type = L"NTFS";
    volume_flags = 0;
    memset(&folders, 0, sizeof(folders));
    (void)os_remove_dir(dir);
}

/* Many requests wait at a time. Each gets its own reply. */
static void test_in_flight(void)
{
    up();
    load_driver();
    hello();
    const uint32_t file = open_file(7);
    for (uint64_t b = 0; b < 8; b++)
        store(file, b, (uint8_t)('a' + b));
    for (unsigned round = 0; round < 50; round++) {
        const uint64_t first = last + 1;
        unsigned seen = 0;
        for (uint64_t b = 0; b < 8; b++) {
            const struct cmp_read m = { .offset = b * BLK, .len = BLK };
            tell(CMP_READ, file, &m, sizeof(m), NULL, 0, sizeof(reply));
        }
        for (unsigned i = 0; i < 8; i++) {
            CHECK_EQ(hear(), BLK);
            const uint64_t b = reply.head.tag - first;
            REQUIRE(b < 8);
            CHECK_EQ(reply.body[sizeof(struct cmp_read_reply)], 'a' + b);
            seen |= 1u << b;
        }
        CHECK_EQ(seen, 255);
    }
    unload_driver();
    down();
}

/* What the driver may have written when it went is forgotten. */
static void test_lost_in_a_bracket(void)
{
    const struct cmp_range m = { .offset = 3 * BLK, .len = BLK };
    up();
    load_driver();
    hello();
    uint32_t file = open_file(7);
    store(file, 3, 'a');
    CHECK_EQ(ask(CMP_WRITE_BEGIN, file, &m, sizeof(m)), 0);
    unload_driver();
    CHECK(log_has("the driver is not connected any more", 1));
    load_driver();
    hello();
    file = open_file(7);
    CHECK_EQ(read_block(file, 3), 0);
    unload_driver();
    down();
}

/* A driver whose list of written files was too short has all forgotten. */
static void test_forgets_all(void)
{
    up();
    load_driver();
    hello();
    const uint32_t file = open_file(7);
    store(file, 3, 'a');
    CHECK_EQ(ask(CMP_FORGET_ALL, 0, NULL, 0), 1);
    CHECK_EQ(read_block(file, 3), 0);
    unload_driver();
    down();
}

/* The driver's buffers are just as long as a reply can be, also for some bytes of a file. The
 * length that it wants may include the reply's header, as Microsoft's page says, or not. */
static void test_lengths(void)
{
    const size_t around = sizeof(struct cmp_head) + sizeof(struct cmp_read_reply);
    const struct cmp_hello m = { .magic = CMP_MAGIC, .oldest = 1 };
    for (unsigned with_header = 0; with_header < 2; with_header++) {
        CASE("with_header %u", with_header);
        const size_t header = with_header ? sizeof(FILTER_REPLY_HEADER) : 0;
        up();
        load_driver();
        tell(CMP_HELLO, 0, &m, sizeof(m), NULL, 0, header + CMP_REPLY_MIN);
        CHECK_EQ(hear(), 0);
        const uint32_t file = open_file(7);
        store(file, 3, 'a');
        for (uint32_t n = 1; n <= BLK; n += n < 64 ? 1 : 504) {
            const struct cmp_read r = { .offset = 3 * BLK, .len = n };
            tell(CMP_READ, file, &r, sizeof(r), NULL, 0, header + around + n);
            CHECK_EQ(hear(), n);
            CHECK_EQ(reply.head.bytes, around + n);
        }
        unload_driver();
        down();
    }
}

/* A driver that makes no sense loses its connection, and may connect again. */
static void test_nonsense(void)
{
    const struct cmp_read r = { .offset = 0, .len = BLK };
    up();
    load_driver();
    tell(CMP_READ, 1, &r, sizeof(r), NULL, 0, sizeof(reply));
    CHECK(log_has("of driver 0 was ended: it did not say hello", 1));
    unload_driver();
    load_driver();
    tell(CMP_STATS, 0, NULL, 0, NULL, 0, sizeof(FILTER_REPLY_HEADER) + 8);
    CHECK(log_has("of driver 0 was ended: it has no room for the reply", 1));
    unload_driver();
    load_driver();
    hello();
    unload_driver();
    down();
}

/* The service ends while the driver is there. */
static void test_stop(void)
{
    up();
    load_driver();
    hello();
    (void)open_file(7);
    down();
    unload_driver();
}

static const struct harness_test tests[] = {
    TEST(comes_and_goes),
    TEST(rules),
    TEST(volumes_without_driver),
    TEST(in_flight),
    TEST(lost_in_a_bracket),
    TEST(forgets_all),
    TEST(lengths),
    TEST(nonsense),
    TEST(stop),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
