"""Names of models: checkpoints, and sub-models of them."""

from pathlib import Path

import pytest

from ernest.config.submodel_size import SubModelSize
from ernest.serve.models import Catalogue, ModelName, checkpoint_name


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("demo", SubModelSize()),
        ("demo:layers=6", SubModelSize(6)),
        ("demo:layers=6,experts=24,top_k=1", SubModelSize(6, 24, 1)),
        ("demo:top_k=2", SubModelSize(top_k=2)),
    ],
)
def test_a_name_is_read_and_written(text, size):
    assert ModelName.parse(text) == ModelName("demo", size)
    assert str(ModelName.parse(text)) == text


@pytest.mark.parametrize("sizes", ["layers=six", "width=3", "layers=6,layers=7", "layers=٣", "layers=" + "9" * 99])
def test_a_size_that_cannot_be_read(sizes):
    with pytest.raises(ValueError, match="expected layers=NUMBER, experts=NUMBER, top_k=NUMBER"):
        ModelName.parse(f"demo:{sizes}")


@pytest.mark.parametrize("text", ["demo:layers=-1", "demo:", "demo:layers", "demo:layers=1,", "a=b:c=1", ":layers=1"])
def test_what_has_not_the_form_of_a_size_is_the_name_of_nobody(text):
    assert Catalogue.of(["build/demo/model"]).find(text) is None


@pytest.mark.parametrize(
    ("folder", "name"), [("build/demo/model", "demo"), ("build/small", "small"), ("/model", "model"), ("my run/model", "my-run")]
)
def test_a_checkpoint_is_called_by_its_run(folder, name):
    assert checkpoint_name(Path(folder)) == name


def test_the_catalogue_of_a_command():
    catalogue = Catalogue.of(["build/demo/model", "runs/photos", "photos:layers=5"])
    assert catalogue.folders == {"demo": Path("build/demo/model"), "photos": Path("runs/photos")}
    assert list(map(str, catalogue.listed)) == ["demo", "photos", "photos:layers=5"]
    assert catalogue.find(None) == ModelName("demo")
    assert catalogue.find("photos:experts=3") == ModelName("photos", SubModelSize(experts=3))
    assert catalogue.find("other") is None
    assert catalogue.find("other:layers=3") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a/model", "b/a"], "is called 'a' too: rename one"),
        (["a/model", "b:layers=3"], "there is no checkpoint 'b'; there are a"),
        (["demo:layers=3"], "there is no checkpoint 'demo'; there are none"),
    ],
)
def test_a_catalogue_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        Catalogue.of(arguments)
