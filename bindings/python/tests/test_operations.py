"""Each operation against its formula in NumPy, in 64-bit floats, and each gradient against differences of that formula."""

import numpy
import pytest
import softalign

RANDOM = numpy.random.default_rng(7)
# Outputs and gradients are 32-bit: sums of a few hundred products of numbers around 1.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def normal(*shape):
    return RANDOM.standard_normal(shape)


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def softmax(x, lengths=None):
    valid = numpy.ones(x.shape, bool)
    if lengths is not None:
        valid = numpy.arange(x.shape[-1]) < numpy.reshape(lengths, (*x.shape[:-1], 1))
    e = numpy.where(valid, numpy.exp(x - numpy.max(x, -1, keepdims=True)), 0)
    return e / e.sum(-1, keepdims=True)


def gru(x, h0, weights, lengths):
    directions, batch, hidden = h0.shape
    states, last = numpy.zeros((*x.shape[:2], directions * hidden)), h0.copy()
    for d in range(directions):
        weight_ih, weight_hh, bias_ih, bias_hh = weights[4 * d : 4 * d + 4]
        for b in range(batch):
            steps = range(lengths[b]) if d == 0 else reversed(range(lengths[b]))
            for s in steps:
                h = last[d, b]
                from_x, from_h = weight_ih @ x[b, s] + bias_ih, weight_hh @ h + bias_hh
                r, z = (sigmoid(a + c) for a, c in zip(numpy.split(from_x, 3)[:2], numpy.split(from_h, 3)[:2]))
                n = numpy.tanh(numpy.split(from_x, 3)[2] + r * numpy.split(from_h, 3)[2])
                last[d, b] = states[b, s, d * hidden : (d + 1) * hidden] = (1 - z) * n + z * h
    return states, last


def additive_attention(query, key, energy, value, lengths):
    scores = numpy.tanh(query[:, :, None] + key[:, None]) @ energy
    weights = softmax(scores, numpy.repeat(lengths, query.shape[1]))
    return weights @ value, weights


def dot_product_attention(query, key, value, lengths, causal):
    scores = query @ key.swapaxes(-1, -2) / numpy.sqrt(query.shape[-1])
    visible = numpy.broadcast_to(numpy.reshape(lengths, (-1, 1, 1)), scores.shape[:-1])
    if causal:
        visible = numpy.minimum(visible, numpy.arange(1, query.shape[2] + 1))
    return softmax(scores, visible) @ value


def gradients(formula, inputs, upstream):
    """Of the sum of products of outputs and `upstream`, by central differences."""

    def loss():
        outputs = formula(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return sum((y * d).sum() for y, d in zip(outputs, upstream) if d is not None)

    found = []
    for x in inputs:
        gradient = numpy.zeros_like(x)
        for place in numpy.ndindex(x.shape):
            before, values = x[place], []
            for step in (1e-5, -1e-5):
                x[place] = before + step
                values.append(loss())
            x[place] = before
            gradient[place] = (values[0] - values[1]) / 2e-5
        found.append(gradient)
    return found


def check(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert isinstance(one, numpy.ndarray) and one.dtype == numpy.float32
        numpy.testing.assert_allclose(one, other, **CLOSE)


@pytest.mark.parametrize(("a", "b"), [((3, 5), (5, 7)), ((2, 3, 5), (5, 7)), ((2, 2, 3, 5), (2, 2, 5, 4))])
def test_matmul(a, b):
    a, b = normal(*a), normal(*b)
    product = a @ b
    check([softalign.matmul(a, b)], [product])
    d_product = normal(*product.shape)
    check(softalign.matmul_backward(a, b, d_product), gradients(numpy.matmul, [a, b], [d_product]))


@pytest.mark.parametrize("lengths", [None, [5, 1, 3, 2, 4, 5]])
def test_softmax(lengths):
    x = normal(2, 3, 5)
    check([softalign.softmax(x, lengths)], [softmax(x, lengths)])
    d_y = normal(2, 3, 5)
    formula = gradients(lambda x: softmax(x, lengths), [x], [d_y])
    check([softalign.softmax_backward(x, d_y, lengths)], formula)


@pytest.mark.parametrize("directions", [1, 2])
def test_gru(directions):
    batch, steps, size, hidden, lengths = 2, 3, 5, 4, [3, 1]
    x, h0 = normal(batch, steps, size), normal(directions, batch, hidden)
    shapes = [(3 * hidden, size), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)] * directions
    weights = [normal(*shape) for shape in shapes]
    check(softalign.gru(x, h0, weights, lengths), gru(x, h0, weights, lengths))
    d_states, d_last = normal(batch, steps, directions * hidden), normal(directions, batch, hidden)
    d_states[1, 1:] = 0
    for upstream in ([d_states, d_last], [None, d_last]):
        d_x, d_h0, d_weights = softalign.gru_backward(x, h0, weights, *upstream, lengths)
        formula = gradients(lambda x, h0, *weights: gru(x, h0, weights, lengths), [x, h0, *weights], upstream)
        check([d_x, d_h0, *d_weights], formula)


def test_additive_attention():
    inputs, lengths = [normal(2, 3, 5), normal(2, 4, 5), normal(5), normal(2, 4, 6)], [4, 2]
    check(softalign.additive_attention(*inputs, lengths), additive_attention(*inputs, lengths))
    check(softalign.additive_attention(*inputs), additive_attention(*inputs, [4, 4]))
    d_context, d_weights = normal(2, 3, 6), normal(2, 3, 4)
    for upstream in ([d_context, d_weights], [d_context, None]):
        found = softalign.additive_attention_backward(*inputs, *upstream, lengths)
        check(found, gradients(lambda *inputs: additive_attention(*inputs, lengths), inputs, upstream))


@pytest.mark.parametrize("causal", [False, True])
def test_dot_product_attention(causal):
    inputs, lengths = [normal(2, 2, 3, 8), normal(2, 2, 4, 8), normal(2, 2, 4, 8)], [4, 2]
    found = softalign.dot_product_attention(*inputs, lengths, causal=causal)
    check([found], [dot_product_attention(*inputs, lengths, causal)])
    d_context = normal(2, 2, 3, 8)
    found = softalign.dot_product_attention_backward(*inputs, d_context, lengths, causal=causal)
    check(found, gradients(lambda *inputs: dot_product_attention(*inputs, lengths, causal), inputs, [d_context]))


class Other:
    """An array of a library that speaks DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_arrays_of_every_kind():
    x = normal(3, 6).astype(numpy.float32)
    expected = softalign.softmax(x)
    for same in (x.astype(numpy.float64), numpy.asfortranarray(x), x.tolist(), Other(x)):
        numpy.testing.assert_array_equal(softalign.softmax(same), expected)
    numpy.testing.assert_array_equal(softalign.softmax(x[:, ::2]), softalign.softmax(x[:, ::2].copy()))
    numpy.testing.assert_array_equal(numpy.from_dlpack(expected), expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    numpy.testing.assert_array_equal(softalign.softmax(frozen), expected)
    # Results are the caller's own.
    expected[0] = 0
    assert (softalign.softmax(x)[0] != 0).all()


def test_what_does_not_fit_says_so():
    x = normal(2, 3)
    for call, error, text in [
        (
            lambda: softalign.matmul(x, x),
            ValueError,
            "matmul: b: wanted 3 rows after transposition, to match a [2, 3], got",
        ),
        (
            lambda: softalign.matmul(normal(2, 2, 3), normal(3, 3, 4)),
            ValueError,
            "matmul: b: wanted one matrix, or as many",
        ),
        (lambda: softalign.softmax(x, [3, 4]), ValueError, "softmax: lengths: wanted at most 3, got 4"),
        (lambda: softalign.softmax(x, [3]), ValueError, "softmax: lengths: wanted u32 [2], got u32 [1]"),
        (lambda: softalign.softmax(x, [3, -1]), ValueError, "lengths: -1; a length is a number from 0 on"),
        (lambda: softalign.softmax(x, [1.5, 2.0]), TypeError, "float64"),
        (lambda: softalign.softmax(numpy.zeros((0, 3))), ValueError, "softmax: x: "),
        (lambda: softalign.softmax("x"), TypeError, "float32"),
        (lambda: softalign.softmax(x + 1j), TypeError, "complex128"),
        (
            lambda: softalign.gru(normal(2, 3, 4), normal(1, 2, 5), []),
            ValueError,
            "gru: weights: wanted those of one or two",
        ),
        (
            lambda: softalign.gru(normal(2, 3, 4), normal(1, 2, 5), [x]),
            ValueError,
            "gru: inputs: wanted x, h0, and 4 weights",
        ),
        (lambda: softalign.gru_backward(normal(2, 3, 4), normal(1, 2, 5), [], None, None), ValueError, "gru: "),
        (
            lambda: softalign.softmax_backward(x, x.T),
            ValueError,
            "gradients: upstream: wanted f32 [2, 3], got f32 [3, 2]",
        ),
    ]:
        with pytest.raises(error) as raised:
            call()
        assert text in str(raised.value), raised.value


def test_threads_share_the_device():
    from concurrent.futures import ThreadPoolExecutor

    arrays = [normal(4, 5 + i % 3) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(softalign.softmax, arrays))
    for x, y in zip(arrays, found):
        numpy.testing.assert_allclose(y, softmax(x), **CLOSE)
