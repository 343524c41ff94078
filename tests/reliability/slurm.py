"""A sweep by the Snakefile on a real Slurm of one node: four shards, one of them killed, then gone on with.

    sudo apt-get install slurmctld slurmd slurm-client munge
    pip install -e '.[sweep]' snakemake-executor-plugin-slurm
    python tests/reliability/slurm.py [--keep] [--beside FOLDER]

Starts munged, slurmctld and slurmd of its own on free ports, in a temporary folder, and stops them at the end; where a
Slurm is set up already, it does nothing. The sweep runs in a copy of the project. The tables must have the bytes of a
sweep without Slurm, and no point may be computed twice. Needs root, since Slurm's daemons start jobs for others.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.helpers.copies import copy_of_the_project

NAME = "01_first_metamer"
WORDS = ["-p", "profile", "quick", "-p", "graphs", "karate", "-p", "layers", "1,2", "-p", "seeds", "7,8,9,10"]
SHARDS = 4
USUAL = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
CONFIGURATION = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=16500 State=UNKNOWN
PartitionName=trial Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(condition, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)


def words_of(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Slurm of one node; yield the environment in which its commands find it."""
    folder.chmod(0o755)
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    configuration = folder / "slurm.conf"
    cores = max(2, os.cpu_count() or 1)
    configuration.write_text(CONFIGURATION.format(host=host, ports=free_ports(2), folder=folder, cores=cores))
    environment = os.environ | {"SLURM_CONF": str(configuration)}
    # Jobs look for it where a cluster has it: Snakemake takes SLURM_CONF out of their environment.
    USUAL.parent.mkdir(exist_ok=True)
    USUAL.symlink_to(configuration)
    munge = {
        f"--{name}": folder / "munge" / name for name in ("socket", "key-file", "log-file", "pid-file", "seed-file")
    }
    munge["--key-file"] = key
    commands = {
        "munged": ["munged", "--foreground", "--force", *(f"{option}={path}" for option, path in munge.items())],
        "slurmctld": ["slurmctld", "-D", "-f", str(configuration)],
        "slurmd": ["slurmd", "-D", "-f", str(configuration), "-N", host],
    }
    running: list[subprocess.Popen] = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.out").open("w") as out:
                running.append(subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT))
            if name == "munged":
                wait_until((folder / "munge" / "socket").exists, 20, "munged")
        idle = ["sinfo", "--noheader", "--format=%T"]
        wait_until(lambda: words_of(idle, environment).strip() == "idle", 60, "the node is idle")
        say(f"Slurm runs: {words_of(['sinfo', '--noheader'], environment).strip()}")
        yield environment
    finally:
        USUAL.unlink()
        for process in reversed(running):
            process.terminate()
            process.wait(20)


@contextmanager
def sweep(project: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """Start Snakemake, which hands the shards to Slurm, and end it if it is not at its end."""
    settings = ["--config", f"notebook={NAME}", f"shards={SHARDS}", f"args={' '.join(WORDS)}"]
    command = [sys.executable, "-m", "snakemake", "-j", str(SHARDS), "--executor", "slurm", "--rerun-incomplete"]
    command += ["--default-resources", "slurm_partition=trial", "slurm_account=trial", "--latency-wait", "30"]
    # Without this it asks sacct, which knows nothing where there is no accounting, and waits for ever.
    command += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]
    with (project.parent / "snakemake.log").open("a") as log:
        process = subprocess.Popen([*command, *settings], cwd=project, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def jobs(environment: dict[str, str]) -> list[str]:
    """Return the numbers of the jobs that run now."""
    return words_of(["squeue", "--noheader", "--states=RUNNING", "--format=%i"], environment).split()


def folder_of(project: Path) -> Path:
    (folder,) = (project / "_build" / "runs" / NAME).iterdir()
    return folder


def tables(project: Path) -> dict[str, bytes]:
    results = folder_of(project) / "results"
    return {path.name: path.read_bytes() for path in results.glob("*.parquet") if ".runs." not in path.name}


def points(project: Path) -> dict[Path, int]:
    """Return the files of finished points and when each was written."""
    found = (project / "_build").rglob(".points/*/[!.]*.parquet")
    return {path.relative_to(project): path.stat().st_mtime_ns for path in found}


def kill_one(first: subprocess.Popen, project: Path, environment: dict[str, str]) -> tuple[float, dict[Path, int]]:
    """Kill a shard of a sweep once there is a point; return when the sweep began and the points that are kept."""
    began = time.monotonic()
    wait_until(lambda: first.poll() is not None or (jobs(environment) and points(project)), 600, "a point")
    if first.poll() is not None:
        raise SystemExit(f"Snakemake ended before a shard had a point; see {project.parent}/snakemake.log")
    running = jobs(environment)
    subprocess.run(["scancel", "--signal=KILL", "--full", running[0]], env=environment, check=True)
    say(f"killed job {running[0]} of {len(running)} that ran, after {time.monotonic() - began:.0f} s")
    first.wait(900)
    kept = points(project)
    say(f"Snakemake ended with {first.returncode}; {len(kept)} points are kept")
    if first.returncode == 0:
        raise SystemExit("the killed shard was not noticed")
    return began, kept


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keep", action="store_true", help="leave the temporary folder with all logs")
    options.add_argument("--beside", type=Path, help="a kept project of an earlier run, whose tables are compared")
    chosen = options.parse_args()
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        raise SystemExit(f"this needs root and Debian's slurmctld, slurmd, slurm-client and munge; missing: {missing}")
    if USUAL.exists() or USUAL.is_symlink():
        raise SystemExit(f"a Slurm is set up here already ({USUAL}); run this where there is none")
    scratch = Path(tempfile.mkdtemp(prefix="slurm-"))
    scratch.chmod(0o755)
    project, alone = copy_of_the_project(scratch / "project", [NAME]), chosen.beside
    if alone is None:
        say("without Slurm, for comparison")
        alone = copy_of_the_project(scratch / "alone", [NAME])
        own = os.environ | {"PYTHONPATH": str(alone)}
        subprocess.run([sys.executable, "-m", "book.tools", "run", NAME, *WORDS], cwd=alone, env=own, check=True)
    (scratch / "cluster").mkdir()
    with cluster(scratch / "cluster") as environment:
        environment |= {"PYTHONPATH": str(project)}
        with sweep(project, environment) as first:
            began, kept = kill_one(first, project, environment)
        with sweep(project, environment) as second:
            done: dict[Path, int] = {}
            while second.poll() is None:
                done = points(project) or done
                time.sleep(0.2)
        say(f"the second sweep ended with {second.returncode}, {time.monotonic() - began:.0f} s after the first began")
        again = [path for path, when in kept.items() if done.get(path, when) != when]
        if second.returncode or again:
            raise SystemExit(f"see {scratch}/snakemake.log; computed twice: {again}")
    one, two = tables(alone), tables(project)
    if not one or one != two:
        raise SystemExit(f"the tables differ: {sorted(one)} and {sorted(two)}; see {scratch}")
    say(f"{len(one)} tables are the same to the byte, and no point was computed twice")
    if not chosen.keep:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
