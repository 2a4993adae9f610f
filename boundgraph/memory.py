"""Memory that is freed and soon needed again.

A training step allocates coefficient tensors of many megabytes and frees them. By default the C library hands such
blocks back to the kernel, which clears every page of the next ones: on CPUs that can double the time of a step. PyTorch
keeps freed blocks on accelerators; here the C library is asked to do the same.
"""

from __future__ import annotations

import ctypes
import functools
import os

import torch

_SWITCH = "BOUNDGRAPH_KEEP_FREED_MEMORY"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # <malloc.h> of glibc
_LARGEST = 2**31 - 1


@functools.cache
def keep_freed_blocks() -> bool:
    """Let the process keep what it frees, up to its own peak; done once, before the first bounds on a CPU.

    Returns whether it was done: not without glibc, nor where its MALLOC_ variables are set, nor if the environment says
    BOUNDGRAPH_KEEP_FREED_MEMORY=0.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    if chosen or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or os.environ.get(_SWITCH) == "0":
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - an AttributeError elsewhere
        options = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: _LARGEST, _M_TOP_PAD: 64 * 2**20}
        return all(library.mallopt(option, value) == 1 for option, value in options.items())
    except (OSError, AttributeError, TypeError):
        return False


_ASSUMED = 2**30


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device; 1 GiB where that is not told, and in traced graphs, which should not vary."""
    if torch.compiler.is_compiling():
        return _ASSUMED
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return _ASSUMED
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _ASSUMED
