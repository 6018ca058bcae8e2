"""What the documentation says to type, typed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def examples(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", ["src/guide/python.md", "bindings/python/README.md"])
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in examples(page):
        # As it stands, but for the time that it takes.
        code, found = re.subn(r"minutes=\d+", "steps=10", block)
        assert found == block.count("train(")
        exec(compile(code, page, "exec"), names)  # noqa: S102
    assert capsys.readouterr().out


def test_the_first_page_shows_the_same_example():
    assert examples("README.md") == examples("bindings/python/README.md")
