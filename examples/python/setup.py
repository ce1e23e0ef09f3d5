# SPDX-License-Identifier: BSD-2-Clause
# What pyproject.toml cannot say: the module of C.
from setuptools import setup

setup(cffi_modules=["binding.py:ffi"])
