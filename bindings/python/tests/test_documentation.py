"""What the documentation says to type, typed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("page", ["src/guide/python.md", "bindings/python/README.md", "README.md"])
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        # As it stands, but for the time that it takes.
        code, found = re.subn(r"minutes=\d+", "steps=10", block)
        assert found == block.count("train(")
        exec(compile(code, page, "exec"), names)  # noqa: S102
    assert capsys.readouterr().out
