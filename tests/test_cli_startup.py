"""The command as a shell starts it: quickly, with help and completion."""

import os
import subprocess
import sys
from pathlib import Path


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_says_what_there_is_and_does_not_wait_for_jax() -> None:
    script = (
        "import sys\n"
        "from metabridge.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as stop:\n"
        "    assert stop.code in (0, None), stop.code\n"
        "heavy = {'jax', 'flax', 'optax', 'orbax', 'matplotlib', 'numpy', 'PIL'}\n"
        "heavy |= {'scipy', 'sklearn', 'safetensors', 'tensorboardX', 'tqdm'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    for arguments, words in (
        (["--help"], ["train", "evaluate", "datasets"]),
        (["train", "--help"], ["mtl"]),
        (
            ["compare", "--help"],
            ["--algorithms", "--images", "--minutes", "--shots", "--folder"],
        ),
        (["report", "--help"], ["--theory", "--output", "--examples", "[PATH [PATH"]),
        (["evaluate", "--help"], ["--shots", "--output", "Folder of the run"]),
        (
            ["train", "mtl", "--help"],
            ["--dataset", "--data-dir", "--shots", "--run-dir", "--resume", "radam"],
        ),
    ):
        done = python("-c", script, *arguments)
        assert done.returncode == 0, done.stderr[-2000:]
        for word in words:
            assert word in done.stdout


def test_importing_the_package_and_its_configuration_is_light() -> None:
    done = python(
        "-c",
        "import sys, metabridge\n"
        "metabridge.Config()\n"
        "assert not {'jax', 'flax', 'numpy', 'optax'} & set(sys.modules)\n"
        "assert {'train', 'FewShotClassifier', 'load_body'} <= set(dir(metabridge))\n",
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_shells_complete_commands_learners_and_options(tmp_path: Path) -> None:
    script = python("-m", "metabridge", "--tyro-print-completion", "bash")
    assert script.returncode == 0, script.stderr[-2000:]
    (tmp_path / "completion").write_text(script.stdout)
    asked = """
        . ./completion
        for line in "metabridge ver" "metabridge train mam" \\
            "metabridge train mtl --learning" "metabridge evaluate r --tune"; do
          COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
          COMP_LINE=$line; COMP_POINT=${#line}; COMPREPLY=()
          _tyro_metabridge metabridge "${COMP_WORDS[COMP_CWORD]}" ""
          echo "${COMPREPLY[@]}"
        done"""
    done = subprocess.run(
        ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[:3] == ["verify", "maml", "--learning-rate"]
    assert "--tune-head" in done.stdout
    other = python("-m", "metabridge", "--tyro-print-completion", "zsh")
    assert other.returncode == 0, other.stderr[-2000:]
    assert other.stdout.startswith("#compdef metabridge\n")
    assert "--learning-rate" in other.stdout


def test_datasets_as_a_module() -> None:
    done = python("-m", "metabridge", "datasets")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == [
        "glyphs",
        "omniglot",
        "cifar_fs",
        "fc100",
        "mini_imagenet",
        "tiered_imagenet",
        "folder:PATH",
    ]
    needy = [line.split()[0] for line in lines if "needs --data-dir" in line]
    assert needy == names[1:-1]


def test_a_reader_that_has_gone_is_told_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "metabridge", "datasets"],
            env=os.environ | {"PYTHONUNBUFFERED": ""},
            stdout=gone, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
