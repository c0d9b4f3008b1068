"""``kfc-bench``: the commands put together, and how mistakes end."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from kfc_bench import __version__
from kfc_bench.commands.audit import audit
from kfc_bench.commands.choices import choices
from kfc_bench.commands.compare import compare
from kfc_bench.commands.dashboard import dashboard
from kfc_bench.commands.data import data
from kfc_bench.commands.export import export
from kfc_bench.commands.import_file import import_file
from kfc_bench.commands.kernels import kernels
from kfc_bench.commands.paper import paper
from kfc_bench.commands.predict import predict
from kfc_bench.commands.profile import profile
from kfc_bench.commands.regression import PassingOn, regression
from kfc_bench.commands.report import report
from kfc_bench.commands.run import run
from kfc_bench.commands.summary import summary
from kfc_bench.errors import UserError, UserInterrupt

INTERRUPTED = 130

app = typer.Typer(
    help="What each Fisher approximation costs, and whether it trains faster than SGD.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kfc-bench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What each Fisher approximation costs, and whether it trains faster than SGD."""


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "import": import_file,
    "export": export,
    "summary": summary,
    "choices": choices,
    "report": report,
    "paper": paper,
    "compare": compare,
    "profile": profile,
    "predict": predict,
    "kernels": kernels,
    "audit": audit,
    "dashboard": dashboard,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(data, name="data")
app.command("regression", cls=PassingOn)(regression)


def main() -> None:
    """Run the command line; mistakes of the user's end in one line and exit code 2, Ctrl-C in 130."""
    warnings.showwarning = lambda message, *_, **__: print(f"kfc-bench: warning: {message}", file=sys.stderr)
    try:
        sys.exit(app(standalone_mode=False))
    except UserError as error:
        print(f"kfc-bench: {error}", file=sys.stderr)
        sys.exit(2)
    except UserInterrupt as error:
        print(f"kfc-bench: {error}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != INTERRUPTED:
            raise
        print("kfc-bench: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # A word on the command line that typer does not know; the class has moved between its versions.
        if not hasattr(error, "format_message"):
            raise
        print(f"kfc-bench: {error.format_message()} Try kfc-bench --help.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
