import ast
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.documents import PYTHON, UNKNOWN, Document, parse
from diag.documents.editing import REMOVE, Rename, edited, edits
from diag.errors import InputError

HUB = "from training_hub import osft\n"


def calls(text: str) -> list[Document]:
    return parse(text, name="run.py", form=PYTHON)


def call(text: str) -> Document:
    (document,) = calls(text)
    return document


def changed(text: str, changes: dict[str, object]) -> str:
    return edited(text, edits(call(text), changes))


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("from training_hub import sft\nsft(a=1)\n", ["sft"]),
        ("from training_hub import lora_sft as tune\ntune(a=1)\n", ["lora_sft"]),
        ("import training_hub\ntraining_hub.osft(a=1)\n", ["osft"]),
        ("import training_hub as th\nr = th.sft(a=1)\nth.osft(a=2)\n", ["sft", "osft"]),
        ("from training_hub import *\nosft(a=1)\n", ["osft"]),
        ("osft(a=1)\n", ["osft"]),
        ("from other import sft\nsft(a=1)\n", []),
        ("def sft(a): pass\nsft(a=1)\n", []),
        ("import transformers\ntransformers.TrainingArguments(a=1)\n", ["TrainingArguments"]),
        ("from trl import SFTConfig as C\nC(a=1)\n", ["SFTConfig"]),
        ("import lightning as L\nL.Trainer(max_epochs=1)\n", ["Trainer"]),
        ("from pytorch_lightning import Trainer\nTrainer(max_epochs=1)\n", ["Trainer"]),
        ("from transformers import Trainer\nTrainer(args=a)\n", []),
        ("from peft import LoraConfig\nLoraConfig(r=1)\n", ["LoraConfig"]),
        ("from unsloth import FastLanguageModel\nFastLanguageModel.get_peft_model(m, r=1)\n", ["get_peft_model"]),
        ("print('hello')\n", []),
        ("", []),
    ],
)
def test_training_calls_are_recognised(text: str, entries: list[str]) -> None:
    assert [document.entry for document in calls(text)] == entries


def test_settings_know_value_and_place() -> None:
    text = "# é\nfrom training_hub import osft\nosft(path='é', lr=5e-6,\n     mods=['q', 'v'], pair=(0.9, -1), off=False, none=None)\n"
    document = call(text)
    assert document.flat() == {"path": "é", "lr": 5e-6, "mods": ["q", "v"], "pair": [0.9, -1], "off": False, "none": None}
    path, rate, mods = (document.settings[key] for key in ("path", "lr", "mods"))
    assert (path.text, path.quoted, text[path.start : path.end]) == ("é", True, "'é'")
    assert (rate.line, rate.column, rate.text, text[rate.start : rate.end], text[rate.key_start : rate.key_end]) == (
        3,
        16,
        "5e-6",
        "5e-6",
        "lr",
    )
    assert (mods.line, mods.column) == (4, 6)
    assert document.line == 3


@pytest.mark.parametrize(
    ("before", "written", "value"),
    [
        ("", "1e-5 * 2", 2e-5),
        ("", "2 ** 3 // 3 + 1", 3),
        ("", "-(1 - 3)", 2),
        ("", "'a' + 'b'", "ab"),
        ("", "'a' 'b'", "ab"),
        ("import torch\n", "torch.bfloat16", "bfloat16"),
        ("from peft import TaskType\n", "TaskType.CAUSAL_LM", "CAUSAL_LM"),
        ("", "float('1e-5')", 1e-5),
        ("LR = 1e-5\n", "LR", 1e-5),
        ("LR: float = 1e-5\n", "LR", 1e-5),
        ("A = 1e-5\nLR = A\n", "LR * 2", 2e-5),
        ("N = 3\n", "f'run-{N}'", "run-3"),
        ("C = {'lr': 3}\n", "C['lr']", 3),
        ("p.add_argument('--lr', type=float, default=2e-4)\nargs = p.parse_args()\n", "args.lr", 2e-4),
        ("p.add_argument('-b', '--batch-size', default=4)\nargs, _ = p.parse_known_args()\n", "args.batch_size", 4),
        ("p.add_argument('--on', action='store_true')\nargs = p.parse_args()\n", "args.on", False),
        ("LR = 1\nLR = 2\n", "LR", UNKNOWN),
        ("LR = 1\nLR *= 2\n", "LR", UNKNOWN),
        ("for LR in (1, 2): pass\n", "LR", UNKNOWN),
        ("def f(LR): pass\nLR = 1\n", "LR", 1),
        ("C = {'lr': 3}\nC['lr'] = 4\n", "C['lr']", UNKNOWN),
        ("p.add_argument('--lr', type=float)\nargs = p.parse_args()\n", "args.lr", UNKNOWN),
        ("", "compute()", UNKNOWN),
        ("", "1 if x else 2", UNKNOWN),
        ("", "os.environ['LR']", UNKNOWN),
        ("", "9 ** 9 ** 9", UNKNOWN),
        ("", "1 / 0", UNKNOWN),
        ("LR = LR\n", "LR", UNKNOWN),
    ],
)
def test_what_an_expression_means(before: str, written: str, value: object) -> None:
    assert call(f"{before}{HUB}osft(x={written})\n").settings["x"].value == value


def test_a_name_of_a_function_is_its_own() -> None:
    document = call(f"{HUB}lr = 1\ndef main():\n    lr = 2\n    osft(lr=lr)\n")
    assert document.flat() == {"lr": 2}


def test_mappings_are_taken_apart() -> None:
    text = (
        f"common = {{'seed': 1, 'name': 'x'}}\n{HUB}osft(k={{'a': 1, 'b': {{'c': 2}}}}, d=dict(e=3), **common, **{{'f': 4}}, **other())\n"
    )
    document = call(text)
    assert document.flat() == {"k.a": 1, "k.b.c": 2, "d.e": 3, "seed": 1, "name": "x", "f": 4}
    assert document.containers == {"": 3, "k": 3, "k.b": 3, "d": 3}
    assert document.settings["seed"].line == 1
    assert len(document.problems) == 1
    assert document.problems[0].startswith("line 3 passes settings")


def test_what_belongs_to_a_hugging_face_training_is_one_document() -> None:
    text = (
        "from transformers import TrainingArguments\n"
        "arguments = TrainingArguments('out', learning_rate=2e-4)\n"
        "lora = LoraConfig(r=16, target_modules=['q'])\n"
        "bits = transformers.BitsAndBytesConfig(load_in_4bit=True)\n"
        "callbacks = [EarlyStoppingCallback(3, early_stopping_threshold=0.1)]\n"
    )
    document = call(text)
    assert document.flat() == {
        "output_dir": "out",
        "learning_rate": 2e-4,
        "lora.r": 16,
        "lora.target_modules": ["q"],
        "quantization_config.load_in_4bit": True,
        "early_stopping_patience": 3,
        "early_stopping_threshold": 0.1,
    }


def test_companions_go_with_the_training_of_their_function() -> None:
    text = (
        "def one():\n    a = LoraConfig(r=1)\n    return SFTConfig(lr=1)\n"
        "def two():\n    a = LoraConfig(r=2)\n    return SFTConfig(lr=2)\nx = BitsAndBytesConfig(load_in_4bit=True)\n"
    )
    assert [document.flat() for document in calls(text)] == [
        {"lr": 1, "lora.r": 1, "quantization_config.load_in_4bit": True},
        {"lr": 2, "lora.r": 2, "quantization_config.load_in_4bit": True},
    ]


def test_unsloth_and_lightning_have_their_prefixes() -> None:
    text = (
        "model, t = FastLanguageModel.from_pretrained('m', max_seq_length=2048, load_in_4bit=True)\n"
        "model = FastLanguageModel.get_peft_model(model, r=16)\nSFTConfig(learning_rate=1)\n"
    )
    assert call(text).flat() == {"learning_rate": 1, "model.max_seq_length": 2048, "model.load_in_4bit": True, "lora.r": 16}
    assert call("import lightning as L\nL.Trainer(max_epochs=3)\n").flat() == {"trainer.max_epochs": 3}


def test_training_hub_says_how_many_processes() -> None:
    document = call(f"{HUB}osft(nproc_per_node=8, nnodes=2)\n")
    assert (document.launcher, document.processes) == ("torchrun", 16)
    assert call(f"{HUB}osft(nproc_per_node='gpu')\n").processes is None


def test_a_file_of_assignments_is_a_config() -> None:
    text = "# gpt\nlearning_rate = 6e-4  # max\nmax_iters = 600000\ndtype = 'bfloat16'\ndevice = pick()\nlr_decay_iters = max_iters\n"
    document = call(text)
    assert (document.entry, document.line) == ("", 1)
    assert document.flat() == {"learning_rate": 6e-4, "max_iters": 600000, "dtype": "bfloat16", "lr_decay_iters": 600000}
    assert calls("a = 1\nb = 2\n") == []


@pytest.mark.parametrize("text", ["osft(\n", "x = \n", "(" * 500, "-" * 100_000 + "1", "x = '\ud800'\n", "a\0b"])
def test_what_is_no_python_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"run\.py: is not valid Python") as caught:
        calls(text)
    assert "\n" not in str(caught.value)


def test_the_line_of_a_syntax_error_is_named() -> None:
    with pytest.raises(InputError, match="line 2"):
        calls("x = 1\nosft(a=)\n")


def test_warnings_of_the_compiler_are_not_printed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(f"{HUB}osft(a='\\d', b=1 is 1)\n").settings["a"].value == "\\d"


BASE = f"{HUB}LR = 2e-4\nosft(lr=LR, name='x', mods=['q', 'v'], k={{'a': 1}}, n=3)\n"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"lr": 1e-5}, BASE.replace("2e-4", "1e-05")),
        ({"lr": 2e-4, "mods": ["q", "v"], "absent": REMOVE}, BASE),
        ({"name": "y"}, BASE.replace("'x'", "'y'")),
        ({"name": None}, BASE.replace("'x'", "None")),
        ({"mods": ["a"]}, BASE.replace("['q', 'v']", "['a']")),
        ({"k.a": 2, "k.b": True}, BASE.replace("'a': 1", "'a': 2, \"b\": True")),
        ({"k.a": REMOVE}, BASE.replace(" k={'a': 1},", "")),
        ({"lr": REMOVE, "n": REMOVE}, BASE.replace("lr=LR, ", "").replace(", n=3", "")),
        ({"n": Rename("m")}, BASE.replace("n=3", "m=3")),
        ({"k.a": Rename("b")}, BASE.replace("'a'", "'b'")),
        ({"new": "z"}, BASE.replace("n=3", 'n=3, new="z"')),
        ({"o.p": 1, "o.q": 2}, BASE.replace("n=3", 'n=3, o={"p": 1, "q": 2}')),
        ({"o": {"p": 1}}, BASE.replace("n=3", 'n=3, o={"p": 1}')),
    ],
)
def test_an_edit_changes_what_it_names_and_nothing_else(changes: dict[str, object], wanted: str) -> None:
    assert changed(BASE, changes) == wanted


LINES = f"{HUB}osft(\n    lr=1,  # rate\n    n=2,\n    m=3,  # last\n)\n"


@pytest.mark.parametrize(
    ("text", "changes", "wanted"),
    [
        (LINES, {"x": 4}, LINES.replace("# last\n", "# last\n    x=4,\n")),
        (LINES, {"n": REMOVE}, LINES.replace("    n=2,\n", "")),
        (LINES, {"m": REMOVE, "x": 4}, LINES.replace("m=3,  # last", "x=4,")),
        (LINES.replace("m=3,", "m=3"), {"x": 4}, LINES.replace("# last\n", "# last\n    x=4\n")),
        (f"{HUB}osft(lr=1,\n     n=2)\n", {"x": 4}, f"{HUB}osft(lr=1,\n     n=2,\n     x=4)\n"),
        (f"{HUB}osft(lr=1,)\n", {"x": 4}, f"{HUB}osft(lr=1, x=4,)\n"),
        (f"{HUB}osft(lr=(1))\n", {"lr": 2, "x": 4}, f"{HUB}osft(lr=(2), x=4)\n"),
        (f"{HUB}osft(**{{'lr': 1}})\n", {"x": 4}, f"{HUB}osft(**{{'lr': 1}}, x=4)\n"),
        (LINES.replace("\n", "\r\n"), {"x": 4}, LINES.replace("# last\n", "# last\n    x=4,\n").replace("\n", "\r\n")),
    ],
)
def test_a_call_keeps_its_manner(text: str, changes: dict[str, object], wanted: str) -> None:
    assert changed(text, changes) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("p.add_argument('--lr', default=1)\nargs = p.parse_args()\nosft(lr=args.lr)\n", "default=1e-05"),
        ("C = {'lr': 1}\nosft(**C)\n", "'lr': 1e-05"),
        ("LR = 1\nosft(lr=LR, name=f'r-{LR}')\n", "osft(lr=1e-05, name"),
        ("LR = 1\nosft(lr=LR * 2)\n", "osft(lr=1e-05)"),
        ("LR = 1\nosft(lr=LR)\nosft(other=LR)\n", "osft(lr=1e-05)"),
    ],
)
def test_a_value_is_changed_where_it_is_said(text: str, wanted: str) -> None:
    document = calls(text)[0]
    after = edited(text, edits(document, {"lr": 1e-5}))
    assert wanted in after
    assert [found.flat() | {"lr": 0} for found in calls(after)] == [found.flat() | {"lr": 0} for found in calls(text)]


def test_types_of_torch_stay_types() -> None:
    text = "import torch\nosft(dtype=torch.bfloat16)\n"
    assert changed(text, {"dtype": "float16"}) == "import torch\nosft(dtype=torch.float16)\n"


def test_companions_are_edited_in_their_own_calls() -> None:
    text = "a = SFTConfig(lr=1)\nb = LoraConfig(r=8)\nc = EarlyStoppingCallback(3)\n"
    assert changed(text, {"lora.r": 16, "lora.lora_alpha": 32, "early_stopping_patience": 5, "early_stopping_threshold": 0.1, "x": 1}) == (
        "a = SFTConfig(lr=1, x=1)\nb = LoraConfig(r=16, lora_alpha=32)\nc = EarlyStoppingCallback(5, early_stopping_threshold=0.1)\n"
    )


def test_assignments_are_edited() -> None:
    text = "lr = 1  # rate\nn = 2\nname = 'x'  # end"
    assert changed(text, {"lr": 1e-5, "n": REMOVE, "new": True}) == "lr = 1e-05  # rate\nname = 'x'  # end\nnew = True"


@pytest.mark.parametrize(
    ("text", "changes", "why"),
    [
        (f"{HUB}osft(\n  lr=f(),\n)\n", {"lr": 1}, r"line 3: lr cannot be changed: its value is computed \(it is the result of a call\)"),
        (f"{HUB}osft(lr=LR)\n", {"lr": 1}, "LR is not assigned in this file"),
        (f"{HUB}osft(lr=1)\n", {"rate": Rename("lr")}, "rate is not set here"),
        (f"{HUB}osft(lr=1, n=2)\n", {"lr": Rename("not a name")}, "no name of an argument"),
        ("SFTConfig(lr=1)\n", {"lora.r": 1}, "lora.r needs LoraConfig"),
        ("SFTConfig(lr=1)\n", {"early_stopping_patience": 1}, "needs a call of EarlyStoppingCallback"),
        ("SFTConfig('out', lr=1)\n", {"output_dir": Rename("x")}, "passed without its name"),
        ("a = 1\nb = 2\nc = a\n", {"a": REMOVE}, "other lines of the file use the name"),
        ("a = 1; b = 2\nc = 3\n", {"a": REMOVE}, "another statement"),
    ],
)
def test_what_cannot_be_written_is_refused(text: str, changes: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        edits(call(text), changes)


# Properties

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))
KEYS = st.from_regex(r"[a-z]{3,8}_[a-z]{1,4}", fullmatch=True)
CHANGES = st.one_of(VALUES, st.just(REMOVE))


@st.composite
def files(draw: st.DrawFn) -> str:
    keys = draw(st.lists(KEYS, min_size=1, max_size=6, unique=True))
    before, arguments = "", []
    for number, key in enumerate(keys):
        value = repr(draw(VALUES)).replace("inf", "1e999")
        form = draw(st.sampled_from(["literal", "bracketed", "name", "mapping", "comment"]))
        if form == "name":
            before += f"N{number} = {value}  # note\n"
            value = f"N{number}"
        elif form == "mapping":
            before += f"M{number} = {{'{key}': {value}}}\n"
            arguments.append(f"**M{number}")
            continue
        arguments.append(f"{key}={f'({value})' if form == 'bracketed' else value}")
    style = draw(st.sampled_from(["({})", "({},)", "(\n    {}\n)", "(\n    {},  # end\n)", "({}  # end\n)", "({}\n     )"]))
    joint = draw(st.sampled_from([", ", ",\n    ", ",  # é, (\n    "]))
    return f"import training_hub as th\n{before}r = th.osft{style.format(joint.join(arguments))}; print(r)\n"


def same(one: object, other: object) -> bool:
    return repr(one) == repr(other) or (one == other and isinstance(one, bool) == isinstance(other, bool))


@settings(max_examples=150, deadline=None)
@given(files(), st.data())
def test_after_an_edit_the_call_says_what_is_wanted_and_all_else_as_before(text: str, data: st.DataObject) -> None:
    document = call(text)
    before = document.flat()
    changes: dict[str, object] = data.draw(
        st.dictionaries(st.one_of(st.sampled_from(sorted(before)), KEYS), CHANGES, min_size=1, max_size=4)
    )
    after = edited(text, edits(document, changes))
    ast.parse(after)
    wanted = {key: value for key, value in (before | changes).items() if value is not REMOVE}
    found = [document.flat() for document in calls(after)]
    if not wanted and not found:
        return
    assert found[0].keys() == wanted.keys()
    assert all(same(found[0][key], value) for key, value in wanted.items())
    assert edits(call(after), {key: value for key, value in changes.items() if value is not REMOVE}) == []


@settings(max_examples=100, deadline=None)
@given(files(), st.integers(0, 300), st.sampled_from([*"'\"(){}[]#=,:;\n \\", "lambda: ", "**", "*", "f'{", "\x0c", "é\u2028"]))
def test_any_text_is_read_or_refused_in_one_line(text: str, place: int, inserted: str) -> None:
    text = text[:place] + inserted + text[place:]
    try:
        documents = calls(text)
    except InputError as error:
        assert "\n" not in str(error)
        return
    for document in documents:
        for setting in document.settings.values():
            assert 0 <= setting.key_start <= setting.key_end <= len(text)
