"""Methods are tuples of passes; users choose, configure and write them."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import pytest
import torch
from torch.fx import GraphModule

import boundgraph
from boundgraph.methods import pass_name
from passes import cleanup, crown, interval, layout, primal, specification, tightening

METHODS = ("ibp", "crown-ibp", "crown")


@pytest.mark.parametrize("budget", [0, -1, 1.5, float("nan"), True, "1GB"])
def test_memory_budget_is_a_number_of_bytes(budget: object) -> None:
    with pytest.raises(ValueError, match="memory_budget must be a positive number of bytes"):
        boundgraph.method("crown", memory_budget=budget)


def test_the_list(networks: ModuleType) -> None:
    known = boundgraph.methods()
    assert set(METHODS) <= set(known)
    for name, method in known.items():
        assert method.name == name
        assert len(method.summary.splitlines()) == 1
        assert method.summary.endswith((".", ")"))
        assert boundgraph.compile(networks.build("five"), name).method == name


def test_unknown_names_list_what_there_is(networks: ModuleType) -> None:
    with pytest.raises(ValueError, match="unknown method 'frown'") as caught:
        boundgraph.compile(networks.build("five"), "frown")
    message = str(caught.value)
    for name, method in boundgraph.methods().items():
        assert f"  {name}: {method.summary}" in message
    assert message.startswith("unknown method 'frown'; there are\n")
    assert message.endswith("\nor pass a tuple of passes of your own")


def test_unknown_options() -> None:
    with pytest.raises(ValueError, match="option") as caught:
        boundgraph.method("crown", slop="zero", colour=1)
    assert str(caught.value) == "method 'crown' has no option colour, slop; its options: slope, memory_budget"
    with pytest.raises(ValueError, match="option") as caught:
        boundgraph.method("ibp", slope="zero")
    assert str(caught.value) == "method 'ibp' has no option slope; its options: none"
    with pytest.raises(ValueError, match="slope") as caught:
        boundgraph.method("crown", slope="steep")
    assert str(caught.value) == "unknown slope 'steep'; choose one of adaptive, zero, one, same"


@pytest.mark.parametrize("wrong", [[interval.forward], ("ibp", "crown"), None, 3, (1, 2)])
def test_methods_are_names_or_tuples_of_passes(networks: ModuleType, wrong: object) -> None:
    with pytest.raises(ValueError, match="method") as caught:
        boundgraph.compile(networks.build("five"), wrong)  # type: ignore[arg-type]
    assert str(caught.value) == f"method must be a name or a tuple of passes, not {wrong!r}"


@pytest.mark.parametrize("name", METHODS)
def test_the_tuple_of_a_method_is_the_method(networks: ModuleType, name: str) -> None:
    model, (x,) = networks.build("residual-cnn"), networks.inputs("residual-cnn")
    by_name, by_passes = boundgraph.compile(model, name), boundgraph.compile(model, boundgraph.method(name))
    assert by_passes.method == boundgraph.method(name) or isinstance(by_passes.method, tuple)
    assert by_passes.code == by_name.code
    assert torch.equal(by_passes(x, eps=0.1).lower, by_name(x, eps=0.1).lower)


OWN = (
    primal.canonicalize,
    specification.append,
    primal.mark_perturbed,
    interval.forward,
    partial(crown.backward, slope="zero"),
    cleanup.drop_unused,
)


def test_a_shorter_tuple_of_ones_own(networks: ModuleType) -> None:
    """Without layouts, merging and sharing: slower, and the same bounds where no rule depends on them."""
    model, (x,) = networks.build("residual"), networks.inputs("residual")
    own, full = (boundgraph.compile(model, m) for m in (OWN, boundgraph.method("crown-ibp", slope="zero")))
    assert [name for name, _ in own.stages] == [
        "capture", "primal.canonicalize", "specification.append", "primal.mark_perturbed", "interval.forward",
        "crown.backward(slope=zero)", "cleanup.drop_unused",
    ]  # fmt: skip
    torch.testing.assert_close(own(x, eps=0.1)[:2], full(x, eps=0.1)[:2], rtol=1e-10, atol=1e-10)


def count_nodes(module: GraphModule) -> GraphModule:
    """A pass of the user's own that only looks."""
    COUNTS.append(len(module.graph.nodes))
    return module


COUNTS: list[int] = []


def test_a_pass_of_ones_own_among_ours(networks: ModuleType) -> None:
    passes = (*boundgraph.method("crown"), count_nodes)
    bounded = boundgraph.compile(networks.build("deep"), passes)
    assert COUNTS[0] == len(bounded.graph.nodes)
    assert bounded.stages[-1][0] == f"{__name__.rsplit('.', 1)[-1]}.count_nodes"
    assert bounded.using(passes) is bounded


def test_batch_norm_without_its_pass_is_an_error(networks: ModuleType) -> None:
    bounded = boundgraph.compile(networks.build("normalised"), OWN)
    with pytest.raises(boundgraph.GraphError) as caught:
        bounded(*networks.inputs("normalised"), eps=0.1)
    said, place = str(caught.value).split("\n")
    assert said == "batch_norm has no bounds of its own; the method needs the pass primal.batch_norm_to_affine"
    assert place.startswith("  at node `bn`, layer bn, ")


@pytest.mark.parametrize("slope", ["adaptive", "zero", "one", "same"])
@pytest.mark.parametrize("name", ["crown-ibp", "crown"])
def test_every_slope_is_sound_and_exact_at_a_point(networks: ModuleType, name: str, slope: str) -> None:
    (x,) = networks.inputs("conv")
    bounded = boundgraph.compile(networks.build("conv"), boundgraph.method(name, slope=slope))
    networks.assert_exact(bounded, x)
    bounds = bounded(x, eps=0.2)
    samples = x + (torch.rand(2000, *x.shape, dtype=x.dtype) * 2 - 1) * 0.2
    outputs = bounded.model(samples.flatten(0, 1)).unflatten(0, samples.shape[:2])
    assert (outputs >= bounds.lower - 1e-9).all()
    assert (outputs <= bounds.upper + 1e-9).all()


def test_slopes_make_a_difference(networks: ModuleType) -> None:
    (x,), model = networks.inputs("conv"), networks.build("conv")
    found = [
        boundgraph.compile(model, boundgraph.method("crown-ibp", slope=slope))(x, eps=0.2).lower
        for slope in ("adaptive", "zero", "one", "same")
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


def test_using_keeps_its_siblings(networks: ModuleType) -> None:
    bounded = boundgraph.compile(networks.build("five"), "crown-ibp")
    sibling = bounded.using("ibp")
    assert bounded.using("crown-ibp") is bounded
    assert bounded.using("ibp") is sibling
    assert sibling.model is bounded.model
    assert sibling.method == "ibp"
    assert len(list(bounded.parameters())) == len(list(bounded.model.parameters()))


def test_pass_names() -> None:
    assert pass_name(crown.backward) == "crown.backward"
    assert pass_name(partial(crown.backward, slope="one")) == "crown.backward(slope=one)"
    assert pass_name(layout.channels_last) == "layout.channels_last"
    assert pass_name(partial(tightening.preactivations, slope="zero", memory_budget=8)) == (
        "tightening.preactivations(slope=zero, memory_budget=8)"
    )
