/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cpp-errors.cpp - what objects of cachemax.hpp still hold after a call that failed. cpp-test.sh
 * runs it: cpp-errors POOL. Prints what is wrong; status 1 then.
 */
#include "../../examples/cpp/cachemax.hpp"

#include <iostream>

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

int main(int, char **argv)
{
    std::error_code e;
    cachemax::cache pool(argv[1], CM_OPTIONS_INIT, e);
    want(!e, "the pool is not open");
    cm_file_id id{};
    cm_file_id_set_key(&id, "key", 3);
    {
        cachemax::file file(pool, cachemax::identity(id, validator("1", cm_now())), CM_SOLE_WRITER);
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

        char byte;
        file.read(0, &byte, 1, [&](uint64_t, void *, size_t) -> int64_t {
            e = pool.close();
            return 0;
        });
        want(e == CM_ECALLBACK && pool, "an open pool is lost after close() in a callback");
    }
    want(!pool.close() && !pool, "the pool does not close");
    want(!cachemax::cache(argv[1], CM_OPTIONS_INIT, e).close(), "the pool was not closed");
    return wrong != 0;
}
