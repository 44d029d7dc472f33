"""A large upload through the native server and through the Worker, compared with curl directly to the same storage. Arguments:
MiB through the native server, MiB through the Worker."""

import hashlib
import hmac
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from measure import KEY, ROOT, Fake, NativeServer, Table, Workerd, folder, memory, processor

ROUNDS = 5
HEAD = (ROOT / "tests/files/isom.mp4").read_bytes()


def timed(*arguments):
    start = time.perf_counter()
    done = subprocess.run(["curl", "-sS", "--fail-with-body", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done
    return time.perf_counter() - start


def signed_put(fake, url, size):
    """The arguments of curl for a signed PUT directly to the storage."""
    body = json.dumps({"filename": "direct.mp4", "filesize": size, "filetype": "video"}).encode()
    headers = {"authorization": "Bearer sk-bench", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v2/files/getstsToken", body, headers)
    credentials = json.load(urllib.request.urlopen(request))["data"]
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    region, path = credentials["region"].removeprefix("oss-"), urllib.parse.quote(credentials["file_path"])
    signed = {
        "content-type": "video/mp4", "x-oss-content-sha256": "UNSIGNED-PAYLOAD", "x-oss-date": now,
        "x-oss-security-token": credentials["security_token"],
    }
    lines = "".join(f"{name}:{value}\n" for name, value in sorted(signed.items()))
    canonical = f"PUT\n/{credentials['bucketname']}/{path}\n\n{lines}\n\nUNSIGNED-PAYLOAD"
    scope = f"{now[:8]}/{region}/oss/aliyun_v4_request"
    text = f"OSS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"aliyun_v4{credentials['access_key_secret']}".encode()
    for step in (*scope.split("/"), text):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    scoped_key = f"{credentials['access_key_id']}/{scope}"
    signed["authorization"] = f"OSS4-HMAC-SHA256 Credential={scoped_key},Signature={key.hex()}"
    return [f"{fake.settings['OSS_URL']}/{path}", *(part for pair in signed.items() for part in ("-H", f"{pair[0]}: {pair[1]}"))]


def film(size):
    """A new video: identical content would not be uploaded again."""
    path = folder / "film.mp4"
    path.write_bytes(HEAD + os.urandom(2**20) * size)
    return path


def send(url, path):
    return timed("-H", KEY, "-F", f"file=@{path}", f"{url}/v1/files/upload")


def main():
    native_size, worker_size = (int(size) for size in sys.argv[1:])
    fake = Fake("--storage-speed", "200")
    server = NativeServer(fake)
    timed(f"{server.url}/v1/models")
    idle, before = memory(server.process.pid), processor(*server.pids)
    direct, through = [], []
    for _ in range(ROUNDS):
        path = film(native_size)
        megabytes = path.stat().st_size / 1e6
        direct.append(megabytes / timed("-T", str(path), *signed_put(fake, server.url, path.stat().st_size)))
        through.append(megabytes / send(server.url, path))
    table = Table("Uploads, to a storage that takes 200 MB/s")
    table.row(f"{native_size} MiB through the native server", "≥ 0.95", through, "MB/s", 0, direct, "curl to the storage")
    table.row("… memory above idle, at the most", "≤ 32 MB", [(memory(server.process.pid, "VmHWM") - idle) * 2**20 / 1e6], "MB", 1)
    table.row("… processor time for a MiB", "", [(processor(*server.pids) - before) / ROUNDS / native_size / 1000], "ms", 2)
    server.stop()

    worker = Workerd("wrangler.toml").start(fake)
    timed(f"{worker.url}/v1/models")
    idle, peaks = worker.memory(), []
    for _ in range(ROUNDS):
        path = film(worker_size)
        sending = subprocess.Popen(["curl", "-sS", "--fail-with-body", "-H", KEY, "-F", f"file=@{path}", f"{worker.url}/v1/files/upload"], stdout=subprocess.DEVNULL)
        peak = 0
        while sending.poll() is None:
            peak = max(peak, worker.memory())
            time.sleep(0.1)
        assert sending.returncode == 0
        peaks.append(peak)
    table.row(f"{worker_size} MiB through the Worker: isolate, at the most", "≤ 48 MB", [peak * 2**20 / 1e6 for peak in peaks], "MB", 1)
    table.row("… before the first", "", [idle * 2**20 / 1e6], "MB", 1)


main()
