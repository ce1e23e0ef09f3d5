# SPDX-License-Identifier: BSD-2-Clause
"""The exceptions of the package."""
import errno

from ._binding import ffi, lib


class Error(OSError):
    """What the library says: `code` is a CM_E* number and `name` its name, as "CM_EOWNED". `errno`
    is set where the system has the same error, else None. Three have the type of Python's own
    error, too: see KINDS."""

    def __init__(self, code, where, more=""):
        self.code, self.where, self.more = code, where, more
        self.name = ffi.string(lib.cm_errname(code)).decode()
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode()  # as in a repr
                       for c in more or ffi.string(lib.cm_strerror(code)).decode())
        self.text = "%r: %s (%s)" % (where, text, self.name)
        super().__init__(self.text)
        if code in ERRNOS:
            self.errno, self.strerror = ERRNOS[code], text

    def __str__(self):
        return self.text

    def __reduce__(self):
        return type(self), (self.code, self.where, self.more)


class NotFoundError(Error, FileNotFoundError):
    """CM_ENOENT."""


class ExistsError(Error, FileExistsError):
    """CM_EEXIST."""


class AccessError(Error, PermissionError):
    """CM_EACCES."""


KINDS = {lib.CM_ENOENT: NotFoundError, lib.CM_EEXIST: ExistsError, lib.CM_EACCES: AccessError}
# Not EINVAL and EROFS: Sync takes them for an answer of the origin's fsync.
ERRNOS = {lib.CM_ENOENT: errno.ENOENT, lib.CM_EEXIST: errno.EEXIST, lib.CM_EACCES: errno.EACCES,
          lib.CM_ENOSPC: errno.ENOSPC, lib.CM_ENOMEM: errno.ENOMEM, lib.CM_EIO: errno.EIO,
          lib.CM_EBUSY: errno.EBUSY, lib.CM_EOWNED: errno.EBUSY, lib.CM_ENOTSUP: errno.ENOTSUP}


for _kind in Error, *KINDS.values():
    _kind.__module__ = "cachemax"  # where users find it


def check(result, where, more=""):
    if result < 0:
        raise KINDS.get(result, Error)(result, where, more)
    return result
