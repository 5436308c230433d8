"""What a process may use: the least of what the machine has and its cgroups allow."""

import pytest

from kogpt_bot.generation import engine, limits

GIB = 1 << 30


@pytest.fixture
def machine(monkeypatch):
    """A machine of 8 cores with 64 GiB free, of which this process may use 6 cores."""
    memory = type("Memory", (), {"available": 64 * GIB})
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(limits.psutil, "cpu_count", lambda logical: 16 if logical else 8)
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)


@pytest.fixture
def cgroup(machine, tmp_path):
    """Return a function that writes cgroups (path -> file -> content) and asks what is free."""

    def ask(groups, path="0::/a/b"):
        own, root = tmp_path / "own", tmp_path / "cgroups"
        own.write_text(f"1:cpu:/elsewhere\n{path}\n")
        for group, files in groups.items():
            (root / group).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (root / group / name).write_text(f"{content}\n")
        return limits.free_memory(own, root) / GIB, limits.cores(own, root)

    return ask


def memory(limit, used, files=0):
    stat = f"anon 5\nactive_file {files // 4}\ninactive_file {files - files // 4}\nslab 3"
    return {"memory.max": limit, "memory.current": used, "memory.stat": stat}


def test_a_machine_without_limits(cgroup):
    assert cgroup({}) == (64, 6)
    assert cgroup({"a/b": memory("max", 5 * GIB) | {"cpu.max": "max 100000"}}) == (64, 6)
    assert limits.cores(limits.Path("/no/such/file"), limits.Path("/no/such/folder")) == 6


def test_the_nearest_limit_of_all_cgroups_counts(cgroup):
    inner, outer = memory(10 * GIB, 3 * GIB), memory(12 * GIB, 8 * GIB)
    assert cgroup({"a/b": inner | {"cpu.max": "150000 100000"}}) == (7, 2)  # one and a half cores
    assert cgroup({"a": outer | {"cpu.max": "50000 100000"}}) == (4, 1)  # beside a/b's
    assert cgroup({"": {"cpu.max": "800000 100000"}}) == (4, 1)


def test_in_a_container_that_sees_only_itself(cgroup):
    own = memory(10 * GIB, 3 * GIB) | {"cpu.max": "200000 100000"}
    assert cgroup({"": own}, path="0::/") == (7, 2)
    assert cgroup({}, path="0::/docker/0123abcd") == (7, 2)  # its path is the host's


def test_files_that_were_read_make_room(cgroup):
    assert cgroup({"a": memory(16 * GIB, 16 * GIB, files=12 * GIB)})[0] == 12
    assert cgroup({"a": memory(16 * GIB, 17 * GIB)})[0] == 0
    assert cgroup({"a": memory(16 * GIB, 1 * GIB, files=2 * GIB)})[0] == 16


def test_what_cannot_be_read_limits_nothing(cgroup):
    assert cgroup({"a": {"memory.max": "5", "cpu.max": "1"}}) == (64, 6)
    assert cgroup({"a": {"memory.max": "x", "memory.current": "5", "cpu.max": "5 0"}}) == (64, 6)


def test_a_core_is_left_to_the_daemon_where_there_are_two(monkeypatch):
    for cores, threads in ((1, 1), (2, 1), (6, 5)):
        monkeypatch.setattr(limits, "cores", lambda n=cores: n)
        assert engine.default_threads() == threads
