#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""embed.py PAGE STYLE SCRIPT OUTPUT - makes the C file that has the page, with its style and
script in it, and the Content-Security-Policy that allows these two and nothing else (dash.h)."""
import base64
import hashlib
import sys


def source(text):
    return "'sha256-%s'" % base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


page, style, script = (open(f, encoding="utf-8").read() for f in sys.argv[1:4])
for mark, text in ("@STYLE@", style), ("@SCRIPT@", script):
    assert page.count(mark) == 1 and "</s" not in text, mark
    page = page.replace(mark, text)
policy = "; ".join([
    "default-src 'none'", "style-src " + source(style), "script-src " + source(script),
    "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
    "frame-ancestors 'none'", "require-trusted-types-for 'script'"])
with open(sys.argv[4], "w", encoding="ascii") as out:
    data = page.encode()
    out.write("/* Made by embed.py. */\n#include \"tool/dash/dash.h\"\n")
    out.write("const char dash_page_policy[] = \"%s\";\n" % policy)
    out.write("const size_t dash_page_len = %d;\n" % len(data))
    out.write("const unsigned char dash_page[] = {\n")
    for i in range(0, len(data), 20):
        out.write(" ".join("%d," % b for b in data[i:i + 20]) + "\n")
    out.write("};\n")
