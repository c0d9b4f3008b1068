"""What is written down elsewhere about contestants, because reading results needs no torch."""

import pytest

from kfc_bench.contestants import contestants
from kfc_bench.measure.sources import PEERS
from kfc_bench.report.names import described, has_peers, is_contestant, is_whole_pass
from kfc_kernels.catalogue import OPERATORS
from tests.contestants.cases import name_of


@pytest.mark.parametrize("entry", contestants().values(), ids=name_of)
def test_reports_know_every_contestant(entry):
    kind = "plain formula" if entry.package is None else "library"
    ours = entry.name.startswith("kfc_bench")
    assert ("ours" if ours else kind) in described(entry.name), described(entry.name)
    assert has_peers([entry.name]) is (entry.package is not None)
    assert is_whole_pass(entry.name) is entry.whole_pass
    assert is_contestant(entry.name) is not ours


def test_none_of_our_implementations_is_a_contestant():
    ours = {entry.name for operator in OPERATORS.values() for entry in operator.table}
    assert not any(map(is_contestant, ours))


def test_the_environment_holds_the_version_of_every_peer():
    assert {entry.package.distribution for entry in contestants().values() if entry.package} == set(PEERS)
