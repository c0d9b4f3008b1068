"""Trials by hand, for tests of what is made of them."""

from tests.helpers import trial_record

LENGTH = (40, 4.0, 8.0)
"""Steps, epochs and seconds of a whole trial: an epoch has ten steps and takes two seconds."""


def trained(optimizer, seed, steps, seconds, *, length=LENGTH, loss=0.5, **own):
    """Return a trial that met its target after so many steps and seconds, or never."""
    step, epoch, end = length
    curve = [
        {"step": 0, "epoch": 0.0, "seconds": 0.0, "validation_loss": 2.3},
        {"step": step, "epoch": epoch, "seconds": end, "validation_loss": loss},
    ]
    named = {"case_id": f"{optimizer} {seed} {own}", "seconds": end, "curve": curve}
    return trial_record(optimizer, seed, steps, seconds) | named | own


def never(optimizer, seed, **own):
    return trained(optimizer, seed, None, None, **own)


def diverged(optimizer, seed, *, length=LENGTH, **own):
    return trained(optimizer, seed, None, None, length=length, status="diverged", **own)
