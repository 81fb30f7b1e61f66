"""One behaviour in every runtime: which images are taken, whose the logits are, and who may share, copy, send or fork a model."""

import copy
import gc
import pickle  # noqa: TID251
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from torch import Tensor

from ernest.lcnet import Model, Preprocessing, deploy, load, open_model, save, small_images
from ernest.lcnet.native import Executor
from ernest.lcnet.network import PPLCNet
from tests.lcnet.networks import with_statistics

pytest.importorskip("onnxruntime", reason="needs ernest-ai[deploy]")
pytest.importorskip("openvino", reason="needs ernest-ai[deploy]")

RUNTIMES = ("torch", "native", "without a compiler", "onnx", "openvino")
CLASSES, TOLERANCE = 3, 2e-4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "x.safetensors"
    torch.manual_seed(0)
    save(path, with_statistics(PPLCNet(small_images(CLASSES, scale=0.25))), ("a", "b", "c"), Preprocessing(32, (32, 32)))
    return path


@pytest.fixture(scope="module")
def models(checkpoint) -> dict[str, Model]:
    found = {"torch": open_model(checkpoint)}
    for to in ("native", "onnx", "openvino"):
        found[to] = open_model(deploy(checkpoint, to, threads=2).files[0], threads=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", "/nowhere/c++")
        patch.setenv("XDG_CACHE_HOME", str(checkpoint.parent))
        with pytest.warns(RuntimeWarning, match="running in plain PyTorch"):
            found["without a compiler"] = open_model(checkpoint.with_name("x.fp32.safetensors"))
    return found


@pytest.fixture(scope="module")
def expected(checkpoint) -> Callable[[Tensor], Tensor]:
    """Plain float32, laid out plainly, through plain PyTorch."""
    network = load(checkpoint)

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            return network(torch.tensor(images.tolist(), dtype=torch.float32))

    return run


def noise(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


FORMS = {
    "float64": lambda x: x.double(),
    "float16": lambda x: x.half(),
    "bfloat16": lambda x: x.bfloat16(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "every second pixel": lambda x: torch.cat([x, x], 2)[:, :, ::2],
    "every second image": lambda x: torch.cat([x, x])[::2],
    "turned": lambda x: x.transpose(2, 3),
    "one value for all": lambda x: x[:1, :1, :1, :1].expand(2, 3, 32, 32),
    "channels reversed": lambda x: x.flip(1).unfold(1, 3, 1)[:, 0].movedim(-1, 1),
    "not at the start": lambda x: torch.cat([torch.zeros(7), x.flatten()])[7:].view_as(x),
    "of a gradient's graph": lambda x: (x.requires_grad_() * 2).abs(),
    "a parameter": torch.nn.Parameter,
    "sign left to do": lambda x: torch.complex(x, x).conj().imag,
    "all signs left to do": lambda x: torch._neg_view(-x),  # pyright: ignore[reportPrivateImportUsage]
    "imaginary": lambda x: torch.complex(-x, x).imag,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_form_of_the_same_numbers_gets_their_logits(runtime: str, form: str, models, expected) -> None:
    images = FORMS[form](noise(2))
    before = images.detach().clone()
    found = models[runtime].run(images)
    assert (found.dtype, found.requires_grad, found.is_inference(), found.device) == (torch.float32, False, False, before.device)
    assert (found - expected(before)).abs().max() <= TOLERANCE * expected(before).abs().max().clamp(min=1)
    assert torch.equal(images.detach(), before), "the images were written to"


REFUSED = {
    "grey levels": (noise(1).byte(), ValueError, "expected floating-point numbers .*, got uint8"),
    "whole numbers": (noise(1).long(), ValueError, "expected floating-point numbers .*, got int64"),
    "yes and no": (noise(1) > 0, ValueError, "expected floating-point numbers .*, got bool"),
    "complex": (torch.complex(noise(1), noise(1)), ValueError, "expected floating-point numbers .*, got complex64"),
    "sparse": (noise(1).to_sparse(), ValueError, "expected floating-point numbers .*sparse"),
    "empty promise": (torch.empty(1, 3, 32, 32, device="meta"), ValueError, "expected floating-point numbers .*meta"),
    "one image alone": (noise(1)[0], ValueError, r"expected \[N, 3, H, W\], got \[3, 32, 32\]"),
    "channels at the end": (noise(1).movedim(1, 3), ValueError, r"expected \[N, 3, H, W\], got \[1, 32, 32, 3\]"),
    "grey": (noise(1)[:, :1], ValueError, r"expected \[N, 3, H, W\], got \[1, 1, 32, 32\]"),
    "no pixels": (noise(1)[:, :, :0], ValueError, r"expected \[N, 3, H, W\], got \[1, 3, 0, 32\]"),
    "too large": (torch.zeros(1).expand(1, 3, 10**4, 10**4 + 1), ValueError, "expected at most 100000000 pixels"),
    "an array": (noise(1).numpy(), TypeError, "expected a tensor, got ndarray"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_no_image_is_refused_in_the_same_words(runtime: str, name: str, models) -> None:
    images, kind, message = REFUSED[name]
    with pytest.raises(kind, match=f"^images: {message}"):
        models[runtime].run(images)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_images_get_no_logits(runtime: str, models) -> None:
    found = models[runtime].run(noise(2)[:0])
    assert (list(found.shape), found.dtype) == ([0, CLASSES], torch.float32)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_the_caller_has_set_changes_nothing(runtime: str, models, expected) -> None:
    images = noise(2)
    right = expected(images)
    settings = (
        torch.inference_mode(),
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16),
        torch.device("meta"),
        torch.enable_grad(),
    )
    for setting in settings:
        with ExitStack() as stack:
            stack.enter_context(setting)
            found = models[runtime].run(images)
        assert torch.allclose(found, right, atol=TOLERANCE)
    torch.set_default_dtype(torch.float64)
    try:
        found = models[runtime].run(images)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert torch.allclose(found, right, atol=TOLERANCE)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_logits_belong_to_the_caller(runtime: str, models) -> None:
    """Later calls do not write into earlier results, nor the caller into what comes later."""
    model = models[runtime]
    first = model.run(noise(2, 1))
    kept = first.clone()
    for seed in range(2, 6):
        model.run(noise(2, seed)).fill_(float("nan"))
    assert torch.equal(first, kept)
    assert torch.allclose(model.run(noise(2, 1)), kept, atol=TOLERANCE)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_threads_share_a_model(runtime: str, models, expected) -> None:
    """Each gets the logits of its own pictures, of several sizes at once."""
    pictures = [torch.nn.functional.pad(noise(1, seed), (0, 8 * (seed % 3))) for seed in range(12)]
    right, seen = [expected(picture) for picture in pictures], Counter()

    def work(thread: int) -> None:
        for step in range(60):
            place = (5 * thread + step) % len(pictures)
            try:
                near = torch.allclose(models[runtime].run(pictures[place]), right[place], atol=TOLERANCE)
                seen["right" if near else "wrong"] += 1
            except Exception as error:
                seen[repr(error)] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {"right"}, seen


@pytest.mark.parametrize("runtime", ["native", "onnx", "openvino"])
def test_threads_that_wait_for_the_next_picture_rest(runtime: str, models) -> None:
    """ONNX Runtime's own default keeps them turning in circles: as much of a processor as the pause between two pictures."""
    images, pause, taken = torch.zeros(1, 3, 224, 224), 0.03, []
    for _ in range(8):
        models[runtime].run(images)
        begun = time.process_time()
        time.sleep(pause)
        taken.append(time.process_time() - begun)
    assert median(taken) < 0.2 * pause


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_copy_is_the_model_and_pickling_is_refused(runtime: str, models) -> None:
    assert copy.copy(models[runtime]) is models[runtime]
    assert copy.deepcopy({"deep": models[runtime]})["deep"] is models[runtime]
    with pytest.raises(TypeError, match="a Model cannot be pickled: send the name of its file"):
        pickle.dumps(models[runtime])


def test_copies_of_an_executor_live_on_without_it(checkpoint) -> None:
    """Each has an engine of its own: with the engine of another one it would use memory that was given back."""
    executor = Executor(load(checkpoint), threads=2)
    right, executors = executor(noise(2)), [copy.copy(executor), copy.deepcopy(executor), pickle.loads(pickle.dumps(executor))]
    del executor
    gc.collect()
    for one in executors:
        assert (one.compiled, one.threads) == (True, 2)
        assert torch.equal(one(noise(2)), right)


FORKED = """
import os, sys, threading, time, warnings
import torch
from ernest.lcnet import open_model
warnings.simplefilter("ignore")
torch.set_num_threads(2)
images, stop = torch.randn(8, 3, 64, 64), threading.Event()
models = [open_model(path, threads=2) for path in sys.argv[1:]]
right = {model.runtime: model.run(images) for model in models}
def keep_busy():
    while not stop.is_set():
        models[1].run(images)
other = threading.Thread(target=keep_busy)
other.start()  # so that the fork finds the executor in the middle of a run
def good(model, run):
    try:
        return torch.equal(run(images), right["native"]) and model.runtime == "native"
    except RuntimeError as error:
        return "this process was forked after a model had run" in str(error) and model.runtime != "native"
for _ in range(2):
    child = os.fork()
    if child == 0:
        old = [model.runtime for model in models if not good(model, model.run)]
        new = [m.runtime for m, p in zip(models, sys.argv[1:]) if not good(m, lambda x, p=p: open_model(p, threads=2).run(x))]
        print(*old, *new, end="", flush=True)
        os._exit(0)
    until = time.monotonic() + 60
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
    if done == (0, 0):
        os.kill(child, 9)
        print("hangs")
    elif done[1]:
        print("dead", done[1])
stop.set()
other.join()
assert all(torch.allclose(model.run(images), right[model.runtime], atol=1e-4) for model in models)
"""


def test_a_forked_process_gets_the_right_logits_or_a_refusal(checkpoint, models) -> None:
    """The executor opens an engine of its own there; the threads of the other runtimes have stayed with the parent."""
    paths = [checkpoint.with_name(f"x{ending}") for ending in (".safetensors", ".fp32.safetensors", ".fp32.onnx", ".fp32.xml")]
    done = subprocess.run([sys.executable, "-c", FORKED, *paths], capture_output=True, text=True, check=False, timeout=170)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


SIGNALLED = """
import signal, sys, threading, torch
from ernest.lcnet import open_model

models = [open_model(path, threads=1) for path in sys.argv[1:]]
for model in models:
    model.run(torch.zeros(1, 3, 32, 32))
del model
closing = threading.Thread(target=models.clear)
closing.start()
closing.join()
signal.signal(signal.SIGINT, lambda *_: sys.stdout.write("heard"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_is_heard_after_another_thread_closed_the_models(checkpoint, models) -> None:
    """Runtimes change how a thread takes signals, and take that back with their last model, in whatever thread this is."""
    paths = [checkpoint.with_name(f"x{ending}") for ending in (".safetensors", ".fp32.safetensors", ".fp32.onnx", ".fp32.xml")]
    done = subprocess.run([sys.executable, "-c", SIGNALLED, *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "heard", "")


ENDING = """
import sys, threading, time, torch
from ernest.lcnet import open_model

started = threading.Barrier(1 + 3 * len(sys.argv[1:]))


def for_ever(model, images):
    model.run(images)
    started.wait()
    while True:
        model.run(images)


for model in [open_model(path, threads=2) for path in sys.argv[1:]]:
    for _ in range(3):
        threading.Thread(target=for_ever, args=(model, torch.zeros(1, 3, 32, 32)), daemon=True).start()
started.wait()
time.sleep(0.2)
"""


def test_a_program_ends_while_daemon_threads_run_its_models(checkpoint, models) -> None:
    paths = [checkpoint.with_name(f"x{ending}") for ending in (".fp32.safetensors", ".fp32.onnx", ".fp32.xml")]
    done = subprocess.run([sys.executable, "-c", ENDING, *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("seed", range(20))
def test_any_view_of_a_block_of_memory_is_what_it_shows(seed: int, models, expected) -> None:
    """Random starts, strides (0 too, and overlaps), orders of axes and types."""
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 4)), 3, *map(int, random.integers(1, 40, 2)))
    strides = tuple(int(random.choice([0, 1, 2, 3, 41, 130, 5000])) for _ in shape)
    start = int(random.integers(0, 9))
    length = start + 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    dtype = [torch.float32, torch.float64, torch.float16, torch.bfloat16][random.integers(4)]
    block = torch.from_numpy(random.standard_normal(length)).to(dtype)
    images = block.as_strided(shape, strides, start)
    right = expected(images)
    for runtime in RUNTIMES:
        error = (models[runtime].run(images) - right).abs().max()
        assert error <= TOLERANCE * right.abs().max().clamp(min=1), (runtime, shape, strides, dtype)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_weight_that_is_no_number_is_refused_wherever_it_is(to: str, value: float, checkpoint, tmp_path) -> None:
    """Some are behind a Relu or a Clip, from which runtimes make a number."""
    import json

    import onnx
    import openvino
    from onnx import numpy_helper

    from ernest.lcnet.deployment.export import onnx_model, set_metadata
    from ernest.lcnet.weights.native import KEY, metadata, read_checkpoint

    saved = read_checkpoint(checkpoint)
    graph, text = onnx_model(saved.network), json.dumps(metadata(saved))
    set_metadata(graph, text)
    names = [place for place, one in enumerate(graph.graph.initializer) if one.data_type == onnx.TensorProto.FLOAT]
    for place in names[:: max(1, len(names) // 8)]:
        broken = onnx.ModelProto()
        broken.CopyFrom(graph)
        tensor = broken.graph.initializer[place]
        values = numpy_helper.to_array(tensor).copy()
        values.flat[values.size // 2] = value
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        path = tmp_path / "x.onnx"
        path.write_bytes(broken.SerializeToString())
        if to == "openvino":
            converted, path = openvino.Core().read_model(path), tmp_path / "x.xml"
            converted.set_rt_info(text, [KEY])
            openvino.save_model(converted, path, compress_to_fp16=False)
        with pytest.raises(ValueError, match=r"x\..* holds values that are no finite numbers: the file is damaged"):
            open_model(path)


LOADED_AND_FORKED = """
import os, resource, sys, time, warnings
import torch
from ernest.lcnet import open_model
warnings.simplefilter("ignore")
torch.set_num_threads(2)
models = [open_model(path, threads=2) for path in sys.argv[1:]]

def in_a_child(check):
    child = os.fork()
    if child == 0:
        os._exit(0 if check() else 1)
    until = time.monotonic() + 60
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
    if done == (0, 0):
        os.kill(child, 9)
    return "hangs" if done == (0, 0) else done[1]

images = torch.zeros(1, 3, 32, 32)
print(in_a_child(lambda: [model.run(images).shape for model in models]))
torch.zeros(1000, 1000).add_(1)  # by threads that no child has
print(in_a_child(lambda: [model.run(images).shape for model in (models[1], open_model(sys.argv[2], threads=2))]))

def few_threads():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), resource.RLIM_INFINITY))  # each takes 8 MB
    return open_model(sys.argv[2], threads=400).run(images).shape

print(in_a_child(few_threads))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
def test_models_that_have_been_opened_run_in_forked_processes_and_with_the_threads_there_are(tmp_path) -> None:
    """As a server opens a model once and forks its workers. The layers are so large that PyTorch would share their work out."""
    save(tmp_path / "x.safetensors", PPLCNet(small_images(300, scale=0.25)), (), Preprocessing(32, (32, 32)))
    paths = tmp_path / "x.safetensors", deploy(tmp_path / "x.safetensors", "native", threads=1).files[0]
    command = [sys.executable, "-c", LOADED_AND_FORKED, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    assert (done.stdout.split(), done.stderr) == (["0", "0", "0"], "")


def test_endings_may_be_in_capitals(models, checkpoint, tmp_path) -> None:
    for small, large in ((".fp32.onnx", "X.ONNX"), (".fp32.xml", "X.XML"), (".fp32.bin", "X.bin")):
        shutil.copy(checkpoint.with_name(f"x{small}"), tmp_path / large)
    assert open_model(tmp_path / "X.ONNX").runtime == "onnx"
    assert open_model(tmp_path / "X.XML").runtime == "openvino"
