"""Profiles as they would be on a device whose rates are known exactly."""

from functools import cache

import numpy as np

from kfc_bench.experiments.profile.layers import modules
from kfc_bench.prediction.amounts import UNITS, by_part
from kfc_bench.prediction.rates import Rates, assumed
from kfc_bench.prediction.replay import replay
from kfc_bench.problems.networks import NETWORKS
from kfc_bench.results.schema import SCHEMA

DEVICE = "Some CPU"
EVERY = (10, 20)
COUNTED = assumed(5e10, 1e10, 1e-5, 0.5)
EXACT = Rates({unit: 2 * seconds for unit, seconds in COUNTED.seconds.items()})
"""A device half as fast as assumed."""


@cache
def gone_through(network, step):
    return replay(NETWORKS[network], step)


def profile_record(network, step, rates=EXACT, **own):
    """Make the record of a step on the device."""
    gone = gone_through(network, step)
    described = modules(NETWORKS[network])
    parts = []
    for (phase, layer), often in by_part(gone).items():
        seconds = rates.of(often.per_step(*EVERY))
        period = 1 if often.always.any() else EVERY[1] if often.of_inverses else EVERY[0]
        shared = not isinstance(layer, str)
        names = layer if shared else (layer,)
        parts += [
            {
                "layer": name,
                "kind": "",
                "phase": phase,
                "call_s": seconds * period / len(names),
                "every": period,
                "per_step_s": seconds / len(names),
                "shared": shared,
                **(described[name].columns() if name in described else {}),
            }
            for name in names
        ]
    total = sum(part["per_step_s"] for part in parts)
    clip = f" {step.clip:g}" if step.clip else ""
    return {
        "schema": SCHEMA,
        "case_id": f"{network} {step.approximation}{clip} {step.batch}",
        "experiment": "profile",
        "section": "profile",
        "device": "cpu",
        "network": network,
        "input": "x".join(map(str, NETWORKS[network].input_shape)),
        "approximation": step.approximation,
        "layout": "channels_last" if step.channels_last else "contiguous",
        "clip": step.clip,
        "statistics_every": None if step.approximation == "sgd" else EVERY[0],
        "inverses_every": None if step.approximation == "sgd" else EVERY[1],
        "batch": step.batch,
        "dtype": "float32",
        "precision": "ieee",
        "status": "ok",
        "step_s": total,
        "parts_s": total,
        "parts_share": 1.0,
        "suspect": False,
        "step_ci_low_s": 0.99 * total,
        "step_ci_high_s": 1.01 * total,
        "peak_memory_bytes": gone.step_bytes,
        "parts": parts,
        **own,
    }


def drawn_amounts(parts, seed=0):
    """Draw amounts of work of parts, none of them zero."""
    generator = np.random.default_rng(seed)
    scales = np.array([{"call": 10.0, "byte": 1e6, "flop": 1e8}[unit] for _, unit in UNITS])
    return generator.uniform(0.1, 1.0, (parts, len(UNITS))) * scales
