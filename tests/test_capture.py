"""From a model to its primal graph: every spelling of one network is one network, and the model stays as it was."""

from __future__ import annotations

import types
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph

aten = torch.ops.aten


def as_modules(self: Any, x: Tensor) -> Tensor:
    return self.flat(self.fc2(self.drop(self.act(self.fc1(x)))))


def as_functions(self: Any, x: Tensor) -> Tensor:
    h = F.dropout(F.relu(F.linear(x, self.fc1.weight, self.fc1.bias)), 0.3, False)
    return torch.flatten(F.linear(h, bias=self.fc2.bias, weight=self.fc2.weight), start_dim=1)


def as_methods(self: Any, x: Tensor) -> Tensor:
    return self.fc2(self.fc1(x).relu().contiguous()).flatten(1)


def in_place(self: Any, x: Tensor) -> Tensor:
    h = self.fc1(x)
    h.relu_()
    return self.fc2(h).flatten(1)


def as_aten(self: Any, x: Tensor) -> Tensor:
    h = aten.relu.default(aten.linear.default(x, self.fc1.weight, self.fc1.bias))
    return aten.flatten.using_ints(aten.linear.default(h, self.fc2.weight, self.fc2.bias), 1)


def _canonical(model: nn.Module, **options: Any) -> list[tuple]:
    """The primal graph up to the names of its nodes: targets and arguments by position, in the order of reading."""
    nodes = list(boundgraph.compile(model, "ibp", **options).primal.graph.nodes)
    order = [node for node in nodes if node.op in ("placeholder", "call_function")]
    numbers = {node: str(node.target) if node.op == "get_attr" else order.index(node) for node in nodes[:-1]}
    return [(node.target, torch.fx.node.map_arg(node.args, lambda n: numbers[n])) for node in order]


@pytest.mark.parametrize("spelling", [as_functions, as_methods, in_place, as_aten, as_modules])
def test_spellings_give_one_primal_graph(networks: ModuleType, spelling: Callable) -> None:
    expected = _canonical(networks.net(as_methods))
    assert [target for target, _ in _canonical(networks.net(spelling))] == [target for target, _ in expected]
    assert _canonical(networks.net(spelling)) == expected


def test_export_gives_the_same_primal_graph(networks: ModuleType) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x).relu()) if x.dim() == 2 else x

    def traceable(self: Any, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x).relu())

    x = torch.randn(2, 3, dtype=torch.double)
    assert _canonical(networks.net(forward), example_inputs=(x,)) == _canonical(networks.net(traceable))


BODIES: dict[str, Callable] = {
    "operators": lambda self, x: -(2 * self.fc1(x) - 1) / 4 + (1 - self.fc2(x)) * self.scale,
    "torch functions": lambda self, x: torch.sub(torch.add(self.fc1(x), 1, alpha=2), self.fc2(x), alpha=3),
    "reflected": lambda self, x: self.offset - self.fc1(x) + self.offset * x,
    "parameter used directly": lambda self, x: F.linear(x, self.fc1.weight * 2 + 1, self.scale.exp()).relu() + self.offset,
    "parameter transposed": lambda self, x: (x @ self.fc1.weight.t()).relu() @ self.fc2.weight,
    "constant made in forward": lambda self, x: self.fc1(x) * torch.arange(1.0, 4.0) + torch.tensor([1.0, 2.0, 3.0]),
    "one layer three times": lambda self, x: self.fc1(self.fc1(self.fc1(x).relu()).relu()),
    "input read twice": lambda self, x: x + self.fc1(x).relu(),
    "diamond": lambda self, x: (lambda h: self.fc2(h).relu() - self.fc1(h).tanh() + h)(self.fc1(x).relu()),
    "shape of the input first": lambda self, x: self.fc1(x.view(x.size(0), -1)).relu(),
    "shape of the input later": lambda self, x: self.fc1(x).relu().reshape(x.shape[0], -1),
    "shape of a hidden value": lambda self, x: (lambda h: self.fc2(h.view(h.shape[0], 3)))(self.fc1(x).relu()),
    "number of features": lambda self, x: self.fc1(x) / x.shape[1],
    "zeros like the input": lambda self, x: self.fc1(x) + torch.zeros_like(x),
    "made on the input's device": lambda self, x: self.fc1(x) + torch.ones(3, device=x.device, dtype=x.dtype),
    "new_zeros": lambda self, x: self.fc1(x) + x.new_zeros(3),
    "new_full": lambda self, x: self.fc1(x) + x.new_full((x.shape[0], 3), 0.5) - x.new_full((3,), fill_value=2.0),
    "full_like": lambda self, x: self.fc1(x) * torch.full_like(x, 0.5) - torch.full_like(x, fill_value=2),
    "shape of a weight decides": lambda self, x: self.fc1(x) if self.fc1.weight.shape[0] == 3 else x,
    "layer by layer in a loop": lambda self, x: [x := layer(x).relu() for layer in (self.fc1, self.fc2)][-1],
    "one number per example": lambda self, x: self.fc1(x).relu().sum(1),
    "batch norm, functional": lambda self, x: F.batch_norm(self.fc1(x), self.bn.running_mean, self.bn.running_var),
    "the input itself": lambda self, x: x,
    "no activation": lambda self, x: self.fc2(self.fc1(x)),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_captured_graphs_compute_the_model(networks: ModuleType, body: str) -> None:
    networks.assert_captured(networks.net(BODIES[body]), torch.randn(5, 3, dtype=torch.double))


def test_tied_weights_are_one_node(networks: ModuleType) -> None:
    model = networks.net(lambda self, x: self.fc2(self.fc1(x).relu()))
    model.fc2.weight = model.fc1.weight
    networks.assert_captured(model, torch.randn(4, 3, dtype=torch.double))
    targets = [n.target for n in boundgraph.compile(model).graph.nodes if n.op == "get_attr"]
    assert targets.count("model.fc1.weight") == 1
    assert "model.fc2.weight" not in targets


def test_parameters_held_in_lists_and_dicts() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList([nn.Parameter(torch.randn(3, 3, dtype=torch.double)) for _ in range(2)])
            self.layers = nn.ModuleDict({"last": nn.Linear(3, 2, dtype=torch.double)})

        def forward(self, x: Tensor) -> Tensor:
            for weight in self.weights:
                x = F.relu(F.linear(x, weight))
            return self.layers["last"](x)

    x = torch.randn(2, 3, dtype=torch.double)
    bounded = boundgraph.compile(Held())
    torch.testing.assert_close(bounded(x, eps=0.0).lower, bounded.model(x))


def test_several_inputs_one_perturbed(networks: ModuleType) -> None:
    networks.assert_captured(networks.build("two-inputs"), *networks.inputs("two-inputs"))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3, dtype=torch.double)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 2.0) -> Tensor:
        y = self.fc(x).relu() * scale
        return y if mask is None else y * mask


def test_optional_arguments_keep_their_defaults(networks: ModuleType) -> None:
    bounded = boundgraph.compile(Masked())
    assert bounded.input_names == ("x",)
    networks.assert_captured(Masked(), torch.randn(4, 3, dtype=torch.double))


def test_optional_arguments_are_inputs_when_examples_are_given() -> None:
    x, mask = torch.randn(4, 3, dtype=torch.double), torch.rand(4, 3, dtype=torch.double)
    bounded = boundgraph.compile(Masked().eval(), example_inputs=(x, mask))
    assert bounded.input_names == ("x", "mask")
    torch.testing.assert_close(bounded(boundgraph.LpBall(x, 0.0), mask).lower, bounded.model(x, mask))


def test_a_model_that_bears_only_some_of_its_inputs_perturbed_can_be_looked_at() -> None:
    """x * mask has no bounds when both are perturbed; the default graph is then of a choice that has."""
    x, mask = torch.randn(4, 3, dtype=torch.double), torch.rand(4, 3, dtype=torch.double)
    bounded = boundgraph.compile(Masked().eval(), example_inputs=(x, mask))
    torch.testing.assert_close(bounded.primal(x, mask), bounded.model(x, mask))
    assert "mask" in bounded.code


def test_a_decorated_forward_keeps_its_signature(networks: ModuleType) -> None:
    class Decorated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3, dtype=torch.double)

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x).relu()

    networks.assert_captured(Decorated(), torch.randn(2, 3, dtype=torch.double))


def test_a_forward_set_on_the_instance_is_the_one_called(networks: ModuleType) -> None:
    for model in (nn.Linear(3, 3).double(), nn.Sequential(nn.Linear(3, 3)).double()):
        target = model[0] if isinstance(model, nn.Sequential) else model
        target.forward = types.MethodType(lambda self, x: F.linear(x, self.weight).relu(), target)
        networks.assert_captured(model, torch.randn(2, 3, dtype=torch.double))


def test_subclasses_of_batch_norm_keep_their_forward(networks: ModuleType) -> None:
    class Doubled(nn.BatchNorm1d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps
            )

    model = nn.Sequential(nn.Linear(3, 3), Doubled(3)).double().eval()
    networks.assert_captured(model, torch.randn(2, 3, dtype=torch.double))


@pytest.mark.parametrize("where", ["root", "inner"])
@pytest.mark.parametrize("kind", ["forward", "pre", "both with kwargs"])
def test_forward_hooks_are_part_of_the_model(networks: ModuleType, where: str, kind: str) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).double()
    target = model if where == "root" else model[0]
    if kind != "forward":
        target.register_forward_pre_hook(lambda module, args: (2 * args[0] + 1,))
    if kind == "forward":
        target.register_forward_hook(lambda module, args, output: output * 3 - 1)
    if kind == "both with kwargs":
        target.register_forward_hook(lambda module, args, kwargs, output: -output, with_kwargs=True)
    networks.assert_captured(model, torch.randn(2, 3, dtype=torch.double))


def test_hooks_on_batch_norm_are_kept_or_refused(networks: ModuleType) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double().eval()
    model[1].register_forward_hook(lambda module, args, output: 2 * output)
    try:
        bounded = boundgraph.compile(model)
    except boundgraph.CaptureError:
        return
    networks.assert_exact(bounded, torch.randn(2, 3, dtype=torch.double))


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_parametrised_layers(networks: ModuleType, wrap: Callable) -> None:
    model = nn.Sequential(wrap(nn.Linear(3, 3)), nn.ReLU(), wrap(nn.Linear(3, 3))).double().eval()
    networks.assert_captured(model, torch.randn(2, 3, dtype=torch.double))


def test_layers_keep_their_names(networks: ModuleType) -> None:
    names = [node.name for node in boundgraph.compile(networks.build("residual-cnn")).primal.graph.nodes]
    assert {"stem", "bn1", "conv", "bn2", "shortcut", "fc"} <= set(names)


@pytest.mark.parametrize(
    "name", ["spec", "rows", "bounds", "model", "constants", "interval", "eps", "x_interval", "fc1"]
)
@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown"])
def test_inputs_and_layers_may_have_any_name(name: str, method: str) -> None:
    """Also those that the emitted graph uses itself."""
    scope: dict[str, Any] = {"nn": nn, "torch": torch}
    source = f"""
class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(3, 3)
        self.{name} = nn.Linear(3, 3)

    def forward(self, {name}):
        return self.{name}(torch.relu(self.fc1({name}))).relu()
"""
    exec(source, scope)
    model, x = scope["Named"]().double(), torch.randn(2, 3, dtype=torch.double)
    bounded = boundgraph.compile(model, method)
    assert bounded.input_names == (name,)
    for options in ({}, {"spec": torch.eye(3)}, {"norm": 2}):
        torch.testing.assert_close(bounded(x, eps=0.0, **options).lower, model(x))


class Odd(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.layers, self.name = nn.ModuleDict({name: nn.Linear(3, 3, dtype=torch.double)}), name

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[self.name](x).relu()


@pytest.mark.parametrize("name", ["my-layer", "2nd"])
def test_layers_may_have_names_that_are_not_identifiers(networks: ModuleType, name: str) -> None:
    networks.assert_captured(Odd(name), torch.randn(2, 3, dtype=torch.double))


@pytest.mark.parametrize("name", ["import", "None"])
def test_layers_named_by_keywords_are_refused(name: str) -> None:
    with pytest.raises(boundgraph.CaptureError, match=f"named '{name}' .*, a Python keyword; give it another name"):
        boundgraph.compile(Odd(name))


def test_new_parameters_under_the_old_name_are_read(networks: ModuleType) -> None:
    bounded, (x,) = boundgraph.compile(networks.build("five")), networks.inputs("five")
    bounded.model.fc1.weight = nn.Parameter(torch.randn(4, 3, dtype=torch.double))
    networks.assert_exact(bounded, x)
    bounded.load_state_dict({name: tensor + 1 for name, tensor in bounded.state_dict().items()}, assign=True)
    networks.assert_exact(bounded, x)
