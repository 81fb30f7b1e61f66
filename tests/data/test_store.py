"""From records to documents, to disk and back."""

import numpy as np
import pytest
import torch

from ernest.config.media import MediaSpec
from ernest.data.examples import EncodedSegment, Example, encode
from ernest.data.hearings import heard_otherwise
from ernest.data.store import ExampleStore
from ernest.sequence.record import Record, given, made
from ernest.tokenizers.vision import to_frames
from tests.small import Maker, documents, tokenizers


def equal(one: Example, other: Example) -> bool:
    if one.task != other.task or len(one.segments) != len(other.segments):
        return False
    pairs = zip(one.segments, other.segments, strict=True)
    return all(
        (a.form, a.made, a.video, a.open) == (b.form, b.made, b.video, b.open) and np.array_equal(a.data, b.data)
        for a, b in pairs
    )


def test_documents_survive_the_disk(store):
    every = [document for seed in range(4) for document in documents(seed)]
    assert len(store) == len(every)
    assert all(equal(stored, document) for stored, document in zip((store[i] for i in range(len(store))), every, strict=True))
    for stored, document in zip((store[i] for i in range(len(store))), every, strict=True):
        for a, b in zip(stored.segments, document.segments, strict=True):
            assert isinstance(a.data, str) or a.data.dtype == b.data.dtype
    assert set(store.tasks) == {document.task for document in every}
    assert all(store[i].task == task for task, indices in store.tasks.items() for i in indices)


def test_a_glance_sees_the_same_and_can_change_nothing(store):
    for index in (0, 3, len(store) - 1, 3):
        seen = store.glance(index)
        assert equal(seen, store[index])
        assert seen is store.glance(index)
        assert not any(segment.data.flags.writeable for segment in seen.segments if segment.form != "text")
        assert all(segment.data.flags.writeable for segment in store[index].segments if segment.form != "text")


def test_text_alone_needs_no_arrays(tmp_path):
    words = "three, 四 and 🎈\u2028on another line"
    ExampleStore.write(tmp_path / "examples" / "text", [Example((EncodedSegment("text", words, True),), "text")])
    store = ExampleStore(tmp_path / "examples")
    assert store[0].segments[0].data == words
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]


def test_a_part_is_replaced(tmp_path):
    first, second = documents(0)[:2], documents(1)[3:4]
    for part in (first, second):
        ExampleStore.write(tmp_path / "examples" / "all", part)
    store = ExampleStore(tmp_path / "examples")
    assert len(store) == 1
    assert equal(store[0], second[0])


def test_a_half_written_part_is_no_part(tmp_path):
    def interrupted():
        yield documents()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ExampleStore.write(tmp_path / "examples" / "torn", interrupted())
    with pytest.raises(ValueError, match="holds no examples"):
        ExampleStore(tmp_path / "examples")
    ExampleStore.write(tmp_path / "examples" / "torn", documents()[:1])
    assert len(ExampleStore(tmp_path / "examples")) == 1


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    for name, content in (("one", documents(0)), ("same", documents(0)), ("other", documents(1)), ("shorter", documents(0)[:-1])):
        ExampleStore.write(tmp_path / name / "part", content)
    one, same, other, shorter = (ExampleStore(tmp_path / name).fingerprint for name in ("one", "same", "other", "shorter"))
    assert one == same
    assert len({one, other, shorter}) == 3


def test_opening_a_store_reads_no_arrays(tmp_path):
    """Arrays are mapped: a store larger than memory opens, and what is taken from it is memory of one's own."""
    ExampleStore.write(tmp_path / "examples" / "part", documents())
    store = ExampleStore(tmp_path / "examples")
    assert all(isinstance(array.base, np.memmap) for array in store.parts[0].arrays.values())
    taken = store[0].segments[1].data
    assert not isinstance(taken, np.memmap)
    assert taken.flags.writeable
    with pytest.raises(IndexError):
        store[len(store)]


def test_a_damaged_array_is_named(tmp_path):
    ExampleStore.write(tmp_path / "examples" / "part", documents())
    file = tmp_path / "examples" / "part" / "latent.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"latent\.npy: damaged"):
        ExampleStore(tmp_path / "examples")


def records() -> list[Record]:
    rng = np.random.default_rng(0)
    picture = lambda *frames: rng.integers(0, 256, (*frames, 32, 32, 3)).astype(np.uint8)
    sound = lambda seconds: rng.normal(size=int(seconds * MediaSpec.sample_rate)).astype(np.float32) * 0.1
    shared = made("image", picture())
    return [
        Record((given("text", "a red seven"), shared), "text→image"),
        Record((shared, given("image", picture()), made("text", "a")), "two pictures"),
        Record((given("video", picture(9)), made("text", "a disk"), made("audio", sound(0.5))), "three kinds"),
        Record((given("audio", sound(0.33)), made("video", picture(3), open=True)), "speech→video"),
    ]


@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_records_become_documents_in_order(chunk):
    vision, audio = tokenizers().vision, tokenizers().audio
    found = list(encode(records(), tokenizers(), chunk))
    assert [document.task for document in found] == [record.task for record in records()]
    for document, record in zip(found, records(), strict=True):
        for encoded, segment in zip(document.segments, record.segments, strict=True):
            assert (encoded.made, encoded.video, encoded.open) == (segment.made, segment.kind == "video", segment.open)
            if segment.kind == "text":
                assert encoded.data == segment.data
            elif segment.kind == "audio":
                np.testing.assert_array_equal(encoded.data, audio.encode([segment.data])[0])
                assert encoded.data.dtype == np.int16
            elif segment.made:
                frames = to_frames(segment.data if encoded.video else segment.data[None])
                np.testing.assert_allclose(encoded.data, vision.encode(frames).numpy(), rtol=2e-3, atol=2e-3)
                assert encoded.data.dtype == np.float16
            else:
                np.testing.assert_array_equal(encoded.data, segment.data if encoded.video else segment.data[None])


def test_bits_survive_half_precision():
    """Latents are kept in sixteen bits; the bits that a model learns are those of the latents as kept, always."""
    segment = Maker(np.random.default_rng(0)).latent(50)
    paths = [tokenizers().vision.quantiser.history(torch.from_numpy(segment.data).float()).bits for _ in range(2)]
    assert torch.equal(*paths)


def test_frames_are_bytes_over_255():
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    pixels[1, 2, 3] = [255, 51, 0]
    frames = to_frames(pixels)
    assert frames.shape == (2, 3, 32, 32)
    torch.testing.assert_close(frames[1, :, 2, 3], torch.tensor([1.0, 0.2, 0.0]))


def test_texts_that_may_stand_for_one_survive(tmp_path):
    segment = EncodedSegment("text", "a cat", True, others=("an animal", "a pet"))
    ExampleStore.write(tmp_path / "store/own", [Example((segment,), "t")])
    assert ExampleStore(tmp_path / "store")[0].segments[0].versions == ("a cat", "an animal", "a pet")


def test_given_sounds_have_other_hearings_and_made_ones_none(tmp_path):
    """What a sound is by itself does not change for it."""
    ExampleStore.write(tmp_path / "store/own", encode(records(), tokenizers(), 3, hearings=2))
    heard = 0
    for stored, plain, record in zip(ExampleStore(tmp_path / "store"), encode(records(), tokenizers()), records(), strict=True):
        assert equal(stored, plain)
        for segment, known in zip(stored.segments, record.segments, strict=True):
            assert len(segment.others) == (2 if known.kind == "audio" and not known.made else 0)
            for number, other in enumerate(segment.others, 1):
                (wanted,) = tokenizers().audio.encode([heard_otherwise(known.data, 8000, number)])
                np.testing.assert_array_equal(other, wanted)
                assert other.dtype == np.int16
                heard += 1
    assert heard
