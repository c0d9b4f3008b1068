"""What can be measured: each experiment owns its cases and knows how to measure one."""

from kfc_bench.experiments.base import Case, Experiment, Measurement, Plan, Resumable, Visited
from kfc_bench.experiments.convergence import CONVERGENCE
from kfc_bench.experiments.correlation import CORRELATION
from kfc_bench.experiments.cost import COST
from kfc_bench.experiments.fidelity import FIDELITY
from kfc_bench.experiments.inverse import INVERSE
from kfc_bench.experiments.profile import PROFILE

EXPERIMENTS: dict[str, Experiment] = {
    "cost": COST,
    "convergence": CONVERGENCE,
    "inverse": INVERSE,
    "profile": PROFILE,
    "fidelity": FIDELITY,
    "correlation": CORRELATION,
}

__all__ = ["EXPERIMENTS", "Case", "Experiment", "Measurement", "Plan", "Resumable", "Visited"]
