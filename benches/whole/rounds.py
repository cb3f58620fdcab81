"""rounds.py NIGHT WORK IEUM ROUNDS: compares the outputs, then times the engines in paired rounds. Standard library only,
so that the parent adds little to the peak that the system reports for a child."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def run(command, log):
    """Wall seconds, CPU seconds (user + system) and peak resident MiB of one process."""
    with open(log, "wb") as file:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code not in (0, 3) or (code == 3 and "ieum" not in command[0]):  # 3: committed, but someone should look
        sys.exit(f"{command[0]} ended with {code}:\n{Path(log).read_text()[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def spread(values):
    return f"{statistics.median(values):8.2f} [{min(values):.2f}–{max(values):.2f}]"


def main(night, work, ieum, rounds):
    out = {name: f"{work}/out-{name}" for name in ("ieum", "duckdb", "polars")}
    commands = {"ieum": [ieum, "run", f"{night}/nightly.toml", "-q", "--threads", "2", "--layout", "packed", "--out", out["ieum"]]}
    for peer in ("duckdb", "polars"):
        commands[peer] = [sys.executable, "-B", str(HERE / f"peer_{peer}.py"), night, work, out[peer]]

    def one(name):
        shutil.rmtree(out[name], ignore_errors=True)
        os.sync()  # what the one before wrote is not paid by the next
        return run(commands[name], f"{work}/{name}.log")

    one("ieum")
    (reference,) = Path(out["ieum"]).glob("????-??-??")
    subprocess.run([sys.executable, "-B", HERE / "common.py", night, reference, work], check=True)
    for peer in ("duckdb", "polars"):  # this round also warms the page cache; nothing of it is reported
        one(peer)
        compared = subprocess.run([sys.executable, "-B", HERE / "compare.py", reference / "bundles/packed", out[peer]])
        if compared.returncode:
            sys.exit(f"{peer}: outputs differ, no time is reported")
    names = list(commands)
    times = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % 3 :] + names[: turn % 3]:  # another one first each round
            times[name].append(one(name))
    print(f"{rounds} rounds, medians [least–most]; ratio: peer / ieum of the same round")
    for at, what in enumerate(("wall s", "CPU s", "peak MiB")):
        for name in names:
            values = [row[at] for row in times[name]]
            ratios = [row[at] / base[at] for row, base in zip(times[name], times["ieum"])]
            print(f"{what:9}{name:8}{spread(values):28}" + ("" if name == "ieum" else f"  ratio{spread(ratios)}"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
