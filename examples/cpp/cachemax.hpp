/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cachemax.hpp - C++17 for cachemax.h: objects that release what they hold when they end. It is
 * installed beside cachemax.h. It needs nothing but the library, so a copy in your program will do.
 *
 *   cachemax::cache    an open pool
 *   cachemax::file     an attached origin file; it keeps its pool open, and ends after its brackets
 *                      and pins
 *   cachemax::bracket  around a write of the origin; it ends in the destructor, also if the write
 *                      throws
 *   cachemax::pins     addresses in the pool, until the destructor
 *
 * Errors are std::error_code of cachemax::category(), with the values of enum cm_error. Where the
 * system has the same error, they are equal to that of std::errc, too. Functions without a
 * std::error_code parameter throw cachemax::error. Destructors never throw. Positive results are no
 * errors; functions that have some return them. A moved-from object holds nothing, and its calls
 * fail with CM_EHANDLE.
 *
 * Read next: sample.cpp uses all of it.
 */
#ifndef CACHEMAX_HPP
#define CACHEMAX_HPP

#include <cachemax.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>

namespace cachemax
{

class error_category_ : public std::error_category
{
  public:
    const char *name() const noexcept override
    {
        return "cachemax";
    }
    std::string message(int code) const override
    {
        return cm_strerror(code);
    }
    /* Where the system has the same error: e == std::errc::no_such_file_or_directory. */
    std::error_condition default_error_condition(int code) const noexcept override
    {
        switch (code) {
        case CM_EINVAL:
            return std::errc::invalid_argument;
        case CM_ENOMEM:
            return std::errc::not_enough_memory;
        case CM_EIO:
            return std::errc::io_error;
        case CM_ENOENT:
            return std::errc::no_such_file_or_directory;
        case CM_EEXIST:
            return std::errc::file_exists;
        case CM_EACCES:
            return std::errc::permission_denied;
        case CM_ENOSPC:
            return std::errc::no_space_on_device;
        case CM_EBUSY:
        case CM_EOWNED:
            return std::errc::device_or_resource_busy;
        case CM_ENOTSUP:
            return std::errc::not_supported;
        case CM_ECANCELED:
            return std::errc::operation_canceled;
        default:
            return std::error_condition(code, *this);
        }
    }
};

inline const std::error_category &category()
{
    static const error_category_ one;
    return one;
}

struct error : std::system_error {
    using std::system_error::system_error;
};

/* Passes on a result that is no error. */
template <typename Number> Number check(Number result, const char *call)
{
    if (result < 0)
        throw error(static_cast<int>(result), category(), call);
    return result;
}

/* What the operating system knows of an open file, or what you know of another object. */
struct identity {
    cm_file_id id{};
    cm_validator validator = CM_VALIDATOR_INIT;

    explicit identity(intptr_t os_file, cm_identify_options options = CM_IDENTIFY_OPTIONS_INIT)
    {
        check(cm_identify_with(os_file, &options, &id, &validator), "cm_identify_with");
    }
    identity(cm_file_id of, const cm_validator &proof) : id(of), validator(proof)
    {
    }
};

/* The cache and its files share it, so that the last of them closes the pool. */
struct pool_ {
    cm_cache *opened = nullptr;

    pool_() = default;
    pool_(const pool_ &) = delete;
    pool_ &operator=(const pool_ &) = delete;
    ~pool_()
    {
        if (opened)
            cm_close(opened);
    }
};

/* Pins, brackets, and what you open with get() and functions of cachemax.h, end before it. Files
 * may end later: the pool is open until then. */
class cache
{
  public:
    /* After an error the object holds nothing: go on without the cache. */
    cache(const char *path, const cm_options &options, std::error_code &e) noexcept
    {
        try {
            pool = std::make_shared<pool_>();
        } catch (const std::bad_alloc &) {
            e.assign(CM_ENOMEM, category());
            return;
        }
        e.assign(cm_open(path, &options, &pool->opened), category());
    }
    cache(cache &&) noexcept = default;
    cache &operator=(cache &&) noexcept = default;
    /* Closes it now, and says how that went. After the errors that close nothing (CM_EBUSY: also,
     * a file has not ended; CM_ECALLBACK) the object holds the pool as before. */
    std::error_code close() noexcept
    {
        int e = pool.use_count() > 1 ? static_cast<int>(CM_EBUSY) : cm_close(get());
        if (e == 0 || e == CM_EIO || e == CM_ESEAL || e == CM_ETRUNCATED)
            pool->opened = nullptr;
        return { e, category() };
    }
    explicit operator bool() const noexcept
    {
        return get() != nullptr;
    }
    cm_cache *get() const noexcept
    {
        return pool ? pool->opened : nullptr;
    }
    cm_stats_data stats() const
    {
        cm_stats_data s{};
        s.struct_size = sizeof(s);
        check(cm_stats(get(), &s), "cm_stats");
        return s;
    }

  private:
    friend class file;
    std::shared_ptr<pool_> pool;
};

/* info().kept says whether it is warm. Objects with one id stand for one file of the library: a
 * newer validator of one of them holds for all. If the `origin` of another one may still read the
 * older version, use cm_read_through_version(get(), ...): see cm_file_open(), OTHERS. */
class file
{
  public:
    file(const cache &of, const identity &what, uint32_t flags = 0)
    {
        cm_file *opened = nullptr;
        check(cm_file_open(of.get(), &what.id, &what.validator, flags, &opened), "cm_file_open");
        handle = { opened, closer{ of.pool } };
    }
    cm_file *get() const noexcept
    {
        return handle.get();
    }
    cm_file_info info() const
    {
        cm_file_info i{};
        i.struct_size = sizeof(i);
        check(cm_file_get_info(get(), &i), "cm_file_get_info");
        return i;
    }
    int revalidate(const cm_validator &v)
    {
        return check(cm_file_revalidate(get(), &v), "cm_file_revalidate");
    }
    /* Reads through the cache. `origin` is int64_t(uint64_t offset, void *buf, size_t len): see
     * cm_origin_read_fn. Returns bytes, or what the origin returned if that is below -1000. What
     * `origin` throws comes out here (not on Windows, where it must not throw). */
    template <typename Origin> int64_t read(uint64_t offset, void *buf, size_t len, Origin &&origin)
    {
        using Callable = std::remove_reference_t<Origin>;
        auto call = [](void *ctx, uint64_t at, void *to, size_t n) -> int64_t {
            return (*static_cast<Callable *>(ctx))(at, to, n);
        };
        int64_t n =
            cm_read_through(get(), offset, buf, len, call,
                            const_cast<void *>(static_cast<const void *>(std::addressof(origin))));
        return n < -1000 ? n : check(n, "cm_read_through");
    }

  private:
    struct closer {
        std::shared_ptr<pool_> pool; /* open as long as the file */
        void operator()(cm_file *f) const noexcept
        {
            cm_file_close(f);
        }
    };
    std::unique_ptr<cm_file, closer> handle;
};

/* Make it before you write the origin. If this throws, do not write. */
class bracket
{
  public:
    bracket(file &of, uint64_t offset, uint64_t len) : handle(of.get())
    {
        check(cm_write_begin(handle, offset, len, &opened), "cm_write_begin");
    }
    bracket(const bracket &) = delete;
    bracket &operator=(const bracket &) = delete;
    /* The write failed, or nobody presents a validator: present one later. */
    ~bracket()
    {
        if (handle)
            cm_write_end(handle, &opened, nullptr);
    }
    /* Ends it now. `after`: the validator taken after the write; it counts only if the file was
     * opened with CM_SOLE_WRITER or CM_EXCLUSIVE. Returns 0 or CM_WANT_VALIDATOR. If it throws
     * (CM_EINVAL: `after` is no validator), the bracket is still open; the destructor ends it. */
    int end(const cm_validator &after)
    {
        int e = check(cm_write_end(handle, &opened, &after), "cm_write_end");
        handle = nullptr;
        return e;
    }

  private:
    cm_file *handle;
    cm_bracket opened{};
};

/* What is cached of [offset, offset+len), without copying: up to CM_PINS_MAX blocks. Hold it
 * for a short time. */
class pins
{
  public:
    pins(file &of, uint64_t offset, size_t len)
    {
        bytes =
            check(cm_pin_range(of.get(), offset, len, pieces, CM_PINS_MAX, &count, &set, nullptr),
                  "cm_pin_range");
    }
    pins(const pins &) = delete;
    pins &operator=(const pins &) = delete;
    ~pins()
    {
        if (set.n)
            cm_unpin(&set);
    }
    int64_t size() const noexcept
    {
        return bytes;
    }
    const cm_iovec *begin() const noexcept
    {
        return pieces;
    }
    const cm_iovec *end() const noexcept
    {
        return pieces + count;
    }

  private:
    cm_iovec pieces[CM_PINS_MAX]{};
    int count = 0;
    cm_pins set{};
    int64_t bytes = 0;
};

} // namespace cachemax

template <> struct std::is_error_code_enum<cm_error> : std::true_type {
};
/* Here it is found: the enumeration is in no namespace, either. */
inline std::error_code make_error_code(cm_error e)
{
    return { static_cast<int>(e), cachemax::category() };
}

#endif
