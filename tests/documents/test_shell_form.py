import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.documents import SHELL, UNKNOWN, Document, parse
from diag.documents.editing import REMOVE, Rename, edited, edits
from diag.documents.shell_form import value_of
from diag.documents.shell_words import Script
from diag.errors import InputError


def trainings(text: str) -> list[Document]:
    return parse(text, name="run.sh", form=SHELL)


def training(text: str) -> Document:
    (document,) = trainings(text)
    return document


def changed(text: str, changes: dict[str, object]) -> str:
    return edited(text, edits(training(text), changes))


@pytest.mark.parametrize(
    ("command", "entry", "launcher", "processes", "configs"),
    [
        ("python train.py --lr 1", "train.py", "python", None, []),
        ("python3.11 -u -m my.train --lr 1", "my.train", "python", None, []),
        ("./train.py --lr 1", "train.py", "", None, []),
        ("uv run train.py fit --config c.yaml", "train.py fit", "", None, ["c.yaml"]),
        ("torchrun --nproc-per-node 8 --nnodes=2 train.py --lr 1", "train.py", "torchrun", 16, []),
        ("torchrun --standalone train.py --lr 1", "train.py", "torchrun", 1, []),
        ("torchrun --nproc_per_node gpu train.py --lr 1", "train.py", "torchrun", None, []),
        ("python -m torch.distributed.run --nproc_per_node=4 train.py --lr 1", "train.py", "torchrun", 4, []),
        ("torchrun --nnodes $SLURM_NNODES --nproc_per_node 8 train.py --lr 1", "train.py", "torchrun", None, []),
        ("accelerate launch --multi_gpu --num_processes 4 train.py --lr 1", "train.py", "accelerate", 4, []),
        ("accelerate launch --config_file a.yaml train.py --lr 1", "train.py", "accelerate", None, []),
        ("accelerate launch -m axolotl.cli.train cfg.yml", "axolotl.cli.train", "accelerate", None, ["cfg.yml"]),
        ("deepspeed --num_gpus=4 --num_nodes 2 train.py --lr 1", "train.py", "deepspeed", 8, []),
        ("deepspeed --include localhost:0,1,2 train.py --lr 1", "train.py", "deepspeed", 3, []),
        ("deepspeed train.py --lr 1", "train.py", "deepspeed", None, []),
        ("srun -n 16 python train.py --lr 1", "train.py", "srun", 16, []),
        ("mpirun -np 8 -x PATH python train.py --lr 1", "train.py", "mpirun", 8, []),
        ("trl sft --config c.yaml --num_processes 4", "trl sft", "", 4, ["c.yaml"]),
        ("python -m trl dpo --beta 0.1", "trl dpo", "python", None, []),
        ("automodel cfg.yaml --nproc-per-node 2 --optimizer.lr 5e-6", "automodel", "", 2, ["cfg.yaml"]),
        ("automodel finetune llm -c cfg.yaml", "automodel finetune llm", "", None, ["cfg.yaml"]),
        ("llamafactory-cli train c.yaml learning_rate=1e-5", "llamafactory-cli train", "", None, ["c.yaml"]),
        ("FORCE_TORCHRUN=1 NPROC_PER_NODE=4 llamafactory-cli train c.yaml", "llamafactory-cli train", "", 4, ["c.yaml"]),
        ("axolotl train c.yml --learning-rate 1 --launcher torchrun -- --nproc_per_node=2", "axolotl train", "", 2, ["c.yml"]),
        ("tune run --nproc_per_node 4 full_distributed --config l/8B a=1", "tune run full_distributed", "torchrun", 4, ["l/8B"]),
        ("litgpt finetune_lora ckpt --train.max_steps 1", "litgpt finetune_lora", "", None, []),
        ("thub osft --config c.yaml --nproc-per-node 8", "thub osft", "", 8, ["c.yaml"]),
        ("yolo detect train data=coco.yaml lr0=0.01", "yolo detect train", "", None, []),
        ("sudo -E env X=1 nohup python train.py --lr 1 &", "train.py", "python", None, []),
        ("time poetry run python train.py --lr 1 | tee log", "train.py", "python", None, []),
        ("$PYTHON train.py --lr 1", "train.py", "", None, []),
        ("python train.py config/gpt2.py --lr=1", "train.py", "python", None, ["config/gpt2.py"]),
    ],
)
def test_a_launch_command_is_recognised(command: str, entry: str, launcher: str, processes: int | None, configs: list[str]) -> None:
    document = training(command + "\n")
    assert (document.entry, document.launcher, document.processes, document.configs) == (entry, launcher, processes, configs)


@pytest.mark.parametrize(
    "command",
    [
        "pip install torch --upgrade",
        "uv pip install accelerate --upgrade",
        "python -m pip install trl",
        "python -c 'print(1)' --lr 1",
        "python train.py",
        "python eval.py --model x",
        "python scripts/convert_checkpoint.py --out x",
        "lm_eval --model hf --tasks mmlu",
        "accelerate launch -m lm_eval --tasks mmlu",
        "tune run eleuther_eval --config eval.yaml",
        "tune download model --output-dir x",
        "litgpt download x --token y",
        "llamafactory-cli chat c.yaml",
        "python train.py test --config c.yaml",
        "ls --all; curl -L https://example.org",
        "vllm serve model --port 1",
        "echo python train.py --lr 1",
        "cat <<EOF\npython train.py --lr 1\nEOF",
        "# python train.py --lr 1",
    ],
)
def test_other_commands_are_no_trainings(command: str) -> None:
    assert trainings(command + "\n") == []


def test_settings_know_value_and_place() -> None:
    text = "cd x && CUDA_VISIBLE_DEVICES=0 python train.py --learning-rate 2e-4 \\\n  --bf16 --no_shuffle --name='a b' > log\n"
    document = training(text)
    assert document.flat() == {"learning_rate": 2e-4, "bf16": True, "shuffle": False, "name": "a b"}
    rate, name = document.settings["learning_rate"], document.settings["name"]
    assert (rate.line, rate.column, rate.text, text[rate.start : rate.end]) == (1, 48, "2e-4", "2e-4")
    assert text[rate.key_start : rate.key_end] == "--learning-rate"
    assert (name.line, name.quoted, text[name.start : name.end], name.text) == (2, True, "'a b'", "a b")
    assert document.settings["bf16"].start == document.settings["bf16"].end


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5e-6", 5e-6),
        ("1e5", 1e5),
        ("-1", -1),
        (".5", 0.5),
        ("10_000", 10000),
        ("true", True),
        ("False", False),
        ("None", None),
        ("null", None),
        ('["a", 1]', ["a", 1]),
        ("['*.q', '*.v']", ["*.q", "*.v"]),
        ("(0.9, 0.95)", [0.9, 0.95]),
        ("[a,b]", ["a", "b"]),
        ("[]", []),
        ("[0-9]*x", "[0-9]*x"),
        ("1e-5x", "1e-5x"),
        ("nan", "nan"),
        ("", ""),
        ("[" * 1000 + "]" * 1000, "[" * 1000 + "]" * 1000),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_values_are_parsed_where_they_are_plain(written: str, value: object) -> None:
    assert value_of(written) == value


def test_key_value_overrides() -> None:
    text = "tune run r_train --config c optimizer.lr=1e-5 ++epochs=2 +new=null ~scheduler 'modules=[q,v]'\n"
    document = training(text)
    assert document.flat() == {"optimizer.lr": 1e-5, "epochs": 2, "new": None, "scheduler": None, "modules": ["q", "v"]}
    assert document.containers == {"": 1, "optimizer": 1}


def test_several_values_are_a_list_and_a_mapping_is_taken_apart() -> None:
    document = training("""trl sft --lora_target_modules q_proj v_proj --betas 0.9 -1 --lr_scheduler_kwargs '{"min_lr": 1e-6}'\n""")
    assert document.flat() == {
        "lora_target_modules": ["q_proj", "v_proj"],
        "betas": [0.9, -1],
        "lr_scheduler_kwargs.min_lr": 1e-6,
    }
    assert "lr_scheduler_kwargs" in document.containers


def test_a_repeated_option_counts_last() -> None:
    document = training("python train.py --lr 1 \\\n --lr 2\n")
    assert document.flat() == {"lr": 2}
    assert document.repeated == {"lr": 2}


def test_variables_arrays_and_texts_of_options() -> None:
    text = (
        "export LR=2e-4\nBS=${BS:-8}\nOUT=runs/$NAME\n"
        "ARGS=(\n  --bf16 True  # on\n  --epochs 3\n)\nARGS+=(--seed 1)\n"
        'MORE="--warmup 10 \\\n   --fp8"\n'
        'python train.py --lr $LR --bs "${BS}" --out "$OUT" --when "$(date)" --host `hostname` "${ARGS[@]}" $MORE $EXTRA_ARGS "$@"\n'
    )
    document = training(text)
    assert document.flat() == {"lr": 2e-4, "bs": 8, "bf16": True, "epochs": 3, "seed": 1, "warmup": 10, "fp8": True}
    assert [key for key, setting in document.settings.items() if setting.value is UNKNOWN] == ["out", "when", "host"]
    assert document.settings["epochs"].line == 6


@pytest.mark.parametrize(
    ("script", "value"),
    [
        ("LR=1\nLR=2\npython train.py --lr $LR\n", 2),
        ("LR=1\nif x; then LR=2; fi\npython train.py --lr $LR\n", UNKNOWN),
        ("LR=1\n[ -z $Y ] && LR=2\npython train.py --lr $LR\n", UNKNOWN),
        ("for LR in 1 2; do\n  python train.py --lr $LR\ndone\n", UNKNOWN),
        ("LR=1\nwhile x; do\n  python train.py --lr $LR\n  LR=$((LR*2))\ndone\n", UNKNOWN),
        ("LR=1\nrun() {\n  python train.py --lr $LR\n}\nLR=2\nrun\n", UNKNOWN),
        ("for i in 1 2; do\n  LR=3\n  python train.py --lr $LR\ndone\n", 3),
        ("LR=${LR:-4}\npython train.py --lr ${LR}\n", 4),
        ("read LR\npython train.py --lr $LR\n", UNKNOWN),
        ("case $1 in a) LR=1 ;; *) LR=2 ;; esac\npython train.py --lr $LR\n", UNKNOWN),
        ("python train.py --lr $LR\nLR=1\n", UNKNOWN),
        ("A=5\nLR=$A\npython train.py --lr $LR\n", 5),
    ],
)
def test_a_variable_is_known_only_where_nothing_else_can_set_it(script: str, value: object) -> None:
    assert training(script).settings["lr"].value == value


def test_what_a_condition_adds_is_left_out_and_said() -> None:
    document = training('A=(--lr 1)\nif x; then A+=(--lora); fi\npython train.py "${A[@]}"\n')
    assert document.flat() == {"lr": 1}
    assert document.problems == ["line 2 adds to A under a condition: what it adds is left out"]


def test_slurm_directives_count_for_srun() -> None:
    script = "#!/bin/bash\n#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=4\nsrun python train.py --lr 1\n"
    assert training(script).processes == 8


def test_windows_line_ends() -> None:
    text = "python train.py \\\r\n  --lr 1 \\\r\n  --bf16\r\n"
    assert training(text).flat() == {"lr": 1, "bf16": True}
    assert changed(text, {"seed": 3}) == "python train.py \\\r\n  --lr 1 \\\r\n  --bf16 \\\r\n  --seed 3\r\n"


@pytest.mark.parametrize("text", ["python train.py --lr '1\n", 'echo "x\n', "echo $(date\n", "A=(1\n", "echo ${A\n"])
def test_what_does_not_end_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"run\.sh: is no shell script: the \w+ of line 1 does not end"):
        trainings(text)


BASE = "python train.py --lr 2e-4 --name 'a b' --mods q v --bf16 --eps=1 2>&1 | tee log  # go\n"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"lr": 1e-5}, BASE.replace("2e-4", "1e-05")),
        ({"lr": 2e-4, "bf16": True, "mods": ["q", "v"]}, BASE),
        ({"name": "it's"}, BASE.replace("'a b'", '"it\'s"')),
        ({"name": "c"}, BASE.replace("a b", "c")),
        ({"mods": ["a", "b", "*.c"]}, BASE.replace("q v", "a b '*.c'")),
        ({"bf16": False}, BASE.replace("--bf16", "--bf16 False")),
        ({"eps": 3}, BASE.replace("--eps=1", "--eps=3")),
        ({"lr": REMOVE}, BASE.replace(" --lr 2e-4", "")),
        ({"eps": REMOVE}, BASE.replace(" --eps=1", "")),
        ({"mods": REMOVE, "bf16": REMOVE}, BASE.replace(" --mods q v --bf16", "")),
        ({"lr": Rename("learning_rate")}, BASE.replace("--lr", "--learning_rate")),
        ({"seed": 1}, BASE.replace("--eps=1", "--eps=1 --seed 1")),
        ({"tags": ["x", "y z"]}, BASE.replace("--eps=1", "--eps=1 --tags x 'y z'")),
        ({"extra": {"a": 1}}, BASE.replace("--eps=1", "--eps=1 --extra '{\"a\": 1}'")),
        ({"absent": REMOVE}, BASE),
    ],
)
def test_an_edit_changes_what_it_names_and_nothing_else(changes: dict[str, object], wanted: str) -> None:
    assert changed(BASE, changes) == wanted


MULTILINE = "torchrun pretrain_gpt.py \\\n    --micro-batch-size 4 \\\n    --lr 1e-4 \\\n    --bf16\n"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"lr": REMOVE}, MULTILINE.replace("    --lr 1e-4 \\\n", "")),
        ({"bf16": REMOVE}, MULTILINE.replace(" \\\n    --bf16", "")),
        ({"micro_batch_size": Rename("global_batch_size")}, MULTILINE.replace("micro", "global")),
        ({"train_iters": 5, "fp8": True}, MULTILINE.replace("--bf16", "--bf16 \\\n    --train-iters 5 \\\n    --fp8")),
    ],
)
def test_a_command_of_several_lines_keeps_its_manner(changes: dict[str, object], wanted: str) -> None:
    assert changed(MULTILINE, changes) == wanted


@pytest.mark.parametrize(
    ("text", "changes", "wanted"),
    [
        ("automodel c.yaml --a.b 1\n", {"a.c": True}, "automodel c.yaml --a.b 1 --a.c true\n"),
        ("automodel c.yaml --a.b 1\n", {"p.t": ["x", "y"]}, "automodel c.yaml --a.b 1 --p.t \"['x', 'y']\"\n"),
        ("axolotl train c.yml --bf16\n", {"bf16": False}, "axolotl train c.yml --no-bf16\n"),
        ("axolotl train c.yml --no-bf16\n", {"bf16": True}, "axolotl train c.yml --bf16\n"),
        ("axolotl train c.yml --lr 1\n", {"flash_attention": False}, "axolotl train c.yml --lr 1 --no-flash-attention\n"),
        ("thub sft --config c\n", {"learning_rate": 1e-5}, "thub sft --config c --learning-rate 1e-05\n"),
        ("litgpt pretrain x --a.b 1\n", {"lora": True, "l": ["a", "b"]}, 'litgpt pretrain x --a.b 1 --lora true --l \'["a", "b"]\'\n'),
        ("tune run r --config c a=1\n", {"o.lr": 1e-5, "l": ["a", "b"]}, "tune run r --config c a=1 o.lr=1e-05 l='[a,b]'\n"),
        ("yolo train lr0=0.1 > x\n", {"lr0": 0.01, "amp": False}, "yolo train lr0=0.01 amp=False > x\n"),
        ("python train.py --lr=1\n", {"seed": 2}, "python train.py --lr=1 --seed=2\n"),
        ('python train.py --lr 1 "$@"\n', {"seed": 2}, 'python train.py --lr 1 --seed 2 "$@"\n'),
        ("python train.py --lr x>log\n", {"lr": 2}, "python train.py --lr 2 >log\n"),
        ('python train.py --n "a b"\n', {"n": 'c "$d"'}, 'python train.py --n "c \\"\\$d\\""\n'),
        ("""trl sft --k '{"a": 1}'\n""", {"k.b": "c", "k.a": REMOVE}, """trl sft --k '{"b": "c"}'\n"""),
        ("""trl sft --l 1 --k '{"a": 1}'\n""", {"k.a": REMOVE}, "trl sft --l 1\n"),
    ],
)
def test_every_program_is_written_in_its_own_manner(text: str, changes: dict[str, object], wanted: str) -> None:
    assert changed(text, changes) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("LR=2e-4\npython train.py --lr $LR\n", "LR=1e-05\npython train.py --lr $LR\n"),
        ('LR="2e-4"\nX=$LR\npython train.py --lr "$X"\n', 'LR="1e-05"\nX=$LR\npython train.py --lr "$X"\n'),
        ("LR=${LR:-2e-4}\npython train.py --lr ${LR}\n", "LR=${LR:-1e-05}\npython train.py --lr ${LR}\n"),
        ("LR=2\npython train.py --lr $LR --out o-$LR\n", "LR=2\npython train.py --lr 1e-05 --out o-$LR\n"),
        ('A=(\n  --lr 2 # x\n)\npython train.py "${A[@]}"\n', 'A=(\n  --lr 1e-05 # x\n)\npython train.py "${A[@]}"\n'),
        ('A="--lr 2 --b 1"\npython train.py $A\n', 'A="--lr 1e-05 --b 1"\npython train.py $A\n'),
    ],
)
def test_a_value_is_changed_where_it_is_said(text: str, wanted: str) -> None:
    assert changed(text, {"lr": 1e-5}) == wanted


def test_an_option_is_taken_out_of_an_array_with_its_line() -> None:
    text = 'A=(\n  --lr 2\n  # more\n  --b 1 # x\n  --c 3\n)\npython train.py "${A[@]}"\n'
    assert changed(text, {"lr": REMOVE, "c": REMOVE}) == 'A=(\n  # more\n  --b 1 # x\n)\npython train.py "${A[@]}"\n'


@pytest.mark.parametrize(
    ("text", "changes", "why"),
    [
        ("python train.py --lr $LR\n", {"lr": 1}, "only running the script can tell"),
        ("python train.py \\\n --lr $(cat lr)\n", {"lr": 1}, "line 2: lr cannot be changed"),
        ('A="--n x"\npython train.py $A\n', {"n": "a b"}, "needs quotes"),
        ("tune run r --config c ~lr a=1\n", {"lr": 1}, "takes it out"),
        ("python train.py --lr 1\n", {"rate": Rename("lr")}, "not set here"),
    ],
)
def test_what_cannot_be_written_is_refused(text: str, changes: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        edits(training(text), changes)


# Properties

PLAIN = st.text("abcXYZ_./", min_size=1, max_size=6).filter(lambda text: not text.endswith((".yaml", ".py")))
SCALARS = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(min_codepoint=32, codec="utf-8"), min_size=1, max_size=8).filter(lambda text: text[0] not in "-~+"),
)
KEYS = st.from_regex(r"[a-z][a-z]{2,6}(_[a-z]{1,4})?", fullmatch=True).filter(lambda key: not key.startswith(("no_", "config", "cfg")))
OPTIONS = st.tuples(KEYS, PLAIN, st.sampled_from(["--{} {}", "--{}={}", "--{} '{}'", '--{}="{}"', "--{}"]))


@st.composite
def commands(draw: st.DrawFn) -> str:
    options = draw(st.lists(OPTIONS, min_size=1, max_size=6, unique_by=lambda item: item[0]))
    joint = draw(st.sampled_from([" ", " \\\n  ", " \\\r\n\t"]))
    ending = draw(st.sampled_from(["\n", " > log 2>&1\n", " | tee x\n", " &\n", "  # so\n", "", "; ls\n"]))
    return "set -e\n" + joint.join(["python train.py", *(form.format(key, value) for key, value, form in options)]) + ending


def said(value: object) -> object:
    return value_of(value) if isinstance(value, str) else value


@settings(max_examples=150, deadline=None)
@given(commands(), st.data())
def test_after_an_edit_the_command_says_what_is_wanted_and_all_else_as_before(text: str, data: st.DataObject) -> None:
    document = training(text)
    before = document.flat()
    keys = st.one_of(st.sampled_from(sorted(before)), KEYS)
    changes: dict[str, object] = data.draw(st.dictionaries(keys, st.one_of(SCALARS, st.just(REMOVE)), min_size=1, max_size=4))
    wanted = before | changes
    wanted = {key: said(value) for key, value in wanted.items() if value is not REMOVE}
    after = trainings(edited(text, edits(document, changes)))
    assert [found.flat() for found in after] == ([wanted] if wanted else [])
    for found in after:
        assert edits(found, {key: value for key, value in changes.items() if value is not REMOVE and said(value) == value}) == []


@settings(max_examples=100, deadline=None)
@given(commands(), st.integers(0, 200), st.sampled_from([*"'\"$`\\(){}#=<>&|;\n ", "$(", "${", "<<E\n", "é\u2028"]))
def test_any_text_is_read_or_refused_in_one_line(text: str, place: int, inserted: str) -> None:
    text = text[:place] + inserted + text[place:]
    try:
        documents = trainings(text)
    except InputError as error:
        assert "\n" not in str(error)
        return
    for document in documents:
        for setting in document.settings.values():
            assert 0 <= setting.key_start <= setting.key_end <= len(text)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash to compare with")
@pytest.mark.parametrize(
    "script",
    [
        "A='x y'\n{} --a \"$A\" --b 'it'\\''s' --c=\"q\\\"r\" --d a\\ b\n",
        'ARGS=(--a "1 2" # no\n --b 3)\nARGS+=(--c)\n{} "${{ARGS[@]}}" --d $\'e\'\n',
        "{} a#b '' \"\" x''y \"a\\\\b\\c\\$d\" 'q\\' -- > /dev/stdout 2>&1 # c\n",
        'V="--a 1 \\\n  --b [2"\n{} $V --c "${{V}}" --d ${{W:-7}}\n',
    ],
)
def test_words_are_those_that_bash_passes(script: str) -> None:
    passed = subprocess.run(["bash", "-c", script.format("printf '%s\\0'")], capture_output=True, text=True, check=True).stdout.split("\0")
    read = Script(script.format("printf"), "run.sh")
    fields, _ = read.fields(read.commands[-1])
    assert [field.text for field in fields][1:] == passed[:-1]
