import pytest
import torch

from kfc_bench.errors import UserError
from kfc_bench.runner.suite import find_suite, load_suite, suites_by_device
from tests.helpers import LAYER, suite_text

TRIALS = """
kind = "convergence"
device = "cpu"
problem = "digits"
network = "digits"
batch = 64
epochs = 0.6
evaluations = 3
target = { metric = "error", value = 0.03 }
tuning_seed = 0
extra_trials = 1
seeds = [1, 2]
[[optimizer]]
name = "sgd"
lr = [0.1, 0.3]
[[optimizer]]
name = "kfc"
lr = [0.01, 0.1]
damping = 0.1
"""
SECTION = f"""
[[section]]
name = "NAME"
kind = "cost"
[[section.sweep]]
operator = "input_factor"
layer = {LAYER}
batch = 2
"""
STEP = 'kind = "cost"\n[[sweep]]\napproximation = "kfc"\nphase = "step"\nnetwork = "digits"\nbatch = 64\n'
PHASE = 'kind = "cost"\n[[sweep]]\napproximation = "kfc"\nphase = "refresh"\nlayer = "digits.conv1"\nbatch = 64\n'


def load(tmp_path, text, device=None):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_suite(path, device)


def layer(**changes):
    keys = {"in_channels": "2", "out_channels": "3", "size": "6", "kernel": "3"} | changes
    return suite_text(layer="{ " + ", ".join(f"{key} = {value}" for key, value in keys.items()) + " }")


def defaults(line):
    return suite_text(defaults=line)


BAD = {
    "not TOML": ("kind = \nbatch = 2", ["not valid TOML", "line 1"]),
    "same key twice": ('kind = "cost"\nkind = "cost"', ["not valid TOML"]),
    "no kind": ("", ["key 'kind' is missing"]),
    "unknown kind": ('kind = "costs"', ["kind 'costs'", "did you mean 'cost'?"]),
    "no sweep": ('kind = "cost"', ["key 'sweep' is missing"]),
    "empty sweeps": ('kind = "cost"\nsweep = []', ["[[sweep]]"]),
    "sweep is no table": ('kind = "cost"\nsweep = [1]', ["[[sweep]] 1", "a table is needed"]),
    "defaults are no table": ('defaults = 3\nkind = "cost"\nsweep = [{}]', ["defaults = 3", "dict"]),
    "unknown key": ("sead = 3\n" + TRIALS, ["unknown key 'sead'", "did you mean 'seeds'?"]),
    "unknown key in a sweep": (suite_text(more="batches = 2"), ["[[sweep]] 1", "'batches'", "did you mean 'batch'?"]),
    "unknown key in defaults": (defaults("second = 2.0"), ["[defaults]", "'second'", "did you mean 'seconds'?"]),
    "unknown operator": (suite_text(operator='"input_factr"'), ["'input_factr'", "did you mean 'input_factor'?"]),
    "operator with a phase": (suite_text(more='phase = "step"'), ["unknown key 'phase'"]),
    "unknown implementation": (suite_text(more='implementation = "magic"'), ["implementation 'magic'", "reference"]),
    "unknown dtype": (suite_text(more='dtype = "float16"'), ["dtype 'float16'", "float32, float64"]),
    "unknown precision": (suite_text(more='precision = "tf33"'), ["precision 'tf33'", "did you mean 'tf32'?"]),
    "unknown fisher": (suite_text(more='fisher = "type3"'), ["fisher 'type3'"]),
    "batch 0": (suite_text("0"), ["batch = 0", "at least 1"]),
    "negative batch": (suite_text("[2, -2]"), ["batch = -2", "at least 1"]),
    "batch is a word": (suite_text('"2"'), ["batch = '2'", "int"]),
    "batch is true": (suite_text("true"), ["batch = True", "int"]),
    "batch is a float": (suite_text("2.0"), ["batch = 2.0", "int"]),
    "no batch": (suite_text().replace("batch = 2", ""), ["key 'batch' is missing"]),
    "empty list": (suite_text("[]"), ["batch is an empty list"]),
    "a value twice": (suite_text("[2, 4, 2]"), ["batch = [2, 4, 2]", "twice"]),
    "a layer twice": (suite_text(layer=f"[{LAYER}, {LAYER}]"), ["layer", "twice"]),
    "unknown network of a layer": (suite_text(layer='"digts.conv1"'), ["'digts'", "did you mean 'digits'?"]),
    "unknown layer": (suite_text(layer='"digits.conv3"'), ["layer of digits 'conv3'", "conv1"]),
    "network without its layer": (suite_text(layer='"digits"'), ["layer of digits ''"]),
    "layer is a number": (suite_text(layer="3"), ["[[sweep]] 1 layer", "a table is needed"]),
    "kernel that does not fit": (layer(kernel="9"), ["[[sweep]] 1 layer", "kernel (9, 9)", "does not fit"]),
    "size of words": (layer(size='["a", "b"]'), ["size = ['a', 'b']", "integer"]),
    "size of floats": (layer(size="[6.5, 6]"), ["size = [6.5, 6]", "integer"]),
    "size of truths": (layer(size="[true, true]"), ["size = [True, True]", "integer"]),
    "empty size": (layer(size="[]"), ["size = []", "integer"]),
    "kernel of words": (layer(kernel='["3", "3"]'), ["kernel = ['3', '3']", "integer"]),
    "kernel of other rank": (layer(kernel="[3, 3, 3]"), ["kernel", "spatial axes"]),
    "stride 0": (layer(stride="0"), ["stride must be at least 1"]),
    "nested stride": (layer(stride="[[1], [1]]"), ["stride = [[1], [1]]", "integer"]),
    "padding of words": (layer(padding='["a", 1]'), ["padding = ['a', 1]", "integer"]),
    "negative padding": (layer(padding="-1"), ["padding must not be negative"]),
    "unknown padding": (layer(padding='"sane"'), ["padding 'sane'", "'same'"]),
    "unknown padding mode": (layer(padding_mode='"round"'), ["padding_mode 'round'", "circular"]),
    "groups that do not divide": (layer(groups="4"), ["4 groups"]),
    "unknown key of a layer": (layer(strides="2"), ["[[sweep]] 1 layer", "'strides'", "did you mean 'stride'?"]),
    "negative memory limit": (defaults("memory_limit_gib = -1"), ["[defaults]", "memory_limit_gib = -1.0"]),
    "infinite memory limit": (defaults("memory_limit_gib = inf"), ["memory_limit_gib = inf", "finite"]),
    "infinite time-out": (defaults("timeout_s = inf"), ["timeout_s = inf", "finite"]),
    "no time-out": (defaults("timeout_s = 0"), ["timeout_s = 0.0", "positive"]),
    "not a number": (defaults("half_width = nan"), ["half_width = nan", "finite"]),
    "no visits": (defaults("least_visits = 0"), ["least_visits = 0", "at least 1"]),
    "unknown approximation": (STEP.replace('"kfc"', '"kcf"'), ["approximation 'kcf'", "did you mean 'kfc'?"]),
    "unknown phase": (STEP.replace('"step"', '"stop"'), ["phase 'stop'", "did you mean 'step'?"]),
    "unknown network": (STEP.replace('"digits"', '"cifar"'), ["network 'cifar'", "did you mean 'cifar10'?"]),
    "step without a network": (PHASE.replace("refresh", "step"), ["phase 'step'", "add network"]),
    "approximation in bf16": (PHASE + 'precision = "bf16"', ["precision bf16", "operators"]),
    "unknown device": ('device = "gpu"\n' + PHASE, ["device 'gpu'", "auto, cpu, cuda"]),
    "device is a number": ("device = 3\n" + PHASE, ["device = 3"]),
    "section is no list": ("section = 3", ["section = 3"]),
    "section is no table": ("section = [1]", ["[[section]] 1", "a table is needed"]),
    "no sections": ("section = []", ["at least one [[section]]"]),
    "two sections of a name": (SECTION + SECTION, ["the same name", "NAME"]),
    "key beside sections": ("batch = 2\n" + SECTION, ["unknown key 'batch'"]),
    "a bad section": (SECTION + SECTION.replace("batch = 2", "batch = 0"), ["[[section]] 2", "batch = 0"]),
    "no time": ("time_limit_s = 0\n" + SECTION, ["time_limit_s = 0.0", "positive"]),
    "a time of words": ('time_limit_s = "9 min"\n' + PHASE, ["time_limit_s = '9 min'", "float"]),
    "a variant outside a section": ('variant = "cpu"\n' + PHASE, ["unknown key 'variant'"]),
    "a variant that is no word": (SECTION.replace("kind", "variant = 3\nkind"), ["[[section]] 1", "variant = 3"]),
    "unlike grids": (TRIALS.replace("[0.01, 0.1]", "[0.01, 0.1, 1.0]"), ["sgd 2, kfc 3", "same number of trials"]),
    "the tuning seed reports": (TRIALS.replace("[1, 2]", "[0, 1]"), ["seed 0", "take it out of seeds"]),
    "a seed twice": (TRIALS.replace("[1, 2]", "[1, 1]"), ["seeds = [1, 1]", "twice"]),
    "negative extra trials": (TRIALS.replace("extra_trials = 1", "extra_trials = -1"), ["extra_trials = -1"]),
    "an optimizer twice": (TRIALS + TRIALS[TRIALS.rindex("[[") :], ["listed twice", "kfc, kfc"]),
    "unknown optimizer": (TRIALS.replace('"kfc"', '"lion"'), ["[[optimizer]] 2", "name 'lion'"]),
    "no optimizer": (TRIALS[: TRIALS.index("[[")], ["key 'optimizer' is missing"]),
    "damping for SGD": (
        TRIALS.replace("[0.1, 0.3]", "0.1\ndamping = 0.1"),
        ["[[optimizer]] 1", "unknown key 'damping'"],
    ),
    "no damping": (TRIALS.replace("damping = 0.1", ""), ["[[optimizer]] 2", "key 'damping' is missing"]),
    "learning rate 0": (TRIALS.replace("[0.1, 0.3]", "[0.1, 0]"), ["lr = 0.0", "positive"]),
    "momentum 1": (TRIALS + "momentum = 1", ["momentum", "[0, 1)"]),
    "tuned weight decay": (TRIALS + "weight_decay = [0.0, 0.1]", ["weight_decay is one number"]),
    "negative weight decay": (TRIALS + "weight_decay = -0.1", ["weight_decay is one number, at least 0"]),
    "no epochs": (TRIALS.replace("epochs = 0.6", "epochs = 0"), ["epochs = 0"]),
    "unknown problem": (TRIALS.replace('problem = "digits"', 'problem = "mnist"'), ["problem 'mnist'"]),
    "images of another size": (
        TRIALS.replace('network = "digits"', 'network = "cifar10"'),
        ["network 'cifar10'", "'digits'"],
    ),
    "unknown metric": (TRIALS.replace('metric = "error"', 'metric = "accuracy"'), ["target", "metric 'accuracy'"]),
    "target is a number": (TRIALS.replace('{ metric = "error", value = 0.03 }', "0.03"), ["target = 0.03"]),
    "unknown key of the target": (TRIALS.replace("value =", "valu = 1, value ="), ["target", "unknown key 'valu'"]),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_bad_suites_are_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "mine.toml"))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b'kind = "\xff"')
    with pytest.raises(UserError, match="cannot be read"):
        load_suite(path, None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.toml", ["none.toml: no such suite file", "quickstart"]),
        ("some/where", ["some/where: no such suite file"]),
        (".", [".", "quickstart"]),
        ("quikstart", ["'quikstart'", "did you mean 'quickstart'?"]),
    ],
)
def test_missing_suites_are_refused(name, words):
    with pytest.raises(UserError) as caught:
        find_suite(name)
    for word in words:
        assert word in str(caught.value)


def test_suites_that_come_along_are_found_and_valid():
    suite = load_suite(find_suite("quickstart"), "cpu")
    assert [section.kind for section in suite.sections] == ["cost", "convergence"]
    assert suite.name == "quickstart"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no CUDA device here"):
        load(tmp_path, suite_text(), "cuda")
    with pytest.raises(UserError, match="no CUDA device here"):
        load(tmp_path, suite_text().replace('"cpu"', '"cuda"'))


def test_an_unknown_device_that_is_asked_for_is_refused(tmp_path):
    with pytest.raises(UserError, match="device 'gpu' is not one of auto, cpu, cuda"):
        load(tmp_path, suite_text(), "gpu")


def test_the_device_asked_for_overrides_the_file_s(tmp_path):
    suite = load(tmp_path, suite_text().replace('"cpu"', '"cuda"'), "cpu")
    assert suite.device == "cpu"
    assert {case.columns()["device"] for case in suite.sections[0].plan.due({})} == {"cpu"}


def test_the_device_asked_for_overrides_the_file_s_beside_sections_too(tmp_path):
    assert load(tmp_path, 'device = "cuda"\n' + SECTION, "cpu").device == "cpu"


@pytest.mark.parametrize(
    ("device", "planned"), [("auto", ["cpu", "cuda"]), ("cpu", ["cpu"]), ("cuda", ["cuda"]), (None, ["cpu", "cuda"])]
)
def test_a_suite_is_planned_for_each_of_its_devices_wherever_that_is(tmp_path, device, planned):
    path = tmp_path / "mine.toml"
    for text in (suite_text().replace('device = "cpu"\n', ""), SECTION):
        path.write_text(f'device = "{device}"\n{text}' if device else text)
        suites = suites_by_device(path)
        assert list(suites) == planned
        assert [
            case.columns()["device"] for suite in suites.values() for case in suite.sections[0].plan.due({})
        ] == planned


def test_a_sweep_is_every_combination_once(tmp_path):
    more = 'dtype = ["float32", "float64"]\n[[sweep]]\noperator = "input_factor"\nbatch = [2, 8]\n' + f"layer = {LAYER}"
    text = suite_text("[2, 4]", operator='["input_factor", "output_factor"]', more=more)
    plan = load(tmp_path, text).sections[0].plan
    cases = plan.due({})
    assert len(cases) == plan.total == 2 * 2 * 2 + 1
    assert len({case.case_id for case in cases}) == len(cases)


def test_a_case_s_identity_is_what_it_measures(tmp_path):
    first, second = (load(tmp_path, defaults(f"seconds = {value}")).sections[0].plan.due({})[0] for value in (1, 2))
    other = load(tmp_path, suite_text("3")).sections[0].plan.due({})[0]
    assert first.case_id == second.case_id != other.case_id


def test_defaults_give_way_to_a_sweep_s_own(tmp_path):
    text = suite_text(defaults='dtype = "float64"\ndamping = 0.5', more="damping = 0.25")
    (case,) = load(tmp_path, text).sections[0].plan.due({})
    assert (case.dtype, case.damping) == ("float64", 0.25)


def test_sections_are_named_by_their_place_unless_they_say(tmp_path):
    suite = load(tmp_path, SECTION.replace('name = "NAME"', "") + SECTION)
    assert [section.name for section in suite.sections] == ["section 1", "NAME"]


def test_every_optimizer_gets_the_same_trials(tmp_path):
    plan = load(tmp_path, TRIALS).sections[0].plan
    assert plan.total == 2 * (2 + 1 + 2)
    due = [case.columns() for case in plan.due({})]
    assert [(trial["optimizer"], trial["role"], trial["seed"]) for trial in due] == [
        *[("sgd", "tuning", 0)] * 2,
        *[("kfc", "tuning", 0)] * 2,
    ]


def varied(*variants):
    """Write a suite of one section a variant; the section of variant None is for all."""
    return "".join(
        SECTION.replace("NAME", f"of {variant}").replace("kind", f'variant = "{variant}"\nkind' if variant else "kind")
        for variant in variants
    )


VARIANTS = [
    (("cuda", "cpu", None), None, "cpu", ["of cpu", "of None"]),
    (("cuda", "cpu", None), "cuda", "cuda", ["of cuda", "of None"]),
    ((None, "small", "big"), None, "small", ["of None", "of small"]),
    ((None, "small", "big"), "big", "big", ["of None", "of big"]),
    ((None,), None, None, ["of None"]),
]


@pytest.mark.parametrize(("variants", "asked", "chosen", "names"), VARIANTS)
def test_a_variant_is_chosen(tmp_path, variants, asked, chosen, names):
    path = tmp_path / "mine.toml"
    path.write_text('device = "cpu"\n' + varied(*variants))
    suite = load_suite(path, None, asked)
    assert suite.variant == chosen
    assert [section.name for section in suite.sections] == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (varied("cpu", "cuda"), ["no variant 'cudda'", "did you mean 'cuda'?", "there are: cpu, cuda"]),
        (varied(None), ["no variant 'cudda'", "it has none"]),
        (suite_text(), ["no variant 'cudda'", "it has none"]),
    ],
)
def test_an_unknown_variant_is_refused(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_suite(path, "cpu", "cudda")
    for word in words:
        assert word in str(caught.value)


def test_variants_may_have_sections_of_the_same_name(tmp_path):
    text = varied("cpu", "cuda").replace("of cuda", "of cpu")
    assert [section.name for section in load(tmp_path, text, "cpu").sections] == ["of cpu"]


@pytest.mark.parametrize("text", [suite_text(), SECTION])
def test_a_suite_may_have_a_time_limit(tmp_path, text):
    assert load(tmp_path, text, "cpu").time_limit_s is None
    assert load(tmp_path, "time_limit_s = 520\n" + text, "cpu").time_limit_s == 520.0
