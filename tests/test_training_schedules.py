"""The schedules against their formulas."""

import math

import pytest

from boundgraph.training import LinearSchedule, SmoothedSchedule, interpolate_with_eps


def test_interpolation_is_exact_at_both_ends() -> None:
    assert interpolate_with_eps(1.0, 0.1, eps=0.0, eps_max=0.3) == 1.0
    assert interpolate_with_eps(1.0, 0.1, eps=0.3, eps_max=0.3) == 0.1
    assert interpolate_with_eps(1.0, 0.5, eps=0.1, eps_max=0.4) == pytest.approx(0.875)
    assert interpolate_with_eps(1.0, 0.5, eps=0.0, eps_max=0.0) == 1.0
    with pytest.raises(ValueError, match=r"between 0 and eps_max = 0\.3, not 0\.4"):
        interpolate_with_eps(1.0, 0.0, eps=0.4, eps_max=0.3)


def test_linear_schedule() -> None:
    schedule = LinearSchedule(eps_max=0.3, start=10, length=20)
    assert [schedule(step) for step in (0, 10, 30, 1000)] == [0.0, 0.0, 0.3, 0.3]
    assert schedule(15) == pytest.approx(0.075)


@pytest.mark.parametrize("kind", [LinearSchedule, SmoothedSchedule])
def test_schedule_of_length_zero_jumps(kind: type[LinearSchedule]) -> None:
    schedule = kind(eps_max=0.3, start=2, length=0)
    assert [schedule(step) for step in range(4)] == [0.0, 0.0, 0.3, 0.3]


def test_smoothed_schedule_joins_at_one_thirteenth_with_equal_slopes() -> None:
    schedule = SmoothedSchedule(eps_max=1.3, start=1000, length=4_000_000)
    join = 1_001_000
    assert schedule(join) == pytest.approx(0.1)
    assert schedule(join) - schedule(join - 1) == pytest.approx(schedule(join + 1) - schedule(join), rel=1e-4)


def test_smoothed_schedule_is_a_power_then_a_line() -> None:
    schedule = SmoothedSchedule(eps_max=1.0, start=0, length=1000)
    assert schedule(200) / schedule(100) == pytest.approx(2**4)
    assert schedule(500) == pytest.approx((schedule(400) + schedule(600)) / 2)
    radii = [schedule(step) for step in range(1200)]
    assert radii == sorted(radii)
    assert (radii[0], radii[1000], radii[-1]) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps_max": -0.1}, "eps_max must be finite and not negative, not -0.1"),
        ({"eps_max": math.nan}, "eps_max must be finite and not negative, not nan"),
        ({"start": -1}, "start must be finite and not negative, not -1"),
        ({"length": -5}, "length must be finite and not negative, not -5"),
        ({"power": 0.5}, "power must be finite and at least 1, not 0.5"),
        ({"midpoint": 1.0}, "midpoint must lie strictly between 0 and 1, not 1.0"),
    ],
)
def test_schedules_name_bad_arguments(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmoothedSchedule(**({"eps_max": 0.1, "start": 0, "length": 10} | arguments))
