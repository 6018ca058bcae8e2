#!/usr/bin/env python3
"""One table of a folder of figures that .ci/gpu has filled: each workload here, and in PyTorch on the same card.

usage: side_by_side.py FOLDER
"""

import json
import pathlib
import sys

PEERS = {"torch-eager": "PyTorch eager", "torch-graph": "PyTorch, CUDA graph", "torch-half": "PyTorch eager"}


def figures(path: pathlib.Path) -> dict[str, float]:
    """Milliseconds by workload, of a file of PyTorch's benchmark."""
    if not path.exists():
        return {}
    return {key: row["ms"] for key, row in json.loads(path.read_text()).items() if not key.startswith("_")}


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    report = json.loads((folder / "softalign.json").read_text())
    gpt2 = folder / "gpt2.json"
    rest = json.loads(gpt2.read_text())["rows"] if gpt2.exists() else []
    peers: dict[str, dict[str, float]] = {}
    for file, name in PEERS.items():
        peers.setdefault(name, {}).update(figures(folder / f"{file}.json"))
    peers = {name: rows for name, rows in peers.items() if rows}
    print(report["adapter"])
    print("| workload | ms | " + " | ".join(f"{name}, ms | times as fast" for name in peers) + " | tokens/s | of ceiling |")
    print("|---|" + "---|" * (2 * len(peers) + 3))
    for row in report["rows"] + rest:
        key, ms = row["workload"], row["ms"]
        if ms is None:
            print(f"| {key} | failed: {row['failure']} |")
            continue
        cells = [key, f"{ms:.3f}"]
        for rows in peers.values():
            other = rows.get(key)
            cells += ["", ""] if other is None else [f"{other:.3f}", f"{other / ms:.2f}"]
        tokens, percent = row["tokens_per_s"], row["ceiling_percent"]
        cells += ["" if tokens is None else f"{tokens:.0f}", "" if percent is None else f"{percent:.0f} %"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
