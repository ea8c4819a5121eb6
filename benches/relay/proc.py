"""CPU time and memory of a process with all its descendants, from /proc."""

import os
import pathlib
import threading

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree_cpu(root: int) -> tuple[float, float]:
    """Seconds in user and kernel mode: of all that live, and of those that ended and were waited for."""
    user = kernel = 0
    for pid in tree(root):
        fields = stat(pid)
        if fields:
            user += int(fields[11]) + int(fields[13])
            kernel += int(fields[12]) + int(fields[14])
    return user / TICKS_PER_SECOND, kernel / TICKS_PER_SECOND


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        fields = stat(int(entry)) if entry.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def stat(pid: int) -> list[str] | None:
    """The fields after the command's name, which may itself hold blanks: state, parent, …"""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def proportional_set_kib(pid: int) -> int:
    """Memory of one process, with shared pages divided among those that share them."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def tree_memory_kib(root: int) -> int:
    """Memory of a process with all its descendants."""
    return sum(map(proportional_set_kib, tree(root)))


class PeakMemory:
    """Looks at a process tree several times a second and remembers the largest sum."""

    EVERY_SECONDS = 0.3

    def __init__(self, root: int):
        self.root, self.peak_mib, self.ended = root, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> "PeakMemory":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.thread.join()

    def run(self) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, tree_memory_kib(self.root) / 1024)
            if self.ended.wait(self.EVERY_SECONDS):
                return
