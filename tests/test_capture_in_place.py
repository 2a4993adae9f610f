"""Writes in place: the bounds are those of the model, or the model is refused; never silently something else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import boundgraph


def iadd_with_a_second_name(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    z = y
    z += 1
    return y.relu()


def relu_method(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.relu_()
    return y + self.fc2(y)


def one_after_the_other(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.clamp_(-1, 1).mul_(2)
    z = y.add_(1)
    return y + self.fc2(z.sigmoid_())


def numbers_are_not_written_to(self: Any, x: Tensor) -> Tensor:
    n = x.shape[1]
    whole, half = n, n / 2
    n -= 1
    n -= 1
    half *= x.dim()
    return self.fc1(x) * n + whole * half


def exact_values_no_rule_knows(self: Any, x: Tensor) -> Tensor:
    a, b = self.offset.clone(), self.fc1.bias.detach().clone()
    read = a + 1
    c = a.fill_(1.0)
    a.fill_(3.0)
    b.copy_(a).index_fill_(0, torch.tensor([0]), 7.0)
    return self.fc1(x) * c + b + read


def inplace_flag_then_reuse(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    z = F.relu(y, inplace=True)
    return y + z


def written_after_it_was_read(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    before = y + 0
    y.mul_(2)
    return before + y


def several_operators(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y -= self.fc2(x)
    y *= 2
    y /= 3
    return y.relu()


def the_input_itself(self: Any, x: Tensor) -> Tensor:
    x += 1
    return self.fc1(x)


def kept_in_a_dict(self: Any, x: Tensor) -> Tensor:
    values = {"h": self.fc1(x)}
    values["h"] += 1
    return values["h"].relu()


def own_copy(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    copy = y.clone()
    copy.relu_()
    return y + copy


def chained(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    return y.relu_().mul_(2).add_(self.fc2(x))


@pytest.mark.parametrize(
    "forward",
    [iadd_with_a_second_name, relu_method, one_after_the_other, numbers_are_not_written_to, exact_values_no_rule_knows,
     inplace_flag_then_reuse, written_after_it_was_read, several_operators, the_input_itself, kept_in_a_dict, own_copy,
     chained],
)  # fmt: skip
def test_writes_are_followed(networks: ModuleType, forward: Callable) -> None:
    model = networks.net(forward)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    networks.assert_captured(model, torch.randn(4, 3, dtype=torch.double))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), f"bounding has changed {name}"


def test_an_exact_input_stays_the_callers(networks: ModuleType) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            z = y.clone()
            z.fill_(2.0)
            return self.fc(x) * z + y

    x, y = torch.randn(4, 3), torch.randn(4, 3)
    given = y.clone()
    bounds = boundgraph.compile(Net(), "crown-ibp")(boundgraph.LpBall(x, 0.1), y)
    assert torch.equal(y, given)
    assert bool((bounds.lower <= bounds.upper).all())


def view_written_then_base_read(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.view(-1, 3).relu_()
    return y * 2


def slice_written(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y[:, :2].relu_()
    return self.fc2(y)


def chunk_written(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    first, _ = y.chunk(2, 1)
    first.relu_()
    return y


def item_assigned(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y[:, 0] = 0
    return y


def transposed_written(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.transpose(1, 0).relu_()
    return y


def contiguous_is_the_same_memory(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.contiguous().relu_()
    return y


def base_written_then_view_read(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    view = y.reshape(-1, 3, 1)
    y.relu_()
    return view.flatten(1)


def squeezed_function(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    torch.relu_(y.unsqueeze(2))
    return y


def data_written(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.data.relu_()
    return y


def detached_written(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.detach().relu_()
    return y


def out_argument(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    torch.add(y, 1, out=y)
    return y.relu()


def filled(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.zero_()
    return y + self.fc2(x)


def copied_over(self: Any, x: Tensor) -> Tensor:
    y = self.fc1(x)
    y.copy_(self.fc2(x))
    return y.relu()


def constant_receives_a_value(self: Any, x: Tensor) -> Tensor:
    total = torch.zeros(4, 3, dtype=torch.double)
    total += self.fc1(x)
    return total.relu() + self.fc2(x)


def constant_receives_by_method(self: Any, x: Tensor) -> Tensor:
    total = torch.zeros(4, 3, dtype=torch.double)
    total.add_(self.fc1(x))
    return total.relu() + self.fc2(x)


def constant_receives_by_index(self: Any, x: Tensor) -> Tensor:
    total = torch.zeros(4, 3, dtype=torch.double)
    total[:, :] = self.fc1(x)
    return total.relu() + self.fc2(x)


def buffer_written_and_read(self: Any, x: Tensor) -> Tensor:
    self.offset += 1
    return self.fc1(x) + self.offset


def buffer_assigned_and_read(self: Any, x: Tensor) -> Tensor:
    self.offset = self.offset * 2
    return self.fc1(x) + self.offset


@pytest.mark.parametrize(
    "forward",
    [view_written_then_base_read, slice_written, chunk_written, item_assigned, transposed_written,
     contiguous_is_the_same_memory, base_written_then_view_read, squeezed_function, data_written, detached_written,
     out_argument, filled, copied_over, constant_receives_a_value, constant_receives_by_method,
     constant_receives_by_index, buffer_written_and_read],
)  # fmt: skip
@pytest.mark.parametrize("with_examples", [False, True])
def test_the_rest_is_right_or_refused(networks: ModuleType, forward: Callable, with_examples: bool) -> None:
    x = torch.randn(4, 3, dtype=torch.double)
    try:
        bounded = boundgraph.compile(networks.net(forward), example_inputs=(x.clone(),) if with_examples else None)
        bounds = bounded(x.clone(), eps=0.0)
    except boundgraph.BoundgraphError:
        return
    with torch.no_grad():
        expected = networks.net(forward).requires_grad_(False)
        expected.load_state_dict(bounded.model.state_dict())
        torch.testing.assert_close(bounds.lower, expected(x.clone()))


def test_a_buffer_reassigned_in_forward_is_not_left_behind(networks: ModuleType) -> None:
    model = networks.net(buffer_assigned_and_read)
    before = model.offset
    try:
        boundgraph.compile(model)
    except boundgraph.BoundgraphError:
        pass
    assert model.offset is before
    assert torch.equal(before, torch.tensor([1.0, 2.0, 3.0], dtype=torch.double))


def test_inplace_modules_in_a_residual_block(networks: ModuleType) -> None:
    """The classic mistake: the shortcut reads what ReLU(inplace=True) has overwritten. Bounds follow the model."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act = nn.Linear(3, 3, dtype=torch.double), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.fc(x)
            return y + self.act(y)

    networks.assert_captured(Block(), torch.randn(4, 3, dtype=torch.double))


def test_counters_advance_only_in_the_model(networks: ModuleType) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.offset += 1
        return self.fc1(x).relu()

    model = networks.net(forward)
    bounded = boundgraph.compile(model)
    bounded(torch.randn(4, 3, dtype=torch.double), eps=0.1)
    assert model.offset.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("forward", [view_written_then_base_read])
def test_refusals_name_the_line_and_the_cure(networks: ModuleType, forward: Callable) -> None:
    with pytest.raises(boundgraph.CaptureError) as caught:
        boundgraph.compile(networks.net(forward))
    line = forward.__code__.co_firstlineno + 2
    assert str(caught.value) == (
        f"node `relu_`, {__file__}:{line} (y.view(-1, 3).relu_()) writes in place, and `fc1`, which shares its memory, is "
        "read later; use the form that returns a new tensor"
    )


def constant_changed_between_uses(self: Any, x: Tensor) -> Tensor:
    matrix = torch.eye(3, dtype=torch.double)
    y = F.linear(x, matrix)
    matrix *= 3
    return F.linear(y, matrix)


def constant_changed_after_use(self: Any, x: Tensor) -> Tensor:
    shift = torch.ones(3, dtype=torch.double)
    y = self.fc1(x) + shift
    shift.view(3, 1).zero_()
    return y


def weight_clipped_through_data(self: Any, x: Tensor) -> Tensor:
    self.fc1.weight.data.clamp_(min=0)
    return self.fc1(x)


def weight_clipped_through_its_transpose(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        self.fc1.weight.T.clamp_(min=0)
    return self.fc1(x)


@pytest.mark.parametrize(
    "body",
    [constant_changed_between_uses, constant_changed_after_use, weight_clipped_through_data,
     weight_clipped_through_its_transpose],
)  # fmt: skip
def test_writes_to_exact_values_are_right_or_refused(networks: ModuleType, body: Callable) -> None:
    model, x = networks.net(body), torch.randn(4, 3, dtype=torch.double)
    with suppress(boundgraph.BoundgraphError):
        bounds = boundgraph.compile(model)(x, eps=0.0)
        torch.testing.assert_close(bounds.lower, model(x))
