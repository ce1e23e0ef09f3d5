/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cpp-errors.cpp - what objects of cachemax.hpp still hold after a call that failed, and if they
 * end in another order; which errors of the system its errors are. cpp-test.sh runs it: cpp-errors
 * POOL. Prints what is wrong; status 1 then.
 */
#include "../../examples/cpp/cachemax.hpp"

#include <iostream>
#include <string>
#include <utility>

static int wrong;

static void want(bool right, const char *what)
{
    if (!right)
        std::cout << what << "\n";
    wrong += !right;
}

static cm_validator validator(const char *version, uint64_t taken_at)
{
    cm_validator v = CM_VALIDATOR_INIT;
    cm_validator_set_proof(&v, version, 1);
    v.taken_at = taken_at;
    v.size = 10;
    return v;
}

static int end_fails(cachemax::bracket &b, const cm_validator &after)
{
    try {
        b.end(after);
        return 0;
    } catch (const cachemax::error &e) {
        return e.code().value();
    }
}

static cachemax::identity object()
{
    cm_file_id id{};
    cm_file_id_set_key(&id, "key", 3);
    return cachemax::identity(id, validator("1", cm_now()));
}

static void after_errors(const char *path)
{
    std::error_code e;
    cachemax::cache pool(path, CM_OPTIONS_INIT, e);
    want(!e, "the pool is not open");
    {
        cachemax::file file(pool, object(), CM_SOLE_WRITER);
        const cm_validator none = validator("2", 0);
        {
            cachemax::bracket b(file, 0, 10);
            want(end_fails(b, none) == CM_EINVAL, "a validator without taken_at is taken");
        }
        want(file.info().brackets == 0, "the destructor did not end the bracket");
        cachemax::bracket again(file, 0, 10);
        want(end_fails(again, none) == CM_EINVAL, "a validator without taken_at is taken");
        want(end_fails(again, validator("2", cm_now())) == 0, "end() cannot be called again");
        want(end_fails(again, validator("2", cm_now())) == CM_EHANDLE, "it ended twice");
        want(file.info().brackets == 0, "the second end() did not end the bracket");
    }
    want(!pool.close() && !pool, "the pool does not close");
    want(pool.close() == CM_EHANDLE, "it closes twice");
    want(!cachemax::cache(path, CM_OPTIONS_INIT, e).close(), "the pool was not closed");
}

/* close() in a callback of the pool. The file is none of the object's, so nothing else refuses. */
static void close_in_callback(const char *path)
{
    std::error_code e;
    cachemax::cache pool(path, CM_OPTIONS_INIT, e);
    const cachemax::identity what = object();
    auto close = [&] { e = pool.close(); };
    auto origin = [](void *ctx, uint64_t, void *, size_t) -> int64_t {
        (*static_cast<decltype(close) *>(ctx))();
        return 0;
    };
    cm_file *file = nullptr;
    char byte;
    want(cm_file_open(pool.get(), &what.id, &what.validator, 0, &file) >= 0, "no file");
    want(cm_read_through(file, 0, &byte, 1, origin, &close) == 0, "no read");
    want(e == CM_ECALLBACK && pool, "an open pool is lost after close() in a callback");
    cm_file_close(file);
    want(!pool.close(), "the pool does not close after a callback");
}

static bool is_open(const char *path)
{
    std::error_code e;
    cachemax::cache pool(path, CM_OPTIONS_INIT, e);
    return e == CM_EOWNED;
}

/* Files that end after the object they were opened with, or after a call of its close(). */
static void files_last(const char *path)
{
    std::error_code e;
    cachemax::cache pool(path, CM_OPTIONS_INIT, e);
    {
        cachemax::file file(pool, object());
        want(pool.close() == CM_EBUSY && pool, "close() with a file does not say CM_EBUSY");
        want(file.info().brackets == 0, "the file is gone after close()");
    }
    want(!pool.close(), "the pool does not close without its file");
    pool = cachemax::cache(path, CM_OPTIONS_INIT, e);
    {
        cachemax::file first(pool, object());
        {
            const cachemax::cache gone = std::move(pool);
        }
        want(is_open(path), "the pool is closed, and a file is left");
        want(first.info().brackets == 0, "the file is gone with the cache");
        cachemax::file second = std::move(first);
        want(is_open(path), "a move of the file closed its pool");
        want(second.info().brackets == 0, "the file is gone after a move");
    }
    want(!is_open(path), "the last file did not close the pool");
}

/* A file takes the place of the last one of another pool: that is closed. */
static void assign_file(const char *path)
{
    std::error_code e;
    const std::string other = std::string(path) + ".other";
    cm_create_options small = CM_CREATE_OPTIONS_INIT;
    small.size = cm_pool_size_min();
    want(cm_create(other.c_str(), &small) == 0, "no other pool");
    cachemax::cache pool(path, CM_OPTIONS_INIT, e);
    cachemax::file file(pool, object());
    pool = cachemax::cache(other.c_str(), CM_OPTIONS_INIT, e);
    want(!e && is_open(path), "the pool of the file is closed");
    file = cachemax::file(pool, object());
    want(!is_open(path), "the pool of a file that is gone is open");
    want(pool.close() == CM_EBUSY, "the other pool does not know its file");
}

/* Errors that the system has, too, are equal to its own. */
static void conditions(const char *path)
{
    const std::string none = std::string(path) + ".none";
    std::error_code e;
    const cachemax::cache missing(none.c_str(), CM_OPTIONS_INIT, e);
    want(e == CM_ENOENT && e == std::errc::no_such_file_or_directory, "no pool is no ENOENT");
    const cachemax::cache pool(path, CM_OPTIONS_INIT, e);
    want(!e && e != std::errc::no_such_file_or_directory, "an open pool is an error");
    const cachemax::cache again(path, CM_OPTIONS_INIT, e);
    want(e == CM_EOWNED && e == std::errc::device_or_resource_busy, "CM_EOWNED is no EBUSY");
    want(make_error_code(CM_EBUSY) == std::errc::device_or_resource_busy, "nor is CM_EBUSY");
    want(make_error_code(CM_ENOMEM) == std::errc::not_enough_memory, "CM_ENOMEM is no ENOMEM");
    want(make_error_code(CM_EACCES) == std::errc::permission_denied, "CM_EACCES is no EACCES");
    e = make_error_code(CM_EBRACKET);
    want(e == CM_EBRACKET && e.default_error_condition().category() == cachemax::category(),
         "an error of the library alone is one of the system");
}

int main(int, char **argv)
{
    conditions(argv[1]);
    after_errors(argv[1]);
    close_in_callback(argv[1]);
    files_last(argv[1]);
    assign_file(argv[1]);
    want(!is_open(argv[1]), "the pool is open at the end");
    return wrong != 0;
}
