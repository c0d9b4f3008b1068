import torch

from kfc_bench.measure.span_memory import AllocatorLog, Ranges, SpanBytes, memory_by_span, range_name
from kfc_bench.spans import OTHER, listening, span

KIB = 1024


def test_what_each_span_allocates_and_leaves():
    kept = []

    def call(listener):
        with listening(listener):
            with span("forward", "fc"):
                kept.append(torch.empty(64 * KIB, dtype=torch.uint8))
                torch.empty(256 * KIB, dtype=torch.uint8)
            with span("loss"):
                pass
            with span("backward"):
                kept.clear()
                kept.append(torch.empty(16 * KIB, dtype=torch.uint8))

    found = memory_by_span(call, "cpu")
    assert found["forward", "fc"] == SpanBytes(peak=320 * KIB, held=64 * KIB)
    assert found["loss", ""] == SpanBytes(peak=64 * KIB, held=0)
    assert found["backward", ""] == SpanBytes(peak=64 * KIB, held=-48 * KIB)


class FakeAllocator:
    def __init__(self):
        self.now = self.most = 100

    def take(self, size):
        self.now += size
        self.most = max(self.most, self.now)

    def held(self):
        return self.now

    def peak(self):
        peak, self.most = self.most, self.now
        return peak


def test_a_devices_statistics_are_read_at_every_border():
    allocator = FakeAllocator()
    log = AllocatorLog(allocator)
    with listening(log), span("forward"):
        allocator.take(10)
        with span("forward", "fc"):
            allocator.take(50)
            allocator.take(-40)
        allocator.take(5)
        allocator.take(-25)
    log.border(OTHER)
    assert log.found["forward", ""] == SpanBytes(peak=25, held=-10)
    assert log.found["forward", "fc"] == SpanBytes(peak=60, held=10)
    assert log.found[OTHER] == SpanBytes(peak=0, held=0)


def test_ranges_are_named_by_phase_and_layers():
    assert range_name(("input factor", "conv2")) == "kfc: input factor conv2"
    assert range_name(("inverse", ("conv1", "conv2", "fc"))) == "kfc: inverse conv1 and 2 more"
    assert range_name(("clip", "")) == "kfc: clip"
    ranges = Ranges()
    ranges.close()
    with listening(ranges), span("clip"):
        pass
    ranges.close()
    assert ranges.keys["kfc: clip"] == ("clip", "")
