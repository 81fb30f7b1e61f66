"""What a file and the command line may say to a tree of frozen dataclasses, and how a mistake is named."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernest.overrides import FieldError, build, read_tree


@dataclass(frozen=True)
class Inner:
    steps: int = 1
    rate: float | None = None
    kind: Literal["auto", "32"] = "auto"


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    sides: tuple[int, ...] = ()
    share: tuple[float, float] = (0.0, 1.0)
    weights: dict[str, float] = field(default_factory=dict)
    name: str = ""
    on: bool = False


finite = st.floats(allow_nan=False, allow_infinity=False)
inner = st.builds(Inner, st.integers(), st.none() | finite, st.sampled_from(["auto", "32"]))
outer = st.builds(
    Outer,
    inner,
    st.lists(st.integers()).map(tuple),
    st.tuples(finite, finite),
    st.dictionaries(st.text(), finite),
    st.text(),
    st.booleans(),
)


@given(outer)
def test_what_is_written_out_comes_back(value: Outer) -> None:
    assert build(Outer, asdict(value)) == value


def test_a_file_holds_differences_and_overrides_come_last(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("name = 'é'\n[inner]\nsteps = 3\nrate = 1\n[weights]\na = 2\n", encoding="utf-8")
    built = build(Outer, read_tree(file, ["inner.steps=5", "inner.kind=32", "sides=[1, 2]", "name= a b "]))
    assert built == Outer(Inner(5, 1.0, "32"), (1, 2), weights={"a": 2.0}, name="a b")
    assert isinstance(built.inner.rate, float)


def test_names_of_the_users_own_may_hold_what_divides_others(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('name = "é"\n[weights]\n"v1.2 a" = 2\n', encoding="utf-8")
    for asked in ("weights.v1.2 a=3", "weights . 'v1.2 a' = 3", 'weights."v1.2 a"=3'):
        assert build(Outer, read_tree(file, [asked, "weights.x=y.z=4"], ["weights"])).weights == {"v1.2 a": 3.0, "x=y.z": 4.0}
    file.write_text("[weights]\nv1.a = 2\n")
    with pytest.raises(FieldError, match=r'weights: expected a name and its value; a name with a dot stands in quotes, "v1\.a"'):
        build(Outer, read_tree(file))


@pytest.mark.parametrize(
    ("override", "said", "expected"),
    [
        ("inner.step=5", "unknown field 'inner.step'; did you mean 'steps'?", ""),
        ("inner.zzz=5", "unknown field 'inner.zzz'; the fields are steps, rate, kind", ""),
        ("inner.steps=many", "inner.steps = 'many': expected int, got str", "int"),
        ("inner.steps=true", "inner.steps = True: expected int, got bool", "int"),
        ("inner.rate=x", "inner.rate = 'x': expected float, got str", "float or nothing"),
        ("inner.rate=NaN", "inner.rate = nan: expected a finite number", "float or nothing"),
        ("inner.rate=1e999", "inner.rate = inf: expected a finite number", "float or nothing"),
        ("inner.kind=64", "inner.kind = 64: expected one of auto, 32, got int", "one of auto, 32"),
        ("inner=3", "inner: expected a table, got 3", "a table"),
        ("weights.a=much", "weights.a = 'much': expected float, got str", "float"),
        ("sides=3", "sides = 3: expected a list, got int", "a list"),
        ("sides=[1.5]", "sides = 1.5: expected int, got float", "int"),
        ("share=[1]", "share = [1]: expected a list of 2, got list", "a list of 2"),
        ("on=1", "on = 1: expected bool, got int", "bool"),
        ("on", "override 'on': write it as field=value", "field=value"),
        (f"weights.a=1{'0' * 400}", "expected float, got int", "float"),
    ],
)
def test_mistakes_are_named_in_one_line(override: str, said: str, expected: str) -> None:
    with pytest.raises(FieldError) as caught:
        build(Outer, read_tree(overrides=[override]))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.expected == expected


def test_the_parts_of_a_mistake() -> None:
    with pytest.raises(FieldError) as caught:
        build(Outer, {"inner": {"step": 1}})
    error = caught.value
    assert (error.field, error.nearest, error.known) == ("inner.step", "steps", ("steps", "rate", "kind"))
    with pytest.raises(FieldError) as caught:
        build(Outer, {"inner": {"rate": math.nan}})
    assert caught.value.field == "inner.rate"
    assert math.isnan(caught.value.value)


def test_files_and_paths_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.toml: No such file"):
        read_tree(tmp_path / "gone.toml")
    for content in (b"a = = 1", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.toml: "):
            read_tree(tmp_path / "bad.toml")
    with pytest.raises(ValueError, match=r"override 'on\.x=1': on = 8 is a value"):
        read_tree(overrides=["on=8", "on.x=1"])


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfsteps = 3\r\n")
    assert read_tree(tmp_path / "x.toml") == {"steps": 3}
