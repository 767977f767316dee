"""Agents of a W&B sweep on this machine, one for each GPU."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from search_spaces import InputError


def gpus_of(given: str) -> list[str]:
    """Return the GPUs for agents, by their CUDA names; an empty text stands for an agent without a GPU.

    Args:
        given: all, none, or numbers with commas between.

    Raises:
        InputError: there is no such GPU.
    """
    if given == "none":
        return [""]
    import torch  # late, as it takes time to import

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))
    if given == "all":
        return names or [""]
    wanted = [name.strip() for name in given.split(",") if name.strip()]
    missing = [name for name in wanted if name not in names]
    if missing or not wanted:
        there = f"there are {', '.join(names)}" if names else "there is none here"
        raise InputError(
            f"--gpus {given}: no GPU {', '.join(missing) or 'named'}; {there}; write all, none, or numbers with commas"
        )
    return wanted


def run_agents(sweep: str, gpus: Sequence[str], count: int | None) -> int:
    """Run an agent for each GPU until they end, and print their output with the GPU before each line.

    Ctrl-C goes to all agents, and through them to their trainings, which end in order. Returns the first nonzero exit
    code, or 0.
    """
    command = [sys.executable, "-m", "wandb", "agent", *(["--count", str(count)] if count else []), sweep]
    agents = [_start(command, gpu) for gpu in gpus]
    readers = [
        Thread(target=_relay, args=(agent, f"[gpu {gpu}] " if gpu else ""), daemon=True)
        for agent, gpu in zip(agents, gpus, strict=True)
    ]
    for reader in readers:
        reader.start()
    try:
        codes = [agent.wait() for agent in agents]
    except KeyboardInterrupt:
        for agent in agents:
            agent.send_signal(signal.SIGINT)
        codes = [agent.wait() for agent in agents]
        codes.append(130)
    finally:
        for agent in agents:
            if agent.poll() is None:
                agent.kill()
    for reader in readers:
        reader.join()
    return next((code for code in codes if code), 0)


def _start(command: Sequence[str], gpu: str) -> "subprocess.Popen[str]":
    ours = str(Path(sys.executable).parent)  # the folder of this installation's python and toprung
    path = os.pathsep.join([ours, os.environ.get("PATH", os.defpath)])
    return subprocess.Popen(
        command,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu, "PYTHONUNBUFFERED": "1", "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _relay(agent: "subprocess.Popen[str]", before: str) -> None:
    assert agent.stdout
    with agent.stdout as said:
        for line in said:
            print(f"{before}{line}", end="", flush=True)
