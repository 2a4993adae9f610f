"""boundgraph: a symbolic computation-graph bound compiler for PyTorch."""

# the rooms register their operators, and must do so before any graph is compiled
from boundgraph import layers as _layers  # noqa: F401
from boundgraph import ops as _ops  # noqa: F401
from boundgraph import testing, training
from boundgraph.compiler import compile
from boundgraph.errors import (
    BoundgraphError,
    CaptureError,
    DomainError,
    GraphError,
    PrecisionError,
    RegionError,
    UnsupportedOperatorError,
)
from boundgraph.methods import method, methods
from boundgraph.module import BoundedModule
from boundgraph.operator import Operator, register
from boundgraph.ops.ramp import ramp
from boundgraph.regions import Box, LpBall, Region
from boundgraph.scalar.activation import activation
from boundgraph.scalar.facts import ActivationError
from boundgraph.scalar.proof import ProofError, prove
from boundgraph.specification import margin_spec
from boundgraph.values import Bounds, Interval

__version__ = "0.1.0"

__all__ = [
    "ActivationError",
    "BoundedModule",
    "BoundgraphError",
    "Bounds",
    "Box",
    "CaptureError",
    "DomainError",
    "GraphError",
    "Interval",
    "LpBall",
    "Operator",
    "PrecisionError",
    "ProofError",
    "Region",
    "RegionError",
    "UnsupportedOperatorError",
    "activation",
    "compile",
    "margin_spec",
    "method",
    "methods",
    "prove",
    "ramp",
    "register",
    "testing",
    "training",
]
