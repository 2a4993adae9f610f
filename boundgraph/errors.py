"""What can go wrong, in the user's terms. Everything derives from `BoundgraphError`."""


class BoundgraphError(Exception):
    """Base class of every error boundgraph raises on purpose."""


class CaptureError(BoundgraphError):
    """The model could not be turned into a graph without guessing; names the user's line and what to do."""


class UnsupportedOperatorError(BoundgraphError):
    """Operators without a bound rule lie on a perturbed path; the message lists all of them, with layer and line."""


class GraphError(BoundgraphError):
    """A graph broke its grammar, or a rule met shapes for which no per-example bound exists."""


class DomainError(GraphError):
    """A region on which a function is bounded beyond where it has values, such as the logarithm below 0."""


class RegionError(BoundgraphError, ValueError):
    """A region or specification that makes no sense: negative eps, lower above upper, a wrong shape."""


class PrecisionError(BoundgraphError, ValueError):
    """Coefficients of reduced precision where they make no sense: to verify, or in a model that is not in float32."""
