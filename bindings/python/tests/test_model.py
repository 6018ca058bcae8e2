"""A model: trained, loaded, asked."""

import json
import os
import signal
import threading
import time

import numpy
import pytest
import softalign
from conftest import NUMBERS


def test_a_run_tells_what_it_does(folder):
    path, progress, events = folder
    assert progress["step"] == 40 and progress["finished"]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "started" and kinds.count("validated") == 1 and kinds.count("step") >= 3
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == [10, 20, 30, 40][: len(steps)]
    assert steps[-1]["loss"] < steps[0]["loss"] and steps[0]["norm"] > 0
    [validated] = [event for event in events if event["event"] == "validated"]
    assert validated["best"] and validated["found"]["cross_entropy"] < 5
    [pair, reference] = validated["samples"][0]
    assert pair["source"] and reference
    assert json.loads((path / "run.json").read_text())["hidden"] == 32


def test_generates_in_batches_by_beam_and_by_sampling(model):
    assert model.architecture == "bahdanau" and "bahdanau" in repr(model)
    sources = ["1987", "5", "40213"]
    answers = model.generate(sources)
    assert [len(answer) for answer in answers] == [1, 1, 1]
    # Alone and among others the text is the same.
    assert [str(model.generate([source])[0][0]) for source in sources] == [str(answer[0]) for answer in answers]
    [best] = answers[0]
    assert best.text == str(best) and best.score < 0 and best.attention is None
    assert best.source_tokens == ["1", "9", "8", "7", "<eos>"]
    assert best.text == " ".join(best.tokens[:-1]) and best.tokens[-1] == "<eos>"

    [listed] = model.generate(["1987"], beam=4, n_best=3, length_penalty=0.6)
    assert len(listed) == 3 and listed[0].score >= listed[1].score >= listed[2].score

    drawn = {"sampling": {"temperature": 1.5, "top_k": 5}, "n_best": 4}
    [first], [again], [other] = (model.generate(["1987"], seed=seed, **drawn) for seed in (1, 1, 2))
    texts = lambda found: [str(text) for text in found]
    assert texts(first) == texts(again) != texts(other)
    assert model.generate([]) == []


def test_attention_is_an_array(model):
    [[best]] = model.generate(["1987"], attention=True)
    assert best.attention.shape == (len(best.tokens), len(best.source_tokens))
    numpy.testing.assert_allclose(best.attention.sum(axis=1), 1, atol=1e-5)


def test_scores_what_it_writes(model):
    [[best]] = model.generate(["1987"])
    scores = model.score([("1987", best.text), ("1987", "one")])
    assert scores.shape == (2,) and scores.dtype == numpy.float64
    if best.finished:
        assert scores[0] == pytest.approx(best.score, rel=1e-4)
    assert (scores < 0).all() and model.score([]).shape == (0,)


def test_errors_have_the_texts_of_the_command(model, tmp_path):
    for call, error, text in [
        (lambda: softalign.Model.load(tmp_path), ValueError, "holds no config.json, so it is not a model folder"),
        (lambda: softalign.Model.load(3), TypeError, ""),
        (lambda: model.generate("1987"), TypeError, "str"),
        (lambda: model.generate(["1" * 200]), ValueError, "201 tokens with its <eos>, and this model takes 100"),
        (lambda: model.generate(["1"], beam=100), ValueError, "generate: beam: wanted 1 to 64, got 100"),
        (lambda: model.generate(["1"], bem=4), TypeError, "generate: unknown field `bem`, expected one of `beam`"),
        (lambda: model.generate(["1"], n_best=2), ValueError, "generate: n_best: wanted 1 to 1, got 2"),
        (lambda: model.score([("1", "one " * 200)]), ValueError, "the target: 201 tokens with its <eos>"),
        (lambda: model.embed(["1"]), ValueError, ""),
        (lambda: softalign.train("numerals", tmp_path / "run"), TypeError, "unknown variant `numerals`"),
        (lambda: softalign.train("numbers", tmp_path / "run", hiden=3), ValueError, "`hiden`: unknown field `hiden`"),
        (lambda: softalign.train("numbers", tmp_path / "run", hidden=0), ValueError, "`hidden`: must be at least 1"),
        (
            lambda: softalign.train({"files": {"train": "no.tsv", "valid": "no.tsv"}}, tmp_path / "run"),
            OSError,
            "no.tsv",
        ),
    ]:
        with pytest.raises(error) as raised:
            call()
        assert text in str(raised.value), raised.value
    assert not (tmp_path / "run").exists()


def test_an_exception_of_the_callback_saves_and_the_same_call_goes_on(tmp_path):
    def stop(event):
        if event["event"] == "step" and event["step"] >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        softalign.train("numbers", tmp_path / "run", callback=stop, **NUMBERS)
    events = []
    progress = softalign.train("numbers", tmp_path / "run", callback=events.append, **NUMBERS)
    assert events[0]["event"] == "started" and 10 <= events[0]["resumed"] < 40
    assert progress["step"] == 40 and progress["finished"]

    # The run that was not interrupted has come to the same parameters, bit for bit.
    softalign.train("numbers", tmp_path / "whole", **NUMBERS)
    weights = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("run", "whole")]
    assert weights[0] == weights[1]
    with pytest.raises(ValueError, match="this run is finished"):
        softalign.train("numbers", tmp_path / "run", **NUMBERS)


def test_trains_on_pairs_in_memory(tmp_path):
    pairs = [(f"{i}", "even" if i % 2 == 0 else "odd") for i in range(60)]
    options = {"steps": 10, "hidden": 16, "embedding": 8, "batch": 16, "target_unit": "words"}
    progress = softalign.train((pairs, pairs[:10]), str(tmp_path / "run"), **options)
    assert progress["step"] == 10
    [[answer]] = softalign.Model.load(str(tmp_path / "run")).generate(["7"])
    assert set(answer.text.split()) <= {"even", "odd"}


def test_an_encoder_alone_embeds_texts(tmp_path):
    pairs = [("good soup", "yes"), ("bad soup", "no"), ("a good day", "yes"), ("a bad day", "no")] * 4
    options = {"architecture": "bert", "steps": 2, "hidden": 16, "layers": 1, "batch": 8, "max_length": 16}
    softalign.train((pairs, pairs), tmp_path, **options)
    model = softalign.Model.load(tmp_path)
    embedded = model.embed(["good soup", "a bad day", "good soup"])
    assert embedded.shape == (3, 16) and embedded.dtype == numpy.float32
    numpy.testing.assert_allclose((embedded**2).sum(axis=1), 1, rtol=1e-5)
    numpy.testing.assert_allclose(embedded[0], embedded[2], atol=1e-6)
    assert abs(embedded[0] - embedded[1]).max() > 1e-3


def interrupt_after(seconds):
    """Ctrl-C, from another thread; which then must be able to run, while the main one waits for the device."""

    def send():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    # Whatever a shell has started in the background ignores it, as does all that this starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=send).start()


def test_ctrl_c_ends_a_long_generate(model):
    options = {"sampling": {}, "n_best": 4, "min_length": 98}
    model.generate(["1987"] * 64, **options)
    interrupt_after(0.3)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        model.generate(["1987"] * 50_000, **options)
    assert time.monotonic() - began < 10
    # And the model still answers.
    assert str(model.generate(["5"])[0][0]) == str(model.generate(["5"])[0][0])


def test_ctrl_c_ends_training_and_saves(tmp_path):
    interrupt_after(2)
    options = {**NUMBERS, "steps": 100_000, "validate_every": 100_000}
    with pytest.raises(KeyboardInterrupt):
        softalign.train("numbers", tmp_path / "run", **options)
    assert softalign.Model.load(tmp_path / "run").generate(["5"])[0][0] is not None


def test_devices_are_listed():
    first = softalign.devices()[0]
    assert first["name"] and first["class"] in ("discrete", "integrated", "cpu") and first["storage_binding"] > 0
    assert softalign.__version__.count(".") == 2
