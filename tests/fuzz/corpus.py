#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# corpus.py unpack FILE DIR - writes the inputs of a kept corpus to DIR, each as a file.
# corpus.py add FILE INPUT... - adds inputs to it (files; of a directory all).
#
# FILE has one input a line: its bytes in hex, and perhaps a blank and what it is.
import hashlib
import os
import sys


def lines_of(path):
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return [line.rstrip('\n') for line in f]


def unpack(path, where):
    os.makedirs(where, exist_ok=True)
    for line in lines_of(path):
        content = bytes.fromhex(line.partition(' ')[0])
        with open(os.path.join(where, hashlib.sha1(content).hexdigest()), 'wb') as f:
            f.write(content)


def add(path, inputs):
    lines = lines_of(path)
    seen = {line.partition(' ')[0] for line in lines}
    for name in inputs:
        files = [name]
        if os.path.isdir(name):
            files = [os.path.join(name, f) for f in sorted(os.listdir(name))]
        for file in files:
            with open(file, 'rb') as f:
                text = f.read().hex()
            if text and text not in seen:
                seen.add(text)
                lines.append(text)
    with open(path, 'w') as f:
        f.writelines(line + '\n' for line in sorted(lines, key=lambda s: (len(s), s)))


def main():
    if len(sys.argv) == 4 and sys.argv[1] == 'unpack':
        unpack(sys.argv[2], sys.argv[3])
    elif len(sys.argv) > 3 and sys.argv[1] == 'add':
        add(sys.argv[2], sys.argv[3:])
    else:
        sys.exit('usage: corpus.py unpack FILE DIR, corpus.py add FILE INPUT...')


if __name__ == '__main__':
    main()
