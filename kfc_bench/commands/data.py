"""``kfc-bench data``: which data sets are here, and how to get the others."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from kfc_bench.commands.console import say
from kfc_bench.errors import UserError

data = typer.Typer(help="Say which data sets are here, verify them, or fetch one.", invoke_without_command=True)


@data.callback()
def listing(context: typer.Context) -> None:
    """Say of each data set where it was found, in which format, and whether its files are those that were published."""
    if context.invoked_subcommand is not None:
        return
    from kfc_bench.problems.published import DATA_SETS

    console = Console()
    say(console, "digits: comes along; 1,797 images")
    for data_set in DATA_SETS.values():
        found = data_set.search()
        if found is None:
            say(console, f"{data_set.name}: not here; {data_set.how_to_get}")
            continue
        try:
            verdict = found.verify()
        except UserError as error:
            verdict = f"NOT USABLE: {error}"
        images = f"{found.train:,} + {found.test:,} images"
        say(console, f"{data_set.name}: {found.where}; {found.format}; {images}; {verdict}")


@data.command()
def fetch(
    name: Annotated[str, typer.Argument(help="fashion, cifar10 or svhn.")],
) -> None:
    """Download a data set from the Hugging Face hub into its cache; nothing else here ever downloads."""
    from kfc_bench.problems.places import fetched_folder
    from kfc_bench.problems.published import DATA_SETS

    if name not in DATA_SETS:
        raise UserError(f"data fetch {name}: no such data set to fetch; there are {', '.join(DATA_SETS)}")
    folder = DATA_SETS[name].hub.fetch(fetched_folder())
    say(Console(), f"fetched {name} into {folder}")
