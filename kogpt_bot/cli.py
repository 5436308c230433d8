"""The command line: thin; each command is a function that calls the part that does the work."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kogpt_bot import __version__
from kogpt_bot.errors import ConfigurationError, KogptBotError, ModelError
from kogpt_bot.evaluation import command as evaluation
from kogpt_bot.moderation.cli import profanity_app
from kogpt_bot.ops.data import data_app
from kogpt_bot.ops.db import db_app

if TYPE_CHECKING:
    from kogpt_bot.app import Running
    from kogpt_bot.config import Settings
    from kogpt_bot.generation.options import ServiceOptions

app = typer.Typer(
    help="KoGPT, or any GPT-J-architecture model, as a Korean chat-bot.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Check, write and describe the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(profanity_app, name="profanity")
app.add_typer(data_app, name="data")
app.add_typer(db_app, name="db")

MOST_GIB = 4096  # as in the configuration

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration; ./config.yaml where there is one."),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="mini, a local folder, or a hub name.")
]
RevisionOption = Annotated[str | None, typer.Option("--revision", help="The hub's revision.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:0, ...")
]
QuantizationOption = Annotated[
    Literal["none", "int8"] | None,
    typer.Option(
        "--quantization",
        "-q",
        help="int8: faster on a CPU, half the memory on a GPU, a little less exact.",
    ),
]


def main() -> None:
    """Run the command line: an error is one line, and an exit status."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, prog_name="kogpt-bot", standalone_mode=True)
    except KogptBotError as error:
        if debug:
            raise
        # A configuration error begins with its place, for editors that jump to it.
        prefix = "" if isinstance(error, ConfigurationError) else "error: "
        typer.echo(f"{prefix}{error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Show the version where asked; `--debug` anywhere shows tracebacks."""
    if version:
        typer.echo(f"kogpt-bot {__version__}")
        raise typer.Exit


def _file(path: Path | None) -> Path | None:
    """Return the file that is meant: the one that was named, or `config.yaml` where it is."""
    if path is None and Path("config.yaml").is_file():
        return Path("config.yaml")
    return path


def _settings(path: Path | None) -> Settings:
    from kogpt_bot import config

    return config.load(_file(path))


def _data_dir(path: Path | None) -> Path:
    from kogpt_bot import config

    return config.data_dir(_file(path))


def _with_model(
    settings: Settings,
    model: str | None,
    revision: str | None,
    device: str | None,
    quantization: Literal["none", "int8"] | None = None,
    kv_cache_gib: float | None = None,
    host_cache_gib: float | None = None,
) -> Settings:
    chosen = settings.generation
    chosen = replace(
        chosen,
        model=model or chosen.model,
        revision=revision if revision or model else chosen.revision,
        device=device or chosen.device,
        quantization=quantization or chosen.quantization,
        kv_cache_gib=chosen.kv_cache_gib if kv_cache_gib is None else kv_cache_gib,
        host_cache_gib=chosen.host_cache_gib if host_cache_gib is None else host_cache_gib,
    )
    return replace(settings, generation=chosen)


@app.command()
def run(
    config: ConfigOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
) -> None:
    """Run the bot: the web page, and every platform that is configured."""
    from kogpt_bot import app as daemon
    from kogpt_bot.ops import logging as logs
    from kogpt_bot.ops.lock import instance_lock
    from kogpt_bot.ops.signals import Signals

    config = _file(config)

    def load() -> Settings:
        return _with_model(_settings(config), model, revision, device)

    settings = load()

    def started(running: Running) -> None:
        names = ", ".join(running.adapters)
        typer.echo(f"kogpt-bot {__version__}: {names}; model {settings.generation.model}", err=True)
        if "web" in settings.adapters:
            web = settings.adapters["web"]
            typer.echo(f"대화 페이지 · chat page: http://{web.host}:{web.port}", err=True)

    async def serve() -> None:
        signals = Signals()
        signals.install()
        source = daemon.ConfigurationSource(load, config)
        adapters = daemon.make_adapters(settings)
        if not adapters:
            raise ConfigurationError("adapters: none is enabled; enable one, web for example")
        await daemon.run(
            settings, adapters, signals, source=source, pipeline=pipeline, started=started
        )

    with instance_lock(settings.data_dir):
        pipeline = logs.configure_from(settings)
        try:
            asyncio.run(serve())
        finally:
            pipeline.close()
            gc.freeze()  # all is over: do not search half a million objects on the way out


@app.command()
def status(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show how the running daemon is: its parts, its model, its queue."""
    from kogpt_bot.console import client

    found = client.status(_data_dir(config))
    typer.echo(
        json.dumps(found, ensure_ascii=False, indent=2) if as_json else client.as_text(found)
    )


@app.command()
def tail(
    config: ConfigOption = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=200, help="How many of the past first.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Write the JSON lines.")] = False,
) -> None:
    """Watch the running daemon's log live, until it ends or Ctrl-C."""
    from kogpt_bot.console import client

    for line in client.tail(_data_dir(config), lines):
        typer.echo(line if as_json else client.line_as_text(line))


@app.command()
def chat(
    config: ConfigOption = None,
    once: Annotated[
        str | None, typer.Option("--once", help="Answer this one message and end.")
    ] = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    speaker: Annotated[str | None, typer.Option("--as", help="Your name in the chat.")] = None,
) -> None:
    """Chat in the terminal."""
    from kogpt_bot.ops import chat as terminal

    if once is not None and not once.strip():
        raise ConfigurationError("--once: the message is empty; allowed: some text")
    settings = _with_model(_settings(config), model, revision, device)
    asyncio.run(terminal.chat(settings, once=once or "", speaker=speaker))


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    api_key_env: Annotated[
        str | None, typer.Option(help="The environment variable that holds the API key.")
    ] = None,
    api_key_file: Annotated[str | None, typer.Option(help="The file that holds it.")] = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    quantization: QuantizationOption = None,
    kv_cache_gib: Annotated[
        float | None, typer.Option(help="GiB for conversations; else by what is free.")
    ] = None,
    host_cache_gib: Annotated[
        float | None,
        typer.Option(help="GiB of main memory for idle conversations of a GPU; 0: none."),
    ] = None,
) -> None:
    """Serve the model alone: an OpenAI-compatible API for this bot or any client."""
    from kogpt_bot.generation import serve as service
    from kogpt_bot.ops import logging as logs
    from kogpt_bot.secret import read_secret

    if kv_cache_gib is not None and not 0 < kv_cache_gib <= MOST_GIB:
        allowed = f"more than 0 to {MOST_GIB}"
        raise ConfigurationError(f"--kv-cache-gib: {kv_cache_gib:g}; allowed: {allowed}")
    if host_cache_gib is not None and not 0 <= host_cache_gib <= MOST_GIB:
        raise ConfigurationError(f"--host-cache-gib: {host_cache_gib:g}; allowed: 0 to {MOST_GIB}")
    settings = _with_model(
        _settings(config), model, revision, device, quantization, kv_cache_gib, host_cache_gib
    )
    pipeline = logs.configure_from(settings)
    key = read_secret("--api-key", api_key_env, api_key_file)
    pipeline.learn([key] if key else [])
    secret = key.reveal() if key else ""
    service.check_exposure(host, secret)
    listener = service.listen(host, port)
    typer.echo(f"http://{host}:{listener.getsockname()[1]}/v1", err=True)
    with service.progress_bar() as report:
        work = service.serve(
            _options(settings), listener, api_key=secret, report=report, parent=parent
        )
        asyncio.run(work)


@app.command()
def generate(
    config: ConfigOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
) -> None:
    """Continue prompts: the prompt loop of KoGPT's own repository."""
    from kogpt_bot.generation import prompt_loop

    prompt_loop.run(_options(_with_model(_settings(config), model, revision, device)))


@app.command()
def bench(
    config: ConfigOption = None,
    model: ModelOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    quantization: QuantizationOption = None,
    workloads: Annotated[
        str,
        typer.Option(
            help="A: one stream, B: mixed, C: channels, S: a shared persona, D: arrivals."
        ),
    ] = "ABC",
    requests: Annotated[int, typer.Option(min=2, help="How many arrive in D.")] = 100,
) -> None:
    """Measure how fast this machine serves the model."""
    if unknown := set(workloads) - set("ABCDS"):
        raise ConfigurationError(f"--workloads: {min(unknown)!r}; allowed: letters of ABCDS")
    settings = _with_model(_settings(config), model, revision, device, quantization)
    try:
        from kogpt_bot.generation import bench as measured
    except ImportError as error:
        raise ModelError(
            f"{error.name or error} is not installed; pip install 'kogpt-bot[engine]'"
        ) from error
    for line in measured.main(_options(settings), workloads, requests):
        typer.echo(line)


def _options(settings: Settings) -> ServiceOptions:
    from kogpt_bot.ops.generation import service_options

    return service_options(settings.generation)


@app.command()
def doctor(
    config: ConfigOption = None,
    online: Annotated[bool, typer.Option("--online", help="Ask the platforms too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Check this machine and the configuration; each finding comes with its remedy."""
    from kogpt_bot.ops import doctor as checks

    found = checks.diagnose(config, online=online)
    if as_json:
        typer.echo(json.dumps(checks.as_json(found), ensure_ascii=False, indent=2))
    else:
        checks.show(found)
    raise typer.Exit(1 if found.failed else 0)


app.command("eval")(evaluation.evaluate)


@config_app.command("check")
def config_check(file: Path) -> None:
    """Say what is wrong with a configuration file, all of it at once."""
    from kogpt_bot import config

    settings = config.check(file)
    adapters = ", ".join(settings.adapters) or "none"
    typer.echo(f"{file}: ok (adapters: {adapters}; model: {settings.generation.model})")


@config_app.command("init")
def config_init(file: Annotated[Path, typer.Argument()] = Path("config.yaml")) -> None:
    """Write a configuration file with every key, its default, and what it means."""
    from kogpt_bot import config

    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(config.initial_text())
    except FileExistsError as error:
        raise ConfigurationError(f"{file}: exists already; name another file") from error
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from error
    typer.echo(f"{file} written; edit it, then: kogpt-bot config check {file}")


@config_app.command("schema")
def config_schema() -> None:
    """Write the JSON Schema of the configuration, for editors."""
    from kogpt_bot import config

    typer.echo(json.dumps(config.json_schema(), ensure_ascii=False, indent=2))
