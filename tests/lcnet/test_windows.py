"""Networks are written, opened and classify where the calls that Windows lacks are taken away: a stand-in for running there."""

import subprocess
import sys

MISSING = """
import errno, fcntl, os, sys, warnings
import numpy, torch, torch.nn.functional, PIL.Image, subprocess, tempfile, shutil, socket, asyncio, concurrent.futures

real_open, real_sync, get_flags = os.open, os.fsync, (fcntl.fcntl, fcntl.F_GETFL)

def sync(number):
    if get_flags[0](number, get_flags[1]) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    real_sync(number)

def open_file(path, flags, *rest, **more):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied")
    return real_open(path, flags, *rest, **more)

os.fsync, os.open, sys.platform, sys.modules["fcntl"] = sync, open_file, "win32", None
for name in ("sysconf", "fork", "register_at_fork", "sched_getaffinity", "getloadavg", "uname"):
    delattr(os, name)
os.environ["CXX"] = "no-compiler"
shutil._use_fd_functions = False

from ernest import lcnet, storage
path = sys.argv[1]
network = lcnet.PPLCNet(lcnet.small_images(3, scale=0.25)).eval()
lcnet.save(path + "/x.safetensors", network, ("a", "b", "c"), lcnet.Preprocessing(32, (32, 32)))
lcnet.save(path + "/x.safetensors", network, ("a", "b", "c"), lcnet.Preprocessing(32, (32, 32)))  # over another
with warnings.catch_warnings(action="ignore"):
    done = lcnet.deploy(path + "/x.safetensors", "native", threads=1)
    model = lcnet.open_model(done.files[0])
images = torch.randn(2, 3, 32, 32)
with torch.no_grad():
    assert torch.allclose(model.run(images), network(images), atol=1e-4)
PIL.Image.new("RGB", (40, 50)).save(path + "/x.png")
(answer,) = lcnet.classify(model, [path + "/x.png"])
assert answer.error is None and len(answer.labels) == 3, answer
with storage.own_folder(path + "/run"):
    pass
print(sorted(name for name in os.listdir(path)))
"""


def test_nothing_needs_what_windows_lacks(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", MISSING, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "['x.fp32.safetensors', 'x.png', 'x.safetensors']\n"
