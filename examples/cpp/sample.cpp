/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sample.cpp - all of cachemax.hpp in one program: it reads FILE through POOL, writes its first
 * byte again in a bracket, and compares what is pinned with the file.
 *
 *   cachemax create POOL --size 16M       # once
 *   cpp-sample FILE POOL                  # FILE: a copy that may be written
 *
 * Trouble with the cache never fails a read: without a pool it reads the file alone.
 *
 * Read next: cachemax.hpp, and docs/embedding.md.
 */
#include "cachemax.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <iostream>
#include <stdexcept>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

/* Passes on a number of bytes. */
static int64_t read_or_throw(int64_t n)
{
    if (n < 0)
        throw std::system_error(static_cast<int>(-1000 - n), std::generic_category(), "pread");
    return n;
}

static int64_t read_origin(int fd, uint64_t at, void *to, size_t n)
{
    ssize_t got = pread(fd, to, n, static_cast<off_t>(at));
    return got < 0 ? -1000 - errno : got; /* the library's own errors are above */
}

static void without_cache(int fd, std::vector<char> &content)
{
    auto n = read_or_throw(read_origin(fd, 0, content.data(), content.size()));
    std::cout << "read " << n << " bytes without a cache\n";
}

static void with_cache(const cachemax::cache &pool, int fd, std::vector<char> &content)
{
    auto origin = [fd](uint64_t at, void *to, size_t n) { return read_origin(fd, at, to, n); };
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    cachemax::file opened(pool, cachemax::identity(fd, sole), CM_SOLE_WRITER);
    cachemax::file file = std::move(opened);
    auto n = read_or_throw(file.read(0, content.data(), content.size(), origin));
    std::cout << "read " << n << " bytes, " << (file.info().kept ? "kept" : "new") << "\n";
    {
        cachemax::bracket write(file, 0, 1);
        if (pwrite(fd, content.data(), 1, 0) != 1)
            throw std::system_error(errno, std::generic_category(), "pwrite");
        write.end(cachemax::identity(fd, sole).validator);
    }
    n = read_or_throw(
        file.read(0, content.data(), content.size(), origin)); /* the written block again */
    cachemax::pins pinned(file, 0, content.size());
    size_t at = 0;
    for (const cm_iovec &piece : pinned) {
        if (std::memcmp(piece.base, content.data() + at, piece.len) != 0)
            throw std::runtime_error("what is pinned is not what was read");
        at += piece.len;
    }
    std::cout << "pinned " << pinned.size() << " of " << n << " bytes, the same\n"
              << pool.stats().brackets << " bracket\n";
    /* Right after a write a second one could hide behind the same times. A moment later the
     * validator proves more: the file is warm at the next start. */
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    file.revalidate(cachemax::identity(fd, sole).validator);
}

int main(int argc, char **argv)
try {
    int fd = argc == 3 ? open(argv[1], O_RDWR) : -1;
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    if (size <= 0)
        throw std::runtime_error("usage: cpp-sample FILE POOL (it must be writable, not empty)");
    std::vector<char> content(static_cast<size_t>(size));
    std::error_code e;
    cachemax::cache pool(argv[2], CM_OPTIONS_INIT, e);
    if (e)
        std::cerr << argv[2] << ": " << e.message() << (e == CM_ENOENT ? " (create it)\n" : "\n");
    try {
        pool ? with_cache(pool, fd, content) : without_cache(fd, content);
    } catch (const cachemax::error &trouble) { /* for example: the file cannot be identified */
        std::cerr << trouble.what() << "\n";
        without_cache(fd, content);
    }
    if (pool && (e = pool.close()))
        std::cerr << argv[2] << ": " << e.message() << "\n";
    close(fd);
    return 0;
} catch (const std::exception &e) {
    std::cerr << e.what() << "\n";
    return 1;
}
