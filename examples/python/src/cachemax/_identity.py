# SPDX-License-Identifier: BSD-2-Clause
"""Which target it is: a part of the key of what is cached.

Other hosts and users are other objects, and the path does not always name them, so all options of
the target are in the key, by their repr(). So are those of a file system that it is over (dirfs),
wherever that lies in memory. An option may be an object whose repr() is an address. That says
nothing to another process, nor to this one when the object is gone: another one may lie there then.
So it counts as an object of this file system alone, or `name` stands for it.

An ssl.SSLContext is such an object, too. On the web, with the rules of filesystem.py, only a strong
ETag or a checksum is a proof. HTTP wants another ETag for each content of a URL, whoever asks. So
of a context only that is in the key which says whether it takes any server for the right one.
"""
import os
import sys

import fsspec

from . import _web

PLAIN = (str, bytes, int, float, bool, type(None))


class _Text:
    """Its repr() is `text`, as that of no plain value is."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return "<%s>" % self.text


def _is_tls(value):
    ssl = sys.modules.get("ssl")  # if nobody has imported it, there is no context
    return ssl is not None and isinstance(value, ssl.SSLContext)


class Identity:
    """`name`: of the user, or None. `by_rules`: the proofs are those of filesystem.py."""

    def __init__(self, name, by_rules):
        self.name, self.by_rules, self.own = name, by_rules, os.urandom(16).hex()

    def of(self, fs, objects=None):
        """`objects`: a list that gets the (name of the option, object)s without a name."""
        return (type(fs).__name__, fs.protocol,
                [self._of_option(fs, i, value, objects)
                 for i, value in enumerate(getattr(fs, "storage_args", ()))],
                [(name, self._of_option(fs, name, fs.storage_options[name], objects))
                 for name in sorted(fs.storage_options)])

    def _of_option(self, fs, option, value, objects):
        if isinstance(value, fsspec.AbstractFileSystem):
            return self.of(value, objects)
        if type(value) is dict:
            return {key: self._of_option(fs, option, value[key], objects) for key in value}
        if type(value) in (list, tuple):
            return type(value)(self._of_option(fs, option, one, objects) for one in value)
        if type(value) in PLAIN:
            return value
        if self.by_rules and _web.is_web(fs) and _is_tls(value):
            return _Text("TLS %d %d" % (value.verify_mode, value.check_hostname))
        text = repr(value)
        if " at 0x" not in text:
            return value
        if self.name is not None:
            return _Text("named %r" % self.name)
        if objects is not None:
            objects.append((option, value))
        return _Text("%s of %s" % (text, self.own))
