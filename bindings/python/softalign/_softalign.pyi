"""The native part of the package."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, TypedDict, final

import numpy
from numpy.typing import NDArray

from .types import Array, Arraylike, Pairs

__version__: str

# By this form, as `class` is a word of Python's.
Device = TypedDict(
    "Device",
    {
        "name": str,
        "class": str,
        "backend": str,
        "driver": str,
        "storage_binding": int,
        "buffer": int,
        "workgroup_memory": int,
        "workgroup_invocations": int,
        "storage_buffers": int,
        "f16": bool,
        "subgroups": tuple[int, int] | None,
        "timestamps": bool,
        "immediates": int,
        "cooperative": list[str],
        "advice": str | None,
    },
)
"""An adapter, as ``softalign devices`` lists it; sizes in bytes, subgroups from the least to the largest."""

class Sampling(TypedDict, total=False):
    """Drawing texts at random: the distribution of tokens (Holtzman et al. 2020, section 3.1)."""

    temperature: float
    top_k: int
    top_p: float

@final
class Hypothesis:
    """A text that the model wrote; ``str()`` of it is the text."""

    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float:
        """The sum of the tokens' log-probabilities, over the length penalty, plus the coverage penalty."""
    @property
    def finished(self) -> bool:
        """Whether it ended by itself rather than at the greatest length."""
    @property
    def source_tokens(self) -> list[str]: ...
    @property
    def tokens(self) -> list[str]:
        """The tokens of the text, its end among them."""
    @property
    def attention(self) -> Array | None:
        """[T, S]: how much each token attended to each of the source's; where it was asked for."""

@final
class Model:
    """A model with its tokenizers, on the device. All threads may ask it; they are answered one after the other."""

    @staticmethod
    def load(folder: str | PathLike[str]) -> Model:
        """Loads a model folder, as ``train`` and ``softalign import`` write it."""
    @property
    def architecture(self) -> str: ...
    def generate(
        self,
        texts: Sequence[str],
        *,
        attention: bool = False,
        beam: int = 1,
        n_best: int = 1,
        length_penalty: float = 0.0,
        coverage_penalty: float = 0.0,
        sampling: Sampling | None = None,
        seed: int = 1,
        first: int = 0,
        no_repeat_ngram: int = 0,
        forbid_unknown: bool = False,
        min_length: int = 0,
        max_length: int | None = None,
    ) -> list[list[Hypothesis]]:
        """The texts that the model writes for each of ``texts``, the best first; a language model continues them.

        Greedy search, or of a ``beam`` the ``n_best``. With ``sampling`` (a dict; ``{}`` draws from the model's own distribution)
        ``n_best`` samples, which ``seed`` and the number of a text, counted from ``first``, decide. With ``attention`` each text has
        its alignment. Ctrl-C ends it.
        """
    def score(self, pairs: Pairs) -> NDArray[numpy.float64]:
        """The log-probability of each target, its end included, given its source: [N]."""
    def embed(self, texts: Sequence[str]) -> Array:
        """The embedding of each text, of length 1: [N, D]. By an encoder alone, such as all-MiniLM-L6-v2."""

def devices() -> list[Device]:
    """The adapters of this machine, best first, with the limits and features that kernels depend on."""

def forward(
    operation: str | dict[str, Any], inputs: Sequence[Arraylike], lengths: Arraylike | None = None
) -> list[Array]:
    """The outputs of an operation: ``softalign.operations`` has each by its name."""

def backward(
    operation: str | dict[str, Any],
    inputs: Sequence[Arraylike],
    lengths: Arraylike | None,
    upstream: Sequence[Arraylike | None],
) -> list[Array]:
    """The gradients of an operation's inputs from those of its outputs, of which some may be None."""

def train(
    data: tuple[Pairs, Pairs] | dict[str, Any],
    destination: tuple[str | PathLike[str], bool],
    budget: dict[str, Any],
    options: dict[str, Any],
    callback: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Trains a model: ``softalign.train`` says what these are."""
