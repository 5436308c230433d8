"""The doctor: each finding has its verdict and its remedy, and none is a traceback."""

import io
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from kogpt_bot import config
from kogpt_bot.config import ConsoleSettings, GenerationSettings
from kogpt_bot.generation import limits
from kogpt_bot.ops import doctor
from kogpt_bot.ops.doctor import gpu, machine, model, platforms, program, service
from kogpt_bot.ops.doctor.check import GIB, Check, Verdict, failure, ok, warning
from kogpt_bot.ops.doctor.weights import files

VOLTA = gpu.Gpu("V100", (7, 0), 16 * GIB)
BUILT_FOR = ("sm_60", "sm_70", "sm_80", "sm_90", "compute_90")


@pytest.fixture
def settings(tmp_path):
    return replace(config.load(None), data_dir=tmp_path / "state")


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of 12 parameters."""
    (tmp_path / "config.json").write_text('{"model_type": "gptj", "dtype": "float16"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    write_weights(tmp_path / "model.safetensors")
    return tmp_path


def write_weights(path, shape=(3, 4), cut=0):
    size = 2 * shape[0] * shape[1]
    header = {"w": {"dtype": "F16", "shape": shape, "data_offsets": [0, size]}}
    content = json.dumps({"__metadata__": {}, **header}).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + b"\0" * (size - cut))


def verdicts(checks):
    return {each.name: each.verdict for each in checks}


def remedies(checks):
    return [each.remedy for each in checks if each.verdict is not Verdict.OK]


# The tree


def test_a_tree_is_as_bad_as_its_worst_leaf():
    tree = Check("a", Verdict.OK, below=(ok("b", "fine"), warning("c", "old", "renew")))
    assert tree.worst is Verdict.WARNING
    assert not tree.failed
    tree = Check("x", Verdict.OK, below=(tree, failure("d", "[red]gone", "bring back")))
    assert tree.failed
    out = io.StringIO()
    doctor.show(tree, Console(file=out, width=60))
    assert out.getvalue().splitlines() == [
        "✗ x",
        "├── ! a",
        "│   ├── ✓ b fine",
        "│   └── ! c old",
        "│         → renew",
        "└── ✗ d [red]gone",
        "      → bring back",
    ]
    found = json.loads(json.dumps(doctor.as_json(tree)))
    assert found["below"][1] == {
        "name": "d", "verdict": "failed", "finding": "[red]gone", "remedy": "bring back"
    }  # fmt: skip


def test_the_whole_tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(gpu, "probe", gpu.Probed)
    tree = doctor.diagnose(None)
    names = ["configuration", "program", "model", "machine", "platforms"]
    assert [each.name for each in tree.below] == names
    (tmp_path / "config.yaml").write_text("x: 1\nlimits: {y: 1}\ngeneration: {url: 'http://h'}\n")
    broken = doctor.diagnose(None)  # found where `run` would find it
    assert broken.failed
    assert [each.finding.partition(" ")[0] for each in broken.below[0].below] == [
        "config.yaml:1:1",
        "config.yaml:2:10",
    ]
    assert [each.name for each in broken.below] == names
    (tmp_path / "config.yaml").write_text("adapters: {web: {enabled: false}}\n")
    assert doctor.diagnose(None).below[0].verdict is Verdict.WARNING


def test_every_finding_that_is_not_fine_has_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "probe", gpu.Probed)

    def walk(check):
        yield check
        for each in check.below:
            yield from walk(each)

    path = tmp_path / "missing.yaml"
    for each in walk(doctor.diagnose(path)):
        assert each.verdict is Verdict.OK or each.remedy or each.below, each


# Program and GPUs


def test_a_service_elsewhere_needs_no_engine(settings):
    remote = replace(settings, generation=GenerationSettings(url="http://h"))
    assert set(verdicts(program.checks(remote, gpu.NOT_ASKED))) == {"Python", "engine"}


def test_missing_packages_are_named_with_their_extra(settings, monkeypatch):
    monkeypatch.setattr(program, "ENGINE", ("nobody-has-this",))
    found = list(program.checks(settings, gpu.Probed(problem="torch is not installed")))
    assert verdicts(found) == {
        "Python": Verdict.OK,
        "nobody-has-this": Verdict.FAILED,
        "GPU": Verdict.WARNING,
    }
    assert "kogpt-bot[engine]" in remedies(found)[0]


@pytest.mark.parametrize(
    ("capability", "dtype", "verdict", "remedy"),
    [
        ((9, 0), "auto", Verdict.OK, ""),
        ((12, 0), "bfloat16", Verdict.OK, ""),
        ((8, 6), "bfloat16", Verdict.OK, ""),
        ((7, 5), "float16", Verdict.OK, ""),
        ((7, 5), "bfloat16", Verdict.WARNING, "float16"),
        ((6, 1), "auto", Verdict.WARNING, "Volta"),
        ((6, 1), "float32", Verdict.OK, ""),
        ((5, 2), "float32", Verdict.FAILED, "a torch that is built for it"),
    ],
)
def test_a_gpu_is_judged_by_its_architecture(capability, dtype, verdict, remedy):
    [found] = gpu.checks(gpu.Probed((gpu.Gpu("G", capability, GIB),), "13.0", BUILT_FOR), dtype)
    assert found.verdict is verdict
    assert remedy in found.remedy


def test_an_architecture_of_another_maker_is_left_to_torch():
    found = gpu.Probed((gpu.Gpu("MI300", (9, 4), GIB),), None, ("gfx942",))
    assert verdicts(gpu.checks(found, "auto")) == {"GPU": Verdict.OK}


def test_no_gpu_says_why():
    assert "CPU build" in next(iter(gpu.checks(gpu.Probed(), "auto"))).finding
    assert "no device" in next(iter(gpu.checks(gpu.Probed(cuda="13.0"), "auto"))).finding


@pytest.mark.parametrize(
    ("program_text", "problem"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("import sys; sys.exit('libcuda is broken')", "libcuda is broken"),
        ("print('no JSON')", "JSONDecodeError"),
        ("pass", "IndexError"),
    ],
)
def test_a_torch_that_breaks_is_a_finding(monkeypatch, program_text, problem):
    monkeypatch.setattr(gpu, "PROBE", program_text)
    found = gpu.probe()
    assert problem in found.problem
    assert verdicts(gpu.checks(found, "auto")) == {"GPU": Verdict.WARNING}


def test_the_probe_is_understood_and_bounded(monkeypatch):
    said = {
        "gpus": [{"name": "A", "capability": [8, 0], "free": 5}],
        "cuda": "13",
        "built_for": ["sm_80"],
    }
    monkeypatch.setattr(gpu, "PROBE", f"print('a notice'); print('''{json.dumps(said)}''')")
    assert gpu.probe() == gpu.Probed((gpu.Gpu("A", (8, 0), 5),), "13", ("sm_80",))

    def hang(*arguments, timeout, **_):
        raise subprocess.TimeoutExpired(sys.executable, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert "60 s" in gpu.probe().problem


# The model


def test_the_bundled_model_is_whole():
    if not (model.MINI / "model.safetensors").is_file():
        pytest.skip("the bundled model's weights are not there")
    found = list(model.checks(GenerationSettings(), gpu.Probed()))
    assert set(verdicts(found).values()) == {Verdict.OK}
    assert set(verdicts(found)) == {"config.json", "tokenizer", "weights", "memory"}


def test_a_folder_is_read(folder):
    found, weights = files(folder, "again")
    assert set(verdicts(found).values()) == {Verdict.OK}
    assert (weights.parameters, weights.dtype, weights.context_numbers) == (12, "float16", 0)
    config = json.loads((folder / "config.json").read_text())
    sizes = {"n_layer": 3, "n_embd": 10, "n_positions": 100}
    (folder / "config.json").write_text(json.dumps(config | sizes))
    assert files(folder, "again")[1].context_numbers == 2 * 3 * 10 * 100
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK" + b"\0" * 198)
    assert files(folder, "again")[1].parameters == 100


def test_shards_are_added_up(folder):
    (folder / "model.safetensors").unlink()
    write_weights(folder / "a.safetensors")
    write_weights(folder / "b.safetensors", (5, 2))
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert files(folder, "again")[1].parameters == 22
    (folder / "b.safetensors").unlink()
    found, weights = files(folder, "again")
    assert found[-1].finding == "1 of 2 files are missing: b.safetensors"
    assert weights is None


@pytest.mark.parametrize(
    ("name", "content", "check"),
    [
        ("config.json", None, "config.json"),
        ("config.json", b"{}", "config.json"),
        ("config.json", b"[]", "config.json"),
        ("config.json", b"\xff", "config.json"),
        ("config.json", b'{"model_type": "llama"}', "config.json"),
        ("tokenizer.json", None, "tokenizer"),
        ("model.safetensors", None, "weights"),
        ("model.safetensors", b"", "weights"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "weights"),
        ("model.safetensors", b"\xff" * 99, "weights"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"[]", "weights"),
        ("model.safetensors", (9).to_bytes(8, "little") + b'{"w": {}}', "weights"),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_named(folder, name, content, check):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    found, _ = files(folder, "download it again")
    failed = [each for each in found if each.verdict is Verdict.FAILED]
    assert [each.name for each in failed] == [check]
    assert failed[0].remedy


def test_weights_that_were_cut_off(folder):
    write_weights(folder / "model.safetensors", cut=1)
    assert "cut off" in files(folder, "again")[0][-1].finding


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("./nothing", Verdict.FAILED),
        ("nothing", Verdict.FAILED),
        ("~nobody-x/model", Verdict.FAILED),
        ("some/..bad..name", Verdict.FAILED),
        ("some/model", Verdict.WARNING),
    ],
)
def test_a_model_that_is_not_here(name, verdict, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = list(model.checks(GenerationSettings(model=name), gpu.Probed()))
    assert verdicts(found) == {"model": verdict}
    assert all(remedies(found))


def test_a_device_that_is_not_there():
    chosen = GenerationSettings(device="cuda:1")
    found = list(model.checks(chosen, gpu.Probed((VOLTA,), "13.0", BUILT_FOR)))
    assert found[0].verdict is Verdict.FAILED
    assert "1 CUDA devices" in found[0].finding
    chosen = GenerationSettings(device="cuda")
    assert "device" not in verdicts(model.checks(chosen, gpu.Probed((VOLTA,), "13.0", BUILT_FOR)))


@pytest.mark.parametrize(
    ("gpus", "dtype", "ram", "verdict"),
    [
        ([16], "auto", 1, Verdict.OK),
        ([16], "float32", 64, Verdict.FAILED),
        ([16, 16], "float32", 1, Verdict.OK),
        ([8], "auto", 64, Verdict.FAILED),
        ([], "auto", 32, Verdict.OK),
        ([], "auto", 16, Verdict.OK),  # computed in float32 from float16 weights
        ([], "float32", 16, Verdict.FAILED),
        ([], "bfloat16", 16, Verdict.WARNING),
        ([], "auto", 8, Verdict.FAILED),
    ],
)
def test_kogpt_wants_its_memory(monkeypatch, gpus, dtype, ram, verdict):
    monkeypatch.setattr(limits, "free_memory", lambda: ram * GIB)
    probed = gpu.Probed(tuple(gpu.Gpu("G", (8, 0), each * GIB) for each in gpus))
    chosen = GenerationSettings(model=model.KOGPT, dtype=dtype)
    found = model.memory(model.KOGPT_WEIGHTS, chosen, probed)
    assert found.verdict is verdict
    assert verdict is Verdict.OK or "16 GB GPU" in found.remedy


@pytest.mark.parametrize(
    ("gpus", "options", "finding"),
    [
        ([16], {}, "12.9 GiB needed"),
        ([16], {"kv_cache_dtype": "int8"}, "12.5 GiB needed"),
        ([16], {"kv_cache_gib": 3}, "15.1 GiB needed"),
        ([], {}, "13.8 GiB needed"),  # keys and values in float32
    ],
)
def test_the_cache_counts_as_in_loading(monkeypatch, gpus, options, finding):
    monkeypatch.setattr(limits, "free_memory", lambda: 16 * GIB)
    probed = gpu.Probed(tuple(gpu.Gpu("G", (8, 0), each * GIB) for each in gpus))
    chosen = GenerationSettings(model=model.KOGPT, **options)
    assert model.memory(model.KOGPT_WEIGHTS, chosen, probed).finding.endswith(finding)


# A service elsewhere


@pytest.fixture
def served(monkeypatch):
    """Answer the doctor's requests with these statuses by path."""
    client = httpx.Client

    def serve(statuses, seen):
        def answer(request):
            seen.append(request)
            if (status := statuses.get(request.url.path)) is None:
                raise httpx.ConnectError("refused")
            return httpx.Response(status)

        transport = httpx.MockTransport(answer)
        monkeypatch.setattr(
            httpx, "Client", lambda **options: client(transport=transport, **options)
        )

    return serve


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({"/v1/models": 200, "/tokenizer.json": 200}, [Verdict.OK, Verdict.OK]),
        ({"/v1/models": 200, "/tokenizer.json": 404}, [Verdict.OK, Verdict.FAILED]),
        ({"/v1/models": 401}, [Verdict.FAILED]),
        ({"/v1/models": 404}, [Verdict.FAILED]),
        ({"/v1/models": 503}, [Verdict.WARNING]),
        ({}, [Verdict.FAILED]),
    ],
)
def test_a_service_is_asked(served, monkeypatch, statuses, expected):
    seen = []
    served(statuses, seen)
    monkeypatch.setenv("A_KEY", "hunter2")
    chosen = GenerationSettings(url="http://h/v1", api_key_env="A_KEY")
    found = list(service.checks(chosen))
    assert [each.verdict for each in found] == expected
    assert all(remedies(found))
    assert seen[0].headers["authorization"] == "Bearer hunter2"
    assert "hunter2" not in repr(found)


def test_a_tokenizer_of_ones_own_is_enough(served):
    served({"/v1/models": 200}, [])
    chosen = GenerationSettings(url="http://h", tokenizer="some/model", api_key_env="NOT_SET")
    assert verdicts(service.checks(chosen)) == {"service": Verdict.OK}


# The machine and the platforms


def test_the_state_folder(settings, tmp_path, monkeypatch):
    assert verdicts(machine.checks(settings)) == {"data_dir": Verdict.OK}
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        found = list(machine.checks(replace(settings, data_dir=wrong)))
        assert verdicts(found) == {"data_dir": Verdict.FAILED}, wrong
    monkeypatch.setattr(machine, "ENOUGH_BYTES", 1 << 60)
    assert verdicts(machine.checks(settings)) == {"data_dir": Verdict.WARNING}

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    assert verdicts(machine.checks(settings)) == {"data_dir": Verdict.FAILED}


def test_a_download_needs_room(settings, monkeypatch):
    chosen = replace(settings, generation=GenerationSettings(model=model.KOGPT))
    monkeypatch.setattr(machine, "KOGPT_BYTES", 1 << 60)
    assert verdicts(machine.checks(chosen))["model cache"] is Verdict.WARNING
    monkeypatch.setattr(machine, "KOGPT_BYTES", 0)
    assert verdicts(machine.checks(chosen))["model cache"] is Verdict.OK


@dataclass(frozen=True)
class Section:
    host: str = "127.0.0.1"
    port: int = 0
    token_env: str | None = None
    token_file: str | None = None


def only(settings, section):
    checks = platforms.checks(replace(settings, adapters={"web": section}))
    return next(each for each in checks if each.name == "web").below


def test_tokens_are_looked_at_and_not_shown(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("A_TOKEN", "hunter2")
    file = tmp_path / "token"
    file.write_text("hunter2")
    file.chmod(0o644)
    found = [
        only(settings, Section(token_env="A_TOKEN"))[0],
        only(settings, Section(token_env="NOT_SET"))[0],
        only(settings, Section(token_file=str(file)))[0],
        only(settings, Section(token_file=str(tmp_path / "missing")))[0],
        next(platforms.checks(replace(settings, generation=GenerationSettings(api_key_env="X")))),
    ]
    assert [each.verdict for each in found] == [
        Verdict.OK, Verdict.FAILED, Verdict.WARNING, Verdict.FAILED, Verdict.FAILED,
    ]  # fmt: skip
    assert found[0].finding == "*** of A_TOKEN"
    assert found[1].remedy == "set it, or name another"
    assert found[2].remedy == f"chmod 600 {file}"
    assert found[4].name == "generation.api_key"
    assert "hunter2" not in repr(found)


def test_ports(settings, monkeypatch):
    taken = OSError(98, "Address already in use")

    def create_server(address, **_):
        if address[1] == 80:
            raise taken
        return io.BytesIO()

    monkeypatch.setattr("socket.create_server", create_server)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert verdicts(only(settings, Section(host, 8080))) == {"web port": Verdict.OK}
    for host in ("0.0.0.0", "::", "example.org"):
        [found] = only(settings, Section(host, 8080))
        assert found.verdict is Verdict.WARNING
        assert "open to the network" in found.finding
    [found] = only(settings, Section(port=80))
    assert "Address already in use" in found.finding
    taken_too = ConsoleSettings(port=80)
    found = next(platforms.checks(replace(settings, adapters={}, console=taken_too)))
    assert (found.name, found.verdict) == ("console port", Verdict.WARNING)
    assert "console.port" in found.remedy
