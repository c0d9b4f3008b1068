"""A trace of the steps of a profile, for a viewer of Chrome traces."""

from __future__ import annotations

from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from kfc_bench.errors import UserError
from kfc_bench.experiments.profile.case import ProfileCase
from kfc_bench.experiments.profile.training import LAYOUTS, Training
from kfc_bench.measure.precision import set_precision
from kfc_bench.measure.span_memory import Ranges
from kfc_bench.spans import OTHER


def write_trace(case: ProfileCase, layout: str, path: Path) -> None:
    """Take one step of each kind under torch's profiler, spans as ranges ``kfc: phase layer``, and write the trace.

    Args:
        case: The case.
        layout: Name of the memory format.
        path: The file, JSON.

    Raises:
        UserError: It cannot be written.
    """
    set_precision(case.precision)
    training = Training(case, next(choice for choice in LAYOUTS if choice.name == layout))
    steps = [training.stepper(statistics=kind[0], inverses=kind[1]) for kind in case.kinds()]
    for step in steps:
        step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if case.device == "cuda" else [])]
    with profile(activities=activities) as profiled:
        for step in steps:
            ranges = Ranges()
            with training.marked(ranges):
                ranges.border(OTHER)
                step()
                ranges.close()
    beside = path.with_name(f".{path.name}.part.json")
    try:
        # The profiler writes nothing, and says nothing, where it cannot open its file.
        beside.touch()
        profiled.export_chrome_trace(str(beside))
        beside.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)
