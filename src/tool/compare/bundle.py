# SPDX-License-Identifier: BSD-2-Clause
"""bundle.py VERSION LAUNCHER OUTPUT MODULE... - one program of a shell script and Python modules:
Python runs a zip file, and what stands before it does not matter. The same input gives the same
bytes."""
import io
import os
import sys
import zipfile

version, launcher, output, modules = *sys.argv[1:4], sys.argv[4:]
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as z:
    for module in sorted(modules):
        name = os.path.basename(module)
        entry = zipfile.ZipInfo("__main__.py" if name == "main.py" else name)
        with open(module, "rb") as f:
            z.writestr(entry, f.read())
with open(launcher, "rb") as f, open(output, "wb") as out:
    out.write(f.read().replace(b"@VERSION@", version.encode()) + packed.getvalue())
os.chmod(output, 0o755)
