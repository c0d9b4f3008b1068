import json

import pandas as pd
import pytest

from kfc_bench.cli import app
from kfc_bench.errors import UserError
from kfc_bench.prediction.held_out import COLUMNS, HELD_OUT_FILE
from kfc_bench.prediction.model import RATES_FILE
from kfc_bench.prediction.replay import Step
from tests.helpers import write_run
from tests.prediction.synthetic import DEVICE, profile_record


def run(*arguments):
    app(["predict", *map(str, arguments)], standalone_mode=False)


def test_from_profiles_to_predictions_and_their_errors(tmp_path, capsys):
    fitted = [profile_record(name, Step(kind, 8)) for name in ("digits", "cifar10") for kind in ("sgd", "kfc")]
    write_run(tmp_path / "known", fitted, "run1")
    write_run(tmp_path / "held", [profile_record("digits_small", Step("kfc", 16))], "run2")
    rates, table = tmp_path / "known" / RATES_FILE, tmp_path / "known" / HELD_OUT_FILE
    run("--fit", tmp_path / "known", "--out", rates)
    assert json.loads(rates.read_text())["device"] == DEVICE
    run("--check", tmp_path / "held", "--records", tmp_path / "known", "--out", table)
    (row,) = pd.read_csv(table).to_dict("records")
    assert list(row) == list(COLUMNS)
    assert abs(row["time_error"]) < 0.1
    assert abs(row["memory_error"]) < 0.01
    with pytest.raises(UserError, match="were fitted to digits; check networks that were left out"):
        run("--check", tmp_path / "known", "--records", tmp_path / "known")
    known = ("--device", DEVICE, "--records", tmp_path / "known", "--batch", "8", "--batch", "32")
    capsys.readouterr()
    run("digits", "--approximation", "kfc", *known)
    told = capsys.readouterr().out
    title = f"Predicted steps of digits ({DEVICE}); nothing was run"
    for words in (title, "100 %", "past error, 1 steps", "intervals"):
        assert words in told


def test_a_gpu_that_is_not_here_runs_out_of_memory(tmp_path, capsys):
    arguments = ["digits", "--device", "T4", "--approximation", "kfc", "--batch", str(2**30)]
    run(*arguments, "--records", tmp_path, "--format", "markdown")
    told = capsys.readouterr().out
    assert "does not fit" in told
    assert "never held to a measurement" in told
    run(*arguments, "--records", tmp_path, "--format", "csv")
    lines = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines] == ["approximation", "sgd", "kfc"]
    assert [line[3] for line in lines] == ["status", "oom", "oom"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("NETWORK", "--fit")),
        (("digits", "--check", "."), ("NETWORK",)),
        (("digits", "--approximation", "kfcc"), ("kfcc", "kfc")),
        (("digits", "--batch", "0"), ("--batch 0",)),
        (("digits", "--device", "H1000"), ("H1000", "H100")),
        (("digits", "--inverses-every", "0"), ("--inverses-every 0",)),
        (("digits", "--records", "nowhere"), ("nowhere",)),
        (("absent.toml",), ("absent.toml",)),
        (("--fit", "."), ("--out", RATES_FILE)),
        (("--fit", ".", "--batch", "8"), ("--batch", "NETWORK")),
        (("digits", "--clip", "nan"), ("--clip nan",)),
    ],
    ids=str,
)
def test_bad_input(tmp_path, arguments, words):
    where = () if "--records" in arguments else ("--records", tmp_path)
    with pytest.raises(UserError) as refused:
        run(*arguments, *where)
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)
