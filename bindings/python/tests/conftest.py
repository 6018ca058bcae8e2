import pytest
import softalign

NUMBERS = {"steps": 40, "hidden": 32, "embedding": 16, "batch": 32, "validate_every": 40}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A small model of numbers, trained for a few steps, and the events of its run."""
    folder = tmp_path_factory.mktemp("runs") / "numbers"
    events = []
    progress = softalign.train("numbers", folder, callback=events.append, **NUMBERS)
    return folder, progress, events


@pytest.fixture(scope="session")
def model(folder):
    return softalign.Model.load(folder[0])
