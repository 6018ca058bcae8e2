"""What the operations take and give."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy
from numpy.typing import ArrayLike, NDArray


class SpeaksDLPack(Protocol):
    """An array of another library, on the CPU."""

    def __dlpack__(self, *, stream: Any = ...) -> Any: ...
    def __dlpack_device__(self) -> tuple[Any, Any]: ...


Array: TypeAlias = NDArray[numpy.float32]
Arraylike: TypeAlias = ArrayLike | SpeaksDLPack
# Each a source and a target; for a language model the source is empty.
Pairs: TypeAlias = Sequence[tuple[str, str]]
