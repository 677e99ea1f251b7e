"""chainrule.torch.accelerate: tiny random models from their config classes give the original's loss and gradients."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="the PyTorch face needs torch")
transformers = pytest.importorskip("transformers", reason="accelerate changes models of transformers")

from chainrule.errors import InputError  # noqa: E402
from chainrule.torch import accelerate  # noqa: E402


def llama(**more):
    sizes = {"vocab_size": 97, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads, **more))


def gpt2(**more):
    sizes = {"vocab_size": 97, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **dropout, **ends, **more))


MODELS = {
    "Llama": llama,
    "Llama, tied": lambda: llama(tie_word_embeddings=True),
    "GPT-2": gpt2,
    "GPT-2, untied": lambda: gpt2(tie_word_embeddings=False),
}


def pair(name, dtype=torch.float32):
    torch.manual_seed(0)
    model = MODELS[name]().to(dtype)
    return model, accelerate(copy.deepcopy(model))


def inputs():
    tokens = torch.randint(97, (3, 11), generator=torch.Generator().manual_seed(1))
    labels = tokens.clone()
    labels[0, :4], labels[2, 7:] = -100, -100
    return tokens, labels


def gradients(model, **given):
    model.zero_grad()
    output = model(**given)
    output.loss.backward()
    return output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("more", [{}, {"num_items_in_batch": 7}, {"num_items_in_batch": torch.tensor(7)}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_the_originals(name, more):
    original, fast = pair(name)
    tokens, labels = inputs()
    (theirs, wanted), (ours, got) = (
        gradients(model, input_ids=tokens, labels=labels, **more) for model in (original, fast)
    )
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-6, atol=0)
    assert ours.logits is None
    assert "logits" not in ours
    assert got.keys() == wanted.keys()
    for key in wanted:  # to a few units of float32's last place of the largest
        close = 1e-5 * float(wanted[key].abs().max())
        torch.testing.assert_close(got[key], wanted[key], rtol=0, atol=close)


@pytest.mark.parametrize("name", MODELS)
def test_nearer_the_truth_than_float32_rounding(name):
    """The gradients of the float32 model lie near those of the same model in float64."""
    _, fast = pair(name)
    exact, _ = pair(name, torch.float64)
    tokens, labels = inputs()
    (_, wanted), (_, got) = (gradients(model, input_ids=tokens, labels=labels) for model in (exact, fast))
    for key in wanted:
        error = (got[key].double() - wanted[key]).abs().max()
        assert error <= 1e-5 * wanted[key].abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_without_labels_nothing_is_different(name):
    original, fast = pair(name)
    tokens, _ = inputs()
    with torch.no_grad():
        assert torch.equal(fast(input_ids=tokens).logits, original(input_ids=tokens).logits)


def test_tuples_and_twice():
    original, fast = pair("GPT-2")
    tokens, labels = inputs()
    assert accelerate(fast) is fast
    loss = fast(input_ids=tokens, labels=labels, return_dict=False, use_cache=False)[0]
    torch.testing.assert_close(loss, original(input_ids=tokens, labels=labels).loss, rtol=1e-6, atol=0)


def test_logits_are_never_stored():
    """The head's product is not there: no tensor with a dimension of the vocabulary but the weights' own."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Shapes(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = set()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.seen.add(tuple(result.shape))
            return result

    tokens, labels = inputs()
    kept = []
    for model in pair("Llama"):
        with Shapes() as shapes:
            model(input_ids=tokens, labels=labels).loss.backward()
        kept.append({shape for shape in shapes.seen if shape[-1:] == (97,) and shape[0] != 16})
    assert kept[0]
    assert not kept[1]


def test_refused():
    with pytest.raises(InputError, match="model: got Linear, expected a causal language model"):
        accelerate(torch.nn.Linear(2, 2))
    config = transformers.GPT2Config(vocab_size=97, n_embd=16, n_layer=1, n_head=2, num_labels=2)
    with pytest.raises(InputError, match="model: got "):
        accelerate(transformers.GPT2ForSequenceClassification(config))
    model = llama()
    model.loss_function = lambda **_: 0
    with pytest.raises(InputError, match="expected the library's ForCausalLMLoss"):
        accelerate(model)
