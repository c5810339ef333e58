"""The command line: the commands of probe/commands, and errors as one sentence and an exit code.

Heavy libraries are loaded by the commands that need them, when they do.

probe backbones · extract DATA --backbone NAME · fit RECIPE · evaluate WHAT
probe embed RUN IMAGES · export RUN FOLDER · index create INDEX RUN · search INDEX IMAGE · serve INDEX
probe compare · table · plan · report · figures
probe data list · cache list
"""

import errno
import os
import sys
from functools import partial
from shutil import get_terminal_size
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from probe.allocator import keep_freed_memory
from probe.commands.backbones import backbones
from probe.commands.cache import app as cache_commands
from probe.commands.compare import ManyAgainst, compare
from probe.commands.data import app as data_commands
from probe.commands.embed import embed
from probe.commands.evaluate import evaluate
from probe.commands.export import export
from probe.commands.extract import extract
from probe.commands.figures import figures
from probe.commands.fit import fit
from probe.commands.index import app as index_commands
from probe.commands.plan import plan
from probe.commands.report import report
from probe.commands.schema import schema
from probe.commands.search import search
from probe.commands.serve import serve
from probe.commands.table import table
from probe.interrupts import heed, interruptible, over
from probe.progress import console
from probe.terminal import replace_what_cannot_be_encoded, visible, wrapped

# Threads that wait spin some microseconds, then sleep. A training step waits hundreds of times for less than that:
# sleeping at once (OMP_WAIT_POLICY=PASSIVE) makes it twice as slow, and spinning on costs others on a shared machine.
SPINS = "20000"


class Commands(TyperGroup):
    """Turns errors into one sentence and an exit code; accepts --debug and --quiet anywhere on the line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["debug"] = "--debug" in args
        console.quiet = "--quiet" in args
        return super().parse_args(ctx, [word for word in args if word not in ("--debug", "--quiet")])

    def invoke(self, ctx: Any) -> Any:
        from feature_cache import StoreError
        from probe.errors import ProbeError, system_sentence

        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # before PyTorch is loaded, which reads it once
        keep_freed_memory()
        try:
            return interruptible(partial(super().invoke, ctx))
        except (ProbeError, StoreError) as error:
            if ctx.meta["debug"]:
                raise
            raise _failed(str(error), getattr(error, "exit_code", 1)) from error
        except OSError as error:
            if ctx.meta["debug"] or error.errno in (None, errno.EPIPE):  # a closed pipe is no error of ours
                raise
            raise _failed(system_sentence(error)) from error
        except MemoryError as error:
            if ctx.meta["debug"]:
                raise
            raise _failed("there is not enough memory; close other programs, or take less at once.") from error
        except KeyboardInterrupt as error:
            raise _interrupted() from error


def _failed(sentence: str, code: int = 1) -> typer.Exit:
    _say(f"error: {visible(sentence)}", "red")
    return typer.Exit(code)


def _say(text: str, colour: str | None = None) -> None:
    if sys.stderr.isatty():
        text = wrapped(text, get_terminal_size().columns)
    typer.secho(text, fg=colour, err=True)


def _interrupted() -> typer.Exit:
    _say("interrupted: what is finished is kept; the same command goes on from there.")
    return typer.Exit(130)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Linear probing over cached frozen features, for universal image retrieval.",
    epilog="Every command takes --quiet, which leaves progress and remarks out (answers and errors are printed), and "
    "--debug, which shows the traceback of an error.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"probe {version('probe')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


app.command(epilog="Example: probe backbones siglip-so400m-14-384")(backbones)
app.add_typer(data_commands, name="data")
app.command(epilog="Example: probe extract ~/photos --backbone timm:resnet50 --weights resnet50.safetensors")(extract)
app.add_typer(cache_commands, name="cache")
app.command(epilog="Example: probe fit recipes/quickstart.yaml --row ArcFace --set loss.margin=0.4 --seeds 0-4")(fit)
app.command(epilog="Example: probe evaluate out/runs/descriptor_linear_arcface_seed0_* --data sample --split val")(
    evaluate
)
app.command(epilog="Example: probe embed out/runs/mobilenetv1_* ~/photos --out photos.npy")(embed)
app.add_typer(index_commands, name="index")
app.command(epilog="Example: probe search photos.index query.jpg -k 10 --where \"label = 'shoe'\"")(search)
app.command(epilog="Example: probe serve photos.index")(serve)
app.command(
    cls=ManyAgainst,
    epilog="Example: probe compare out/runs/*_linear_arcface_seed* --against out/runs/*_pca-whitening_*",
)(compare)
app.command(epilog="Example: probe table unifex_table5")(table)
app.command(epilog="Example: probe plan unifex_table5 uned_table4 --machine h100 --sh > plan.sh")(plan)
app.command(epilog="Example: probe export out/runs/mobilenetv1_linear_arcface_seed0_* embedder")(export)
app.command(epilog="Example: probe report recipes/quickstart.yaml")(report)
app.command(epilog="Example: probe figures recipes/quickstart.yaml")(figures)
app.command(epilog="Example: probe schema recipe > recipe.schema.json")(schema)


def main() -> None:
    """Entry point of `probe`."""
    heed()
    replace_what_cannot_be_encoded()
    if sys.platform == "win32":
        raise SystemExit(_failed("probe runs on Linux and macOS; on Windows, install it inside of WSL.", 2).exit_code)
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _say(f"error: {error or type(error).__name__}; run again with --debug for the traceback.", "red")
        sys.exit(1)
    finally:
        over()
