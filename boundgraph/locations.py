"""Where in the user's code a node comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from traceback import FrameSummary

import networkx
import torch
from torch import fx

_LIBRARY_FOLDERS = tuple(
    os.path.dirname(os.path.abspath(path or "")) for path in (torch.__file__, networkx.__file__, __file__)
)
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)(?:\n\s+(?P<code>.+))?')


def _is_library(file: str) -> bool:
    return file.startswith(_LIBRARY_FOLDERS) or file.startswith("<") or "/torch/" in file


def user_frame(frames: Iterable[FrameSummary]) -> str | None:
    """`file:line (code)` of the innermost frame outside torch and boundgraph."""
    own = [frame for frame in frames if not _is_library(frame.filename)]
    return f"{own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else None


def user_line(node: fx.Node) -> str | None:
    """`file:line (code)` of the user's statement that made the node."""
    frames = [match for match in _FRAME.finditer(node.meta.get("stack_trace") or "") if not _is_library(match["file"])]
    if not frames:
        return None
    last = frames[-1]
    return f"{last['file']}:{last['line']} ({(last['code'] or '').strip()})"


def layer_path(node: fx.Node) -> str | None:
    """Dotted path of the module whose forward made the node."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return paths[-1] if paths else None


def describe(node: fx.Node) -> str:
    """`node `add_1`, layer block.0, model.py:31 (return x + y)`, as far as it is known."""
    layer, line = layer_path(node), user_line(node)
    parts = [f"node `{node.meta.get('of', node.name)}`"]  # of an interval the node that it bounds
    parts += [f"layer {layer}"] if layer else []
    parts += [line] if line else []
    return ", ".join(parts)
