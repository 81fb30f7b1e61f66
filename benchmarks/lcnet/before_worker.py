"""The tasks of `benchmarks.lcnet.before` in the process of a tree: nothing is imported but what that tree and older ones have."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Task = Callable[[], None]

ALONE = "steps alone"
"""What an epoch's steps are asked for by."""
SIDE, CLASSES, SOME, BATCH = 32, 10, 2000, 128
TINY = {"small": ("small", SIDE), "x0.25 at 224": ("PPLCNet_x0_25", 224)}
EPOCHS = {"small": ["arch=small"], "x0.25": ["arch=PPLCNet_x0_25", "strides=published"]}
WIDTHS = {"x0.25": "PPLCNet_x0_25", "x0.5": "PPLCNet_x0_5", "x1.0": "PPLCNet_x1_0", "x2.5": "PPLCNet_x2_5"}
CALLS = {"x0.25": 64, "x0.5": 32, "x1.0": 16, "x2.5": 4}
"""That are timed together, as many in both trees."""


def classifying(name: str, folder: Path, scratch: Path) -> Task:
    import torch

    from ernest import lcnet

    arch, side = TINY[name]
    torch.manual_seed(0)
    architecture = lcnet.small_images(CLASSES) if arch == "small" else lcnet.Architecture(classes=CLASSES, scale=0.25)
    checkpoint = scratch / f"{arch}.safetensors"
    lcnet.save(checkpoint, lcnet.PPLCNet(architecture).eval(), (), lcnet.Preprocessing(side, (side, side)))
    model = lcnet.open_model(lcnet.deploy(checkpoint, "native", threads=1).files[0], threads=1)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if side > SIDE:
        files = files[:SOME]

    def run() -> None:
        assert all(answer.error is None for answer in lcnet.classify(model, files, batch=16))

    return run


def keep_memory() -> None:
    """As the tree's own command for training does before it; older ones do nothing of that kind."""
    try:
        from ernest.cli.lcnet import keep_freed_memory
    except ImportError:
        return
    keep_freed_memory()


def epoch(name: str, folder: Path, scratch: Path) -> Task:
    """From reading to scores. Of x0.25 with its published strides reading and batches take the time, of `small` the network."""
    from ernest.lcnet.training import load_recipe, train

    keep_memory()
    fields = [*EPOCHS[name], f"size={SIDE}", "epochs=1", f"batch={BATCH}", "precision=fp32", "crop_area=[0.5, 1]"]
    recipe = load_recipe(overrides=fields)

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as out:
            train(folder, Path(out) / "run", recipe, show=False)

    return run


def steps(name: str, folder: Path) -> Task:
    """The steps of that epoch alone, by plain PyTorch on pictures that are ready: what no reading and no batches can go below."""
    import torch

    from ernest import lcnet

    keep_memory()
    torch.manual_seed(0)
    small = EPOCHS[name] == ["arch=small"]
    network = lcnet.PPLCNet(lcnet.small_images(CLASSES) if small else lcnet.Architecture(classes=CLASSES, scale=0.25)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=3e-5, fused=True)
    images = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(CLASSES, (BATCH,))
    count = sum(path.is_file() for path in folder.rglob("*")) * 9 // 10 // BATCH

    def run() -> None:
        for _ in range(max(1, count)):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(network(images), targets, label_smoothing=0.1).backward()
            optimizer.step()

    return run


def calling(name: str, precision: str) -> Task:
    import torch

    from ernest.lcnet import PUBLISHED, PPLCNet
    from ernest.lcnet.native import Executor

    torch.manual_seed(0)
    executor = Executor(PPLCNet(PUBLISHED[WIDTHS[name]]).eval(), precision=precision, threads=1)  # type: ignore[arg-type]
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    executor(image)

    def run() -> None:
        for _ in range(CALLS[name]):
            executor(image)

    return run


def worker(folder: Path, names: Sequence[str]) -> None:
    """Answers each line of stdin, a task, with the seconds of processors that it took."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        tasks: dict[str, Task] = {}
        for name in names:
            kind, _, rest = name.partition(": ")
            if kind == "classify":
                tasks[name] = classifying(rest, folder, Path(scratch))
            elif kind == "epoch":
                tasks[name] = epoch(rest, folder, Path(scratch))
            elif kind == ALONE:
                tasks[name] = steps(rest, folder)
            else:
                tasks[name] = calling(*kind.split(", "))
        print("ready", flush=True)
        for line in sys.stdin:
            begun = time.process_time()
            tasks[line.strip()]()
            print(json.dumps(time.process_time() - begun), flush=True)


if __name__ == "__main__":
    worker(Path(sys.argv[1]), sys.argv[2:])
