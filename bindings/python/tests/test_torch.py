"""The operations as functions of PyTorch, against PyTorch's own, and their gradients by its own check. On demand: it needs torch.

Values are 32-bit, so differences are taken over steps of 1e-2 (an error of 1e-7 in a value is one of 1e-5 in a derivative, and
what a step of that size leaves out is 1e-4 of numbers around 1): gradients agree to 5e-3.
"""

import pytest

torch = pytest.importorskip("torch")

import softalign.torch

CHECK = {"eps": 1e-2, "atol": 5e-3, "rtol": 5e-3, "nondet_tol": 0.0}


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), requires_grad=True)


def gradcheck(function, *inputs):
    # PyTorch warns that 64-bit inputs are better; there are none on the device.
    with pytest.warns(UserWarning, match="not a double precision"):
        assert torch.autograd.gradcheck(function, inputs, **CHECK)


def test_matmul():
    a, b = normal(2, 3, 5), normal(5, 4)
    torch.testing.assert_close(softalign.torch.matmul(a, b), a @ b)
    gradcheck(softalign.torch.matmul, a, b)


def test_softmax():
    x, lengths = normal(3, 5), torch.tensor([5, 2, 3])
    torch.testing.assert_close(softalign.torch.softmax(x), x.softmax(-1))
    gradcheck(lambda x: softalign.torch.softmax(x, lengths), x)


def test_gru_is_that_of_pytorch():
    layer = torch.nn.GRU(5, 4, batch_first=True, bidirectional=True)
    x, h0 = normal(2, 3, 5), normal(2, 2, 4)
    states, last = softalign.torch.gru(x, h0, layer._flat_weights)
    own = layer(x, h0)
    torch.testing.assert_close((states, last), own)
    wanted = [x, h0, *layer._flat_weights]
    found = torch.autograd.grad((states.sin().sum() + last.cos().sum()), wanted)
    torch.testing.assert_close(found, torch.autograd.grad((own[0].sin().sum() + own[1].cos().sum()), wanted))
    weights = [normal(*weight.shape) for weight in layer._flat_weights[:4]]
    gradcheck(
        lambda x, h0, *weights: softalign.torch.gru(x, h0, weights, torch.tensor([3, 1])), x, normal(1, 2, 4), *weights
    )


def test_additive_attention():
    inputs, lengths = [normal(2, 3, 4), normal(2, 5, 4), normal(4), normal(2, 5, 3)], torch.tensor([5, 2])
    gradcheck(lambda *inputs: softalign.torch.additive_attention(*inputs, lengths), *inputs)


@pytest.mark.parametrize("causal", [False, True])
def test_dot_product_attention(causal):
    inputs = [normal(2, 2, 4, 8), normal(2, 2, 4, 8), normal(2, 2, 4, 8)]
    found = softalign.torch.dot_product_attention(*inputs, causal=causal)
    torch.testing.assert_close(found, torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=causal))
    gradcheck(lambda *inputs: softalign.torch.dot_product_attention(*inputs, causal=causal), *inputs)


def test_a_gradient_of_a_gradient_is_refused():
    x = normal(2, 3)
    [d_x] = torch.autograd.grad(softalign.torch.softmax(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        d_x.sum().backward()


def test_lengths_that_have_changed_are_refused():
    x, lengths = normal(3, 5), torch.tensor([5, 2, 3])
    loss = softalign.torch.softmax(x, lengths).square().sum()
    lengths[0] = 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
