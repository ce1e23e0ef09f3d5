// SPDX-License-Identifier: BSD-2-Clause
//
// throws.cpp POOL - an exception leaves the origin's read of a program that has cachemax.c in its
// sources. Nothing is stored. A reader that waits for this read reads the origin itself, at once,
// and the pool can be closed. Status 0: so it was; else a line says what was not.
#include <cachemax.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <thread>

static std::atomic<bool> reading(false), joining(false);

static void pause_a_little()
{
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// Until a reader waits, or has gone to the origin.
static int64_t throws(void *, uint64_t, void *, size_t)
{
    reading = true;
    while (!joining)
        pause_a_little();
    throw std::runtime_error("the origin");
}

static int64_t gives(void *, uint64_t, void *buf, size_t len)
{
    std::memset(buf, 7, len);
    return static_cast<int64_t>(len);
}

static int failed(const char *what, long code)
{
    std::printf("%s: %ld\n", what, code);
    return 1;
}

int main(int, char **argv)
{
    cm_create_options made = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_cache *cache = nullptr;
    cm_file *file = nullptr;
    cm_file_id id;
    made.size = 1 << 20;
    o.join_timeout_ns = UINT64_MAX; // a reader that is not woken waits for ever
    if (int e = cm_create(argv[1], &made))
        return failed("cm_create", e);
    if (int e = cm_open(argv[1], &o, &cache))
        return failed("cm_open", e);
    cm_file_id_set_key(&id, "a", 1);
    v.taken_at = cm_now();
    v.size = 1 << 16;
    if (int e = cm_file_open(cache, &id, &v, 0, &file))
        return failed("cm_file_open", e);

    bool caught = false;
    std::thread first([&] {
        char buf[CM_BLOCK_SIZE];
        try {
            (void)cm_read_through(file, 0, buf, sizeof(buf), throws, nullptr);
        } catch (const std::runtime_error &) {
            caught = true;
        }
    });
    while (!reading)
        pause_a_little();
    int64_t got = 0;
    std::thread second([&] {
        char buf[CM_BLOCK_SIZE];
        joining = true;
        got = cm_read_through(file, 0, buf, sizeof(buf), gives, nullptr);
    });
    first.join();
    second.join();
    if (!caught)
        return failed("the exception did not arrive", 0);
    if (got != CM_BLOCK_SIZE)
        return failed("the second reader got", static_cast<long>(got));
    if (int e = cm_file_close(file))
        return failed("cm_file_close", e);
    if (int e = cm_close(cache))
        return failed("cm_close", e);
    return 0;
}
